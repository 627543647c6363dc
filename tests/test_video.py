"""Films: files, panel, what is logged, the same film twice, films made beside a run."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image
from support import disk_of

from daddy_puffer.config import Config, EnvConfig, TrainConfig
from daddy_puffer.debug_rollout import Video, debug_rollout
from daddy_puffer.game.milestones import MILESTONES
from daddy_puffer.learner.checkpoint import save_checkpoint, to_tensors
from daddy_puffer.learner.learner import Learner
from daddy_puffer.progress.tracker import ProgressTracker
from daddy_puffer.rollout import FilmsBeside, RandomAgent, film_checkpoint, load_beliefs, watch
from daddy_puffer.telemetry import Event, Interval, Telemetry
from daddy_puffer.telemetry.overlay import Belief, compose
from daddy_puffer.telemetry.sinks import JsonLines
from daddy_puffer.telemetry.video import Caption, VideoWriter, save_frames_as_png, save_gif, save_mp4
from daddy_puffer.types import Action
from daddy_puffer.vector import RedFactory, box_spaces

GAME = (slice(0, 288), slice(0, 320))


def grey(value: int) -> np.ndarray:
    return np.full((144, 160, 3), value, np.uint8)


def caption(**changes: Any) -> Caption:
    values: dict[str, Any] = {"step": 7, "action": "UP", "reward": 0.5, "total": 1.0, "badges": 0, "place": "Route1"}
    return Caption(**{**values, **changes})


def test_films_hold_every_frame_in_order(tmp_path: Path):
    frames = [grey(v) for v in (0, 85, 170, 255)]
    film = [frame[100, 100].mean() for frame in imageio.mimread(save_mp4(frames, tmp_path / "a.mp4"))]
    np.testing.assert_allclose(film, [0, 85, 170, 255], atol=6)
    with Image.open(save_gif(frames, tmp_path / "a.gif", fps=10)) as gif:
        shades = []
        for number in range(gif.n_frames):
            gif.seek(number)
            shades.append(gif.convert("RGB").getpixel((100, 100))[0])
        assert gif.info["duration"] == 100
    np.testing.assert_allclose(shades, [0, 85, 170, 255], atol=3)


def test_png_frames_are_the_frames(tmp_path: Path):
    frames = [np.random.default_rng(seed).integers(0, 256, (144, 160, 3), np.uint8) for seed in range(3)]
    paths = save_frames_as_png(frames, tmp_path / "new" / "frames")
    assert [path.name for path in paths] == ["frame_000001.png", "frame_000002.png", "frame_000003.png"]
    for path, frame in zip(paths, frames, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), frame)


def test_mp4_is_h264_that_every_browser_plays(tmp_path: Path):
    path = save_mp4([grey(85)] * 2, tmp_path / "a.mp4", fps=12)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    told = subprocess.run(command, capture_output=True, text=True).stderr
    assert "Video: h264" in told and "yuv420p" in told and "640x576" in told and "12 fps" in told


def test_panel_stands_beside_an_untouched_picture():
    game = np.random.default_rng(0).integers(0, 256, (144, 160, 3), np.uint8)
    picture = compose(game, caption())
    assert picture.shape == (288, 480, 3)
    np.testing.assert_array_equal(picture[GAME], game.repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_array_equal(compose(game, None), picture[GAME])


def test_gif_keeps_the_colours_of_game_and_panel(tmp_path: Path):
    game = np.choose(np.random.default_rng(0).integers(0, 4, (144, 160, 1)), [0, 85, 153, 255]).astype(np.uint8)
    frame, told = game.repeat(3, axis=2), caption(badges=3, reward=-1.0, beliefs=(Belief("Boulder", 0.5, True),))
    with VideoWriter(tmp_path / "film", formats=("gif",)) as writer:
        writer.add(frame, told)
    with Image.open(tmp_path / "film.gif") as gif:
        np.testing.assert_array_equal(np.asarray(gif.convert("RGB")), compose(frame, told))


def changed_rows(one: Caption, other: Caption) -> set[int]:
    """Rows of the panel in which two captions differ."""
    first, second = compose(grey(0), one), compose(grey(0), other)
    return set(np.flatnonzero((first != second).any(axis=(1, 2))).tolist())


def test_everything_that_is_told_has_its_place_on_the_panel():
    plain = caption()
    buttons = [compose(grey(0), caption(action=action.name)).tobytes() for action in Action]
    assert len(set(buttons)) == len(Action)  # each button looks different when pressed
    for changes, top, bottom in (
        ({"place": "Route2"}, 10, 22),
        ({"step": 8}, 23, 35),
        ({"action": "A"}, 50, 110),
        ({"badges": 1}, 119, 131),
        ({"total": 2.0}, 146, 158),
        ({"reward": -0.5}, 159, 171),
        ({"components": {"badge": 10.0}}, 172, 184),
        ({"beliefs": (Belief("Boulder", 0.81),)}, 240, 288),
    ):
        rows = changed_rows(plain, caption(**changes))
        assert rows and min(rows) >= top and max(rows) <= bottom, changes
    full = {f"term{number}": 1.0 + number for number in range(12)}
    beliefs = tuple(Belief(f"milestone_with_a_long_name_{n}", 0.3) for n in range(9))
    compose(grey(0), caption(components=full, beliefs=beliefs, place="PokémonTower" * 9, step=10**9, total=-1e9))


def test_abandoned_film_leaves_nothing(tmp_path: Path):
    with (
        pytest.raises(RuntimeError, match="stop"),
        VideoWriter(tmp_path / "film", formats=("mp4", "gif", "png")) as writer,
    ):
        writer.add(grey(0))
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_what_is_logged_about_films(tmp_path: Path):
    with VideoWriter(tmp_path / "film", formats=("gif", "png"), fps=10, max_frames=3) as writer:
        for _ in range(5):
            writer.add(grey(85), caption())
    gif, png = writer.films()
    assert (gif.path, gif.kind, gif.frames, gif.fps, gif.seconds) == (str(tmp_path / "film.gif"), "gif", 3, 10, 0.3)
    assert gif.bytes == (tmp_path / "film.gif").stat().st_size
    assert png.kind == "png" and len(list(Path(png.path).iterdir())) == 3
    with VideoWriter(tmp_path / "nothing") as empty:
        pass
    assert empty.films() == [] and not list(tmp_path.glob("nothing*"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has learnt nothing, and beliefs."""
    torch.set_num_threads(1)
    config = Config(env=EnvConfig(max_steps=40), train=TrainConfig(device="cpu"))
    env = RedFactory(config)()
    learner = Learner(config, box_spaces(env), len(Action))
    env.close()
    tracker = ProgressTracker([m.name for m in MILESTONES], config.progress, 1)
    trial = np.arange(len(MILESTONES)) == 0
    tracker.posteriors.update(trial, trial)  # one episode reached Boulder
    state = {"learner": learner.state_dict(), "progress": to_tensors(tracker.state_dict())}
    return save_checkpoint(tmp_path_factory.mktemp("run") / "checkpoints", 5, state, config, 1)


def test_beliefs_of_a_checkpoint(checkpoint: Path):
    beliefs = load_beliefs(checkpoint)
    assert beliefs["Boulder"] == pytest.approx(2 / 3, abs=1e-6)  # Beta(2, 1)
    assert list(beliefs) == Config().progress.watched


def test_the_same_checkpoint_state_and_seed_give_the_same_film(checkpoint: Path, tmp_path: Path):
    for name in ("one", "two"):
        debug_rollout(
            steps=12, checkpoint=checkpoint, epsilon=0.3, seed=4, quiet=True, frames=True, output=tmp_path / name
        )
    frames = sorted(path.name for path in (tmp_path / "one_frames").iterdir())
    assert len(frames) == 12
    for name in [*(f"_frames/{frame}" for frame in frames), ".mp4", ".gif"]:
        assert (tmp_path / f"one{name}").read_bytes() == (tmp_path / f"two{name}").read_bytes(), name


def test_a_film_begins_at_the_state_that_is_given(tmp_path: Path):
    config = Config(env=EnvConfig(max_steps=40, random_wait=0))
    env = RedFactory(config)()
    env.reset(seed=0)
    for action in (Action.DOWN, Action.DOWN, Action.RIGHT):
        env.step(action)
    place = env.get_wrapper_attr("game_state").position
    (tmp_path / "here.state").write_bytes(env.get_wrapper_attr("save_state")())
    env.close()
    there = replace(config, env=replace(config.env, init_state=str(tmp_path / "here.state")))
    moments = list(watch(RedFactory(there)(), RandomAgent(seed=1), 3, seed=0))
    again = list(watch(RedFactory(there)(), RandomAgent(seed=1), 3, seed=0))
    assert [m.frame.tobytes() for m in moments] == [m.frame.tobytes() for m in again]
    x, y = moments[0].state.position
    assert abs(x - place[0]) + abs(y - place[1]) <= 1
    assert sum(moments[-1].returns.values()) == pytest.approx(moments[-1].total)  # the parts add up


def test_quiet_rollout_prints_what_is_logged(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    debug_rollout(steps=3, video=Video.GIF, output=tmp_path / "a", quiet=True)
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line).items() >= {"kind": "gif", "frames": 3, "path": str(tmp_path / "a.gif")}.items()
    debug_rollout(steps=3, video=Video.GIF, output=tmp_path / "a", flags=True)
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{tmp_path / 'a.gif'}: 3 frames, 12 a second, 0.25 s, ")


def films_of(tmp_path: Path, checkpoint: Path, interrupted: bool = False) -> list[dict[str, Any]]:
    """Ask for a film and stop; returns what was logged."""
    films = FilmsBeside(tmp_path / "videos", steps=3)
    (tmp_path / "videos").mkdir()
    with Telemetry([films, JsonLines(tmp_path / "events.jsonl")]) as telemetry:
        films.emit = telemetry.emit
        telemetry.emit(Event("film", 120, {"checkpoint": str(checkpoint)}))
        telemetry.emit(Interval.of(130, {}))
        telemetry.emit(Event("stop", 140, {"reason": "test", "interrupted": interrupted}))
    return [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]


def test_a_film_beside_the_run_is_logged(tmp_path: Path, checkpoint: Path):
    videos = [event for event in films_of(tmp_path, checkpoint) if event["event"] == "video"]
    assert [(v["kind"], v["step"], v["frames"], v["fps"]) for v in videos] == [("mp4", 120, 3, 12), ("gif", 120, 3, 12)]
    assert all(Path(v["path"]).stat().st_size == v["bytes"] for v in videos)
    assert sorted(path.name for path in (tmp_path / "videos").iterdir()) == ["rollout_120.gif", "rollout_120.mp4"]


def test_a_film_that_fails_is_one_warning(
    tmp_path: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert not [event for event in films_of(tmp_path, checkpoint) if event["event"] == "video"]
    assert [r.message for r in caplog.records] == ["no film of step 120, training goes on: exit code 1"]
    assert list((tmp_path / "videos").iterdir()) == []


def test_a_checkpoint_that_cannot_be_copied_is_one_warning(
    tmp_path: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture
):
    """The next film is made."""
    films = FilmsBeside(tmp_path / "videos", steps=3)
    (tmp_path / "videos").mkdir()
    with Telemetry([films, JsonLines(tmp_path / "events.jsonl")]) as telemetry:
        films.emit = telemetry.emit
        with disk_of(100_000):
            telemetry.emit(Event("film", 120, {"checkpoint": str(checkpoint)}))
            telemetry.flush()
        telemetry.emit(Event("film", 130, {"checkpoint": str(checkpoint)}))
        telemetry.emit(Event("stop", 140, {"reason": "test", "interrupted": False}))
    (warning,) = [record.message for record in caplog.records]
    assert warning.startswith("no film of step 120, training goes on: ") and "File too large" in warning
    assert sorted(path.name for path in (tmp_path / "videos").iterdir()) == ["rollout_130.gif", "rollout_130.mp4"]


def test_a_film_that_cannot_be_begun_is_one_warning(
    tmp_path: Path, checkpoint: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no_such_program"))
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert not [event for event in films_of(tmp_path, checkpoint) if event["event"] == "video"]
    (warning,) = [record.message for record in caplog.records]
    assert warning.startswith("no film of step 120, training goes on: No such file")


def test_an_interrupted_run_waits_for_no_film(tmp_path: Path, checkpoint: Path):
    assert not [event for event in films_of(tmp_path, checkpoint, interrupted=True) if event["event"] == "video"]
    assert list((tmp_path / "videos").iterdir()) == []


def test_last_film_of_a_run(tmp_path: Path, checkpoint: Path):
    mp4, gif = film_checkpoint(checkpoint, tmp_path / "rollout_5", steps=2)
    assert (mp4.kind, gif.kind, mp4.frames) == ("mp4", "gif", 2)
