"""The worker's loop: ask about what has fallen silent, do the chores, say that it lives."""

import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event
from types import FrameType

from sqlalchemy.exc import SQLAlchemyError

from smstracker.carrier import BusyError, InquiryError
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models.work import Chore, Heartbeat, Open
from smstracker.worker.daily import DAY, reconcile_by_list
from smstracker.worker.pace import Pace
from smstracker.worker.reconcile import look_up
from smstracker.worker.upkeep import purge

log = logging.getLogger(__name__)

TICK = 1.0  # seconds between two looks for work
BEAT = timedelta(seconds=5)
CHORES_EVERY = timedelta(seconds=30)
CHORE_LEASE = timedelta(minutes=15)
LONGEST_WAIT = 30.0  # seconds between two tries to reach the database


class Worker:
    """One worker. Several may run at once, on as many machines as you like."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._started_at = utcnow()
        self._beat_at = datetime.min.replace(tzinfo=self._started_at.tzinfo)
        self._chores_at = self._started_at
        self._problem: str | None = None
        self._pace = Pace()
        self._stopping = Event()
        self._troubles = 0

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """End after the look-up that is under way."""
        self._stopping.set()

    def run(self) -> None:
        """Work until `stop`."""
        log.info("worker_started")
        while not self._stopping.is_set():
            self._stopping.wait(self._work_or_wait())
        self._say_goodbye()
        log.info("worker_stopped")

    def _work_or_wait(self) -> float:
        """Work once; the seconds until the next time. A database that is away is waited for."""
        try:
            self.work()
        except Exception as error:
            expected = isinstance(error, SQLAlchemyError)
            level = logging.WARNING if expected else logging.ERROR
            log.log(level, "worker_waits", exc_info=None if expected else error)
            self._troubles += 1
            return min(2.0 ** min(self._troubles, 10), LONGEST_WAIT)
        self._troubles = 0
        return TICK

    def work(self) -> None:
        """Everything that is due now."""
        self._beat()
        self._look_up_silent()
        if utcnow() >= self._chores_at:
            self._chores_at = utcnow() + CHORES_EVERY
            self._do_chore("listing", reconcile_by_list)
            self._do_chore("purge", lambda _was_due: purge())

    def _look_up_silent(self) -> None:
        for one in self._pace.claim():
            if self._stopping.is_set() or not self._look_up(one):
                return  # what is left falls due again when its lease ends
            self._beat()

    def _look_up(self, one: Open) -> bool:
        """Whether to go on asking."""
        try:
            look_up(one)
        except InquiryError as error:
            self._note(error)
            self._pace.back_off()
            return False
        self._problem = None
        self._pace.succeeded()
        return True

    def _note(self, error: InquiryError) -> None:
        # Being asked to slow down is no trouble that a person has to mend.
        self._problem = None if isinstance(error, BusyError) else error.reason
        self._beat(at_once=True)

    def _do_chore(self, name: str, do: Callable[[datetime], object]) -> None:
        """Do it if it is due; what fails is due again when the lease ends."""
        with db.engine.begin() as connection:
            was_due = Chore.claim(connection, name, CHORE_LEASE)
        if was_due is None:
            return
        try:
            do(was_due)
        except InquiryError as error:
            self._note(error)
            return
        with db.engine.begin() as connection:
            Chore.postpone(connection, name, utcnow() + DAY)

    def _beat(self, at_once: bool = False) -> None:
        now = utcnow()
        if now - self._beat_at < BEAT and not at_once:
            return
        with db.engine.begin() as connection:
            Heartbeat.beat(connection, self.name, self._started_at, self._problem)
        self._beat_at = now

    def _say_goodbye(self) -> None:
        try:
            with db.engine.begin() as connection:
                Heartbeat.end(connection, self.name)
        except SQLAlchemyError:
            log.warning("worker_waits")


def run_worker() -> None:
    """Work until SIGTERM or SIGINT."""
    worker = Worker()
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, worker.stop)
    worker.run()
