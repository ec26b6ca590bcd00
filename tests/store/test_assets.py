"""A store of every schema there ever was still opens, and nothing in it is lost."""

from __future__ import annotations

import importlib.util
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from evolute.errors import StoreError
from evolute.store import copies, inspection, migrations, schema
from evolute.store.sql import open_store

ASSETS = Path(__file__).parent / "assets"


def load_expected() -> Any:
    spec = importlib.util.spec_from_file_location("make_asset", ASSETS / "make_asset.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXPECTED = load_expected()


@pytest.fixture(params=schema.REVISIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store as the version of evolute that brought this schema has written it."""
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((ASSETS / f"schema-{request.param}.sql").read_text("utf-8"))
        connection.execute("PRAGMA journal_mode = WAL")
    return path


def test_a_store_of_every_schema_opens_with_all_it_holds(old: Path) -> None:
    revision = inspection.revision_of(old) or ""
    with open_store(old) as store:
        assert store.runs() == (EXPECTED.RUN,)
        run = EXPECTED.RUN.digest
        assert store.run_entries(run) == tuple(EXPECTED.entries())
        assert [held.trial for held in store.trials(order="stored")] == EXPECTED.trials()
        assert store.document(run, "verdict") == {"sentence": "kept"}
        assert store.unsettled(run)
        assert store.checkpoint(run) == (EXPECTED.CHECKPOINT if revision >= "0003" else None)
        assert list(store.results(run).trials) == [entry.trial for entry in EXPECTED.entries()]
    assert inspection.find_faults(old) == []
    assert inspection.revision_of(old) == schema.REVISIONS[-1]
    copy = Path(f"{old}.schema-{revision}")
    assert copy.exists() == (revision != schema.REVISIONS[-1])
    if copy.exists():
        assert inspection.revision_of(copy) == revision


def test_a_store_of_every_schema_can_be_repaired(old: Path, tmp_path: Path) -> None:
    before = old.read_bytes()
    report = copies.repair(old, tmp_path / "new.sqlite")
    assert old.read_bytes() == before
    assert report.damaged == []
    with open_store(tmp_path / "new.sqlite") as store:
        held = [stored.trial for stored in store.trials()]
        assert sorted(held, key=lambda trial: trial.key.seed) == EXPECTED.trials()
        assert store.run_entries(EXPECTED.RUN.digest) == tuple(EXPECTED.entries())
        assert store.unsettled(EXPECTED.RUN.digest)


def test_an_update_that_fails_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((ASSETS / "schema-0001.sql").read_text("utf-8"))
    whole = migrations.migrate

    def interrupted(connection: Any) -> None:
        whole(connection)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "migrate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_store(path)
    assert inspection.revision_of(path) == "0001"
    with pytest.raises(StoreError, match="evolute store migrate"):
        open_store(path, read_only=True)
    with open_store(path) as store:
        assert len(store.trials()) == len(EXPECTED.trials())
