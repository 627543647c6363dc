"""Recorded episodes on the real cartridge: which are kept, and that they can be played again to the last bit."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daddy_puffer import cli
from daddy_puffer.config import Config, load_config, save_config
from daddy_puffer.errors import UserError
from daddy_puffer.game import MILESTONES
from daddy_puffer.replay_run import Video, read_script, replay
from daddy_puffer.swarm import Chain
from daddy_puffer.vector import AnyEnv, RedFactory, make_vector
from daddy_puffer.wrappers.action_recorder import CHECK_STEPS, Recording


def settings(**changes: Any) -> Config:
    short = {"env.max_steps": 120, "train.record_episodes": "all", "env.random_wait": 20}
    return load_config(None, {**short, **changes})


def game(folder: Path, **changes: Any) -> AnyEnv:
    return RedFactory(settings(**changes), folder / "savestates", folder / "recordings")()


def buttons(count: int, seed: int = 0) -> np.ndarray:
    """Long walks in random directions with some A in between: leaves the house."""
    rng = np.random.default_rng(seed)
    runs = rng.choice(6, count, p=[0.2, 0.2, 0.2, 0.2, 0.15, 0.05])
    return np.repeat(runs, rng.integers(1, 6, count))[:count]


def play(env: AnyEnv, actions: np.ndarray, seed: int = 1) -> None:
    env.reset(seed=seed)
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()


def recordings(folder: Path) -> list[Path]:
    return sorted((folder / "recordings").iterdir())


def read(path: Path) -> Recording:
    return Recording.from_bytes(path.read_bytes())


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a game with curriculum and wrappers that end episodes early."""
    folder = tmp_path_factory.mktemp("run")
    changes = {"curriculum.mode": "progress", "curriculum.cell_size": 4, "curriculum.episode_steps": 40}
    env = game(folder, **changes, **{"env.patience_steps": 35, "intrinsic.novelty_weight": 1.0})
    play(env, buttons(500))
    env.close()
    save_config(settings(**changes), folder / "config.yaml")
    return folder


def test_every_episode_is_recorded_with_the_buttons_that_led_to_its_start(swarm: Path) -> None:
    found = [read(path) for path in recordings(swarm)]
    assert sum(int(r.chain.lengths[-1]) for r in found) == 500  # nothing is missing, nothing is there twice
    depths = {len(r.chain.lengths) for r in found}
    assert {1, 2} <= depths and all((len(r.chain.lengths) > 1) == bool(r.savestate_tag) for r in found)
    assert len({int(wait) for r in found for wait in r.chain.waits}) > 3
    for r in found:
        assert r.check_steps[-1] == len(r.chain.actions) == r.chain.lengths.sum()
        assert len(set(map(bytes, r.check_hashes))) > 1 or len(r.check_steps) == 1


def test_recordings_of_every_depth_play_again_to_the_same_memory(
    swarm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by_depth = {len(read(path).chain.lengths): path for path in recordings(swarm)}
    assert len(by_depth) >= 2
    for path in by_depth.values():
        replay(path)
        actions = len(read(path).chain.actions)
        assert f"same RAM hash after {actions} actions" in capsys.readouterr().out


def test_a_state_of_the_curriculum_is_reached_again(swarm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sidecar = max((swarm / "savestates").glob("*.json"), key=lambda p: len(read_script(p).chain.lengths))
    replay(sidecar.with_suffix(""))
    replay(sidecar.with_suffix(".state"))
    replay(sidecar.with_suffix(".actions.npz"))
    lines = capsys.readouterr().out.splitlines()
    steps = len(read_script(sidecar).chain.actions)
    assert lines == [f"same save state after {steps} actions"] * 3


def long_one(folder: Path) -> Path:
    """One episode of 250 actions with a hash every 100."""
    env = game(folder, **{"env.max_steps": 250})
    play(env, buttons(250, seed=4))
    env.close()
    save_config(settings(), folder / "config.yaml")
    (path,) = recordings(folder)
    return path


def altered(path: Path, **arrays: np.ndarray) -> Path:
    with np.load(path) as old:
        np.savez(path.with_name("altered.npz"), **{**{name: old[name] for name in old.files}, **arrays})
    return path.with_name("altered.npz")


def test_the_first_difference_is_named_and_the_exit_code_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = long_one(tmp_path)
    recorded = read(path)
    assert recorded.check_steps.tolist() == [CHECK_STEPS, 2 * CHECK_STEPS, 250]
    actions = recorded.chain.actions.copy()
    actions[110:190] = 6  # START opens a menu
    changed = altered(path, actions=actions)
    monkeypatch.setattr("sys.argv", ["daddy-puffer", "replay", str(changed)])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 1
    assert "the RAM differs after action 200; it was the same after action 100" in capsys.readouterr().err
    replay(changed, until=150)  # before the difference can be seen
    assert "same RAM hash after 100 actions (1 compared, 150 actions played)" in capsys.readouterr().out


def test_a_way_with_another_wait_does_not_lead_to_the_state(swarm: Path, tmp_path: Path) -> None:
    sidecar = min((swarm / "savestates").glob("*.json"), key=lambda p: len(read_script(p).chain.actions))
    (tmp_path / "s.json").write_bytes(sidecar.read_bytes())
    chain = read_script(sidecar).chain
    other = Chain(chain.actions, (chain.waits + 7) % 20, chain.lengths, chain.visited)
    (tmp_path / "s.actions.npz").write_bytes(other.to_bytes())
    with pytest.raises(UserError, match=f"another save state after all {len(chain.actions)} actions"):
        replay(tmp_path / "s")


def test_film_of_a_replay(tmp_path: Path) -> None:
    path = long_one(tmp_path)
    replay(path, video=Video.GIF, until=5)
    from PIL import Image

    with Image.open(path.with_suffix(".gif")) as film:
        assert film.n_frames == 5


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no recording of actions"), (b"PK\x03\x04rubbish", "no recording of actions"), (None, "cannot be read")],
)
def test_what_is_no_recording_is_one_clear_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "x.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        replay(path)
    assert "\n" not in str(caught.value) and "x.npz" in str(caught.value)


def test_another_machine_is_named(tmp_path: Path) -> None:
    path = long_one(tmp_path)
    (tmp_path / "config.yaml").write_text(f"env:\n  init_state: {tmp_path / 'other.state'}\n")
    env = RedFactory(settings())()
    env.reset(seed=3)
    env.step(np.int64(0))
    (tmp_path / "other.state").write_bytes(env.get_wrapper_attr("save_state")())
    with pytest.raises(UserError, match="recorded with another start_sha256"):
        replay(path)
    (tmp_path / "config.yaml").unlink()  # the defaults then, which are right
    with pytest.raises(UserError, match=r"--until 251: there are 250 actions"):
        replay(path, until=251)


def test_what_another_project_recorded_is_refused_with_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pokemonred_puffer", None)
    recorded = read(long_one(tmp_path))
    for host, message in (
        (
            'pokemonred_puffer {"infinite_money": true}',
            "in pokemonred_puffer with .*: infinite_money: true; here",
        ),
        ("pokemonred_puffer {", "only recordings of our own game"),
        ('pokemonred_puffer {"infinite_money": 7}', "only recordings of our own game"),
        ("another", "only recordings of our own game"),
        (5, "only recordings of our own game"),
    ):
        path = tmp_path / "hosted.npz"
        path.write_bytes(replace(recorded, machine=replace(recorded.machine, host=host)).to_bytes())
        with pytest.raises(UserError, match=message) as caught:
            replay(path)
        assert "\n" not in str(caught.value)


def milestone(env: AnyEnv, index: int) -> None:
    """Set a milestone's bit in the game's memory."""
    memory, found = env.get_wrapper_attr("memory"), MILESTONES[index]
    memory[found.address] = memory[found.address] | 1 << found.bit


def test_best_keeps_only_what_is_better_than_everybodys_before(tmp_path: Path) -> None:
    env, other = (game(tmp_path, **{"train.record_episodes": "best"}) for _ in range(2))
    kept = []
    # player, badges set by hand, actions: more badges are better, and as many in clearly fewer actions
    for player, badges, steps in (
        (env, 0, 20), (env, 1, 60), (env, 1, 59), (other, 1, 58), (other, 1, 40), (env, 1, 50), (env, 2, 90),
        (other, 1, 9)
    ):  # fmt: skip
        player.reset(seed=1)
        for badge in range(badges):
            milestone(player, badge)
        for action in buttons(steps):
            player.step(action)
        player.reset()
        kept.append(len(recordings(tmp_path)) if (tmp_path / "recordings").exists() else 0)
    assert kept == [0, 1, 1, 1, 2, 2, 3, 3]
    best = recordings(tmp_path)[-1]
    assert best.name.startswith("m002_a0000090_") and read(best).milestones == [m.name for m in MILESTONES[:2]]
    env.close(), other.close()


def test_workers_record_and_a_run_without_a_folder_does_not(tmp_path: Path) -> None:
    config = settings(**{"train.num_workers": 2, "env.max_steps": 30})
    with make_vector(config, 2, recordings=tmp_path / "recordings") as env:
        env.reset(seed=0)
        for _ in range(40):
            env.step(np.full(2, 5))
    assert sorted(len(read(path).chain.actions) for path in recordings(tmp_path)) == [9, 9, 30, 30]
    assert RedFactory(config).recordings is None
    assert RedFactory(settings(**{"train.record_episodes": "none"}), None, tmp_path).recordings is None


@pytest.mark.parametrize("ended_by", ["close", "reset"])
def test_a_step_that_nobody_waited_for_is_recorded_as_a_whole(
    tmp_path: Path, ended_by: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings(**{"train.vectorization": "threads", "train.num_workers": 2})
    save_config(config, tmp_path / "config.yaml")
    with make_vector(config, 3, recordings=tmp_path / "recordings") as env:
        env.reset(seed=0)
        for _ in range(4):
            env.step(np.full(3, 3))
        env.send(np.full(3, 2))
        if ended_by == "reset":
            env.reset(seed=1)
    assert [read(path).chain.actions.tolist() for path in recordings(tmp_path)] == [[3, 3, 3, 3, 2]] * 3
    for path in recordings(tmp_path):
        replay(path)
    assert capsys.readouterr().out.count("same RAM hash after 5 actions") == 3


def test_a_full_disk_does_not_end_the_game(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "recordings").write_text("a file is in the way")
    env = game(tmp_path)
    play(env, buttons(130))
    assert "cannot be recorded" in caplog.text
    env.close()
