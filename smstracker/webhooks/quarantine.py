"""Keeps refused callbacks before the refusal is answered, unless there are too many of them."""

import logging
from datetime import timedelta
from time import sleep

from flask import Flask, current_app
from sqlalchemy.exc import SQLAlchemyError

from smstracker.carrier import current_carrier
from smstracker.clock import utcnow
from smstracker.logs import set_log_event, suppress_log_line
from smstracker.refused.request import Refusal, RefusedRequest, read_refused_request
from smstracker.web.waiting_threads import waiting_threads
from smstracker.webhooks.throttle import LogThrottle, TokenBucket
from smstracker.webhooks.writer import current_writer

log = logging.getLogger(__name__)

# Kept for each process, a second and at once. What names an account of ours may be Twilio's.
PLAUSIBLE = (200, 1000)
STRANGE = (10, 100)
LINES_PER_MINUTE = 10
# While the database is gone, strange ones must not take the threads by waiting for it.
PAUSE = timedelta(seconds=2)
# While callbacks are being stored, a refused one is held back for so many seconds, as long as fewer
# than three quarters of the threads wait for anything: beside a flood over 32 connections, 24 do.
HELD = 0.5


class Quarantine:
    """One for an app; threads share it."""

    def __init__(self, threads: int) -> None:
        self._most_waiting = max(threads * 3 // 4, 1)
        self._plausible, self._strange = TokenBucket(*PLAUSIBLE), TokenBucket(*STRANGE)
        self._lines = LogThrottle(LINES_PER_MINUTE)
        self._failed_at = utcnow() - PAUSE

    def keep(self, reason: Refusal) -> bool:
        """Keep the current request; False if that failed and it should be sent again.

        That is so if it may be Twilio's. Whatever else goes wrong, it stays refused.
        """
        try:
            found = read_refused_request(reason, current_carrier().signatures.has_token_for)
        except Exception as error:
            return self._not_kept(error)
        try:
            return self._store(found)
        except SQLAlchemyError as error:
            self._failed_at = utcnow()
            self._not_kept(error)
            return not found.is_plausible
        except Exception as error:
            return self._not_kept(error)

    def _store(self, found: RefusedRequest) -> bool:
        """False if there is no room for what may be Twilio's: it may come again."""
        budget = self._plausible if found.is_plausible else self._strange
        paused = not found.is_plausible and abs(utcnow() - self._failed_at) < PAUSE
        if not paused:
            self._hold_back()
        if not paused and budget.take():
            current_writer().keep(found)
            return True
        current_writer().count_refused(patiently=not paused)
        return not (found.is_plausible and found.signature)

    def _hold_back(self) -> None:
        """Let what is signed go first: it shares the interpreter with a flood."""
        waiting = waiting_threads()
        if current_writer().is_busy and waiting.enter_below(self._most_waiting):
            try:
                sleep(HELD)
            finally:
                waiting.leave()

    def _not_kept(self, error: Exception) -> bool:
        if self._lines.take():
            log.error("refused_callback_not_kept", exc_info=error)
        return True

    def name_request(self, reason: str) -> None:
        """Give the request its line in the log, if it may have one."""
        if self.may_log():
            set_log_event("callback_refused", reason=reason)

    def may_log(self) -> bool:
        """Whether the request has a line in the log to itself; if not, it is left out of it."""
        has_line = self._lines.take()
        if not has_line:
            suppress_log_line()
        return has_line

    def log_suppressed_refusals(self) -> None:
        """Write one line for all that had none in the last minute."""
        left_out = self._lines.suppressed_count()
        if left_out:
            log.warning("callbacks_refused", extra={"count": left_out})


def init_app(app: Flask) -> None:
    app.extensions["quarantine"] = Quarantine(app.config["SETTINGS"].web_threads)


def current_quarantine() -> Quarantine:
    quarantine: Quarantine = current_app.extensions["quarantine"]
    return quarantine
