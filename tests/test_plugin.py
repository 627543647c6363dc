"""The plug-in beside a stand-in for pokemonred_puffer; tests/upstream has the same beside the real one."""

from __future__ import annotations

import contextlib
import json
import math
import re
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from upstream_stand_in.runs import HOST_REWARD, OURS, ROOT, SMALL, STAND_IN, Host

from daddy_puffer import plugin
from daddy_puffer.config import PolicyConfig, load_config
from daddy_puffer.envs import RedEnv
from daddy_puffer.envs.hosted import HostedGame
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, packaged
from daddy_puffer.errors import UserError
from daddy_puffer.plugin_command import complete
from daddy_puffer.policies.hierq import HierQ, ObservationSpec
from daddy_puffer.policies.hosted import Field, HostedHierQ, HostedRecurrentHierQ
from daddy_puffer.types import VISITED_SHAPE
from daddy_puffer.wrappers import EpsilonEnv
from daddy_puffer.wrappers.hosted import HostedEpsilonEnv

MAX_STARTUP_MICROSECONDS = 2000
DUMP = """
import json, sys
print(json.dumps({"argv": sys.argv[1:], "ours": sorted(m for m in sys.modules if "daddy_puffer" in m)}))
"""


@pytest.fixture
def echo(tmp_path: Path) -> Host:
    """A host that only prints what it was given."""
    package = tmp_path / "host" / "pokemonred_puffer"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "train.py").write_text(DUMP)
    (package / "other.py").write_text(DUMP)
    (tmp_path / "run").mkdir()
    return Host(tmp_path / "host", tmp_path / "run")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("train",),
        ("-p", "multi_convolutional.MultiConvolutionalPolicy"),
        ("train", "--policy", "mine.Policy"),
        ("evaluate", "--rom-path", "/somewhere/daddy_puffer/practice.gb", "-w", "empty"),
        ("train", "--exp-name", "daddy_puffer"),
    ],
)
def test_runs_that_do_not_name_us_are_left_alone(echo: Host, arguments: tuple[str, ...]) -> None:
    found = json.loads(echo.train(*arguments).stdout)
    assert found["argv"] == list(arguments)
    if not any("daddy_puffer" in argument for argument in arguments):
        assert found["ours"] == ["daddy_puffer_bootstrap"]


def test_other_programs_are_left_alone(echo: Host) -> None:
    script = echo.folder / "script.py"
    script.write_text(DUMP)
    for start in (("-m", "pokemonred_puffer.other"), (str(script),), ("-c", f"import pokemonred_puffer\n{DUMP}")):
        found = json.loads(echo.run(*start, *OURS).stdout)
        assert found == {"argv": list(OURS), "ours": ["daddy_puffer_bootstrap"]}, start


def test_both_ways_to_write_m(echo: Host) -> None:
    for start in (("-u", "-m", "pokemonred_puffer.train"), ("-X", "utf8", "-mpokemonred_puffer.train")):
        ended = echo.run(*start, *OURS, "--config", "missing.yaml")
        assert ended.returncode == 1 and ended.stderr.startswith("error: config file"), start


def test_the_literal_command_is_completed(echo: Host) -> None:
    argv = json.loads(echo.train(*OURS).stdout)["argv"]
    assert argv[:3] == ["train", "--policy-name", "daddy_puffer.HierQ"]
    assert not Path(argv[argv.index("--config") + 1]).exists(), "the file goes when the process does"


def test_a_mistake_is_one_line(echo: Host) -> None:
    ended = echo.train(*OURS, "--config", "missing.yaml")
    assert ended.returncode == 1 and ended.stdout == ""
    assert re.fullmatch(r"error: config file \S*missing.yaml does not exist: .*\n", ended.stderr)


def test_startup_cost(echo: Host) -> None:
    costs: list[int] = []
    while not costs or (min(costs) >= MAX_STARTUP_MICROSECONDS and len(costs) < 60):  # the machine may be busy
        report = echo.run("-X", "importtime", "-c", "pass").stderr
        line = next(line for line in report.splitlines() if line.endswith("daddy_puffer_bootstrap"))
        costs.append(int(line.split("|")[1]))
    assert min(costs) < MAX_STARTUP_MICROSECONDS


def test_startup_without_the_package_is_silent(echo: Host) -> None:
    alone = Host(echo.package_folder, echo.folder)
    ended = alone.run("-S", "-c", f"exec(open({str(ROOT / 'daddy_puffer.pth')!r}).read())", PYTHONPATH="")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def options(args: list[str]) -> dict[str, str]:
    """Command line after its command, as pairs."""
    return dict(zip(args[1::2], args[2::2], strict=True))


def test_defaults_when_the_policy_is_ours(tmp_path: Path) -> None:
    args = complete(list(OURS), tmp_path)
    found = options(args)
    assert args[0] == "train"
    assert found["--policy-name"] == "daddy_puffer.HierQ"
    assert found["--wrappers-name"] == "daddy_puffer"
    assert found["--reward-name"] == "daddy_puffer.FastRequiredEvents"
    assert found["--rom-path"] == str(packaged(PRACTICE_ROM))
    config = OmegaConf.load(found["--config"])
    assert Path(config.env.state_dir) / f"{config.env.init_state}.state" == packaged(PRACTICE_START)
    assert config.train.env_batch_size == config.train.num_envs
    assert config.train.device in ("cpu", "cuda")


def test_a_copy_of_the_practice_cartridge_starts_where_it_begins(tmp_path: Path) -> None:
    shutil.copy(packaged(PRACTICE_ROM), tmp_path / "copy.gb")
    found = options(complete([*OURS, "--rom-path", "copy.gb"], tmp_path))
    config = OmegaConf.load(found["--config"])
    assert found["--rom-path"] == "copy.gb"
    assert Path(config.env.state_dir) / f"{config.env.init_state}.state" == packaged(PRACTICE_START)


def test_what_is_given_stays(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("wrappers:\n  mine: []\ntrain:\n  num_envs: 2\n  env_batch_size: 1\n  seed: 9\n")
    given = ["evaluate", "-pdaddy_puffer.HierQ", "--wrappers=mine", "-r", HOST_REWARD, "--config", "my.yaml"]
    args = complete([*given, "--checkpoint-path", "x.pt"], tmp_path)
    found = options(args)
    assert args[0] == "evaluate"
    assert (found["--wrappers-name"], found["--reward-name"]) == ("mine", HOST_REWARD)
    assert found["--checkpoint-path"] == "x.pt"
    config = OmegaConf.load(found["--config"])
    assert (config.train.seed, config.train.env_batch_size, config.wrappers.mine) == (9, 1, [])
    assert config.train.gae_lambda == 0.95, "what the host reads and the file lacks"


def test_the_policy_is_not_for_debug(tmp_path: Path) -> None:
    args = complete(["debug", *OURS], tmp_path)
    assert "--policy-name" not in options(args)
    assert options(args)["--wrappers-name"] == "daddy_puffer"


def test_our_own_configuration_is_understood(tmp_path: Path) -> None:
    shutil.copy(ROOT / "config.yaml", tmp_path / "config.yaml")
    ours = OmegaConf.load(ROOT / "config.yaml")
    found = options(complete(list(OURS), tmp_path))
    config = OmegaConf.load(found["--config"])
    assert config.train.total_timesteps == ours.train.total_steps
    assert config.train.data_dir == ours.train.runs_dir
    assert found["--vectorization"] == ours.train.vectorization
    epsilon = {"frame_stack": ours.env.frame_stack, "episodes": True}
    assert config.wrappers.daddy_puffer == [{"daddy_puffer.EpsilonEnv": epsilon}]
    assert config.train.replay == ours.train.replay


EXPLORE = str(ROOT / "configs" / "explore.yaml")
NO_EFFECT = "no effect under pokemonred_puffer, or with these wrappers: "


def test_what_our_file_asks_for_becomes_wrappers_or_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = load_config(Path(EXPLORE))
    config = OmegaConf.load(options(complete([*OURS, "--config", EXPLORE], tmp_path))["--config"])
    wrappers = {
        name.partition(".")[2]: given for entry in config.wrappers.daddy_puffer for name, given in entry.items()
    }
    assert list(wrappers) == ["EpsilonEnv", "Curriculum", "Patience", "Novelty"], "as the stand-alone trainer has them"
    assert wrappers["Curriculum"] == asdict(ours.curriculum) and wrappers["Novelty"].weight == 0.3
    assert wrappers["Patience"] == {"steps": ours.env.patience_steps, "reward": ours.env.patience_reward}
    assert config.train.demos == {"ratio": ours.demos.ratio, "bc_weight": ours.demos.bc_weight}
    named = "train.demos.own_way, train.demos.own_wins, rewards.daddy_puffer.Practice"
    assert f"{NO_EFFECT}{named}\n" in capsys.readouterr().err
    complete([*OURS, "-w", "daddy_puffer.explore", "--config", EXPLORE], tmp_path)
    asked = "train.curriculum.mode, env.patience_steps, train.intrinsic.novelty_weight"
    assert f"{NO_EFFECT}{named}, {asked}\n" in capsys.readouterr().err
    evaluation = OmegaConf.load(options(complete(["evaluate", *OURS, "--config", EXPLORE], tmp_path))["--config"])
    assert len(evaluation.wrappers.daddy_puffer) == 1, "a curriculum is for training"
    complete([*OURS, "--config", str(ROOT / "config.yaml")], tmp_path)
    assert NO_EFFECT not in capsys.readouterr().err


@pytest.mark.parametrize("algorithm", ["q", "ppo"])
def test_bonuses_have_the_discount_and_the_payer_of_who_learns(tmp_path: Path, algorithm: str) -> None:
    (tmp_path / "config.yaml").write_text(
        f"train:\n  algorithm: {algorithm}\n  gamma: 0.99\n  learner: {{gamma: 0.9}}\n"
        "  intrinsic: {rnd_weight: 0.2, bayes_weight: 0.5}\n  progress: {step_budget: 64, target: 0.5}\n"
    )
    config = OmegaConf.load(options(complete(list(OURS), tmp_path))["--config"])
    wrappers = {
        name.partition(".")[2]: given for entry in config.wrappers.daddy_puffer for name, given in entry.items()
    }
    assert (wrappers["Bayes"].gamma, wrappers["Bayes"].step_budget) == (0.9 if algorithm == "q" else 0.99, 64)
    assert config.train.rnd_weight == (0.2 if algorithm == "q" else 0.0)
    assert wrappers.get("RND") == (None if algorithm == "q" else {"weight": 0.2})


def test_a_set_of_the_users_own_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text(
        "env: {frame_stack: 3, patience_steps: 9}\nwrappers:\n  daddy_puffer: [daddy_puffer.EpsilonEnv: {}]\n"
    )
    config = OmegaConf.load(options(complete(list(OURS), tmp_path))["--config"])
    assert config.wrappers.daddy_puffer == [{"daddy_puffer.EpsilonEnv": {}}]
    assert f"{NO_EFFECT}env.patience_steps\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("yaml", "extra", "said"),
    [
        ("env: [", (), "no readable YAML"),
        ("", ("-w", "nope"), "no wrappers.nope .known: daddy_puffer."),
        ("", ("-r", "daddy_puffer.Nope"), "no rewards.daddy_puffer.Nope"),
        ("- a", (), "mapping"),
        ("train: {curriculum: {modus: x}}", (), "train.curriculum: unknown key 'modus'"),
        ("train: {intrinsic: much}", (), "train.intrinsic must be a mapping, found 'much'"),
        ("", ("--rom-path", "none.gb"), "does not exist"),
        ("env:\n  state_dir: .\n  init_state: broken\n", ("--rom-path", str(packaged(PRACTICE_ROM))), "PyBoy 2.7.0"),
        ("env:\n  init_state: gone\n", ("--rom-path", str(packaged(PRACTICE_ROM))), "gone.state does not exist"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, yaml: str, extra: tuple[str, ...], said: str) -> None:
    (tmp_path / "config.yaml").write_text(yaml)
    (tmp_path / "broken.state").write_bytes(b"\x01" * 1000)
    with pytest.raises(UserError, match=said):
        complete([*OURS, *extra], tmp_path)


@pytest.mark.parametrize(
    ("train", "gamma", "said"),
    [
        ("learner: {gamma: 0.99}", 0.99, ""),
        ("learner: {gamma: 0.99}", 0.97, "gamma 0.97 must be train.learner.gamma, 0.99"),
        ("gamma: 0.99", 0.97, ""),
        ("{algorithm: ppo, gamma: 0.99}", 0.99, ""),
        ("algorithm: ppo", 0.97, "gamma 0.97 must be train.gamma, 0.998"),
    ],
)
def test_potentials_have_the_discount_that_learns(tmp_path: Path, train: str, gamma: float, said: str) -> None:
    reward = f"{{mode: potential, gamma: {gamma}}}"
    train = train if train.startswith("{") else f"{{{train}}}"
    (tmp_path / "config.yaml").write_text(
        f"train: {train}\nrewards:\n  daddy_puffer.ProgressReward:\n    reward: {reward}\n"
    )
    with pytest.raises(UserError, match=said) if said else contextlib.nullcontext():
        complete([*OURS, "-r", "daddy_puffer.ProgressReward"], tmp_path)


@pytest.mark.parametrize(
    ("policy", "train", "gamma"),
    [
        ("daddy_puffer.HierQ", "{}", 0.97),
        ("daddy_puffer.HierQ", "{learner: {gamma: 0.9}, gamma: 0.5}", 0.9),
        ("daddy_puffer.HierQ", "{algorithm: ppo, learner: {gamma: 0.9}}", 0.998),
        ("multi_convolutional.MultiConvolutionalPolicy", "{gamma: 0.99}", 0.99),
    ],
)
def test_bayes_has_the_discount_of_whoever_learns(tmp_path: Path, policy: str, train: str, gamma: float) -> None:
    (tmp_path / "config.yaml").write_text(
        f"train: {train}\n"
        f"policies: {{{policy}: {{policy: {{}}}}}}\n"
        "wrappers:\n"
        "  mine: [{daddy_puffer.EpsilonEnv: {}}, {daddy_puffer.Bayes: }]\n"
        "  fits: [{daddy_puffer.EpsilonEnv: {}}, {daddy_puffer.Bayes: {gamma: %s}}]\n"
        "  other: [{daddy_puffer.EpsilonEnv: {}}, {daddy_puffer.Bayes: {gamma: 0.42, weight: 3.0}}]\n" % gamma
    )
    rest = ("-r", "daddy_puffer.FastRequiredEvents", "--rom-path", str(packaged(PRACTICE_ROM)))
    wrappers = {}
    for name in ("daddy_puffer.explore", "mine", "fits"):
        args = complete(["-p", policy, "-w", name, *rest], tmp_path)
        wrappers[name] = OmegaConf.load(options(args)["--config"]).wrappers[name][-1]["daddy_puffer.Bayes"]
    assert wrappers["daddy_puffer.explore"] == {"gamma": gamma, "weight": 1.0, "step_budget": 512}
    assert wrappers["mine"] == wrappers["fits"] == {"gamma": gamma}
    with pytest.raises(UserError, match=rf"wrappers.other: Bayes' gamma 0.42 must be train.*gamma, {gamma}"):
        complete(["-p", policy, "-w", "other", *rest], tmp_path)
    complete(["debug", "-w", "other", *rest], tmp_path)  # nobody learns


STEPS, BATCH, BUTTONS, STRUCTURED = 6, 3, 7, 5


def hosted() -> tuple[HostedRecurrentHierQ, dict[str, np.ndarray]]:
    """A small network and `[BATCH, STEPS]` observations as a struct array; row (1, 3) begins an episode."""
    layout = np.dtype(
        {
            "names": ["frames", "visited", "structured", "milestones", "episode"],
            "formats": [("u1", (1, 72, 20)), ("u1", VISITED_SHAPE), ("<f4", STRUCTURED), ("u1", 2), ("<i4", 4)],
        },
        align=True,
    )
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    rows = np.zeros((BATCH, STEPS), layout)
    rows["frames"] = rng.integers(0, 256, rows["frames"].shape)
    rows["structured"] = rng.random(rows["structured"].shape)
    rows["episode"][1, 3, 3] = 1
    fields = {
        name: Field(dtype=dtype, shape=layout[name].shape, offset=layout.fields[name][1], size=layout[name].itemsize)
        for name, dtype in zip(layout.names, (*[torch.uint8] * 2, torch.float32, torch.uint8, torch.int32), strict=True)
    }
    network = HierQ(ObservationSpec(stack=1, structured=STRUCTURED, milestones=16), BUTTONS, PolicyConfig())
    return HostedRecurrentHierQ(HostedHierQ(network, fields), temperature=0.5), rows


def packed(rows: np.ndarray) -> torch.Tensor:
    """u8 `[B, T, bytes]`."""
    return torch.from_numpy(np.ascontiguousarray(rows).view(np.uint8).reshape(*rows.shape, -1))


def test_hosted_network_is_the_network_and_steps_as_it_unrolls() -> None:
    policy, rows = hosted()
    network = policy.network
    q_values, after, aux = network.unroll(
        *(torch.from_numpy(rows[key].swapaxes(0, 1).copy()) for key in ("frames", "structured", "visited")),
        torch.from_numpy(rows["episode"][:, :, 3].T.astype(bool)),
        network.initial_state(BATCH),
    )
    logits, value, (h, c) = policy(packed(rows), None)
    assert logits.shape == (BATCH * STEPS, BUTTONS) and value.shape == (BATCH * STEPS, 1)
    torch.testing.assert_close(logits.view(BATCH, STEPS, BUTTONS), q_values.transpose(0, 1) / 0.5)
    torch.testing.assert_close(value.view(BATCH, STEPS), aux.value.T)
    assert h.shape == c.shape == (network.num_layers, BATCH, network.hidden_size)
    state = tuple(torch.zeros(1, BATCH, network.hidden_size) for _ in range(2))
    for step in range(STEPS):
        stepped, _, state = policy(packed(rows[:, step : step + 1])[:, 0], state)
        torch.testing.assert_close(stepped, logits.view(BATCH, STEPS, BUTTONS)[:, step], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(state, (h, c), atol=1e-5, rtol=1e-5)


def test_the_first_step_flag_forgets() -> None:
    policy, rows = hosted()
    zeros = policy(packed(rows[:, 3:4]), None)[0]
    filled = tuple(torch.ones(1, BATCH, policy.network.hidden_size) for _ in range(2))
    logits = policy(packed(rows[:, 3:4]), filled)[0]
    torch.testing.assert_close(logits[1], zeros[1])
    assert not torch.allclose(logits[0], zeros[0])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Host, str]:
    """A finished run of the literal command, and what it printed."""
    host = Host(STAND_IN, tmp_path_factory.mktemp("hosted"))
    (host.folder / "config.yaml").write_text(SMALL)
    ended = host.train(*OURS, "--reward", HOST_REWARD, "--vectorization", "serial")
    assert ended.returncode == 0, ended.stderr
    return host, ended.stdout


def test_the_hosts_own_trainer_trains_our_network(trained: tuple[Host, str]) -> None:
    losses = [float(number) for number in re.findall(r"_loss=(\S+?)[,)]", trained[1])]
    assert len(losses) == 4 and np.isfinite(losses).all() and any(losses)
    assert "Done training" in trained[1]


def test_evaluate_reads_its_checkpoint(trained: tuple[Host, str]) -> None:
    host, _ = trained
    (checkpoint,) = host.folder.glob("runs/*/model_000002.pt")
    ended = host.train("evaluate", *OURS, "-r", HOST_REWARD, "--checkpoint-path", str(checkpoint))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Reward:") == 20


def test_a_dead_worker_ends_the_run_with_its_traceback(tmp_path: Path) -> None:
    host = Host(STAND_IN, tmp_path)
    (host.folder / "config.yaml").write_text(SMALL + "rewards:\n  baseline.Failing:\n    reward:\n      event: 1.0\n")
    begin = time.monotonic()
    ended = host.train(*OURS, "-r", "baseline.Failing", seconds=60)
    assert ended.returncode == 1, time.monotonic() - begin
    assert "RuntimeError: the tenth step went wrong" in ended.stderr
    assert re.search(r"^error: environment worker \S+ died \(exit code 1", ended.stderr, re.MULTILINE)


MIXED = """
import sys
from pathlib import Path
import numpy as np
from omegaconf import OmegaConf
from daddy_puffer.errors import UserError
from daddy_puffer.plugin_command import complete
from pokemonred_puffer import cleanrl_puffer, train

stock = train.CleanPuffeRL
config = OmegaConf.load(complete(["--policy", "daddy_puffer.HierQ"], Path.cwd())[-3])
ours, theirs = {"daddy_puffer.EpsilonEnv": {"frame_stack": 2}}, {"episode_stats.EpisodeStatsWrapper": {}}
config.wrappers.mixed, config.wrappers.reversed, config.wrappers.theirs = [ours, theirs], [theirs, ours], [theirs]
rom = Path(sys.argv[1])


def env_of(wrappers):
    creator, kwargs = train.setup(config, wrappers, train.REWARD, rom)
    return creator(**kwargs)


bare = env_of("theirs")
assert "pokemonred_puffer.wrappers.daddy_puffer" not in sys.modules and train.CleanPuffeRL is stock
try:
    train.make_policy(bare, "daddy_puffer.HierQ", config)
except UserError as error:
    print("missing:", error)
for wrappers in ("mixed", "reversed"):
    env = env_of(wrappers)
    before, _ = env.reset(seed=1)
    struct = before.view(env.obs_dtype)[0]
    assert struct["episode"][3] == 1 and struct["frames"].shape == (2, 72, 20)
    assert (struct["frames"][1] == struct["screen"][:, :, 0]).all() and struct["frames"].any()
    after, _, _, _, info = env.step(np.int64(0))
    struct = after.view(env.obs_dtype)[0]
    assert struct["episode"][3] == 0 and struct["episode"][1] == 1 and info["length"] == 1
    assert struct["structured"][0] == struct["map_id"][0] and struct["visited"][4, 4] == 1
    policy = train.make_policy(env, "daddy_puffer.HierQ", config)
assert train.CleanPuffeRL is not stock and cleanrl_puffer.CleanPuffeRL is train.CleanPuffeRL
for kind, name in (("policies", "Nope"), ("wrappers", "Nope"), ("rewards", "Nope")):
    try:
        train.find(kind, f"daddy_puffer.{name}")
    except UserError as error:
        print("unknown:", error)
print("mixed")
"""


def test_our_names_among_theirs(tmp_path: Path) -> None:
    ended = Host(STAND_IN, tmp_path).run("-c", MIXED, str(packaged(PRACTICE_ROM)))
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("missing: daddy_puffer.HierQ needs the observation keys frames")
    assert [line.split("'")[1] for line in lines[1:4]] == ["Nope"] * 3
    assert lines[-1] == "mixed"


EXPLORING = """
import sys
from pathlib import Path
import numpy as np
import pufferlib.vector
from omegaconf import OmegaConf
from daddy_puffer.errors import UserError
from daddy_puffer.plugin_command import complete
from daddy_puffer.swarm.outcomes import Outcomes
from daddy_puffer.wrappers.epsilon import owner
from pokemonred_puffer import train

config = OmegaConf.load(complete(["--policy", "daddy_puffer.HierQ"], Path.cwd())[-3])
config.env.max_steps = 150
epsilon, curriculum, *bonuses = config.wrappers["daddy_puffer.explore"]
curriculum["daddy_puffer.Curriculum"].update({"mode": "progress", "cell_size": 4, "episode_steps": 40})
stats = {"episode_stats.EpisodeStatsWrapper": {}}
endless = {"daddy_puffer.EpsilonEnv": {}}
config.wrappers.plain, config.wrappers.paid = [endless], [endless, *bonuses]
config.wrappers.exploring = [epsilon, curriculum, *bonuses, {"daddy_puffer.Patience": {"steps": 1000}}, stats]


def make(wrappers):
    creator, kwargs = train.setup(config, wrappers, "baseline.ObjectRewardRequiredEventsMapIdsFieldMoves",
                                  Path(sys.argv[1]))
    return creator, kwargs


for wrappers in ("plain", "paid"):  # endless, as the host has it
    creator, kwargs = make(wrappers)
    env = creator(**kwargs)
    env.reset(seed=1)
    ends = [env.step(np.array([step % 7])) for step in range(160)]
    assert not any(done or truncated for _, _, done, truncated, _ in ends)

creator, kwargs = make("exploring")
vecenv = pufferlib.vector.make(creator, env_kwargs=kwargs, num_envs=2, backend=pufferlib.vector.Serial)
vecenv.async_reset(5)
game = owner(vecenv.envs[0].env, "play_episodes")
rng = np.random.default_rng(0)
spawns, begun, infos, ended = set(), 0, [], np.zeros(2, bool)
start_map = game.game_state.map_id
for step in range(900):
    rows, _, done, truncated, new, *_ = vecenv.recv()
    infos += new
    seen = rows.view(vecenv.driver_env.obs_dtype).reshape(2)
    episode = seen["episode"]
    assert ((episode[:, 3] & 1).astype(bool) == (ended if step else True)).all()  # a new one follows each end
    assert (((episode[:, 3] & 4) > 0) == done).all() and (done == truncated).all()
    first = (episode[:, 3] & 1) > 0
    assert (episode[first, 1] == 0).all() and (seen["visited"][first].sum((1, 2)) == 1).all()
    assert (seen["map_id"][first & (episode[:, 2] == 0)] == start_map).all()
    if first[0] and step:
        assert game.unwrapped.seen == set() and game.unwrapped.step_count == 0
    spawns |= set(episode[:, 2].tolist())
    begun += first.sum()
    ended = done.copy()
    if step % 5 == 0:
        actions = rng.choice(6, 2, p=[0.2, 0.2, 0.2, 0.2, 0.15, 0.05])
    vecenv.send(actions)
assert begun > 10 and len(spawns) >= 3, (begun, spawns)
tags = {info["savestate_tag"] for info in infos if "savestate_tag" in info}
(folder,) = Path("savestates").iterdir()
tallies = Outcomes(folder / "outcomes").read()  # of states that may have made room for better ones
assert "" in tags and len(tags) > 1 and tags - {""} == set(tallies.ended) <= set(tallies.drawn)
assert list(folder.glob("*.state"))
assert all(info["episode"]["length"] in (40, 150) for info in infos if "episode" in info)

state = game.save_state()
print("whole", len(state))
try:
    game.reset(options={"state": state[:5000]})
except UserError as error:
    print("cut:", error)
game.reset()
assert game.game_state.map_id == start_map
for first, name, options in [
    (True, "Curriculum", {"mode": "nope"}), (True, "Curriculum", {"cells": 3}), (True, "Novelty", {"counts": 1}),
    (True, "Bayes", {"gama": 0.9}), (True, "RND", {"weight": "much"}), (True, "Patience", {}), (False, "Bayes", {}),
    (True, "Novelty", [1]), (False, "EpsilonEnv", {"episodes": 1}),
]:
    config.wrappers.wrong = [*([epsilon] if first else []), {f"daddy_puffer.{name}": options}]
    creator, kwargs = make("wrong")
    try:
        creator(**kwargs)
    except UserError as error:
        print("wrong:", error)
config.wrappers.wrong = [stats, epsilon, curriculum]
creator, kwargs = make("wrong")
try:
    creator(**kwargs)
except UserError as error:
    print("wrong:", error)
"""
WRONG = (
    "wrapper daddy_puffer.Curriculum: curriculum.mode must be one of",
    "wrapper daddy_puffer.Curriculum: unknown key 'cells'",
    "wrapper daddy_puffer.Novelty: got an unexpected keyword argument 'counts'",
    "wrapper daddy_puffer.Bayes: got an unexpected keyword argument 'gama'",
    "wrapper daddy_puffer.RND: weight must be of type float, got 'much'",
    "wrapper daddy_puffer.Patience: missing a required argument: 'steps'",
    "wrapper daddy_puffer.Bayes belongs behind daddy_puffer.EpsilonEnv",
    "the options of a daddy_puffer wrapper must be a mapping, got [1]",
    "wrapper daddy_puffer.EpsilonEnv: episodes must be of type bool, got 1",
    "wrapper EpisodeStatsWrapper cannot be told where to begin",
)


def test_our_wrappers_explore_with_any_policy_and_mistakes_are_named(tmp_path: Path) -> None:
    ended = Host(STAND_IN, tmp_path).run("-c", EXPLORING, str(packaged(PRACTICE_ROM)))
    assert ended.returncode == 0, ended.stderr
    lines = [line for line in ended.stdout.splitlines() if line.startswith(("cut:", "wrong:"))]
    assert re.fullmatch(r"cut: save state of 5000 bytes does not fit .*", lines[0])
    for line, said in zip(lines[1:], WRONG, strict=True):
        assert line.removeprefix("wrong: ").startswith(said), line


ANEW = """
import sys
from pathlib import Path
import numpy as np
from omegaconf import OmegaConf
from daddy_puffer.plugin_command import complete
from daddy_puffer.wrappers.epsilon import owner
from pokemonred_puffer import train

config = OmegaConf.load(complete(["--policy", "daddy_puffer.HierQ"], Path.cwd())[-3])
config.env.max_steps = 60
settings = {"folder": "shared", "cell_size": 2, "episode_steps": 30, "true_start_share": 1.0}
config.wrappers.explore = [{"daddy_puffer.EpsilonEnv": {}}, {"daddy_puffer.Curriculum": settings}]


def make():
    creator, kwargs = train.setup(config, "explore", train.REWARD, Path(sys.argv[1]))
    env = creator(**kwargs)
    return env, env.env.unwrapped


def play(env, game, bits):
    # five events happen: what they pay
    env.reset(seed=1)
    paid = []
    while not env.done:
        if len(paid) == 20:
            game.pyboy.memory[0xD760] |= bits
        paid.append(env.step(np.array([np.random.default_rng(len(paid)).integers(4)]))[1])
    return sum(paid), len(paid)


env, game = make()
first = play(env, game, 0b11111)
assert first[0] > 3.0 and first[1] == 60, first
assert play(env, game, 0b11111) == first, "paid again, after everything was forgotten"
assert play(env, game, 0)[0] == 0.0
settings["true_start_share"] = 0.0
config.wrappers.explore[1]["daddy_puffer.Curriculum"].update(settings)
env, game = make()  # as in another run, which finds the states of this one
seen = env.reset(seed=1)[0].view(env.obs_dtype)[0]
assert seen["episode"][2] != 0, "the very first episode begins at a state"
base = game.base_event_flags
assert play(env, game, 0)[1] == 30 and game.base_event_flags == base
print("anew", len(list(Path("shared").glob("*.state"))))
"""


def test_episodes_pay_alike_and_the_first_may_begin_at_a_state(tmp_path: Path) -> None:
    ended = Host(STAND_IN, tmp_path).run("-c", ANEW, str(packaged(PRACTICE_ROM)))
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^anew [1-9]", ended.stdout, re.MULTILINE)


ENDS = """
import queue
import sys
from pathlib import Path
import numpy as np
import pufferlib.emulation
from omegaconf import OmegaConf
from daddy_puffer.plugin_command import complete
from pokemonred_puffer import train
from pokemonred_puffer.wrappers.async_io import AsyncWrapper

config = OmegaConf.load(complete(["--policy", "daddy_puffer.HierQ"], Path.cwd())[-3])
config.env.max_steps = 50
((_, shipped),) = config.wrappers.daddy_puffer[0].items()
assert shipped.episodes is True
config.wrappers.trials = [*config.wrappers.daddy_puffer, {"daddy_puffer.Bayes": {}}]
curriculum = {"folder": "shared", "cell_size": 2, "true_start_share": 1.0}
config.wrappers.endless = [{"daddy_puffer.EpsilonEnv": {}}]
config.wrappers.explore = [*config.wrappers.endless, {"daddy_puffer.Curriculum": curriculum}]
DOWN = np.array([0])


def make(wrappers):
    creator, kwargs = train.setup(config, wrappers, train.REWARD, Path(sys.argv[1]), puffer=False)
    return creator(**kwargs)


# the shipped set plays episodes: at its end a real truncation, and a game that begins anew
inner = make("trials")
env = pufferlib.emulation.GymnasiumPufferEnv(env=inner)
begin = env.reset(seed=1)[0].copy()
ends = []
for step in range(120):
    if env.done:
        again = env.reset()[0].view(env.obs_dtype)[0].copy()
        was = begin.view(env.obs_dtype)[0]
        assert (again["screen"] == was["screen"]).all() and again["episode"][3] == 1 and again["episode"][1] == 0
        assert (again["structured"] == was["structured"]).all() and again["episode"][0] == len(ends)
    row, _, done, truncated, info = env.step(DOWN)
    if done:
        assert truncated and row.view(env.obs_dtype)[0]["episode"][3] == 4 and info["episode"]["length"] == 50
        ends.append(step)
assert ends == [49, 99]
assert inner.posteriors.trial_count.max() == 2

# a state that AsyncWrapper is sent ends the episode, and begins the next one
for wrappers in ("endless", "explore"):
    sent, answered = queue.Queue(), queue.Queue()
    inner = AsyncWrapper(make(wrappers), [answered], [sent])
    env = pufferlib.emulation.GymnasiumPufferEnv(env=inner)
    env.reset(seed=1)
    game = inner.unwrapped
    for _ in range(10):
        env.step(DOWN)
    at, state = inner.get_wrapper_attr("game_state").position, inner.get_wrapper_attr("save_state")()
    for _ in range(10):
        env.step(np.array([2]))
    assert inner.get_wrapper_attr("game_state").position != at
    sent.put(b"REQUIRED_RATE0.5")
    answered.get(timeout=60)
    assert not env.step(DOWN)[2], "a rate is no state"
    before = inner.get_wrapper_attr("game_state").position
    sent.put(state)
    answered.get(timeout=60)
    assert inner.get_wrapper_attr("game_state").position == before, "the game goes on until its step is done"
    row, _, done, truncated, _ = env.step(np.array([5]))
    assert done and truncated and row.view(env.obs_dtype)[0]["episode"].tolist() == [0, 22, 0, 4]
    row = env.reset()[0].view(env.obs_dtype)[0]
    episode, at_step, spawn, flags = row["episode"].tolist()
    assert (episode, at_step, flags) == (1, 0, 1) and row["visited"].sum() == 1
    assert (spawn != 0) == (wrappers == "explore"), "from a state that is in no registry"
    assert inner.get_wrapper_attr("game_state").position == at and game.step_count == 0
    kept = set(Path("shared").glob("*.state"))
    assert not env.step(DOWN)[2], "once"
    for step in range(40):
        env.step(np.array([step // 3 % 4]))
    assert set(Path("shared").glob("*.state")) == kept, "no way to it is known"
assert kept
print("ended")
"""


def test_the_shipped_set_plays_episodes_and_a_state_that_is_sent_begins_one(tmp_path: Path) -> None:
    ended = Host(STAND_IN, tmp_path).run("-c", ENDS, str(packaged(PRACTICE_ROM)))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("ended\n")


def test_demonstrations_in_the_hosts_environment(tmp_path: Path) -> None:
    host = Host(STAND_IN, tmp_path)
    (tmp_path / "config.yaml").write_text("env:\n  max_steps: 25\n")
    record = ("-m", "daddy_puffer", "demos", "record", "--env-id", "pokemonred_puffer/Red-v0", "--player", "scripted")
    ended = host.run(*record, "--out", "demos", "--episodes", "2")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count(": 25 steps of 72x80x1") == 2
    (tmp_path / "config.yaml").unlink()
    verify = ("-m", "daddy_puffer", "demos", "verify", "demos", "--env-id", "pokemonred_puffer/Red-v0")
    ended = host.run(*verify)
    assert ended.returncode == 0 and "2 of 2 demonstrations are good" in ended.stdout, ended.stdout + ended.stderr
    nowhere = Host(tmp_path / "nothing", tmp_path).run(*verify)
    assert nowhere.returncode == 1 and nowhere.stdout.count("BAD: pokemonred_puffer cannot be imported: put") == 2


LATE = """
from pokemonred_puffer.wrappers import daddy_puffer  # before the trainer is known
from pokemonred_puffer import cleanrl_puffer, train
assert train.CleanPuffeRL is cleanrl_puffer.CleanPuffeRL and not isinstance(train.CleanPuffeRL, type)
assert train.CleanPuffeRL.__name__ == "CleanPuffeRL"
"""


def test_the_order_of_imports_does_not_matter(tmp_path: Path) -> None:
    ended = Host(STAND_IN, tmp_path).run("-c", LATE)
    assert ended.returncode == 0, ended.stderr


class Recorded:
    """A trainer that keeps what it was given."""

    def __init__(self, exp_name: str, config: Any, vecenv: Any, policy: Any) -> None:
        self.given = (exp_name, config, vecenv, policy)


class RecordedOurs(Recorded):
    """The same, as ours is called."""

    def __init__(self, host: ModuleType, original: type, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.host, self.original = host, original


def train_settings(**changed: Any) -> Any:
    """What the trainer reads of the host's configuration."""
    sizes = {"num_envs": 4, "batch_size": 64, "minibatch_size": 32, "bptt_horizon": 8}
    return OmegaConf.create({**sizes, "data_dir": "runs", "exp_id": "x", **changed})


@pytest.mark.parametrize(
    ("policy", "settings", "kind"),
    [
        ("ours", {}, RecordedOurs),
        ("ours", {"algorithm": "q", "minibatch_size": 30}, RecordedOurs),
        ("ours", {"algorithm": "ppo"}, Recorded),
        ("theirs", {}, Recorded),
        ("theirs", {"algorithm": "q"}, Recorded),
    ],
)
def test_which_trainer_is_made(
    monkeypatch: pytest.MonkeyPatch, policy: str, settings: dict[str, Any], kind: type
) -> None:
    monkeypatch.setattr("daddy_puffer.learner.hosted.HostedTrainer", RecordedOurs)
    plain = SimpleNamespace(emulated=SimpleNamespace(emulated_observation_dtype=np.dtype(np.uint8)))
    vecenv = SimpleNamespace(agents_per_batch=4, driver_env=plain)  # without our wrappers
    host, config = ModuleType("host"), train_settings(**settings)
    network = torch.nn.Sequential(hosted()[0] if policy == "ours" else torch.nn.Linear(2, 2))
    made = plugin.make_trainer(host, Recorded, "name", config, vecenv, policy=network)
    assert type(made) is kind
    assert made.given == ("name", config, vecenv, network)
    if isinstance(made, RecordedOurs):
        assert (made.host, made.original) == (host, Recorded)
    assert made.archive_path == Path("runs/x"), "printed after a migration, archive or not"


@pytest.mark.parametrize(
    ("settings", "agents", "said"),
    [
        ({"algorithm": "dqn"}, 4, "must be q or ppo, got 'dqn'"),
        ({"algorithm": "ppo", "minibatch_size": 30}, 4, "batch_size 64 must be a multiple of train.minibatch_size 30"),
        ({"algorithm": "ppo", "bptt_horizon": 5}, 4, "minibatch_size 32 must be a multiple of train.bptt_horizon 5"),
        ({}, 1, "env_batch_size 1 with train.num_envs 4"),
    ],
)
def test_sizes_that_the_host_stumbles_over(settings: dict[str, Any], agents: int, said: str) -> None:
    vecenv = SimpleNamespace(agents_per_batch=agents)
    with pytest.raises(UserError, match=said):
        plugin.make_trainer(ModuleType("host"), Recorded, "name", train_settings(**settings), vecenv, hosted()[0])


class NotANumber(gymnasium.Wrapper):
    """Every reward is NaN."""

    def step(self, action: Any) -> Any:
        observation, _, terminated, truncated, info = self.env.step(action)
        return observation, math.nan, terminated, truncated, info


def test_epsilon_env_keeps_the_hosts_keys_and_no_reward_poisons_it() -> None:
    game = RedEnv(max_steps=50)
    env = HostedEpsilonEnv(NotANumber(HostedGame(game, game._emulator._pyboy, 5)), frame_stack=2)
    observation, _ = env.reset(seed=0)
    assert set(observation) == set(env.observation_space.spaces) > {"events", "screen", "frames", "visited"}
    with pytest.warns(RuntimeWarning, match="nan"):
        observation, reward, *_ = env.step(np.int64(0))
    assert reward == 0.0 and observation["ledger"][0] == 0.0
    assert env.observation_space.contains(observation)
    env.close()


def test_hosted_game_sees_what_our_own_environment_sees() -> None:
    keys = ("screen", "visited")
    ours = EpsilonEnv(RedEnv(keys=keys, max_steps=60), frame_stack=1)
    game = RedEnv(keys=("screen",), max_steps=60)
    theirs = HostedEpsilonEnv(HostedGame(game, game._emulator._pyboy, 60), frame_stack=1)
    (mine, _), (other, _) = ours.reset(seed=0), theirs.reset(seed=0)
    buttons = np.random.default_rng(1).integers(0, BUTTONS, 50)
    for button in [None, *buttons]:
        if button is not None:
            mine, other = ours.step(button)[0], theirs.step(button)[0]
        for key, value in mine.items():
            np.testing.assert_array_equal(other[key], value, err_msg=key)
    assert mine["visited"].sum() > 1
    ours.close()
    theirs.close()


def test_an_unpacked_screen_is_refused() -> None:
    game = RedEnv(keys=("screen",), two_bit=False)
    with pytest.raises(UserError, match="two_bit"):
        HostedGame(game, game._emulator._pyboy, 5)
    game.close()
