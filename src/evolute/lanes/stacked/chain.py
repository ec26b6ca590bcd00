"""Lowering: a trace of known layers becomes a chain, which one native call runs forward and back.

Values are matrices of [examples·places, width]; what only turns or splits dimensions is followed
on paper. What is not known here leaves the trace to the rows of the table.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from evolute.lanes.attending import MOST_PLACES
from evolute.lanes.places import Form, Layer, Matrix
from evolute.lanes.stacked.table import find
from evolute.lanes.stacked.trace import Call, Place, Trace


class NoChainError(Exception):
    """A trace holds what chains do not know."""


@dataclass(frozen=True, slots=True)
class _Given:
    """The input, or a weight or buffer by its name."""

    name: str | None
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _View:
    """Some columns of a value, in one of four forms.

    Rows [N, T, F]; split [N, T, H, D]; by head [N, H, T, D]; or turned [N, F, T].
    """

    value: int
    column: int
    width: int
    form: str = "rows"
    heads: int = 1


def lowered(
    found: Trace, inputs: Tensor, *, tensors: Mapping[str, Tensor], trained: frozenset[str]
) -> Form | None:
    """Return the chain of a trace; None where it has none.

    Parameters
    ----------
    found
        The trace of a training step.
    inputs
        One lane's input.
    tensors
        Weights and buffers by name, with a lane axis.
    trained
        Names of those that are trained.
    """
    try:
        return _Lowering(found, inputs, tensors, trained).form()
    except NoChainError:
        return None


@dataclass(slots=True)
class _Lowering:
    found: Trace
    inputs: Tensor
    tensors: Mapping[str, Tensor]
    trained: frozenset[str]
    matrices: list[Matrix] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    known: dict[int, Any] = field(default_factory=dict)
    examples: int = 0
    places: int = 1
    flat: bool = True

    def form(self) -> Form:
        """Return the chain; raise where the trace holds what chains do not know."""
        self._begin()
        for call in self.found.calls:
            row = _ROWS.get(call.row)
            if row is None or self.found.constants:
                raise NoChainError
            args, named = self._arguments(call), self._named(call)
            try:
                self.known[call.index] = row(self, *args, **named)
            except (TypeError, ValueError, IndexError):  # other arguments than are known here
                raise NoChainError from None
        output = self._output()
        used = {name for each in self.layers for name in (each.weight, each.bias)}
        if not used.issuperset(self.trained):
            raise NoChainError
        raw = isinstance(self.known[0], _View)
        return Form(
            tuple(self.matrices), tuple(self.layers), output, self.examples, self.places, raw,
            self.flat,
        )  # fmt: skip

    def _begin(self) -> None:
        shape = tuple(self.inputs.shape)
        words = self.inputs.dtype == torch.int64
        if not words and self.inputs.dtype != torch.float32:
            raise NoChainError
        lengths = shape if words else shape[:-1]
        if not 1 <= len(lengths) <= 2 or not self.inputs.numel():
            raise NoChainError
        self.examples, self.flat = lengths[0], len(lengths) == 1
        self.places = 1 if self.flat else lengths[1]
        self.known[0] = _Given(None, shape)
        if not words:
            self.matrices.append(Matrix(shape[-1], shared=False))
            self.known[0] = _View(0, 0, shape[-1])
        for name, index in self.found.names.items():
            self.known[index] = _Given(name, tuple(self.tensors[name].shape[1:]))

    def _arguments(self, call: Call) -> list[Any]:
        return [self._of(each) for each in call.args]

    def _named(self, call: Call) -> dict[str, Any]:
        return {name: self._of(each) for name, each in call.kwargs.items()}

    def _of(self, value: Any) -> Any:
        return self.known[value.index] if isinstance(value, Place) else value

    def _output(self) -> int:
        given = self._of(self.found.output)
        form = "rows" if self.flat else "turned"
        if not isinstance(given, _View) or given.form != form:
            raise NoChainError
        whole = self.whole(replace(given, form="rows"))
        if self.shared(whole) or not self.layers:
            raise NoChainError
        return whole.value

    def whole(self, view: Any, *, raw: bool = False) -> _View:
        """Return a view of all columns of a value, in rows; refuse any other.

        The input itself is refused too, unless ``raw``.
        """
        if not isinstance(view, _View) or view.form != "rows":
            raise NoChainError
        if view.column or view.width != self.matrices[view.value].width:
            raise NoChainError
        if view == self.known[0] and not raw:
            raise NoChainError
        return view

    def shared(self, view: _View) -> bool:
        """Say whether examples share a value."""
        return self.matrices[view.value].shared

    def weight(self, given: Any, *shape: int) -> str:
        """Return the name of a weight of this shape; refuse anything else."""
        if not isinstance(given, _Given) or given.name is None or given.shape != shape:
            raise NoChainError
        if given.shape != tuple(self.tensors[given.name].shape[1:]):  # a part of a weight
            raise NoChainError
        if self.tensors[given.name].dtype != torch.float32:
            raise NoChainError
        return given.name

    def term(self, given: Any) -> _View:
        """Return a term of a sum; a weight [T, F] is one that examples share."""
        if not isinstance(given, _Given):
            return self.whole(given)
        rows, width = given.shape if len(given.shape) == 2 else (0, 0)
        if given.name is None or rows != self.places or self.flat:
            raise NoChainError
        if self.tensors[given.name].dtype != torch.float32:
            raise NoChainError
        return self.add("take", width, (), shared=True, weight=given.name)

    def add(
        self, kind: str, width: int, inputs: tuple[_View, ...], *, shared: bool = False, **more: Any
    ) -> _View:
        """Append a layer; return its result."""
        self.matrices.append(Matrix(width, shared))
        out = len(self.matrices) - 1
        values = tuple(each.value for each in inputs)
        columns = tuple(each.column for each in inputs)
        self.layers.append(Layer(kind, values, columns, out, **more))
        return _View(out, 0, width)


def _embedding(
    work: _Lowering, x: Any, weight: Any, padding_idx: Any = None, max_norm: Any = None,
    norm_type: Any = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> _View:  # fmt: skip
    del norm_type
    if padding_idx is not None or max_norm is not None or scale_grad_by_freq or sparse:
        raise NoChainError
    if not isinstance(x, _Given) or not isinstance(weight, _Given) or len(weight.shape) != 2:
        raise NoChainError
    name, width = work.weight(weight, *weight.shape), weight.shape[1]
    if x.name is None:
        return work.add("embed", width, (), weight=name)
    if work.tensors[x.name].dtype != torch.int64 or x.shape != (work.places,) or work.flat:
        raise NoChainError
    return work.add("embed", width, (), shared=True, weight=name, index=x.name)


def _linear(
    work: _Lowering, x: Any, weight: Any, bias: Any = None, *,
    activation: str | None = None,
) -> _View:  # fmt: skip
    given = work.whole(x, raw=True)
    if not isinstance(weight, _Given) or activation not in (None, "relu"):
        raise NoChainError
    outputs = weight.shape[0]
    name = work.weight(weight, outputs, given.width)
    offset = None if bias is None else work.weight(bias, outputs)
    shared = work.shared(given)
    return work.add(
        "linear", outputs, (given,), shared=shared, weight=name, bias=offset,
        number=int(activation is not None),
    )  # fmt: skip


def _layer_norm(
    work: _Lowering, x: Any, normalized_shape: Any, weight: Any = None,
    bias: Any = None, eps: float = 1e-5,
) -> _View:  # fmt: skip
    given = work.whole(x)
    if tuple(normalized_shape) != (given.width,):
        raise NoChainError
    names = [work.weight(each, given.width) for each in (weight, bias)]
    if not work.trained.issuperset(names):
        raise NoChainError
    shared = work.shared(given)
    return work.add(
        "norm", given.width, (given,), shared=shared, weight=names[0], bias=names[1], factor=eps
    )


def _gelu(work: _Lowering, x: Any, approximate: str = "none") -> _View:
    given = work.whole(x)
    if approximate != "none":
        raise NoChainError
    return work.add("gelu", given.width, (given,), shared=work.shared(given))


def _add(work: _Lowering, left: Any, right: Any) -> _View:
    first, second = sorted(map(work.term, (left, right)), key=work.shared)
    if first.width != second.width or first.value == second.value:
        raise NoChainError
    return work.add("add", first.width, (first, second), shared=work.shared(first))


def _attention(
    work: _Lowering, query: Any, key: Any, value: Any, attn_mask: Any = None,
    dropout_p: float = 0.0, is_causal: bool = False, *, scale: float | None = None,
    enable_gqa: bool = False,
) -> _View:  # fmt: skip
    parts = (query, key, value)
    if attn_mask is not None or dropout_p or enable_gqa or work.places > MOST_PLACES:
        raise NoChainError
    if any(not isinstance(each, _View) or each.form != "by head" for each in parts):
        raise NoChainError
    if len({(each.width, each.heads) for each in parts}) > 1:
        raise NoChainError
    if any(work.shared(each) for each in parts):
        raise NoChainError
    width, heads = query.width, query.heads
    factor = (width // heads) ** -0.5 if scale is None else scale
    mixed = work.add("attend", width, parts, number=heads, causal=int(is_causal), factor=factor)
    return replace(mixed, form="by head", heads=heads)


def _unflatten(work: _Lowering, x: Any, dim: int, sizes: Any) -> _View:
    if work.flat or not isinstance(x, _View) or x.form != "rows" or dim not in (-1, 2):
        raise NoChainError
    return _split(x, tuple(sizes))


def _split(x: _View, sizes: tuple[int, ...]) -> _View:
    if len(sizes) != 2 or -1 in sizes or sizes[0] * sizes[1] != x.width:
        raise NoChainError
    return replace(x, form="split", heads=sizes[0])


def _reshape(work: _Lowering, x: Any, *sizes: Any) -> Any:
    numbers = tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    if not isinstance(x, _View) or work.shared(x) or work.flat:
        raise NoChainError
    if numbers[:2] != (work.examples, work.places):
        raise NoChainError
    if x.form == "rows" and len(numbers) == 4:
        return _split(x, numbers[2:])
    if x.form == "split" and numbers[2:] == (x.width,):
        return replace(x, form="rows", heads=1)
    raise NoChainError


def _flatten(work: _Lowering, x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    if not isinstance(x, _View):
        raise NoChainError
    if work.flat and (start_dim, end_dim) == (1, -1) and x.form == "rows":
        return x
    if x.form == "split" and start_dim in (-2, 2) and end_dim in (-1, 3):
        return replace(x, form="rows", heads=1)
    raise NoChainError


def _transpose(work: _Lowering, x: Any, dim0: int, dim1: int) -> _View:
    if work.flat or not isinstance(x, _View) or work.shared(x):
        raise NoChainError
    rank = 3 if x.form in ("rows", "turned") else 4
    swapped = {dim0 % rank, dim1 % rank}
    turns = {"rows": "turned", "turned": "rows", "split": "by head", "by head": "split"}
    if swapped != {1, 2}:
        raise NoChainError
    return replace(x, form=turns[x.form])


def _chunk(work: _Lowering, x: Any, chunks: int, dim: int = 0) -> tuple[_View, ...]:
    if not isinstance(x, _View) or x.form != "rows" or x.width % chunks:
        raise NoChainError
    if dim not in (-1, 1 if work.flat else 2):
        raise NoChainError
    width = x.width // chunks
    return tuple(replace(x, column=x.column + at * width, width=width) for at in range(chunks))


def _getitem(work: _Lowering, x: Any, index: Any) -> Any:
    if isinstance(x, tuple) and isinstance(index, int):
        return x[index]
    first = isinstance(x, _Given) and x.name is not None and len(x.shape) == 2
    if first and index == slice(None, work.places, None) and work.places <= x.shape[0]:
        return replace(x, shape=(work.places, x.shape[1]))
    raise NoChainError


def _same(_work: _Lowering, x: Any) -> Any:
    return x


_Handler = Callable[..., Any]


def _rows() -> dict[Any, _Handler]:
    known: list[tuple[_Handler, list[Any]]] = [
        (_embedding, [functional.embedding]),
        (_linear, [functional.linear]),
        (_layer_norm, [functional.layer_norm]),
        (_gelu, [functional.gelu]),
        (_add, [operator.add, torch.add, "add"]),
        (_attention, [functional.scaled_dot_product_attention]),
        (_unflatten, ["unflatten"]),
        (_reshape, ["view"]),
        (_flatten, ["flatten"]),
        (_transpose, ["transpose"]),
        (_chunk, ["chunk"]),
        (_getitem, [operator.getitem]),
        (_same, ["contiguous"]),
    ]
    return {find(key): handler for handler, keys in known for key in keys}


_ROWS = _rows()
