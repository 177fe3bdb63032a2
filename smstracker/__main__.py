"""`python -m smstracker`: migrate, then supervise all processes of the app until Ctrl-C."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection
from contextlib import suppress
from types import FrameType

import click
from flask import Flask
from flask_migrate import upgrade

from config import ROOT, Config, ConfigError, load
from smstracker import create_app
from smstracker.extensions import db
from smstracker.web.health import database_problem

START_SECONDS = 30.0  # until the app must answer
STOP_SECONDS = 15.0  # until a process that does not stop is killed
FIRST_FREE_PORT = 1024  # the ports below are for root
# Ctrl-C, a service manager, a closed terminal.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# make does not pass on that it was killed, so its child watches the parent.
END_WITH_PARENT_OPTION = "--end-with-parent"
PARENT_PID = os.getppid()
SIMULATOR, WEB_SERVER, WORKER = "simulated carrier", "web server", "worker"
COMMANDS = {
    SIMULATOR: ["smstracker.simulator.run"],
    WEB_SERVER: ["gunicorn", "-c", "python:smstracker.server", "wsgi:app"],
    # It waits out temporary failures: its end would stop the web server too.
    WORKER: ["smstracker.command_line", "worker", "--wait"],
}

Process = subprocess.Popen[bytes]


class StopError(Exception):
    """A signal asked this process to end."""


def main() -> int:
    try:
        settings = load()
        _require_port(settings.bind_address, settings.port, "PORT")
        if settings.demo:
            _require_port(settings.bind_address, settings.simulator_port, "SIMULATOR_PORT")
        app = create_app(settings, with_pages=False)
        with app.app_context():
            upgrade()
            db.engine.dispose()
    except (ConfigError, click.ClickException) as error:  # the latter also of migrations/env.py
        sys.stderr.write(f"{error}\n")
        return 2
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, _raise_stop)
    return _supervise(app, settings)


def _require_port(address: str, port: int, setting: str) -> None:
    """Raise ClickException if this machine cannot listen there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            reason = f"Cannot listen on port {port}: check BIND_ADDRESS and {setting}."
            if error.errno == errno.EACCES and port < FIRST_FREE_PORT:
                reason = (
                    f"Only root may listen on port {port}: set {setting} to {FIRST_FREE_PORT} or "
                    "more, and let a proxy pass requests on to it."
                )
            if error.errno == errno.EADDRINUSE:
                reason = f"Port {port} is in use. Stop what uses it, or set {setting}."
            raise click.ClickException(reason) from error


def _raise_stop(_signal: int, _frame: FrameType | None) -> None:
    raise StopError


def _supervise(app: Flask, settings: Config) -> int:
    """Run the processes until one ends, a stop signal or the parent's end; then stop them all."""
    processes: dict[str, Process] = {}
    guard = _start_guard()
    try:
        for name, command in COMMANDS.items():
            if name == SIMULATOR and not settings.demo:
                continue
            processes[name] = _start(command, guard.pid)
            if name == SIMULATOR:
                # The worker queries it at once, and would report that Twilio is unreachable.
                _wait_for_port(settings.simulator_port, processes[name])
        watched = [*processes.values(), guard]
        _announce(settings, watched)
        while _all_run(watched):
            time.sleep(0.5)
        sys.stderr.write(_describe_end(app, processes))
        return 1
    except StopError:
        return 0
    finally:
        _stop_processes(processes.values())
        guard.kill()


def _describe_end(app: Flask, processes: dict[str, Process]) -> str:
    """Say which process ended, why, and what stops with it; empty if all still run."""
    ended = next((name for name in processes if processes[name].poll() is not None), None)
    if ended is None:
        return ""
    other_names = [name for name in processes if name != ended]
    verb = "are" if other_names[1:] else "is"
    with app.app_context():
        problem = database_problem() if ended == WORKER else None
    reason = f"{problem.cause}. {problem.fix[0].upper()}{problem.fix[1:]}" if problem else None
    return (
        f"\nThe {ended} ended: {reason or _end_status(processes[ended].returncode)}. "
        f"The {' and the '.join(other_names)} {verb} stopped with it; "
        "no callback can arrive until you start again.\n"
    )


def _end_status(code: int) -> str:
    if code < 0:
        return f"it was killed by {signal.Signals(-code).name}"
    return f"its exit code is {code}, and its last lines say why"


def _start_guard() -> Process:
    """Start the leader of the process group, which ends the group if this process is killed."""
    return subprocess.Popen(
        [sys.executable, "-I", str(ROOT / "smstracker" / "process_guard.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def _start(command: list[str], group: int) -> Process:
    # In another group than this process, so that Ctrl-C reaches this process alone.
    return subprocess.Popen(
        [sys.executable, "-m", *command], cwd=ROOT, stdin=subprocess.DEVNULL, process_group=group
    )


def _all_run(processes: Collection[Process]) -> bool:
    """Whether all processes run, and the parent too with END_WITH_PARENT_OPTION."""
    is_orphaned = END_WITH_PARENT_OPTION in sys.argv and os.getppid() != PARENT_PID
    return not is_orphaned and all(process.poll() is None for process in processes)


def _wait_until(connect: Callable[[], None], processes: Collection[Process]) -> bool:
    """Wait until `connect` raises no OSError; False if the processes end, or never start."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and _all_run(processes):
        with suppress(OSError):
            connect()
            return True
        time.sleep(0.1)
    return False


def _wait_for_port(port: int, process: Process) -> None:
    address = ("127.0.0.1", port)
    _wait_until(lambda: socket.create_connection(address, timeout=2).close(), [process])


def _announce(settings: Config, processes: Collection[Process]) -> None:
    url = f"http://{settings.listen}/healthz"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    if _wait_until(lambda: opener.open(url, timeout=2).close(), processes):
        mode = " with a simulated carrier: no SMS leaves this machine" if settings.demo else ""
        sys.stdout.write(
            f"\nsmstracker is running{mode}.\n"
            f"Open {settings.public_base_url} in your browser. Ctrl-C ends it.\n\n"
        )
        sys.stdout.flush()


def _stop_processes(processes: Collection[Process]) -> None:
    for stop_signal in STOP_SIGNALS:
        signal.signal(stop_signal, signal.SIG_IGN)
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
