"""A laboratory whose trials follow a known formula: what the verdict finds can be computed by hand.

The loss of a rule at a learning rate is a parabola in log₁₀(rate) around the rule's best rate, plus
an effect of the seed that all rules share, plus noise of the rule's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evolute.benchmark.config import VerdictConfig
from evolute.benchmark.elimination import Candidate
from evolute.benchmark.procedure import judge
from evolute.benchmark.verdict import Verdict
from evolute.lang.rule import Rule
from evolute.runs.executors.base import TrialRequest
from evolute.seeds import python_generator
from evolute.train.protocol import Probe, Protocol
from evolute.trial import Outcome, OutcomeKind, Score, Trial, TrialKey

PROTOCOL = Protocol(fitness="loss", fitness_epoch="last")
SMALL = VerdictConfig(candidates=2, finalists=2, tuning_seeds=2, fresh_seeds=8)
SEED = 7


@dataclass(frozen=True)
class Response:
    """How one rule answers.

    Parameters
    ----------
    loss
        At its best rate.
    log_rate
        log₁₀ of its best rate.
    noise
        Standard deviation of its own noise.
    coarse_rate
        What its probes give; by default the nearest power of ten.
    diverges_above
        log₁₀ of the largest rate at which it does not diverge.
    fails_on
        Which of the fresh seeds, in their order, end without a score.
    test_shift
        What is added to the loss on the test split.
    """

    loss: float
    log_rate: float = -2.0
    noise: float = 0.0
    coarse_rate: float | None = None
    diverges_above: float = math.inf
    fails_on: frozenset[int] = frozenset()
    test_shift: float = 0.0


@dataclass
class Laboratory:
    """Answers requests by the formula and remembers them, batch by batch."""

    responses: Mapping[Rule, Response]
    seed_effect: float = 0.5
    batches: list[list[TrialRequest]] = field(default_factory=list)

    def __call__(self, requests: Sequence[TrialRequest]) -> list[Trial]:
        self.batches.append(list(requests))
        seeds = list(dict.fromkeys(request.seed for request in requests))
        return [self._trial(request, seeds.index(request.seed)) for request in requests]

    @property
    def requests(self) -> list[TrialRequest]:
        return [request for batch in self.batches for request in batch]

    def split(self, split: str) -> list[TrialRequest]:
        return [each for each in self.requests if each.protocol.split == split]

    def _trial(self, request: TrialRequest, seed_index: int) -> Trial:
        response, protocol = self.responses[request.rule], request.protocol
        rate = protocol.learning_rate or coarse_rate(response)
        testing = protocol.split == "test"
        failed = math.log10(rate) > response.diverges_above or (
            testing and seed_index in response.fails_on
        )
        key = TrialKey(str(request.rule), "laboratory", "1", protocol.to_json(), request.seed)
        if failed:
            return Trial(key, Outcome(OutcomeKind.DIVERGED, f"diverged at rate {rate:g}"), None)
        shared = python_generator(request.seed, "shared").gauss(0.0, self.seed_effect)
        own = python_generator(request.seed, f"own {request.rule}").gauss(0.0, response.noise)
        loss = response.loss + 0.1 * (math.log10(rate) - response.log_rate) ** 2 + shared + own
        loss += response.test_shift if testing else 0.0
        accuracy = -loss / 10
        fitness = -loss if protocol.fitness == "loss" else accuracy
        score = Score(fitness, rate, loss, accuracy, loss, steps=1)
        return Trial(key, Outcome(OutcomeKind.FINISHED, "finished"), score)


def coarse_rate(response: Response) -> float:
    """The best rate of the probes: the power of ten nearest to the best rate, unless given."""
    if response.coarse_rate is not None:
        return response.coarse_rate
    probe = Probe()
    rates = (*probe.first_rates, *probe.other_rates)
    return min(rates, key=lambda rate: abs(math.log10(rate) - response.log_rate))


FOUND = tuple(Rule.parse(text) for text in ("none: tanh(g)", "none: arctan(g)", "none: erf(g)"))
KNOWN = {
    "Adam": Rule.parse("none: v/sqrt(s)"),
    "Lion": Rule.parse("none: sign_v"),
    "SGD": Rule.parse("none: g"),
}


def candidates(*responses: Response) -> list[Candidate]:
    """Name the first discovered rules ``rule 1``, ``rule 2`` and give them their coarse rates."""
    return [
        Candidate(f"rule {index + 1}", rule, -response.loss, coarse_rate(response))
        for index, (rule, response) in enumerate(zip(FOUND, responses, strict=False))
    ]


def verdict_of(
    found: Sequence[Response],
    known: Sequence[Response],
    *,
    config: VerdictConfig = SMALL,
    protocol: Protocol = PROTOCOL,
    seed: int = SEED,
) -> tuple[Verdict, Laboratory]:
    """Judge discovered against hand-made rules that answer like this."""
    hand_made = dict(list(KNOWN.items())[: len(known)])
    answers = zip([*FOUND[: len(found)], *hand_made.values()], [*found, *known], strict=True)
    laboratory = Laboratory(dict(answers))
    verdict = judge(
        candidates(*found),
        hand_made,
        evaluate=laboratory,
        protocol=protocol,
        seed=seed,
        metric="accuracy",
        config=config,
    )
    return verdict, laboratory
