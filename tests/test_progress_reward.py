"""A reward for getting on: what it pays on made-up scores, in the real game, under a host, and from save states."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upstream_stand_in.runs import HOST_REWARD, OURS, STAND_IN
from upstream_stand_in.runs import SMALL as STAND_IN_SIZES
from upstream_stand_in.runs import Host as UpstreamRun

from daddy_puffer.config import Config, EnvConfig, ProgressRewardConfig, load_config
from daddy_puffer.envs import RedEnv, make_red_env
from daddy_puffer.envs.scripted import UI_OVERWORLD, UI_STATE, ScriptedPlayer
from daddy_puffer.errors import UserError
from daddy_puffer.pretraining.frames import halve, pack, quantise
from daddy_puffer.rewards.hosted_progress import progressive
from daddy_puffer.rewards.progress import ProgressReward, half_size, make_progress_reward
from daddy_puffer.types import Action
from daddy_puffer.vector.red import RedFactory
from daddy_puffer.vision.progress import FrameScore, ProgressModel, ProgressSettings, load_progress, progress_state
from daddy_puffer.vision.saved import save

INTERVAL = 3


def screen_of(value: float) -> np.ndarray:
    """A screen that `scripted` scores `value`, 0 to 1."""
    screen = np.zeros((144, 160, 4), np.uint8)
    screen[: round(value * 144) // 2 * 2] = 255
    return screen


def brightness(packed: np.ndarray) -> float:
    """The score of these tests: the share of white lines."""
    return float((packed == 255).all(1).mean())


def paid(values: list[float], mode: str, **options: Any) -> list[float]:
    """Rewards at the looks of an episode that begins at the first value and shows one value an interval."""
    chosen = ProgressRewardConfig(mode=mode, reward_interval=INTERVAL, **{"scale": 1.0, "time_penalty": 0.0} | options)
    reward = ProgressReward(brightness, chosen)
    reward.begin(screen_of(values[0]))
    found = []
    for value in values[1:]:
        between = [reward.step(screen_of(0.9)) for _ in range(INTERVAL - 1)]  # what is shown between looks is not seen
        assert between == [0.0] * (INTERVAL - 1)
        found.append(reward.step(screen_of(value)))
    return found


def quarters() -> st.SearchStrategy[list[float]]:
    """Progress at the looks of an episode."""
    return st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), min_size=2, max_size=12)


def test_what_each_mode_pays_by_hand() -> None:
    assert paid([0.25, 0.5, 0.5, 1.0, 0.75, 0.25], "best") == pytest.approx([0.0, 0.25, 0.0, 0.25, 0.0])
    way = [0.25, 0.5, 0.25, 0.75]
    assert paid(way, "best") == pytest.approx([0.0, 0.0, 0.0])  # nothing lasts
    assert paid(way, "delta") == pytest.approx([0.25, -0.25, 0.5])
    g = 0.9**INTERVAL
    assert paid(way, "potential", gamma=0.9) == pytest.approx([g * 0.5 - 0.25, g * 0.25 - 0.5, g * 0.75 - 0.25])
    assert paid([0.25, 0.5, 0.75], "best", scale=8.0, time_penalty=0.5) == pytest.approx([-0.5, 1.5])


@given(quarters(), st.floats(0.5, 1.0))
def test_discounted_potentials_telescope(way: list[float], gamma: float) -> None:
    """Whatever lies between, the discounted sum is that of the ends: Ng 1999."""
    rewards = paid(way, "potential", gamma=gamma)
    times = [INTERVAL * (look + 1) - 1 for look in range(len(rewards))]  # of the steps that were paid
    total = sum(gamma**time * reward for time, reward in zip(times, rewards, strict=True))
    assert total == pytest.approx(gamma ** (times[-1] + INTERVAL) * way[-1] - gamma ** times[0] * way[0], abs=1e-9)


@given(quarters(), st.integers(1, 5))
def test_going_round_pays_nothing(loop: list[float], rounds: int) -> None:
    way = [*loop, *loop[:1]]
    again = [way[0], *itertools.chain.from_iterable([way[1:]] * rounds)]
    assert sum(paid(again, "delta")) == pytest.approx(0.0, abs=1e-9)
    lasting = max(min(pair) for pair in itertools.pairwise(way))
    assert sum(paid(again, "best")) == pytest.approx(max(lasting - way[0], 0.0), abs=1e-9)  # however many rounds
    gamma = 0.98
    discounted = sum(
        gamma ** (INTERVAL * (look + 1) - 1) * reward
        for look, reward in enumerate(paid(again, "potential", gamma=gamma))
    )
    end = gamma ** (INTERVAL * (len(again) - 1) - 1 + INTERVAL)
    assert discounted == pytest.approx(way[0] * (end - gamma ** (INTERVAL - 1)), abs=1e-9)


@given(quarters())
def test_an_episode_pays_at_most_what_is_left_of_a_run(way: list[float]) -> None:
    assert 0 <= sum(paid(way, "best")) <= 1 - way[0] + 1e-9


def test_delta_by_discounting_counts_the_way_up_more_but_less_than_staying() -> None:
    """What docs/PRETRAINING.md says of it."""
    gamma, back_and_forth, staying = 0.97, [0.0, 1.0] * 20, [0.0] + [1.0] * 39

    def worth(way: list[float]) -> float:
        return sum(gamma ** (INTERVAL * look) * reward for look, reward in enumerate(paid(way, "delta")))

    assert 0.0 < worth(back_and_forth) < worth(staying)


def test_a_new_episode_forgets_the_last_one() -> None:
    reward = ProgressReward(brightness, ProgressRewardConfig(reward_interval=2, time_penalty=0.0, scale=1.0))
    reward.begin(screen_of(1.0))
    reward.step(screen_of(1.0))
    reward.begin(screen_of(0.25))  # with half an interval gone
    assert [reward.step(screen_of(0.5)) for _ in range(6)] == pytest.approx([0.0, 0.0, 0.0, 0.25, 0.0, 0.0])


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=10)
def test_the_network_sees_what_it_was_trained_on(seed: int) -> None:
    greys = np.array([0, 85, 153, 255], np.uint8)[np.random.default_rng(seed).integers(0, 4, (144, 160))]
    screen = np.repeat(greys[:, :, None], 4, axis=2)
    assert np.array_equal(half_size(screen), halve(pack(quantise(greys))))


# ---- in the game ----


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network as it is drawn: any will do here."""
    folder = tmp_path_factory.mktemp("model")
    network = ProgressModel(ProgressSettings(channels=8, hidden=16))
    state = progress_state(network)
    state["network"]["knots"] = network.knots * 0.5
    save(folder / "progress.pt", "progress", state)
    return folder


@pytest.fixture(scope="module")
def env(model: Path) -> Iterator[RedEnv]:
    chosen = ProgressRewardConfig(model=str(model), reward_interval=8, mode="delta", scale=1000.0, time_penalty=0.25)
    made = make_red_env(EnvConfig(max_steps=40), {}, progress=chosen)
    yield made
    made.close()


def score_of(model: Path, env: RedEnv) -> float:
    return FrameScore(load_progress(model), bounded=True)(half_size(env._emulator.screen))


def play(env: RedEnv, count: int, seed: int = 0) -> list[float]:
    """Rewards of random buttons."""
    return [float(env.step(action)[1]) for action in np.random.default_rng(seed).integers(0, 7, count)]


def test_the_game_pays_the_change_of_the_score(env: RedEnv, model: Path) -> None:
    env.reset(seed=0)
    first = score_of(model, env)
    rewards = play(env, 40)
    looks = rewards[7::8]
    assert len(looks) == 5 and sum(abs(reward) for reward in rewards) == sum(abs(reward) for reward in looks)
    assert sum(looks) == pytest.approx(1000 * (score_of(model, env) - first) - 5 * 0.25, abs=1e-3)
    assert len(set(looks)) > 1
    assert env.summary()["returns"] == {"progress": pytest.approx(sum(rewards))}


def test_an_episode_from_a_save_state_is_paid_from_there(env: RedEnv, model: Path) -> None:
    env.reset(seed=0)
    play(env, 21)  # within an interval
    state = env.save_state()
    env.reset(options={"state": state, "wait": 0})
    there = score_of(model, env)
    rewards = play(env, 8, seed=1)
    assert rewards[:7] == [0.0] * 7
    assert rewards[7] == pytest.approx(1000 * (score_of(model, env) - there) - 0.25, abs=1e-3)
    env.reset(options={"state": state, "wait": 0})
    assert play(env, 8, seed=1) == rewards


def test_the_games_own_rewards_come_beside_it(model: Path) -> None:
    env = make_red_env(EnvConfig(max_steps=30), {"cell": 0.4}, progress=ProgressRewardConfig(model=str(model)))
    env.reset(seed=0)
    play(env, 30)
    assert list(env.summary()["returns"]) == ["progress"]
    env.close()
    chosen = ProgressRewardConfig(model=str(model), game_scale=0.5)
    env = make_red_env(EnvConfig(max_steps=30), {"cell": 0.4}, progress=chosen)
    env.reset(seed=0)
    total = sum(play(env, 30))
    summary = env.summary()
    assert summary["returns"]["cell"] == pytest.approx(0.5 * 0.4 * (summary["cells_visited"] - 1)) != 0
    assert sum(summary["returns"].values()) == pytest.approx(total)
    env.close()


def test_one_network_for_all_games_of_a_process_and_a_new_one_when_it_changes(model: Path, tmp_path: Path) -> None:
    chosen = ProgressRewardConfig(model=str(model))
    assert make_progress_reward(chosen)._score is make_progress_reward(chosen)._score
    file = tmp_path / "progress.pt"
    file.write_bytes((model / "progress.pt").read_bytes())
    first = make_progress_reward(ProgressRewardConfig(model=str(tmp_path)))
    torn = file.read_bytes()[:-500]
    file.unlink()
    file.write_bytes(torn)
    with pytest.raises(UserError, match="is damaged"):
        make_progress_reward(ProgressRewardConfig(model=str(tmp_path)))
    assert first._score(np.zeros((72, 20), np.uint8)) >= 0


def test_the_configuration_names_it(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    options = f"{{model: {model}, reward_interval: 2, time_penalty: 1.0, mode: best, scale: 0.0}}"
    path.write_text(f"env: {{max_steps: 4}}\nrewards:\n  daddy_puffer.ProgressReward:\n    reward: {options}\n")
    config = load_config(path)
    env = RedFactory(config)()
    observation, _ = env.reset(seed=0)
    rewards = []
    for _ in range(4):
        observation, reward, _, truncated, info = env.step(np.int64(Action.B))
        rewards.append(float(reward))
        assert observation["ledger"][0] == pytest.approx(rewards[-1])
    assert rewards == [0.0, -1.0, 0.0, -1.0] and truncated and info["returns"] == {"progress": -2.0}
    env.close()


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        ({"mode": "sum"}, r"mode must be one of \('best', 'delta', 'potential'\), got 'sum'"),
        ({"reward_interval": 0}, "reward_interval must be at least 1 step, got 0"),
        ({"time_penalty": -0.1}, "must not be negative"),
        ({"gamma": 0.0}, r"gamma must be in \(0, 1\], got 0.0"),
        ({"model": "m", "mode": "potential", "gamma": 0.5}, "gamma 0.5 must be the learner's 0.97"),
        ({"intervall": 3}, "did you mean"),
    ],
)
def test_bad_settings_are_a_line(overrides: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text):
        load_config(None, {f"progress_reward.{name}": value for name, value in overrides.items()})


def test_evaluation_is_by_the_games_own_rewards() -> None:
    config = load_config(None, {"progress_reward.model": "gone", "progress_reward.mode": "delta"})
    assert config.for_evaluation().progress_reward == ProgressRewardConfig()


def test_demonstrations_of_other_rewards_are_refused() -> None:
    with pytest.raises(UserError, match="not together with ProgressReward"):
        load_config(None, {"progress_reward.model": "m", "demos.folder": "d"})
    assert Config().progress_reward.model == ""


def test_a_missing_model_is_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ProgressReward: no model at '.*nowhere'"):
        make_red_env(EnvConfig(), {}, progress=ProgressRewardConfig(model=str(tmp_path / "nowhere")))
    with pytest.raises(UserError, match=r"no progress\.pt at"):
        make_progress_reward(ProgressRewardConfig(model=str(tmp_path)))


def test_nobody_else_pays_for_torch() -> None:
    code = (
        "import sys\nfrom daddy_puffer.envs import make_red_env\nfrom daddy_puffer.config import Config\n"
        "env = make_red_env(Config().env, {}, progress=Config().progress_reward)\nenv.reset()\n"
        "assert 'torch' not in sys.modules"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr


# ---- from power-on ----


def test_the_scripted_player_gets_from_power_on_into_the_game() -> None:
    env = RedEnv(init_state="power_on", max_steps=300, random_wait=30, keys=("screen",))
    pictures = []
    for seed in (1, 2):
        env.reset(seed=seed)
        pictures.append(env.render())
        assert env.game_state.party_size == 0 and not env.memory[0xD35E]
        player = ScriptedPlayer()
        steps = 0
        while steps < 100 and not (env.memory[UI_STATE] == UI_OVERWORLD and env.memory[0xD35E]):
            env.step(player.act(env.memory))
            steps += 1
        assert 5 < steps < 50 and env.game_state.map_name == "RedsHouse2f"
    assert np.array_equal(*pictures)  # the second one is switched on again
    env.close()


# ---- under a host ----


class Host:
    """Totals by name; a step pays the difference of their sum, a report asks twice more."""

    def __init__(self, env_config: Any, reward_config: Any) -> None:
        self.pyboy = SimpleNamespace(screen=SimpleNamespace(ndarray=screen_of(0.0)))
        self.event, self.steps, self.weight = 0.0, 0, reward_config["event"]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        if options:
            self.pyboy.screen.ndarray[:] = options["state"]
        self.total = sum(self.get_game_state_reward().values())
        return "observation", {}

    def step(self, action: np.ndarray) -> tuple[str, float, bool, bool, dict[str, Any]]:
        self.pyboy.screen.ndarray[:] = action
        self.event += 1
        before, self.total = self.total, sum(self.get_game_state_reward().values())
        assert sum(self.get_game_state_reward().values()) == self.total  # asked again for a report
        return "observation", self.total - before, False, False, {}

    def get_game_state_reward(self) -> dict[str, float]:
        return {"event": self.weight * self.event}


def hosted(folder: Path, **options: Any) -> Any:
    env = progressive(Host)({}, {"event": 2.0, "base": "a.B", "model": str(folder), **options})
    env._progress._score = brightness
    return env


def test_under_a_host_it_pays_the_same(model: Path) -> None:
    env = hosted(model, reward_interval=2, scale=1.0, time_penalty=0.0)
    assert type(env).__name__ == "ProgressHost" and isinstance(env, Host)
    env.reset()
    shown = [0.5, 0.5, 1.0, 0.5, 0.75, 0.75, 0.75, 0.75]
    assert [env.step(screen_of(value))[1] for value in shown] == pytest.approx([0, 0, 0, 0.5, 0, 0, 0, 0.25])
    assert env.get_game_state_reward() == {"event": 0.0, "progress": pytest.approx(0.75)}
    env.reset(options={"state": screen_of(0.75)})  # another state: paid from there
    assert [env.step(screen_of(1.0))[1] for _ in range(4)] == pytest.approx([0, 0, 0, 0.25])
    env.reset()  # a host whose episodes go on with the same game
    assert [env.step(screen_of(value))[1] for value in (1.0, 1.0)] == [0, 0]


def test_the_hosts_rewards_come_beside_it_and_mistakes_are_named(model: Path, tmp_path: Path) -> None:
    env = hosted(model, reward_interval=1, scale=1.0, time_penalty=0.0, game_scale=0.5, mode="delta")
    env.reset()
    assert env.step(screen_of(0.5))[1] == pytest.approx(0.5 * 2.0 + 0.5)
    for options, text in [
        ({"model": ""}, "no model at ''"),
        ({"mode": "nope"}, "mode must be one of"),
        ({"reward_interval": "often"}, "ProgressReward.reward: Value 'often'"),
    ]:
        with pytest.raises(UserError, match=text):
            hosted(model, **options)
    with pytest.raises(UserError, match="has no 'event'"):
        progressive(Needy)({}, {"model": str(model)}).reset()


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_potentials_under_a_host_take_its_discount(model: Path, gamma: float) -> None:
    env = hosted(model, reward_interval=1, scale=1.0, time_penalty=0.0, mode="potential", gamma=gamma)
    env.reset(options={"state": screen_of(0.5)})
    shown = [0.75, 0.25]
    paid = [env.step(screen_of(value))[1] for value in shown]
    assert paid == pytest.approx([gamma * 0.75 - 0.5, gamma * 0.25 - 0.75])


class Needy(Host):
    """Reads its weights when it is asked."""

    def __init__(self, env_config: Any, reward_config: Any) -> None:
        super().__init__(env_config, {"event": 1.0})
        self.weights = reward_config

    def get_game_state_reward(self) -> dict[str, float]:
        return {"event": self.weights["event"]}


def test_a_run_of_the_host_names_it(model: Path, tmp_path: Path) -> None:
    reward = f"{{event: 1.0, base: {HOST_REWARD}, model: {model}, reward_interval: 5, time_penalty: 0.5}}"
    path = tmp_path / "config.yaml"
    path.write_text(f"{STAND_IN_SIZES}\nrewards:\n  daddy_puffer.ProgressReward:\n    reward: {reward}\n")
    name = ("--reward-name", "daddy_puffer.ProgressReward")
    ended = UpstreamRun(STAND_IN, tmp_path).train(*OURS, *name, "--config", str(path))
    assert ended.returncode == 0, ended.stderr
    path.write_text(path.read_text().replace(str(model), "nowhere"))
    ended = UpstreamRun(STAND_IN, tmp_path).train(*OURS, *name, "--config", str(path))
    assert ended.returncode != 0
    assert ended.stderr.splitlines()[-1].startswith("error: daddy_puffer.ProgressReward: no model at 'nowhere'")
