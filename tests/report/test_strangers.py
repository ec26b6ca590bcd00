"""A stranger's store gives a page, or one clear line; never anything else."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report.ablations import made_up_ablation
from report.benchmarks import made_up_benchmark
from report.eliminations import made_up_elimination
from report.places import hostile_verdict, open_run, proposal, record, run_config, trial
from report.reading import read

from evolute.errors import EvoluteError, StoreError
from evolute.leaderboard import RunKind
from evolute.report import html_page
from evolute.report.build import build_page
from evolute.report.html_page import page_to_html
from evolute.store.base import RunEntry, RunRecord, Store
from evolute.store.sql import open_store
from evolute.trial import OutcomeKind, canonical_json

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner,
                                                                max_size=3),
    max_leaves=6,
)  # fmt: skip


def show(store: Store, kind: Any = "search") -> None:
    """Make the page; it must be one, or one clear line must say why not."""
    refusal = None
    try:
        html = page_to_html(build_page(store, None, kind=kind))
    except EvoluteError as error:
        refusal = str(error)
    assert "\n" not in refusal if refusal is not None else read(html).text


def leaves(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all leaves of nested plain data."""
    if isinstance(data, dict):
        return [found for key, part in data.items() for found in leaves(part, (*path, key))]
    if isinstance(data, list):
        return [found for at, part in enumerate(data) for found in leaves(part, (*path, at))]
    return [path]


def changed(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return nested plain data with another value at a path."""
    if not path:
        return value
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[path[0]] = changed(data[path[0]], path[1:], value)
    return copy


VERDICT: Any = hostile_verdict()
BENCHMARK = made_up_benchmark().to_dict()
ELIMINATION = made_up_elimination().to_dict()
ABLATION = made_up_ablation().to_dict()
CONFIG = run_config().identity()
FACTS = proposal(0, particle=1, depth=2, parent=0).to_dict() | {"rule": "none: g"}


@pytest.fixture(scope="module", autouse=True)
def _without_plotly() -> Iterator[None]:
    """Leave the five megabytes out that are the same on every page."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html_page, "plotly_source", lambda: "0")
        yield


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with open_store(":memory:") as opened:
        yield opened


_DIGESTS = (f"{number:064x}" for number in itertools.count())
"""A new run for each example, which is then the newest of the store."""


@settings(max_examples=60)
@given(name=st.sampled_from([*FACTS, "outcome"]), value=PLAIN)
def test_facts_of_a_proposal(store: Store, name: str, value: Any) -> None:
    run = open_run(store, digest=next(_DIGESTS))
    answer = trial("none: g", fitness=-1.0)
    store.put(answer)
    facts = FACTS | {"outcome": OutcomeKind.FINISHED.value, name: value}
    with contextlib.suppress(EvoluteError):
        store.record_many(run.digest, [RunEntry(0, answer.key.digest, facts)])
    show(store)


@settings(max_examples=60)
@given(path=st.sampled_from([*leaves(CONFIG)[:9], ("main",), ("initial",)]), value=PLAIN)
def test_a_configuration(store: Store, path: tuple[Any, ...], value: Any) -> None:
    with contextlib.suppress(EvoluteError, ValueError):
        text = canonical_json(changed(CONFIG, path, value))
        store.open_run(RunRecord(next(_DIGESTS), "made-up", text, "1"))
    show(store)


@settings(max_examples=60)
@given(path=st.sampled_from([(), *leaves(VERDICT)]), value=PLAIN)
def test_a_verdict(store: Store, path: tuple[Any, ...], value: Any) -> None:
    run = open_run(store, digest=next(_DIGESTS))
    record(store, run, (proposal(0), trial("none: g", fitness=-1.0), OutcomeKind.FINISHED))
    with contextlib.suppress(EvoluteError):
        store.put_document(run.digest, "verdict", changed(VERDICT, path, value))
    show(store)


@pytest.mark.parametrize(
    ("kind", "document"),
    [("benchmark", BENCHMARK), ("elimination", ELIMINATION), ("ablation", ABLATION)],
)
@settings(max_examples=60)
@given(data=st.data(), value=PLAIN)
def test_a_result(
    store: Store, kind: RunKind, document: Any, data: st.DataObject, value: Any
) -> None:
    path = data.draw(st.sampled_from([(), *leaves(document)]))
    run = store.open_run(RunRecord(next(_DIGESTS), "made-up", json.dumps({"kind": kind}), "1"))
    with contextlib.suppress(EvoluteError):
        store.put_document(run.digest, kind, changed(document, path, value))
    show(store, kind)


def test_the_line_says_which_entry_is_at_fault(store: Store) -> None:
    run = open_run(store, digest=next(_DIGESTS))
    answer = trial("none: g", fitness=-1.0)
    store.put(answer)
    store.record_many(run.digest, [RunEntry(0, answer.key.digest, FACTS | {"depth": "deep"})])
    with pytest.raises(StoreError, match="entry 0 of this run is not what a search writes"):
        build_page(store, None, kind="search")
