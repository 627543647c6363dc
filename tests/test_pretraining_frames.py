"""Frames of runs on the real cartridge and out of films: collected, kept apart, damaged, cut out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import call

from daddy_puffer.envs.emulator import Emulator
from daddy_puffer.envs.observation import pack_two_bit
from daddy_puffer.envs.rom import find_rom
from daddy_puffer.errors import UserError
from daddy_puffer.pretraining.collect import Collecting, collect, play_run
from daddy_puffer.pretraining.frames import (
    FrameRun,
    RunFacts,
    halve,
    load_frames,
    pack,
    quantise,
    read_run,
    run_files,
    take_stock,
    unpack,
    write_manifest,
    write_run,
)
from daddy_puffer.pretraining.video import Crop, Film, find_crop, import_video

SHORT = Collecting(frames=150, most_steps=60, test_every=2, random_start_steps=5)


def nothing_to_say(line: str) -> None:
    raise AssertionError(line)


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short runs."""
    folder = tmp_path_factory.mktemp("frames")
    assert len(list(collect(folder, SHORT, nothing_to_say))) == 3
    return folder


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_packing_loses_nothing_and_is_that_of_the_observations(seed: int) -> None:
    greys = np.random.default_rng(seed).integers(0, 4, (144, 160), dtype=np.uint8) * np.uint8(85)
    packed = pack(quantise(greys))
    assert np.array_equal(unpack(packed) * 85, greys)
    assert np.array_equal(packed, pack_two_bit(greys))
    assert np.array_equal(halve(packed), pack_two_bit(greys[::2, ::2]))


def test_greys_become_the_nearest_level() -> None:
    greys = np.array([0, 42, 43, 85, 127, 128, 170, 212, 213, 255], np.uint8)
    nearest = np.abs(greys.astype(int)[:, None] - [0, 85, 170, 255]).argmin(1)
    assert quantise(greys).tolist() == nearest.tolist()


def test_a_run_begins_at_power_on_and_shows_the_title(collected: Path) -> None:
    emulator = Emulator(find_rom(""))
    emulator.wait(300)
    emulator.render_frame()
    title = pack(quantise(emulator.screen[:, :, 1])).tobytes()
    emulator.close()
    for path in run_files(collected):
        run = read_run(path)
        assert title in {frame.tobytes() for frame in run.frames}
        assert len(run) == SHORT.most_steps + 1 and len({frame.tobytes() for frame in run.frames}) > 15
        assert (np.diff(run.numbers) >= SHORT.frames_between).all() and run.scene.shape == (len(run), 3)
        assert run.seconds[-1] == pytest.approx(run.numbers[-1] / 59.7275, rel=1e-4)
        assert not any("action" in name for name in np.load(path).files)


def test_a_whole_run_reaches_both_badges() -> None:
    run = play_run(Collecting(), 2)
    assert run.facts.details["finished"] and run.scene[-1, 1] == 3 and 600 < len(run) < 3000
    assert run.scene[:, 2].max() > 0 and len(set(run.scene[:, 0].tolist())) > 5  # battles, maps


def test_the_same_number_is_the_same_run_and_another_is_another(collected: Path) -> None:
    runs = [read_run(path) for path in run_files(collected)]
    again = play_run(SHORT, 1)
    assert np.array_equal(again.frames, runs[0].frames) and np.array_equal(again.numbers, runs[0].numbers)
    assert len({run.frames.tobytes() for run in runs}) == len(runs)


def test_runs_are_for_training_or_for_testing(collected: Path) -> None:
    found = load_frames(collected, nothing_to_say)
    assert found["test"].names == ("run_00001", "run_00003") and found["train"].names == ("run_00002",)
    assert len(found["test"]) == 122 and found["test"].starts.tolist() == [0, 61]
    totals = json.loads((collected / "manifest.json").read_text())["totals"]
    assert totals == {"train": {"runs": 1, "frames": 61}, "test": {"runs": 2, "frames": 122}}


def test_frames_known_from_training_are_told_from_new_ones(collected: Path) -> None:
    found = load_frames(collected, nothing_to_say)
    known = {frame.tobytes() for frame in found["train"].frames}
    assert found["test"].new_to(found["train"]).tolist() == [f.tobytes() not in known for f in found["test"].frames]
    assert not found["train"].new_to(found["train"]).any() and found["test"].new_to(found["train"]).any()


def test_windows_lie_within_a_run(collected: Path) -> None:
    windows = load_frames(collected, nothing_to_say)["test"].windows(5)
    assert windows.tolist() == [*range(0, 57), *range(61, 118)]
    assert not len(load_frames(collected, nothing_to_say)["test"].windows(62))


def test_a_collection_goes_on_and_mends_itself(collected: Path, tmp_path: Path) -> None:
    whole = [path.read_bytes() for path in run_files(collected)]
    for path, data in zip(run_files(collected), whole, strict=True):
        (tmp_path / path.name).write_bytes(data)
    (tmp_path / "run_00001.npz").write_bytes(whole[0][: len(whole[0]) // 2])
    (tmp_path / "run_00003.npz").unlink()
    (tmp_path / "run_00004.npz.tmp").write_bytes(b"left by a kill")
    kept = (tmp_path / "run_00002.npz").stat().st_mtime_ns
    said: list[str] = []
    assert len(list(collect(tmp_path, SHORT, said.append))) == 3
    assert len(said) == 1 and "run_00001.npz" in said[0] and "put aside as run_00001.npz.damaged" in said[0]
    assert (tmp_path / "run_00002.npz").stat().st_mtime_ns == kept
    frames = [read_run(path).frames for path in run_files(tmp_path)]
    assert all(np.array_equal(one, read_run(two).frames) for one, two in zip(frames, run_files(collected), strict=True))


def test_a_collection_of_another_kind_is_not_gone_on_with(
    collected: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "frames", "collect", "--out", str(collected), "--test-every", "3") == 1
    assert "was collected with test_every 2, not 3" in capsys.readouterr().err


def test_damaged_files_are_left_out_of_training(collected: Path, tmp_path: Path) -> None:
    for path in run_files(collected):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "run_00003.npz").write_bytes(b"PK\3\4 nothing")
    (tmp_path / "run_copy.npz").write_bytes((tmp_path / "run_00002.npz").read_bytes())
    said: list[str] = []
    assert load_frames(tmp_path, said.append)["train"].names == ("run_00002",)
    assert [line.split(":")[0] for line in said] == ["left out run_00003.npz", "left out run_copy.npz"]
    (tmp_path / "run_00001.npz").unlink()
    with pytest.raises(UserError, match="1 runs for training and 0 for testing"):
        load_frames(tmp_path, said.append)


@pytest.mark.parametrize("what", ["frames", "numbers", "seconds", "scene"])
def test_arrays_that_do_not_agree_are_found(what: str, collected: Path) -> None:
    run = read_run(run_files(collected)[0])
    wrong = {
        "frames": run.frames[:, :72],
        "numbers": run.numbers[::-1].copy(),
        "seconds": np.full_like(run.seconds, np.nan),
        "scene": run.scene[:-1],
    }[what]
    with pytest.raises(UserError, match="no frames of a run, or damaged"):
        FrameRun.from_bytes(replace(run, **{what: wrong}).to_bytes())


@given(st.binary(max_size=60), st.integers(0, 3000))
@settings(max_examples=30, deadline=None)
def test_no_bytes_are_worse_than_a_line(collected: Path, noise: bytes, place: int) -> None:
    data = bytearray(run_files(collected)[0].read_bytes())
    data[place : place + len(noise)] = noise
    try:
        assert len(FrameRun.from_bytes(bytes(data))) == 61
    except UserError as error:
        assert "\n" not in str(error)


def test_what_a_run_must_say() -> None:
    with pytest.raises(UserError, match="split must be train or test"):
        RunFacts(run="run_1", split="validation", source="scripted")
    with pytest.raises(UserError, match="this version reads 1"):
        RunFacts(run="run_1", split="test", source="scripted", format=2)


# ---- films ----


def film(path: Path, run: FrameRun, scale: int = 2, left: int = 50, top: int = 20, count: int = 40) -> Path:
    """A film of a run's first frames with a border and a picture that stands still beside the game."""
    levels = unpack(run.frames[:count])
    height, width = 144 * scale + 2 * top, 160 * scale + left + 94
    still = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    still = still // 128 * 90  # few greys, so that it stays still after encoding
    writer = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=10, codec="libx264", quality=9, macro_block_size=2, pix_fmt_in="gray",
        output_params=["-threads", "1", "-qp", "0"],
    )  # fmt: skip
    writer.send(None)
    for frame in levels:
        picture = still.copy()
        big = (frame * 60 + 30).repeat(scale, axis=0).repeat(scale, axis=1)  # the film's black is 30, its white 210
        picture[top : top + big.shape[0], left : left + big.shape[1]] = big
        writer.send(np.ascontiguousarray(picture))
    writer.close()
    return path


@pytest.fixture(scope="module")
def played() -> FrameRun:
    """A run long enough to move over the whole screen."""
    return play_run(replace(SHORT, most_steps=100), 1)


@pytest.fixture(scope="module")
def bordered(tmp_path_factory: pytest.TempPathFactory, played: FrameRun) -> Path:
    """A film of it."""
    return film(tmp_path_factory.mktemp("films") / "my run.mp4", played, count=100)


def test_a_film_is_cut_out_and_gives_the_frames_back(bordered: Path, played: FrameRun) -> None:
    run = import_video(bordered, "auto", every_seconds=0.1, split="test")
    assert run.facts.details["crop"] == {"width": 320, "height": 288, "x": 50, "y": 20}
    assert run.facts.run == "run_video_my_run" and run.facts.split == "test" and len(run.scene) == 0
    assert len(run) == 100 and run.seconds[10] == pytest.approx(1.0)
    assert (unpack(run.frames) == unpack(played.frames[:100])).mean() > 0.999


def test_a_film_cut_by_hand_at_fewer_frames(bordered: Path, played: FrameRun) -> None:
    run = import_video(bordered, "320:288:50:20", every_seconds=0.5, split="train")
    assert run.numbers.tolist() == list(range(0, 100, 5))
    assert (unpack(run.frames) == unpack(played.frames[:100:5])).mean() > 0.999


def test_a_film_that_does_not_say_how_long_it_is_is_not_held_in_memory(
    bordered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daddy_puffer.pretraining.video.SAMPLES", 12)
    whole = Film.open(bordered)
    sample = replace(whole, seconds=0.0).sample(every_seconds=0.1)
    assert 6 <= len(sample) <= 13
    frames = [greys for _, greys in whole.frames(0.1)]
    np.testing.assert_array_equal(sample, frames[:: len(frames) // len(sample) + 1])


def test_films_and_collected_runs_share_a_folder(
    bordered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "both")
    few = ("--frames", "80", "--most-steps", "50", "--test-every", "2")
    assert call(monkeypatch, "frames", "collect", "--out", out, *few) == 0
    assert "51 frames for training, 51 for testing" in capsys.readouterr().out
    assert call(monkeypatch, "frames", "import", str(bordered), "--out", out) == 0
    assert call(monkeypatch, "frames", "import", str(bordered), "--out", out) == 0  # there already
    assert "there already as run_video_my_run" in capsys.readouterr().out
    assert call(monkeypatch, "frames", "collect", "--out", out, *few) == 0
    manifest = json.loads((tmp_path / "both" / "manifest.json").read_text())
    assert [row["run"] for row in manifest["runs"]] == ["run_00001", "run_00002", "run_video_my_run"]
    assert load_frames(tmp_path / "both", nothing_to_say)["train"].names == ("run_00002", "run_video_my_run")


def test_bad_films_are_named_and_good_ones_kept(
    bordered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film")
    out = str(tmp_path / "frames")
    assert call(monkeypatch, "frames", "import", str(bad), str(tmp_path / "none.mp4"), str(bordered), "--out", out) == 1
    error = capsys.readouterr().err
    assert f"{bad} is no video that ffmpeg can read" in error and "none.mp4 does not exist" in error
    assert "2 of 3 films could not be imported" in error
    assert [path.name for path in run_files(tmp_path / "frames")] == ["run_video_my_run.npz"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--crop", "1,2,3,4"), "give width:height:x:y"),
        (("--crop", "320:288:500:20"), "lies outside its 464x328 pixels"),
        (("--split", "both"), "split must be train or test"),
    ],
)
def test_bad_options_of_an_import(
    options: tuple[str, str], text: str, bordered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert call(monkeypatch, "frames", "import", str(bordered), "--out", str(tmp_path / "f"), *options) == 1
    assert text in capsys.readouterr().err


def test_a_picture_that_is_not_there_is_not_found() -> None:
    still = np.full((5, 60, 80), 9, np.uint8)
    with pytest.raises(UserError, match="nothing moves"):
        find_crop(still)
    moving = still.copy()
    moving[::2, 10:20, 0:80] = 200
    with pytest.raises(UserError, match="80:10:0:10, not of the shape 10:9"):
        find_crop(moving)
    moving = still.copy()
    moving[::2, 10:55, 20:70] = 200
    assert find_crop(moving) == Crop(width=50, height=45, x=20, y=10)


@given(st.integers(1, 9999), st.integers(1, 9999), st.integers(0, 9999), st.integers(0, 9999))
def test_a_crop_reads_as_it_is_written(width: int, height: int, x: int, y: int) -> None:
    crop = Crop(width=width, height=height, x=x, y=y)
    assert Crop.parse(str(crop)) == crop


def test_a_run_too_long_to_be_read_again_is_not_written(tmp_path: Path, collected: Path) -> None:
    run = read_run(run_files(collected)[0])
    long = replace(run, frames=np.broadcast_to(run.frames[:1], (50_000, *run.frames.shape[1:])))
    with pytest.raises(UserError, match="50000 frames, a run has at most"):
        write_run(tmp_path, long)
    assert not list(tmp_path.iterdir())


def test_a_manifest_is_made_from_the_files(collected: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path, take_stock(collected, nothing_to_say))
    assert (tmp_path / "manifest.json").read_text() == (collected / "manifest.json").read_text()
