"""Actions recorded in pokemonred_puffer are played again there to the same memory, across states of either swarm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from upstream_stand_in.runs import HOST_REWARD, Host

from daddy_puffer import plugin
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.envs.scripted import ScriptedPlayer
from daddy_puffer.errors import UserError
from daddy_puffer.replay_run import Video, read_script, replay
from daddy_puffer.wrappers.action_recorder import Recording

upstream = pytest.importorskip("pokemonred_puffer", reason="pokemonred_puffer is not importable here")
pytestmark = [
    pytest.mark.upstream,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # upstream sums generators with numpy
]

MOST_STEPS = 1500  # of the scripted player to a milestone
ACTS = {"infinite_money": True, "infinite_health": True, "disable_wild_encounters": ["ROUTE_2"], "auto_flash": False}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a run is started, and its recordings played: without a configuration."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    plugin._registries.clear()


def game(folder: Path, **curriculum: Any) -> Any:
    """The host's environment with our recorder, and our curriculum where there are options for it."""
    from pokemonred_puffer.rewards import baseline

    found: Any = OmegaConf.load(packaged("upstream.yaml"))
    start = packaged(PRACTICE_START)
    found.env.merge_with({"gb_path": str(packaged(PRACTICE_ROM)), "state_dir": str(start.parent), **ACTS})
    found.env.merge_with({"init_state": start.stem, "max_steps": 150})
    env = getattr(baseline, HOST_REWARD.split(".")[1])(found.env, found.rewards[HOST_REWARD].reward)
    options = OmegaConf.create({"folder": str(folder / "recordings"), "best_only": False})
    env = plugin.wrap_recorder(folder, plugin.wrap_epsilon(env, {}), options)
    return plugin.wrap_curriculum(folder / "savestates", env, curriculum) if curriculum else env


def buttons(count: int, seed: int) -> list[int]:
    """Long walks in random directions with some A in between."""
    rng = np.random.default_rng(seed)
    return np.repeat(rng.integers(0, 6, count), rng.integers(1, 6, count))[:count].tolist()


def play_to_a_milestone(env: Any) -> bytes:
    """Play until the host has a state for its swarm; the state."""
    player = ScriptedPlayer()
    for _ in range(MOST_STEPS):
        *_, info = env.step(int(player.act(env.get_wrapper_attr("memory"))))
        if "state" in info:
            (state,) = info["state"].values()
            return bytes(state)
    raise AssertionError("no milestone")


def recordings(folder: Path) -> list[Recording]:
    paths = sorted((folder / "recordings").glob("*.npz"), key=lambda path: path.stat().st_mtime_ns)
    return [Recording.from_bytes(path.read_bytes()) for path in paths]


def replay_some(folder: Path, said: pytest.CaptureFixture[str]) -> None:
    """Recordings, one of each number of states on the way, lead to the memory that they led to then."""
    for path in {len(read_script(path).chain.lengths): path for path in (folder / "recordings").glob("*.npz")}.values():
        said.readouterr()
        replay(path)
        actions = len(Recording.from_bytes(path.read_bytes()).chain.actions)
        assert f"same RAM hash after {actions} actions" in said.readouterr().out


def test_a_recording_goes_on_across_the_hosts_resets_and_its_swarm(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ahead, other = game(folder), game(folder)
    ahead.reset()
    state = play_to_a_milestone(ahead)
    (milestone,) = recordings(folder)  # at once: workers are killed at the end of a run
    assert len(milestone.milestones) >= 1 and milestone.chain.lengths.tolist() == [len(milestone.chain.actions)]
    for action in buttons(30, 0):
        ahead.step(action)
    other.reset()
    for options, steps in ((None, 60), ({"state": state}, 230), (None, 40)):  # the second None goes on with the game
        if steps != 60:
            other.reset(options=options)
        for action in buttons(steps, steps):
            other.step(action)
    other.close()
    first, second, third = (found for found in recordings(folder) if found.chain.lengths[-1] in (60, 230, 40))
    way = milestone.chain.actions.tolist()
    assert first.chain.lengths.tolist() == [60]
    assert second.chain.lengths.tolist() == [len(way), 230] and second.chain.actions[: len(way)].tolist() == way
    assert third.chain.lengths.tolist() == [len(way), 230, 40]
    replay_some(folder, capsys)


def test_what_nobody_knows_the_way_to_is_not_recorded(folder: Path) -> None:
    env = game(folder)
    env.reset()
    for action in buttons(20, 1):
        env.step(action)
    strange = env.get_wrapper_attr("save_state")()
    env.reset(options={"state": strange})
    for action in buttons(20, 2):
        env.step(action)
    env.reset()  # goes on from there
    env.step(0)
    env.close()
    assert [recording.chain.lengths.tolist() for recording in recordings(folder)] == [[20]]


def test_states_of_the_curriculum_and_recordings_behind_them_are_reached_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = game(folder, mode="go_explore", cell_size=2, episode_steps=40, true_start_share=0.2)
    env.reset(seed=3)
    for action in buttons(400, 3):
        *_, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    env.close()
    assert max(len(recording.chain.lengths) for recording in recordings(folder)) >= 2
    replay_some(folder, capsys)
    deepest = max((folder / "savestates").glob("*.json"), key=lambda path: len(read_script(path).chain.lengths))
    replay(deepest)
    assert "same save state after" in capsys.readouterr().out


def test_the_hosts_settings_are_part_of_the_machine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    env = game(folder)
    env.reset()
    for action in buttons(20, 1):
        env.step(action)
    env.close()
    (recording,) = recordings(folder)
    tag = recording.machine.host
    assert tag.startswith("pokemonred_puffer {") and '"infinite_money": true' in tag and "auto_flash" not in tag
    assert '"disable_wild_encounters": ["ROUTE_2"]' in tag
    (path,) = (folder / "recordings").glob("*.npz")
    replay(path, video=Video.GIF)
    assert path.with_suffix(".gif").stat().st_size > 1000
    with pytest.raises(UserError, match="ROM"):
        replay(path, rom="nowhere.gb")


def test_a_run_of_the_host_with_its_workers_is_recorded(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = OmegaConf.create(
        """
        env: {max_steps: 120, log_frequency: 50}
        train: {device: cpu, num_envs: 4, num_workers: 2, total_timesteps: 1200, batch_size: 400, minibatch_size: 80,
                algorithm: ppo, bptt_horizon: 8}
        wrappers:
          mine:
            - daddy_puffer.EpsilonEnv: {}
            - daddy_puffer.ActionRecorder: {folder: recordings, best_only: false}
            - daddy_puffer.Curriculum: {mode: go_explore, cell_size: 2, episode_steps: 30, true_start_share: 0.3}
        """
    )
    OmegaConf.save(config, folder / "config.yaml")
    host = Host(Path(str(upstream.__path__[0])).parent, folder)
    arguments = ("-p", "daddy_puffer.HierQ", "-w", "mine", "--rom-path", str(packaged(PRACTICE_ROM)))
    ended = host.train(*arguments, seconds=400)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert len(recordings(folder)) >= 4 and max(len(found.chain.lengths) for found in recordings(folder)) >= 2
    replay_some(folder, capsys)
