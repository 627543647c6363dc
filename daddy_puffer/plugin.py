"""The one file that knows pokemonred_puffer: names it resolves, its command line, its trainer.

pokemonred_puffer looks up `X.Y` as attribute `Y` of its own module `policies.X`, `wrappers.X` or `rewards.X`. For X =
daddy_puffer those modules come from here (`daddy_puffer_bootstrap.py` brings them into its packages), and their names
are looked up when they are asked for. The first look-up marks the run as one of ours: only then is anything changed in
that process, and only in its memory. A run that does not name us never gets here.

Imports at the top are light: this file is also read to complete a command line.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import json
import multiprocessing
import multiprocessing.process
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

from daddy_puffer.errors import UserError

if TYPE_CHECKING:
    from daddy_puffer.envs.hosted import HostedGame

HOST = "pokemonred_puffer"
HOST_REWARD = "baseline.ObjectRewardRequiredEventsMapIdsFieldMoves"  # its default
_TYPES: dict[Any, Any] = {"int": int, "float": (int, float), "str": str, "bool": bool}  # of options, by annotation
# of its `env` section, what writes into the game's memory or presses buttons of its own
ACTS_ON_THE_GAME = (
    "auto_flash", "auto_next_elevator_floor", "auto_pokeflute", "auto_remove_all_nonuseful_items",
    "auto_solve_strength_puzzles", "auto_teach_cut", "auto_teach_strength", "auto_teach_surf", "auto_use_cut",
    "auto_use_strength", "auto_use_surf", "disable_ai_actions", "disable_wild_encounters", "infinite_health",
    "infinite_money", "infinite_safari_steps", "insert_saffron_guard_drinks", "perfect_ivs", "skip_safari_zone",
)  # fmt: skip
ELSEWHERE = ("gb_path", "state_dir", "init_state")  # of `env`: what `make_env` has keywords for
_registries: dict[Path, Any] = {}  # of save states, by folder
NAMES = {
    "policies": ("HierQ", "HierQRNN"),
    "rewards": ("FastRequiredEvents", "ProgressReward", "Shaped"),
    "wrappers": ("EpsilonEnv", "ActionRecorder", "Curriculum", "Novelty", "RND", "Bayes", "Patience"),
}


class UnknownName(UserError, AttributeError):
    """A name that daddy_puffer does not have."""


# --- names -----------------------------------------------------------------------------------------------------------


def fill(module: ModuleType) -> None:
    """Make `pokemonred_puffer.<kind>.daddy_puffer` answer for our names."""
    kind = module.__name__.split(".")[1]
    module.__doc__ = f"daddy_puffer's {kind} under the names that {HOST} looks up."
    module.__getattr__ = functools.partial(_look_up, kind)  # type: ignore[method-assign]
    take_part()


def _look_up(kind: str, name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    return {"policies": _policy, "rewards": _reward, "wrappers": _wrapper}[kind](name)


def _policy(name: str) -> Any:
    makers = {"HierQ": make_policy, "HierQRNN": make_recurrent}
    if name not in makers:
        raise UnknownName(f"daddy_puffer has no policy {name!r}: there are {', '.join(NAMES['policies'])}")
    return makers[name]


def _wrapper(name: str) -> Any:
    if name not in NAMES["wrappers"]:
        raise UnknownName(f"daddy_puffer has no wrapper {name!r}: there are {', '.join(NAMES['wrappers'])}")
    return {
        "EpsilonEnv": lambda: wrap_epsilon,
        "ActionRecorder": lambda: functools.partial(wrap_recorder, _folder_of_run("recordings")),
        "Curriculum": _curriculum,
        "Novelty": lambda: _shared_among_workers(name, "counts", "run_wide_counts"),
        "Bayes": lambda: _shared_among_workers(name, "posteriors", "run_wide_posteriors"),
        "Patience": lambda: wrap_patience,
    }.get(name, lambda: functools.partial(_wrap, _ours(name)))()


def _ours(name: str) -> Any:
    return getattr(importlib.import_module("daddy_puffer.wrappers"), name)


def _shared_among_workers(name: str, argument: str, maker: str) -> Any:
    """A wrapper whose environments share something, which has to be there before the worker processes are."""
    return functools.partial(_wrap, _ours(name), **{argument: _ours(maker)()})


def _curriculum() -> Any:
    return functools.partial(wrap_curriculum, _folder_of_run("savestates"))


def _folder_of_run(kind: str) -> Path:
    return Path(kind) / f"{datetime.now().strftime('%Y%m%d-%H%M%S')}_{os.getpid()}"


@functools.cache
def _let_truncation_end() -> None:
    """Let PufferLib reset an environment that was truncated, as it resets one that was terminated.

    It ignores truncation, and the host's own environment never truncates. To the host's trainer a truncation is a
    terminal, whose reward `_bootstrap` raises; ours reads `observation["episode"]` and knows the difference.
    """
    emulation = importlib.import_module("pufferlib.emulation")
    kind = emulation.GymnasiumPufferEnv
    original = kind.step

    @functools.wraps(original)
    def step(env: Any, action: Any) -> Any:
        observation, reward, terminated, truncated, info = original(env, action)
        if truncated and not terminated:
            env.done = terminated = True
            if env.buf is not None:
                env.buf.terminals[0] = True
        return observation, reward, terminated, truncated, info

    kind.step = step


@functools.cache
def _let_states_begin_episodes() -> None:
    """Let a state that the host's AsyncWrapper is sent begin an episode, as one does in its other way of swarming.

    By itself it loads it from a thread, beside whatever the game does, and no wrapper is told.
    """
    from daddy_puffer.wrappers.epsilon import owner

    kind = importlib.import_module(f"{HOST}.wrappers.async_io").AsyncWrapper

    def reset(env: Any, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        state = owner(env, "take_state").take_state()
        options = {**(options or {}), **({} if state is None else {"state": state})}
        # a wrapper below may know no options; without any it need not
        return env.env.reset(seed=seed, options=options) if options else env.env.reset(seed=seed)

    kind.reset = reset


def _reward(name: str) -> Any:
    if name not in NAMES["rewards"]:
        raise UnknownName(f"daddy_puffer has no reward {name!r}: there are {', '.join(NAMES['rewards'])}")
    if name == "FastRequiredEvents":
        return _fast_required_events()
    return make_shaped if name == "Shaped" else make_progressive


def make_policy(env: Any, **settings: Any) -> Any:
    """The network for the host's environment `env` (its PufferLib form); `settings` as in our `policy` section.

    Raises:
        UserError: unknown setting, no such tokenizer, or an observation that lacks what HierQ reads.
    """
    from daddy_puffer.config import PolicyConfig
    from daddy_puffer.learner.mkl import use_wide_kernels
    from daddy_puffer.learner.networks import observation_spec
    from daddy_puffer.policies.hierq import HierQ
    from daddy_puffer.policies.hosted import KEYS, HostedHierQ

    space = getattr(env.env.observation_space, "spaces", {})
    missing = [key for key in KEYS if key not in space]
    if missing:
        raise UserError(
            f"daddy_puffer.HierQ needs the observation keys {', '.join(missing)}: put daddy_puffer.EpsilonEnv into the "
            "wrappers, or take the set --wrappers daddy_puffer"
        )
    try:
        config = PolicyConfig(**settings)
    except TypeError as error:
        raise UserError(f"policies.daddy_puffer.HierQ.policy: {error}") from error
    use_wide_kernels()  # before the network is made: its orthogonal weights are MKL's work
    network = HierQ(observation_spec(space), int(env.single_action_space.n), config)
    network.check_pretrained()
    return HostedHierQ(network, _fields(env.emulated.emulated_observation_dtype, KEYS))


def _fields(layout: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    """Where `keys` lie in an observation of that numpy struct type."""
    import numpy as np
    import torch

    from daddy_puffer.policies.hosted import Field

    found = {}
    for key in keys:
        kind, offset = layout.fields[key][:2]
        dtype = torch.from_numpy(np.empty(0, kind.base)).dtype
        found[key] = Field(dtype=dtype, shape=tuple(kind.shape), offset=int(offset), size=kind.itemsize)
    return found


def make_recurrent(env: Any, policy: Any, **settings: Any) -> Any:
    """The host's recurrent form of the same network.

    Raises:
        UserError: unknown setting, or a policy that is not ours.
    """
    from daddy_puffer.policies.hosted import HostedHierQ, HostedRecurrentHierQ

    if not isinstance(policy, HostedHierQ):
        raise UserError(f"daddy_puffer.HierQRNN belongs to daddy_puffer.HierQ, not to {type(policy).__name__}")
    try:
        return HostedRecurrentHierQ(policy, **settings)
    except TypeError as error:
        raise UserError(f"policies.daddy_puffer.HierQ.rnn.args: {error}") from error


def wrap_epsilon(env: Any, options: Any) -> Any:
    """`EpsilonEnv` over the host's environment, whose own keys are kept; options: `episodes`, and its own.

    With `episodes` the game begins anew after `env.max_steps`; without it has no end, unless a wrapper gives it one.

    Raises:
        UserError: unknown option, or one of another type.
    """
    from daddy_puffer.wrappers.hosted import HostedEpsilonEnv

    settings = _plain(options)
    episodes = settings.pop("episodes", False)
    if not isinstance(episodes, bool):
        raise UserError(f"wrapper daddy_puffer.EpsilonEnv: episodes must be of type bool, got {episodes!r}")
    _let_truncation_end()
    _let_states_begin_episodes()
    hosted = _hosted(env)
    env.unwrapped.update_state = functools.partial(_load_soon, hosted)
    wrapped = _wrap(HostedEpsilonEnv, hosted, settings)
    if episodes:
        _play_episodes(wrapped)
    return wrapped


def _hosted(env: Any) -> HostedGame:
    from daddy_puffer.envs.hosted import HostedGame

    game = env.unwrapped
    rom = Path(game.gb_path)
    return HostedGame(env, game.pyboy, int(game.max_steps), rom_path=rom, action_freq=int(game.action_freq))


def _load_soon(hosted: Any, message: bytes) -> None:
    """For the host's AsyncWrapper, which hands on the rates that it is sent as if they were states."""
    if not message.startswith(b"REQUIRED_RATE"):
        hosted.load_soon(message)


def wrap_recorder(default_folder: Path, env: Any, options: Any) -> Any:
    """`ActionRecorder` over our `EpsilonEnv`; options: `folder` of the recordings, `best_only`.

    Raises:
        UserError: unknown option, or another place in the list of wrappers.
    """
    from daddy_puffer.wrappers.curriculum import machine_of
    from daddy_puffer.wrappers.hosted import HostedActionRecorder, HostedEpsilonEnv

    if not isinstance(env, HostedEpsilonEnv):  # it has to see every state that the game is given
        raise UserError("wrapper daddy_puffer.ActionRecorder belongs right behind daddy_puffer.EpsilonEnv")
    settings = _plain(options)
    folder = Path(str(settings.pop("folder", None) or default_folder)).expanduser().absolute()
    game: Any = env.unwrapped
    with open(game.init_state_path, "rb") as file:
        game.pyboy.load_state(file)  # as the first reset will
    machine = machine_of(env, host_tag(game))
    return _wrap(HostedActionRecorder, env, settings, folder=folder, machine=machine, states_in=_states_in)


def _states_in(info: dict[str, Any]) -> list[bytes]:
    """Save states that the host takes along: it gives the newest of the furthest to all environments."""
    return list(info.get("state", {}).values())


def host_tag(game: Any) -> str:
    """`Machine.host` for the host's environment: its name and, as JSON, those settings that act on the game."""
    found = {name: getattr(game, name, False) for name in ACTS_ON_THE_GAME}
    found["infinite_safari_steps"] = getattr(game, "infinte_safari_steps", False)  # its spelling
    if found["disable_wild_encounters"]:
        found["disable_wild_encounters"] = sorted(game.disable_wild_encounters_maps) or True
    return f"{HOST} {json.dumps({name: value for name, value in found.items() if value}, sort_keys=True)}"


def wrap_patience(env: Any, options: Any) -> Any:
    """`Patience` over our `EpsilonEnv`; a new episode begins at the initial state."""
    wrapped = _wrap(_ours("Patience"), env, options)
    _play_episodes(env)
    return wrapped


def wrap_curriculum(default_folder: Path, env: Any, options: Any) -> Any:
    """`Curriculum` over our `EpsilonEnv`; options: `folder` of the save states, and our `curriculum` section.

    Raises:
        UserError: unknown option or value out of range.
    """
    from daddy_puffer.config import load_config

    settings = {"mode": "mixture", **_plain(options)}
    folder = Path(str(settings.pop("folder", None) or default_folder)).expanduser().absolute()
    _check_place("Curriculum", env)
    try:
        config = load_config(None, {f"curriculum.{name}": value for name, value in settings.items()}).curriculum
    except UserError as error:
        said = str(error).removeprefix("train.curriculum: ")
        raise UserError(f"wrapper daddy_puffer.Curriculum: {said}") from error
    if config.mode == "off":
        return env
    _play_episodes(env)
    if folder not in _registries:  # one for all environments of a process, and for its children
        _registries[folder] = _ours("open_registry")(folder, config, env, host_tag(env.unwrapped))
    return _ours("Curriculum")(env, config, _registries[folder])


def _play_episodes(env: Any) -> None:
    from daddy_puffer.wrappers.epsilon import owner

    game = env.unwrapped
    owner(env, "play_episodes").play_episodes(Path(game.init_state_path), functools.partial(_forget, game))


def _forget(game: Any) -> None:
    """Everything that the host's environment remembers beyond a reset; what was paid for can be earned again."""
    game.init_mem()
    if hasattr(game, "max_event_rew"):  # of most reward classes: the most that events have been worth
        game.max_event_rew = 0


def _wrap(wrapper: Any, env: Any, options: Any, /, **shared: Any) -> Any:
    name, settings = wrapper.__name__.removeprefix("Hosted"), _plain(options)
    parameters = inspect.signature(wrapper).parameters
    try:
        for option, value in settings.items():
            if option in shared:
                raise TypeError(f"got an unexpected keyword argument {option!r}")
            wanted = parameters[option].annotation if option in parameters else ""
            if not isinstance(value, _TYPES.get(wanted, object)):
                raise TypeError(f"{option} must be of type {wanted}, got {value!r}")
        inspect.signature(wrapper).bind(env, **settings, **shared)
    except TypeError as error:
        raise UserError(f"wrapper daddy_puffer.{name}: {error}") from error
    if name != "EpsilonEnv":
        _check_place(name, env)
    return wrapper(env, **settings, **shared)


def _plain(options: Any) -> dict[str, Any]:
    """Options of the host's YAML without its containers."""
    from omegaconf import OmegaConf

    plain: Any = OmegaConf.to_container(options, resolve=True) if OmegaConf.is_config(options) else options
    if not isinstance(plain or {}, dict):
        raise UserError(f"the options of a daddy_puffer wrapper must be a mapping, got {plain!r}")
    return {str(name): value for name, value in (plain or {}).items()}


def _check_place(name: str, env: Any) -> None:
    if "episode" not in getattr(env.observation_space, "spaces", {}):
        raise UserError(f"wrapper daddy_puffer.{name} belongs behind daddy_puffer.EpsilonEnv in the list of wrappers")


def make_shaped(env_config: Any, reward_config: Any) -> Any:
    """The host's reward class that `reward_config.base` names, with our shaping added."""
    return _on_base("hosted", "shaped", _base_of(reward_config))(env_config, reward_config)


def make_progressive(env_config: Any, reward_config: Any) -> Any:
    """The host's reward class that `reward_config.base` names, paying for progress."""
    return _on_base("hosted_progress", "progressive", _base_of(reward_config))(env_config, reward_config)


def _base_of(reward_config: Any) -> str:
    return str((reward_config or {}).get("base", HOST_REWARD))


@functools.cache
def _on_base(module: str, factory: str, base: str) -> Any:
    """The class that `factory` in that module of `rewards` makes of the host's class `base`."""
    return getattr(importlib.import_module(f"daddy_puffer.rewards.{module}"), factory)(_host_reward(base))


def _fast_required_events() -> Any:
    return _on_base("hosted", "fast_required_events", HOST_REWARD)


def _host_reward(name: str) -> Any:
    if name == "daddy_puffer.FastRequiredEvents":
        return _fast_required_events()
    module, _, attribute = name.partition(".")
    try:
        return getattr(importlib.import_module(f"{HOST}.rewards.{module}"), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{HOST} has no reward {name!r} to build on: {error}") from error


# --- one environment -------------------------------------------------------------------------------------------------


def make_env(
    config: str | dict[str, Any] = "", rom: str = "", state: str = "", reward: str = HOST_REWARD
) -> HostedGame:
    """`pokemonred_puffer/Red-v0`: the host's environment as its configuration has it, without wrappers, with episodes.

    They begin at the initial state or at `options["state"]` with everything forgotten, and are truncated after
    `env.max_steps`. `config`: a file, empty = config.yaml of the working folder if there is one, or a mapping of its
    sections `env` and `rewards`; `rom`: a file or `practice`, empty = red.gb of the working folder if it is there,
    else the practice cartridge; `state`: a file, empty = the configuration's, for the practice cartridge its own;
    `reward`: a reward class, as `--reward-name` of the host. Its `keywords` are those that make the same environment
    elsewhere, whatever lies in the working folder there.

    Raises:
        UserError: the host cannot be imported, a file is missing or damaged, or there is no such reward.
    """
    from daddy_puffer.plugin_command import one_env

    here = str(Path.cwd())
    if importlib.util.find_spec(HOST) is None and here not in sys.path:
        sys.path.append(here)  # where `python -m` would find it
    if importlib.util.find_spec(HOST) is None:
        raise UserError(f"{HOST} cannot be imported: put its checkout on PYTHONPATH (`daddy-puffer doctor` says more)")
    settings, found = one_env(config, rom, state, Path(here))
    weights = (settings.rewards.get(reward) or {}).get("reward")
    if weights is None:
        known = ", ".join(str(name) for name, section in settings.rewards.items() if section and section.get("reward"))
        raise UserError(f"the configuration has no rewards.{reward}.reward (known: {known})")
    kept = {name: value for name, value in _plain(settings.env).items() if name not in ELSEWHERE}
    sections = {"env": kept, "rewards": {reward: {"reward": _plain(weights)}}}
    # what `HostedGame` reads; a picture comes from the screen itself, so nobody loses anything
    settings.env.reduce_res = settings.env.two_bit = True
    ours, _, name = reward.partition(".")
    build = _reward(name) if ours == "daddy_puffer" else _host_reward(reward)
    game = _hosted(build(settings.env, weights))
    game.host, game.keywords = host_tag(game.unwrapped), {"config": sections, **found, "reward": reward}
    _play_episodes(game)
    return game


# --- the run ---------------------------------------------------------------------------------------------------------


@functools.cache
def take_part() -> None:
    """This run names us: put our trainer in reach, and see that mistakes and dead workers end it."""
    sys.excepthook = functools.partial(_end_of_run, sys.excepthook)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, functools.partial(_child_ended, os.getpid()))
    trainer = sys.modules.get(f"{HOST}.cleanrl_puffer")
    if trainer is not None:
        hook(trainer)
    else:
        sys.meta_path.insert(0, _AfterImport())


class _AfterImport:
    """Hooks the host's trainer when it is imported after our names were."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The host's own spec, with `hook` to follow."""
        if name != f"{HOST}.cleanrl_puffer":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        loader: Any = spec and spec.loader
        if loader is not None:
            loader.exec_module = functools.partial(_execute_and_hook, loader.exec_module)
        return spec


def _execute_and_hook(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    execute(module)
    hook(module)


def hook(trainer: ModuleType) -> None:
    """Let everyone who has the host's trainer by name get ours where it is meant."""
    original = trainer.CleanPuffeRL
    ours = functools.wraps(original, updated=())(functools.partial(make_trainer, trainer, original))
    for module in list(sys.modules.values()):
        if getattr(module, "__dict__", {}).get("CleanPuffeRL") is original:
            module.CleanPuffeRL = ours  # type: ignore[attr-defined]
    trainer.rollout = functools.partial(_rollout, trainer.rollout)  # type: ignore[attr-defined]


def make_trainer(host: ModuleType, original: Any, /, *args: Any, **kwargs: Any) -> Any:
    """What `CleanPuffeRL(...)` makes in a run that names us: our trainer for our policy, the host's own otherwise.

    Raises:
        UserError: sizes that the host would stumble over later, or an unknown algorithm.
    """
    bound = inspect.signature(original).bind(*args, **kwargs)
    given = bound.arguments
    config, vecenv = given["config"], given["vecenv"]
    algorithm = config.get("algorithm", "q") if _is_ours(given["policy"]) else "ppo"
    if algorithm not in ("q", "ppo"):
        raise UserError(f"train.algorithm must be q or ppo, got {algorithm!r}")
    _check_sizes(config, vecenv, algorithm)
    trainer: Any
    if algorithm == "q":
        from daddy_puffer.learner.hosted import HostedTrainer

        trainer = HostedTrainer(host, original, *args, **kwargs)
    else:
        trainer = _ppo(original, bound)
        if _is_ours(given["policy"]):
            _filter_segments(trainer, config)
    if not hasattr(trainer, "archive_path"):  # the host prints it after a migration, archive or not
        trainer.archive_path = Path(config.data_dir) / str(config.exp_id)
    return trainer


def _ppo(original: Any, bound: inspect.BoundArguments) -> Any:
    """The host's own trainer; where our wrappers say what happens, whatever the policy, it bootstraps truncations.

    And what happens is logged.
    """
    from daddy_puffer.learner.hosted import LEDGER, WatchedVecenv, make_ppo_logs
    from daddy_puffer.learner.hosted_logs import keep_logs
    from daddy_puffer.learner.hosted_ppo import bootstrap_truncations
    from daddy_puffer.policies.hosted import KEYS

    vecenv = bound.arguments["vecenv"]
    row_type = vecenv.driver_env.emulated.emulated_observation_dtype
    if not {*KEYS, LEDGER} <= set(row_type.names or ()):
        return original(*bound.args, **bound.kwargs)
    watched = bound.arguments["vecenv"] = WatchedVecenv(vecenv)
    trainer = original(*bound.args, **bound.kwargs)
    if hasattr(trainer, "experience"):
        bootstrap_truncations(trainer, row_type)
        keep_logs(trainer, make_ppo_logs(trainer, watched))
    return trainer


def _filter_segments(trainer: Any, config: Any) -> None:
    from daddy_puffer.learner.hosted_ppo import keep_best_segments, share_of_segments

    share = share_of_segments(config)
    if share < 1.0:
        keep_best_segments(trainer, share)


def _is_ours(policy: Any) -> bool:
    from daddy_puffer.policies.hosted import HostedHierQ, HostedRecurrentHierQ

    return any(isinstance(part, (HostedHierQ, HostedRecurrentHierQ)) for part in policy.modules())


def _check_sizes(config: Any, vecenv: Any, algorithm: str) -> None:
    agents, envs = int(vecenv.agents_per_batch), int(config.num_envs)
    if agents == 1 and envs > 1:
        raise UserError(f"train.env_batch_size 1 with train.num_envs {envs}: {HOST} needs at least 2, or one env")
    if algorithm == "q":
        return
    for whole, part in (("batch_size", "minibatch_size"), ("minibatch_size", "bptt_horizon")):
        if config[whole] % config[part]:
            raise UserError(f"train.{whole} {config[whole]} must be a multiple of train.{part} {config[part]}")


def _rollout(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The host's evaluation. It reads its own checkpoint, a pickled module, in a way that torch 2.6 refuses."""
    if kwargs.get("model_path", args[2:3] or None) is None:
        raise UserError("evaluate needs --checkpoint-path: a model_<epoch>.pt of a run")
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        return original(*args, **kwargs)
    finally:
        del os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"]


def _end_of_run(
    previous: Callable[..., Any], kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Print the exception (ours in one line) and stop what would keep the process from leaving."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if issubclass(kind, UserError):
        print(f"error: {error}", file=sys.stderr)
    else:
        previous(kind, error, trace)
    for child in multiprocessing.active_children():
        child.terminate()
    for thread in threading.enumerate():  # the host's utilisation meter is waited for otherwise
        stop = getattr(thread, "stop", None)
        if type(thread).__module__ == f"{HOST}.profile" and stop is not None:
            stop()


def _child_ended(owner: int, number: int, frame: FrameType | None) -> None:
    """A process has ended: raise in the main thread when it is one of the run's that was not told to.

    The host waits for its workers in a loop without end. A worker prints its own traceback before this.
    """
    if os.getpid() != owner or sys.exc_info()[0] is not None:
        return  # a run that is ending with another error says that one
    for child in list(getattr(multiprocessing.process, "_children", ())):
        code = child.exitcode
        if code not in (None, 0, -signal.SIGTERM):
            how = f"signal {-code}" if code < 0 else f"exit code {code}, its traceback is above"
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # once
            what = "process of the" if child.name == "updates" else "environment worker"  # see learner/process.py
            raise UserError(f"{what} {child.name} died ({how}): the run ends")


# --- command line ----------------------------------------------------------------------------------------------------


def complete_command_line() -> None:
    """Complete `sys.argv` of a `python -m pokemonred_puffer.train` that names us; a mistake ends the process."""
    from daddy_puffer.plugin_command import complete

    try:
        sys.argv[1:] = complete(sys.argv[1:], Path.cwd())
    except UserError as error:
        raise SystemExit(f"error: {error}") from error
