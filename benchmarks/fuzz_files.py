"""Damaged and hostile files, given to whatever reads them: each must load, be refused in one line, or be put aside.

Every kind of file that the program reads from disk is made for real (a short run), then mutated: bits flipped, cut,
ranges swapped, lengths made huge, archives that unpack to far more, files of another type, pickles that would run code.
The real loader gets each mutant in a process of its own with limits of time and memory. What is neither loaded, nor a
`UserError`, nor in quarantine is a failure: another exception, a hang, a signal, code that ran. Prints a Markdown table
and leaves with code 1 when there is one.

    python benchmarks/fuzz_files.py --mutants 1000
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import multiprocessing
import os
import pickle
import resource
import shutil
import sys
import tempfile
import time
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from daddy_puffer.config import Config, CurriculumConfig, EnvConfig, ReplayConfig, TrainConfig, load_config
from daddy_puffer.demos.episode import read_episode
from daddy_puffer.demos.game import Game as DemoGame
from daddy_puffer.demos.game import Recipe
from daddy_puffer.demos.players import make_player
from daddy_puffer.demos.record import record_episodes
from daddy_puffer.demos.verify import Verifier
from daddy_puffer.envs.emulator import Emulator
from daddy_puffer.envs.red import make_red_env
from daddy_puffer.envs.rom import PRACTICE_ROM, PRACTICE_START, find_rom, find_state, packaged
from daddy_puffer.errors import UserError
from daddy_puffer.learner.checkpoint import checkpoint_step, find_checkpoint
from daddy_puffer.learner.learner import Learner, NotFiniteError
from daddy_puffer.learner.trainer import Trainer
from daddy_puffer.pretraining.collect import Collecting, play_run
from daddy_puffer.pretraining.frames import halve
from daddy_puffer.pretraining.frames import read_run as read_frame_run
from daddy_puffer.pretraining.frames import write_run as write_frame_run
from daddy_puffer.replay import make_replay
from daddy_puffer.replay_run import replay
from daddy_puffer.report.runs import load_run as read_run
from daddy_puffer.swarm import Machine, StateRegistry
from daddy_puffer.sweep.journal import Journal, read_facts
from daddy_puffer.sweep.measure import measure, read_outcome
from daddy_puffer.sweep.results import show, write_csv
from daddy_puffer.sweep.space import Parameter, read_space
from daddy_puffer.sweep.trials import Outcome, Plan, check_settings, facts_of, plan_of, trials_of
from daddy_puffer.telemetry import Interval, Sink
from daddy_puffer.telemetry.live import LiveReader
from daddy_puffer.telemetry.run_folder import open_run_folder
from daddy_puffer.telemetry.sinks import EpisodeCsv, JsonLines, MetricsCsv, ProgressCsv
from daddy_puffer.telemetry.step_rows import StepShards
from daddy_puffer.train import train
from daddy_puffer.vector import make_vector
from daddy_puffer.vision.dynamics import DYNAMICS_FILE, Dynamics, DynamicsSettings, dynamics_state, load_dynamics
from daddy_puffer.vision.progress import PROGRESS_FILE, ProgressModel, ProgressSettings, load_progress, progress_state
from daddy_puffer.vision.saved import save
from daddy_puffer.vision.tokenizer import TOKENIZER_FILE, Tokenizer, TokenizerSettings, load_tokenizer, network_state
from daddy_puffer.wrappers import Curriculum, EpsilonEnv, open_registry

ROOT = Path(__file__).resolve().parents[1]
LOADED, REFUSED, ASIDE = "loaded", "refused in one line", "put aside"
CONTROL = -1  # the seed of a file that is left as it is, and must load
SECONDS = 20.0  # for one mutant
MEMORY_BYTES = 12 << 30  # address space of a process that reads mutants; torch alone maps 4 GB
BOMB_BYTES = 300 << 20  # what an archive of some hundred KB unpacks to
Mutator = Callable[[bytes, np.random.Generator], bytes]


# --- mutations -------------------------------------------------------------------------------------------------------


def flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for place in rng.integers(0, max(1, len(changed)), int(rng.integers(1, 9))) if changed else []:
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(0, len(data) + 1))]


def lengthen(data: bytes, rng: np.random.Generator) -> bytes:
    return data + rng.bytes(int(rng.integers(1, 4096)))


def swap_ranges(data: bytes, rng: np.random.Generator) -> bytes:
    a, b, c = sorted(int(place) for place in rng.integers(0, len(data) + 1, 3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def zero_range(data: bytes, rng: np.random.Generator) -> bytes:
    a, b = sorted(int(place) for place in rng.integers(0, len(data) + 1, 2))
    return data[:a] + bytes(b - a) + data[b:]


def huge_number(data: bytes, rng: np.random.Generator) -> bytes:
    """Four or eight bytes somewhere become a number that no length can be, or nearly none."""
    value = [b"\xff" * 4, b"\xff\xff\xff\x7f", b"\xff" * 8, b"\x00\x00\x00\x80", b"\x00\x00\x00\x10"][rng.integers(5)]
    place = int(rng.integers(0, max(1, len(data) - len(value) + 1)))
    return data[:place] + value + data[place + len(value) :]


def another_type(data: bytes, rng: np.random.Generator) -> bytes:
    others = [b"", b"\n", b"\0" * 64, b"null", b"[]", b"{}", b"7", b"- a\n- b\n", b"\x89PNG\r\n\x1a\n", b"\x7fELF",
              b"PK\x05\x06" + bytes(18), b"\xff\xfe\xfd", b"<html></html>", rng.bytes(1000), b"[" * 100_000,
              b'{"a":' * 50_000]  # fmt: skip
    return others[rng.integers(len(others))]


ODD_VALUES = (
    *("NaN", "-1", "0", "1e999", "-Infinity", "9" * 400, '"text"', "null", "[]", "{}", "true", "2024-13-45", "1e18"),
    *("4294967296", "-2147483649", "!!python/object/apply:os.mkdir [x]", "${oc.env:HOME}", "${missing}"),
)


def odd_value(data: bytes, rng: np.random.Generator) -> bytes:
    """What stands behind one of the colons or commas of a text becomes something that does not belong there."""
    places = [place for place, byte in enumerate(data[:200_000]) if byte in b":,"]
    if not places:
        return flip_bits(data, rng)
    start = places[rng.integers(len(places))] + 1
    end = next((place for place in range(start, len(data)) if data[place] in b",\n}]"), len(data))
    return data[:start] + b" " + ODD_VALUES[rng.integers(len(ODD_VALUES))].encode() + data[end:]


def yaml_bomb(_data: bytes, _rng: np.random.Generator) -> bytes:
    """Ten lists of ten of the list before: 10 GB once it is written out."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 11)]
    return "\n".join(lines).encode()


class Payload:
    """Unpickling it makes a folder."""

    marker = ""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.makedirs, (self.marker,)


def pickled(_data: bytes, rng: np.random.Generator) -> bytes:
    return pickle.dumps(Payload(), protocol=int(rng.integers(0, 6)))


def numpy_arrays(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def npz_of(arrays: dict[str, Any]) -> bytes:
    target = io.BytesIO()
    np.savez_compressed(target, **arrays)
    return target.getvalue()


def npz_with_payload(data: bytes, rng: np.random.Generator) -> bytes:
    arrays: dict[str, Any] = numpy_arrays(data)
    arrays[list(arrays)[rng.integers(len(arrays))]] = np.array([Payload()], dtype=object)
    return npz_of(arrays)


def npz_with_odd_array(data: bytes, rng: np.random.Generator) -> bytes:
    """A whole archive with one array that is not what it should be."""
    arrays: dict[str, Any] = numpy_arrays(data)
    name = list(arrays)[rng.integers(len(arrays))]
    old = arrays[name]
    odd = [old.astype(str), old[..., None], old.ravel()[:-1], np.zeros((0, 3)), np.float64(np.nan), np.array("text"),
           np.full(old.shape, -1, np.int64), np.full(old.shape, 2**31 - 1, np.int64),
           np.full(old.shape, 2**62)]  # fmt: skip
    arrays[name] = odd[rng.integers(len(odd))]
    if rng.random() < 0.15:
        del arrays[name]
    return npz_of(arrays)


@cache
def _deflated_zeros() -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(1 << 20)
    return b"".join(engine.compress(block) for _ in range(BOMB_BYTES >> 20)) + engine.flush()


def npz_bomb(data: bytes, rng: np.random.Generator) -> bytes:
    """An archive whose every member unpacks to a gigabyte: one array of zeros, with its right name."""
    names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    return zip_bomb(names[int(rng.integers(len(names)))])


def zip_bomb(name: str) -> bytes:
    """A zip file of one member that unpacks to `BOMB_BYTES`, made by hand: zipfile would compress it each time."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (BOMB_BYTES,)})
    start = head.getvalue()
    stored = len(start).to_bytes(2, "little") + (0xFFFF ^ len(start)).to_bytes(2, "little")
    body = b"\x00" + stored + start + _deflated_zeros()
    size = len(start) + BOMB_BYTES
    encoded = name.encode()
    common = b"\x14\x00\x00\x00\x08\x00\x00\x00\x21\x00" + _crc(start).to_bytes(4, "little")
    common += len(body).to_bytes(4, "little") + size.to_bytes(4, "little") + len(encoded).to_bytes(2, "little")
    local = b"PK\x03\x04" + common + b"\x00\x00" + encoded + body
    central = b"PK\x01\x02\x14\x00" + common + bytes(2 + 2 + 2 + 2 + 4 + 4) + encoded
    end = b"PK\x05\x06" + bytes(4) + b"\x01\x00\x01\x00" + len(central).to_bytes(4, "little")
    return local + central + end + len(local).to_bytes(4, "little") + b"\x00\x00"


@cache
def _crc(start: bytes) -> int:
    value, block = zlib.crc32(start), bytes(1 << 20)
    for _ in range(BOMB_BYTES >> 20):
        value = zlib.crc32(block, value)
    return value


def torch_with_payload(data: bytes, rng: np.random.Generator) -> bytes:
    """A checkpoint whose pickle would run code; sometimes as the pickle that torch wrote before it wrote archives."""
    target = io.BytesIO()
    state = {"format": 1, "step": 5, "learner": Payload()}
    torch.save(state, target, _use_new_zipfile_serialization=bool(rng.random() < 0.7))
    return target.getvalue()


def torch_bomb(data: bytes, _rng: np.random.Generator) -> bytes:
    return zip_bomb(zipfile.ZipFile(io.BytesIO(data)).namelist()[0])


def torch_with_odd_leaf(data: bytes, rng: np.random.Generator) -> bytes:
    """A whole checkpoint with one value that is not what it should be."""
    state = torch.load(io.BytesIO(data), weights_only=True)
    node: Any = state
    while True:
        keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = keys[rng.integers(len(keys))]
        if not (isinstance(node[key], (dict, list)) and node[key] and rng.random() < 0.85):
            break
        node = node[key]
    odd: list[Any] = [
        "text",
        None,
        -1,
        2**70,
        float("nan"),
        [],
        {},
        torch.zeros(3),
        torch.zeros(2, 2, dtype=torch.int64),
    ]
    node[key] = odd[rng.integers(len(odd))]
    if isinstance(node, dict) and rng.random() < 0.2:
        del node[key]
    target = io.BytesIO()
    torch.save(state, target)
    return target.getvalue()


BYTES: tuple[Mutator, ...] = (flip_bits, flip_bits, cut, lengthen, swap_ranges, zero_range, huge_number, another_type,
                              pickled)  # fmt: skip
TEXT: tuple[Mutator, ...] = (*BYTES, odd_value, odd_value, odd_value, odd_value)
YAML: tuple[Mutator, ...] = (*TEXT, yaml_bomb)
NPZ: tuple[Mutator, ...] = (
    *BYTES,
    npz_with_payload,
    npz_with_odd_array,
    npz_with_odd_array,
    npz_with_odd_array,
    npz_bomb,
)
TORCH: tuple[Mutator, ...] = (*BYTES, torch_with_payload, torch_with_odd_leaf, torch_with_odd_leaf, torch_bomb)


# --- the readers -----------------------------------------------------------------------------------------------------


def small_config(runs: Path) -> Config:
    """A run of seconds with everything that is kept on disk."""
    return Config(
        env=EnvConfig(max_steps=30),
        replay=ReplayConfig(capacity=2000, burn_in=2, sequence_length=6, batch_size=2, learning_starts=100),
        curriculum=CurriculumConfig(mode="mixture", cell_size=2, episode_steps=15, true_start_share=0.2),
        train=TrainConfig(num_envs=2, vectorization="serial", total_steps=400, log_interval=100, save_interval=200,
                          step_log_interval=2, save_replay=True, record_episodes="all", device="cpu", run_name="run",
                          runs_dir=str(runs)),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Game:
    """An environment that reads many mutants, one after the other."""

    config: Config
    env: Any
    machine: Machine


def load_state(path: Path, game: Game) -> str:
    """A save state given as env.init_state, or met by doctor or the curriculum: loaded, and played from."""
    state = find_state(str(path), find_rom(""))
    game.env.reset(options={"state": state})
    for action in range(5):
        game.env.step(np.int64(action))
    return LOADED


def load_settings(path: Path, _: Any) -> str:
    """A configuration: checked, and what it asks for built as far as memory goes."""
    load_config(path)
    return LOADED


def load_registry(folder: Path, game: Game) -> str:
    """The registry of a curriculum: read, drawn from and added to by a real environment."""
    registry = StateRegistry(folder, game.machine, max_states=500, max_bytes=10**9)
    env = Curriculum(game.env, game.config.curriculum, registry)
    for seed in range(2):
        env.reset(seed=seed)
        env.step(np.int64(seed))
    return ASIDE if any((folder / "quarantine").glob("*.txt")) else LOADED


def load_resume(folder: Path, trainer: Trainer) -> str:
    """The newest checkpoint of a run: found, read with its settings, gone on from."""
    checkpoint = find_checkpoint(folder)
    load_config(checkpoint / "config.yaml")
    checkpoint_step(checkpoint)
    trainer.resume(checkpoint)
    return LOADED


def load_saved_replay(folder: Path, trainer: Trainer) -> str:
    """The newest checkpoint with its replay: gone on from, played from and learned from."""
    trainer.resume(find_checkpoint(folder))
    moment = trainer._begin()
    trainer.env.step(np.zeros(trainer.env.num_envs, np.int64))
    trainer.learner.act(moment.batch.observation, moment.batch.first, moment.state, np.zeros(2, np.float32))
    trainer.replay.add(moment.batch, np.zeros(2, np.int64), moment.state)
    if trainer.replay.ready:
        with contextlib.suppress(NotFiniteError):  # which ends a run in one line
            trainer.learner.update(trainer.replay.sample(2))
    return LOADED


def load_recording(path: Path, config: Path) -> str:
    """Recorded buttons, played again."""
    with contextlib.redirect_stdout(io.StringIO()):
        replay(path, video=None, until=0, config=config, rom=None)
    return LOADED


def load_run(folder: Path, config: Config) -> str:
    """A run folder: read for a report and by watch, and opened to go on with."""
    read_run(folder)
    LiveReader(folder / "live").looks()
    LiveReader(folder / "live").screens()
    own = replace(config, train=replace(config.train, runs_dir=str(folder.parent), run_name=folder.name))
    open_run_folder(folder, own, resumed=True)
    sinks: list[Sink] = [
        EpisodeCsv(folder / "episodes.csv", 200),
        MetricsCsv(folder / "metrics.csv", 200),
        JsonLines(folder / "events.jsonl", 200),
        ProgressCsv(folder / "progress.csv", 200),
        StepShards(folder / "steps", config.progress.watched, 200),
    ]
    for sink in sinks:
        sink.take(Interval.of(300, {"speed/steps_per_second": 1.0}))
        sink.close()
    return ASIDE if any(folder.rglob("*.damaged")) else LOADED


def load_rom(path: Path, _: Any) -> str:
    emulator = Emulator(find_rom(str(path)))
    emulator.wait(60)
    emulator.render_frame()
    emulator.close()
    return LOADED


def load_space(path: Path, config: Config) -> str:
    read_space(path, config)
    return LOADED


def load_trials(path: Path, parameters: tuple[Parameter, ...]) -> str:
    """What a sweep wrote down: read as it is gone on with, and its results shown."""
    facts = read_facts(path)
    plan, trials = plan_of(facts), trials_of(facts)
    check_settings(trials, parameters, path.parent)
    write_csv(path.with_name("results.csv"), trials, parameters, "return" if plan is None else plan.objective)
    show(Console(file=io.StringIO()), trials, parameters, "return")
    for trial in trials:
        assert np.isfinite([p.space.to_unit(trial.settings[p.name]) for p in parameters]).all()
    return LOADED


def load_outcome(folder: Path, _: Any) -> str:
    read_outcome(folder)
    measure(folder, "return", 5)
    return LOADED


def load_demonstration(path: Path, _: Any) -> str:
    """A demonstration: read, and played again."""
    Verifier().verify(read_episode(path))
    return LOADED


def load_frame_run(path: Path, _: Any) -> str:
    """Frames of a run, and what a model is trained on of them."""
    halve(read_frame_run(path).frames)
    return LOADED


def load_network(path: Path, load: Callable[[Path], torch.nn.Module]) -> str:
    """A network of `pretrain`."""
    load(path)
    return LOADED


# --- what is mutated -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Files of one kind: which of `folder` are mutated, and who reads what."""

    name: str
    mutators: tuple[Mutator, ...]
    pattern: str  # of the files, in the copy of the run
    load: Callable[[Path, Any], str]
    given: str = ""  # what of the copy the loader gets: empty = the mutated file itself
    copied: tuple[str, ...] = ()  # what the loader needs of the run beside the mutated files
    needs: Callable[[Path], Any] = lambda runs: None
    signs: bool = False  # whether the registry's sidecar is made to agree with a mutated state or chain


def _trainer(runs: Path) -> Trainer:
    config = small_config(runs)
    env = make_vector(config, savestates=runs / "reader/savestates", recordings=runs / "reader/recordings")
    learner = Learner(config, env.spaces, env.num_actions)
    config = replace(config, train=replace(config.train, save_replay=False))  # reading does not ask
    return Trainer(
        config, env, learner, make_replay(config, env.spaces, learner.state_size, env.num_envs), runs / "none"
    )


def _game(runs: Path) -> Game:
    config = small_config(runs)
    drawing = replace(config, curriculum=replace(config.curriculum, true_start_share=0.0))
    env = EpsilonEnv(make_red_env(config.env, config.rewards), 1)
    return Game(drawing, env, open_registry(runs, drawing.curriculum, env).machine)


SAVESTATES = ("savestates/*", "savestates/outcomes/*")
TABLES = ("*.csv", "*.json*", "config.yaml", "steps/*", "live/*")
of_registry = partial(Kind, load=load_registry, given="savestates", copied=SAVESTATES, needs=_game)
of_resume = partial(Kind, load=load_resume, given=".", copied=("checkpoints/step_4*/*",), needs=_trainer)
of_run = partial(Kind, load=load_run, given=".", copied=TABLES, needs=small_config)
of_network = partial(Kind, mutators=TORCH, load=load_network)
KINDS = (
    Kind(name="save state", mutators=BYTES, pattern="start.state", load=load_state, needs=_game),
    Kind(name="configuration", mutators=YAML, pattern="config.yaml", load=load_settings),
    of_registry(name="registry: sidecar", mutators=TEXT, pattern="savestates/*.json"),
    of_registry(name="registry: state", mutators=BYTES, pattern="savestates/*.state"),
    of_registry(name="registry: state, sidecar forged", mutators=BYTES, pattern="savestates/*.state", signs=True),
    of_registry(name="registry: actions, sidecar forged", mutators=NPZ, pattern="savestates/*.npz", signs=True),
    of_registry(name="registry: outcomes", mutators=TEXT, pattern="savestates/outcomes/*.jsonl"),
    of_resume(name="checkpoint: state.pt", mutators=TORCH, pattern="checkpoints/step_4*/state.pt"),
    of_resume(
        name="checkpoint: replay.npz", mutators=NPZ, pattern="checkpoints/step_4*/replay.npz", load=load_saved_replay
    ),
    of_resume(name="checkpoint: config.yaml", mutators=YAML, pattern="checkpoints/step_4*/config.yaml"),
    Kind(
        name="recording",
        mutators=NPZ,
        pattern="recordings/*.npz",
        load=load_recording,
        needs=lambda runs: runs / "run/config.yaml",
    ),
    of_run(name="run: steps/", mutators=NPZ, pattern="steps/*.npz"),
    of_run(name="run: tables", mutators=TEXT, pattern="*.csv"),
    of_run(name="run: events, meta", mutators=TEXT, pattern="*.json*"),
    of_run(name="run: live/", mutators=BYTES, pattern="live/*.bin"),
    Kind(name="demonstration", mutators=NPZ, pattern="demos/episode_*.npz", load=load_demonstration),
    Kind(name="frames", mutators=NPZ, pattern="frames/run_*.npz", load=load_frame_run),
    of_network(name="pretrained: tokenizer", pattern=TOKENIZER_FILE, needs=lambda _: load_tokenizer),
    of_network(name="pretrained: dynamics", pattern=DYNAMICS_FILE, needs=lambda _: load_dynamics),
    of_network(name="pretrained: reward model", pattern=PROGRESS_FILE, needs=lambda _: load_progress),
    Kind(name="ROM", mutators=BYTES, pattern="game.gb", load=load_rom),
    Kind(name="sweep: space", mutators=YAML, pattern="sweep.yaml", load=load_space, needs=lambda _: Config()),
    Kind(
        name="sweep: trials",
        mutators=TEXT,
        pattern="trials.jsonl",
        load=load_trials,
        needs=lambda _: read_space(ROOT / "sweep.yaml", Config()),
    ),
    Kind(
        name="sweep: outcome",
        mutators=TEXT,
        pattern="outcome.json",
        load=load_outcome,
        given=".",
        copied=("episodes.csv",),
    ),
)


def make_run(runs: Path) -> Path:
    """A short real run, with what else is read from disk beside it."""
    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        result = train(small_config(runs), film_steps=1)
    folder = result.folder
    shutil.rmtree(folder / "videos")
    shutil.copy(packaged(PRACTICE_START), folder / "start.state")
    shutil.copy(packaged(PRACTICE_ROM), folder / "game.gb")
    shutil.copy(ROOT / "sweep.yaml", folder)
    write_trials(folder / "trials.jsonl")
    (folder / "outcome.json").write_text(json.dumps({"steps": 400, "seconds": 2.5}))
    game = DemoGame(Recipe.of_config(Config(), max_steps=60))
    list(record_episodes(game, make_player("scripted", game), "scripted", 1, folder / "demos", seed=0))
    game.close()
    write_frame_run(folder / "frames", play_run(Collecting(most_steps=60), 2))
    write_networks(folder)
    return folder


def write_trials(path: Path) -> None:
    """The journal of a sweep: three trials have ended well, one failed, one is under way."""
    settings = {p.name: p.centre for p in read_space(ROOT / "sweep.yaml", Config())}
    with Journal(path) as journal:
        journal.append("sweep", **facts_of(Plan(searcher="random", objective="return", episodes=20, seed=7)))
        for number in range(5):
            journal.append("started", trial=number, settings=settings)
        for number in range(3):
            outcome = Outcome(objective=number / 3, cost=2.5 * number, steps=400, episodes=5)
            journal.append("finished", trial=number, **facts_of(outcome))
        journal.append("failed", trial=3, reason="killed by SIGKILL")


def write_networks(folder: Path) -> None:
    """Small ones of each kind that `pretrain` leaves, not trained."""
    tokenizer = Tokenizer(TokenizerSettings(latent_size=4, codes=8, tile_channels=4, cell_channels=4, block_channels=2))
    save(folder / TOKENIZER_FILE, "tokenizer", network_state(tokenizer))
    dynamics = Dynamics(DynamicsSettings(width=8, layers=1, heads=2), tokenizer)
    save(folder / DYNAMICS_FILE, "dynamics", dynamics_state(dynamics))
    model = ProgressModel(ProgressSettings(model="head", channels=4, hidden=4), tokenizer)
    save(folder / PROGRESS_FILE, "progress", progress_state(model))


def copy_parts(run: Path, target: Path, patterns: tuple[str, ...]) -> None:
    """Copy the files of the run that match."""
    for source in {path for pattern in patterns for path in run.glob(pattern) if path.is_file()}:
        place = target / source.relative_to(run)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, place)


def sign(path: Path, data: bytes) -> None:
    """Make the sidecar of the registry's file at `path` say what it will hold."""
    import hashlib

    sidecar = path.with_name(path.name.split(".")[0] + ".json")
    facts = json.loads(sidecar.read_text())
    facts["sha256" if path.suffix == ".state" else "actions_sha256"] = hashlib.sha256(data).hexdigest()
    other = path.with_name(path.name.split(".")[0] + (".actions.npz" if path.suffix == ".state" else ".state"))
    facts["size"] = len(data) + other.stat().st_size
    sidecar.write_text(json.dumps(facts))


def mutate(kind: Kind, copy_of_run: Path, seed: int) -> Path:
    """Damage one file of the copy; returns it."""
    rng = np.random.default_rng(seed)
    files = sorted(copy_of_run.glob(kind.pattern))
    path = files[rng.integers(len(files))]
    if path.parent.name == "savestates":  # the only one that can be drawn
        for other in files:
            if other != path:
                other.with_name(other.name.split(".")[0] + ".json").unlink()
    mutator = kind.mutators[seed % len(kind.mutators)]
    data = mutator(path.read_bytes(), rng)
    if kind.signs:
        sign(path, data)
    path.write_bytes(data)
    return path


# --- limits ----------------------------------------------------------------------------------------------------------


def read_mutants(kind: Kind, run: Path, scratch: Path, seeds: list[int], say: Any) -> None:
    """One process: damage, load, say what came of it."""
    logging.disable(logging.CRITICAL)
    needs = kind.needs(run.parent)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    Payload.marker = str(scratch / "marker")
    for seed in seeds:
        folder = scratch / "run"
        shutil.rmtree(folder, ignore_errors=True)
        copy_parts(run, folder, (kind.pattern, *kind.copied))
        how = "untouched" if seed == CONTROL else kind.mutators[seed % len(kind.mutators)].__name__
        say.send((seed, how, "began", ""))
        path = next(iter(sorted(folder.glob(kind.pattern)))) if seed == CONTROL else mutate(kind, folder, seed)
        outcome, detail = classify(kind, folder / kind.given if kind.given else path, needs)
        if seed == CONTROL and outcome != LOADED:
            outcome, detail = "the whole file does not load", f"{outcome}: {detail}"
        if (scratch / "marker").exists():
            outcome, detail = "code ran", str(path.name)
        say.send((seed, how, outcome, detail))
    say.send(None)


def classify(kind: Kind, given: Path, needs: Any) -> tuple[str, str]:
    """What the loader makes of the mutant."""
    try:
        return kind.load(given, needs), ""
    except UserError as error:
        if "\n" in str(error) or not str(error):
            return "message is not one line", str(error)
        return REFUSED, str(error)
    except BaseException:
        return "exception", traceback.format_exc(limit=-4)


def fuzz(kind: Kind, run: Path, seeds: list[int], seconds: float) -> Iterator[tuple[int, str, str, str]]:
    """(seed, mutation, outcome, detail) of every mutant; a process that hangs or dies is replaced."""
    context: Any = multiprocessing.get_context("fork")
    left = list(seeds)
    while left:
        with tempfile.TemporaryDirectory() as scratch:
            hear, say = context.Pipe(duplex=False)
            process = context.Process(target=read_mutants, args=(kind, run, Path(scratch), left, say), daemon=True)
            process.start()
            say.close()
            under_way = (left[0], "?")
            try:
                while True:
                    if not hear.poll(seconds + (30 if under_way[1] == "?" else 0)):
                        yield (*under_way, "hang", f"over {seconds:g} s")
                        left = left[left.index(under_way[0]) + 1 :]
                        break
                    answer = hear.recv()
                    if answer is None:
                        left = []
                        break
                    under_way = (answer[0], answer[1])
                    if answer[2] != "began":
                        yield answer
            except EOFError:
                process.join()
                yield (*under_way, "process died", f"exit code {process.exitcode}")
                left = left[left.index(under_way[0]) + 1 :]
            process.kill()
            process.join()


def main() -> int:
    """Fuzz every kind; 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=1000, help="of each kind")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time limit of one mutant")
    parser.add_argument("--kinds", default="", help="only those whose name holds this")
    options = parser.parse_args()
    failed_in_all = 0
    print(f"| file | mutants | {LOADED} | {REFUSED} | {ASIDE} | failures | s |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder))
        zip_bomb("")  # made once, before the processes that need it are
        seeds = list(range(options.first_seed, options.first_seed + options.mutants))
        for kind in (kind for kind in KINDS if options.kinds in kind.name):
            began = time.monotonic()
            counts: Counter[str] = Counter()
            for seed, how, outcome, detail in fuzz(kind, run, [CONTROL, *seeds], options.seconds):
                counts[outcome] += seed != CONTROL or outcome != LOADED
                if outcome not in (LOADED, REFUSED, ASIDE):
                    print(f"{kind.name}, seed {seed}, {how}: {outcome}: {detail}", file=sys.stderr, flush=True)
            cells = [counts[name] for name in (LOADED, REFUSED, ASIDE)]
            failed = counts.total() - sum(cells)
            failed_in_all += failed
            spent = time.monotonic() - began
            print("|", " | ".join(map(str, (kind.name, counts.total(), *cells, failed, round(spent)))), "|", flush=True)
    return 1 if failed_in_all else 0


if __name__ == "__main__":
    sys.exit(main())
