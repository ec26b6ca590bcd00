"""Facts: what a store holds of one run, read once, as plain values that figures are made from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolute.benchmark.verdict import Finalist, Side, Verdict
from evolute.errors import InputError
from evolute.lang.rule import Rule
from evolute.leaderboard import Leaderboard, read_leaderboard
from evolute.search.base import ProposalKind, Stage
from evolute.store.base import RunEntry, RunRecord, Store
from evolute.trial import OutcomeKind, Trial, TrialKey, canonical_json


@dataclass(frozen=True, slots=True)
class Proposed:
    """One proposal of a run, and what became of it.

    Parameters
    ----------
    number
        In the order of asking, from 0.
    rule
        Its text.
    stage, kind, particle, depth, parent
        As in :class:`evolute.search.base.Proposal`.
    outcome
        How it ended; a duplicate names the trial of its twin.
    fitness
        Its score, or its twin's; None without one.
    sentence
        What its trial says of its ending.
    """

    number: int
    rule: str
    stage: Stage
    kind: ProposalKind
    particle: int | None
    depth: int
    parent: int | None
    outcome: OutcomeKind
    fitness: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Contender:
    """An optimizer of the verdict with the trainings on fresh seeds that the store still holds."""

    finalist: Finalist
    trials: tuple[Trial, ...]

    @property
    def discovered(self) -> bool:
        """Whether the search found it."""
        return self.finalist.side is Side.DISCOVERED


@dataclass(frozen=True)
class RunFacts:
    """All that a report says of a run rests on this.

    Parameters
    ----------
    record
        Name, digest and date of the run.
    config
        Its configuration as plain data.
    proposals
        What the search proposed, in that order.
    trials
        Its distinct trials, in the order they were stored.
    leaderboard
        Its trained rules, best first.
    verdict
        The comparison with hand-made optimizers; None if there was none.
    contenders
        Those compared, the discovered champion first, then by their fitness in tuning.
    """

    record: RunRecord
    config: Mapping[str, Any]
    proposals: tuple[Proposed, ...]
    trials: tuple[Trial, ...]
    leaderboard: Leaderboard
    verdict: Verdict | None
    contenders: tuple[Contender, ...]

    @property
    def main(self) -> Mapping[str, Any]:
        """The protocol that scores the main stage, as plain data."""
        protocol: Mapping[str, Any] = json.loads(self.config["main"])
        return protocol

    @property
    def selects_by_loss(self) -> bool:
        """Whether fitness is minus a loss; else it is the task's metric."""
        return bool(self.main["fitness"] == "loss")

    @property
    def trained(self) -> tuple[Trial, ...]:
        """The distinct trials that cost a training."""
        return tuple(t for t in self.trials if t.outcome.kind is not OutcomeKind.DEGENERATE)

    def of_particles(self) -> Iterator[Proposed]:
        """Yield the proposals that belong to a chain."""
        yield from (each for each in self.proposals if each.particle is not None)


def read_run(store: Store, record: RunRecord) -> RunFacts:
    """Read all that a report needs of a run.

    Raises
    ------
    StoreError
        If the store cannot be read.
    InputError
        If the run's stored verdict is none.
    """
    entries = store.run_entries(record.digest)
    trials = tuple(row.trial for row in store.trials(run=record.digest, order="position"))
    by_digest = {trial.key.digest: trial for trial in trials}
    document = store.document(record.digest, "verdict")
    verdict = None if document is None else Verdict.from_json(document)
    config = json.loads(record.config_json)
    return RunFacts(
        record=record,
        config=config,
        proposals=tuple(_proposed(entry, by_digest[entry.trial]) for entry in entries),
        trials=trials,
        leaderboard=read_leaderboard(store, record),
        verdict=verdict,
        contenders=() if verdict is None else _contenders(store, config, trials, verdict),
    )


def _proposed(entry: RunEntry, trial: Trial) -> Proposed:
    facts = entry.facts
    return Proposed(
        number=entry.position,
        rule=str(facts.get("rule", trial.key.rule)),
        stage=Stage(facts.get("stage", Stage.MAIN)),
        kind=ProposalKind(facts.get("kind", ProposalKind.RANDOM)),
        particle=facts.get("particle"),
        depth=int(facts.get("depth", 0)),
        parent=facts.get("parent"),
        outcome=OutcomeKind(facts.get("outcome", trial.outcome.kind)),
        fitness=None if trial.score is None else trial.score.fitness,
        sentence=trial.outcome.sentence,
    )


def _contenders(
    store: Store, config: Mapping[str, Any], trials: Sequence[Trial], verdict: Verdict
) -> tuple[Contender, ...]:
    """Return the verdict's finalists that have fresh runs, with the trials of these."""
    keys = {
        finalist.name: _fresh_keys(finalist, config, trials[0].key if trials else None)
        for finalist in verdict.finalists
    }
    stored = store.get_many([key.digest for each in keys.values() for key in each])
    champion = verdict.champion(Side.DISCOVERED)
    ordered = sorted(
        (finalist for finalist in verdict.finalists if finalist.runs),
        key=lambda f: (f != champion, f.side is not Side.DISCOVERED, -f.tuned_fitness),
    )
    return tuple(
        Contender(
            finalist,
            tuple(stored[key.digest] for key in keys[finalist.name] if key.digest in stored),
        )
        for finalist in ordered
    )


def _fresh_keys(
    finalist: Finalist, config: Mapping[str, Any], example: TrialKey | None
) -> list[TrialKey]:
    """Return the keys of a finalist's trainings on fresh seeds, made as the verdict made them."""
    best = finalist.tuning.best
    if best is None or example is None:
        return []
    try:
        rule = str(Rule.parse(finalist.rule).canonical())
    except InputError:  # an operation of the user's own that was not loaded
        return []
    at_rate = {"probe": None, "learning_rate": best.learning_rate, "split": "test"}
    protocol = canonical_json(json.loads(config["main"]) | at_rate)
    return [
        TrialKey(rule, example.task, example.task_version, protocol, run.seed,
                 example.program_version)
        for run in finalist.runs
    ]  # fmt: skip
