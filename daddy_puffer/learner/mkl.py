"""MKL's kernels for wide registers on CPUs of other makers.

torch's matrix products on a CPU are MKL's. Before its first one MKL asks itself, in `mkl_serv_intel_cpu_true`, whether
Intel made the CPU, and where not takes kernels that use half of what AVX-512 or AVX2 have: on an AMD EPYC (Zen 5) 105
instead of 240 GFLOPS a core, whatever MKL_ENABLE_INSTRUCTIONS or MKL_CBWR say. The usual cure is to preload a library
whose function of that name says yes. Here the answer, which MKL keeps in a variable, is set before it is asked for; the
kernels themselves still look at what the CPU can do. That the function is the one we know, and where its variable lies,
is read from its first instructions; otherwise nothing is touched. `DADDY_PUFFER_PLAIN_MKL=1` leaves MKL as it is.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from pathlib import Path

import torch

SWITCH_OFF = "DADDY_PUFFER_PLAIN_MKL"
_LOAD = b"\x8b\x05"  # mov answer(%rip), %eax; then 4 bytes: how far from there the variable lies
_RETURN_IF_KNOWN = b"\x85\xc0\x78\x01\xc3"  # test %eax, %eax; js over the next; ret
_OFFSET_END = len(_LOAD) + 4


@functools.cache
def use_wide_kernels() -> bool:
    """Let MKL take them; whether it does. Without effect once this process has multiplied matrices."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or os.environ.get(SWITCH_OFF):
        return False
    try:
        is_intel = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).mkl_serv_intel_cpu_true
    except (OSError, AttributeError):  # a torch without MKL, or with one of its own
        return False
    if is_intel():  # from now on the variable holds the answer
        return True
    function = ctypes.cast(is_intel, ctypes.c_void_p).value or 0
    code = ctypes.string_at(function, _OFFSET_END + len(_RETURN_IF_KNOWN))
    if not (code.startswith(_LOAD) and code.endswith(_RETURN_IF_KNOWN)):
        return False
    offset = int.from_bytes(code[len(_LOAD) : _OFFSET_END], "little", signed=True)
    answer = ctypes.c_int.from_address(function + _OFFSET_END + offset)
    if answer.value == 0:
        answer.value = 1
    return bool(is_intel())
