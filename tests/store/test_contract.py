"""The store's contract, over every kind of SQL store."""

from __future__ import annotations

from pathlib import Path

from evolute.store.base import Store
from evolute.store.sql import open_store
from evolute.testing.store_contract import DurableStoreContract, StoreContract


class TestSqliteFile(DurableStoreContract):
    def open(self, folder: Path) -> Store:
        return open_store(folder / "a store 100%?#.sqlite")


class TestSqliteInMemory(StoreContract):
    def open(self, folder: Path) -> Store:
        return open_store(":memory:")
