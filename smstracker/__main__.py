"""`python -m smstracker`: migrate, then run every process that the app needs until Ctrl-C."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Collection
from types import FrameType

import click
from flask import Flask
from flask_migrate import upgrade

from config import ROOT, Config, ConfigError, load
from smstracker import create_app
from smstracker.extensions import db
from smstracker.web.health import database_problem

STARTING = 30.0  # seconds until the app has to answer
STOPPING = 15.0  # seconds until a process that does not stop is killed
# Ctrl-C, a service manager, a terminal that is closed.
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# make does not pass on that it was killed, so its child has to look.
END_WITH_PARENT = "--end-with-parent"
PARENT = os.getppid()
SIMULATOR, WEB_SERVER, WORKER = "simulated carrier", "web server", "worker"
COMMANDS = {
    SIMULATOR: ["smstracker.simulator"],
    WEB_SERVER: ["gunicorn", "-c", "python:smstracker.server", "wsgi:app"],
    # It may not end for what passes: the web server would be stopped with it.
    WORKER: ["smstracker.command_line", "worker", "--wait"],
}

Processes = dict[str, "subprocess.Popen[bytes]"]


class StopError(Exception):
    """Somebody asked this process to end."""


def main() -> int:
    try:
        settings = load()
    except ConfigError as error:
        return _refuse(str(error))
    for name, port in _ports(settings).items():
        problem = _cannot_listen(settings.bind_address, port)
        if problem == errno.EADDRINUSE:
            return _refuse(f"Port {port} is in use. Stop what uses it, or set {name}.")
        if problem:
            return _refuse(f"Cannot listen on port {port}: check BIND_ADDRESS and {name}.")
    try:
        app = create_app(settings)
        with app.app_context():
            upgrade()
            db.engine.dispose()
    except ConfigError as error:
        return _refuse(str(error))
    except click.ClickException as error:  # of migrations/env.py
        return _refuse(error.message)
    for asked_to_end in ENDING:
        signal.signal(asked_to_end, _stop)
    return _supervise(app, settings)


def _refuse(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 2


def _ports(settings: Config) -> dict[str, int]:
    simulator = {"SIMULATOR_PORT": settings.simulator_port} if settings.demo else {}
    return {"PORT": settings.port, **simulator}


def _cannot_listen(address: str, port: int) -> int | None:
    """The number of the error that keeps this machine from listening there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            return error.errno or errno.EINVAL
    return None


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise StopError


def _supervise(app: Flask, settings: Config) -> int:
    """Run the processes; when one ends, or on Ctrl-C, or without a parent, end them all."""
    processes: Processes = {}
    guard = _start_guard()
    try:
        for name, command in COMMANDS.items():
            if name == SIMULATOR and not settings.demo:
                continue
            processes[name] = _start(command, guard.pid)
            if name == SIMULATOR:
                # The worker asks it at once, and would say that Twilio cannot be reached.
                _wait_for_port(settings.simulator_port, processes[name])
        goes_on = _watch([*processes.values(), guard])
        _announce(settings, goes_on)
        while goes_on():
            time.sleep(0.5)
        sys.stderr.write(_obituary(app, processes))
        return 1
    except StopError:
        return 0
    finally:
        _end(processes.values())
        guard.kill()


def _obituary(app: Flask, processes: Processes) -> str:
    """Which process ended and why, and what is stopped with it; nothing if all still run."""
    ended = next((name for name in processes if processes[name].poll() is not None), None)
    if ended is None:
        return ""
    others = [name for name in processes if name != ended]
    are = "are" if others[1:] else "is"
    with app.app_context():
        problem = database_problem() if ended == WORKER else None
    why = f"{problem.cause}. {problem.fix[0].upper()}{problem.fix[1:]}" if problem else None
    return (
        f"\nThe {ended} ended: {why or _end_status(processes[ended].returncode)}. "
        f"The {' and the '.join(others)} {are} stopped with it; "
        "callbacks are refused until you start again.\n"
    )


def _end_status(code: int) -> str:
    if code < 0:
        return f"it was killed by {signal.Signals(-code).name}"
    return f"its exit code is {code}, and its last lines say why"


def _start_guard() -> subprocess.Popen[bytes]:
    """The leader of the group of all processes; it ends them if this process is killed."""
    return subprocess.Popen(
        [sys.executable, "-I", str(ROOT / "smstracker" / "process_guard.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )


def _start(command: list[str], group: int) -> subprocess.Popen[bytes]:
    # Not in the group of this process, so that Ctrl-C reaches this process alone.
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        process_group=group,
    )


def _watch(processes: list[subprocess.Popen[bytes]]) -> Callable[[], bool]:
    """Whether all of them run, and whoever asked to be followed by this process still lives."""

    def goes_on() -> bool:
        is_alone = END_WITH_PARENT in sys.argv and os.getppid() != PARENT
        return not is_alone and all(process.poll() is None for process in processes)

    return goes_on


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=2).close()
        except OSError:
            time.sleep(0.05)
            continue
        return


def _announce(settings: Config, goes_on: Callable[[], bool]) -> None:
    address = f"http://{settings.listen}"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline and goes_on():
        try:
            direct.open(f"{address}/healthz", timeout=2).close()
        except OSError:
            time.sleep(0.1)
            continue
        mode = " with a simulated carrier: no SMS leaves this machine" if settings.demo else ""
        sys.stdout.write(
            f"\nsmstracker is running{mode}.\n"
            f"Open {settings.public_base_url} in your browser. Ctrl-C ends it.\n\n"
        )
        sys.stdout.flush()
        return


def _end(processes: Collection["subprocess.Popen[bytes]"]) -> None:
    for asked_again in ENDING:
        signal.signal(asked_again, signal.SIG_IGN)
    for process in processes:
        process.terminate()
    deadline = time.monotonic() + STOPPING
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
