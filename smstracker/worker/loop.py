"""The worker's loop: ask about what has fallen silent, do the chores, say that it lives."""

import logging
import os
import secrets
import select
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from threading import Event, Thread
from types import FrameType

from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from smstracker.carrier import CarrierBusyError, CarrierQueryError
from smstracker.clock import utcnow
from smstracker.database.problems import explain, log_reason
from smstracker.extensions import db
from smstracker.insights.rollup_job import roll_up
from smstracker.models.jobs import Heartbeat, ScheduledJob
from smstracker.models.lookup_queue import OpenMessage
from smstracker.worker.list_reconciliation import DAY, reconcile_by_list
from smstracker.worker.lookup import LookupOutcome, look_up_message
from smstracker.worker.lookup_throttle import LookupThrottle, postpone
from smstracker.worker.maintenance import explain_refused, upkeep

log = logging.getLogger(__name__)

TICK = 1.0  # seconds between two looks for work
BEAT = timedelta(seconds=10)
CHORES_EVERY = timedelta(seconds=30)
CHORE_LEASE = timedelta(minutes=15)
LONGEST_WAIT = 30.0  # seconds between two tries to reach the database
IN_A_ROW = 3  # failures after which it is Twilio, and not the message
# Longer than the lease, after which a listing that failed is tried again.
PROBLEM_LASTS = CHORE_LEASE + timedelta(minutes=5)

FINISHING = 10.0  # seconds for the listing's request that is under way when the worker ends

# Done in steps, each of a few seconds at most, for what came since it was done last.
Steps = Callable[[datetime | None], Iterable[object]]
CHORES: dict[str, tuple[Steps, timedelta]] = {
    "listing": (reconcile_by_list, DAY),
    "upkeep": (upkeep, DAY),
    "explaining": (explain_refused, timedelta(minutes=1)),
    "counting": (roll_up, timedelta(seconds=30)),
}
# Each of its steps is a request to Twilio, and there can be hundreds: done in a thread of its own.
LISTING = "listing"
# After a long pause it has many steps: silent messages are looked up between them.
UPKEEP = "upkeep"


class Worker:
    """One worker. Several may run at once, on as many machines as you like."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._started_at = utcnow()
        self._beat_at: datetime | None = None
        self._chores_at: datetime | None = None
        self._problem: tuple[str, datetime] | None = None
        self._pace = LookupThrottle()
        self._troubles = 0
        self._is_stopping = False
        self._bell = os.pipe()
        self._stopped = Event()
        self._listing: Thread | None = None

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """End after the requests that are under way."""
        # A pipe, because taking a lock in a signal handler can wait for ever.
        self._is_stopping = True
        os.write(self._bell[1], b"!")

    def run(self) -> None:
        """Work until `stop`."""
        log.info("worker_started")
        while not self._is_stopping:
            self._sleep(self._work_or_wait())
        self._stopped.set()
        self.finish(FINISHING)
        self._say_goodbye()
        log.info("worker_stopped")

    def _sleep(self, seconds: float) -> None:
        """Wait, but not beyond `stop`."""
        select.select([self._bell[0]], [], [], seconds)

    def finish(self, seconds: float | None = None) -> None:
        """Wait for the listing, if one is under way."""
        if self._listing is not None:
            self._listing.join(seconds)

    def _work_or_wait(self) -> float:
        """Work once; the seconds until the next time. A database that is away is waited for."""
        try:
            self.work()
        except Exception as error:
            _log_trouble(error)
            self._troubles += 1
            return min(2.0 ** min(self._troubles, 10), LONGEST_WAIT)
        finally:
            db.session.remove()
        self._troubles = 0
        return TICK

    def work(self) -> None:
        """Everything that is due now."""
        self._beat()
        self._look_up_silent()
        if _is_past(self._chores_at, CHORES_EVERY):
            self._chores_at = utcnow()
            for name in CHORES:
                if name == LISTING:
                    self._list_beside()
                else:
                    self._do_chore(name)

    def _list_beside(self) -> None:
        """List in a thread, which looks itself whether that is due."""
        if self._listing is None or not self._listing.is_alive():
            app = current_app._get_current_object()  # type: ignore[attr-defined]
            self._listing = Thread(target=self._list, args=[app], name=LISTING, daemon=True)
            self._listing.start()

    def _list(self, app: Flask) -> None:
        with app.app_context():
            try:
                self._do_chore(LISTING)
            except Exception as error:
                _log_trouble(error)

    def _look_up_silent(self) -> None:
        claimed, wait = self._pace.claim()
        self._sleep(wait)
        failures = 0
        for number, one in enumerate(claimed):
            if self._is_stopping:
                return  # what is left falls due again when its lease ends
            error = self._look_up(one)
            failures = failures + 1 if error else 0
            if isinstance(error, CarrierBusyError) or failures == IN_A_ROW:
                self._pace.back_off(claimed[number + 1 :])
                return
            self._beat()

    def _look_up(self, one: OpenMessage) -> CarrierQueryError | None:
        """What kept Twilio from being asked."""
        try:
            finding = look_up_message(one)
        except CarrierQueryError as error:
            self._note(error)
            postpone(one)
            return error
        if finding is not LookupOutcome.FOREIGN:
            self._problem = None
            self._pace.succeeded()
        return None

    def _note(self, error: CarrierQueryError) -> None:
        # Being asked to slow down is no trouble that a person has to mend.
        self._problem = None if isinstance(error, CarrierBusyError) else (error.reason, utcnow())
        self._beat(at_once=True)

    def _do_chore(self, name: str) -> None:
        """Do it if it is due; what fails is due again when the lease ends."""
        steps, every = CHORES[name]
        began_at = utcnow()
        with db.engine.begin() as connection:
            if not ScheduledJob.claim(connection, name, CHORE_LEASE, every):
                return
            last_done = ScheduledJob.last_done_at(connection, name)
        try:
            for _ in self._paced(steps(last_done)) if name == LISTING else steps(last_done):
                self._go_on(name)
                if name == UPKEEP:
                    self._look_up_silent()
                if self._is_stopping:
                    return
        except CarrierQueryError as error:
            if isinstance(error, CarrierBusyError):
                self._pace.back_off([])
            self._note(error)
            return
        if name == LISTING:
            if self._is_stopping:
                return
            self._problem = None
        with db.engine.begin() as connection:
            ScheduledJob.mark_done(connection, name, began_at, every)

    def _paced(self, requests: Iterable[object]) -> Iterator[object]:
        """Make each request when the rate that look-ups keep to allows it, until `stop`."""
        following = iter(requests)
        while not self._stopped.wait(self._pace.reserve()):
            try:
                yield next(following)
            except StopIteration:
                return

    def _go_on(self, name: str) -> None:
        """Live on, and keep the chore, between two steps of it."""
        self._beat()
        with db.engine.begin() as connection:
            ScheduledJob.postpone(connection, name, utcnow() + CHORE_LEASE)

    def _beat(self, at_once: bool = False) -> None:
        if not (at_once or _is_past(self._beat_at, BEAT)):
            return
        noted = self._problem  # once: the listing's thread changes it
        problem = noted[0] if noted and not _is_past(noted[1], PROBLEM_LASTS) else None
        with db.engine.begin() as connection:
            Heartbeat.beat(connection, self.name, self._started_at, problem)
        self._beat_at = utcnow()

    def _say_goodbye(self) -> None:
        try:
            with db.engine.begin() as connection:
                Heartbeat.end(connection, self.name)
        except SQLAlchemyError as error:
            log.warning("worker_waits", extra={"reason": log_reason(error)})


def _log_trouble(error: Exception) -> None:
    is_expected = isinstance(error, SQLAlchemyError) or explain(error) is not None
    level = logging.WARNING if is_expected else logging.ERROR
    reason = {"reason": log_reason(error)}
    log.log(level, "worker_waits", exc_info=None if is_expected else error, extra=reason)


def _is_past(moment: datetime | None, span: timedelta) -> bool:
    """Whether `span` has gone by since `moment`, also if the clock was set back meanwhile."""
    return moment is None or abs(utcnow() - moment) >= span


def run_worker() -> None:
    """Work until SIGTERM or SIGINT."""
    worker = Worker()
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, worker.stop)
    worker.run()
