"""The configurations in `configs/` say what their first lines promise, and differ from the defaults in nothing else."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from daddy_puffer.config import Config, load_config

FOLDER = Path(__file__).parents[1] / "configs"
TRACES = {"target_network": False, "trace_decay": 0.8, "cut_traces": False}
EXPLORE = {
    "env": {"patience_steps": 100, "patience_reward": 1.0},
    "rewards": {"cell": 0.05},
    "intrinsic": {"novelty_weight": 0.3},
    "curriculum": {
        "mode": "frontier",
        "cell_size": 4,
        "max_states": 1000,
        "true_start_share": 0.3,
        "episode_steps": 128,
    },
    "exploration": {"talk_chance": 0.5, "from_states": 0.4},
    "replay": {"capacity": 60_000},
    "learner": {"learning_rate": 0.001, "anneal_from": 0.6, "gamma": 0.9, **TRACES},
}
DIFFERENCES = {
    "traces.yaml": {"learner": TRACES},
    "explore.yaml": {
        **EXPLORE,
        "demos": {"own_way": ["furthest", "Boulder", "Cascade"], "own_wins": 12, "ratio": 0.125, "bc_weight": 4.0},
    },
    "demos.yaml": {
        "env": {"patience_steps": 400, "patience_reward": 1.0},
        "rewards": EXPLORE["rewards"],
        "demos": {
            "folder": "demos/cascade",
            "ratio": 0.5,
            "bc_weight": 32.0,
            "anneal_steps": 300_000,
            "warm_up_updates": 5000,
        },
        "exploration": {"talk_chance": 0.5, "epsilon_start": 0.02, "epsilon_end": 0.002},
        "replay": EXPLORE["replay"],
        "learner": {"anneal_from": 0.6, "gamma": 0.9, **TRACES},
    },
    "progress.yaml": {
        "env": {"init_state": "power_on", "action_freq": 30, "max_steps": 128},
        "progress_reward": {"model": "runs/order", "reward_interval": 8, "scale": 100.0},
        "learner": {"learning_rate": 0.001, "gamma": 0.99, **TRACES},
    },
    "pqn.yaml": {
        "replay": {"kind": "rollouts", "burn_in": 0, "sequence_length": 32},
        "learner": {"target_network": False, "trace_decay": 0.65, "cut_traces": False, "replay_ratio": 2.0},
    },
}


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.yaml")))
def test_differs_from_the_defaults_as_it_says(name: str) -> None:
    shipped, default = asdict(load_config(FOLDER / name)), asdict(Config())
    found = {
        part: {key: value for key, value in shipped[part].items() if value != default[part].get(key)}
        for part in default
        if shipped[part] != default[part]
    }
    assert found == DIFFERENCES[name]
