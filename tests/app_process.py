"""`python -m smstracker`, or another command, as a process."""

import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from config import ROOT
from tests.live_settings import bare_environment
from tests.serving import free_port

START_SECONDS = 90.0


class AppProcess:
    """`python -m smstracker` with settings for its ports and database only."""

    def __init__(self, folder: Path, *command: str, **changed: str) -> None:
        self.port = free_port()
        env = bare_environment(
            PORT=str(self.port),
            SIMULATOR_PORT=str(free_port()),
            DATABASE_URL=f"sqlite:///{folder / 'run.sqlite'}",
        )
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            command or [sys.executable, "-m", "smstracker"],
            cwd=ROOT,
            env=env | changed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.printed = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.printed += line

    def wait_for(self, pattern: str) -> re.Match[str]:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if match := re.search(pattern, self.printed):
                return match
            if self._process.poll() is not None:
                break
            threading.Event().wait(0.05)
        raise AssertionError(f"never printed {pattern}:\n{self.printed}")

    def processes(self) -> list[psutil.Process]:
        """The process and all its descendants."""
        process = psutil.Process(self._process.pid)
        return [process, *process.children(recursive=True)]

    def end(self, ending_signal: signal.Signals = signal.SIGINT) -> int:
        self._process.send_signal(ending_signal)
        return self.wait()

    def wait(self) -> int:
        code = self._process.wait(START_SECONDS)
        self._reader.join()
        assert self._process.stdout
        self._process.stdout.close()
        return code

    def kill(self) -> None:
        if self._process.poll() is None:
            self.end(signal.SIGTERM)
