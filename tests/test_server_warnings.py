"""gunicorn's warnings reach the log in our words, with nothing of theirs."""

import inspect
import json
import logging
import re
import signal
import socket
import sys
from pathlib import Path

import gunicorn.arbiter
import gunicorn.http.wsgi
import gunicorn.sock
import gunicorn.workers.base
import gunicorn.workers.gthread
import psutil
import pytest

from smstracker.logs import JsonFormatter, request_id
from smstracker.web.server_warnings import MEANINGS
from tests.app_process import AppProcess
from tests.live_settings import live_environment

SERVER = (sys.executable, "-m", "gunicorn", "-c", "python:smstracker.server", "wsgi:app")
MODULES = (
    gunicorn.arbiter,
    gunicorn.http.wsgi,
    gunicorn.sock,
    gunicorn.workers.base,
    gunicorn.workers.gthread,
)


def logged(message: str, *arguments: object, name: str = "gunicorn.error") -> dict[str, str]:
    record = logging.LogRecord(name, logging.ERROR, "", 0, message, arguments, None)
    line: dict[str, str] = json.loads(JsonFormatter().format(record))
    return line


def test_warning_of_the_server_is_said_without_what_it_quotes() -> None:
    token = request_id.set("of the request before")
    line = logged("Error handling request %s", "/auth/link/a-token")
    request_id.reset(token)
    assert "request_id" not in line
    assert line["event"] == "server_warning"
    assert line["reason"] == "a request failed in the web server"
    assert "token" not in json.dumps(line)


@pytest.mark.parametrize("name", ["gunicorn.error", "another"])
def test_warning_that_nobody_knows_says_nothing_of_itself(name: str) -> None:
    line = logged("New words about /auth/link/a-token", name=name)
    assert (line["event"], "reason" in line, "token" in json.dumps(line)) == (
        "foreign_warning",
        False,
        False,
    )


def test_every_warning_of_gunicorn_is_explained_and_no_other() -> None:
    source = "".join(inspect.getsource(module) for module in MODULES)
    # One is put together of two parts.
    assert [start for start in MEANINGS if start.partition("! ")[0] not in source] == []
    # Whatever these are, no installation of ours has them.
    foreign = r"irty|HTTP/2|reload|Reloader|control socket|post_request"
    texts = re.findall(r"log\.(?:warning|error|critical|exception)\(\s*\"([^\"]+)", source)
    unexplained = [text for text in texts if not text.startswith(tuple(MEANINGS))]
    assert [text for text in unexplained if not re.search(foreign, text)] == []


@pytest.mark.slow
def test_operator_reads_why_a_web_process_ended_and_what_was_refused(
    migrated_sqlite: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.sqlite").write_bytes(migrated_sqlite.read_bytes())
    env = live_environment()
    for name in ("PATH", "HOME"):
        env.pop(name, None)
    running = AppProcess(tmp_path, *SERVER, **env)
    try:
        running.wait_for("Booting worker")
        with socket.create_connection(("127.0.0.1", running.port), timeout=20) as peer:
            peer.sendall(b"GET /auth/link/a-token HTTP/1.1\r\nBad header: +15558675310\r\n\r\n")
            assert b" 400 " in peer.recv(64)
        running.wait_for("a request was refused that is not valid HTTP")
        worker, *_ = psutil.Process(running.processes()[0].pid).children()
        worker.send_signal(signal.SIGKILL)
        running.wait_for("a web process was killed: is the memory used up")
    finally:
        running.kill()
    assert "a-token" not in running.printed
    assert "5558675310" not in running.printed
