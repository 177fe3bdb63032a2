"""A worker that is killed while it tells of an alert: the next one tells it once more at most."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from flask import Flask
from sqlalchemy import update

from config import ROOT
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Alert, AlertNotice, ScheduledJob
from tests.alert_scenes import MINUTE, add_silent, notices
from tests.live_settings import live_environment
from tests.serving import free_port
from tests.smtp_server import Inbox

pytestmark = [pytest.mark.both_databases, pytest.mark.slow]
TEAM = "team@example.org"


class HangingInbox(Inbox):
    """Takes no mail while `is_hanging`, but lets a client wait for its answer."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.is_hanging = True
        self.has_mail = threading.Event()
        handler = self.controller.handler
        take = handler.handle_DATA

        async def hang(server: SMTP, session: Session, envelope: Envelope) -> str:
            self.has_mail.set()
            while self.is_hanging:
                await asyncio.sleep(0.01)
            return str(await take(server, session, envelope))

        handler.handle_DATA = hang


@pytest.fixture
def hanging_inbox() -> Iterator[HangingInbox]:
    box = HangingInbox(free_port())
    box.controller.start()
    yield box
    box.is_hanging = False
    box.controller.stop()


@contextmanager
def worker(database_url: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    mail = {"MAIL_SERVER": "127.0.0.1", "MAIL_PORT": str(port), "ALERT_EMAIL": TEAM}
    mail["MAIL_DEFAULT_SENDER"] = "smstracker@example.org"
    env = live_environment(DATABASE_URL=database_url, **mail)
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "worker"]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait(60)


def wait_for(condition: Callable[[], object]) -> None:
    for _ in range(1200):
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it never came about")


def test_killed_worker_leaves_its_mail_to_the_next(
    app: Flask, database_url: str, hanging_inbox: HangingInbox
) -> None:
    add_silent(app, 5)
    now = utcnow()
    with app.app_context(), db.engine.begin() as connection:
        times = {"began_at": now - 10 * MINUTE, "last_true_at": now - MINUTE}
        Alert.begin(connection, "callbacks-silent", "", times)
    port = hanging_inbox.controller.port
    with worker(database_url, port) as process:
        assert hanging_inbox.has_mail.wait(60)
        assert notices(app) == [(TEAM, "begin", False)]
        process.kill()
    hanging_inbox.is_hanging = False
    with app.app_context(), db.engine.begin() as connection:  # the leases have ended
        connection.execute(update(AlertNotice).values(due_at=utcnow()))
        connection.execute(update(ScheduledJob).values(due_at=utcnow()))
    with worker(database_url, port):
        wait_for(lambda: notices(app) == [(TEAM, "begin", True)])
    # The killed one had sent it all, but did not see that it was taken.
    assert 1 <= len(hanging_inbox.mails) <= 2
