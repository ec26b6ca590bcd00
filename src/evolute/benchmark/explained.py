"""ExplainResult: what each part of a rule is worth, as a frozen tree of plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import TypeAdapter

from evolute.benchmark.ablation import PartKind
from evolute.benchmark.comparison import Comparison, Finding, Measure
from evolute.benchmark.config import ExplainConfig
from evolute.benchmark.plain import from_plain, to_plain
from evolute.benchmark.statistics import Estimate, Interval
from evolute.benchmark.words import counted, numbers


class PartFinding(StrEnum):
    """What is shown about a changed part, after correction for the number of parts.

    Attributes
    ----------
    COSTS
        The variant is worse, and by more than the margin may hide.
    BETTER
        The variant is better, and may be so by the margin.
    NOT_WORSE
        Neither; at most it is worse by less than the margin.
    NOTHING
        None of these.
    """

    COSTS = "costs something"
    BETTER = "better"
    NOT_WORSE = "not worse"
    NOTHING = "nothing shown"


@dataclass(frozen=True, slots=True)
class PartResult:
    """What became of a rule when one part was changed.

    Parameters
    ----------
    part
        What was done, in words.
    kind
        What kind of part it is.
    rule
        Text of the variant.
    simpler
        Whether the change takes something away.
    learning_rate
        The variant's tuned rate; None if it finished at none.
    comparison
        The variant (first) with the rule (second), seed by seed; None as above.
    adjusted_p_value
        Corrected by Holm over all parts.
    not_worse
        Whether the interval shows it worse by less than the margin, at most.
    """

    part: str
    kind: PartKind
    rule: str
    simpler: bool
    learning_rate: float | None
    comparison: Comparison | None
    adjusted_p_value: float | None
    not_worse: bool

    def costs(self, *, confidence: float) -> bool:
        """Whether it finishes nowhere, or is shown worse at the corrected level and by a margin."""
        if self.comparison is None or self.adjusted_p_value is None:
            return True
        shown = self.adjusted_p_value <= 1 - confidence and not self.not_worse
        return self.comparison.finding is Finding.WORSE and shown


@dataclass(frozen=True, slots=True)
class Simplification:
    """The simplest rule found that is not worse.

    Parameters
    ----------
    rule
        Its text.
    learning_rate
        Its tuned rate.
    removed
        What was taken out, in words.
    size_before, size_after
        Nodes of the whole rule, and of this one.
    comparison
        With the whole rule on fresh seeds and the test split; None if it did not finish there.
    margin
        By less than this it may be worse, in the unit of the measure; None if the whole rule did
        not finish there.
    not_worse
        Whether the fresh seeds confirm that it is not worse.
    """

    rule: str
    learning_rate: float | None
    removed: tuple[str, ...]
    size_before: int
    size_after: int
    comparison: Comparison | None
    margin: float | None
    not_worse: bool


@dataclass(frozen=True, slots=True)
class ExplainResult:
    """The ablation of a rule on a task.

    Parameters
    ----------
    name, digest
        Its name and digest in the store.
    task, metric, measure
        The task, the name of its metric, and what is compared.
    preset, seed, config
        What was asked for.
    rule, learning_rate
        The rule, its parts in the schedule where they multiply the whole update, and its tuned
        rate.
    schedule
        The schedule split off, which works with any optimizer; None if no decay multiplies the
        whole update.
    own
        The rule's own result on the seeds of the comparison.
    margin
        By less than this a variant may be worse, in the unit of the measure.
    parts
        Every variant.
    simplest
        The simplest rule that is not worse; None if nothing can be taken out.
    effect
        Combined effect of schedule and inner decays at 100 steps, as
        :func:`evolute.benchmark.decay_effect.decay_effect` gives it; None without any decay.
    notes
        What is to be said beside the finding: of which rules the best rate is the edge of its grid.
    """

    name: str
    digest: str
    task: str
    metric: str | None
    measure: Measure
    preset: str
    seed: int
    config: ExplainConfig
    rule: str
    learning_rate: float
    schedule: str | None
    own: Estimate
    margin: float
    parts: tuple[PartResult, ...]
    simplest: Simplification | None
    effect: tuple[float, ...] | None
    notes: tuple[str, ...] = ()

    def shown(self, part: PartResult) -> PartFinding:
        """Say what is shown about one of the parts."""
        if part.costs(confidence=self.config.confidence):
            return PartFinding.COSTS
        if self._is_better(part):
            return PartFinding.BETTER
        return PartFinding.NOT_WORSE if part.not_worse else PartFinding.NOTHING

    def _is_better(self, part: PartResult) -> bool:
        """Whether a variant is better at the corrected level, and may be so by the margin."""
        found = part.comparison
        if found is None or found.interval is None or part.adjusted_p_value is None:
            return False
        is_loss = self.measure is Measure.LOSS
        gain = -found.interval.lower if is_loss else found.interval.upper
        corrected = part.adjusted_p_value <= 1 - self.config.confidence
        return corrected and found.finding is Finding.BETTER and gain > self.margin

    @property
    def sentence(self) -> str:
        """What was found, in a sentence or two."""
        worth = [p for p in self.parts if p.simpler and p.costs(confidence=self.config.confidence)]
        idle = sum(part.simpler and part.not_worse for part in self.parts)
        taken = sum(part.simpler for part in self.parts)
        first = (
            f"of {counted(taken)} ways to take a part out, {_are(len(worth))} shown to cost "
            f"something and {_are(idle)} not worse"
        )
        return f"{first}; {self._about_simplest()}"

    def _about_simplest(self) -> str:
        found = self.simplest
        if found is None:
            return "nothing can be taken out"
        label = "loss" if self.measure is Measure.LOSS else (self.metric or "metric")
        smaller = f"{found.rule} ({found.size_after} nodes for {found.size_before})"
        interval = None if found.comparison is None else found.comparison.interval
        if not found.not_worse or interval is None or found.margin is None:
            return f"on fresh seeds the simplest candidate is not confirmed: {smaller}"
        mean, lower, upper = _written(interval)
        return (
            f"the simplest rule that is not worse is {smaller}: test {label} differs by {mean} "
            f"({100 * self.config.confidence:g}% interval {lower} to {upper}, margin "
            f"{found.margin:.2g})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; :meth:`from_dict` reverses it."""
        return to_plain(_ADAPTER, self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ExplainResult:
        """Read what :meth:`to_dict` wrote.

        Raises
        ------
        InputError
            If it is no ablation.
        """
        return from_plain(_ADAPTER, data, what="an ablation")


def _are(count: int) -> str:
    return f"{'none' if count == 0 else counted(count)} {'is' if count == 1 else 'are'}"


def _written(interval: Interval) -> Sequence[str]:
    half_width = (interval.upper - interval.lower) / 2
    values = (interval.mean, interval.lower, interval.upper)
    return numbers(values, scale=half_width or abs(interval.mean))


_ADAPTER = TypeAdapter(ExplainResult)
