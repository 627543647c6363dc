"""Builds the practice cartridge: generates its data, compiles, links, writes the header.

Needs Debian's sdcc 4.2.0 (`apt-get install sdcc`) and nothing but Python's standard library. The same sources and
the same sdcc give the same bytes.

    python cartridge/build.py --out daddy_puffer/data/practice.gb
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "src"
WORLD_GENERATOR = "generate.py"
GENERATORS = ("generate_battle.py", WORLD_GENERATOR)
ROM_SIZE = 1 << 20
TITLE = b"PRACTICE"
CARTRIDGE_TYPE, ROM_SIZE_CODE, RAM_SIZE_CODE = (0x13, 5, 3)  # MBC3 with RAM and battery, 64 banks, 32 KiB
SDCC_VERSION = "4.2.0"
SDCC_FLAGS = ["-msm83", "--std-c11", "--opt-code-speed", "--max-allocs-per-node", "10000"]
RAM_START, RAM_END = 0xC6E8, 0xCBFC
FIXED_AREAS = {"_HOME": 0x2AE8, "_CODE": 0x0B60, "_INITIALIZER": 0x3F00, "_GSINIT": 0x3F80, "_DATA": RAM_START}
BANK_OF = re.compile(r"#pragma\s+bank\s+(\d+)|constseg\s+CODE_(\d+)|\.area\s+_CODE_(\d+)")
HARMLESS = re.compile(r"z80instructionSize|^'b_\w+\s*= \d+'$")  # what this sdcc says on good code
LIBRARY_FOLDERS = ("/usr/share/sdcc/lib/sm83", "/usr/local/share/sdcc/lib/sm83")


class BuildError(Exception):
    """Something a person can put right; the message says how."""


def find_compiler() -> None:
    """Raises BuildError unless the right sdcc is installed."""
    sdcc = shutil.which("sdcc")
    if sdcc is None:
        raise BuildError("sdcc is not installed: `apt-get install sdcc` (Debian's 4.2.0), then build again.")
    version = subprocess.run([sdcc, "--version"], capture_output=True, text=True, check=False).stdout
    if SDCC_VERSION not in version:
        raise BuildError(f"sdcc {SDCC_VERSION} is needed for the shipped bytes; found: {version.splitlines()[0]}")


def run(command: list[str], cwd: Path) -> str:
    """Runs one tool; its output is shown only when it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"failed: {' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def generate(folder: Path, world: Path | None) -> None:
    """Lets the data generators write their C files into `folder`, and the world's tables as JSON into `world`."""
    for name in GENERATORS:
        script = HERE / name
        if script.exists():
            command = [sys.executable, str(script), "--out", str(folder)]
            if name == WORLD_GENERATOR and world is not None:
                command += ["--world", str(world)]
            run(command, HERE)


def gather(folder: Path, sources: Path) -> list[Path]:
    """Copies sources and generated files' list: every file to compile or assemble, in a fixed order."""
    files = [*sorted(sources.glob("*.[cs]")), *sorted(folder.glob("*.[cs]"))]
    stems = [file.stem for file in files]
    doubles = sorted({stem for stem in stems if stems.count(stem) > 1})
    if doubles:
        raise BuildError(f"two files of one name: {', '.join(doubles)}")
    files.sort(key=lambda file: (file.stem != "crt0", file.stem))  # crt0 fixes the order of the areas
    return files


def compile_one(file: Path, objects: Path, includes: list[Path], headers: bytes) -> Path:
    """Compiles unless an object of the same sources is there; returns the object."""
    digest = hashlib.sha256(headers + file.read_bytes() + " ".join(SDCC_FLAGS).encode()).hexdigest()
    target, mark = objects / f"{file.stem}.rel", objects / f"{file.stem}.sha256"
    if target.exists() and mark.exists() and mark.read_text() == digest:
        return target
    mark.unlink(missing_ok=True)
    if file.suffix == ".s":
        run(["sdasgb", "-plosgff", str(target), str(file)], objects)
    else:
        flags = [flag for folder in includes for flag in ("-I", str(folder))]
        output = run(["sdcc", *SDCC_FLAGS, *flags, "-c", str(file), "-o", str(target)], objects)
        warnings = [line for line in output.splitlines() if line.strip() and not HARMLESS.search(line)]
        if warnings:
            print("\n".join(warnings))
    mark.write_text(digest)
    return target


def banks_of(files: list[Path]) -> list[int]:
    """The switchable banks that the sources name."""
    found = {
        int(number) for file in files for groups in BANK_OF.findall(file.read_text()) for number in groups if number
    }
    return sorted(found)


def link(objects: list[Path], banks: list[int], folder: Path) -> Path:
    """Links at the fixed addresses; returns the Intel hex file, whose addresses are flat ROM offsets."""
    library = next((path for path in LIBRARY_FOLDERS if os.path.isdir(path)), None)
    if library is None:
        raise BuildError("the sm83 library of sdcc is missing: install the package sdcc-libraries.")
    areas = [f"-b {name}=0x{address:x}" for name, address in FIXED_AREAS.items()]
    areas += [f"-b _CODE_{bank}=0x{(bank << 16) | 0x4000:x}" for bank in banks]
    lines = ["-mwxi", *areas, f"-k {library}", "-l sm83", "game.ihx", *[path.name for path in objects], "-e"]
    (folder / "game.lk").write_text("\n".join(lines) + "\n")
    output = run(["sdldgb", "-n", "-f", "game.lk"], folder)
    if "Undefined" in output or "undefined" in output:
        raise BuildError(output)
    return folder / "game.ihx"


def read_hex(path: Path) -> bytearray:
    """The ROM image; no byte may be written twice (code has run into a hooked address or another area)."""
    rom, written, high = bytearray(ROM_SIZE), bytearray(ROM_SIZE), 0
    for line in path.read_text().split():
        record = bytes.fromhex(line[1:])
        count, address, kind, data = (record[0], (record[1] << 8) | record[2], record[3], record[4:-1])
        if kind == 4:
            high = (data[0] << 24) | (data[1] << 16)
        elif kind == 0:
            start = high + address
            if start + count > ROM_SIZE:
                raise BuildError(f"a byte beyond the ROM at 0x{start:x}")
            if any(written[start : start + count]):
                where = next(i for i in range(start, start + count) if written[i])
                raise BuildError(f"two things at ROM offset 0x{where:05x}: an area is too full")
            rom[start : start + count] = data
            written[start : start + count] = b"\1" * count
    return rom


def area_sizes(map_file: Path) -> dict[str, tuple[int, int]]:
    """Start and size of every area, from the linker's map."""
    found = re.findall(r"^(_\w+)\s+([0-9A-F]{8})\s+([0-9A-F]{8})\s+=", map_file.read_text(), re.MULTILINE)
    return {name: (int(start, 16), int(size, 16)) for name, start, size in found}


def check_areas(areas: dict[str, tuple[int, int]]) -> None:
    """No initialised variables; statics inside their window; banks inside 16 KiB."""
    start, size = areas["_DATA"]
    if start + size > RAM_END:
        raise BuildError(f"statics end at 0x{start + size:04x}, beyond 0x{RAM_END:04x}")
    if areas.get("_INITIALIZED", (0, 0))[1]:
        raise BuildError("there are initialised variables: set them in code instead")
    for name, (_, size) in areas.items():
        if name.startswith("_CODE_") and size > 0x4000:
            raise BuildError(f"{name} is {size - 0x4000} bytes too long for its bank")


def write_header(rom: bytearray) -> None:
    """Title, cartridge type and checksums. The logo stays zero: emulators do not need it."""
    rom[0x134:0x143] = TITLE.ljust(15, b"\0")
    rom[0x147], rom[0x148], rom[0x149] = CARTRIDGE_TYPE, ROM_SIZE_CODE, RAM_SIZE_CODE
    rom[0x14A] = 1
    check = 0
    for byte in rom[0x134:0x14D]:
        check = (check - byte - 1) & 0xFF
    rom[0x14D] = check
    total = (sum(rom) - rom[0x14E] - rom[0x14F]) & 0xFFFF
    rom[0x14E], rom[0x14F] = total >> 8, total & 0xFF


def build(
    out: Path, folder: Path, sources: Path = SOURCES, generated: Path | None = None, world: Path | None = None
) -> dict[str, tuple[int, int]]:
    """Builds the ROM into `out`, with intermediate files in `folder`; returns the areas' addresses and sizes."""
    find_compiler()
    objects = folder / "objects"
    data = generated or folder / "generated"
    objects.mkdir(parents=True, exist_ok=True)
    data.mkdir(parents=True, exist_ok=True)
    if generated is None:
        generate(data, world)
    files = gather(data, sources)
    headers = b"".join(path.read_bytes() for path in [*sorted(sources.glob("*.h")), *sorted(data.glob("*.h"))])
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        rels = list(pool.map(lambda file: compile_one(file, objects, [sources, data], headers), files))
    rom = read_hex(link(rels, banks_of(files), objects))
    areas = area_sizes(objects / "game.map")
    check_areas(areas)
    write_header(rom)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(out.name + ".tmp")
    temporary.write_bytes(rom)
    temporary.replace(out)
    return areas


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Build the practice cartridge.")
    parser.add_argument("--out", type=Path, default=HERE.parent / "daddy_puffer" / "data" / "practice.gb")
    parser.add_argument("--work", type=Path, default=HERE / "build", help="folder for intermediate files")
    parser.add_argument("--world", type=Path, help="also write the world's tables as JSON")
    parser.add_argument("--sizes", action="store_true", help="list the areas")
    arguments = parser.parse_args()
    try:
        areas = build(
            arguments.out.resolve(), arguments.work.resolve(), world=arguments.world and arguments.world.resolve()
        )
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.sizes:
        for name, (start, size) in sorted(areas.items(), key=lambda item: item[1]):
            if size:
                print(f"{name:14} {start:06x} {size:6d} bytes")
    digest = hashlib.sha256(arguments.out.read_bytes()).hexdigest()
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes, sha256 {digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
