"""Build: from a store to the files of a report; what ``evolute.report`` is."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from evolute.benchmark.elimination import EliminationResult
from evolute.benchmark.explained import ExplainResult
from evolute.benchmark.result import BenchResult
from evolute.discover import DEFAULT_STORE
from evolute.errors import InputError, UnknownNameError, shorten
from evolute.leaderboard import RunKind, find_run, runs_of_kind
from evolute.report.ablation_page import ablation_page
from evolute.report.bench_page import bench_page
from evolute.report.csv_files import write_tables
from evolute.report.elimination_page import elimination_page
from evolute.report.facts import read_run
from evolute.report.html_page import page_to_html
from evolute.report.matplotlib_files import ImageFormat, write_figures
from evolute.report.page import Page
from evolute.report.run_page import run_page
from evolute.store.base import RunRecord, Store
from evolute.store.sql import open_store

CONTRADICTIONS = (ValueError, LookupError, ArithmeticError, TypeError)
"""What a stranger's store can raise whose parts are each of the right kind, but do not belong
together: a curve shorter than its steps, an optimizer that only one table names."""


def report(
    run: str | None = None,
    *,
    kind: RunKind | None = None,
    store: str | Path = DEFAULT_STORE,
    output: str | Path = "report.html",
    figures: str | Path | None = None,
    image_format: ImageFormat = "svg",
    csv: str | Path | None = None,
) -> Path:
    """Write what a run found as one HTML file that needs no network; return its path.

    The store is only read. The same store gives the same bytes.

    Parameters
    ----------
    run
        Name or first digits of the digest of what is shown; the newest of its kind by default.
    kind
        What it is: ``"search"``, ``"benchmark"``, ``"elimination"`` or ``"ablation"`` (of
        :func:`evolute.explain`); None: what that name is the name of, a search without a name.
    store
        Path or address of the store.
    output
        The HTML file; its folder must be there, an older file is replaced.
    figures
        Folder for each figure as a file of its own, drawn by Matplotlib; made if it is not there.
    image_format
        ``"svg"`` or ``"png"``.
    csv
        Folder for each table as CSV; made if it is not there.

    Raises
    ------
    InputError
        If there is no such run, a file cannot be written, or Matplotlib is needed and missing.
    StoreError
        If the store cannot be read, or holds no run.
    """
    with open_store(store, create=False, read_only=True) as opened:
        page = build_page(opened, run, kind=kind)
    written = write_page(page, Path(output), figures=figures, image_format=image_format, csv=csv)
    return written[0]


def build_page(store: Store, run: str | None, *, kind: RunKind | None) -> Page:
    """Return the page of a run of some kind, the newest without a name.

    Raises
    ------
    InputError, StoreError
        As :func:`report`.
    """
    chosen = _kind_of(store, run, asked=kind)
    record = find_run(store, run, kind=chosen)
    try:
        return _PAGES[chosen](store, record)
    except CONTRADICTIONS as error:
        raise InputError(
            f"what is stored of {chosen} {shorten(record.name)!r} contradicts itself "
            f"({type(error).__name__}: {shorten(str(error))}): repeat it in a new store"
        ) from None


def _kind_of(store: Store, run: str | None, *, asked: RunKind | None) -> RunKind:
    """Return what a name is the name of; without one a search, or what else the store has.

    Raises
    ------
    InputError
        If it is the name of something else than was asked for, or of things of several kinds.
    """
    usual: RunKind = "search"
    if run is None and asked is not None:
        return asked
    if run is None:
        return next((kind for kind in KIND_WORDS if runs_of_kind(store, kind)), usual)
    named = {
        kind: [
            record.digest[:12]
            for record in runs_of_kind(store, kind)
            if record.name == run or record.digest.startswith(run)
        ]
        for kind in KIND_WORDS
    }
    kinds = [kind for kind, names in named.items() if names]
    if not kinds and asked is None and (stored := store.runs()):
        raise UnknownNameError("run", run, {record.name for record in stored})
    if asked is not None and (asked in kinds or not kinds):
        return asked
    if not kinds:
        return usual
    if asked is None and len(kinds) == 1:
        return kinds[0]
    found = " and ".join(f"{_ARTICLES[kind]} {kind}" for kind in kinds)
    unnamed = [run] if len(kinds) == 1 else named["search"][:1]  # a search has no word
    words = [[KIND_WORDS[kind], run] if KIND_WORDS[kind] else unnamed for kind in kinds]
    commands = " or ".join(f'"{shlex.join(("evolute", "report", *each))}"' for each in words)
    raise InputError(f"{shorten(run)!r} is the name of {found}: give {commands}")


def _search_page(store: Store, record: RunRecord) -> Page:
    return run_page(read_run(store, record))


def _bench_page(store: Store, record: RunRecord) -> Page:
    return bench_page(BenchResult.from_dict(_document(store, record, "benchmark")), record)


def _elimination_page(store: Store, record: RunRecord) -> Page:
    found = EliminationResult.from_dict(_document(store, record, "elimination"))
    return elimination_page(found, record)


def _ablation_page(store: Store, record: RunRecord) -> Page:
    return ablation_page(ExplainResult.from_dict(_document(store, record, "ablation")), record)


KIND_WORDS: Mapping[RunKind, str] = {
    "search": "",
    "benchmark": "bench",
    "elimination": "eliminate",
    "ablation": "explain",
}
"""The word before a name that asks for a kind: the command that makes it, none for a search."""

_ARTICLES: Mapping[RunKind, str] = {
    "search": "a",
    "benchmark": "a",
    "elimination": "an",
    "ablation": "an",
}

_PAGES: Mapping[RunKind, Callable[[Store, RunRecord], Page]] = {
    "search": _search_page,
    "benchmark": _bench_page,
    "elimination": _elimination_page,
    "ablation": _ablation_page,
}


def _document(store: Store, record: RunRecord, kind: RunKind) -> Mapping[str, Any]:
    """Return the result that is stored of a run of a kind.

    Raises
    ------
    InputError
        If there is none yet, or it is none.
    """
    document = store.document(record.digest, kind)
    if document is None:
        raise InputError(
            f"the {kind} {record.name!r} has no result yet: give the same command again, it "
            "goes on where it was stopped"
        )
    if not isinstance(document, Mapping):
        raise InputError(f"not a result of kind {kind}: {shorten(str(document))}")
    return document


def write_page(
    page: Page,
    output: Path,
    *,
    figures: str | Path | None = None,
    image_format: ImageFormat = "svg",
    csv: str | Path | None = None,
) -> tuple[Path, ...]:
    """Write a page and what else is asked for; return the files, the page first.

    Raises
    ------
    InputError
        If a file cannot be written, or Matplotlib is needed and missing.
    """
    if image_format not in get_args(ImageFormat):
        raise InputError(f"the image format is {image_format!r}: give 'svg' or 'png'")
    written = [output]
    with _writing(output):
        output.write_text(page_to_html(page), encoding="utf-8", newline="\n")
    if csv is not None:
        with _writing(folder := Path(csv)):
            folder.mkdir(parents=True, exist_ok=True)
            written += write_tables(page, folder)
    if figures is not None:
        with _writing(folder := Path(figures)):
            folder.mkdir(parents=True, exist_ok=True)
            written += write_figures(tuple(page.pictures()), folder, image_format=image_format)
    return tuple(written)


@contextlib.contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"cannot write to {str(place)!r}: {error.strerror or error}; choose a place that "
            "exists and can be written"
        ) from None
