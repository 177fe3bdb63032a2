"""The processes, database and carrier of a chaos run, and the ways to break them."""

import contextlib
import itertools
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import requests
from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from config import ROOT, load
from smstracker import create_app
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Message, User, message_drafts
from smstracker.models.jobs import ScheduledJob
from smstracker.models.messages import Content
from smstracker.simulator import Faults, SimulatorServer, create_simulator
from smstracker.sms.status import OUTBOX
from tests.chaos_processes import WEB, WORKER, PostgreSQL, ProcessGroup, database
from tests.postgresql_programs import path_to_programs
from tests.retention_settings import let_settings_begin
from tests.serving import close, free_port
from tests.signing import ACCOUNT_SID, PRIMARY, SECONDARY

SPEED = 10
LOOKUPS_PER_SECOND = 100
START_SECONDS = 60.0  # seconds
KEEP_DAYS = 30
COMMANDS = (("backup", "{folder}/backup-{number}"), ("users", "list"), ("alerts", "list"))
REQUIRED_503S = 5  # callbacks that must meet an outage before it ends, if so many come
BURST = 10  # create calls that are refused in a row
FAULT_RATES = {
    "lost": 0.05,
    "doubled": 0.05,
    "swapped": 0.1,
    "forged": 0.02,
    "old_token": 0.02,
    "answer_lost": 0.02,
}


@dataclass(slots=True)
class Environment:
    """The running parts, with a method for each breakage."""

    app: Flask
    folder: Path
    url: str
    carrier: SimulatorServer
    web: ProcessGroup
    worker: ProcessGroup | None
    postgresql: PostgreSQL | None
    breakages: Counter[str] = field(default_factory=Counter)
    ended_processes: list[str] = field(default_factory=list)
    failed_commands: list[str] = field(default_factory=list)
    _command_numbers: Iterator[int] = field(default_factory=itertools.count)

    def start(self) -> None:
        for group in self._process_groups():
            group.start()
        self.wait_until_ready()

    def close(self) -> None:
        for group in self._process_groups():
            group.kill()

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready, START_SECONDS, "the web server is ready")

    def kill_web(self) -> None:
        self._kill(self.web)

    def kill_worker(self) -> None:
        if self.worker:
            self._kill(self.worker)

    def restart_database(self, mode: str) -> None:
        """Stop the database until callbacks got a 503, then start it."""
        if self.postgresql is None:
            return
        self._wait_for_callbacks()
        self.postgresql.stop(mode)
        try:
            self._wait_for_503s()
        finally:
            self.postgresql.start()
        self.breakages["database restarted"] += 1

    def fill_disk(self) -> None:
        """Let all writes fail until callbacks got a 503."""
        self._wait_for_callbacks()
        for group in self._process_groups():
            group.fill_disk()
        try:
            self._wait_for_503s()
        finally:
            for group in self._process_groups():
                group.free_disk()
        self.breakages["disk full"] += 1

    def refuse_creates(self) -> None:
        """Let Twilio refuse the next create calls: too many requests."""
        self.carrier.fault_injector.refuse_next(BURST)
        self.breakages["bursts of 20429"] += 1

    def run_command(self) -> None:
        """Run the next of COMMANDS beside the servers, in a process of its own."""
        number = next(self._command_numbers)
        words = COMMANDS[number % len(COMMANDS)]
        arguments = [word.format(folder=self.folder, number=number) for word in words]
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "smstracker.command_line", *arguments],
            cwd=ROOT,
            env={**self.web.env, "PATH": path_to_programs()},
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode:
            self.failed_commands.append(f"{arguments}: {ended.stdout}{ended.stderr}")
        self.breakages["commands run"] += 1

    def count_expired(self) -> int:
        """How many messages are stored still that are too old to be kept."""
        is_expired = Message.created_at < utcnow() - timedelta(days=KEEP_DAYS)
        with self.app.app_context():
            return db.session.scalar(select(func.count(Message.id)).where(is_expired)) or 0

    def let_a_day_pass(self) -> None:
        """Make the daily list reconciliation due."""
        with self.app.app_context(), db.engine.begin() as connection:
            listing = update(ScheduledJob).where(ScheduledJob.name == "listing")
            connection.execute(listing.values(due_at=utcnow()))

    def let_send_times_come(self) -> None:
        """Let the worker send all that was scheduled, as soon as the database is there."""
        scheduled = update(Message).where(Message.status == OUTBOX, Message.send_at > utcnow())
        for _ in range(100):
            with contextlib.suppress(OperationalError), self.app.app_context():
                with db.engine.begin() as connection:
                    connection.execute(scheduled.values(send_at=utcnow()))
                return
            time.sleep(0.2)
        raise AssertionError("the database stays away")

    def record_ended_processes(self) -> None:
        """Record the processes that ended by themselves."""
        self.ended_processes += [
            group.name for group in self._process_groups() if not group.is_running()
        ]

    def _process_groups(self) -> list[ProcessGroup]:
        return [self.web, self.worker] if self.worker else [self.web]

    def _kill(self, group: ProcessGroup) -> None:
        self.record_ended_processes()
        group.kill()
        group.start()
        self.breakages[f"{group.name} killed"] += 1

    def _wait_for_callbacks(self) -> None:
        """Wait for a moment until the carrier has callbacks that can meet an outage."""
        wait_until(lambda: not self.carrier.ledger.wait_until_idle(0), 5)

    def _wait_for_503s(self) -> None:
        """Wait for callbacks that meet the outage. Once none is due, none comes any more: nothing
        is sent meanwhile.
        """
        goal = self._count_503s() + REQUIRED_503S
        wait_until(
            lambda: self._count_503s() >= goal or self.carrier.ledger.wait_until_idle(0),
            START_SECONDS,
            "callbacks met a 503",
        )

    def _count_503s(self) -> int:
        return sum(attempt.response_status == 503 for attempt in self.carrier.ledger.attempts())

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.RequestException:
            return False


def wait_until(
    condition: Callable[[], bool],
    seconds: float,
    description: str | None = None,
    *,
    pause: float = 0.1,
) -> bool:
    """Whether the condition became true in time. With a description, raises TimeoutError if not.

    It is tried again after `pause` seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            if description:
                raise TimeoutError(f"not within {seconds:g} s: {description}")
            return False
        threading.Event().wait(pause)
    return True


@contextmanager
def start_environment(
    kind: str, folder: Path, seed: int, with_worker: bool, expired_messages: int = 0
) -> Iterator[Environment]:
    with contextlib.ExitStack() as stack:
        url, postgresql = stack.enter_context(database(kind, folder))
        carrier = stack.enter_context(SimulatorServer(_simulator(seed)))
        env = _settings(url, carrier.url)
        app = stack.enter_context(_app(env, expired_messages))
        environment = Environment(
            app=app,
            folder=folder,
            url=env["PUBLIC_BASE_URL"],
            carrier=carrier,
            web=ProcessGroup("web server", WEB, env, folder),
            worker=ProcessGroup("worker", WORKER, env, folder) if with_worker else None,
            postgresql=postgresql,
        )
        stack.callback(environment.close)
        environment.start()
        yield environment


def _simulator(seed: int) -> Flask:
    return create_simulator(
        account_sid=ACCOUNT_SID,
        auth_token=PRIMARY,
        auth_token_secondary=SECONDARY,
        auth_token_former="the token of before the last rotation",
        speed=SPEED,
        faults=Faults(**FAULT_RATES, seed=seed),
        lookups_per_second=LOOKUPS_PER_SECOND,
    )


def _settings(database_url: str, carrier_url: str) -> dict[str, str]:
    port = str(free_port())
    return {
        "PORT": port,
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "SECRET_KEY": "the tests sign with this: 7f3a9c1e",
        "DATABASE_URL": database_url,
        "TWILIO_ACCOUNT_SID": ACCOUNT_SID,
        "TWILIO_AUTH_TOKEN": PRIMARY,
        "TWILIO_AUTH_TOKEN_SECONDARY": SECONDARY,
        "TWILIO_PHONE_NUMBER": "+15005550006",
        "TWILIO_API_BASE_URL": carrier_url,
        "SIGN_IN_ALLOW": "@example.org",
        "SEND_LIMIT_PER_MINUTE": "1000000",
        "SEND_LIMIT_PER_DAY": "1000000",
        "SEND_PER_SECOND": "10000",
        "LOOKUPS_PER_SECOND": str(LOOKUPS_PER_SECOND),
        "KEEP_TEXT_DAYS": str(KEEP_DAYS),
        "KEEP_MESSAGE_DAYS": str(KEEP_DAYS),
        "ALERT_WEBHOOK_URL": f"{carrier_url}/nobody-listens-here",
        "ALERT_WEBHOOK_SECRET": "whsec_bm9ib2R5IGxpc3RlbnMgaGVyZSBhdCBhbGw=",
    }


@contextmanager
def _app(env: Mapping[str, str], expired_messages: int) -> Iterator[Flask]:
    """An app in this process for database access; migrates the database."""
    app = create_app(load(env))
    with app.app_context():
        upgrade()
        let_settings_begin(app)
        _store_expired_messages(expired_messages)
    yield app
    close(app)


def _store_expired_messages(count: int) -> None:
    user = User(email="former@example.org")
    db.session.add(user)
    db.session.flush()
    content = Content("+15005550009", "+15005550006", "Expired")
    for days in reversed(range(count)):
        message = message_drafts.create_pending(user.id, uuid.uuid4(), content)
        message.created_at = message.accepted_at = utcnow() - timedelta(days=KEEP_DAYS + days / 9)
        message.status, message.status_at, message.final_at = (
            "delivered",
            message.created_at,
            message.created_at,
        )
    db.session.commit()
