"""SearchSpace: the operands, functions, base decays and momentum types that a search draws from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from evolute.errors import InputError, did_you_mean
from evolute.lang.registry import BASE_DECAYS, FUNCTIONS, OPERANDS, Kind
from evolute.lang.rule import Momentum

IDENTITY = "identity"
"""The function that is drawn with a probability of its own."""

MOMENTUM_TYPES = (Momentum.NONE, Momentum.MOMENTUM, Momentum.NESTEROV)
"""Momentum types that a search draws by default."""

PUBLISHED_MOMENTUM_TYPES = (Momentum.NONE, Momentum.MOMENTUM, Momentum.NESTEROV_PUBLISHED)
"""The same with the Nesterov form of the authors' search program (published method, 1.4)."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One choice of function for a node: its name, and the parameters it is called with."""

    function: str
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """What a search draws from.

    Parameters
    ----------
    operands
        Names of operands, at least two.
    unary, binary
        Choices for the nodes of an update, at least one each.
    base_decays
        Names of base decays; empty for a search without decays.
    decay_unary, decay_binary
        Names of functions for the nodes of a decay; with base decays at least one each.
    momentum_types
        At least one.

    Raises
    ------
    InputError
        If there are too few of a kind, or a function takes what its place does not give.
    UnknownNameError
        If a name is in no registry.

    Examples
    --------
    >>> space = SearchSpace.from_registries(operands=("g", "v"), base_decays=())
    >>> space.operands, len(space.momentum_types)
    (('g', 'v'), 3)
    """

    operands: tuple[str, ...]
    unary: tuple[Operation, ...]
    binary: tuple[Operation, ...]
    base_decays: tuple[str, ...]
    decay_unary: tuple[str, ...]
    decay_binary: tuple[str, ...]
    momentum_types: tuple[Momentum, ...] = MOMENTUM_TYPES

    def __post_init__(self) -> None:
        needs: list[tuple[str, tuple[object, ...], int]] = [
            ("operands", self.operands, 2),
            ("unary functions", self.unary, 1),
            ("binary functions", self.binary, 1),
            ("momentum types", self.momentum_types, 1),
        ]
        if self.base_decays:
            needs += [
                ("base decays", self.base_decays, 2),
                ("unary functions of decays", self.decay_unary, 1),
                ("binary functions of decays", self.decay_binary, 1),
            ]
        for what, rows, least in needs:
            if len(set(rows)) < least:
                raise InputError(
                    f"the search space has too few {what}, {len(set(rows))}: it needs at least "
                    f"{least}, allow more of them"
                )
        for name in self.operands:
            OPERANDS[name]
        for name in self.base_decays:
            BASE_DECAYS[name]
        self._check_functions()

    def _check_functions(self) -> None:
        unary = (*(choice.function for choice in self.unary), *self.decay_unary)
        binary = (*(choice.function for choice in self.binary), *self.decay_binary)
        for arity, names in ((1, unary), (2, binary)):
            for name in names:
                if FUNCTIONS[name].arity != arity:
                    raise InputError(
                        f"the function {name!r} takes {FUNCTIONS[name].arity} arguments: list it "
                        f"among the functions of that many, not among those of {arity}"
                    )
        for name in (*self.decay_unary, *self.decay_binary):
            if FUNCTIONS[name].kind is not Kind.ELEMENTWISE or FUNCTIONS[name].parameters:
                raise InputError(
                    f"the function {name!r} cannot be drawn in a decay: only element-wise "
                    "functions without parameters can, leave it out of the decay functions"
                )

    @classmethod
    def from_registries(
        cls,
        *,
        operands: Iterable[str] | None = None,
        functions: Iterable[str] | None = None,
        base_decays: Iterable[str] | None = None,
        decay_functions: Iterable[str] | None = None,
        momentum_types: Iterable[Momentum | str] = MOMENTUM_TYPES,
    ) -> SearchSpace:
        """Return every row that is marked as searched, or those that are named.

        Rows that a user registered before this call take part. A function that is named is drawn
        with each of its searched parameter sets, or without parameters.

        Raises
        ------
        UnknownNameError
            If a name is in no registry.
        InputError
            If too few remain, or a function needs parameters and has no searched set of them.
        """
        if operands is None:
            operands = [row.name for row in OPERANDS.values() if row.searched]
        if functions is None:
            functions = [row.name for row in FUNCTIONS.values() if row.searched]
        if base_decays is None:
            base_decays = [row.name for row in BASE_DECAYS.values() if row.searched]
        if decay_functions is None:
            decay_functions = [row.name for row in FUNCTIONS.values() if row.searched_in_decay]
        choices = [choice for name in functions for choice in _choices(name)]
        decay_functions = tuple(decay_functions)
        return cls(
            operands=tuple(operands),
            unary=tuple(each for each in choices if FUNCTIONS[each.function].arity == 1),
            binary=tuple(each for each in choices if FUNCTIONS[each.function].arity == 2),
            base_decays=tuple(base_decays),
            decay_unary=tuple(name for name in decay_functions if FUNCTIONS[name].arity == 1),
            decay_binary=tuple(name for name in decay_functions if FUNCTIONS[name].arity == 2),
            momentum_types=tuple(_momentum(name) for name in momentum_types),
        )


def _choices(function: str) -> tuple[Operation, ...]:
    """Return the choices that one row stands for: one for each searched set of parameters."""
    row = FUNCTIONS[function]
    if not row.searched and row.parameters:
        raise InputError(
            f"the function {function!r} has no searched parameters: register it with 'searched' "
            "parameter sets, or leave it out of the search space"
        )
    return tuple(Operation(function, parameters) for parameters in row.searched or ((),))


def _momentum(name: Momentum | str) -> Momentum:
    known = [momentum.value for momentum in Momentum]
    if name not in known:
        raise InputError(f"unknown momentum type {str(name)!r}: {did_you_mean(str(name), known)}")
    return Momentum(name)
