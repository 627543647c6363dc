"""MKL's wide kernels: taken where torch has the MKL that is known, and as right as the others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from daddy_puffer.learner.mkl import SWITCH_OFF

PRODUCT = """
import sys, torch
from daddy_puffer.learner import mkl
torch.manual_seed(0)
torch.set_num_threads(1)
exec(sys.argv[1])
print(mkl.use_wide_kernels())
a, b = torch.randn(200, 768), torch.randn(768, 128)
print(float((a @ b - (a.double() @ b.double())).abs().max()))
"""
VENDOR = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
foreign = pytest.mark.skipif(
    "AuthenticAMD" not in VENDOR or sys.platform != "linux" or not torch.backends.mkl.is_available(),
    reason="only torch's MKL on Linux on a CPU by AMD is to be talked into anything",
)


def multiply(first: str = "", **environment: str) -> tuple[bool, float]:
    """What a fresh process says after `first`: whether it takes them, and the error of a product."""
    plain = {name: value for name, value in os.environ.items() if name != SWITCH_OFF}
    command = [sys.executable, "-c", PRODUCT, first]
    said = subprocess.run(command, env=plain | environment, capture_output=True, text=True, check=True).stdout.split()
    return said[0] == "True", float(said[1])


@foreign
def test_wide_kernels_are_taken_and_right() -> None:
    taken, error = multiply()
    assert taken and error < 2e-4


def test_the_switch_leaves_mkl_as_it_is() -> None:
    taken, error = multiply(**{SWITCH_OFF: "1"})
    assert not taken and error < 2e-4


@foreign
@pytest.mark.parametrize("name", ["_LOAD", "_RETURN_IF_KNOWN"])
def test_a_function_that_is_not_known_is_left_alone(name: str) -> None:
    """As of another version of MKL: its first instructions are others."""
    taken, error = multiply(f"mkl.{name} = bytes(len(mkl.{name}))")
    assert not taken and error < 2e-4


def test_a_torch_without_mkl_is_no_mistake(tmp_path: Path) -> None:
    taken, error = multiply(f"torch.__file__ = {str(tmp_path / 'torch/__init__.py')!r}")
    assert not taken and error < 2e-4
