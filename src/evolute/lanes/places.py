"""Where the matrices of a chain and their gradients stand in its scratch.

A gradient's place is free again once the layer before has read it, and the terms of a sum take the
place of the sum's gradient where nothing comes in between: then nothing is copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

ALIGNED = 16
"""Numbers that places are multiples of: a line of the cache."""

NONE, WRITTEN, ADDED, SHARED = range(4)
"""What backward does with the gradient of an input, as in ``layers_chain.cpp``."""


class NoPlacesError(Exception):
    """A chain has no backward pass that is known here."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix of a chain: [examples·places, width], or [places, width] where examples share it."""

    width: int
    shared: bool


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of a chain.

    Parameters
    ----------
    kind
        A key of :data:`evolute.lanes.chains.KINDS`.
    inputs, columns
        Matrices that it reads, and the first column of each.
    out
        The matrix that it writes.
    weight, bias
        Names.
    index
        Name of the buffer whose numbers it looks up; None for the input's.
    number
        Heads of attention; 1 for a linear layer with a rectifier.
    causal, factor
        Of attention: whether it is causal, and the scale of its scores; the factor of a
        normalisation is ε.
    """

    kind: str
    inputs: tuple[int, ...]
    columns: tuple[int, ...]
    out: int
    weight: str | None = None
    bias: str | None = None
    index: str | None = None
    number: int = 0
    causal: int = 0
    factor: float = 0.0


@dataclass(frozen=True, slots=True)
class Form:
    """A network as a chain of layers.

    Parameters
    ----------
    matrices, layers
        In order; the matrix 0 is the input where that holds no words.
    output
        The matrix of scores.
    examples, places
        Of a batch.
    raw
        Whether the matrix 0 is the input.
    flat
        Whether a batch has no axis of places.
    """

    matrices: tuple[Matrix, ...]
    layers: tuple[Layer, ...]
    output: int
    examples: int
    places: int
    raw: bool
    flat: bool


@dataclass(slots=True)
class Places:
    """Numbers of the scratch before each thing.

    Parameters
    ----------
    matrices, slopes
        Of each matrix and its gradient; −1 where it has none.
    extras
        Of what each layer keeps.
    passes
        What backward does with the gradients of each layer's inputs.
    size
        Of the scratch.
    """

    matrices: list[int] = field(default_factory=list)
    slopes: list[int] = field(default_factory=list)
    extras: list[int] = field(default_factory=list)
    passes: list[tuple[int, ...]] = field(default_factory=list)
    size: int = 0

    def take(self, numbers: int) -> int:
        """Return a new place for so many numbers."""
        at = self.size
        self.size += padded(numbers)
        return at


def padded(numbers: int) -> int:
    """Return the next multiple of :data:`ALIGNED`."""
    return -(-numbers // ALIGNED) * ALIGNED


def placed(form: Form, block: int) -> Places:
    """Return the places of a chain that takes so many examples at a time.

    Raises
    ------
    NoPlacesError
        If its gradients would run in ways that are not known here.
    """
    places = Places()
    uses = Counter(each for layer in form.layers for each in layer.inputs)
    for number, matrix in enumerate(form.matrices):
        raw = form.raw and number == 0
        places.matrices.append(-1 if raw else places.take(_size(form, matrix, block)))
    makers = {layer.out: layer for layer in form.layers}
    for layer in form.layers:
        source = makers.get(layer.inputs[0]) if layer.inputs else None
        if layer.kind == "gelu" and source and uses[source.out] == 1 and not source.number:
            places.extras.append(places.matrices[source.out])  # nothing else reads its input
        else:
            places.extras.append(places.take(_kept(form, layer, block)))
    _Backward(form, block, places, uses).place()
    return places


def _size(form: Form, matrix: Matrix, block: int) -> int:
    return matrix.width * form.places * (1 if matrix.shared else block)


def _kept(form: Form, layer: Layer, block: int) -> int:
    """Return how many numbers a layer keeps beside its result."""
    rows, width = block * form.places, form.matrices[layer.out].width
    if layer.kind == "linear":
        return form.matrices[layer.inputs[0]].width * padded(width)
    if layer.kind == "norm":
        return 2 * rows
    if layer.kind == "attend":
        return layer.number * rows * (2 + padded(form.places))
    return rows * width if layer.kind == "gelu" else 0


@dataclass(slots=True)
class _Backward:
    form: Form
    block: int
    places: Places
    uses: Counter[int]
    storage: dict[int, int] = field(default_factory=dict)
    """Place of each matrix's gradient."""
    sizes: dict[int, int] = field(default_factory=dict)
    users: Counter[int] = field(default_factory=Counter)
    free: list[int] = field(default_factory=list)

    def place(self) -> None:
        form = self.form
        self._new(form.output)
        passes = []
        for number in reversed(range(len(form.layers))):
            layer = form.layers[number]
            if layer.out not in self.storage:
                raise NoPlacesError
            passes.append(tuple(self._passes(number, layer)))
            self._release(self.storage[layer.out])
        self.places.passes = passes[::-1]
        self.places.slopes = [self.storage.get(each, -1) for each in range(len(form.matrices))]

    def _passes(self, number: int, layer: Layer) -> Iterator[int]:
        if layer.kind == "add":
            yield from self._sum(number, layer)
        elif layer.kind == "attend":
            self._windows(layer)
            yield from (WRITTEN,) * 3
        elif layer.kind == "gelu":
            if layer.inputs[0] in self.storage:
                raise NoPlacesError
            self._lend(layer.out, layer.inputs[0])
            yield WRITTEN
        else:
            for each in layer.inputs:
                if self.form.raw and each == 0:
                    yield NONE
                else:
                    yield self._written(each)

    def _written(self, matrix: int) -> int:
        if matrix in self.storage:
            return ADDED
        self._new(matrix)
        return WRITTEN

    def _sum(self, number: int, layer: Layer) -> Iterator[int]:
        first, second = layer.inputs
        alike = self.form.matrices[first].shared == self.form.matrices[second].shared
        if first in self.storage:
            yield ADDED
        else:
            self._lend(layer.out, first)
            yield SHARED
        if second in self.storage:
            yield ADDED
        elif alike and (
            self.storage[first] != self.storage[layer.out]
            or self._apart(number, first, second)
            or self._apart(number, second, first)
        ):
            self._lend(layer.out, second)
            yield SHARED
        else:
            self._new(second)
            yield WRITTEN

    def _apart(self, number: int, kept: int, passing: int) -> bool:
        """Say whether one term's gradient is read before anything adds to the other's."""
        made = {layer.out: at for at, layer in enumerate(self.form.layers)}
        between = self.form.layers[made[passing] : number]
        used = any(kept in layer.inputs for layer in between)
        lends = bool(between) and between[0].kind in ("add", "gelu")  # and so may write there
        return self.uses[passing] == 1 and made[kept] < made[passing] and not used and not lends

    def _windows(self, layer: Layer) -> None:
        """Place the gradients of an attention's inputs, which must cover their matrices."""
        if len(set(zip(layer.inputs, layer.columns, strict=True))) < len(layer.inputs):
            raise NoPlacesError
        width = self.form.matrices[layer.out].width
        for each, times in Counter(layer.inputs).items():
            covered = times * width == self.form.matrices[each].width
            if each in self.storage or not covered or (self.form.raw and each == 0):
                raise NoPlacesError
            self._new(each)

    def _new(self, matrix: int) -> None:
        size = padded(_size(self.form, self.form.matrices[matrix], self.block))
        fitting = [at for at in self.free if self.sizes[at] >= size]
        if fitting:
            at = min(fitting, key=lambda each: self.sizes[each])
            self.free.remove(at)
        else:
            at = self.places.take(size)
            self.sizes[at] = size
        self.storage[matrix] = at
        self.users[at] += 1

    def _lend(self, owner: int, matrix: int) -> None:
        """Let a matrix's gradient stand where another's does."""
        at = self.storage[matrix] = self.storage[owner]
        self.users[at] += 1

    def _release(self, at: int) -> None:
        self.users[at] -= 1
        if not self.users[at]:
            self.free.append(at)
