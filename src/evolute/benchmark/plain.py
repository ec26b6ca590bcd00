"""Plain data: results as JSON can hold them, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from evolute.errors import InputError, shorten

T = TypeVar("T")


def to_plain(adapter: TypeAdapter[T], value: T) -> dict[str, Any]:
    """Return a value as plain data that JSON can hold; :func:`from_plain` reverses it."""
    data: dict[str, Any] = adapter.dump_python(value, mode="json")
    return data


def from_plain(adapter: TypeAdapter[T], data: Mapping[str, Any], *, what: str) -> T:
    """Read what :func:`to_plain` wrote, which may be a stranger's.

    Raises
    ------
    InputError
        If it is not what it should be, such as ``"a verdict"``.
    """
    try:
        return adapter.validate_python(dict(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"not {what}: {place}: {shorten(first['msg'])}") from None
