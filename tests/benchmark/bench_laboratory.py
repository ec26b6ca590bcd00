"""A laboratory for benchmarks: losses follow a known formula, so that findings can be foretold.

The loss of a trial is that of its update, less what its schedule is worth, plus a parabola in
log₁₀(rate) around the update's best rate, plus an effect of the seed that all share, plus noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tiny import build

from evolute import zoo
from evolute.benchmark.bench import Bench
from evolute.benchmark.config import BenchConfig
from evolute.benchmark.entrants import Entrant
from evolute.benchmark.result import BenchResult, TaskResult
from evolute.benchmark.scores import TAUS, score_entrants
from evolute.benchmark.verdict import Side
from evolute.benchmark.verdicts import judge_tasks, summary
from evolute.lang.rule import Rule
from evolute.runs.executors.base import TrialRequest
from evolute.seeds import python_generator
from evolute.train.protocol import Protocol, Training
from evolute.trial import EpochRecord, Outcome, OutcomeKind, Provenance, Score, Trial, TrialKey

CONFIG = BenchConfig(
    budget=8,
    tuning_seeds=2,
    seeds=6,
    sensitivity_seeds=1,
    sensitivity_half_width=2,
    resamples=200,
)
TRAINING = Training(steps=100, epoch_steps=10, warmup_steps=10)
PROTOCOL = Protocol(training=TRAINING, fitness="loss", fitness_epoch="last")
FOUND = Rule.parse("none: [a1]*tanh([a3]*g)")


@dataclass(frozen=True)
class Answer:
    """How an update answers: its loss, log₁₀ of its best rate, and whether it ever finishes."""

    loss: float
    log_rate: float = -3.0
    diverges: bool = False
    test_shift: float = 0.0


UNNAMED = Answer(1.0)
"""The answer of an update that a laboratory does not name."""


@dataclass
class BenchLaboratory:
    """Answers requests by the formula and remembers them.

    ``answers`` holds what an update's text contains and how it answers, the first match counts;
    ``schedules`` what a schedule is worth, by the text of its factor or the shape of the base.
    """

    answers: Mapping[str, Answer]
    schedules: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.002
    requests: list[TrialRequest] = field(default_factory=list)

    def __call__(self, requests: Sequence[TrialRequest]) -> list[Trial]:
        self.requests += requests
        return [self.trial(request) for request in requests]

    def trial(self, request: TrialRequest) -> Trial:
        rule, protocol = request.rule, request.protocol
        matching = (answer for text, answer in self.answers.items() if text in str(rule))
        answer = next(matching, UNNAMED)
        key = TrialKey(str(rule), "tiny", "1", protocol.to_json(), request.seed)
        if answer.diverges:
            return Trial(key, Outcome(OutcomeKind.DIVERGED, "diverged: the loss became NaN"), None)
        schedule = str(Rule(rule.update, schedule=rule.schedule)).split("*")[0]
        worth = self.schedules.get(protocol.training.schedule, 0.0)
        if rule.schedule is not None:
            worth += next((v for k, v in self.schedules.items() if k in schedule), 0.0)
        rate = protocol.learning_rate or 1.0
        shared = python_generator(request.seed, "shared").gauss(0.0, 0.1)
        own = python_generator(request.seed, f"own {rule} {rate}").gauss(0.0, self.noise)
        loss = answer.loss - worth + 0.1 * (math.log10(rate) - answer.log_rate) ** 2
        loss += shared + own
        scored = loss + (answer.test_shift if protocol.split == "test" else 0.0)
        steps = protocol.training.steps
        curve = tuple(
            EpochRecord(step, loss, None, loss + 1.0 - step / steps, None)
            for step in range(10, steps + 1, 10)
        )
        score = Score(-scored, rate, scored, None, loss, steps)
        return Trial(key, Outcome(OutcomeKind.FINISHED, "finished"), score, curve, Provenance(1.0))


def found(rule: Rule = FOUND, name: str = "found", rate: float = 1e-3) -> Entrant:
    """Make a discovered entrant."""
    return Entrant(name, "best of a run", Side.DISCOVERED, rule, rate)


def known(*names: str) -> list[Entrant]:
    """Return optimizers of the zoo."""
    return [Entrant.of_zoo(zoo.load(name)) for name in names]


def run_bench(
    laboratory: BenchLaboratory, entrants: Sequence[Entrant], **changes: Any
) -> TaskResult:
    """Run the benchmark of one task and judge it."""
    config = replace(CONFIG, **changes)
    bench = Bench(
        entrants=entrants,
        hand_made=known("adamw", "lion"),
        task=build(),
        protocol=PROTOCOL,
        seed=3,
        config=config,
        evaluate=laboratory,
    )
    return judge_tasks([bench.run()], config)[0]


def whole(tasks: Sequence[TaskResult]) -> BenchResult:
    """Put tasks together as a benchmark."""
    return BenchResult(
        name="bench",
        digest="0",
        preset="quick",
        seed=3,
        config=CONFIG,
        tasks=tuple(tasks),
        taus=TAUS,
        scores=score_entrants(tasks, seed=3, config=CONFIG),
        sentence=summary(tasks),
    )
