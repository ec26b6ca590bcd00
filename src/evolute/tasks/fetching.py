"""Fetching a data set: resumed where it was cut off, verified before it is used, unpacked safely.

A file is written as ``NAME.part``, which a later call goes on with, and takes its name only when
its checksum is right. Archives are unpacked by Python's own readers, which leave no entry outside
the folder; nothing in them is run or unpickled.
"""

from __future__ import annotations

import hashlib
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from evolute.errors import TaskError, shorten
from evolute.tasks.downloads import DataSet, Download

CHUNK = 1 << 20
TIMEOUT_SECONDS = 30.0
RECORD = "fetched.txt"
"""File of the data folder that says which downloads are whole, one checksum or address a line."""

Report = Callable[[Download, int], None]
"""report(download, bytes so far): called now and then while a file arrives."""


def fetch(
    data_set: DataSet,
    root: Path,
    *,
    report: Report,
    mirror: str | None = None,
    without_checksum: bool = False,
) -> Path:
    """Get what is missing of a data set and return its folder.

    Parameters
    ----------
    data_set
        What to get.
    root
        The data folder; the data set's own folder is made in it.
    report
        Told how far each file is.
    mirror
        Address of a folder that holds the files, in place of the published ones; ``file:`` too.
    without_checksum
        Whether a file is taken that nobody published a checksum of.

    Raises
    ------
    TaskError
        If an address cannot be reached, a file is not what it should be, or the disk refuses.
    """
    unverified = [row.file for row in data_set.downloads if row.checksum is None]
    if unverified and not without_checksum:
        raise TaskError(
            f"nobody published a checksum of {', '.join(unverified)}, so it cannot be verified: "
            "say --without-checksum to take it as it comes"
        )
    folder = root / data_set.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for row in data_set.downloads:
            if not _is_whole(folder, row):
                url = row.url if mirror is None else f"{mirror.rstrip('/')}/{row.file}"
                _get(row, url, folder, report)
                with (folder / RECORD).open("a", encoding="utf-8") as record:
                    record.write(f"{_mark(row)}\n")
    except OSError as error:
        raise TaskError(
            f"the folder {str(folder)!r} cannot be written ({error.strerror or error}): name "
            "another with --data-dir"
        ) from None
    return folder


def is_fetched(data_set: DataSet, root: Path) -> bool:
    """Whether every file of a data set has been fetched to this data folder."""
    return all(_is_whole(root / data_set.name, row) for row in data_set.downloads)


def _mark(row: Download) -> str:
    return row.checksum or row.url


def _is_whole(folder: Path, row: Download) -> bool:
    record = folder / RECORD
    fetched = record.is_file() and _mark(row) in record.read_text(encoding="utf-8").split()
    return fetched and (row.unpack or (folder / row.file).is_file())


def _get(row: Download, url: str, folder: Path, report: Report) -> None:
    part = folder / f"{row.file}.part"
    if not (part.exists() and row.checksum is not None and _checksum(row, part) == row.checksum):
        _receive(row, url, part, report)
        _verify(row, url, part)
    if row.unpack:
        _unpack(part, folder)
        part.unlink()
    else:
        part.replace(folder / row.file)


def _receive(row: Download, url: str, part: Path, report: Report) -> None:
    """Write the rest of a file behind what an earlier call has left of it."""
    have = part.stat().st_size if part.exists() else 0
    try:
        request = urllib.request.Request(url)
        if have:
            request.add_header("Range", f"bytes={have}-")
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            goes_on = have and getattr(answer, "status", None) == 206
            with part.open("ab" if goes_on else "wb") as file:
                missing = _copy(answer, file, row, report)
    except urllib.error.HTTPError as error:
        error.close()
        raise TaskError(
            f"{url} answers {error.code} ({error.reason}): give the address of a folder that holds "
            f"{row.file} with --mirror"
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, PermissionError | IsADirectoryError) and error.filename == str(part):
            raise
        reason = shorten(str(getattr(error, "reason", error)))
        raise TaskError(
            f"{url} cannot be reached ({reason}): is this machine online? Run the command again to "
            f"go on, put {row.file} into {str(part.parent)!r} yourself, or name a --mirror"
        ) from None
    if missing:
        raise TaskError(f"{url} ended {missing:,} bytes too early: run the command again to go on")


def _copy(answer: Any, file: IO[bytes], row: Download, report: Report) -> int:
    """Write what comes, and return how many of the bytes announced did not."""
    announced = int(answer.headers.get("Content-Length", 0))
    report(row, file.tell())
    received = 0
    while chunk := answer.read(CHUNK):
        file.write(chunk)
        received += len(chunk)
        report(row, file.tell())
    return max(0, announced - received)


def _verify(row: Download, url: str, part: Path) -> None:
    if row.checksum is None or (found := _checksum(row, part)) == row.checksum:
        return
    part.unlink()
    raise TaskError(
        f"what came from {url} is not the published file: its {row.algorithm} is {found}, not "
        f"{row.checksum}; it was removed: try again, or name another --mirror"
    )


def _checksum(row: Download, part: Path) -> str:
    with part.open("rb") as file:
        return hashlib.file_digest(file, row.algorithm or "sha256").hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive, and the archives that it holds (as that of Caltech 101 does)."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(folder)
        else:
            with tarfile.open(archive) as unpacked:
                unpacked.extractall(folder, filter="data")
        for inner in folder.glob("*/*.tar.gz"):
            with tarfile.open(inner) as unpacked:
                unpacked.extractall(inner.parent, filter="data")
            inner.unlink()
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise TaskError(
            f"the archive {archive.name.removesuffix('.part')!r} cannot be unpacked "
            f"({shorten(str(error))}): remove {str(archive)!r} and run the command again"
        ) from None
