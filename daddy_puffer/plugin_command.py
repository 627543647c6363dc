"""Completes a command line for the host: short forms, defaults, and a configuration that has every key it reads.

In: the arguments of a run, and its folder. Out: arguments that the host understands as it is. A command line that
does not name us comes back as it was. Knows no process, no module of the host.

The host reads one YAML file. What it is given here is `data/upstream.yaml`, under the user's file, whether that one is
written for us or for the host: settings of ours that go by another name there are carried over.
"""

from __future__ import annotations

import atexit
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from daddy_puffer.config import Config
from daddy_puffer.envs.emulator import Emulator
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, find_rom, packaged
from daddy_puffer.errors import UserError

COMMANDS = ("train", "evaluate", "autotune", "debug")
POLICY, REWARD, WRAPPERS = "--policy-name", "--reward-name", "--wrappers-name"
CONFIG, ROM, VECTORIZATION = "--config", "--rom-path", "--vectorization"
SHORT = {"--policy": POLICY, "-p": POLICY, "--reward": REWARD, "-r": REWARD, "--wrappers": WRAPPERS, "-w": WRAPPERS}
HOST_CONFIG, HOST_ROM = "config.yaml", "red.gb"  # its defaults
PROGRESS_REWARD = "daddy_puffer.ProgressReward"
OUR_WRAPPERS, OUR_REWARD = "daddy_puffer", "daddy_puffer.FastRequiredEvents"
EPSILON, BAYES = "daddy_puffer.EpsilonEnv", "daddy_puffer.Bayes"
HOST_GAMMA = "train.gamma"
RENAMED = {"total_steps": "total_timesteps", "runs_dir": "data_dir"}  # ours to the host's, in the section `train`


def complete(arguments: list[str], folder: Path) -> list[str]:
    """The arguments to start the host with.

    Raises:
        UserError: a file that is named does not exist or is not what it should be.
    """
    args = [part for argument in arguments for part in _long(argument)]
    if not any(_is_ours(_value(args, option)) for option in (POLICY, REWARD, WRAPPERS)):
        return arguments
    if args[0].startswith("-"):
        args.insert(0, "train")
    command, policy = args[0], _value(args, POLICY)
    if command not in COMMANDS or "--help" in args:
        return args
    if command == "debug":  # acts by itself
        args = _without(args, POLICY)
    ours = _is_ours(policy)
    if ours:
        args = _default(_default(args, WRAPPERS, OUR_WRAPPERS), REWARD, OUR_REWARD)
    return _files(args, folder, ours)


def _long(argument: str) -> list[str]:
    """Short forms of the three names as the host's long ones; anything else as it is."""
    name, equals, value = argument.partition("=")
    if name in SHORT:
        return [SHORT[name], value] if equals else [SHORT[name]]
    if name in SHORT.values() and equals:
        return [name, value]
    if argument[:2] in SHORT and not argument.startswith("--"):
        return [SHORT[argument[:2]], argument[2:]]
    return [argument]


def _is_ours(value: str | None) -> bool:
    return value is not None and value.split(".")[0] == "daddy_puffer"


def _value(args: list[str], option: str) -> str | None:
    """The last value of an option, as the host would take it."""
    found = None
    for position, argument in enumerate(args):
        if argument == option and position + 1 < len(args):
            found = args[position + 1]
        elif argument.startswith(f"{option}="):
            found = argument.partition("=")[2]
    return found


def _without(args: list[str], option: str) -> list[str]:
    kept: list[str] = []
    skip = False
    for argument in args:
        if not skip and argument != option and not argument.startswith(f"{option}="):
            kept.append(argument)
        skip = not skip and argument == option
    return kept


def _default(args: list[str], option: str, value: str) -> list[str]:
    return args if _value(args, option) is not None else [*args, option, value]


def _files(args: list[str], folder: Path, ours: bool) -> list[str]:
    """Configuration, ROM and start state."""
    given = _value(args, CONFIG)
    path = folder / (given or HOST_CONFIG)
    theirs = _read(path) if given is not None or path.is_file() else OmegaConf.create({})
    carried = _carry_over(theirs)
    named_state = bool((theirs.get("env") or {}).get("init_state"))
    config = _merged(theirs)
    _check_names(args, config)
    _check_discount(args, config)
    _complete_bayes(args, config)
    rom = _value(args, ROM) or carried.get(ROM) or HOST_ROM
    if ours and rom == HOST_ROM and not (folder / HOST_ROM).is_file():
        print(f"no {HOST_ROM} here and no {ROM}: playing daddy_puffer's practice cartridge", file=sys.stderr)
        rom = str(packaged(PRACTICE_ROM))
        _start_practice(config)
    elif not named_state and _is_practice(folder / rom):
        _start_practice(config)
    _check_start(folder, rom, config)
    args = _without(_without(args, CONFIG), ROM)
    if args[0] == "train" and VECTORIZATION in carried:
        args = _default(args, VECTORIZATION, carried[VECTORIZATION])
    return [*args, CONFIG, str(_write(config)), ROM, rom]


def _read(path: Path) -> DictConfig:
    if not path.is_file():
        raise UserError(f"config file {path} does not exist: give another --config, or leave it out for the defaults")
    try:
        found = OmegaConf.load(path)
    except (OmegaConfBaseException, yaml.YAMLError, ValueError, OSError) as error:
        raise UserError(f"{path} is no readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(found, DictConfig):
        raise UserError(f"{path} must hold a mapping of sections")
    return found


def _carry_over(config: DictConfig) -> dict[str, str]:
    """Give settings of ours the host's names, in place; returns what it takes as options."""
    options: dict[str, str] = {}
    env, train = config.get("env") or {}, config.get("train") or {}
    with open_dict(config):
        for name, theirs in RENAMED.items():
            if name in train and theirs not in train:
                train[theirs] = train[name]
        if train.get("vectorization"):
            options[VECTORIZATION] = str(train["vectorization"])
        if env.get("gb_path"):
            options[ROM] = str(env["gb_path"])
        state = env.get("init_state")
        if state is not None and ("/" in str(state) or not state):  # ours is a path, or empty for the default
            del env["init_state"]
            if state:
                env["state_dir"], env["init_state"] = str(Path(state).parent), Path(state).stem
        if "frame_stack" in env:
            wrappers = config.setdefault("wrappers", {})
            if OUR_WRAPPERS not in wrappers:
                wrappers[OUR_WRAPPERS] = [{EPSILON: {"frame_stack": env["frame_stack"]}}]
    return options


def _merged(theirs: DictConfig) -> DictConfig:
    config = OmegaConf.merge(OmegaConf.load(packaged("upstream.yaml")), theirs)
    assert isinstance(config, DictConfig)
    train = config.train
    if train.env_batch_size is None:
        train.env_batch_size = train.num_envs
    if train.num_envs < train.num_workers and "num_workers" not in (theirs.get("train") or {}):
        train.num_workers = train.num_envs
    if train.device == "auto":
        import torch

        train.device = "cuda" if torch.cuda.is_available() else "cpu"
    return config


def _check_names(args: list[str], config: DictConfig) -> None:
    """The host reads a section of the configuration for each name."""
    for option, section in ((POLICY, "policies"), (REWARD, "rewards"), (WRAPPERS, "wrappers")):
        name, known = _value(args, option), [str(key) for key in config[section]]
        if name is not None and name not in known:
            raise UserError(f"{option} {name}: the configuration has no {section}.{name} (known: {', '.join(known)})")


def _check_discount(args: list[str], config: DictConfig) -> None:
    """Shaping by a potential leaves the best policies what they are under the discount that learns, no other."""
    name = _value(args, REWARD)
    reward = config.rewards[name].get("reward") if name == PROGRESS_REWARD else None
    if not reward or reward.get("mode") != "potential":
        return
    where, learner = _discount(args, config)
    gamma = reward.get("gamma", Config().progress_reward.gamma)
    if gamma != learner:
        raise UserError(f"ProgressReward's gamma {gamma} must be {where}, {learner}, in mode potential")


def _complete_bayes(args: list[str], config: DictConfig) -> None:
    """The same for the wrapper, in place: it gets that discount, and the host's trainer sees nothing beyond an end."""
    where, learner = _discount(args, config)
    for name, wrappers in config.wrappers.items():
        for wrapper in wrappers if isinstance(wrappers, ListConfig) else ():
            if not isinstance(wrapper, DictConfig) or BAYES not in wrapper:
                continue
            options = OmegaConf.create() if wrapper[BAYES] is None else wrapper[BAYES]
            if not isinstance(options, DictConfig):
                continue  # what is wrong is said where the wrapper is made
            filled = {"gamma": learner, "truncation_ends": where == HOST_GAMMA}
            wrapper[BAYES] = OmegaConf.merge(filled, options)
            gamma = wrapper[BAYES].gamma
            if args[0] == "train" and name == _value(args, WRAPPERS) and gamma != learner:
                raise UserError(f"wrappers.{name}: Bayes' gamma {gamma} must be {where}, {learner}: leave it out")


def _discount(args: list[str], config: DictConfig) -> tuple[str, float]:
    """The discount of whoever learns, with its name."""
    if not _is_ours(_value(args, POLICY)) or config.train.get("algorithm", "q") != "q":
        return HOST_GAMMA, config.train.gamma
    learner = config.train.get("learner")
    given = learner.get("gamma") if isinstance(learner, DictConfig) else None
    return "train.learner.gamma", Config().learner.gamma if given is None else given


def _is_practice(path: Path) -> bool:
    """Whether it is the practice cartridge, wherever it lies."""
    return path.is_file() and path.read_bytes() == packaged(PRACTICE_ROM).read_bytes()


def _start_practice(config: DictConfig) -> None:
    """Start the practice cartridge where it begins."""
    state = packaged(PRACTICE_START)
    for section in (config, config.get("debug")):
        if section is not None and "env" in section:
            section.env.state_dir, section.env.init_state = str(state.parent), state.stem


def _check_start(folder: Path, rom: str, config: DictConfig) -> None:
    """Start once, before there are worker processes whose tracebacks would have to be read.

    Raises:
        UserError: ROM or state is missing, damaged, or of another emulator version.
    """
    found = find_rom(str(folder / Path(rom).expanduser()))
    state = folder / Path(str(config.env.state_dir)) / f"{config.env.init_state}.state"
    if not state.is_file():
        raise UserError(f"save state {state} does not exist: set env.state_dir and env.init_state")
    emulator = Emulator(found)
    try:
        emulator.load_state(state.read_bytes())
    except UserError as error:
        raise UserError(f"{state}: {error}") from error
    finally:
        emulator.close()


def _write(config: Any) -> Path:
    """The configuration as a file that goes when the process does."""
    handle, name = tempfile.mkstemp(prefix="daddy_puffer_", suffix=".yaml")
    path = Path(name)
    with open(handle, "w", encoding="utf-8") as file:
        file.write(OmegaConf.to_yaml(config))
    atexit.register(path.unlink, missing_ok=True)
    return path
