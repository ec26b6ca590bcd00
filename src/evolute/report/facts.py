"""Facts: what a store holds of one run, read once, as plain values that figures are made from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from evolute.benchmark.verdict import Finalist, Side, Verdict
from evolute.errors import ConfigError, InputError, StoreError, shorten
from evolute.lang.rule import Rule
from evolute.leaderboard import Leaderboard, read_leaderboard
from evolute.search.base import ProposalKind, Stage
from evolute.store.base import RunEntry, RunRecord, Store
from evolute.train.protocol import Protocol
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
class RunSettings:
    """What a run was asked to do.

    Parameters
    ----------
    task, seed, algorithm
        As in :class:`evolute.runs.config.RunConfig`.
    main
        Protocol that scores the main stage.
    main_text
        The same as the store's trials have it in their keys.
    everything
        The whole configuration as nested plain data.
    """

    task: str
    seed: int
    algorithm: str
    main: Protocol
    main_text: str
    everything: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Written:
    """What a search writes of its configuration, as far as a report needs it."""

    task: str
    seed: int
    algorithm: str
    initial: str
    main: str


_PROPOSED = TypeAdapter(Proposed)
_WRITTEN = TypeAdapter(_Written)


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
    settings
        What it was asked to do.
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
    settings: RunSettings
    proposals: tuple[Proposed, ...]
    trials: tuple[Trial, ...]
    leaderboard: Leaderboard
    verdict: Verdict | None
    contenders: tuple[Contender, ...]

    @property
    def selects_by_loss(self) -> bool:
        """Whether fitness is minus a loss; else it is the task's metric."""
        return self.settings.main.fitness == "loss"

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
        If the store cannot be read, or holds what no search writes.
    InputError
        If the run's stored verdict is none.
    """
    entries = store.run_entries(record.digest)
    trials = tuple(row.trial for row in store.trials(run=record.digest, order="position"))
    by_digest = {trial.key.digest: trial for trial in trials}
    document = store.document(record.digest, "verdict")
    verdict = None if document is None else Verdict.from_json(document)
    settings = _settings(record)
    return RunFacts(
        record=record,
        settings=settings,
        proposals=tuple(_proposed(entry, by_digest[entry.trial]) for entry in entries),
        trials=trials,
        leaderboard=read_leaderboard(store, record),
        verdict=verdict,
        contenders=() if verdict is None else _contenders(store, settings, trials, verdict),
    )


def _proposed(entry: RunEntry, trial: Trial) -> Proposed:
    """Read an entry that may be a stranger's.

    Raises
    ------
    StoreError
        If it is not what a search writes.
    """
    known = {
        "number": entry.position,
        "fitness": None if trial.score is None else trial.score.fitness,
        "sentence": trial.outcome.sentence,
    }
    try:
        return _PROPOSED.validate_python({**entry.facts, **known})
    except ValidationError as error:
        raise StoreError(
            f"entry {entry.position} of this run is not what a search writes: {_first(error)}"
        ) from None


def _settings(record: RunRecord) -> RunSettings:
    """Read a configuration that may be a stranger's.

    Raises
    ------
    StoreError
        If it is not what a search writes.
    """
    try:
        written = _WRITTEN.validate_json(record.config_json)
        initial, main = (Protocol.from_json(text) for text in (written.initial, written.main))
    except ValidationError as error:
        raise _not_a_search(record, _first(error)) from None
    except ConfigError as error:
        raise _not_a_search(record, str(error)) from None
    leaves = json.loads(record.config_json) | {"initial": asdict(initial), "main": asdict(main)}
    return RunSettings(written.task, written.seed, written.algorithm, main, written.main, leaves)


def _not_a_search(record: RunRecord, found: str) -> StoreError:
    return StoreError(f"run {shorten(record.name)!r} is not what a search writes: {found}")


def _first(error: ValidationError) -> str:
    fault = error.errors(include_url=False)[0]
    return shorten(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}")


def _contenders(
    store: Store, settings: RunSettings, trials: Sequence[Trial], verdict: Verdict
) -> tuple[Contender, ...]:
    """Return the verdict's finalists that have fresh runs, with the trials of these."""
    keys = {
        finalist.name: _fresh_keys(finalist, settings, trials[0].key if trials else None)
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
    finalist: Finalist, settings: RunSettings, example: TrialKey | None
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
    protocol = canonical_json(json.loads(settings.main_text) | at_rate)
    return [
        TrialKey(rule, example.task, example.task_version, protocol, run.seed,
                 example.program_version)
        for run in finalist.runs
    ]  # fmt: skip
