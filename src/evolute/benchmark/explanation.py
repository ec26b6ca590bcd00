"""What each part of a rule is worth: every variant scored beside the rule on the same seeds.

1. The rule and each variant (:mod:`evolute.benchmark.ablation`) get the same grid of learning rates
   on the tuning seeds, as a part that is taken out changes the size of the update.
2. All are trained on the same further seeds and compared pair by pair, on the validation split.
3. Parts whose removal is not worse, within a stated margin, are taken out one after the other as
   long as the whole stays not worse (non-inferiority, Piaggio et al. 2012).
4. The simplest rule is confirmed against the whole one on fresh seeds and the test split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from evolute.benchmark.ablation import Variant, reads_gradient, size, variants
from evolute.benchmark.comparison import Comparison, Measure, compare
from evolute.benchmark.config import ExplainConfig, VerdictConfig
from evolute.benchmark.explained import PartResult, Simplification
from evolute.benchmark.procedure import fresh_seeds
from evolute.benchmark.statistics import Estimate, estimate, holm
from evolute.benchmark.tuning import Evaluate, tune
from evolute.benchmark.words import edge_note
from evolute.errors import InputError
from evolute.lang.rule import Rule
from evolute.runs.executors.base import TrialRequest
from evolute.train.protocol import Protocol

SplitName = Literal["validation", "test"]

Results = tuple[float | None, ...]
"""The measure of each run, None for a run without a score; empty if no rate finished."""


@dataclass
class Ablation:
    """The ablation of one rule on one task.

    Parameters
    ----------
    rule
        The rule.
    learning_rate
        The best peak learning rate known; None: it is probed.
    evaluate
        What scores trials of the task.
    protocol
        The protocol.
    seed
        From which all seeds are derived.
    config
        How much work to do.

    Raises
    ------
    InputError
        If the rule itself does not finish here, in every method.
    """

    rule: Rule
    learning_rate: float | None
    evaluate: Evaluate
    protocol: Protocol
    seed: int
    config: ExplainConfig
    _rates: dict[str, float | None] = field(default_factory=dict, init=False)
    _edges: dict[str, int] = field(default_factory=dict, init=False)
    """Of rules whose best rate is the edge of their grid, how often that was widened."""

    @property
    def measure(self) -> Measure:
        """What is compared: what the protocol takes as fitness."""
        return Measure(self.protocol.fitness)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds on which variants are compared."""
        return fresh_seeds(self.seed, "explain", self.config.seeds)

    @property
    def last_seeds(self) -> tuple[int, ...]:
        """Fresh seeds on which the simplest rule is confirmed."""
        return fresh_seeds(self.seed, "explain test", self.config.seeds)

    def start(self) -> float:
        """Return the learning rate around which all are tuned: the one known, or a probed one."""
        if self.learning_rate is None:
            (trial,) = self.evaluate([TrialRequest(self.rule, self.protocol, self.seed)])
            if trial.score is None:
                raise InputError(
                    f"the rule does not finish here, so its parts cannot be compared: "
                    f"{trial.outcome.sentence}; give another rule or task"
                )
            self.learning_rate = trial.score.learning_rate
        return self.learning_rate

    def own(self) -> tuple[Estimate, float]:
        """Return the rule's own result on the seeds of the comparison, and its tuned rate."""
        self.start()
        self._tune([self.rule])
        (results,) = self._train([self.rule], self.seeds, split="validation")
        found = estimate([value for value in results if value is not None])
        rate = self._rates[str(self.rule)]
        if found is None or rate is None:
            raise InputError(
                "the rule finishes at no learning rate here, so its parts cannot be compared: give "
                "another rule or task"
            )
        return found, rate

    def parts(self) -> tuple[tuple[Variant, PartResult], ...]:
        """Score every variant beside the rule, p-values corrected for their number."""
        mean, _ = self.own()
        found = variants(self.rule)
        self._tune([variant.rule for variant in found])
        compared = self._compared([variant.rule for variant in found], self.seeds, "validation")
        tested = [each for each in compared if each is not None]
        corrected = iter(holm([each.p_value for each in tested]))
        return tuple(
            (variant, self._part(variant, each, mean, None if each is None else next(corrected)))
            for variant, each in zip(found, compared, strict=True)
        )

    def _part(
        self, variant: Variant, found: Comparison | None, mean: Estimate, p_value: float | None
    ) -> PartResult:
        return PartResult(
            part=variant.part,
            kind=variant.kind,
            rule=str(variant.rule),
            simpler=variant.simpler,
            learning_rate=self._rates[str(variant.rule)],
            comparison=found,
            adjusted_p_value=p_value,
            not_worse=self._not_worse(found, mean),
        )

    def simplest(self, parts: Sequence[tuple[Variant, PartResult]]) -> Simplification | None:
        """Take out what is worth nothing, as long as the whole stays not worse, and confirm it.

        Returns
        -------
        Simplification or None
            None if nothing could be taken out.
        """
        mean, _ = self.own()
        harmless = [variant for variant, part in parts if part.simpler and part.not_worse]
        harmless.sort(key=lambda variant: size(variant.rule))
        present, removed = self.rule, []
        for variant in harmless:
            smaller = self._changed(present, variant)
            if smaller is None:
                continue
            self._tune([smaller])
            (found,) = self._compared([smaller], self.seeds, "validation")
            if self._not_worse(found, mean):
                present = smaller
                removed.append(variant.part)
        if not removed:
            return None
        (last,) = self._compared([present], self.last_seeds, "test")
        (own,) = self._train([self.rule], self.last_seeds, split="test")
        whole = estimate([value for value in own if value is not None])
        return Simplification(
            rule=str(present),
            learning_rate=self._rates[str(present)],
            removed=tuple(removed),
            size_before=size(self.rule),
            size_after=size(present),
            comparison=last,
            margin=None if whole is None else self._margin(whole),
            not_worse=whole is not None and self._not_worse(last, whole),
        )

    def notes(
        self, parts: Sequence[tuple[Variant, PartResult]], simplest: Simplification | None
    ) -> tuple[str, ...]:
        """Say of which of these rules, and of the rule itself, a better rate may lie beyond."""
        names = {str(self.rule): "the rule itself"}
        names |= {part.rule: repr(part.part) for _, part in parts}
        if simplest is not None:
            names.setdefault(simplest.rule, "the simplest rule")
        return tuple(
            edge_note(name, rate, widenings=self._edges[text])
            for text, name in names.items()
            if text in self._edges and (rate := self._rates[text]) is not None
        )

    def _changed(self, present: Rule, variant: Variant) -> Rule | None:
        """Return a rule with one more part taken out; None if that is no smaller rule."""
        try:
            smaller = variant.change(present)
        except InputError:
            return None
        return smaller if size(smaller) < size(present) and reads_gradient(smaller) else None

    def _margin(self, mean: Estimate) -> float:
        return self.config.margin * abs(mean.mean)

    def _not_worse(self, found: Comparison | None, mean: Estimate) -> bool:
        """Whether an interval shows a variant worse by less than the margin, at most."""
        if found is None or found.interval is None or found.failed > 0:
            return False
        interval = found.interval
        excess = interval.upper if self.measure is Measure.LOSS else -interval.lower
        return excess <= self._margin(mean)

    def _tune(self, rules: Sequence[Rule]) -> None:
        """Find the rate of each rule that has none yet, on the same grid for all."""
        missing = [rule for rule in dict.fromkeys(rules) if str(rule) not in self._rates]
        config = VerdictConfig(
            grid_half_width=self.config.grid_half_width, widenings=self.config.widenings
        )
        found = tune(
            [(rule, self.start()) for rule in missing],
            evaluate=self.evaluate,
            protocol=self.protocol,
            seeds=fresh_seeds(self.seed, "explain tuning", self.config.tuning_seeds),
            config=config,
        )
        for rule, tuning in zip(missing, found, strict=True):
            self._rates[str(rule)] = None if tuning.best is None else tuning.best.learning_rate
            if tuning.on_edge:
                self._edges[str(rule)] = tuning.widenings

    def _compared(
        self, rules: Sequence[Rule], seeds: Sequence[int], split: SplitName
    ) -> list[Comparison | None]:
        """Compare rules with the rule itself; None for one that finishes at no rate."""
        own, *others = self._train([self.rule, *rules], seeds, split=split)
        return [
            compare(results, own, measure=self.measure, confidence=self.config.confidence)
            if results
            else None
            for results in others
        ]

    def _train(
        self, rules: Sequence[Rule], seeds: Sequence[int], *, split: SplitName
    ) -> list[Results]:
        """Train each rule at its rate on each seed, all in one batch."""
        wanted = [(rule, rate) for rule in rules if (rate := self._rates[str(rule)]) is not None]
        protocols = {rate: self.protocol.at_rate(rate, split=split) for _, rate in wanted}
        requests = [
            TrialRequest(rule, protocols[rate], seed) for rule, rate in wanted for seed in seeds
        ]
        trials = iter(self.evaluate(requests) if requests else ())
        results: list[Results] = []
        for rule in rules:
            if self._rates[str(rule)] is None:
                results.append(())
                continue
            scores = [next(trials).score for _ in seeds]
            results.append(
                tuple(
                    None
                    if score is None
                    else score.loss
                    if self.measure is Measure.LOSS
                    else score.metric
                    for score in scores
                )
            )
        return results
