"""A real PostgreSQL server, in a process of its own on loopback."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
import pytest
from s3_fixtures import free_port

ACCOUNT = "mri"


def find_programs():
    """The folder of the server's programs, or None: Debian keeps them off the path."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    found = installed[-1] if installed else shutil.which("postgres")
    return Path(found).resolve().parent if found else None


class Server:
    """`url` names its database as a user would. It refuses to run as root, so it runs as Debian's user for it."""

    def __init__(self, address="127.0.0.1"):
        self.programs, self.port, self._address = find_programs(), free_port(), address
        if self.programs is None:
            pytest.skip("there is no PostgreSQL here")
        self._folder = Path(tempfile.mkdtemp(prefix="mrisynth-postgres-"))
        self._data = self._folder / "data"
        self._as = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        if self._as:
            shutil.chown(self._folder, **self._as)
        command = ["initdb", "-D", self._data, "-U", ACCOUNT, "-A", "trust", "-E", "UTF8", "--no-sync"]
        self._run(*command, "--no-instructions")
        with (self._data / "pg_hba.conf").open("a", encoding="utf-8") as access:
            access.write("host all all samenet trust\n")
        self.start()

    @property
    def url(self):
        return f"postgresql://{ACCOUNT}@{self._address}:{self.port}/postgres"

    def new_database(self):
        """An empty database: its URL."""
        name = f"empty_{time.time_ns()}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"create database {name}")
        return self.url.replace("/postgres", f"/{name}")

    def start(self):
        settings = {"listen_addresses": self._address, "unix_socket_directories": self._folder, "port": self.port}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.programs / "postgres", "-D", self._data, *options], stdout=log, stderr=log, cwd="/", **self._as
            )
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=2):
                return
            assert self.process.poll() is None, (self._folder / "log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline, "the server did not start"

    def stop(self, how=signal.SIGINT):
        """Stop it; SIGINT cuts its connections, as a restart by an administrator does."""
        self.process.send_signal(how)
        self.process.wait(30)

    def remove(self):
        with contextlib.suppress(ProcessLookupError):
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program, *arguments):
        subprocess.run([self.programs / program, *arguments], check=True, capture_output=True, cwd="/", **self._as)


@contextlib.contextmanager
def run_postgres(address="127.0.0.1"):
    server = Server(address)
    try:
        yield server
    finally:
        server.remove()
