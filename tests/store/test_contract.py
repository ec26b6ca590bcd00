"""The store's contract, over every kind of SQL store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evolute.store.base import Store
from evolute.store.sql import open_store
from evolute.testing.lease_contract import LeaseContract
from evolute.testing.store_contract import DurableStoreContract, StoreContract


class TestSqliteFile(DurableStoreContract, LeaseContract):
    def open(self, folder: Path) -> Store:
        return open_store(folder / "a store 100%?#.sqlite")


class TestSqliteInMemory(StoreContract, LeaseContract):
    def open(self, folder: Path) -> Store:
        return open_store(":memory:")


class TestPostgresql(DurableStoreContract, LeaseContract):
    @pytest.fixture(autouse=True)
    def databases(self, new_database: Callable[[], str]) -> None:
        self.new_database = new_database
        self.addresses: dict[Path, str] = {}

    def open(self, folder: Path) -> Store:
        if folder not in self.addresses:
            self.addresses[folder] = self.new_database()
        return open_store(self.addresses[folder])
