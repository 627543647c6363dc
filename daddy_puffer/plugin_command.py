"""Completes a command line for the host: short forms, defaults, and a configuration that has every key it reads.

In: the arguments of a run, and its folder. Out: arguments that the host understands as it is. A command line that
does not name us comes back as it was. Knows no process, no module of the host.

The host reads one YAML file. What it is given here is `data/upstream.yaml`, under the user's file, whether that one is
written for us or for the host: settings of ours that go by another name there are carried over, those that are wrappers
there into our set of wrappers. What our file asks for and the host has nothing for is named.
"""

from __future__ import annotations

import atexit
import sys
import tempfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from daddy_puffer.config import Config, load_section
from daddy_puffer.envs.emulator import Emulator
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, find_rom, is_practice_rom, packaged
from daddy_puffer.errors import UserError
from daddy_puffer.rewards.sets import DEFAULT_WEIGHTS

COMMANDS = ("train", "evaluate", "autotune", "debug")
POLICY, REWARD, WRAPPERS = "--policy-name", "--reward-name", "--wrappers-name"
CONFIG, ROM, VECTORIZATION = "--config", "--rom-path", "--vectorization"
SHORT = {"--policy": POLICY, "-p": POLICY, "--reward": REWARD, "-r": REWARD, "--wrappers": WRAPPERS, "-w": WRAPPERS}
HOST_CONFIG, HOST_ROM = "config.yaml", "red.gb"  # its defaults
PROGRESS_REWARD = "daddy_puffer.ProgressReward"
PRACTICE = "practice"  # in place of a ROM's path: the practice cartridge
OUR_WRAPPERS, OUR_REWARD = "daddy_puffer", "daddy_puffer.FastRequiredEvents"
EPSILON, BAYES = "daddy_puffer.EpsilonEnv", "daddy_puffer.Bayes"
ASKED_BY = {  # which setting of our file asks for a wrapper
    "Curriculum": "train.curriculum.mode",
    "Patience": "env.patience_steps",
    "Novelty": "train.intrinsic.novelty_weight",
    "RND": "train.intrinsic.rnd_weight",
    "Bayes": "train.intrinsic.bayes_weight",
}
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
    theirs = _theirs(_value(args, CONFIG), folder)
    carried = _carry_over(theirs)
    named_state = bool((theirs.get("env") or {}).get("init_state"))
    config = _merged(theirs)
    if args[0] == "train":
        _carry_wrappers(theirs, config, args)
    _check_names(args, config)
    _check_discount(args, config)
    _complete_bayes(args, config)
    rom = _value(args, ROM) or carried.get(ROM) or HOST_ROM
    if ours and rom == HOST_ROM and not (folder / HOST_ROM).is_file():
        print(f"no {HOST_ROM} here and no {ROM}: playing daddy_puffer's practice cartridge", file=sys.stderr)
        rom = str(packaged(PRACTICE_ROM))
        _start_practice(config)
    elif not named_state and is_practice_rom(folder / rom):
        _start_practice(config)
    _check_start(folder, rom, config)
    args = _without(_without(args, CONFIG), ROM)
    if args[0] == "train" and VECTORIZATION in carried:
        args = _default(args, VECTORIZATION, carried[VECTORIZATION])
    return [*args, CONFIG, str(_write(config)), ROM, rom]


def one_env(config: str | dict[str, Any], rom: str, state: str, folder: Path) -> tuple[DictConfig, dict[str, str]]:
    """The configuration of one environment outside of a run, with `env.gb_path`; and `rom` and `state` as found.

    `config`: a file, empty = the folder's if there is one, or a mapping of its sections; `rom`: empty = the host's
    default in the folder if it is there, else `PRACTICE`; `state`: a file, empty = the configuration's, for the
    practice cartridge where that begins. What is found are whole paths, but for the practice cartridge and its start.

    Raises:
        UserError: a file is missing, damaged, or not what it should be.
    """
    theirs = _theirs(config or None, folder) if isinstance(config, str) else OmegaConf.create(config)
    carried = _carry_over(theirs)
    merged = _merged(theirs)
    rom = rom or carried.get(ROM) or (HOST_ROM if (folder / HOST_ROM).is_file() else PRACTICE)
    path = packaged(PRACTICE_ROM) if rom == PRACTICE else (folder / Path(rom).expanduser()).absolute()
    found = {"rom": rom if rom == PRACTICE else str(path), "state": ""}
    if state:
        start = Path(state).expanduser()
        merged.env.state_dir, merged.env.init_state = str(start.parent), start.stem
    if is_practice_rom(path) and not state:
        _start_practice(merged)
    else:
        found["state"] = str((folder / str(merged.env.state_dir) / f"{merged.env.init_state}.state").absolute())
    _check_start(folder, str(path), merged)
    merged.env.gb_path = str(path)
    return merged, found


def _theirs(given: str | None, folder: Path) -> DictConfig:
    """The user's configuration; empty where none is named and the folder has none."""
    path = folder / (given or HOST_CONFIG)
    return _read(path) if given is not None or path.is_file() else OmegaConf.create({})


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
    if "frame_stack" in config.env and not _has_our_set(theirs):
        config.wrappers[OUR_WRAPPERS][0][EPSILON].frame_stack = config.env.frame_stack
    return config


def _has_our_set(theirs: DictConfig) -> bool:
    """Whether the user's file says itself what our set of wrappers is."""
    return OUR_WRAPPERS in (theirs.get("wrappers") or {})


def _carry_wrappers(theirs: DictConfig, config: DictConfig, args: list[str]) -> None:
    """Add the wrappers that our file asks for to our set, in place, where it has none; name what has no effect.

    Raises:
        UserError: unknown key, wrong type or value out of range in a section of ours.
    """
    by_us = _learns_by_us(args, config)
    asked = _asked_for(config)
    if by_us and "RND" in asked:  # our trainer pays it
        config.train.rnd_weight = (theirs.get("train") or {}).get("rnd_weight", asked["RND"]["weight"])
        del asked["RND"]
    unheeded = _unheeded(config)
    if _value(args, WRAPPERS) == OUR_WRAPPERS and not _has_our_set(theirs):
        config.wrappers[OUR_WRAPPERS].extend([{f"daddy_puffer.{name}": options} for name, options in asked.items()])
    else:
        unheeded += [ASKED_BY[name] for name in asked]
    if unheeded:
        names = ", ".join(unheeded)
        print(f"no effect under pokemonred_puffer, or with these wrappers: {names}", file=sys.stderr)


def _asked_for(config: DictConfig) -> dict[str, dict[str, Any]]:
    """Wrappers and their options, in their order, of the sections that the stand-alone trainer makes them of."""
    patience = {name: config.env[name] for name in ("patience_steps", "patience_reward") if name in config.env}
    env, curriculum = load_section("env", patience), _section(config, "curriculum")
    intrinsic, progress = _section(config, "intrinsic"), _section(config, "progress")
    found: dict[str, dict[str, Any]] = {}
    if curriculum.mode != "off":
        found["Curriculum"] = asdict(curriculum)
    if env.patience_steps:  # before every bonus: the game's own rewards decide
        found["Patience"] = {"steps": env.patience_steps, "reward": env.patience_reward}
    if intrinsic.novelty_weight:
        found["Novelty"] = {
            "weight": intrinsic.novelty_weight,
            "scope": intrinsic.novelty_scope,
            "first": intrinsic.novelty_first,
            "milestones": intrinsic.novelty_milestones,
        }
    if intrinsic.rnd_weight:
        found["RND"] = {"weight": intrinsic.rnd_weight}
    if intrinsic.bayes_weight:  # after whatever ends episodes: it counts how they end
        found["Bayes"] = {
            "weight": intrinsic.bayes_weight,
            "step_budget": progress.step_budget,
            "step_budgets": progress.step_budgets,
        }
    return found


def _section(config: DictConfig, name: str) -> Any:
    """A section of ours under `train`, checked, with defaults where the file says nothing.

    Raises:
        UserError: it is no mapping, or as `load_section`.
    """
    node = config.train.get(name)
    if node is not None and not isinstance(node, DictConfig):
        raise UserError(f"train.{name} must be a mapping, found {node!r}")
    return load_section(name, OmegaConf.to_container(node, resolve=True) if node else {})  # type: ignore[arg-type]


def _unheeded(config: DictConfig) -> list[str]:
    """What our file says that nobody in the host reads, by name; ways of its own to learn from are taken out."""
    demos, progress, default = config.train.get("demos"), _section(config, "progress"), Config()
    ways = ("own_way", "own_wins") if isinstance(demos, DictConfig) else ()
    names = [f"train.demos.{name}" for name in ways if demos.pop(name, None)]
    for field in fields(progress):
        of_bayes = field.name in ("step_budget", "step_budgets")
        if not of_bayes and getattr(progress, field.name) != getattr(default.progress, field.name):
            names.append(f"train.progress.{field.name}")
    practice = config.rewards.get("daddy_puffer.Practice")
    weights = (practice or {}).get("reward") or {}
    if any(DEFAULT_WEIGHTS.get(term) != weight for term, weight in weights.items()):
        names.append("rewards.daddy_puffer.Practice")
    return names


def _learns_by_us(args: list[str], config: DictConfig) -> bool:
    """Whether our trainer learns, not the host's."""
    return _is_ours(_value(args, POLICY)) and config.train.get("algorithm", "q") == "q"


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
    """The same for the wrapper, in place: it gets that discount where it has none."""
    where, learner = _discount(args, config)
    for name, wrappers in config.wrappers.items():
        for wrapper in wrappers if isinstance(wrappers, ListConfig) else ():
            if not isinstance(wrapper, DictConfig) or BAYES not in wrapper:
                continue
            options = OmegaConf.create() if wrapper[BAYES] is None else wrapper[BAYES]
            if not isinstance(options, DictConfig):
                continue  # what is wrong is said where the wrapper is made
            wrapper[BAYES] = OmegaConf.merge({"gamma": learner}, options)
            gamma = wrapper[BAYES].gamma
            if args[0] == "train" and name == _value(args, WRAPPERS) and gamma != learner:
                raise UserError(f"wrappers.{name}: Bayes' gamma {gamma} must be {where}, {learner}: leave it out")


def _discount(args: list[str], config: DictConfig) -> tuple[str, float]:
    """The discount of whoever learns, with its name."""
    if not _learns_by_us(args, config):
        return "train.gamma", config.train.gamma
    learner = config.train.get("learner")
    given = learner.get("gamma") if isinstance(learner, DictConfig) else None
    return "train.learner.gamma", Config().learner.gamma if given is None else given


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
