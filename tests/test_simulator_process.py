"""The simulated carrier as a process: where it listens, when it refuses, and how it ends."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from smstracker.simulator import SimulatorServer, create_simulator
from tests.live_settings import bare_environment, live_environment

pytestmark = pytest.mark.slow


ROOT = Path(__file__).parent.parent
SID, TOKEN = "AC" + "a1" * 16, "primary-token"
LIVE = live_environment(TWILIO_ACCOUNT_SID=SID, TWILIO_AUTH_TOKEN=TOKEN)


@contextmanager
def process(settings: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """`python -m smstracker.simulator.run` with these settings and none of the surroundings'."""
    command = [sys.executable, "-m", "smstracker.simulator.run"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=bare_environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.smoke
def test_server_listens_on_loopback_only():
    app = create_simulator(account_sid=SID, auth_token=TOKEN)
    with SimulatorServer(app) as server:
        host, port = server._server.socket.getsockname()
        assert (host, server.url) == ("127.0.0.1", f"http://127.0.0.1:{port}")
        # All of 127.0.0.0/8 is this machine: a wildcard listener would answer here as well.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=30)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=30)


@pytest.mark.smoke
def test_server_says_when_the_port_is_in_use():
    app = create_simulator(account_sid=SID, auth_token=TOKEN)
    with taken_port() as port, pytest.raises(OSError, match="in use"):
        SimulatorServer(app, port)
    app.extensions["delivery"].close()


@pytest.mark.smoke
def test_close_ends_all_threads():
    before = set(threading.enumerate())
    with SimulatorServer(create_simulator(account_sid=SID, auth_token=TOKEN)):
        assert set(threading.enumerate()) > before
    assert set(threading.enumerate()) <= before


def test_process_refuses_to_run_beside_live_credentials():
    with process(LIVE) as running:
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (2, "")
    assert err.splitlines() == ["The simulator does not run while live Twilio credentials are set."]


def test_process_names_the_setting_when_the_port_is_in_use():
    with taken_port() as port, process({"SIMULATOR_PORT": str(port)}) as running:
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("SIMULATOR_PORT: ")


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_process_serves_until_told_to_stop_and_prints_no_more_than_its_address(ending):
    with taken_port() as free:
        pass
    with process({"SIMULATOR_PORT": str(free)}) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == f"Simulated carrier on http://127.0.0.1:{free}\n"
        url = f"http://127.0.0.1:{free}/2010-04-01/Accounts/{SID}/Messages.json"
        answer = requests.post(url, {"To": "+15005550006"}, auth=(SID, "wrong"), timeout=30)
        assert answer.status_code == 401
        running.send_signal(ending)
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out, err) == (0, "", "")
