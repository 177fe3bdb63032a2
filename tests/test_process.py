"""`make run`: the real server and the carrier are started, used and ended."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import click
import psutil
import pytest
import requests

from config import ROOT
from smstracker.__main__ import COMMANDS, WORKER, _require_port
from tests.app_process import AppProcess
from tests.clients import hidden
from tests.databases import migrate
from tests.live_settings import bare_environment, live_environment
from tests.serving import free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[AppProcess]:
    process = AppProcess(tmp_path)
    yield process
    process.kill()


def test_newcomer_gets_from_nothing_to_delivered(demo: AppProcess) -> None:
    assert "no SMS leaves this machine" in demo.wait_for(r"smstracker is running.*\n")[0]
    demo.wait_for("worker_started")
    # Or its first question would find nobody, and every page say that Twilio cannot be asked.
    assert demo.printed.index("Simulated carrier on") < demo.printed.index("worker_started")
    with requests.Session() as browser:
        page = browser.get(f"{demo.url}/auth/sign-in").text
        form = {"csrf_token": hidden(page, "csrf_token"), "email": "me@home.example"}
        assert browser.post(f"{demo.url}/auth/sign-in", data=form).ok
        link = demo.wait_for(r"http://127\.0\.0\.1:\d+/auth/link/\S+")[0]
        assert link in browser.get(f"{demo.url}/auth/mailbox").text
        form = {"csrf_token": hidden(browser.get(link).text, "csrf_token")}
        assert browser.post(link, data=form).url == f"{demo.url}/messages"
        page = browser.get(f"{demo.url}/messages/new").text
        form = {name: hidden(page, name) for name in ("csrf_token", "form_id", "sender")}
        form |= {"recipient": "+15005550006", "body": "Hello"}
        sent = browser.post(f"{demo.url}/messages", data=form)
        assert sent.status_code == 200
        demo.wait_for(r"(?s)(callbacks?_stored.*){2}")
        [message] = browser.get(f"{demo.url}/messages.json").json()["messages"]
    assert (message["status"], message["status_source"]) == ("delivered", "callback")
    assert message["simulated"] is True
    assert demo.end() == 0
    assert "worker_stopped" in demo.printed
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{demo.url}/healthz", timeout=2)


def test_open_stream_does_not_hold_up_the_end(demo: AppProcess) -> None:
    demo.wait_for("smstracker is running")
    with requests.Session() as browser:
        page = browser.get(f"{demo.url}/auth/sign-in").text
        form = {"csrf_token": hidden(page, "csrf_token"), "email": "me@home.example"}
        browser.post(f"{demo.url}/auth/sign-in", data=form)
        link = demo.wait_for(r"http://127\.0\.0\.1:\d+/auth/link/\S+")[0]
        form = {"csrf_token": hidden(browser.get(link).text, "csrf_token")}
        browser.post(link, data=form)
        # What a page of fifty asks for, found by the longest text that is allowed.
        longest = {"text": "\N{GRINNING FACE}" * 200, "ids": ",".join([str(uuid4())] * 50)}
        assert browser.get(f"{demo.url}/messages/rows", params=longest).status_code == 200
        stream = browser.get(f"{demo.url}/messages/stream", stream=True, timeout=20)
        lines = stream.iter_lines(chunk_size=1)
        assert next(lines).startswith(b"retry: ")
        began = time.monotonic()
        assert demo.end(signal.SIGTERM) == 0
        assert time.monotonic() - began < 10  # for which gunicorn would wait
        assert list(lines)[-1:] == [b""]


def test_second_start_finds_what_the_first_one_kept(tmp_path: Path) -> None:
    for how in (signal.SIGTERM, signal.SIGHUP):
        process = AppProcess(tmp_path)
        process.wait_for("smstracker is running")
        assert urllib.request.urlopen(f"{process.url}/readyz", timeout=5).status == 200
        assert process.end(how) == 0


def test_everything_ends_when_the_database_file_is_deleted(
    demo: AppProcess, tmp_path: Path
) -> None:
    demo.wait_for("smstracker is running")
    demo.wait_for("worker_started")
    (tmp_path / "run.sqlite").unlink()
    demo.wait_for("The worker ended: the database file was deleted or replaced")


@pytest.mark.parametrize("killed", ["supervisor", "make"])
def test_nothing_is_left_when_it_is_killed(tmp_path: Path, killed: str) -> None:
    run = [sys.executable, "-m", "smstracker", "--end-with-parent"]
    # In the place of make, which would look for what to install first.
    make = [sys.executable, "-c", f"import subprocess; subprocess.run({run!r})"]
    process = AppProcess(tmp_path, *make)
    process.wait_for("smstracker is running")
    process.wait_for("worker_started")
    family = process.processes()
    # make, the supervisor, the guard, the simulator, gunicorn and its worker, flask worker
    assert len(family) == 7
    family[0 if killed == "make" else 1].kill()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
    process.wait()


# No file of the process can grow, as on a full disk.
FULL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
START = "import os, sys; os.execv(sys.executable, [sys.executable, '-m', {}])"


def test_worker_of_make_run_waits_for_room_on_a_full_disk(tmp_path: Path) -> None:
    migrate(f"sqlite:///{tmp_path / 'run.sqlite'}")
    command = ", ".join(map(repr, COMMANDS[WORKER]))
    # What holds the database keeps its journal, which could not be made anew.
    with closing(sqlite3.connect(tmp_path / "run.sqlite")) as holder:
        holder.execute("SELECT count(*) FROM message")
        process = AppProcess(tmp_path, sys.executable, "-c", FULL_DISK + START.format(command))
        try:
            process.wait_for(r'"event": "worker_waits".*cannot be read or written')
        finally:
            assert process.end() == 0
    assert "Error" not in process.printed


@pytest.mark.smoke
def test_end_of_the_worker_names_what_is_stopped_with_it(demo: AppProcess) -> None:
    demo.wait_for("worker_started")
    [worker] = [one for one in demo.processes() if "worker" in one.cmdline()]
    worker.kill()
    assert demo.wait() == 1
    assert (
        "\nThe worker ended: it was killed by SIGKILL. The simulated carrier and the web server "
        "are stopped with it; no callback can arrive until you start again.\n"
    ) in demo.printed


def test_end_of_the_worker_says_what_is_wrong_with_the_database(
    demo: AppProcess, tmp_path: Path
) -> None:
    demo.wait_for("worker_started")
    with sqlite3.connect(tmp_path / "run.sqlite") as connection:
        connection.execute("DELETE FROM alembic_version")
    connection.close()
    [worker] = [one for one in demo.processes() if "worker" in one.cmdline()]
    worker.kill()
    demo.wait()
    assert "The worker ended: the database is not migrated. Run flask db upgrade. " in demo.printed


def test_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = AppProcess(tmp_path, PORT=port)
        assert process.wait() == 2
    assert process.printed == f"Port {port} is in use. Stop what uses it, or set PORT.\n"


def test_port_for_root_alone_is_said_to_be_one() -> None:
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        with pytest.raises(click.ClickException) as refusal:
            _require_port("127.0.0.1", 1, "PORT")
    finally:
        if is_root:
            os.seteuid(0)
    assert refusal.value.message == (
        "Only root may listen on port 1: set PORT to 1024 or more, and let a proxy pass requests "
        "on to it."
    )


def test_address_that_is_not_this_machine_is_said_in_one_line(tmp_path: Path) -> None:
    process = AppProcess(tmp_path, BIND_ADDRESS="203.0.113.7")
    assert process.wait() == 2
    port = process.port
    assert process.printed == f"Cannot listen on port {port}: check BIND_ADDRESS and PORT.\n"


def test_wrong_settings_are_listed_without_a_trace(tmp_path: Path) -> None:
    process = AppProcess(tmp_path, TWILIO_AUTH_TOKEN="half of it", PUBLIC_BASE_URL="nonsense")
    assert process.wait() == 2
    assert "TWILIO_ACCOUNT_SID" in process.printed
    assert "PUBLIC_BASE_URL" in process.printed
    assert "Traceback" not in process.printed
    assert "half of it" not in process.printed


def test_database_that_does_not_answer_is_said_in_one_line(tmp_path: Path) -> None:
    url = f"postgresql://127.0.0.1:{free_port()}/none"
    process = AppProcess(tmp_path, DATABASE_URL=url)
    assert process.wait() == 2
    assert process.printed.startswith("The database server refuses connections. Check host")
    assert "Traceback" not in process.printed


@pytest.mark.parametrize(("options", "is_json"), [(["--json"], True), ([], False)])
def test_doctor_lists_wrong_settings_for_programs(options: list[str], is_json: bool) -> None:
    env = {"PATH": os.environ["PATH"], "PORT": "nonsense", "DEFAULT_REGION": "nowhere"}
    flask = [sys.executable, "-m", "smstracker.command_line", "doctor", *options]
    done = subprocess.run(flask, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert "PORT: must be a whole number" in done.stderr
    printed = json.loads(done.stdout) if is_json else []
    assert [(finding["check"], finding["verdict"]) for finding in printed] == [
        ("settings", "problem")
    ] * (2 * is_json)
    assert not is_json or printed[0] == {
        "check": "settings",
        "verdict": "problem",
        "found": "PORT: must be a whole number from 1 to 65535",
        "fix": None,
    }


@pytest.mark.parametrize("module", ["wsgi", "smstracker.server"])
def test_server_does_not_start_with_wrong_settings(module: str) -> None:
    env = bare_environment(PORT="nonsense")
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}"],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "PORT: must be a whole number" in done.stderr
    assert "Traceback" not in done.stderr


def test_upgrades_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"]
    environment = live_environment(DATABASE_URL=f"sqlite:///{tmp_path}/new.sqlite")
    upgrades = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    reports = [upgrade.communicate(timeout=60)[0] for upgrade in upgrades]
    assert [upgrade.returncode for upgrade in upgrades] == [0, 0, 0]
    assert sum("from empty to" in report for report in reports) == 1
    assert sum("already up to date" in report for report in reports) == 2


def test_development_server_logs_requests_without_the_token(tmp_path: Path) -> None:
    port = str(free_port())
    flask = [sys.executable, "-m", "flask", "--app", "wsgi", "run", "--port", port]
    process = AppProcess(tmp_path, *flask, PORT=port)
    process.wait_for("Running on")
    assert (
        urllib.request.urlopen(
            f"http://127.0.0.1:{port}/auth/link/not-to-be-seen", timeout=5
        ).status
        == 200
    )
    process.wait_for(r"/auth/link/<token>")
    process.end()
    assert "not-to-be-seen" not in process.printed


def test_development_server_refuses_live_settings(tmp_path: Path) -> None:
    path = tmp_path / "live.sqlite"
    result = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "run", "--port", str(free_port())],
        cwd=ROOT,
        env=live_environment(DATABASE_URL=f"sqlite:///{path}"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert result.stderr == (
        "flask run serves only a demo. Use gunicorn -c python:smstracker.server wsgi:app\n"
    )
    assert not path.exists()
