"""Salvage: the rows of a damaged SQLite file, read page by page without its trees.

Every page is looked at by itself (https://sqlite.org/fileformat2.html, sections 1.6 and 2.1): a
leaf of a table holds whole rows, so what a damaged page led to is found all the same. Which table a
row is from is told by its columns. Nothing that is found is believed before its digest and checksum
have been computed anew, so pages that SQLite has given up do no harm.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolute.store.checksums import (
    RESULT_COLUMNS,
    RUN_COLUMNS,
    document_checksum,
    entry_checksum,
    run_checksum,
    trial_checksum,
)
from evolute.store.contents import Contents, Row
from evolute.store.rows import DAMAGE, FLOATS, row_to_trial
from evolute.store.writing import RETRIED, text_digest

INNER_PAGES = frozenset({0x02, 0x05})
INDEX_LEAF = 0x0A

WAL_HEADER, FRAME_HEADER = 32, 24
USUAL_PAGE_SIZE = 4096

TRIAL_NAMES = ("id", "digest", "rule", "task", "task_version", "protocol_id", "seed",
               "program_version", *RESULT_COLUMNS, "checksum")  # fmt: skip
TABLES: Mapping[str, Sequence[str]] = {
    "trials": TRIAL_NAMES,
    "protocols": ("id", "text", "digest"),
    "runs": ("id", *RUN_COLUMNS, "checksum"),
    "run_entries": ("run_id", "position", "trial_id", "facts", "checksum", "trial",
                    "protocol_id", "outcome", "fitness", "unsettled"),
    "documents": ("run_id", "name", "body", "checksum"),
}  # fmt: skip
"""Columns of each table in the order of the file."""

Value = int | float | str | bytes | None


@dataclass(frozen=True)
class Image:
    """The pages of a file, some of them replaced by later ones.

    Parameters
    ----------
    data
        The whole file.
    size
        Bytes of a page.
    usable
        Bytes of a page that SQLite uses.
    later
        Pages by number that a log beside the file holds.
    """

    data: bytes
    size: int
    usable: int
    later: Mapping[int, bytes] = field(default_factory=dict)

    def page(self, number: int) -> bytes:
        """Return a page, counted from 1; empty past the end."""
        if number in self.later:
            return self.later[number]
        return self.data[(number - 1) * self.size : number * self.size] if number > 0 else b""

    def rows(self) -> Iterator[tuple[int, tuple[Value, ...]]]:
        """Yield number and values of every row on every page, and number 0 with those of indexes.

        A page whose kind is damaged is read as one of rows.
        """
        count = max(-(-len(self.data) // self.size), *self.later, 0)
        for number in range(1, count + 1):
            page, start = self.page(number), 100 if number == 1 else 0
            if len(page) > start + 8 and page[start] not in INNER_PAGES:
                yield from self._rows_of(page, start)

    def _rows_of(self, page: bytes, start: int) -> Iterator[tuple[int, tuple[Value, ...]]]:
        in_index = page[start] == INDEX_LEAF
        (cells,) = struct.unpack_from(">H", page, start + 3)
        for index in range(min(cells, self.size // 2)):
            try:
                (place,) = struct.unpack_from(">H", page, start + 8 + 2 * index)
                length, place = _varint(page, place)
                row_number, place = (0, place) if in_index else _varint(page, place)
                # How much of a row stays on its page: section 1.6 of the file format.
                most = (self.usable - 12) * 64 // 255 - 23 if in_index else self.usable - 35
                yield row_number, _record(self._payload(page, place, length, most))
            except (struct.error, IndexError, ValueError):
                continue  # not a row, or no longer one

    def _payload(self, page: bytes, place: int, length: int, most: int) -> bytes:
        """Return the content of a cell, with what of it overflows to other pages."""
        if length <= most:
            return page[place : place + length]
        least = (self.usable - 12) * 32 // 255 - 23
        local = least + (length - least) % (self.usable - 4)
        local = local if local <= most else least
        content = bytearray(page[place : place + local])
        (following,) = struct.unpack_from(">I", page, place + local)
        while following and len(content) < length:
            overflow = self.page(following)
            (following,) = struct.unpack_from(">I", overflow, 0)
            content += overflow[4 : self.usable]
        if len(content) < length:
            raise ValueError("its overflow pages are lost")
        return bytes(content[:length])


@dataclass
class SalvagedContents(Contents):
    """Rows of all tables that were found in a file and in the log beside it.

    Parameters
    ----------
    path
        A file that may be damaged.
    """

    path: Path

    def __post_init__(self) -> None:
        self._tables: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        seen: set[tuple[str, int, tuple[Value, ...]]] = set()
        self._texts: dict[str, None] = {}
        for image in _images(self.path):
            for number, values in image.rows():
                if number == 0:
                    self._keep_text(values)
                    continue
                table = _table(values)
                if table is None or (table, number, values) in seen:
                    continue
                seen.add((table, number, values))
                row = dict(zip(TABLES[table], values, strict=False))
                if "id" in row:
                    row["id"] = number
                self._tables[table].append(row)
        self._protocols = {
            row["id"]: row["text"]
            for row in self._tables["protocols"]
            if row.get("digest", text_digest(row["text"])) == text_digest(row["text"])
        }

    def _keep_text(self, values: tuple[Value, ...]) -> None:
        """Keep what may be the text of a protocol, which an index repeats: all trials need it."""
        if len(values) == 2 and isinstance(values[0], str) and values[0].startswith("{"):
            self._texts[values[0]] = None

    def trial_rows(self) -> Iterator[Row]:
        rows = self._tables["trials"]
        for found in rows:
            for name in (*FLOATS, "seconds"):
                # SQLite writes a whole number as an integer.
                if isinstance(found[name], int):
                    found[name] = float(found[name])
        for row in _summed(rows, trial_checksum):
            yield {**row, "protocol": self._protocol_of(row)}

    def run_rows(self) -> Iterator[Row]:
        return _summed(self._tables["runs"], run_checksum)

    def entry_rows(self, run_id: int) -> Iterator[Row]:
        rows = [row for row in self._tables["run_entries"] if row["run_id"] == run_id]
        digests = {row["id"]: row["digest"] for row in self._tables["trials"]}
        for row in rows:
            row.setdefault("trial", digests.get(row["trial_id"]))
            row.setdefault("unsettled", any(kind in row["facts"] for kind in RETRIED))
        return _summed(rows, entry_checksum)

    def document_rows(self, run_id: int) -> Iterator[Row]:
        rows = [row for row in self._tables["documents"] if row["run_id"] == run_id]
        return _summed(rows, document_checksum)

    def _protocol_of(self, row: Mapping[str, Any]) -> str:
        """Return the text that the digest of a trial was computed with, whatever its number is."""
        known = self._protocols.get(row["protocol_id"])
        for text in (known, *self._protocols.values(), *self._texts):
            try:
                row_to_trial({**row, "protocol": text})
            except DAMAGE:
                continue
            return str(text)
        return "" if known is None else known


def _summed(rows: Sequence[dict[str, Any]], checksum: Callable[[Row], int]) -> Iterator[Row]:
    """Yield rows with their checksums; those of a store that never had any are given theirs."""
    if not any("checksum" in row for row in rows):
        for row in rows:
            row["checksum"] = checksum(row)
    return (row for row in rows if "checksum" in row)


def _images(path: Path) -> Iterator[Image]:
    """Yield the pages of a file, at first as the log beside it has them."""
    data = path.read_bytes()
    size = int.from_bytes(data[16:18], "big")
    size = 65536 if size == 1 else size
    if size < 512 or size & (size - 1):
        size = USUAL_PAGE_SIZE
    reserved = data[20] if len(data) > 20 and data[20] <= size - 480 else 0
    log = Path(f"{path}-wal")
    later = _frames(log.read_bytes(), size) if log.exists() else {}
    if later:
        yield Image(data, size, size - reserved, later)
    yield Image(data, size, size - reserved)


def _frames(log: bytes, size: int) -> dict[int, bytes]:
    """Return the newest page of each number in a write-ahead log."""
    later: dict[int, bytes] = {}
    step = FRAME_HEADER + size
    for start in range(WAL_HEADER, len(log) - step + 1, step):
        if log[start + 8 : start + 16] != log[16:24]:
            break  # what follows is left over from before the log was begun anew
        number = int.from_bytes(log[start : start + 4], "big")
        later[number] = log[start + FRAME_HEADER : start + step]
    return later


def _table(values: tuple[Value, ...]) -> str | None:
    """Tell which table a row is from, by the number and the kinds of its columns."""
    kinds = "".join(_letter(value) for value in values[:4])
    match len(values), kinds:
        case ((20 | 21), "nttt"):
            return "trials"
        case (2, "nt") | (3, "ntt"):
            return "protocols"
        case ((6 | 7), "nttt"):
            return "runs"
        case ((4 | 10), "iiit"):
            return "run_entries"
        case (3, "itt") | (4, "itti"):
            return "documents"
    return None


def _letter(value: Value) -> str:
    return "n" if value is None else {int: "i", str: "t", float: "f", bytes: "b"}[type(value)]


def _record(payload: bytes) -> tuple[Value, ...]:
    """Decode a record: a header of serial types, then the values."""
    header, place = _varint(payload, 0)
    types = []
    while place < header:
        kind, place = _varint(payload, place)
        types.append(kind)
    values: list[Value] = []
    for kind in types:
        value, place = _value(payload, place, kind)
        values.append(value)
    return tuple(values)


def _value(payload: bytes, place: int, kind: int) -> tuple[Value, int]:
    if kind == 0:
        return None, place
    if kind in {8, 9}:
        return kind - 8, place
    length = {5: 6, 6: 8, 7: 8}.get(kind, kind if kind < 5 else (kind - 12) // 2)
    content = payload[place : place + length]
    if len(content) < length or kind in {10, 11}:
        raise ValueError("a value is cut short")
    if kind < 7:
        return int.from_bytes(content, "big", signed=True), place + length
    if kind == 7:
        (number,) = struct.unpack(">d", content)
        return number, place + length
    return (content if kind % 2 == 0 else content.decode()), place + length


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Read a number of one to nine bytes, seven bits in each but the ninth."""
    value = 0
    for index in range(8):
        byte = data[place + index]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + index + 1
    return value << 8 | data[place + 8], place + 9
