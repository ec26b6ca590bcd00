"""Screening: what happens to a proposal before anything is trained.

Static checks, the integrity check, then the fingerprint: only a rule that is sound and unlike every
rule already trained under the same protocol costs a training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from evolute.lang.rule import Momentum, Rule
from evolute.search.base import Proposal
from evolute.train.fingerprint import Fingerprint, Recording, Values, fingerprint
from evolute.train.fingerprint_index import FingerprintIndex
from evolute.train.integrity import check_integrity_many


@dataclass(frozen=True, slots=True)
class Screened:
    """A proposal after screening.

    Parameters
    ----------
    proposal
        What the search proposed.
    rule
        The rule to train: canonical, with the sign that the integrity check found.
    fault
        Why it is degenerate; None if it is sound.
    """

    proposal: Proposal
    rule: Rule
    fault: str | None


def screen(proposals: Sequence[Proposal]) -> list[Screened]:
    """Check proposals for degenerate rules and give sound ones their sign."""
    verdicts = check_integrity_many([proposal.rule for proposal in proposals])
    return [
        Screened(
            proposal=proposal,
            rule=proposal.rule.with_sign(proposal.rule.sign * verdict.sign).canonical()
            if verdict.passed
            else proposal.rule.canonical(),
            fault=None if verdict.passed else verdict.sentence,
        )
        for proposal, verdict in zip(proposals, verdicts, strict=True)
    ]


@dataclass
class TwinFinder:
    """Finds the trained trial that a rule would repeat, protocol by protocol.

    Parameters
    ----------
    recording
        Weights and gradients of a few steps of the task.
    tolerance
        Largest relative difference of two updates that count as equal.
    rule_of
        Returns the rule of a trial, by its digest; asked of those that were loaded.
    """

    recording: Recording
    tolerance: float
    rule_of: Callable[[str], Rule]
    _indices: dict[str, FingerprintIndex] = field(default_factory=dict)

    def find_or_add(self, rule: Rule, *, protocol: str, digest: str) -> str | None:
        """Return the digest of an equivalent rule seen before under this protocol.

        The first rule of its kind is remembered under ``digest`` and None is returned; so is it
        when the same digest comes again.
        """
        index = self._indices.setdefault(protocol, self._new_index())
        print_ = fingerprint(rule, self.recording)
        found = index.find(print_)
        if found is None:
            index.add(digest, print_)
            return None
        return None if found == digest else found

    def _new_index(self) -> FingerprintIndex:
        def recall(digest: str) -> Fingerprint:
            return fingerprint(self.rule_of(digest), self.recording)

        return FingerprintIndex(self.tolerance, recall=recall)

    def rows(self) -> Iterator[tuple[str, Momentum, tuple[int, ...], list[str], Values]]:
        """Yield protocol, momentum type, layout, digests and sketches of all it holds."""
        for protocol, index in self._indices.items():
            for row in index.rows():
                yield protocol, *row

    def load(
        self,
        protocol: str,
        momentum: Momentum,
        sizes: tuple[int, ...],
        *,
        digests: Sequence[str],
        sketches: Values,
    ) -> None:
        """Hold again what :meth:`rows` yielded; ValueError if it does not fit together."""
        index = self._indices.setdefault(protocol, self._new_index())
        index.load(momentum, sizes, names=digests, sketches=sketches)
