"""Candidate: a genome with the rule it expresses, drawn so that its text was not met before."""

from __future__ import annotations

import random
from collections.abc import Callable, Container
from dataclasses import dataclass

from evolute.errors import InputError
from evolute.lang.rule import Rule
from evolute.search.drawing import DrawConfig, draw_genome
from evolute.search.genome import Genome
from evolute.search.mutation import MutationConfig, Mutator
from evolute.search.space import SearchSpace

MAX_ALIKE = 200
"""Genomes in a row that express known texts before there is taken to be no new one."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A genome that may be proposed.

    Parameters
    ----------
    genome
        What mutates.
    rule
        What it expresses.
    text
        Canonical text by which candidates are known to be alike. The sign is left out: it is found
        by the integrity check, so a rule and its negative are one candidate.
    parent
        Number of the proposal it is a mutation of, None for a random draw.
    """

    genome: Genome
    rule: Rule
    text: str
    parent: int | None = None

    @classmethod
    def of(cls, genome: Genome, *, parent: int | None = None) -> Candidate:
        """Return the candidate of an acyclic genome."""
        rule = genome.express()
        return cls(genome, rule, str(rule.canonical().with_sign(1)), parent)


def random_candidate(
    space: SearchSpace, drawing: DrawConfig, *, taken: Container[str], generator: random.Random
) -> Candidate | None:
    """Draw a random candidate whose text is not taken; None if the space seems to have no other."""
    return _first_new(lambda: draw_genome(space, drawing, generator=generator), taken)


def mutant_candidate(
    parent: Candidate,
    number: int,
    *,
    space: SearchSpace,
    drawing: DrawConfig,
    mutation: MutationConfig,
    taken: Container[str],
    generator: random.Random,
) -> Candidate | None:
    """Draw a child, of the proposal with this number, whose text is not taken; None if none is."""
    mutator = Mutator(space, drawing, mutation=mutation, generator=generator)
    return _first_new(lambda: mutator.child(parent.genome), taken, parent=number)


def _first_new(
    draw: Callable[[], Genome | None], taken: Container[str], *, parent: int | None = None
) -> Candidate | None:
    for _ in range(MAX_ALIKE):
        genome = draw()
        if genome is None:
            return None
        try:
            candidate = Candidate.of(genome, parent=parent)
        except (
            InputError
        ):  # larger than the language allows, with a user's own operands written out
            continue
        if candidate.text not in taken:
            return candidate
    return None
