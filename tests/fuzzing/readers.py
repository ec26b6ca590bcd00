"""The readers of strangers' data: how each is fed bytes, and what it may raise.

A reader takes any bytes and either returns or raises one of its errors: one line for a person.
Anything else that it raises is a defect.
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from evolute import zoo
from evolute.errors import EvoluteError
from evolute.lang.published_log import parse_published
from evolute.lang.rule import Rule
from evolute.presets import PRESETS, resolve
from evolute.settings import read_toml
from evolute.store.inspection import find_faults
from evolute.store.salvage import SalvagedContents
from evolute.store.sql import open_store
from evolute.testing.store_examples import RUN, example_entry, example_trial, without_time
from evolute.train.protocol import PROTOCOLS, Protocol
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
}
"""The readers by name."""

ALLOWED: tuple[type[Exception], ...] = (EvoluteError,)
"""What a reader may raise."""
