"""What a module holds besides its parameters and buffers, told so that two moments compare.

Plans that run one traced or mapped module for many lanes know the weights and buffers of each lane
and nothing else of it. What else a module holds must therefore be the same in all models, and must
stay as it is while the module runs.
"""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import random
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils.hooks import RemovableHandle

from evolute.lanes.base import CannotStackError

MOST_PARTS = 200_000
"""Objects that are looked at in one module; one that holds more is not compared but refused."""

_LEFT_OUT = {
    "_parameters", "_buffers", "_modules", "training",
    # What runs when a module is saved or loaded, never in a step:
    "_state_dict_hooks", "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
}  # fmt: skip
_HOOKS = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")
_KEPT_BY_THE_TRACER = "_tensor_constant"
_CONTAINERS = (dict, OrderedDict, list, tuple, set, frozenset)
_SCALARS = (int, float, complex, str, bytes, bool, type(None))
_OPAQUE = (type, types.ModuleType, types.BuiltinFunctionType, RemovableHandle, io.IOBase,
           logging.Logger, logging.Handler)  # fmt: skip

Held = dict[str, Any]
"""What each attribute holds, by its name; values can be compared and share nothing with it."""


def held_by(module: nn.Module) -> Held:
    """Return what the attributes of a module and its parts hold, to any depth.

    Weights, buffers and parts that are registered count by their names alone, other tensors by
    their numbers, functions by their code, defaults and closures, objects by their attributes.

    Parameters
    ----------
    module
        The module; not changed.

    Raises
    ------
    CannotStackError
        If it holds more than :data:`MOST_PARTS` objects.

    Examples
    --------
    >>> one, two = nn.Linear(3, 2), nn.Linear(3, 2)
    >>> held_by(one) == held_by(two)
    True
    >>> one.steps = {"of": [0]}
    >>> differing(held_by(one), held_by(two))
    'steps'
    """
    look = _Look(module)
    return {
        f"{name}.{key}".lstrip("."): look.field(key, value)
        for name, part in module.named_modules()
        for key, value in vars(part).items()
        if key not in _LEFT_OUT
        and not (key.endswith(_HOOKS) and type(value) in _CONTAINERS and not value)
        and not key.startswith(_KEPT_BY_THE_TRACER)
    }


def differing(one: Held, other: Held) -> str:
    """Return the names of the attributes that differ, separated by commas.

    >>> differing({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4})
    'b, c'
    """
    names = one.keys() | other.keys()
    return ", ".join(
        sorted(name for name in names if one.get(name, _NONE) != other.get(name, _NONE))
    )


def require_alike(template: Held, model: nn.Module) -> None:
    """Refuse a model of which something differs that lanes have in common.

    Parameters
    ----------
    template
        What the model holds that the lanes run.
    model
        A model of a lane.

    Raises
    ------
    CannotStackError
        Naming what differs.
    """
    names = differing(template, held_by(model))
    if names:
        raise CannotStackError(
            f"its models differ in more than parameters and buffers ({names}): register tensors "
            "that are drawn by register_buffer to have them stacked"
        )


def require_real(module: nn.Module) -> None:
    """Refuse a module with complex weights or buffers, which rules step otherwise when stacked.

    Raises
    ------
    CannotStackError
        Naming the first.
    """
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_complex():
            raise CannotStackError(f"{name!r} is complex, which lanes are not stacked for")


def require_unchanged(before: Held, module: nn.Module) -> None:
    """Refuse a module whose attributes are others than before it ran.

    Parameters
    ----------
    before
        What they held.
    module
        The module, which ran.

    Raises
    ------
    CannotStackError
        Naming what changed.
    """
    changed = differing(before, held_by(module))
    if changed:
        raise CannotStackError(f"it keeps Python state between calls ({changed})")


_NONE = object()


class _Look:
    """One look at a module: each object is followed once, later mentions count by their order."""

    def __init__(self, module: nn.Module) -> None:
        tensors = (
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        )
        self._named: dict[int, tuple[str, str]] = {}
        for name, each in (*tensors, *module.named_modules()):
            self._named.setdefault(id(each), ("registered", name))
        self._met: dict[int, int] = {}
        self._kept: list[Any] = []  # so that no other object gets the id of one that was met

    def at(self, value: Any) -> Any:
        """Return what compares equal where two values hold the same."""
        kind = type(value)
        if kind in _SCALARS:
            return kind, repr(value) if kind in (float, complex) else value
        if isinstance(value, fx.Proxy):
            return object()
        if kind in _CONTAINERS and not value:
            return _name_of(kind), []
        if id(value) in self._named:
            return self._named[id(value)]
        if id(value) in self._met:
            return "again", self._met[id(value)]
        if len(self._met) >= MOST_PARTS:
            raise CannotStackError(f"it holds more than {MOST_PARTS} Python objects")
        self._met[id(value)] = len(self._met)
        self._kept.append(value)
        return _name_of(kind), self._inside(value)

    def field(self, key: str, value: Any) -> Any:
        """Return the same of an attribute; hooks are numbered through the process by torch."""
        if "_hooks" in key and isinstance(value, Mapping):
            return self._several(value.values())
        return self.at(value)

    def _inside(self, value: Any) -> Any:
        for kinds, look in _LOOKS:
            if isinstance(value, kinds):
                return look(self, value)
        return self._object(value)

    def _tensor(self, value: Any) -> Any:
        try:
            flat = value.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
            numbers = flat.view(torch.uint8).numpy()
        except (RuntimeError, TypeError, NotImplementedError):  # of a pass that ended, or sparse
            return object()
        return tuple(value.shape), value.dtype, _digest(numbers)

    def _array(self, value: Any) -> Any:
        if value.dtype.hasobject:
            return value.shape, self._several(value.ravel().tolist())
        return value.shape, str(value.dtype), _digest(value)

    def _mapping(self, value: Any) -> Any:
        own = vars(value) if hasattr(value, "__dict__") else {}
        return [(self.at(key), self.at(each)) for key, each in value.items()], self._fields(own)

    def _fields(self, fields: Mapping[str, Any]) -> Any:
        return [(key, self.field(key, each)) for key, each in fields.items()]

    def _several(self, values: Iterable[Any]) -> Any:
        values = list(values)
        if all(type(each) in _PLAIN for each in values):
            return list(map(repr, values))  # of many numbers, none is followed
        return [self.at(each) for each in values]

    def _set(self, value: Any) -> Any:
        return sorted((self.at(each) for each in value), key=repr)

    def _function(self, value: Any) -> Any:
        cells = [_content(cell) for cell in value.__closure__ or ()]
        defaults = (value.__defaults__, value.__kwdefaults__)
        return value.__code__, self._several(cells), self.at(defaults), self._fields(vars(value))

    def _method(self, value: Any) -> Any:
        return self.at(value.__func__), self.at(value.__self__)

    def _partial(self, value: Any) -> Any:
        return self.at(value.func), self._several(value.args), self._fields(value.keywords)

    def _generator(self, value: Any) -> Any:
        return _digest(value.get_state().numpy())

    def _random(self, value: Any) -> Any:
        return value.getstate()

    def _reference(self, value: Any) -> Any:
        return self.at(value())

    def _nothing(self, value: Any) -> Any:
        return value if isinstance(value, type) else getattr(value, "__qualname__", None)

    def _object(self, value: Any) -> Any:
        slots = [name for kind in type(value).__mro__ for name in _slots(kind)]
        fields = {name: getattr(value, name) for name in slots if hasattr(value, name)}
        if hasattr(value, "__dict__"):
            fields.update(vars(value))
        if fields:
            return self._fields(fields)
        try:  # what is written in C tells of its state as pickle asks for it
            state = value.__reduce_ex__(2)
        except Exception:  # noqa: BLE001 - a lock, a handle: nothing that could be compared
            return None
        return state if isinstance(state, str) else self._several(state[1:])


_PLAIN = (int, str, bool, type(None))
_Inside = Callable[[_Look, Any], Any]
_LOOKS: tuple[tuple[Any, _Inside], ...] = (
    (Tensor, _Look._tensor),
    (np.ndarray, _Look._array),
    (_OPAQUE, _Look._nothing),
    (Mapping, _Look._mapping),
    (list | tuple | deque, _Look._several),
    (set | frozenset, _Look._set),
    (types.FunctionType, _Look._function),
    (types.MethodType, _Look._method),
    (functools.partial, _Look._partial),
    (torch.Generator, _Look._generator),
    (random.Random, _Look._random),
    (weakref.ReferenceType, _Look._reference),
)


def _digest(numbers: Any) -> bytes:
    return hashlib.blake2b(numbers.tobytes(), digest_size=16).digest()


def _name_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"  # parametrised layers have types of their own


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)
