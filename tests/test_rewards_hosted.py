"""Our shaping in a small host that asks for rewards as pokemonred_puffer does; tests/upstream has the real one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from ram_images import creature, fighter, image

from daddy_puffer.errors import UserError
from daddy_puffer.rewards.hosted import DEFAULT_SHAPING, fast_required_events, shaped

EVENTS, MAP, X, PARTY, ENEMY, BATTLE = 0xD747, 0xD35E, 0xD362, 0xD163, 0xCFE5, 0xD057
LOG_FREQUENCY = 3
Change = Callable[[bytearray], object]


class Host:
    """Totals by name; a step pays the difference of their sum, a report asks twice more."""

    def __init__(self, env_config: Any, reward_config: Any) -> None:
        self.pyboy = SimpleNamespace(memory=image())
        self.reward_config = reward_config
        self.start: Change = lambda memory: None
        self.spoilt: dict[str, float] = {}
        self.steps = 0

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        self.start(self.pyboy.memory)
        self.total = sum(self.get_game_state_reward().values())
        return "observation", {}

    def step(self, action: Change) -> tuple[str, float, bool, bool, dict[str, Any]]:
        action(self.pyboy.memory)
        before, self.total = self.total, sum(self.get_game_state_reward().values())
        self.steps += 1
        info = {}
        if self.steps % LOG_FREQUENCY == 0:
            info = {"reward": self.get_game_state_reward(), "sum": sum(self.get_game_state_reward().values())}
        return "observation", self.total - before, False, False, info

    def get_game_state_reward(self) -> dict[str, float]:
        bits = sum(byte.bit_count() for byte in self.pyboy.memory[EVENTS : EVENTS + 320])
        return {"event": self.reward_config["event"] * bits, "badges": 0.0} | self.spoilt


def make(**shaping: float) -> Any:
    env = shaped(Host)({}, {"event": 2.0, "shaping": shaping})
    env.reset()
    return env


def put(address: int, *values: int) -> Change:
    """Write bytes."""

    def write(memory: bytearray) -> None:
        memory[address : address + len(values)] = bytes(values)

    return write


def rest(memory: bytearray) -> None:
    """Change nothing."""


def test_the_class_keeps_the_hosts_face() -> None:
    cls = shaped(Host)
    assert issubclass(cls, Host) and cls.__name__ == "ShapedHost"
    assert list(inspect.signature(cls).parameters) == ["env_config", "reward_config"]


def test_steps_pay_the_host_and_the_weighted_terms() -> None:
    env = make(damage=4.0, new_map=0.5, event=1.0)
    assert env.step(put(EVENTS, 0b11))[1] == pytest.approx(2 * 2.0 + 2 * 1.0)
    assert env.step(put(BATTLE, 1))[1] == 0
    env.step(put(ENEMY, *fighter(7, 5, 20, 20)))
    assert env.step(put(ENEMY, *fighter(7, 5, 15, 20)))[1] == pytest.approx(4.0 * 5 / 20)
    assert env.step(put(MAP, 9))[1] == pytest.approx(0.5)
    assert env.step(put(MAP, 0))[1] == 0, "been there"
    totals = env.get_game_state_reward()
    assert totals == pytest.approx(
        {"event": 4, "badges": 0, "shaping_event": 2, "shaping_new_map": 0.5, "shaping_damage": 1}
    )
    assert list(totals)[:2] == ["event", "badges"]


def test_asking_has_no_effect_and_reports_agree() -> None:
    quiet, asked = make(cell=1.0, heal=2.0), make(cell=1.0, heal=2.0)
    script = [put(X, 1), rest, put(PARTY, 1), put(X, 2), put(PARTY + 8, *creature(1, 5, 3, 10)), rest]
    script += [put(PARTY + 8, *creature(1, 5, 10, 10)), put(X, 1), put(X, 3)]
    paid = 0.0
    for change in script:
        reward, info = quiet.step(change)[1], asked.step(change)[4]
        paid += reward
        assert [sum(asked.get_game_state_reward().values()) for _ in range(4)] == pytest.approx([paid] * 4)
        if info:
            assert info["sum"] == pytest.approx(sum(info["reward"].values())) == pytest.approx(paid)
    assert quiet.get_game_state_reward()["shaping_cell"] == 3
    assert quiet.get_game_state_reward()["shaping_heal"] == pytest.approx(2.0 * 0.7)


def test_a_reset_begins_anew_and_pays_no_jump() -> None:
    env = make(event=1.0, cell=1.0)
    env.step(put(X, 1))
    env.start = put(EVENTS, 255)  # another save state
    env.reset()
    assert env.get_game_state_reward() == {"event": 16, "badges": 0, "shaping_event": 0, "shaping_cell": 0}
    assert env.step(rest)[1] == 0
    assert env.step(put(X, 2))[1] == 1
    assert env.step(put(X, 1))[1] == 0, "where the episode began"


@pytest.mark.parametrize("spoilt", [math.nan, math.inf, -math.inf])
def test_a_reward_that_is_no_number_does_not_get_through(spoilt: float) -> None:
    env = make(event=1.0)
    env.spoilt = {"badges": 5.0}
    assert env.step(rest)[1] == 5
    env.spoilt = {"badges": spoilt}
    with pytest.warns(RuntimeWarning, match="badges"):
        assert env.step(put(EVENTS, 1))[1] == 3
    env.spoilt = {"badges": 6.0}
    assert env.step(rest)[1] == 1


def test_configuration_as_the_host_gives_it() -> None:
    env = shaped(Host)({}, OmegaConf.create({"event": 1.0, "base": "x", "shaping": {"badge": 2, "cell": 0}}))
    env.reset()
    assert list(env.get_game_state_reward()) == ["event", "badges", "shaping_badge"]
    without = shaped(Host)({}, {"event": 1.0})
    without.reset()
    assert set(without.get_game_state_reward()) == {"event", "badges", *(f"shaping_{n}" for n in DEFAULT_SHAPING)}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"shaping": {"fame": 1.0}}, "unknown reward term 'fame'"),
        ({"shaping": {"event": "much"}}, "shaping.event must be a finite number, got 'much'"),
        ({"shaping": {"event": math.nan}}, "shaping.event must be a finite number"),
        ({"shaping": 3}, "shaping must map terms to weights, got 3"),
    ],
)
def test_bad_configuration_is_one_line(config: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        shaped(Host)({}, {"event": 1.0} | config)


def test_a_weight_the_host_misses_is_named() -> None:
    with pytest.raises(UserError, match="no 'event'"):
        shaped(Host)({}, {"shaping": {}}).reset()


def test_an_unknown_host_runs_as_it_is() -> None:
    with pytest.warns(RuntimeWarning, match="does not know this version of .*Host"):
        assert fast_required_events(Host) is Host
