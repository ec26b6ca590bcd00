"""Keeping: how each kind of long work reads its config, and keeps its result in the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evolute.errors import ConfigError, did_you_mean
from evolute.leaderboard import RunKind
from evolute.store.base import RunRecord, Store
from evolute.trial import PROGRAM_VERSION, canonical_json


def require_keys(data: Mapping[str, Any], allowed: Sequence[str]) -> None:
    """Refuse a config with a key that is not allowed.

    Raises
    ------
    ConfigError
        If there is one; it says the nearest allowed one.
    """
    for key in data:
        if key not in allowed:
            raise ConfigError(f"unknown config key {key!r}: {did_you_mean(key, allowed)}")


def keep_result(
    store: Store,
    kind: RunKind,
    *,
    digest: str,
    name: str,
    config: Mapping[str, Any],
    result: Mapping[str, Any],
) -> None:
    """Keep a result in the store as a run of its own kind with a document of that name.

    Parameters
    ----------
    store
        The store.
    kind
        The kind; see :func:`evolute.leaderboard.find_run`, which finds it again.
    digest, name
        Of the run.
    config
        What was asked for, as plain data.
    result
        All that was found, as plain data.
    """
    text = canonical_json({"kind": kind, **config})
    store.open_run(RunRecord(digest, name, text, PROGRAM_VERSION))
    store.put_document(digest, kind, result)
