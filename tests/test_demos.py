"""Demonstrations: recorded on the real cartridge and on another game, played again, damaged, and found out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import call

from daddy_puffer.config import load_config
from daddy_puffer.demos.episode import (
    LARGEST_INFO_ARRAY,
    Episode,
    episode_files,
    next_number,
    plain_info,
    read_episode,
    read_folder,
    stacked_rows,
    write_episode,
)
from daddy_puffer.demos.game import Game, Recipe
from daddy_puffer.demos.images import ImageFormat, read_size
from daddy_puffer.demos.players import Called, Wish, make_player
from daddy_puffer.demos.record import SPARE_BYTES, record_episode, record_episodes
from daddy_puffer.demos.verify import Verifier
from daddy_puffer.errors import UserError
from daddy_puffer.types import Action

SMALL = ImageFormat(height=18, width=20)
BARS = "python:bars_env:Bars"
BARS_PLAYER = "python:bars_env:press_the_lit_one"


def red(max_steps: int = 130, **others: Any) -> Recipe:
    """The cartridge, shortly; three frames in a stack, so that rebuilding them has something to do."""
    config = load_config(None, {"env.max_steps": max_steps, "env.frame_stack": 3})
    return Recipe.of_config(config, **{"picture": SMALL, "random_start_steps": 20, **others})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two episodes of the script."""
    folder = tmp_path_factory.mktemp("demos")
    game = Game(red())
    assert len(list(record_episodes(game, make_player("scripted", game), "scripted", 2, folder, seed=5))) == 2
    game.close()
    return folder


@pytest.fixture
def copied(recorded: Path, tmp_path: Path) -> Path:
    """The same, to be spoilt."""
    for path in episode_files(recorded):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_a_file_says_everything_about_its_episode(recorded: Path) -> None:
    with np.load(recorded / "episode_0001.npz", allow_pickle=False) as arrays:
        length = int(arrays["episode_length"])
        assert 110 <= length <= 130  # what a random start takes counts
        assert arrays["observations"].shape == (length, 18, 20, 1) and arrays["observations"].dtype == np.uint8
        assert arrays["actions"].dtype == np.int32 and arrays["rewards"].dtype == np.float32
        assert arrays["dones"].dtype == np.bool_ and arrays["dones"].nonzero()[0].tolist() == [length - 1]
        infos = json.loads(str(arrays["infos"]))
        assert len(infos) == length and "badges" in infos[-1]
        assert len(arrays["actions"]) == length and int(arrays["seed"]) == 6
        assert float(arrays["episode_return"]) == pytest.approx(arrays["rewards"].sum(), rel=1e-5)
        assert len(str(arrays["rom_sha256"])) == 64 and len(arrays["start_state"]) > 1000
        assert arrays["frames"].shape == (length, 72, 20) and arrays["visited"].shape == (length, 9, 10)
        assert len(arrays["structured"]) == len(arrays["milestones"]) == length
        assert arrays["check_steps"].tolist() == [100, length]
    first, second = (read_episode(path) for path in episode_files(recorded))
    assert not np.array_equal(first.actions, second.actions)  # another start, another way
    assert first.facts.player == "scripted" and first.facts.recipe == red()


def test_episodes_play_again_to_the_same_memory(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "demos", "verify", str(recorded)) == 0
    out = capsys.readouterr().out
    assert out.count("same rewards, pictures and memory after 1") == out.count("(2 hashes compared)") == 2
    assert "2 of 2 demonstrations are good" in out


def test_a_flipped_byte_is_noticed_and_the_file_skipped(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copied / "episode_0001.npz"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))
    assert call(monkeypatch, "demos", "verify", str(copied)) == 1
    out = capsys.readouterr().out
    assert "episode_0001.npz: BAD: no demonstration, or a damaged one" in out and "1 of 2 demonstrations" in out
    good, damaged = read_folder(copied)
    assert list(good) == ["episode_0002.npz"] and [line.split(":")[0] for line in damaged] == ["episode_0001.npz"]
    (copied / "episode_0002.npz").write_bytes(b"")
    with pytest.raises(UserError, match="can be read"):
        read_folder(copied)


@settings(max_examples=30, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_no_damage_goes_unnoticed(recorded: Path, where: float, bit: int, cut: bool) -> None:
    data = (recorded / "episode_0002.npz").read_bytes()
    whole = Episode.from_bytes(data).to_bytes()
    spoilt = bytearray(data)
    position = int(where * len(data))
    spoilt[position] ^= 1 << bit
    try:
        found = Episode.from_bytes(bytes(spoilt[:position] if cut else spoilt))
    except UserError:
        return
    assert found.to_bytes() == whole  # a byte that means nothing, such as a member's date


def test_a_file_that_was_tampered_with_does_not_verify(recorded: Path) -> None:
    episode = read_episode(recorded / "episode_0001.npz")
    rewards, actions, pictures = episode.rewards.copy(), episode.actions.copy(), episode.observations.copy()
    rewards[3] += 1.0
    actions[50] = (actions[50] + 1) % 4
    pictures[7, 0, 0, 0] ^= 1
    hashes = episode.check_hashes.copy()
    hashes[-1, 0] ^= 1
    verifier = Verifier()
    for change, message in (
        ({"rewards": rewards}, "for action 4, recorded"),
        ({"actions": actions}, "another|memory differs|for action"),
        ({"observations": pictures}, "another picture before action 8"),
        ({"check_hashes": hashes}, "memory differs after action 1"),
        ({"seed": 99}, "another .* before action 1|memory differs"),
        ({"rom_sha256": "0" * 64}, "another ROM"),
        ({"facts": replace(episode.facts, milestones=["Boulder"])}, "other milestones"),
    ):
        with pytest.raises(UserError, match=message):
            verifier.verify(replace(episode, **change))  # type: ignore[arg-type]
    assert "same" in verifier.verify(episode)
    verifier.close()


@pytest.mark.parametrize(
    "change",
    [
        {"actions": 7},
        {"actions": -1},
        {"actions": np.zeros(110, np.int64)},
        {"rewards": np.zeros(109, np.float32)},
        {"dones": True},
        {"inputs": {}},
        {"infos": []},
        {"check_steps": np.array([100, 109])},
    ],
)
def test_arrays_that_do_not_agree_are_no_demonstration(recorded: Path, change: dict[str, Any]) -> None:
    episode = read_episode(recorded / "episode_0001.npz")
    for name, value in change.items():  # a number stands for an array of it
        array = np.full_like(getattr(episode, name), value) if isinstance(value, int) else value
        episode = replace(episode, **{name: array})
    with pytest.raises(UserError, match="no demonstration, or a damaged one"):
        Episode.from_bytes(episode.to_bytes())


def test_an_episode_that_no_file_can_hold_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    game = Game(Recipe(env_id=BARS, settings={"steps": 40}, picture=ImageFormat(grey=False)))
    for module in ("record", "episode"):
        monkeypatch.setattr(f"daddy_puffer.demos.{module}.LARGEST_EPISODE", SPARE_BYTES + 2_000_000)
    list(record_episodes(game, make_player(BARS_PLAYER, game), BARS_PLAYER, 1, tmp_path, seed=0))
    episode = read_episode(tmp_path / "episode_0001.npz")
    assert 10 < len(episode) < 40 and episode.dones[-1] and not episode.facts.terminated
    assert f"cut off after {len(episode)} steps" in caplog.text
    monkeypatch.setattr("daddy_puffer.demos.episode.LARGEST_EPISODE", 1_500_000)
    with pytest.raises(UserError, match="is too large to be read again"):
        episode.to_bytes()
    game.close()


def test_frames_of_a_stack_are_rebuilt_as_the_environment_gave_them(recorded: Path) -> None:
    episode = read_episode(recorded / "episode_0001.npz")
    game = Game(episode.facts.recipe)
    view = game.reset(episode.seed, episode.start_state)
    starts = np.zeros(30, np.int64)
    rebuilt = episode.inputs["frames"][stacked_rows(starts, np.arange(30), 3)]
    for step in range(30):
        np.testing.assert_array_equal(view.inputs["frames"], rebuilt[step])
        view = game.step(int(episode.actions[step])).view
    game.close()


def test_stacked_rows_stay_within_their_episode() -> None:
    starts = np.array([0, 0, 0, 3, 3])
    assert stacked_rows(starts, np.array([0, 2, 3, 4]), 3).tolist() == [[0, 0, 0], [0, 1, 2], [3, 3, 3], [3, 3, 4]]


def test_random_starts_follow_the_seed_and_milestones_end_episodes() -> None:
    game = Game(red(until="Boulder", max_steps=400))
    places = []
    for seed in (1, 1, 2, 3):
        game.reset(seed)
        places.append((game.facts["game_state"].position, game.fingerprint()))
    assert places[0] == places[1] and len({place for place, _ in places}) > 1
    found = record_episode(game, make_player("scripted", game), "scripted", 3)
    assert isinstance(found, Episode) and "Boulder" in found.facts.milestones
    assert len(found) < 400 and not found.facts.terminated and found.infos[-1] == {}
    game.close()


def test_numbers_go_on_and_nothing_is_overwritten(copied: Path) -> None:
    assert next_number(copied) == 3
    (copied / "episode_0007.npz").write_bytes(b"broken, and still somebody's")
    assert next_number(copied) == 8 and write_episode(copied, 8, read_episode(copied / "episode_0001.npz")).is_file()
    assert [path.name[8:12] for path in episode_files(copied)] == ["0001", "0002", "0007", "0008"]


def test_any_function_plays_any_game_with_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = ["demos", "record", "--env-id", BARS, "--player", BARS_PLAYER, "--out", str(tmp_path / "d")]
    assert call(monkeypatch, *record, "--episodes", "2", "--rgb", "--size", "native") == 0
    assert "12 steps of 160x240x3, return 12.00" in capsys.readouterr().out
    episode = read_episode(tmp_path / "d" / "episode_0001.npz")
    assert episode.observations.shape == (12, 160, 240, 3) and episode.total == 12.0 and episode.facts.terminated
    assert (
        episode.facts.num_actions == 10 and [info["lit"] for info in episode.infos[:-1]] == episode.actions[1:].tolist()
    )
    capsys.readouterr()
    assert call(monkeypatch, "demos", "verify", str(tmp_path / "d")) == 1  # a file from elsewhere may name any code
    assert f"BAD: its environment is {BARS}: to run that here say --env-id" in capsys.readouterr().out
    assert call(monkeypatch, "demos", "verify", str(tmp_path / "d"), "--env-id", BARS) == 0
    keywords = ["--env-kwargs", '{"draws_only": true, "steps": 50}', "--max-steps", "20", "--episodes", "1"]
    assert call(monkeypatch, *record, *keywords, "--rgb", "--size", "40x60", "--random-start-steps", "5") == 0
    third = read_episode(tmp_path / "d" / "episode_0003.npz")
    assert third.observations.shape[1:] == (40, 60, 3) and len(third) + 5 >= 20 > len(third) - 1
    assert not third.facts.terminated and Verifier(trusted=BARS).verify(third)


def test_an_info_may_hold_anything(tmp_path: Path) -> None:
    game = Game(Recipe(env_id="python:bars_env:TalkingBars", picture=SMALL))
    found = record_episode(game, Called(lambda picture, info: 0, "mine"), "mine", 0)
    assert isinstance(found, Episode) and len(found) == 12
    read = read_episode(write_episode(tmp_path, 1, found))
    assert read.infos == found.infos
    assert [info["steps"][0] for info in read.infos] == list(range(1, 13))  # not twelve times the last
    assert read.infos[0] == {
        "state": {"('EVENT_A', 'EVENT_B')": "3 bytes", "()": "0 bytes"},
        "cells": {"3": 1.5, "4": True, "(1, 2)": None},
        "seen": [2, 2.5, 10, [1], "map"],
        "steps": [1, 1],
        "map": "float32 [40, 50]",
        "kept": ["(1+2j)", [0, 255], "nan"],
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
        lambda part: (
            st.lists(part)
            | st.tuples(part, part)
            | st.dictionaries(st.integers() | st.text() | st.tuples(st.text()) | st.binary() | st.none(), part)
            | st.sets(st.integers() | st.text() | st.floats(allow_nan=False) | st.binary() | st.none())
        ),
        max_leaves=20,
    )
)
def test_whatever_an_info_holds_json_has_it(info: Any) -> None:
    plain = plain_info({"info": info})
    assert json.loads(json.dumps(plain)) == plain == plain_info(plain)


def test_an_info_that_no_file_can_hold_is_one_line() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = [endless]
    with pytest.raises(UserError, match="contains itself"):
        plain_info(endless)
    large = plain_info({"map": np.zeros(LARGEST_INFO_ARRAY), "maps": np.zeros(LARGEST_INFO_ARRAY + 1, np.int16)})
    assert len(large["map"]) == LARGEST_INFO_ARRAY and large["maps"] == f"int16 [{LARGEST_INFO_ARRAY + 1}]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--player", "nobody"], "no player 'nobody'"),
        (["--player", "checkpoint"], "belong together"),
        (["--player", "scripted", "--keys", "z=1"], "--keys is for --player human"),
        (["--player", "scripted", "--until", "Nowhere"], "no milestone 'Nowhere'"),
        (["--player", "scripted", "--size", "84"], "size '84'"),
        (["--player", "python:bars_env:nothing"], "bars_env"),
        (["--player", "scripted", "--env-id", BARS], "knows the practice cartridge only"),
        (["--player", BARS_PLAYER, "--env-id", "NoSuchGame-v0"], "environment NoSuchGame-v0"),
        (["--player", "checkpoint", "--checkpoint", ".", "--env-id", BARS], "HierQ cannot read python:bars_env"),
        (["--player", BARS_PLAYER, "--env-id", BARS, "--env-kwargs", "[]"], "JSON object"),
        (["--player", BARS_PLAYER, "--env-id", BARS, "--until", "Boulder"], "has no milestones"),
        (["--player", "python:bars_env:press_nonsense", "--env-id", BARS], "which is no action"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(monkeypatch, "demos", "record", "--out", str(tmp_path / "d"), *arguments) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "d").exists()


def test_an_action_that_does_not_exist_is_refused() -> None:
    game = Game(Recipe(env_id=BARS))
    with pytest.raises(UserError, match="action 10"):
        record_episode(game, Called(lambda picture, info: 10, "mine"), "mine", 0)


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Posts keys into a window that nobody sees."""
    monkeypatch.setitem(os.environ, "SDL_VIDEODRIVER", "dummy")
    import pygame

    def press(*names: str) -> None:
        for name in names:
            code = pygame.key.key_code(name)
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=code))
            pygame.event.post(pygame.event.Event(pygame.KEYUP, key=code))

    yield press
    pygame.quit()


def test_a_person_plays_pauses_saves_and_discards(keyboard: Any, tmp_path: Path) -> None:
    game = Game(red())
    player = make_player("human", game)
    keyboard("left", "z", "x", "return", "p", "up", "p", "down", "d")  # what is pressed in a pause does not count
    assert record_episode(game, player, "human", 1) is Wish.DISCARD
    keyboard("s", "right", "up", "p", "down", "p", "z", "s")  # there is nothing to save at first
    found = record_episode(game, player, "human", 1)
    assert isinstance(found, Episode) and found.actions.tolist() == [Action.RIGHT, Action.UP, Action.A]
    assert found.dones.tolist() == [False, False, True] and "same" in Verifier().verify(found)
    keyboard("d", "left", "s", "escape")  # discarded, then one that is kept, then no more
    assert [path.name for path in record_episodes(game, player, "human", 5, tmp_path, 0)] == ["episode_0001.npz"]
    assert read_episode(tmp_path / "episode_0001.npz").actions.tolist() == [Action.LEFT]
    game.close()


@contextmanager
def screen() -> Iterator[dict[str, str]]:
    """A virtual screen; the environment variables that lead to it."""
    read, write = os.pipe()
    server = subprocess.Popen(["Xvfb", "-displayfd", str(write)], pass_fds=[write], stderr=subprocess.DEVNULL)
    try:
        os.close(write)
        with os.fdopen(read) as number:
            yield {**os.environ, "DISPLAY": f":{number.readline().strip()}"}
    finally:
        server.kill()
        server.wait()


@pytest.mark.skipif(not (shutil.which("Xvfb") and shutil.which("xdotool")), reason="needs xvfb and xdotool")
def test_a_person_at_a_real_window(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    command = [sys.executable, "-m", "daddy_puffer.demos", "record", "--player", "human", "--out", str(folder)]
    with screen() as environment:

        def tool(*arguments: str) -> str:
            return subprocess.run(["xdotool", *arguments], env=environment, capture_output=True, text=True).stdout

        def wait_for(title: str) -> None:
            until = time.monotonic() + 60
            while title not in (name := tool("getwindowfocus", "getwindowname")):
                assert time.monotonic() < until and player.poll() is None, f"{title!r} is not in {name!r}"
                time.sleep(0.1)

        player = subprocess.Popen([*command, "--episodes", "1"], env=environment)
        try:
            wait_for("step 0 ")
            tool("key", "Left", "z", "p")
            wait_for("paused")
            tool("key", "Up", "p")
            wait_for("step 2 ")
            tool("key", "Down", "s")
            assert player.wait(30) == 0
        finally:
            player.kill()
    found = read_episode(folder / "episode_0001.npz")
    assert found.actions.tolist() == [Action.LEFT, Action.A, Action.DOWN]
    assert "same" in Verifier().verify(found)


def test_a_held_key_goes_on_and_other_games_have_digits(keyboard: Any) -> None:
    import pygame

    game = Game(Recipe(env_id=BARS, settings={"steps": 4}))
    player = make_player("human", game)
    pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_7))
    found = record_episode(game, player, "human", 1)
    assert isinstance(found, Episode) and found.actions.tolist() == [7, 7, 7, 7]
    mapped = make_player("human", game, keys="space=9,left=2")
    keyboard("left", "space", "7", "left", "space")
    found = record_episode(game, mapped, "human", 1)
    assert isinstance(found, Episode) and found.actions.tolist() == [2, 9, 2, 9]
    for keys in ("s=1", "left=10", "nokey=1", "left"):
        with pytest.raises(UserError, match="--keys"):
            make_player("human", game, keys=keys)


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    channels=st.sampled_from([0, 1, 3, 4]),
    grey=st.booleans(),
    level=st.integers(0, 255),
)
def test_pictures_keep_their_level_and_get_their_shape(
    shape: tuple[int, int], size: tuple[int, int], channels: int, grey: bool, level: int
) -> None:
    picture = np.full(shape if not channels else (*shape, channels), level, np.uint8)
    made = ImageFormat(height=size[0], width=size[1], grey=grey).apply(picture)
    assert made.shape == (*size, 1 if grey else 3) and (made == level).all()
    assert ImageFormat(grey=grey).apply(picture).shape[:2] == shape


def test_pictures_shrink_by_averages() -> None:
    picture = np.array([[0, 100, 8, 8], [100, 200, 8, 8]], np.uint8)
    assert ImageFormat(height=1, width=2).apply(picture)[:, :, 0].tolist() == [[100, 8]]
    assert read_size("72x80") == (72, 80) and read_size("native") == (0, 0)
