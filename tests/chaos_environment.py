"""Everything that runs in a chaos run, and the ways in which it is broken."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
from flask import Flask
from flask_migrate import upgrade
from sqlalchemy import update

from config import load
from smstracker import create_app
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models.jobs import ScheduledJob
from smstracker.simulator import Faults, SimulatorServer, create_simulator
from tests.chaos_processes import WEB, WORKER, Machine, PostgreSQL, database
from tests.conftest import free_port
from tests.serving import close
from tests.signing import ACCOUNT_SID, PRIMARY, SECONDARY

SPEED = 10
LOOKUPS_PER_SECOND = 100
STARTING = 60.0  # seconds
FELT = 5  # callbacks that must have met an outage before it ends
SHARES = {
    "lost": 0.05,
    "doubled": 0.05,
    "swapped": 0.1,
    "forged": 0.02,
    "old_token": 0.02,
    "answer_lost": 0.01,
}


@dataclass(slots=True)
class Stage:
    """Everything that runs, and how to break it."""

    app: Flask
    url: str
    carrier: SimulatorServer
    web: Machine
    worker: Machine | None
    postgresql: PostgreSQL | None
    broken: Counter[str] = field(default_factory=Counter)
    died: list[str] = field(default_factory=list)

    def start(self) -> None:
        for machine in self._machines():
            machine.start()
        self.wait_until_ready()

    def close(self) -> None:
        for machine in self._machines():
            machine.kill()

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready, STARTING, "the web server is ready")

    def kill_web(self) -> None:
        self._kill(self.web)

    def kill_worker(self) -> None:
        if self.worker:
            self._kill(self.worker)

    def restart_database(self, mode: str) -> None:
        """It stays away until callbacks have met its absence."""
        if self.postgresql is None:
            return
        self.postgresql.stop(mode)
        try:
            self._wait_for_503s()
        finally:
            self.postgresql.start()
        self.broken["database restarted"] += 1

    def fill_disk(self) -> None:
        """Nothing can be written until callbacks have met commits that fail."""
        for machine in self._machines():
            machine.fill_disk()
        try:
            self._wait_for_503s()
        finally:
            for machine in self._machines():
                machine.free_disk()
        self.broken["disk full"] += 1

    def let_a_day_pass(self) -> None:
        """As far as the worker can tell: what it does once a day is due."""
        with self.app.app_context(), db.engine.begin() as connection:
            listing = update(ScheduledJob).where(ScheduledJob.name == "listing")
            connection.execute(listing.values(due_at=utcnow()))

    def note_deaths(self) -> None:
        """Whatever breaks around it, no process may give up."""
        self.died += [each.name for each in self._machines() if not each.is_running()]

    def _machines(self) -> list[Machine]:
        return [self.web, self.worker] if self.worker else [self.web]

    def _kill(self, machine: Machine) -> None:
        self.note_deaths()
        machine.kill()
        machine.start()
        self.broken[f"{machine.name} killed"] += 1

    def _wait_for_503s(self) -> None:
        goal = self._count_503s() + FELT
        wait_until(lambda: self._count_503s() >= goal, STARTING, "callbacks met a 503")

    def _count_503s(self) -> int:
        return sum(each.response_status == 503 for each in self.carrier.books.attempts())

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.RequestException:
            return False


def wait_until(is_so: Callable[[], bool], seconds: float, what: str | None = None) -> bool:
    """Whether it became so in time; with `what`, it is an error if not."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            if what:
                raise TimeoutError(f"not within {seconds:g} s: {what}")
            return False
        threading.Event().wait(0.1)
    return True


@contextmanager
def stage(kind: str, folder: Path, seed: int, with_worker: bool) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:
        url, postgresql = stack.enter_context(database(kind, folder))
        carrier = stack.enter_context(SimulatorServer(_simulator(seed)))
        env = _settings(url, carrier.url)
        app = stack.enter_context(_app(env))
        made = Stage(
            app=app,
            url=env["PUBLIC_BASE_URL"],
            carrier=carrier,
            web=Machine("web server", WEB, env, folder),
            worker=Machine("worker", WORKER, env, folder) if with_worker else None,
            postgresql=postgresql,
        )
        stack.callback(made.close)
        made.start()
        yield made


def _simulator(seed: int) -> Flask:
    return create_simulator(
        account_sid=ACCOUNT_SID,
        auth_token=PRIMARY,
        auth_token_secondary=SECONDARY,
        auth_token_former="the token of before the last rotation",
        speed=SPEED,
        mishaps=Faults(**SHARES, seed=seed),
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
        "LOOKUPS_PER_SECOND": str(LOOKUPS_PER_SECOND),
    }


@contextmanager
def _app(env: Mapping[str, str]) -> Iterator[Flask]:
    """The app in this process, for its database alone, which is migrated."""
    app = create_app(load(env))
    with app.app_context():
        upgrade()
    yield app
    close(app)
