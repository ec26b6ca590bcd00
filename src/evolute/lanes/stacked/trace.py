"""The trace: a module as a list of calls, by ``torch.fx`` with the shapes of one batch.

Shapes are plain numbers while the module runs, so code that asks for them or branches on them is
followed; a new shape is a new trace. What branches on values cannot be traced and is refused.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from evolute.errors import shorten
from evolute.lanes.attributes import held_by, require_unchanged
from evolute.lanes.base import CannotStackError
from evolute.lanes.stacked import bfloat as bfloat  # fills the table, as those that follow
from evolute.lanes.stacked import functions as functions
from evolute.lanes.stacked import heads as heads
from evolute.lanes.stacked import layers as layers
from evolute.lanes.stacked import scaling as scaling
from evolute.lanes.stacked import shapes as shapes
from evolute.lanes.stacked.table import find
from evolute.seeds.streams import generator_states, same_states

_SHAPE = "value"
_WRITING = frozenset({"iadd", "isub", "imul", "itruediv"})
"""Names of operators that write into their first argument."""
_NEW = {
    functional.conv1d, functional.conv2d, functional.conv_transpose1d, functional.conv_transpose2d,
    functional.linear, functional.batch_norm, functional.group_norm, functional.layer_norm,
    functional.instance_norm, functional.rms_norm, operator.add, operator.sub, operator.mul,
}  # fmt: skip
"""Functions of which the result shares its memory with nothing."""


class _ShapedProxy(fx.Proxy):
    """A proxy that knows the shape and type of what it stands for."""

    @property
    def _value(self) -> Any:
        tracer: Any = self.tracer
        tracer.find_shapes()
        return self.node.meta[_SHAPE]

    @property
    def shape(self) -> Any:
        return self._value.shape

    @property
    def ndim(self) -> Any:
        return self._value.ndim

    @property
    def dtype(self) -> Any:
        return self._value.dtype

    @property
    def device(self) -> Any:
        return self.tracer.device  # type: ignore[attr-defined]

    @property
    def requires_grad(self) -> bool:
        return True

    @property
    def is_nested(self) -> bool:
        return False

    def size(self, *args: Any) -> Any:
        return self._value.size(*args)

    def dim(self) -> int:
        return int(self._value.dim())

    def numel(self) -> int:
        return int(self._value.numel())

    def is_floating_point(self) -> bool:
        return bool(self._value.is_floating_point())

    def __len__(self) -> int:
        return len(self._value)

    def __iter__(self) -> Iterator[Any]:
        pick: Any = operator.getitem
        return (pick(self, index) for index in range(len(self._value)))


class _Tracer(fx.Tracer):
    """Runs a module on proxies; nothing is a leaf, so every forward is followed."""

    proxy_buffer_attributes = True

    def __init__(self, module: nn.Module, inputs: Tensor) -> None:
        super().__init__()
        self._inputs = inputs.to("meta")
        self._own = {
            name: tensor.detach().to("meta")
            for name, tensor in (*module.named_parameters(), *module.named_buffers())
        }
        self.device = inputs.device
        self._without_shape: list[tuple[fx.Node, str, Any, Any, Any]] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:  # noqa: ARG002
        return False

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _ShapedProxy(node, self)

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **named: Any
    ) -> Any:
        proxy = super().create_proxy(kind, target, args, kwargs, *more, **named)
        self._without_shape.append((proxy.node, kind, target, args, kwargs))
        return proxy

    def find_shapes(self) -> None:
        """Find the shapes of all results so far.

        Only where a module asks for one: for some functions torch imports its compiler to tell,
        which takes more than a second in every process.
        """
        waiting, self._without_shape = self._without_shape, []
        for node, *called in waiting:
            node.meta[_SHAPE] = self._shape_of(*called)

    def _shape_of(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        if kind == "placeholder":
            return self._inputs
        if kind == "get_attr":
            return self._own[target]
        if kind == "output":
            return None

        def known(value: Any) -> Any:
            if isinstance(value, fx.Proxy):
                return value.node.meta[_SHAPE]
            return value.to("meta") if isinstance(value, Tensor) else value

        args, kwargs = fx.node.map_aggregate((args, kwargs), known)
        with torch.no_grad():
            if kind == "call_method":
                return getattr(args[0], target)(*args[1:], **kwargs)
            return target(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a traced module.

    Parameters
    ----------
    index
        Where its result is kept.
    row
        What does it where an argument differs from lane to lane.
    function
        What does it where none does.
    args, kwargs
        Its arguments; a :class:`Place` stands for an earlier result.
    last
        Places that nothing after this call reads.
    draws
        Whether its result differs from lane to lane in any case.
    in_place
        Whether it writes into an argument.
    """

    index: int
    row: Callable[..., Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    last: tuple[int, ...]
    draws: bool = False
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A reference to an earlier result."""

    index: int


@dataclass(frozen=True, slots=True)
class Trace:
    """A module as a list of calls.

    Parameters
    ----------
    calls
        In order.
    names
        Place by name, of each weight or buffer that is used.
    constants
        Tensors that the module made while it was traced, by place.
    output
        What is returned, with places.
    size
        Number of places; the input's is 0.
    of_inputs
        Places of what depends on the input.
    """

    calls: tuple[Call, ...]
    names: dict[str, int]
    constants: dict[int, Tensor]
    output: Any
    size: int
    of_inputs: frozenset[int]


def trace(module: nn.Module, inputs: Any) -> Trace:
    """Return the calls that a module makes on inputs of this shape, in the mode that it is in.

    Raises
    ------
    CannotStackError
        With the reason, if it cannot be traced or calls what the table does not hold.
    """
    if not isinstance(inputs, Tensor):
        raise CannotStackError(f"its inputs are of type {type(inputs).__name__}, not one tensor")
    if any(part._backward_hooks or part._backward_pre_hooks for part in module.modules()):
        raise CannotStackError("it has backward hooks, which run in the loop alone")
    before, drawn = held_by(module), generator_states()
    tracer = _Tracer(module, inputs)
    try:
        graph = tracer.trace(module)
    except CannotStackError:
        raise
    except Exception as fault:
        said = shorten(str(fault), limit=120)
        raise CannotStackError(f"it cannot be traced: {type(fault).__name__}: {said}") from fault
    if not same_states(drawn, generator_states()):
        raise CannotStackError("it draws random numbers in a way that lanes cannot share")
    require_unchanged(before, module)
    return _as_calls(graph, tracer)


def _as_calls(graph: fx.Graph, tracer: _Tracer) -> Trace:
    places: dict[Any, Any] = {node: Place(number) for number, node in enumerate(graph.nodes)}
    root: Any = tracer.root
    known = {name for name, _ in root.named_parameters()} | {n for n, _ in root.named_buffers()}
    calls: list[Call] = []
    names: dict[str, int] = {}
    constants: dict[int, Tensor] = {}
    output: Any = None
    of_inputs = {0}
    activated = _activated(graph)
    for node in graph.nodes:
        if node in activated.values():
            continue
        index = places[activated.get(node, node)].index
        args = fx.node.map_arg(node.args, lambda each: places[each])
        kwargs = fx.node.map_arg(node.kwargs, lambda each: places[each])
        if node.op == "placeholder":
            if index:
                break
        elif node.op == "get_attr" and node.target in known:
            names[node.target] = index
        elif node.op == "get_attr":
            constants[index] = operator.attrgetter(node.target)(root)
        elif node.op == "output":
            output = args[0]
        else:
            last = tuple(
                places[each].index for each in node.all_input_nodes if _last_user(each) is node
            )
            call = _call(node, index, args, kwargs, last)
            if node in activated:
                named = {**kwargs, "activation": layers.ACTIVATED[activated[node].target]}
                call = replace(call, function=layers.FUSED[node.target][0], kwargs=named)
            calls.append(call)
            if not of_inputs.isdisjoint(places[each].index for each in node.all_input_nodes):
                of_inputs.add(index)
    return Trace(tuple(calls), names, constants, output, len(places), frozenset(of_inputs))


def _activated(graph: fx.Graph) -> dict[fx.Node, Any]:
    """Return the layers of which an activation alone reads the result, run together with it."""
    found: dict[fx.Node, Any] = {}
    for node in graph.nodes:
        if node.op == "call_function" and node.target in layers.FUSED and len(node.users) == 1:
            user = next(iter(node.users))
            _, known = layers.FUSED[node.target]
            if layers.ACTIVATED.get(user.target) in known:
                found[node] = user
    return found


def _last_user(node: fx.Node) -> fx.Node:
    *_, last = node.users
    return last


def _call(node: fx.Node, index: int, args: Any, kwargs: Any, last: tuple[int, ...]) -> Call:
    target: Any = node.target
    made = find(target)
    name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
    if made is None:
        raise CannotStackError(f"it calls {name}, which has no form for many lanes")
    draws = target in functions.DRAWING
    function = _method(target) if node.op == "call_method" else target
    given = _asked_to_write(target, args, kwargs)
    if given is not None and _reads_alone(node):
        given.arguments["inplace"] = False  # nobody sees the difference
        args, kwargs, given = given.args, given.kwargs, None
    in_place = name in _WRITING or name.endswith("_") or given is not None
    return Call(index, made, function, tuple(args), dict(kwargs), last, draws, in_place)


def _asked_to_write(target: Any, args: Any, kwargs: Any) -> inspect.BoundArguments | None:
    """Return the arguments of a call with ``inplace=True``, by name or by place; else None."""
    try:
        given = inspect.signature(target).bind(*args, **kwargs)
    except (TypeError, ValueError):  # a method's name, or a function without a signature
        return None
    return given if given.arguments.get("inplace") is True else None


def _reads_alone(node: fx.Node) -> bool:
    """Say whether what a call reads is a new tensor, which nothing else reads."""
    (source,) = node.all_input_nodes[:1]
    return source.target in _NEW and len(source.users) == 1


def _method(name: str) -> Callable[..., Any]:
    return lambda self, *args, **kwargs: getattr(self, name)(*args, **kwargs)
