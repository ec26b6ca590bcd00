"""The readers of strangers' data: how each is fed bytes, and what it may raise.

A reader takes any bytes and either returns or raises one of its errors: one line for a person.
Anything else that it raises is a defect.
"""

from __future__ import annotations

import json
import pickle
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from evolute import zoo
from evolute.errors import EvoluteError
from evolute.lang.published_log import parse_published
from evolute.lang.rule import Rule
from evolute.presets import PRESETS, resolve
from evolute.runs.checkpoint import SETTLED, STATE, Checkpoint, from_columns, to_columns
from evolute.runs.progress import KEPT_FIGURES
from evolute.runs.settled import Settled
from evolute.search.base import Result, Search
from evolute.search.regularized_evolution import EvolutionConfig, regularized_evolution
from evolute.search.state import MALFORMED
from evolute.settings import read_toml
from evolute.store.inspection import find_faults
from evolute.store.salvage import SalvagedContents
from evolute.store.sql import open_store
from evolute.tasks.cifar_python import read_python_batch
from evolute.testing.store_examples import RUN, example_entry, example_trial, without_time
from evolute.train.protocol import PROTOCOLS, Protocol
from evolute.trial import OutcomeKind
from evolute.zoo.entry import read_entry

ENTRIES = Path(zoo.__file__).parent / "entries"


@dataclass(frozen=True)
class Reader:
    """One way in.

    Parameters
    ----------
    read
        Takes any bytes.
    examples
        Valid inputs, from which a fuzzer starts.
    words
        Pieces of its language.
    """

    read: Callable[[bytes], object]
    examples: tuple[bytes, ...]
    words: tuple[bytes, ...]


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="surrogateescape")


def _rule(data: bytes) -> None:
    rule = Rule.parse(_text(data))
    assert Rule.parse(str(rule)) == rule
    str(rule.canonical())


def _published(data: bytes) -> None:
    parse_published(_text(data))


def _rule_json(data: bytes) -> None:
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError):  # the standard library's own refusals
        return
    rule = Rule.from_json(plain)
    assert Rule.from_json(json.loads(json.dumps(rule.to_json()))) == rule


def _protocol(data: bytes) -> None:
    protocol = Protocol.from_json(_text(data))
    assert Protocol.from_json(protocol.to_json()) == protocol


def _settings(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "search.toml"
        path.write_bytes(data)
        plain = read_toml(path)
    resolve("quick", {"task": "digits"}, plain)


def _zoo_entry(data: bytes) -> None:
    try:
        plain = tomllib.loads(_text(data))
    except (tomllib.TOMLDecodeError, RecursionError):
        return
    read_entry("stranger", plain)


PLACE, CHANGE = 3, 4
"""Bytes of a place in a file, and of a change to it: the place, and what flips there."""

TRIALS = tuple(example_trial(number, fitness=number / 8) for number in range(6))
"""What the store holds that is damaged."""


@cache
def _sound_store() -> bytes:
    """Return the file of a small store."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store.sqlite")
        with open_store(path) as store:
            store.put_many(TRIALS)
            store.open_run(RUN)
            store.record_many(RUN.digest, [example_entry(n, each) for n, each in enumerate(TRIALS)])
            store.put_document(RUN.digest, "verdict", {"sentence": "kept"})
        return path.read_bytes()


def damaged_store(data: bytes) -> bytes:
    """Return a store's file cut short, and with bytes flipped, where the data says."""
    content = bytearray(_sound_store())
    cut = int.from_bytes(data[:PLACE], "little")
    for start in range(PLACE, len(data) - CHANGE + 1, CHANGE):
        place = int.from_bytes(data[start : start + PLACE], "little") % len(content)
        content[place] ^= data[start + PLACE]
    return bytes(content[: len(content) - cut % len(content)])


def _store(data: bytes) -> None:
    """Check a damaged store, salvage it and open it: what is believed is what was written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store.sqlite")
        path.write_bytes(damaged_store(data))
        contents = SalvagedContents(path)
        assert all(without_time(trial) in TRIALS for trial in contents.trials())
        for number, _ in contents.runs():
            assert all(entry.facts for entry, _ in contents.entries(number))
            assert all(document.content for document in contents.documents(number))
        assert all("\n" not in fault for fault in (*find_faults(path), *contents.damaged))
        with open_store(path, read_only=True) as store:
            store.run_entries(RUN.digest)
            assert all(without_time(held.trial) in TRIALS for held in store.trials())


RUN_DIGEST = "ab" * 32
"""Digest of the run whose checkpoint is read."""


def _new_search() -> Search:
    config = EvolutionConfig(candidates=6, population=3, sample=2, batch=2)
    return regularized_evolution(config, seed=1)


@cache
def _checkpoints() -> tuple[bytes, ...]:
    """Return the plain parts of checkpoints, at the beginning of a search and further on."""
    search = _new_search()
    found = []
    for _ in range(3):
        proposals = search.ask()
        with open_store(":memory:") as store:
            checkpoint = Checkpoint(
                search,
                Settled(store),
                progress=dict.fromkeys(KEPT_FIGURES[:-2], 0)
                | {"best_rule": "none: g", "best_fitness": 0.5},
                failures={OutcomeKind.DIVERGED: (1, "diverged")},
                seconds=1.5,
                pending=[[[each.to_dict(), each.rule.to_json(), None] for each in proposals]],
                told_early=[],
                asked=search.proposed,
                entries=0,
            )
            found.append((to_columns(checkpoint, None, run=RUN_DIGEST) or {})[STATE])
        for each in proposals:
            search.tell(each.number, Result(OutcomeKind.FINISHED, each.number / 8))
    return tuple(found)


def _checkpoint(data: bytes) -> None:
    """Read a checkpoint of which a stranger wrote the plain part; what is read can be kept."""
    unread: Any = None  # the store, of which nothing is read before trials are wanted
    try:
        found = from_columns(
            {STATE: data, SETTLED: b""}, _new_search(), store=unread, run=RUN_DIGEST, twins=None
        )
    except MALFORMED:  # upon which the run asks its search anew
        return
    assert found.search.state() is not None
    assert found.progress.keys() == set(KEPT_FIGURES)


def _pickled(count: int, protocol: int) -> bytes:
    """Return a file of CIFAR as Python writes it."""
    data = np.zeros((count, 3072), np.uint8)
    return pickle.dumps({"data": data, "labels": list(range(count))}, protocol)


def _cifar(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data_batch_1")
        path.write_bytes(data)
        images, labels = read_python_batch(path, "labels")
    assert images.shape[1:] == (3, 32, 32)
    assert labels.ndim == 1


_RULES = (
    b"nesterov: bessel_i1e(arctan([a13*a2]*g))",
    b"v/sqrt(s)",
    b"momentum: [a1]*sign(g)+0.5*w",
)
_WORDS = (
    b"(", b")", b"[", b"]*", b",", b"+", b"-", b"*", b"/", b"**", b"none:", b"nesterov: ", b"a13",
    b"ema(g, 0.9)", b"1e999", b"0x1", b"lambda", b"__import__", b"\x00", b"\xff", b"v", b"sqrt(",
)  # fmt: skip


def _as_bytes(*texts: str) -> tuple[bytes, ...]:
    return tuple(text.encode() for text in texts)


READERS: dict[str, Reader] = {
    "rule": Reader(_rule, _RULES, _WORDS),
    "published": Reader(
        _published,
        _as_bytes(
            "None ~ tanh(g)/(1+|tanh(g)|)",
            "Mom ~ ([1/(1+exp(-a3)][v hat])+(g/(1+|g|))",
            "Nest ~ (v hat)+(arcsinh(mean(beta*s-g^2)))",
        ),
        (
            b"None ~ ",
            b"Mom ~ ",
            b"Nest ~ ",
            b"v hat",
            b"|",
            b"arcsinh(",
            b"^2",
            b"(1+",
            *_WORDS[:9],
        ),
    ),
    "rule-json": Reader(
        _rule_json,
        _as_bytes(*(json.dumps(Rule.parse(text.decode()).to_json()) for text in _RULES)),
        (b"null", b"true", b"1e400", b"{", b"}", b'"sign"', b'"schedule"', b"-1", *_WORDS[:9]),
    ),
    "protocol": Reader(
        _protocol,
        _as_bytes(*(stages.main.to_json() for stages in PROTOCOLS.values())),
        (b"null", b"NaN", b"1e400", b"-1", b"{}", b"[]", b'"probe"', b'"fitness"', b"true"),
    ),
    "settings": Reader(
        _settings,
        _as_bytes(*(resolve(name, {"task": "digits"}).to_toml() for name in PRESETS)),
        (
            b"[main]\n",
            b"nan",
            b"inf",
            b"-1",
            b"= {}",
            b"[[search]]\n",
            b'"""',
            b"1979-05-27",
            b"\r",
        ),
    ),
    "zoo-entry": Reader(
        _zoo_entry,
        tuple(path.read_bytes() for path in sorted(ENTRIES.glob("a*.toml"))),
        (b"rule = ", b"[origin]\n", b"[[evidence]]\n", b"nan", b"= []", b"'g'", b"1979-05-27"),
    ),
    "store": Reader(
        _store,
        (bytes(PLACE), bytes(PLACE + 5 * CHANGE)),
        (b"\x00\x10\x00\x01", b"\x00\x00\x00\x80", b"\x12\x00\x00\xff", b"\x1c\x00\x00\x01"),
    ),
    "checkpoint": Reader(
        _checkpoint,
        _checkpoints(),
        (b"null", b"NaN", b"1e400", b"-1", b"{}", b"[]", b'"x"', b"true", b'"scored"', b"[[]]"),
    ),
    "cifar-python": Reader(
        _cifar,
        (_pickled(1, 3), _pickled(2, 3)),
        (
            b"}q",
            b"]q",
            b"(",
            b"e.",
            b"u.",
            b"R",
            b"b",
            b"K\x01",
            b"h\x00",
            b"cos\nsystem\n",
            b"X\x04\x00\x00\x00data",
            b"\x85",
            b"\x87",
            b"\x94",
            b"M\x00\x0c",
            b"N",
            b"a",
            b"s",
        ),
    ),
}
"""The readers by name."""

ALLOWED: tuple[type[Exception], ...] = (EvoluteError,)
"""What a reader may raise."""
