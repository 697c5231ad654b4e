"""Makes ONNX Runtime believe that the processor is a lesser one, for `encoder.py`.

It asks the processor itself, so a copy of its library has its `cpuid` instructions replaced by traps,
which `mask_cpu.c` answers. Needs `cc` and `objdump`.
"""

import atexit
import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

CPUID, TRAP = b"\x0f\xa2", b"\xcc\x90"
LEVELS = ("avx2", "avxvnni", "avx512")
SOURCE = Path(__file__).with_name("mask_cpu.c")


def hide_above(level: str) -> None:
    """Makes `import onnxruntime` find a library for which there is nothing above this level, one of
    LEVELS."""
    scratch = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, scratch)
    shim = scratch / "mask_cpu.so"
    subprocess.run(["cc", "-O1", "-Wall", "-shared", "-fPIC", "-o", shim, SOURCE], check=True)
    os.environ["MASK_CPU"] = level
    ctypes.CDLL(shim)

    package = Path(find_spec("onnxruntime").origin).parent
    copy = scratch / package.name
    shutil.copytree(package, copy, copy_function=os.symlink)
    (library,) = copy.glob("capi/onnxruntime_pybind11_state*.so")
    code, places = bytearray(library.read_bytes()), places_of(library)
    for place in places:
        assert code[place : place + 2] == CPUID, f"{library}: no cpuid at {place:#x}"
        code[place : place + 2] = TRAP
    library.unlink()
    library.write_bytes(code)
    sys.path.insert(0, str(scratch))


def places_of(library: Path) -> list[int]:
    """Where in the file its `cpuid` instructions are."""

    def lines(*arguments):
        return subprocess.run([*arguments, library], check=True, capture_output=True, text=True).stdout.splitlines()

    headers = (line.split() for line in lines("objdump", "-h"))
    (text,) = (row for row in headers if row[1:2] == [".text"])
    shift = int(text[5], 16) - int(text[3], 16)
    found = (re.match(r"\s*([0-9a-f]+):\s+cpuid", line) for line in lines("objdump", "-d", "--no-show-raw-insn"))
    return [int(match[1], 16) + shift for match in found if match]
