"""Demonstrations on the real environment of pokemonred_puffer, as it is configured, on the practice cartridge."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from support import call

from daddy_puffer.demos.episode import episode_files, read_episode
from daddy_puffer.demos.game import Game, Recipe
from daddy_puffer.demos.players import Called
from daddy_puffer.demos.record import record_episode
from daddy_puffer.demos.verify import Verifier
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.gym_plugin import HOSTED_ENV_ID
from daddy_puffer.types import Action

upstream = pytest.importorskip("pokemonred_puffer", reason="pokemonred_puffer is not importable here")
pytestmark = [pytest.mark.upstream, pytest.mark.timeout(600)]

THERE = ["--env-id", HOSTED_ENV_ID]
CUT_OFF = ["--max-steps", "260"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configuration as it is shipped."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(Path(str(upstream.__path__[0])).parent / "config.yaml", folder)
    return folder


@pytest.fixture(scope="module")
def recorded(checkout: Path) -> Path:
    """Two episodes of the script as far as the first badge."""
    record = ["demos", "record", *THERE, "--player", "scripted", "--until", "Boulder", "--episodes", "2", *CUT_OFF]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkout)
        assert call(patch, *record, "--random-start-steps", "20", "--out", "demos") == 0
    return checkout / "demos"


def test_two_episodes_are_the_same_anywhere_and_in_any_order(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (read_episode(path) for path in episode_files(recorded))
    for episode in (first, second):  # each one is paid for the badge
        assert 100 < len(episode) < 260 and "Boulder" in episode.facts.milestones and not episode.facts.terminated
        assert list(episode.infos[-1]["state"]) == ["('EVENT_BEAT_BROCK',)"] and episode.rewards[-1] > 7.0
        assert list(episode.infos[-1]["state"].values())[0].endswith(" bytes")
        assert episode.observations.shape[1:] == (72, 80, 1) and len(np.unique(episode.observations)) > 3
        assert len(episode.inputs) == 4 and len(episode.rom_sha256) == 64 and len(episode.start_state) > 1000
    assert first.actions.tolist() != second.actions.tolist()

    monkeypatch.chdir(tmp_path)  # no configuration here: the file has it
    verifier = Verifier(trusted=HOSTED_ENV_ID)
    assert all("same" in verifier.verify(episode) for episode in (second, first, second))
    verifier.close()
    shutil.copy(packaged(PRACTICE_ROM), tmp_path / "moved.gb")
    assert call(monkeypatch, "demos", "verify", str(recorded)) == 1  # a file from elsewhere may name any code
    assert call(monkeypatch, "demos", "verify", str(recorded), *THERE, "--rom", "moved.gb") == 0
    assert "2 of 2 demonstrations are good" in capsys.readouterr().out


@pytest.mark.parametrize("student", ["impala", "hierq"])
def test_students_are_cloned_corrected_and_play(
    student: str,
    recorded: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    one_thread: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"impala": ["--size", "18x20", "--hidden-dim", "16"], "hierq": ["--sequence-length", "4"]}[student]
    learn = ["--student", student, *small, "--batch-size", "8", "--eval-episodes", "1", *THERE]
    bc = ["imitate", "bc", "--demos", str(recorded), "--out", "bc", *learn]
    assert call(monkeypatch, *bc, "--total-training-steps", "4", "--eval-frequency", "4") == 0
    best = "bc/best.pt" if student == "impala" else "bc/best"
    assert call(monkeypatch, "imitate", "evaluate", best, "--episodes", "1", "--max-steps", "20", *THERE) == 0
    if student == "hierq":
        play = ["--player", "checkpoint", "--checkpoint", best, "--episodes", "1", "--max-steps", "20"]
        assert call(monkeypatch, "demos", "record", *THERE, *play, "--out", "played") == 0
    rounds = ["--rounds", "2", "--episodes", "1", "--updates", "2", "--max-steps", "40", "--random-start-steps", "5"]
    assert call(monkeypatch, "imitate", "dagger", "--out", "dagger", *learn, *rounds) == 0
    assert call(monkeypatch, "demos", "verify", "dagger/rounds/round_001", *THERE) == 0
    assert "BAD" not in capsys.readouterr().out
    assert torch.get_num_threads() == 1


def test_episodes_end_and_begin_as_the_configuration_says(checkout: Path, tmp_path: Path) -> None:
    config = OmegaConf.load(checkout / "config.yaml")
    config.env.max_steps, config.env.two_bit = 30, False
    OmegaConf.save(config, tmp_path / "mine.yaml")
    shutil.copy(packaged(PRACTICE_START), tmp_path / "begin.state")
    settings = {"config": str(tmp_path / "mine.yaml"), "rom": "practice", "state": str(tmp_path / "begin.state")}
    game = Game(Recipe(env_id=HOSTED_ENV_ID, settings=settings))
    assert game.recipe == Game(game.recipe).recipe and game.recipe.settings["config"]["env"]["max_steps"] == 30
    seen: dict[str, Any] = {}

    def walk(picture: Any, info: dict[str, Any]) -> int:
        seen.update(info)
        return Action.UP

    episode: Any = record_episode(game, Called(walk, "mine"), "mine", 3)
    assert len(episode) == 30 and not episode.facts.terminated
    assert "game_state" in seen and len(bytes(seen["memory"][0xD347:0xD34A])) == 3
    later, position = game._red.save_state(), game.facts["game_state"].position  # type: ignore[union-attr]
    hashes = []
    for state in (later, b"", later):
        game.reset(0, state)
        hashes.append(game.fingerprint())
        assert (game.facts["game_state"].position == position) == bool(state)
    assert hashes[0] == hashes[2] != hashes[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ('{"reward": "baseline.Nothing"}', "no rewards.baseline.Nothing.reward (known: "),
        ('{"rom": "gone.gb"}', "gone.gb does not exist"),
        ('{"state": "gone.state"}', "gone.state does not exist"),
        ('{"config": "gone.yaml"}', "gone.yaml does not exist"),
        ('{"map": "red"}', "unexpected keyword argument 'map'"),
    ],
)
def test_mistakes_are_one_line(
    settings: str,
    message: str,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(checkout)
    record = ["demos", "record", *THERE, "--player", "scripted", "--out", "none", "--env-kwargs", settings]
    assert call(monkeypatch, *record) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
