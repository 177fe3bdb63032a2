"""The worker's loop: look-ups of silent messages, scheduled jobs and the heartbeat.

What waits in the outbox is handed over in threads of its own, so that neither holds the other up.
"""

import logging
import os
import secrets
import select
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from threading import Event, Thread
from types import FrameType

from flask import Flask, current_app
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from smstracker.alerts import notifier
from smstracker.alerts.evaluation import evaluate
from smstracker.back_off import back_off_seconds
from smstracker.carrier import current_carrier
from smstracker.carrier.errors import (
    MAX_CONSECUTIVE_FAILURES,
    CarrierBusyError,
    CarrierQueryError,
    NotFoundAtCarrierError,
)
from smstracker.clock import DAY, utcnow
from smstracker.database.engine import UNAVAILABLE
from smstracker.database.problems import REPLACED_FILE, REPLACED_LOG, explain, log_reason
from smstracker.extensions import db
from smstracker.insights.rollup_job import roll_up
from smstracker.models.jobs import Heartbeat, JobName, ScheduledJob
from smstracker.models.lookup_queue import OpenMessage
from smstracker.models.metric_totals import LOOKUPS, MetricTotal
from smstracker.privacy.carrier_removal import remove_at_carrier
from smstracker.privacy.disk_traces import clean_text_index
from smstracker.privacy.retention import remove_expired
from smstracker.worker.batch_threads import BATCH_THREADS, run_batch_thread
from smstracker.worker.error_log import log_error
from smstracker.worker.hand_over import Dispatcher
from smstracker.worker.list_reconciliation import reconcile_by_list
from smstracker.worker.lookup import LookupOutcome, look_up_message
from smstracker.worker.lookup_throttle import LookupThrottle, postpone_lookup
from smstracker.worker.maintenance import diagnose_refused, redate_waiting, run_maintenance

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
HEARTBEAT_INTERVAL = timedelta(seconds=10)
JOB_CHECK_INTERVAL = timedelta(seconds=30)
JOB_LEASE = timedelta(minutes=15)
RETRY_INTERVAL = timedelta(minutes=1)  # of a job that Twilio did not answer
# Longer than a retry takes, so that an account that can be asked hides no listing that cannot.
PROBLEM_CHECK_INTERVAL = timedelta(minutes=2)
HAND_OVER_END_SECONDS = 60.0  # for the last calls to Twilio, when the worker ends
THREAD_END_SECONDS = 10.0  # for the current step of a job, or a notice, when the worker ends

DISPATCHER = "dispatcher"
# These can take long, so each runs in a thread of its own.
THREADED = (JobName.LISTING, JobName.REMOVAL, JobName.CARRIER_REMOVAL, JobName.CLEANING)
# A job runs in steps of a few seconds at most, and gets the time of its last completion.
Steps = Callable[[datetime | None], Iterable[object]]
JOBS: dict[str, tuple[Steps, timedelta]] = {
    JobName.LISTING: (reconcile_by_list, DAY),
    JobName.MAINTENANCE: (run_maintenance, DAY),
    JobName.DIAGNOSIS: (diagnose_refused, timedelta(minutes=1)),
    JobName.REDATING: (redate_waiting, timedelta(minutes=1)),
    JobName.ROLLUP: (roll_up, timedelta(seconds=30)),
    JobName.ALERTS: (evaluate, timedelta(minutes=1)),
    JobName.REMOVAL: (remove_expired, timedelta(minutes=1)),
    JobName.CARRIER_REMOVAL: (remove_at_carrier, timedelta(minutes=1)),
    JobName.CLEANING: (clean_text_index, DAY),
}
# A worker that is killed meanwhile must not keep the others from these for long. Their steps take
# seconds, and extend the lease.
JOB_LEASES: dict[str, timedelta] = {
    JobName.ALERTS: timedelta(minutes=2),
    JobName.REMOVAL: timedelta(minutes=2),
}


class Worker:
    """One worker; any number may run at once, on any number of machines."""

    def __init__(self) -> None:
        self.name = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
        self._started_at = utcnow()
        self._heartbeat_at: datetime | None = None
        self._jobs_checked_at: datetime | None = None
        self._problem: tuple[str, datetime] | None = None
        self._throttle = LookupThrottle()
        self._dispatcher = Dispatcher()
        self._lookups: Counter[str] = Counter()  # by result, since the last heartbeat
        self._failures = 0
        self._is_stopping = False
        self._stop_pipe = os.pipe()
        self._stopped = Event()
        self._threads: dict[str, Thread] = {}

    def stop(self, _signal: int = 0, _frame: FrameType | None = None) -> None:
        """End after the current requests; safe in a signal handler."""
        # A pipe: taking a lock in a signal handler can deadlock.
        self._is_stopping = True
        os.write(self._stop_pipe[1], b"!")

    def run(self) -> None:
        """Work until `stop`. Raises OperationalError if the SQLite file or its log was replaced."""
        log.info("worker_started")
        self._start_thread(DISPATCHER, self._dispatcher.run)
        try:
            while not self._is_stopping:
                for name in BATCH_THREADS:
                    self._start_thread(name, partial(run_batch_thread, name, self._stopped))
                self._sleep(self._work_or_wait())
        finally:
            self._dispatcher.stop()
            self._threads.pop(DISPATCHER).join(HAND_OVER_END_SECONDS)
        self._stopped.set()
        self.join_threads(THREAD_END_SECONDS)
        self._remove_heartbeat()
        log.info("worker_stopped")

    def _sleep(self, seconds: float) -> None:
        """Wait `seconds` or until `stop`."""
        select.select([self._stop_pipe[0]], [], [], seconds)

    def join_threads(self, seconds: float | None = None) -> None:
        """Wait for what runs in threads, at most `seconds` for each."""
        for thread in self._threads.values():
            thread.join(seconds)

    def _work_or_wait(self) -> float:
        """Work once; the seconds until the next time, longer after each database failure.

        Raises OperationalError if the SQLite file or its log was deleted or replaced.
        """
        try:
            self.work()
        except Exception as error:
            log_error(error)
            if explain(error) in (REPLACED_FILE, REPLACED_LOG):
                raise  # only a new process may use another file
            self._failures += 1
            return back_off_seconds(self._failures)
        finally:
            db.session.remove()
        self._failures = 0
        return POLL_SECONDS

    def work(self) -> None:
        """Do everything that is due."""
        self._send_heartbeat()
        self._look_up_silent()
        self._check_problem()
        if _has_passed(self._jobs_checked_at, JOB_CHECK_INTERVAL):
            self._jobs_checked_at = utcnow()
            for name in JOBS:
                if name in THREADED:
                    self._start_thread(name, partial(self._run_in_thread, name))
                else:
                    self._run_job(name)

    def _start_thread(self, name: str, work: Callable[[Flask], None]) -> None:
        """Do this work in a thread, unless that of the same name runs already."""
        running = self._threads.get(name)
        if running is None or not running.is_alive():
            app = current_app._get_current_object()  # type: ignore[attr-defined]
            self._threads[name] = Thread(target=work, args=[app], name=name, daemon=True)
            self._threads[name].start()

    def _run_in_thread(self, name: str, app: Flask) -> None:
        with app.app_context():
            try:
                self._run_job(name)
            except Exception as error:
                log_error(error)

    def _look_up_silent(self) -> None:
        messages, wait = self._throttle.claim()
        self._sleep(wait)
        failures = 0
        for position, message in enumerate(messages):
            if self._is_stopping:
                return  # the remaining messages are due again when their lease ends
            error = self._look_up(message)
            failures = failures + 1 if error else 0
            if isinstance(error, CarrierBusyError) or failures == MAX_CONSECUTIVE_FAILURES:
                self._throttle.back_off(messages[position + 1 :])
                return
            self._send_heartbeat()

    def _look_up(self, message: OpenMessage) -> CarrierQueryError | None:
        """Look a message up; the error if Twilio could not be queried."""
        try:
            outcome = look_up_message(message)
        except CarrierQueryError as error:
            self._lookups["busy" if isinstance(error, CarrierBusyError) else "failed"] += 1
            self._set_problem(error)
            postpone_lookup(message)
            return error
        except UNAVAILABLE:
            raise
        except Exception as error:  # of this message: those behind it must not wait
            log_error(error)
            postpone_lookup(message)
            return None
        self._lookups[outcome.name.lower()] += 1
        if outcome is not LookupOutcome.FOREIGN:
            self._clear_problem()
            self._throttle.reset_failures()
        return None

    def _check_problem(self) -> None:
        """Ask for the account some time after a failure: no look-up may be due for long."""
        problem = self._problem  # read once: the listing's thread changes it
        if problem is None or not _has_passed(problem[1], PROBLEM_CHECK_INTERVAL):
            return
        try:
            current_carrier().fetch_account()
        except NotFoundAtCarrierError:  # an answer, of a server that knows messages only
            self._clear_problem()
        except CarrierQueryError as error:
            self._set_problem(error)
        else:
            self._clear_problem()

    def _clear_problem(self) -> None:
        if self._problem is not None:
            self._problem = None
            self._send_heartbeat(force=True)

    def _set_problem(self, error: CarrierQueryError) -> None:
        # A 429 needs no action by a person.
        self._problem = None if isinstance(error, CarrierBusyError) else (error.reason, utcnow())
        self._send_heartbeat(force=True)

    def _run_job(self, name: str) -> None:
        """Run a job if it is due; a failed one is due again when its lease ends.

        One that Twilio does not answer is due again soon.
        """
        steps, interval = JOBS[name]
        started_at = utcnow()
        with db.engine.begin() as connection:
            lease = JOB_LEASES.get(name, JOB_LEASE)
            if not ScheduledJob.claim(connection, name, lease, interval):
                return
            last_done = ScheduledJob.last_done_at(connection, name)
        try:
            for _ in (
                self._throttled(steps(last_done)) if name == JobName.LISTING else steps(last_done)
            ):
                self._extend_lease(name)
                if name == JobName.LISTING:
                    self._clear_problem()
                # After a long pause it has many steps, so look-ups run between them.
                if name == JobName.MAINTENANCE:
                    self._look_up_silent()
                if name == JobName.CARRIER_REMOVAL:  # its next step begins with a request
                    self._stopped.wait(self._throttle.reserve())
                if self._is_stopping:
                    return
        except CarrierQueryError as error:
            self._postpone_job(name, error)
            return
        if name == JobName.LISTING:
            if self._is_stopping:
                return
            self._clear_problem()
        with db.engine.begin() as connection:
            ScheduledJob.mark_done(connection, name, started_at, interval)
        if name == JobName.ALERTS:
            for delivery, work in notifier.deliveries().items():
                self._start_thread(delivery, work)

    def _postpone_job(self, name: str, error: CarrierQueryError) -> None:
        log.warning("lookup_failed", extra={"reason": error.reason})
        if isinstance(error, CarrierBusyError):
            self._throttle.back_off([])
        with db.engine.begin() as connection:
            ScheduledJob.postpone(connection, name, utcnow() + RETRY_INTERVAL)
        self._set_problem(error)

    def _throttled(self, requests: Iterable[object]) -> Iterator[object]:
        """Make each request in a slot of the look-up rate, until `stop`."""
        pending = iter(requests)
        while not self._stopped.wait(self._throttle.reserve()):
            try:
                yield next(pending)
            except StopIteration:
                return

    def _extend_lease(self, name: str) -> None:
        """Send a heartbeat and extend the job's lease between two steps."""
        self._send_heartbeat()
        with db.engine.begin() as connection:
            lease = JOB_LEASES.get(name, JOB_LEASE)
            ScheduledJob.postpone(connection, name, utcnow() + lease)

    def _send_heartbeat(self, force: bool = False) -> None:
        if not (force or _has_passed(self._heartbeat_at, HEARTBEAT_INTERVAL)):
            return
        problem, _at = self._problem or (None, None)
        self._started_at = min(self._started_at, utcnow())  # if the clock was set back
        with db.engine.begin() as connection:
            Heartbeat.beat(connection, self.name, self._started_at, problem)
            self._add_lookups(connection)
        self._heartbeat_at = utcnow()

    def _add_lookups(self, connection: Connection) -> None:
        # Taken at once: the listing's thread sends heartbeats too.
        lookups, self._lookups = self._lookups, Counter()
        counts = {LOOKUPS + name: count for name, count in lookups.items()}
        MetricTotal.add(connection, counts)

    def _remove_heartbeat(self) -> None:
        try:
            with db.engine.begin() as connection:
                Heartbeat.end(connection, self.name)
                self._add_lookups(connection)
        except SQLAlchemyError as error:
            log.warning("worker_waits", extra={"reason": log_reason(error)})


def _has_passed(moment: datetime | None, span: timedelta) -> bool:
    """Whether `span` has passed since `moment`, also if the clock was set back."""
    return moment is None or abs(utcnow() - moment) >= span


def run_worker() -> None:
    """Work until SIGTERM or SIGINT."""
    worker = Worker()
    for ending_signal in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending_signal, worker.stop)
    worker.run()
