"""What searches have come to, as plain data that JSON can hold, and back.

What is read may be a stranger's: whatever is not what :func:`genome_to_json` and its siblings wrote
raises one of :data:`MALFORMED`, or stands for some other search; none of it is ever executed.
"""

from __future__ import annotations

from typing import Any

from evolute.errors import InputError
from evolute.lang.rule import Momentum, Rule
from evolute.search.base import Proposal, ProposalKind, Result, Stage
from evolute.search.candidate import Candidate
from evolute.search.genome import DecayGenome, DecayNode, Edge, Genome, Node
from evolute.search.space import Operation
from evolute.trial import OutcomeKind

MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError,
             OverflowError, AssertionError, InputError)  # fmt: skip
"""What reading a state raises that no search has written."""


def genome_to_json(genome: Genome) -> Any:
    """Return a genome as nested lists; :func:`genome_from_json` reverses it."""
    nodes = [
        [
            node.operation.function,
            list(node.operation.parameters),
            [[edge.source, _decay_to_json(edge.decay)] for edge in node.inputs],
        ]
        for node in genome.nodes
    ]
    return [genome.momentum.value, nodes]


def genome_from_json(data: Any) -> Genome:
    """Read what :func:`genome_to_json` wrote."""
    momentum, nodes = data
    return Genome(
        tuple(
            Node(
                Operation(function, tuple(parameters)),
                tuple(Edge(source, _decay_from_json(decay)) for source, decay in inputs),
            )
            for function, parameters, inputs in nodes
        ),
        Momentum(momentum),
    )


def _decay_to_json(decay: DecayGenome | None) -> Any:
    if decay is None:
        return None
    return [[node.function, list(node.inputs)] for node in (decay.hidden, decay.root)]


def _decay_from_json(data: Any) -> DecayGenome | None:
    if data is None:
        return None
    hidden, root = (DecayNode(function, tuple(inputs)) for function, inputs in data)
    return DecayGenome(hidden, root)


def candidate_to_json(candidate: Candidate | None) -> Any:
    """Return a candidate's genome and parent; :func:`candidate_from_json` reverses it."""
    return candidate and [genome_to_json(candidate.genome), candidate.parent]


def candidate_from_json(data: Any) -> Candidate:
    """Read what :func:`candidate_to_json` wrote of a candidate."""
    genome, parent = data
    return Candidate.of(genome_from_json(genome), parent=parent)


def proposal_from_json(data: Any) -> Proposal:
    """Read what :meth:`Proposal.to_dict` wrote."""
    return Proposal(
        **{
            **data,
            "rule": Rule.from_json(data["rule"]),
            "stage": Stage(data["stage"]),
            "kind": ProposalKind(data["kind"]),
        }
    )


def result_to_json(result: Result) -> Any:
    """Return a result's kind and fitness; :func:`result_from_json` reverses it."""
    return [result.kind.value, result.fitness]


def result_from_json(data: Any) -> Result:
    """Read what :func:`result_to_json` wrote."""
    kind, fitness = data
    return Result(OutcomeKind(kind), None if fitness is None else float(fitness))


def told_to_json(told: tuple[Proposal, Result] | None) -> Any:
    """Return a proposal with its result; :func:`told_from_json` reverses it."""
    return told and [told[0].to_dict(), result_to_json(told[1])]


def told_from_json(data: Any) -> tuple[Proposal, Result]:
    """Read what :func:`told_to_json` wrote of a proposal."""
    proposal, result = data
    return proposal_from_json(proposal), result_from_json(result)
