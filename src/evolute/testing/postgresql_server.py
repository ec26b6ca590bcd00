"""A PostgreSQL server of one's own for tests and measurements: on loopback, in a temporary folder.

It runs the programs that the operating system's package brought, as an ordinary user, because they
refuse to run as the superuser.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

PLACES = ("/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew/opt")
ORDINARY_USERS = ("postgres", "nobody")
SECONDS_TO_START = 60

SETTINGS = {
    "fsync": "off",  # the machine outlives the tests; measurements turn it on
    "max_connections": "50",
    "shared_buffers": "128MB",
    "max_wal_size": "4GB",
}


def find_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, the newest version; None if there is none."""
    on_path = shutil.which("initdb")
    found = [path for place in PLACES for path in Path(place).glob("*/bin/initdb")]
    if not found and on_path is not None:
        return Path(on_path).resolve().parent
    newest = max(found, key=lambda path: _version(path.parent.parent.name), default=None)
    return None if newest is None else newest.parent


class PostgresqlServer:
    """A running server; made by :func:`postgresql_server`.

    Parameters
    ----------
    programs
        Folder of PostgreSQL's programs.
    folder
        Folder that the server may use.
    settings
        Lines of its configuration.
    """

    def __init__(self, programs: Path, folder: Path, settings: dict[str, str]) -> None:
        self._programs = programs
        self._folder = folder
        self._user = _ordinary_user()
        self._port = _free_port()
        self.password = f"password-{secrets.token_hex(8)}"
        if self._user is not None:
            os.chown(folder, pwd.getpwnam(self._user).pw_uid, -1)
        file = folder / "password"
        file.write_text(self.password, encoding="ascii")
        file.chmod(0o644)
        self._run("initdb", "-D", self._data, "-U", "tester", "-E", "UTF8", "--no-sync",
                  "--auth=scram-sha-256", f"--pwfile={file}", "--locale=C.UTF-8")  # fmt: skip
        lines = {"port": str(self._port), "listen_addresses": "'127.0.0.1'",
                 "unix_socket_directories": f"'{folder}'"} | settings  # fmt: skip
        with (folder / "data" / "postgresql.conf").open("a", encoding="utf-8") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in lines.items())
        self.start()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def address(self, database: str) -> str:
        """Return the address of a store in a database of this server."""
        return f"postgresql+psycopg://tester:{self.password}@127.0.0.1:{self._port}/{database}"

    def create(self, database: str, *, template: str = "template1") -> str:
        """Make a database, empty or as another is; return the address of a store there."""
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self._port), "-U", "tester",
                  "-T", template, database)  # fmt: skip
        return self.address(database)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        self._run("pg_ctl", "start", "-D", self._data, "-w", "-t", str(SECONDS_TO_START),
                  "-l", str(self._folder / "log"))  # fmt: skip

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server: ``immediate`` is as if it were killed, ``fast`` ends transactions."""
        self._run("pg_ctl", "stop", "-D", self._data, "-w", "-m", mode)

    def _run(self, program: str, *arguments: str) -> None:
        environment = os.environ | {"PGPASSWORD": self.password, "LC_ALL": "C.UTF-8"}
        ran = subprocess.run(
            [self._programs / program, *arguments],
            check=False,
            user=self._user,
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            # The server keeps what it inherits: a pipe would be waited for until it ends.
            stdout=subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE,
            stderr=subprocess.DEVNULL if program == "pg_ctl" else subprocess.STDOUT,
            text=True,
        )
        if ran.returncode != 0:
            raise RuntimeError(f"{program} ended with status {ran.returncode}: {ran.stdout}")


@contextlib.contextmanager
def postgresql_server(programs: Path, **settings: str) -> Iterator[PostgresqlServer]:
    """Run a server until the block ends; settings are added to its configuration."""
    folder = Path(tempfile.mkdtemp(prefix="evolute-postgresql-"))
    try:
        server = PostgresqlServer(programs, folder, SETTINGS | settings)
        try:
            yield server
        finally:
            with contextlib.suppress(RuntimeError):  # a test may have left it stopped
                server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _version(name: str) -> float:
    try:
        return float(name.rpartition("@")[2])
    except ValueError:
        return 0.0


def _ordinary_user() -> str | None:
    """Return the user to run as, None for the present one."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ORDINARY_USERS if name in known), None)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
