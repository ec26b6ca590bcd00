"""A program in elementary operations of torch, found by following the rows' own formulas.

The formula of a function stands in its row and nowhere else. Here it is called once with symbols
in the place of tensors, which write down what is done to them: ``1 / (1 + x.abs())`` becomes abs,
add, reciprocal. What cannot be followed (a branch on a value, a function not listed here) stays
one opaque operation that calls the row as it is, so every row works.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Any, NoReturn, TypeGuard, cast

import torch
from torch import Tensor

from evolute.compiler.program import Instruction, Program
from evolute.lang.arcsinh import arcsinh
from evolute.lang.registry import Kind


def _add_scaled(x: Tensor, y: Tensor, factor: float, *, out: Tensor | None = None) -> Tensor:
    """Return x + factor·y."""
    return torch.add(x, y, alpha=factor, out=out)


ELEMENTARY: dict[str, Callable[..., Any]] = {
    name: getattr(torch, name)
    for name in (
        *("abs", "add", "atan", "clamp_max", "clamp_min", "cos", "cosh", "div", "erf"),
        *("erfc", "exp", "expm1", "log", "log1p", "logaddexp", "maximum", "minimum", "mul", "neg"),
        *("pow", "reciprocal", "rsqrt", "sigmoid", "sign", "sin", "sinh", "sqrt", "sub", "tan"),
        "tanh",
    )
} | {"add_scaled": _add_scaled, "asinh": arcsinh, "i1e": torch.special.i1e}
"""The operations that are followed, by name; each is element-wise and takes ``out=``."""

_SPELLINGS: dict[object, str] = {call: name for name, call in ELEMENTARY.items()} | {
    torch.absolute: "abs",
    torch.arctan: "atan",
    torch.negative: "neg",
    torch.square: "square",
    torch.special.erf: "erf",
    torch.special.erfc: "erfc",
}
_METHODS = {name for name in ELEMENTARY if name not in ("add_scaled", "asinh", "i1e")}


class Sort(Enum):
    """What stands in a register.

    Attributes
    ----------
    NUMBER
        A Python number, the same for all weights: the step, a decay, what follows from them.
    SCALAR
        A tensor without dimensions of the weights' dtype: a constant, what follows from it.
    TENSOR
        A value per weight.
    """

    NUMBER = auto()
    SCALAR = auto()
    TENSOR = auto()


@dataclass(frozen=True, slots=True)
class Register:
    """A value by its number, in the order in which values come into being."""

    number: int
    sort: Sort


@dataclass(frozen=True, slots=True)
class Operation:
    """One elementary operation, or one opaque call of a row.

    Parameters
    ----------
    name
        Key of :data:`ELEMENTARY`; of an opaque call the name of the row.
    call
        What is called.
    arguments
        Registers, and numbers as they are.
    target
        Register written.
    instruction
        The instruction of an opaque call, else None.
    """

    name: str
    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    target: Register
    instruction: Instruction | None = None


@dataclass(frozen=True, eq=False)
class Elementary:
    """A program in elementary operations; each register is written once.

    Parameters
    ----------
    gradient, weight, step
        Registers of the inputs.
    constants, decays
        Registers of the constants and the decays of the program.
    states
        Register of each state slot as it is before the step.
    operations
        In order of execution.
    new_states
        Register of each state slot after the step.
    output
        Register of the update.
    registers
        How many there are.
    """

    gradient: Register
    weight: Register
    step: Register
    constants: tuple[Register, ...]
    decays: tuple[Register, ...]
    states: tuple[Register, ...]
    operations: tuple[Operation, ...]
    new_states: tuple[Register, ...]
    output: Register
    registers: int


@lru_cache(maxsize=512)
def in_elementary_operations(program: Program) -> Elementary:
    """Follow every instruction of a program; the same program gives the same object.

    Examples
    --------
    >>> from evolute.compiler.program import compile_rule
    >>> from evolute.lang.rule import Rule
    >>> program = in_elementary_operations(compile_rule(Rule.parse("none: softsign(g)+v")))
    >>> [operation.name for operation in program.operations]
    ['abs', 'add', 'div', 'mul', 'add_scaled', 'add', 'pow', 'sub', 'div', 'add']
    """
    recorder = _Recorder()
    gradient, weight = recorder.new(Sort.TENSOR), recorder.new(Sort.TENSOR)
    step = recorder.new(Sort.NUMBER)
    constants = [recorder.new(Sort.SCALAR) for _ in program.constants]
    recorder.constants.update(zip(constants, program.constants, strict=True))
    decays = [recorder.new(Sort.NUMBER) for _ in program.decays]
    states = [recorder.new(Sort.TENSOR) for _ in program.state_slots]
    new_states = list(states)
    registers = [gradient, weight, *constants, *decays]
    for instruction in program.instructions:
        arguments = tuple(registers[at] for at in instruction.arguments)
        state = None if instruction.slot is None else states[instruction.slot]
        value, new = recorder.follow(instruction, arguments, state, step)
        registers.append(value)
        if instruction.slot is not None:
            assert new is not None
            new_states[instruction.slot] = new
    return Elementary(
        gradient,
        weight,
        step,
        tuple(constants),
        tuple(decays),
        tuple(states),
        tuple(recorder.operations),
        tuple(new_states),
        registers[program.output],
        recorder.count,
    )


class _UnfollowableError(Exception):
    """A formula does what cannot be written down."""


class _Recorder:
    """Writes down operations."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.count = 0
        self.constants: dict[Register, float] = {}
        self.never_minus_zero: set[Register] = set()

    def new(self, sort: Sort) -> Register:
        """Return a register not yet used."""
        self.count += 1
        return Register(self.count - 1, sort)

    def follow(
        self,
        instruction: Instruction,
        arguments: tuple[Register, ...],
        state: Register | None,
        step: Register,
    ) -> tuple[Register, Register | None]:
        """Write down one instruction; return the registers of its value and its new state."""
        row, mark = instruction.function, len(self.operations)
        if row.kind in (Kind.ELEMENTWISE, Kind.STATEFUL):
            symbols = [_Symbol(self, each) for each in arguments]
            extra = (
                {}
                if state is None
                else {"state": _Symbol(self, state), "step": _Symbol(self, step)}
            )
            try:
                result = self._apply(row.compute, symbols, *instruction.parameters, **extra)
                parts = result if state is not None else (result, None)
                value, new = cast("tuple[Any, Any]", parts)
                return _register(value), None if new is None else _register(new)
            except (_UnfollowableError, TypeError, AttributeError, ValueError, RuntimeError):
                del self.operations[mark:]
        inputs = arguments if state is None else (*arguments, state, step)
        target = self.new(Sort.TENSOR if _has_shape(instruction, arguments) else Sort.SCALAR)
        self.operations.append(Operation(row.name, row.compute, inputs, target, instruction))
        if state is None:
            return target, None
        new = self.new(Sort.TENSOR)
        pair = Operation(f"{row.name} state", operator.itemgetter(1), (target,), new)
        self.operations.append(pair)
        value = self.new(Sort.TENSOR)
        self.operations.append(
            Operation(f"{row.name} value", operator.itemgetter(0), (target,), value)
        )
        return value, new

    def _apply(
        self, compute: Callable[..., Any], symbols: list[_Symbol], *rest: Any, **extra: Any
    ) -> Any:
        if compute is arcsinh:  # a function of ours, which torch does not pass on to symbols
            (symbol,) = symbols
            return self.record("asinh", symbol.register)
        return compute(*symbols, *rest, **extra)

    def record(self, name: str, *arguments: Any) -> _Symbol:
        """Write down one elementary operation on symbols and numbers."""
        sorts = {each.sort for each in arguments if isinstance(each, Register)}
        if not all(isinstance(each, Register | int | float) for each in arguments):
            raise _UnfollowableError
        if name == "add" and arguments[1] == 0.0 and arguments[0] in self.never_minus_zero:
            return _Symbol(self, arguments[0])  # all that adding 0 changes is the sign of a zero
        if sorts == {Sort.NUMBER}:
            sort, call = Sort.NUMBER, _OF_NUMBERS[name]
        else:
            sort = Sort.TENSOR if Sort.TENSOR in sorts else Sort.SCALAR
            call = ELEMENTARY[name]
        target = self.new(sort)
        self.operations.append(Operation(name, call, arguments, target))
        if name == "add" and any(self._is_at_least_zero(each) for each in arguments):
            self.never_minus_zero.add(target)
        return _Symbol(self, target)

    def _is_at_least_zero(self, value: Any) -> bool:
        constant = self.constants.get(value) if isinstance(value, Register) else value
        return constant is not None and bool(constant >= 0)


_OF_NUMBERS: dict[str, Callable[..., Any]] = {
    "abs": operator.abs,
    "add": operator.add,
    "div": operator.truediv,
    "mul": operator.mul,
    "neg": operator.neg,
    "pow": operator.pow,
    "sub": operator.sub,
}


def _has_shape(instruction: Instruction, arguments: tuple[Register, ...]) -> bool:
    return instruction.function.kind is not Kind.ELEMENTWISE or any(
        each.sort is Sort.TENSOR for each in arguments
    )


def _register(result: object) -> Register:
    if not isinstance(result, _Symbol):
        raise _UnfollowableError
    return result.register


def _plain(value: object) -> Any:
    return value.register if isinstance(value, _Symbol) else value


class _Symbol:
    """Stands for a value and writes down what is done to it."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, recorder: _Recorder, register: Register) -> None:
        self.recorder, self.register = recorder, register

    def _do(self, name: str, *arguments: object) -> _Symbol:
        return self.recorder.record(name, *(_plain(each) for each in arguments))

    def _is_number(self) -> bool:
        return self.register.sort is Sort.NUMBER

    def _precedes_tensor(self, other: object) -> TypeGuard[_Symbol]:
        return self._is_number() and isinstance(other, _Symbol) and not other._is_number()

    @classmethod
    def __torch_function__(
        cls, func: object, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> _Symbol:
        if func is torch.add and kwargs and kwargs.keys() == {"alpha"}:
            left, right = args
            recorder = next(each for each in args if isinstance(each, _Symbol)).recorder
            return recorder.record("add_scaled", _plain(left), _plain(right), kwargs["alpha"])
        name = _SPELLINGS.get(func)
        if kwargs or name is None:
            raise _UnfollowableError
        if func is torch.square:
            (symbol,) = args
            return cast("_Symbol", symbol * symbol)
        symbol = next(each for each in args if isinstance(each, _Symbol))
        return symbol._do(name, *args)

    def __getattr__(self, name: str) -> Callable[..., _Symbol]:
        name = "atan" if name == "arctan" else name
        if name not in _METHODS or self._is_number():
            raise AttributeError(name)

        def method(*arguments: object) -> _Symbol:
            return self._do(name, self, *arguments)

        return method

    def square(self) -> _Symbol:
        return self * self

    def clamp(self, *, min: float | None = None, max: float | None = None) -> _Symbol:  # noqa: A002
        if (min is None) == (max is None):
            raise _UnfollowableError
        return self._do("clamp_min", self, min) if max is None else self._do("clamp_max", self, max)

    def __add__(self, other: object) -> _Symbol:
        return self._do("add", self, other)

    __radd__ = __add__

    def __mul__(self, other: object) -> _Symbol:
        return self._do("mul", self, other)

    __rmul__ = __mul__

    def __sub__(self, other: object) -> _Symbol:
        if self._precedes_tensor(other):
            return other.__rsub__(self)
        return self._do("sub", self, other)

    def __rsub__(self, other: object) -> _Symbol:
        # Of tensors −x + c, which is c − x to the bit: lists have no c − x.
        return self._do("sub", other, self) if self._is_number() else -self + other

    def __truediv__(self, other: object) -> _Symbol:
        if self._precedes_tensor(other):
            return other.__rtruediv__(self)
        return self._do("div", self, other)

    def __rtruediv__(self, other: object) -> _Symbol:
        if self._is_number():
            return self._do("div", other, self)
        inverse = self._do("reciprocal", self)  # as torch divides a number by a tensor
        return inverse if not isinstance(other, _Symbol) and other == 1 else inverse * other

    def __pow__(self, other: object) -> _Symbol:
        return self._do("pow", self, other)

    def __rpow__(self, other: object) -> _Symbol:
        return self._do("pow", other, self)

    def __neg__(self) -> _Symbol:
        return self._do("neg", self)

    def __abs__(self) -> _Symbol:
        return self._do("abs", self)

    def __eq__(self, other: object) -> NoReturn:
        raise _UnfollowableError

    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__

    def __bool__(self) -> NoReturn:
        raise _UnfollowableError

    def __iter__(self) -> Iterator[NoReturn]:
        raise _UnfollowableError
