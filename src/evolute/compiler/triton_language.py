"""Triton where it is installed, as it is with torch for CUDA.

Elsewhere the modules that define kernels can be imported all the same; nothing calls what they
define.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from evolute.compiler.triton_program import INSTALLED

tl: Any = import_module("triton.language") if INSTALLED else None
"""The language of kernels."""


def jit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return what makes a kernel, or a part of one, of the decorated function."""
    if INSTALLED:
        decorator: Callable[[Callable[..., Any]], Any] = import_module("triton").jit(**options)
        return decorator
    return lambda function: function


def constexpr(value: Any) -> Any:
    """Return a number as kernels may read it from their module."""
    return tl.constexpr(value) if INSTALLED else value
