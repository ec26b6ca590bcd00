"""The native core: a library in C++ that steps rule programs, and how it is found and loaded.

:mod:`evolute.compiler.native` is its face for rules; nothing else should call it. The library is
optional: where it was not built, cannot be loaded, or is switched off, :func:`load` says why.
"""

from __future__ import annotations

import ctypes
import os
import sys
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import evolute.native
from evolute.errors import InputError

ABI = 2
"""Version of the interface that this file speaks (core/abi.h)."""

VARIABLE = "EVOLUTE_NATIVE_ISA"
"""Environment variable that forces an instruction set, or switches the library off."""

INSTRUCTION_SETS = ("avx512", "avx2", "baseline")
"""From the fastest; the first that the machine has is taken."""

_LIBRARY_NAME = "libevolute_native.dll" if sys.platform == "win32" else "libevolute_native.so"


class Instruction(ctypes.Structure):
    """``EvoluteInstruction`` of core/abi.h."""

    _fields_ = (
        ("opcode", c_int32),
        ("first", c_int32),
        ("second", c_int32),
        ("slot", c_int32),
        ("noise", c_int32),
        ("reserved", c_int32),
        ("parameter", c_double),
    )


@dataclass(frozen=True)
class Loaded:
    """What came of loading the library.

    Parameters
    ----------
    library
        Its functions, None where it cannot be used.
    instruction_set
        The one of :data:`INSTRUCTION_SETS` in use, None without a library.
    reason
        One sentence that says why it is used, or why not.
    """

    library: ctypes.CDLL | None
    instruction_set: str | None
    reason: str


def load() -> Loaded:
    """Load the library, once for each value of :data:`VARIABLE`.

    Raises
    ------
    InputError
        If :data:`VARIABLE` names no instruction set, or one that this machine lacks.
    """
    return _load(os.environ.get(VARIABLE, ""))


@lru_cache(maxsize=8)
def _load(forced: str) -> Loaded:
    if forced not in ("", "off", *INSTRUCTION_SETS):
        raise InputError(
            f"{VARIABLE} is {forced!r}: set it to {', '.join(INSTRUCTION_SETS)} or off, or not "
            "at all"
        )
    if forced == "off":
        return Loaded(None, None, f"switched off by {VARIABLE}=off")
    path = _find()
    if path is None:
        return Loaded(
            None,
            None,
            "not built: install again on a machine with CMake and GCC or Clang to have it",
        )
    try:
        library = ctypes.CDLL(str(path))
        version = int(library.evolute_abi())
    except (OSError, AttributeError) as error:
        return Loaded(None, None, f"cannot be loaded: {error}")
    if version != ABI:
        return Loaded(
            None, None, f"built for another version (interface {version}, not {ABI}): install again"
        )
    _declare(library)
    return _choose(library, forced)


def _choose(library: ctypes.CDLL, forced: str) -> Loaded:
    names = (forced,) if forced else INSTRUCTION_SETS
    for name in names:
        if library.evolute_choose(name.encode()):
            how = f"forced by {VARIABLE}" if forced else "the widest that this machine has"
            return Loaded(library, name, f"{name}, {how}")
    raise InputError(
        f"{VARIABLE} is {forced!r}, which this machine or build lacks: it has "
        f"{', '.join(supported(library))}"
    )


def supported(library: ctypes.CDLL) -> tuple[str, ...]:
    """Return the instruction sets that this machine and build have, from the fastest."""
    return tuple(name for name in INSTRUCTION_SETS if library.evolute_supports(name.encode()))


def _find() -> Path | None:
    # An editable installation keeps the library apart from the sources, on the package's path.
    candidates = (Path(folder) / _LIBRARY_NAME for folder in evolute.native.__path__)
    return next((path for path in candidates if path.is_file()), None)


def _declare(library: ctypes.CDLL) -> None:
    """Tell ctypes the types of core/abi.h."""
    library.evolute_opcode.argtypes = [c_char_p]
    library.evolute_opcode.restype = c_int32
    library.evolute_supports.argtypes = [c_char_p]
    library.evolute_supports.restype = c_int32
    library.evolute_choose.argtypes = [c_char_p]
    library.evolute_choose.restype = c_int32
    library.evolute_create.argtypes = [
        POINTER(Instruction),
        c_int64,
        POINTER(c_double),
        c_int64,
        c_int64,
        c_int64,
        c_int64,
        c_int32,
        c_int32,
        c_char_p,
        c_int64,
    ]
    library.evolute_create.restype = c_void_p
    library.evolute_destroy.argtypes = [c_void_p]
    library.evolute_destroy.restype = None
    library.evolute_run.argtypes = [c_void_p, c_void_p, c_int64, c_int32]
    library.evolute_run.restype = c_int64
