"""The native core: two libraries in C++, for rules and for layers; how they are found and loaded.

:mod:`evolute.compiler.native` is the face of the one that steps rule programs, and
:mod:`evolute.lanes.native_layers` that of the other; nothing else should call them. They are
optional: where one was not built, cannot be loaded, or is switched off, it is said why.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import evolute.native
from evolute.errors import InputError

ABI = 2
"""Version of the interface for rules that this file speaks (core/abi.h)."""

VARIABLE = "EVOLUTE_NATIVE_ISA"
"""Environment variable that forces the instruction set of rules, or switches both libraries off."""

INSTRUCTION_SETS = ("avx512", "avx2", "baseline")
"""From the fastest; the first that the machine has is taken."""

_SUFFIX = "dll" if sys.platform == "win32" else "so"
_COMPILERS = ("c++", "g++", "clang++")


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
class Opened:
    """What came of opening one of the libraries.

    Parameters
    ----------
    library
        Its functions, None where it cannot be used.
    reason
        Why it cannot be used, and what to do; empty where it can.
    """

    library: ctypes.CDLL | None
    reason: str = ""


def opened(name: str, *, asks: str, speaks: int) -> Opened:
    """Open a library of the core.

    Parameters
    ----------
    name
        Of the library, as CMakeLists.txt has it.
    asks
        Its function that returns the version of its interface.
    speaks
        The version that the caller speaks.

    Examples
    --------
    >>> opened("evolute_nothing", asks="evolute_abi", speaks=1).library is None
    True
    """
    if os.environ.get(VARIABLE) == "off":
        return Opened(None, f"switched off by {VARIABLE}=off")
    path = _find(f"lib{name}.{_SUFFIX}")
    if path is None:
        return Opened(None, _why_missing())
    try:
        library = ctypes.CDLL(str(path))
        version = int(getattr(library, asks)())
    except (OSError, AttributeError) as error:
        return Opened(None, f"cannot be loaded: {error}; install evolute again")
    if version != speaks:
        return Opened(
            None,
            f"built for another version (interface {version}, not {speaks}): install evolute again",
        )
    return Opened(library)


def _find(name: str) -> Path | None:
    # An editable installation keeps the library apart from the sources, on the package's path.
    candidates = (Path(folder) / name for folder in evolute.native.__path__)
    return next((path for path in candidates if path.is_file()), None)


def _why_missing() -> str:
    named = os.environ.get("CXX")
    names = (named, *_COMPILERS) if named else _COMPILERS
    compiler = next((each for each in names if shutil.which(each)), None)
    if compiler is None:
        return (
            f"not built, and there is no C++ compiler ({', '.join(names)}): install GCC or Clang, "
            "then evolute again"
        )
    return f"not built, though there is a C++ compiler now ({compiler}): install evolute again"


@dataclass(frozen=True)
class Loaded:
    """What came of loading the library for rules.

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
    """Load the library for rules, once for each value of :data:`VARIABLE`.

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
    found = opened("evolute_native", asks="evolute_abi", speaks=ABI)
    if found.library is None:
        return Loaded(None, None, found.reason)
    library = found.library
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
