"""FingerprintIndex: fingerprints by name; among a million, one that does the same is found soon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from evolute.lang.rule import Momentum
from evolute.train.fingerprint import TOLERANCE, Fingerprint, Values, block_norms

COMPARED_AT_ONCE = 64
"""Fingerprints of equal sketches that are compared in one piece."""

SLACK, SMALLEST = 1e-6, 1e-130
"""How much more two sketches may differ than their fingerprints: beyond what is rounded where
blocks are held in float32, and where squares of what is smaller are zero."""


Recall = Callable[[str], Fingerprint]
"""Makes the fingerprint of a name anew."""


class _Sketch:
    """A few numbers of a fingerprint that differ for almost every pair that does not match.

    Of three blocks a, at the beginning, the middle and the end: ‖a‖ and a·r, with a unit vector r
    that is the same for all. As |a·r - b·r| ≤ ‖a - b‖, what matches has a sketch that is near.
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        ends = np.cumsum(sizes)
        chosen = sorted({0, len(sizes) // 2, len(sizes) - 1})
        self._blocks = [(at, int(ends[at]) - sizes[at], int(ends[at])) for at in chosen]

    @property
    def length(self) -> int:
        """How many numbers there are."""
        return 2 * len(self._blocks)

    def of(self, made: Fingerprint) -> Values:
        """Return the sketch of a fingerprint: norm and product of one block after the other."""
        numbers = []
        for at, first, last in self._blocks:
            block = made.values[first:last]
            numbers += [made.norms[at], block @ _unit_vector(len(block))]
        return np.array(numbers)

    def near(self, rows: Values, wanted: Fingerprint, tolerance: float) -> npt.NDArray[np.intp]:
        """Return the columns of a table, a row for each number, that are near to a sketch."""
        near = np.arange(0)
        sketch = self.of(wanted)
        for row in range(0, self.length, 2):
            norm, product = sketch[row], sketch[row + 1]
            norms, products = rows[row : row + 2] if row == 0 else rows[row : row + 2, near]
            larger = np.maximum(norms, norm)
            is_near = np.abs(norms - norm) <= tolerance * larger
            is_near &= np.abs(products - product) <= (tolerance + SLACK) * larger + SMALLEST
            near = np.flatnonzero(is_near) if row == 0 else near[is_near]
        return near


@cache
def _unit_vector(size: int) -> Values:
    """Return a fixed vector without a pattern: cosines of the squares (as of a quadratic chirp)."""
    values = np.cos(np.arange(1.0, size + 1) ** 2)
    unit: Values = values / np.linalg.norm(values)
    return unit


@dataclass
class _Shelf:
    """Fingerprints of one momentum type and one layout.

    Sketches are compared first, all of them at once. The rest, which is a hundred times as long, is
    looked at where they are near: norms, and blocks divided by their norms (so that float32 holds
    blocks of any size). What was taken from elsewhere is a name and a sketch; the rest is made when
    it is wanted. Arrays are NumPy's, which starts no threads: beside busy workers those of torch
    cost milliseconds.
    """

    sizes: tuple[int, ...]
    earlier: Sequence[str] = ()
    added: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sketch = _Sketch(self.sizes)
        self._sketches = np.empty((self._sketch.length, 0))
        self._held: dict[int, tuple[Values, npt.NDArray[np.float32]]] = {}

    def __len__(self) -> int:
        return len(self.earlier) + len(self.added)

    @property
    def sketches(self) -> Values:
        """Sketches, a column for each name."""
        return self._sketches[:, : len(self)]

    def name(self, row: int) -> str:
        """Return the name of a fingerprint by its place."""
        count = len(self.earlier)
        return self.earlier[row] if row < count else self.added[row - count]

    def add(self, name: str, added: Fingerprint) -> None:
        count = len(self)
        if count == self._sketches.shape[1]:
            self._sketches = _lengthened(self._sketches)
        self._sketches[:, count] = self._sketch.of(added)
        self._held[count] = (added.norms, _directions(added))
        self.added.append(name)

    def load(self, names: Sequence[str], sketches: Values) -> None:
        """Hold names and sketches in place of what was there."""
        if sketches.shape != (self._sketch.length, len(names)):
            raise ValueError(f"sketches of shape {sketches.shape} for {len(names)} names")
        self.earlier, self.added, self._held = names, [], {}
        self._sketches = sketches

    def find(self, wanted: Fingerprint, tolerance: float, recall: Recall) -> str | None:
        near = self._sketch.near(self.sketches, wanted, tolerance)
        for first in range(0, len(near), COMPARED_AT_ONCE):
            rows = near[first : first + COMPARED_AT_ONCE]
            held = [self._hold(int(row), recall) for row in rows]
            norms = np.stack([each for each, _ in held])
            values = np.stack([each for _, each in held]) * np.repeat(norms, self.sizes, axis=1)
            allowed = tolerance * np.maximum(norms, wanted.norms)
            distances = block_norms(values - wanted.values, self.sizes)
            matches = (distances <= allowed) & (np.abs(norms - wanted.norms) <= allowed)
            found = np.flatnonzero(matches.all(axis=1))
            if len(found):
                return self.name(int(rows[found[0]]))
        return None

    def _hold(self, row: int, recall: Recall) -> tuple[Values, npt.NDArray[np.float32]]:
        held = self._held.get(row)
        if held is None:
            made = recall(self.name(row))
            if made.sizes != self.sizes:
                raise ValueError("a fingerprint of another layout")
            held = self._held[row] = (made.norms, _directions(made))
        return held


def _directions(of: Fingerprint) -> npt.NDArray[np.float32]:
    """Return each block divided by its norm."""
    scale = np.where(of.norms > 0, of.norms, 1.0)
    directions: npt.NDArray[np.float32] = (of.values / np.repeat(scale, of.sizes)).astype(
        np.float32
    )
    return directions


def _lengthened(table: Values) -> Values:
    """Return a table with an eighth more columns, so that adding costs the same on average."""
    more = np.zeros((len(table), max(64, table.shape[1] // 8)))
    return np.concatenate([table, more], axis=1)


class FingerprintIndex:
    """Fingerprints by name; finds one that does the same.

    Two fingerprints match if they are of one momentum type, and in every block ‖a − b‖ is at most
    ``tolerance`` times the larger of ‖a‖ and ‖b‖. One thread may use an index at a time.

    Parameters
    ----------
    tolerance
        Largest relative difference.
    recall
        Makes the fingerprint of a name anew; needed once rows were taken from elsewhere.

    Examples
    --------
    >>> import torch
    >>> from evolute.lang.rule import Rule
    >>> from evolute.train.fingerprint import Recording, fingerprint
    >>> ones = Recording(((torch.ones(3),),), ((torch.ones(3),),))
    >>> index = FingerprintIndex()
    >>> index.add("first", fingerprint(Rule.parse("none: g"), ones))
    >>> index.find(fingerprint(Rule.parse("none: g + 1e-09*w"), ones))
    'first'
    >>> index.find(fingerprint(Rule.parse("none: 2*g"), ones)) is None
    True
    """

    def __init__(self, tolerance: float = TOLERANCE, *, recall: Recall | None = None) -> None:
        self.tolerance = tolerance
        self._recall = recall or _forgotten
        self._shelves: dict[tuple[Momentum, tuple[int, ...]], _Shelf] = {}

    def find(self, wanted: Fingerprint) -> str | None:
        """Return the name of the first one added that matches; None if none does."""
        shelf = self._shelves.get((wanted.momentum, wanted.sizes))
        if shelf is None or not wanted.is_finite:
            return None
        return shelf.find(wanted, self.tolerance, self._recall)

    def add(self, name: str, added: Fingerprint) -> None:
        """Remember a fingerprint; one that is not finite matches none and is not kept."""
        if added.is_finite:
            key = (added.momentum, added.sizes)
            self._shelves.setdefault(key, _Shelf(added.sizes)).add(name, added)

    def rows(self) -> list[tuple[Momentum, tuple[int, ...], list[str], Values]]:
        """Return momentum type, layout, names and sketches; :meth:`load` reverses it."""
        return [
            (momentum, sizes, [*shelf.earlier, *shelf.added], shelf.sketches)
            for (momentum, sizes), shelf in self._shelves.items()
        ]

    def load(
        self, momentum: Momentum, sizes: tuple[int, ...], *, names: Sequence[str], sketches: Values
    ) -> None:
        """Hold what an index had of one momentum type and layout; ``recall`` makes the rest anew.

        Raises
        ------
        ValueError
            If there is not one column of a sketch for each name.
        """
        shelf = _Shelf(sizes)
        shelf.load(names, sketches)
        self._shelves[momentum, sizes] = shelf


def _forgotten(name: str) -> Fingerprint:
    raise ValueError(f"nothing is known of {name!r} but its sketch: give the index a recall")
