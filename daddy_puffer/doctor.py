"""`daddy-puffer doctor`: what is installed, missing or clashing, and the cure.

In: this machine; a ROM, a folder of save states and settings, if they are given. Out: a line for each thing looked
at, as a table, plain text or JSON; exit code 1 when something is bad. Changes nothing.

A broken installation is what is looked for: only the standard library is imported at the top, everything else within
the check that is about it, and a check that fails unforeseen is a finding and not an end.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OK, WARN, BAD = "ok", "warn", "bad"
OLDEST_PYTHON, TOO_NEW_PYTHON = (3, 10), (3, 12)
OUR_NAME = "daddy_puffer"
CONSTRAINTS = Path(__file__).resolve().parents[1] / "constraints.txt"  # in a checkout only
KNOWN_HOST_COMMIT = "e3bd1b1"  # of pokemonred_puffer, what the plug-in was tried with
HOST_HAS = {  # what the plug-in takes hold of there, by file
    "train.py": ("def train",),
    "cleanrl_puffer.py": ("class CleanPuffeRL", "def rollout"),
    "environment.py": ("class RedGymEnv",),
    "rewards/baseline.py": ("class ObjectRewardRequiredEventsMapIdsFieldMoves",),
    "wrappers/async_io.py": ("class AsyncWrapper",),
}
SPARE_BYTES = 2 << 30  # disk for logs, films and checkpoints beside what the settings ask for
ENV_BYTES = 90 << 20  # memory of an environment with its emulator, measured
BASE_BYTES = 600 << 20  # of the trainer's process, measured
STATE_FLOATS = {"slim": 513, "large": 1025}  # numbers in a recurrent state with all memories


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, what was found, and what to do about it."""

    name: str
    level: str
    found: str
    cure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asked for."""

    rom: str = ""
    states: Path | None = None
    config: Path | None = None


Check = Callable[[Wanted], Iterator[Finding]]


def check_python(wanted: Wanted) -> Iterator[Finding]:
    """The interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    if OLDEST_PYTHON <= sys.version_info[:2] < TOO_NEW_PYTHON:
        yield Finding("python", OK, version)
        return
    yield Finding(
        "python", BAD, version, "Make a virtual environment with Python 3.10 or 3.11; pufferlib has no other."
    )


def check_requirements(wanted: Wanted) -> Iterator[Finding]:
    """What the package says that it needs, its extras left out."""
    try:
        required = metadata.requires(OUR_NAME) or []
    except metadata.PackageNotFoundError:
        cure = "Install it: `pip install -e .` in the checkout, so that its needs and commands are known."
        yield Finding("daddy_puffer", BAD, "imported, but not installed", cure)
        return
    from packaging.requirements import Requirement

    bad = []
    parsed = [Requirement(text) for text in required]
    for need in parsed:
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        have = _version(need.name)
        if have is None:
            bad.append(Finding(need.name, BAD, "missing", f"Install it: pip install '{need.name}{need.specifier}'."))
        elif not need.specifier.contains(have, prereleases=True):
            reason = CLASHES.get(need.name, "It was built and tried with that version only.")
            cure = f"{reason} pip install '{need.name}{need.specifier}'."
            bad.append(Finding(need.name, BAD, f"{have}, needs {need.specifier}", cure))
    yield from bad
    if not bad:
        yield Finding("packages", OK, f"{len(parsed)} requirements met, {OUR_NAME} {metadata.version(OUR_NAME)}")


CLASHES = {
    "pyboy": "PyBoy 2.8 and later cannot load the save states of 2.7.",
    "numpy": "pufferlib 1.0.1 is built against numpy 1.23 and fails with another.",
    "pufferlib": "Other versions pack observations in another way.",
    "gymnasium": "gymnasium 1.0 changed what environments say at an episode's end.",
}


def check_known_good(wanted: Wanted) -> Iterator[Finding]:
    """The versions that everything was tried with, where the checkout has the list."""
    if not CONSTRAINTS.is_file():
        return
    from packaging.requirements import Requirement

    other, same = [], 0
    for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if not text:
            continue
        pin = Requirement(text)
        have = _version(pin.name)
        if have is None or (pin.marker is not None and not pin.marker.evaluate()):
            continue
        if pin.specifier.contains(have.split("+")[0], prereleases=True):
            same += 1
        else:
            other.append(f"{pin.name} {have} ({str(pin.specifier).removeprefix('==')})")
    if other:
        found = f"{same} as known good, {len(other)} not: {', '.join(other)}"
        yield Finding("versions", WARN, found, "If something fails: pip install -c constraints.txt -e .")
    else:
        yield Finding("versions", OK, f"all {same} as in constraints.txt")


def check_carbs(wanted: Wanted) -> Iterator[Finding]:
    """The optimiser of sweeps; PyPI has another package of that name."""
    spec = find_spec("carbs")
    if spec is None or spec.origin is None:
        yield Finding("carbs", OK, "not installed; only sweeps use it")
        return
    folder = Path(spec.origin).parent
    text = "".join(path.read_text(errors="replace") for path in sorted(folder.glob("*.py"))) if folder.is_dir() else ""
    if "class CARBS" in text:
        yield Finding("carbs", OK, _version("carbs") or "there")
        return
    from daddy_puffer.sweep.searchers import CARBS_LINE

    cure = f"PyPI's carbs is another: pip uninstall carbs, then {CARBS_LINE}."
    yield Finding("carbs", WARN, f"{_version('carbs') or 'there'}, without a class CARBS", cure)


def check_torch(wanted: Wanted) -> Iterator[Finding]:
    """PyTorch's build, and the GPU."""
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        yield Finding("torch", BAD, f"cannot be imported ({error})", "Install it: pip install 'torch>=2.6'.")
        return
    from daddy_puffer.learner.mkl import use_wide_kernels

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    kernels = ", MKL with its wide kernels" if use_wide_kernels() else ""
    yield Finding("torch", OK, f"{torch.__version__}, built for {build}{kernels}")
    if torch.cuda.is_available():
        facts = torch.cuda.get_device_properties(0)
        yield Finding("gpu", OK, f"{torch.cuda.device_count()} x {facts.name}, {_size(facts.total_memory)}")
    elif not _has_nvidia_driver():
        yield Finding("gpu", OK, "none; everything runs on the CPU")
    elif torch.version.cuda:
        cure = "Update the NVIDIA driver, or take a torch built for an older CUDA; see CUDA_VISIBLE_DEVICES too."
        yield Finding("gpu", WARN, "there is a driver, but torch cannot use it", cure)
    else:
        cure = "Take a CUDA build: pip install --force-reinstall torch, without the CPU index."
        yield Finding("gpu", WARN, "there is a driver, but torch is built for the CPU", cure)


def check_config(wanted: Wanted) -> Iterator[Finding]:
    """The settings given with --config; what is wrong with them is said here, other checks go on with the defaults."""
    if wanted.config is None:
        return
    from daddy_puffer.config import load_config
    from daddy_puffer.errors import UserError

    try:
        load_config(wanted.config)
    except UserError as error:
        yield _from_error("config", error)
    else:
        yield Finding("config", OK, str(wanted.config))


def check_rom(wanted: Wanted) -> Iterator[Finding]:
    """The game: its file, and whether it starts."""
    from daddy_puffer.envs.rom import PRACTICE_START, find_rom, packaged
    from daddy_puffer.errors import UserError

    try:
        rom = find_rom(_gb_path(wanted))
    except UserError as error:
        yield _from_error("rom", error)
        return
    digest = hashlib.sha256(rom.path.read_bytes()).hexdigest()[:12]
    yield Finding("rom", OK, f"{rom.title!r}, {rom.size >> 10} KiB, sha256 {digest}, {rom.path.name}")
    from daddy_puffer.envs.emulator import Emulator

    emulator = Emulator(rom)
    try:
        emulator.wait(120)
        emulator.render_frame()
        yield Finding("emulator", OK, f"PyBoy {_version('pyboy')} starts it")
        if not _gb_path(wanted):
            emulator.load_state(packaged(PRACTICE_START).read_bytes(), way_back=False)
            yield Finding("start state", OK, "loads")
    except UserError as error:
        yield _from_error("start state", error)
    finally:
        emulator.close()


def check_states(wanted: Wanted) -> Iterator[Finding]:
    """Every `*.state` of the folder given with --states, by loading it."""
    if wanted.states is None:
        return
    paths = sorted(wanted.states.rglob("*.state"))
    if not paths:
        yield Finding("states", BAD, f"no *.state in {wanted.states}", "Give a folder with save states to --states.")
        return
    from daddy_puffer.envs.emulator import Emulator
    from daddy_puffer.envs.rom import find_rom
    from daddy_puffer.errors import UserError

    emulator = Emulator(find_rom(_gb_path(wanted)))
    bad: list[str] = []
    for path in paths:
        state = path.read_bytes()
        try:
            emulator.load_state(state)
        except UserError:
            bad.append(f"{path.name} (format {state[0]})" if state else f"{path.name} (empty)")
    emulator.close()
    good = f"{len(paths) - len(bad)} of {len(paths)} load with PyBoy {_version('pyboy')}"
    if bad:
        shown = ", ".join(bad[:4]) + (f" and {len(bad) - 4} more" if len(bad) > 4 else "")
        cure = "States belong to the emulator's version: make them anew, or install the PyBoy that made them."
        yield Finding("states", BAD, f"{good}; not {shown}", cure)
    else:
        yield Finding("states", OK, good)


def check_space(wanted: Wanted) -> Iterator[Finding]:
    """Disk and memory against what the settings ask for."""
    config = _config(wanted)
    replay, train = config.replay, config.train
    need = replay_bytes(config)
    in_memory = BASE_BYTES + train.num_envs * ENV_BYTES + (0 if replay.file else need)
    on_disk = SPARE_BYTES + (need if replay.file else 0) + config.curriculum.max_megabytes * 10**6
    free = shutil.disk_usage(_existing(Path(train.runs_dir))).free
    cure = f"Free some on the disk of {train.runs_dir}, or give another train.runs_dir."
    yield Finding("disk", *_enough(free, on_disk), cure if free < on_disk else "")
    memory = importlib.import_module("psutil").virtual_memory().available
    cure = f"Lower replay.capacity ({replay.capacity:,}, {_size(need)}) or train.num_envs, or set replay.file."
    yield Finding("memory", *_enough(memory, in_memory), cure if memory < in_memory else "")


def replay_bytes(config: Any) -> int:
    """What replay takes when it is full, told by a small one."""
    from dataclasses import replace

    from daddy_puffer.game.features import FEATURE_COUNT
    from daddy_puffer.game.milestones import MILESTONE_BYTES
    from daddy_puffer.replay import SequenceReplay

    settings, envs = config.replay, config.train.num_envs
    few = 8 * envs * (settings.burn_in + settings.sequence_length + 1)
    small = replace(settings, file="", capacity=max(2 * settings.learning_starts, few))
    store = SequenceReplay(
        small,
        num_envs=envs,
        frame_stack=config.env.frame_stack,
        structured_size=FEATURE_COUNT,
        milestone_size=MILESTONE_BYTES,
        state_size=STATE_FLOATS[config.policy.model_size],
        seed=0,
    )
    rows = settings.capacity if settings.kind == "sequences" else 2 * envs * settings.sequence_length
    return int(store.bytes_per_transition * rows)


def check_threads(wanted: Wanted) -> Iterator[Finding]:
    """Cores against workers, and OMP_NUM_THREADS."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = _config(wanted).train.num_workers
    omp = os.environ.get("OMP_NUM_THREADS", "")
    found = f"{cores} cores, {workers} workers, OMP_NUM_THREADS {omp or 'not set'}"
    if omp and (not omp.isdecimal() or int(omp) > cores):
        yield Finding(
            "threads", WARN, found, f"Set OMP_NUM_THREADS to 1, or at most {cores}: more slow each other down."
        )
    elif workers > cores:
        yield Finding("threads", WARN, found, f"Give --num-workers {cores}: more workers than cores take turns.")
    else:
        yield Finding("threads", OK, found)


def check_films(wanted: Wanted) -> Iterator[Finding]:
    """The encoder of films."""
    cure = "Install it: pip install imageio-ffmpeg; until then there are GIFs only."
    try:
        program = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
        encoders = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, text=True, timeout=60)
    except (ImportError, RuntimeError, OSError, subprocess.SubprocessError) as error:
        yield Finding("ffmpeg", WARN, f"not usable ({type(error).__name__})", cure)
        return
    if "libx264" in encoders.stdout:
        yield Finding("ffmpeg", OK, f"{Path(program).name}, with libx264")
    else:
        yield Finding("ffmpeg", WARN, f"{Path(program).name} lacks libx264", cure)


def check_upstream(wanted: Wanted) -> Iterator[Finding]:
    """The host that the plug-in is for; it is read and not imported."""
    from daddy_puffer.plugin import HOST

    spec = find_spec(HOST)
    if spec is None or not spec.submodule_search_locations:
        found = "not there; train_big and train_slim do without it"
        yield Finding("upstream", OK, f"{HOST}: {found}")
        return
    folder = Path(next(iter(spec.submodule_search_locations)))
    missing = [f"{name}: {text}" for name, texts in HOST_HAS.items() for text in _lacks(folder / name, texts)]
    if missing:
        cure = f"Take the version that the plug-in knows: git checkout {KNOWN_HOST_COMMIT} in its repository."
        yield Finding("upstream", BAD, f"{HOST} lacks {', '.join(missing)}", cure)
        return
    commit = _commit(folder.parent)
    if commit.startswith(KNOWN_HOST_COMMIT):
        yield Finding("upstream", OK, f"{HOST} at {commit[:7]}, all names found")
    else:
        where = f"at {commit[:7]}" if commit else "of unknown version"
        cure = f"Should it fail: git checkout {KNOWN_HOST_COMMIT} in its repository."
        yield Finding("upstream", WARN, f"{HOST} {where}, all names found, never tried", cure)
    if "daddy_puffer_bootstrap" not in sys.modules:
        cure = "Install daddy_puffer in this environment: pip install -e . puts daddy_puffer.pth where Python looks."
        yield Finding("plug-in", BAD, "its .pth file was not read", cure)


CHECKS: tuple[Check, ...] = (
    check_python,
    check_requirements,
    check_known_good,
    check_carbs,
    check_torch,
    check_config,
    check_rom,
    check_states,
    check_space,
    check_threads,
    check_films,
    check_upstream,
)


def examine(wanted: Wanted, checks: tuple[Check, ...] = CHECKS) -> list[Finding]:
    """All findings; a check that raises is one as well."""
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check(wanted)
        except Exception as error:
            name = check.__name__.removeprefix("check_").replace("_", " ")
            said = " ".join(str(error).split())
            findings.append(Finding(name, BAD, f"{type(error).__name__}: {said}", _cure_of(error)))
    return findings


def show(findings: list[Finding]) -> None:
    """A table on a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty() or find_spec("rich") is None:
        for f in findings:
            print(f"{f.level:<4}  {f.name:<12}  {f.found}" + (f"\n      -> {f.cure}" if f.cure else ""))
    else:
        _show_table(findings)
    worst = {level: sum(f.level == level for f in findings) for level in (BAD, WARN)}
    print(f"{worst[BAD]} bad, {worst[WARN]} to look at, {len(findings) - sum(worst.values())} ok")


def _show_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {OK: "green", WARN: "yellow", BAD: "bold red"}
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for wrap in (False, False, True):
        table.add_column(no_wrap=not wrap, overflow="fold")
    for f in findings:
        found = Text(f.found)
        if f.cure:
            found.append(f"\n{f.cure}", style="italic")
        table.add_row(Text(f.level, style=styles[f.level]), f.name, found)
    Console().print(table)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _config(wanted: Wanted) -> Any:
    from daddy_puffer.config import load_config
    from daddy_puffer.errors import UserError

    try:
        return load_config(wanted.config)
    except UserError:
        return load_config()


def _gb_path(wanted: Wanted) -> str:
    return wanted.rom or str(_config(wanted).env.gb_path)


def _from_error(name: str, error: Exception) -> Finding:
    """Our own messages say what is wrong, a colon, and what to do."""
    what, _, cure = str(error).rpartition(": ")
    return Finding(name, BAD, what or cure, cure[:1].upper() + cure[1:] + ".")


def _cure_of(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "Something is missing: pip install -c constraints.txt -e . in the checkout."
    return "This should not happen: please report it with this line."


def _has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _lacks(path: Path, texts: tuple[str, ...]) -> list[str]:
    """Which definitions a source file does not have."""
    try:
        source = path.read_text(encoding="utf-8")
    except OSError:
        return list(texts)
    return [text for text in texts if not re.search(rf"^{text}\b", source, re.MULTILINE)]


def _commit(repository: Path) -> str:
    """The commit that is checked out, without asking git; empty where there is no repository."""
    try:
        head = (repository / ".git" / "HEAD").read_text(encoding="utf-8").strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        loose = repository / ".git" / reference
        if loose.is_file():
            return loose.read_text(encoding="utf-8").strip()
        packed = (repository / ".git" / "packed-refs").read_text(encoding="utf-8")
    except OSError:
        return ""
    return next((line.split()[0] for line in packed.splitlines() if line.endswith(f" {reference}")), "")


def _existing(path: Path) -> Path:
    """The nearest folder above that exists."""
    path = path.expanduser().absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _enough(have: int, need: int) -> tuple[str, str]:
    return (OK if have >= need else WARN), f"{_size(have)} free, about {_size(need)} needed"


def _size(number: float) -> str:
    return f"{number / 2**30:.1f} GiB"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="daddy-puffer doctor", description="What is installed, missing or clashing.")
    parser.add_argument(
        "--rom", default="", help="ROM to look at; default: that of --config, or the practice cartridge"
    )
    parser.add_argument("--states", type=Path, help="folder of save states to load, with the folders in it")
    parser.add_argument("--config", type=Path, help="settings whose needs count; default: config.yaml's defaults")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    findings = examine(Wanted(rom=options.rom, states=options.states, config=options.config))
    healthy = all(f.level != BAD for f in findings)
    if options.json:
        print(json.dumps({"ok": healthy, "findings": [asdict(f) for f in findings]}, indent=2))
    else:
        show(findings)
    raise SystemExit(0 if healthy else 1)


if __name__ == "__main__":
    main()
