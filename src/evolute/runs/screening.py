"""Screening: what happens to a proposal before anything is trained.

Static checks, the integrity check, then the fingerprint: only a rule that is sound and unlike every
rule already trained under the same protocol costs a training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from evolute.lang.rule import Rule
from evolute.search.base import Proposal
from evolute.train.fingerprint import FingerprintIndex, Recording, fingerprint
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
    """

    recording: Recording
    tolerance: float
    _indices: dict[str, FingerprintIndex] = field(default_factory=dict)

    def find_or_add(self, rule: Rule, *, protocol: str, digest: str) -> str | None:
        """Return the digest of an equivalent rule seen before under this protocol.

        The first rule of its kind is remembered under ``digest`` and None is returned; so is it
        when the same digest comes again.
        """
        index = self._indices.setdefault(protocol, FingerprintIndex(tolerance=self.tolerance))
        print_ = fingerprint(rule, self.recording)
        twin = index.find(print_)
        if twin is None:
            index.add(digest, print_)
        return None if twin == digest else twin
