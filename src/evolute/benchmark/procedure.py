"""The procedure of a verdict: a small elimination, equal tuning, fresh seeds.

0. The best candidates of the search meet once more on fresh seeds; the best of that are finalists.

1. Every hand-made optimizer is scored as the search scored its candidates: same probes, protocol
   and seed. That gives its best coarse rate; the discovered rules come with theirs.
2. The finalists of both sides get the same finer grid on the same tuning seeds and the validation
   split (:mod:`evolute.benchmark.tuning`). The champion of each side is chosen from that alone.
3. All finalists are trained at their tuned rates on the same fresh seeds and measured on the test
   split, which nothing before has read. Paired differences decide.

All trials go through ``evaluate``, in a few large batches, so that they run in parallel and an
interrupted verdict goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from evolute.benchmark.comparison import Measure
from evolute.benchmark.config import VerdictConfig
from evolute.benchmark.elimination import Candidate, RungConfig, run_rung
from evolute.benchmark.tuning import Evaluate, Tuning, tune
from evolute.benchmark.verdict import Finalist, FreshRun, Side, Verdict
from evolute.errors import InputError
from evolute.lang.rule import Rule
from evolute.runs.executors.base import TrialRequest
from evolute.seeds import derive
from evolute.train.protocol import Protocol
from evolute.trial import Trial


def judge(
    discovered: Sequence[Candidate],
    hand_made: Mapping[str, Rule],
    *,
    evaluate: Evaluate,
    protocol: Protocol,
    seed: int,
    metric: str | None,
    config: VerdictConfig | None = None,
) -> Verdict:
    """Say whether the best discovered rules are better than hand-made optimizers.

    Parameters
    ----------
    discovered
        Finished candidates of the search; the best of them become finalists.
    hand_made
        Optimizers to compare with, by name.
    evaluate
        What scores trials of the search's task.
    protocol
        The search's protocol; what it takes as fitness is compared on the test split.
    seed
        The search's seed, from which tuning and fresh seeds are derived.
    metric
        Name of the task's metric, None for a task without one.
    config
        How much work to do.

    Raises
    ------
    InputError
        If two of the optimizers have one name.
    """
    config = config or VerdictConfig()
    _refuse_shared_names([*(candidate.name for candidate in discovered), *hand_made])
    probed, unfinished = _probe(hand_made, evaluate=evaluate, protocol=protocol, seed=seed)
    best = _finalists(discovered, evaluate=evaluate, protocol=protocol, seed=seed, config=config)
    entrants = [*best, *probed]
    tunings = tune(
        [(entrant.rule, entrant.learning_rate) for entrant in entrants],
        evaluate=evaluate,
        protocol=protocol,
        seeds=fresh_seeds(seed, "verdict tuning", config.tuning_seeds),
        config=config,
    )
    runs = _run_fresh(
        entrants,
        tunings,
        evaluate=evaluate,
        protocol=protocol,
        seeds=fresh_seeds(seed, "verdict test", config.fresh_seeds),
    )
    sides = [Side.DISCOVERED] * len(best) + [Side.HAND_MADE] * len(probed)
    return Verdict(
        measure=Measure(protocol.fitness),
        metric=metric,
        confidence=config.confidence,
        finalists=tuple(map(_finalist, entrants, sides, tunings, runs)),
        unfinished=unfinished,
    )


def _finalists(
    discovered: Sequence[Candidate],
    *,
    evaluate: Evaluate,
    protocol: Protocol,
    seed: int,
    config: VerdictConfig,
) -> list[Candidate]:
    """Return the finalists: the best of a rung on fresh seeds at the rates found by the search."""
    best = sorted(discovered, key=lambda candidate: -candidate.fitness)
    if config.candidates <= config.finalists or len(best) <= config.finalists:
        return best[: config.finalists]
    met = best[: config.candidates]
    rung = run_rung(
        met,
        task="",
        evaluate=evaluate,
        protocol=protocol,
        seeds=fresh_seeds(seed, "verdict rung", config.rung_seeds),
        config=RungConfig(keep=config.finalists, seeds=config.rung_seeds, probe=False),
    )
    # The verdict states the fitness of the search's own trial, so the candidates stay as they are.
    by_name = {candidate.name: candidate for candidate in met}
    return [by_name[survivor.name] for survivor in rung.survivors]


def fresh_seeds(seed: int, purpose: str, count: int) -> tuple[int, ...]:
    """Return seeds derived for a purpose, all different and none the search's own."""
    found: dict[int, None] = {}
    index = 0
    while len(found) < count:
        if (derived := derive(seed, purpose, index)) != seed:
            found[derived] = None
        index += 1
    return tuple(found)


def _refuse_shared_names(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"two optimizers of a verdict are called {name!r}: give each its own name"
            )


def _probe(
    hand_made: Mapping[str, Rule], *, evaluate: Evaluate, protocol: Protocol, seed: int
) -> tuple[list[Candidate], tuple[tuple[str, str], ...]]:
    """Score hand-made optimizers as candidates; also the name and ending of those without score."""
    trials = evaluate([TrialRequest(rule, protocol, seed) for rule in hand_made.values()])
    probed, unfinished = [], []
    for (name, rule), trial in zip(hand_made.items(), trials, strict=True):
        if trial.score is None:
            unfinished.append((name, trial.outcome.sentence))
        else:
            score = trial.score
            probed.append(Candidate(name, rule, score.fitness, score.learning_rate))
    return probed, tuple(unfinished)


def _run_fresh(
    entrants: Sequence[Candidate],
    tunings: Sequence[Tuning],
    *,
    evaluate: Evaluate,
    protocol: Protocol,
    seeds: Sequence[int],
) -> list[tuple[FreshRun, ...]]:
    """Train every tuned entrant on every fresh seed, in one batch; none for the untuned."""
    requests = [
        TrialRequest(entrant.rule, protocol.at_rate(best.learning_rate, split="test"), seed)
        for entrant, tuning in zip(entrants, tunings, strict=True)
        if (best := tuning.best) is not None
        for seed in seeds
    ]
    trials: Iterator[Trial] = iter(evaluate(requests) if requests else ())
    return [
        tuple(_fresh_run(seed, next(trials)) for seed in seeds) if tuning.best is not None else ()
        for tuning in tunings
    ]


def _fresh_run(seed: int, trial: Trial) -> FreshRun:
    score, sentence = trial.score, trial.outcome.sentence
    if score is None:
        return FreshRun(seed, None, None, sentence)
    return FreshRun(seed, score.loss, score.metric, sentence)


def _finalist(
    entrant: Candidate, side: Side, tuning: Tuning, runs: tuple[FreshRun, ...]
) -> Finalist:
    return Finalist(
        name=entrant.name,
        side=side,
        rule=str(entrant.rule),
        has_schedule=entrant.rule.schedule is not None,
        coarse_rate=entrant.learning_rate,
        search_fitness=entrant.fitness,
        tuning=tuning,
        runs=runs,
    )
