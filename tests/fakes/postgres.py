"""A real PostgreSQL with a data directory of its own, on a free port, as a user that is not root.

Where it is not installed, and in CI, what needs it is skipped with a message: the one skip that this project allows.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

START = 60.0
UNPRIVILEGED = "nobody"
"""Who runs it where the tests are root's: PostgreSQL refuses to."""


def installed() -> Path | None:
    """The folder of its programs."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: int(one.parent.name), default=None)


class Postgres:
    """One server, stopped and started as a test likes."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="penpg"))
        self._data = self._folder / "data"
        self._user = UNPRIVILEGED if os.geteuid() == 0 else None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self._names = count(1)
        self._log = self._folder / "log"
        if self._user:
            shutil.chown(self._folder, self._user)
        subprocess.run(
            [str(programs / "initdb"), "-D", str(self._data), "-U", "penstock", "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True, user=self._user, cwd=self._folder, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def start(self) -> None:
        """Up, and answering."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",  # of what survives a power cut no test speaks
            "max_connections": "100",
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self._port)]
                + [part for name, value in settings.items() for part in ("-c", f"{name}={value}")],
                user=self._user, cwd=self._folder, stdout=log, stderr=log,
            )  # fmt: skip
        last = time.monotonic() + START
        while True:
            try:
                self._order("postgres", "SELECT 1")
            except SQLAlchemyError:
                if self._process.poll() is not None or time.monotonic() > last:
                    raise AssertionError(f"PostgreSQL did not start:\n{self._log.read_text()[-4000:]}") from None
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Down at once, as with `pg_ctl stop -m fast`: whoever is connected is thrown out."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def standing_still(self) -> Iterator[None]:
        """Connected, and answering nothing: the postmaster and all that serve a connection are stopped."""
        if self._process is None:
            raise AssertionError("PostgreSQL is not running")
        pids = [self._process.pid, *_children(self._process.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"state{next(self._names)}"
        self._order("postgres", f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name: str) -> str:
        return f"postgresql://penstock@127.0.0.1:{self._port}/{name}"

    def _order(self, database: str, statement: str) -> None:
        url = self.url(database).replace("postgresql://", "postgresql+pg8000://")
        engine = create_engine(url, isolation_level="AUTOCOMMIT", connect_args={"timeout": 10})
        try:
            with engine.connect() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()

    def close(self) -> None:
        """Gone, with everything it kept."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running server for all tests of this process; each takes a database of its own."""
    programs = installed()
    if programs is None or "CI" in os.environ:
        pytest.skip("PostgreSQL is not installed here (Debian: apt-get install postgresql), or this is CI")
    server = Postgres(programs)
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty state, in both kinds of database one after the other."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.database()
