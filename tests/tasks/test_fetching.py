"""Fetching data sets: whole, verified, resumed, and one line for whatever goes wrong."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from evolute.errors import TaskError
from evolute.tasks.downloads import DATA_SETS, DataSet, Download
from evolute.tasks.fetching import fetch, is_fetched

CONTENT = bytes(range(256)) * 40


class Server(http.server.ThreadingHTTPServer):
    """Serves its files to this machine; may hang up early, and goes on where it is asked to."""

    files: dict[str, bytes]
    cut_after: int | None = None
    ranges: list[str | None]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        content = self.server.files.get(self.path.rpartition("/")[2])
        if content is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = len(content) if self.server.cut_after is None else start + self.server.cut_after
        self.wfile.write(content[start:end])

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    serving = Server(("127.0.0.1", 0), Handler)
    serving.files, serving.ranges = {"file.bin": CONTENT}, []
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield serving
    serving.shutdown()
    serving.server_close()
    thread.join()


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def row(content: bytes = CONTENT, *, name: str = "file.bin", unpack: bool = False) -> Download:
    checksum = hashlib.sha256(content).hexdigest()
    return Download(f"https://example.invalid/{name}", len(content), "sha256", checksum, unpack)


def data_set(*rows: Download) -> DataSet:
    return DataSet("small", "A small set", "none", rows)


def ignore(download: Download, so_far: int) -> None: ...


def refused(root: Path, rows: Download, mirror: str, **options: bool) -> str:
    with pytest.raises(TaskError) as caught:
        fetch(data_set(rows), root, report=ignore, mirror=mirror, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_arrives_whole_and_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    told: list[int] = []
    small = data_set(row())
    for _ in range(2):
        folder = fetch(
            small, tmp_path, report=lambda _, count: told.append(count), mirror=address(server)
        )
    assert (folder / "file.bin").read_bytes() == CONTENT
    assert len(server.ranges) == 1
    assert told == sorted(told)
    assert told[-1] == len(CONTENT)
    assert is_fetched(small, tmp_path)
    (folder / "file.bin").unlink()
    assert not is_fetched(small, tmp_path)


def test_what_was_cut_off_goes_on_where_it_ended(server: Server, tmp_path: Path) -> None:
    server.cut_after = 4000
    assert "6,240 bytes too early: run the command again" in refused(
        tmp_path, row(), address(server)
    )
    assert not is_fetched(data_set(row()), tmp_path)
    server.cut_after = None
    folder = fetch(data_set(row()), tmp_path, report=ignore, mirror=address(server))
    assert server.ranges == [None, "bytes=4000-"]
    assert (folder / "file.bin").read_bytes() == CONTENT
    assert not (folder / "file.bin.part").exists()


def test_a_file_whose_checksum_is_wrong_is_removed_and_never_used(
    server: Server, tmp_path: Path
) -> None:
    server.files["file.bin"] = CONTENT[:-1] + b"?"
    assert "is not the published file: its sha256 is" in refused(tmp_path, row(), address(server))
    assert list((tmp_path / "small").iterdir()) == []


def test_without_a_published_checksum_a_file_is_taken_on_demand_alone(
    server: Server, tmp_path: Path
) -> None:
    unknown = replace(row(), algorithm=None, checksum=None)
    assert "say --without-checksum" in refused(tmp_path, unknown, address(server))
    assert server.ranges == []
    folder = fetch(
        data_set(unknown), tmp_path, report=ignore, mirror=address(server), without_checksum=True
    )
    assert (folder / "file.bin").read_bytes() == CONTENT


def test_a_machine_that_is_offline_is_told_what_to_do(tmp_path: Path) -> None:
    said = refused(tmp_path, row(), "http://127.0.0.1:1")
    assert "cannot be reached (" in said
    assert "is this machine online?" in said
    assert "answers 404" not in said


def test_a_file_that_is_not_at_its_address_says_so(server: Server, tmp_path: Path) -> None:
    said = refused(tmp_path, row(name="other.bin"), address(server))
    assert "answers 404" in said
    assert "--mirror" in said


@pytest.mark.parametrize("mirror", ["no address", "gopher://127.0.0.1", "file:///nowhere/at/all"])
def test_an_address_that_is_none_is_one_line(mirror: str, tmp_path: Path) -> None:
    assert "cannot be reached" in refused(tmp_path, row(), mirror)


def archive(kind: str, name: str) -> bytes:
    written = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(written, "w") as packed:
            packed.writestr(name, CONTENT)
    else:
        with tarfile.open(fileobj=written, mode="w:gz") as tarred:
            entry = tarfile.TarInfo(name)
            entry.size = len(CONTENT)
            tarred.addfile(entry, io.BytesIO(CONTENT))
    return written.getvalue()


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_is_unpacked_from_a_folder_named_as_a_file_address(
    kind: str, tmp_path: Path
) -> None:
    packed = archive(kind, "inside/file.bin")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / f"set.{kind}").write_bytes(packed)
    small = data_set(row(packed, name=f"set.{kind}", unpack=True))
    folder = fetch(small, tmp_path / "data", report=ignore, mirror=mirror.as_uri())
    assert (folder / "inside" / "file.bin").read_bytes() == CONTENT
    assert not list(folder.glob("*.part"))
    assert is_fetched(small, tmp_path / "data")


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_no_entry_of_an_archive_lands_outside_its_folder(kind: str, tmp_path: Path) -> None:
    packed = archive(kind, "../../outside.bin")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "set").write_bytes(packed)
    small = data_set(row(packed, name="set", unpack=True))
    # A zip's entry loses what leads outside; a tar's is refused.
    with pytest.raises(TaskError, match="cannot be unpacked") if kind != "zip" else nullcontext():
        fetch(small, tmp_path / "data", report=ignore, mirror=mirror.as_uri())
    assert not list(tmp_path.glob("outside.bin"))
    assert not list(tmp_path.glob("data/outside.bin"))


def test_an_archive_that_is_none_is_one_line(server: Server, tmp_path: Path) -> None:
    said = refused(tmp_path, row(unpack=True), address(server))
    assert "cannot be unpacked" in said


def test_a_folder_that_cannot_be_written_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    said = refused(tmp_path / "file", row(), address(server))
    assert "cannot be written" in said
    assert "--data-dir" in said


def test_every_row_has_an_address_and_a_checksum_of_its_kind() -> None:
    lengths = {"md5": 32, "sha256": 64}
    for each in DATA_SETS.values():
        for download in each.downloads:
            assert download.url.startswith(("https://", "http://"))
            assert download.algorithm is not None
            assert download.checksum is not None
            assert len(download.checksum) == lengths[download.algorithm]
            assert int(download.checksum, 16) > 0
