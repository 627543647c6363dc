"""ProgressReward on pokemonred_puffer's own reward classes: the change of the score, from where an episode begins."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daddy_puffer import plugin
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.rewards.progress import half_size
from daddy_puffer.vision.progress import FrameScore, ProgressModel, ProgressSettings, load_progress, progress_state
from daddy_puffer.vision.saved import save

upstream = pytest.importorskip("pokemonred_puffer", reason="pokemonred_puffer is not importable here")
pytestmark = [
    pytest.mark.upstream,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # upstream sums generators with numpy
]


def make(model: Path, base: str, **options: Any) -> Any:
    """An environment out of our shipped configuration for it."""
    from omegaconf import OmegaConf

    shipped: Any = OmegaConf.load(packaged("upstream.yaml"))
    start = packaged(PRACTICE_START)
    shipped.env.update(
        {"gb_path": str(packaged(PRACTICE_ROM)), "state_dir": str(start.parent), "init_state": start.stem}
    )
    reward = shipped.rewards["daddy_puffer.ProgressReward"].reward
    reward.update({"model": str(model), "base": base, "reward_interval": 4, "mode": "delta", **options})
    return plugin._reward("ProgressReward")(shipped.env, reward)


@pytest.mark.parametrize(
    "base", ["baseline.ObjectRewardRequiredEventsMapIdsFieldMoves", "daddy_puffer.FastRequiredEvents"]
)
def test_it_pays_for_what_is_on_the_screen(base: str, tmp_path: Path) -> None:
    save(tmp_path / "progress.pt", "progress", progress_state(ProgressModel(ProgressSettings(channels=8))))
    score = FrameScore(load_progress(tmp_path), bounded=True)
    env = make(tmp_path, base, scale=1000.0, time_penalty=0.5)

    def now() -> float:
        return score(half_size(env.pyboy.screen.ndarray))

    rng = np.random.default_rng(0)
    env.reset()
    kept = io.BytesIO()
    for episode in range(3):
        before, total = now(), 0.0
        for step in range(20):
            reward = env.step(int(rng.integers(6)))[1]
            assert not reward or step % 4 == 3
            total += reward
            if (episode, step) == (0, 9):
                env.pyboy.save_state(kept)
        assert total == pytest.approx(1000 * (now() - before) - 5 * 0.5, abs=1e-2)
        assert {"event", "progress"} <= env.get_game_state_reward().keys()
        env.reset(**({"options": {"state": kept.getvalue()}} if episode == 1 else {}))
    env.close()
