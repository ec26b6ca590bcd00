"""Elimination: candidates meet ever larger set-ups on fresh seeds, and each round keeps the best.

The published method ends so (section 8: Morgan and Hougen 2024): the best candidates of all
particles are trained again on fewer and larger set-ups, down to ten. A search's own figure is that
of one seed, and the best of many figures is lucky; as every rung has fresh seeds, luck does not
accumulate.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as config

from evolute.benchmark.comparison import Measure
from evolute.benchmark.plain import from_plain, to_plain
from evolute.benchmark.result import BenchResult
from evolute.benchmark.statistics import Interval, paired_interval
from evolute.benchmark.tuning import Evaluate
from evolute.lang.rule import Rule
from evolute.runs.executors.base import TrialRequest
from evolute.train.protocol import Protocol
from evolute.trial import Trial


@dataclass(frozen=True, slots=True)
class Candidate:
    """A rule that a search, a probe or a rung has scored.

    Parameters
    ----------
    name
        How it is called.
    rule
        The rule, sign included.
    fitness
        Its fitness there, higher is better.
    learning_rate
        The best peak learning rate known.
    """

    name: str
    rule: Rule
    fitness: float
    learning_rate: float


@config(frozen=True, config=ConfigDict(extra="forbid"))
class RungConfig:
    """One round of an elimination.

    Parameters
    ----------
    keep
        How many candidates stay.
    seeds
        Fresh seeds on which each is trained, on the validation split.
    task
        Task of the round; None: that of the search.
    preset
        Preset whose protocol the round has, such as ``paper-fine-tuning``; None: that of the
        search.
    width
        Width of the network, for tasks whose model takes one; None: as in the protocol.
    steps
        Optimizer steps of a training, with warm-up and epochs in proportion; None: as in the
        protocol.
    probe
        Whether each training finds its learning rate anew by probes, as in the search, if its
        protocol has any; else candidates keep the rate known.
    """

    keep: Annotated[int, Field(ge=1, le=1000)]
    seeds: Annotated[int, Field(ge=1, le=100)] = 3
    task: str | None = None
    preset: str | None = None
    width: Annotated[int, Field(ge=1)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None
    probe: bool = True

    def protocol(self, base: Protocol) -> Protocol:
        """Return the protocol of the round, made from that of its preset or of the search."""
        width = base.width if self.width is None else self.width
        return replace(resized(base, self.steps), width=width, split="validation")


def resized(protocol: Protocol, steps: int | None) -> Protocol:
    """Return a protocol with longer or shorter trainings: warm-up, hold, epochs in proportion.

    Parameters
    ----------
    protocol
        The protocol; its probes stay as they are.
    steps
        Optimizer steps of a training; None changes nothing.
    """
    if steps is None:
        return protocol
    training = protocol.training
    share = steps / training.steps
    longer = replace(
        training,
        steps=steps,
        epoch_steps=max(1, round(share * training.epoch_steps)),
        warmup_steps=(warmup := round(share * training.warmup_steps)),
        hold_steps=min(round(share * training.hold_steps), steps - warmup),
    )
    return replace(protocol, training=longer)


@config(frozen=True, config=ConfigDict(extra="forbid"))
class EliminationConfig:
    """An elimination.

    Parameters
    ----------
    candidates
        How many of the best of a search begin.
    per_particle
        At most so many of them from one particle of the search.
    rungs
        The rounds; each keeps no more than the one before.

    Raises
    ------
    pydantic.ValidationError
        If a rung keeps more than the one before it.
    """

    candidates: Annotated[int, Field(ge=1, le=10_000)] = 50
    per_particle: Annotated[int, Field(ge=1, le=10_000)] = 5
    rungs: Annotated[tuple[RungConfig, ...], Field(min_length=1)] = (
        RungConfig(keep=20, seeds=3),
        RungConfig(keep=10, seeds=4),
    )

    def __post_init__(self) -> None:
        kept = [self.candidates, *(rung.keep for rung in self.rungs)]
        if kept != sorted(kept, reverse=True):
            raise ValueError(f"the rounds keep {kept[1:]} of {kept[0]}: give falling numbers")


@dataclass(frozen=True, slots=True)
class Standing:
    """How a candidate did in a rung.

    Parameters
    ----------
    name, rule
        The candidate.
    fitness
        Mean fitness over the seeds that finished; None if none did.
    failed
        Seeds without a score.
    learning_rate
        Median of the rates trained at; the one known if none finished.
    stays
        Whether it goes on.
    fitnesses
        Fitness on each seed, in their order; None where a run has no score. Results of older
        versions hold none.
    """

    name: str
    rule: str
    fitness: float | None
    failed: int
    learning_rate: float
    stays: bool
    fitnesses: tuple[float | None, ...] = ()

    def interval(self, *, confidence: float) -> Interval | None:
        """Return Student's interval of the mean fitness; None with fewer than two scores."""
        scores = [value for value in self.fitnesses if value is not None]
        return paired_interval(scores, confidence=confidence)


@dataclass(frozen=True, slots=True)
class RungResult:
    """What a rung found.

    Parameters
    ----------
    task
        Its task.
    protocol
        JSON of its protocol.
    seeds
        Its fresh seeds.
    standings
        The candidates, best first: those that finished on every seed, then those that failed on
        fewer.
    """

    task: str
    protocol: str
    seeds: tuple[int, ...]
    standings: tuple[Standing, ...]

    @property
    def measure(self) -> Measure:
        """What fitness stands for: minus the loss, or the metric."""
        return Measure(Protocol.from_json(self.protocol).fitness)

    @property
    def remaining(self) -> tuple[Standing, ...]:
        """The standings of those that go on, best first."""
        return tuple(each for each in self.standings if each.stays and each.fitness is not None)

    @property
    def survivors(self) -> tuple[Candidate, ...]:
        """The candidates that go on, best first.

        Raises
        ------
        RuleSyntaxError
            If a rule is none here, as with an operation of a user's that is not loaded.
        """
        return tuple(
            Candidate(each.name, Rule.parse(each.rule), each.fitness, each.learning_rate)
            for each in self.remaining
            if each.fitness is not None
        )


def run_rung(
    candidates: Sequence[Candidate],
    *,
    task: str,
    evaluate: Evaluate,
    protocol: Protocol,
    seeds: Sequence[int],
    config: RungConfig,
) -> RungResult:
    """Train all candidates on fresh seeds, in one batch, and keep the best.

    Parameters
    ----------
    candidates
        Who takes part.
    task
        Name of the task.
    evaluate
        What scores trials of the task.
    protocol
        The protocol of the rung.
    seeds
        Fresh seeds, the same for all.
    config
        How many stay, and whether rates are probed.
    """
    probes = config.probe and protocol.probe is not None
    requests = [
        TrialRequest(each.rule, protocol if probes else protocol.at_rate(each.learning_rate), seed)
        for each in candidates
        for seed in seeds
    ]
    trials = evaluate(requests) if requests else []
    stood = [
        _standing(each, trials[index * len(seeds) : (index + 1) * len(seeds)])
        for index, each in enumerate(candidates)
    ]
    ranked = sorted(stood, key=_place)
    return RungResult(
        task=task,
        protocol=protocol.to_json(),
        seeds=tuple(seeds),
        standings=tuple(
            replace(each, stays=rank < config.keep and each.fitness is not None)
            for rank, each in enumerate(ranked)
        ),
    )


def _standing(candidate: Candidate, trials: Sequence[Trial]) -> Standing:
    scores = [trial.score for trial in trials if trial.score is not None]
    rates = [score.learning_rate for score in scores]
    mean = sum(score.fitness for score in scores) / len(scores) if scores else math.nan
    return Standing(
        name=candidate.name,
        rule=str(candidate.rule),
        fitness=mean if math.isfinite(mean) else None,
        failed=len(trials) - len(scores),
        learning_rate=statistics.median_low(rates) if rates else candidate.learning_rate,
        stays=False,
        fitnesses=tuple(None if trial.score is None else trial.score.fitness for trial in trials),
    )


def _place(standing: Standing) -> tuple[int, float]:
    """Order by runs that failed, then by fitness; one that never finished comes last."""
    fitness = -math.inf if standing.fitness is None else standing.fitness
    return standing.failed, -fitness


def pick_candidates(
    ranked: Sequence[Candidate],
    particles: Mapping[str, int],
    *,
    config: EliminationConfig,
) -> tuple[Candidate, ...]:
    """Return the best candidates of all particles.

    Parameters
    ----------
    ranked
        Candidates of the search, best first.
    particles
        The particle of each, by name; one that is not named counts as a particle of its own.
    config
        How many begin, and how many at most from one particle.
    """
    taken: dict[object, int] = {}
    picked = []
    for candidate in ranked:
        particle: object = particles.get(candidate.name, candidate.name)
        if taken.get(particle, 0) < config.per_particle:
            taken[particle] = taken.get(particle, 0) + 1
            picked.append(candidate)
    return tuple(picked[: config.candidates])


@dataclass(frozen=True, slots=True)
class EliminationResult:
    """An elimination.

    Parameters
    ----------
    name, digest
        Its name and digest in the store.
    run
        Name of the search whose candidates took part.
    rungs
        The rounds.
    benchmark
        The last rung: the survivors against hand-made optimizers; None if it was not asked for.
    """

    name: str
    digest: str
    run: str
    rungs: tuple[RungResult, ...]
    benchmark: BenchResult | None

    @property
    def survivors(self) -> tuple[Candidate, ...]:
        """Who came through the last round, best first."""
        return self.rungs[-1].survivors

    @property
    def sentence(self) -> str:
        """What was found, in a sentence or two."""
        began, left = len(self.rungs[0].standings), len(self.rungs[-1].remaining)
        text = f"of {began} candidates of {self.run}, {left} came through {len(self.rungs)} rounds"
        return text if self.benchmark is None else f"{text}; {self.benchmark.sentence}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that JSON can hold; :meth:`from_dict` reverses it."""
        return to_plain(_ADAPTER, self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> EliminationResult:
        """Read what :meth:`to_dict` wrote.

        Raises
        ------
        InputError
            If it is no elimination.
        """
        return from_plain(_ADAPTER, data, what="an elimination")


_ADAPTER = TypeAdapter(EliminationResult)
