"""A real PostgreSQL for the tests of stores, started once for each test process."""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Callable, Iterator

import pytest

from evolute.store.sql import open_store
from evolute.testing.postgresql_server import PostgresqlServer, find_programs, postgresql_server

TEMPLATE = "evolute_template"


def require(*, available: bool, reason: str) -> None:
    """Skip with the reason; on the machine where every test runs, fail."""
    if available:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{reason}: .ci/run installs it")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def server() -> Iterator[PostgresqlServer]:
    programs = find_programs()
    require(available=programs is not None, reason="PostgreSQL is not installed")
    assert programs is not None
    driver = importlib.util.find_spec("psycopg") is not None
    require(available=driver, reason="psycopg is not installed")
    with postgresql_server(programs) as running:
        open_store(running.create(TEMPLATE)).close()
        yield running


@pytest.fixture
def new_database(server: PostgresqlServer) -> Callable[[], str]:
    """Return a function that makes an empty store and returns its address."""
    return lambda: server.create(f"store{next(NUMBERS)}", template=TEMPLATE)


NUMBERS = itertools.count()
