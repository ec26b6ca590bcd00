"""Stores that tests of reports read: a real tiny search, and runs that went wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tiny import TINY_CONFIG, build

import evolute
from evolute.lang.rule import Rule
from evolute.presets import resolve
from evolute.runs.config import RunConfig
from evolute.search.base import Proposal, ProposalKind, Stage
from evolute.store.base import RunEntry, RunRecord, Store
from evolute.store.sql import open_store
from evolute.trial import (
    EpochRecord,
    Outcome,
    OutcomeKind,
    Provenance,
    Score,
    Trial,
    TrialKey,
    canonical_json,
)

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "\"'><svg/onload=alert(3)>",
    "<!--<script>",
    "{{7*7}}${7*7}%{x}",
    '<a href="javascript:alert(4)">a</a>\u2028&lt;b&gt;',
)
"""Texts that a report must show letter by letter."""


def search_into(path: Path) -> str:
    """Run the tiny search; return the name of the run."""
    return evolute.search(task=build(), seed=0, config=TINY_CONFIG, store=path).name


def run_config(name: str = "made-up") -> RunConfig:
    """The configuration of a tiny run."""
    settings = resolve("quick", TINY_CONFIG, {"task": "tiny", "seed": 0})
    return replace(settings.run_config("tiny"), name=name)


def open_run(store: Store, name: str = "made-up", *, digest: str = "d" * 64) -> RunRecord:
    """Store a run that has no proposal yet."""
    text = canonical_json(run_config(name).identity())
    return store.open_run(RunRecord(digest, name, text, "1"))


def trial(
    rule: str,
    *,
    fitness: float | None = None,
    kind: OutcomeKind = OutcomeKind.FINISHED,
    sentence: str | None = None,
) -> Trial:
    """A trial of the tiny task under its main protocol."""
    key = TrialKey(rule, "tiny", "1", run_config().main.to_json(), 0)
    score = None
    curve: tuple[EpochRecord, ...] = ()
    if fitness is not None:
        score = Score(fitness, 0.1, -fitness, 0.5, -fitness, 30)
        curve = (EpochRecord(6, 1.0, 0.5, -fitness, 0.5),)
    text = sentence or f"{kind}: of course"
    return Trial(key, Outcome(kind, text), score, curve, Provenance(0.5, machine="a loom"))


def record(store: Store, run: RunRecord, *proposals: tuple[Proposal, Trial, OutcomeKind]) -> None:
    """Store proposals with the trials that answer them."""
    store.put_many([each for _, each, _ in proposals])
    entries = [
        RunEntry(
            proposal.number,
            answer.key.digest,
            proposal.to_dict() | {"rule": answer.key.rule, "outcome": kind.value},
        )
        for proposal, answer, kind in proposals
    ]
    store.record_many(run.digest, entries)


def proposal(number: int, **facts: object) -> Proposal:
    """A proposal, by default a random one of the main stage."""
    given = {"rule": Rule.parse("g"), "stage": Stage.MAIN, "kind": ProposalKind.RANDOM}
    return Proposal(number=number, **(given | facts))  # type: ignore[arg-type]  # its own fields


def hostile_store(path: Path | str) -> Store:
    """A store whose every text is an attack: run, rules, sentences, verdict."""
    store = open_store(path)
    run = open_run(store, HOSTILE[0])
    answers = [
        trial(f"none: {text}", fitness=-1.0 - place, sentence=text, kind=OutcomeKind.FINISHED)
        for place, text in enumerate(HOSTILE)
    ]
    lost = trial("none: lost " + HOSTILE[1], kind=OutcomeKind.CRASHED, sentence=HOSTILE[2])
    made = [
        (proposal(number, particle=number, depth=0), answer, answer.outcome.kind)
        for number, answer in enumerate([*answers, lost])
    ]
    record(store, run, *made)
    store.put_document(run.digest, "verdict", hostile_verdict())
    return store


def hostile_verdict() -> object:
    """A verdict with an attack for every name, rule and ending."""
    tuning = {"points": [{"learning_rate": 0.1, "fitness": -1.0},
                         {"learning_rate": 0.3, "fitness": None}], "widenings": 1}  # fmt: skip
    finalists = [
        {
            "name": text,
            "side": "discovered" if place < 2 else "hand-made",
            "rule": f"none: {text}",
            "has_schedule": place == 0,
            "coarse_rate": 0.1,
            "search_fitness": -1.0,
            "tuning": tuning,
            "runs": [
                {"seed": seed, "loss": 1.0 + 0.1 * place + 0.01 * seed * place, "metric": 0.5,
                 "sentence": text}
                for seed in range(3)
            ],
        }
        for place, text in enumerate(HOSTILE)
    ]  # fmt: skip
    return {
        "measure": "loss",
        "metric": HOSTILE[3],
        "confidence": 0.95,
        "finalists": finalists,
        "unfinished": [[HOSTILE[4], HOSTILE[5]]],
    }
