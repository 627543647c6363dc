"""What must hold for the files that are kept: none is large, none names a machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LARGEST_FILE_BYTES = 2 << 20
# Absolute paths of somebody's machine. The pattern is split so that it does not find itself.
MACHINE_PATH = re.compile(rb"(?<![\w.])/(?:ho" rb"me|ro" rb"ot|Us" rb"ers|wo" rb"rk|mn" rb"t|scr" rb"atch)/\w")
HOST = re.compile(
    rb"https?://(?:local"
    rb"host|(?!127\.0\.0\.1\b|192\.0\.2\.)\d+\.\d+\.\d+\.\d+|[\w.-]+\.(?:local|lan|internal|corp))\b"
)


def kept_files() -> list[Path]:
    """What git tracks or would."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_large_files() -> None:
    assert [str(path) for path in kept_files() if path.stat().st_size > LARGEST_FILE_BYTES] == []


def test_no_paths_or_hosts_of_a_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group().decode()}"
        for path in kept_files()
        if path.suffix not in (".gb", ".state", ".gif")
        for match in [*MACHINE_PATH.finditer(path.read_bytes()), *HOST.finditer(path.read_bytes())]
    ]
    assert found == []


def test_what_a_machine_path_looks_like() -> None:
    assert MACHINE_PATH.search(b"open('/" + b"root/x')")
    assert not MACHINE_PATH.search(b"/dev/null https://example.org/" + b"work/x")
