"""CIFAR's files "for Python", read as data: they are pickles, and no pickle is ever loaded here.

A pickle is a program for a machine with a stack. Python's loader may call anything that the file
names; this reader knows the few instructions that such a file is made of, builds lists, tuples and
dictionaries of plain values, calls nothing, and refuses whatever else a file holds.

Source: A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images* (2009): a file is a
dictionary of ``data``, N×3072 unsigned bytes (3×32×32, colour by colour, row by row), and
``labels``, or ``fine_labels`` for CIFAR-100, N integers.
"""

from __future__ import annotations

import pickletools  # it lists the instructions of a file, and runs none
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evolute.errors import TaskError
from evolute.tasks.files import read_bytes

_MARK = object()
_ARRAY = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_NAMES = (*_ARRAY, "numpy ndarray", "numpy dtype")
_VALUES = (
    *("BININT", "BININT1", "BININT2", "LONG1", "BINSTRING", "SHORT_BINSTRING"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES"),
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _RefusedError(Exception):
    """The file holds what a data set has no need of."""


@dataclass(slots=True)
class _Call:
    """What the file would have called, with what, and the state that it would have given it."""

    name: object
    arguments: Any
    state: Any = None


def read_python_batch(path: Path, labels: str) -> tuple[Tensor, Tensor]:
    """Return images, uint8 [N, 3, 32, 32], and labels, uint8 [N], of one file.

    Parameters
    ----------
    path
        The file.
    labels
        Key of the labels: ``labels`` or ``fine_labels``.

    Raises
    ------
    TaskError
        If the file is cut off or corrupt, or holds anything but such a data set.
    """
    try:
        batch = _Reader().read(read_bytes(path))
        return _images(batch["data"]), torch.tensor(_small_integers(batch[labels]))
    except _RefusedError as error:
        raise TaskError(
            f"{str(path)!r} is a pickle that holds {error}, which no file of CIFAR does; nothing "
            "of it was run: get it anew"
        ) from None
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise TaskError(
            f"{str(path)!r} is no file of CIFAR for Python, or cut off or corrupt "
            f"({type(error).__name__}); get it anew"
        ) from None


def _images(array: Any) -> Tensor:
    _, shape, kind, by_columns, content = array.state
    if array.name not in _ARRAY or kind.arguments[0] != "u1" or by_columns:
        raise ValueError("not an array of unsigned bytes")
    data = content.encode("latin-1") if isinstance(content, str) else content
    rows = np.frombuffer(data, np.uint8).reshape(shape)
    return torch.from_numpy(rows.reshape(-1, 3, 32, 32).copy())


def _small_integers(values: Any) -> np.ndarray[Any, Any]:
    array = np.array(values)
    if array.dtype.kind != "i" or array.ndim != 1 or ((array < 0) | (array > 255)).any():
        raise ValueError("labels are no integers from 0 to 255")
    return array.astype(np.uint8)


class _Reader:
    """Builds what a pickle describes of plain values; calls stay descriptions."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def read(self, content: bytes) -> Any:
        for instruction, argument, _ in pickletools.genops(content):
            self._take(instruction.name, argument)
        return self._stack.pop()

    def _take(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "MARK":
                stack.append(_MARK)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                if argument not in _NAMES:
                    raise _RefusedError(f"the name {argument!r}")
                stack.append(argument)
            case _ if name in _VALUES:
                stack.append(argument)
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case _:
                self._combine(name)

    def _combine(self, name: str) -> None:
        """Take an instruction that makes one thing of several on the stack."""
        stack = self._stack
        match name:
            case "APPEND":
                value = stack.pop()
                stack[-1].append(value)
            case "APPENDS":
                values = self._since_mark()
                stack[-1].extend(values)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                stack[-1][key] = value
            case "SETITEMS":
                values = self._since_mark()
                stack[-1].update(zip(values[::2], values[1::2], strict=True))
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = _TUPLES[name]
                stack[-count:] = [tuple(stack[-count:])]
            case "REDUCE":
                arguments, called = stack.pop(), stack.pop()
                stack.append(_Call(called, arguments))
            case "BUILD":
                state = stack.pop()
                stack[-1].state = state
            case _:
                raise _RefusedError(f"the instruction {name}")

    def _since_mark(self) -> list[Any]:
        values: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]
