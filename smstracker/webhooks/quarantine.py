"""Keeps refused callbacks before the refusal is answered, unless there are too many of them."""

import logging
from datetime import timedelta

from flask import Flask, current_app, request
from sqlalchemy.exc import SQLAlchemyError

from smstracker.carrier import current_carrier
from smstracker.clock import utcnow
from smstracker.logs import leave_out_request, name_request
from smstracker.webhooks.evidence import Evidence, Refusal, evidence
from smstracker.webhooks.flood import Budget, Lines
from smstracker.webhooks.writer import current_writer

log = logging.getLogger(__name__)

# Kept for each process, a second and at once. What names an account of ours may be Twilio's.
PLAUSIBLE = (200, 1000)
STRANGE = (10, 100)
LINES_PER_MINUTE = 10
# While the database is gone, strange ones must not take the threads by waiting for it.
PAUSE = timedelta(seconds=2)
# While callbacks are being stored, the answer to a refused one is held back for so many seconds.
HELD = 0.5


class Quarantine:
    """One for an app; threads share it."""

    def __init__(self) -> None:
        self._plausible, self._strange = Budget(*PLAUSIBLE), Budget(*STRANGE)
        self._lines = Lines(LINES_PER_MINUTE)
        self._failed_at = utcnow() - PAUSE

    def keep(self, reason: Refusal) -> bool:
        """Keep the current request; False if that failed and it should be sent again.

        That is so if it may be Twilio's. Whatever else goes wrong, it stays refused.
        """
        try:
            found = evidence(reason, current_carrier().signatures.knows)
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

    def _store(self, found: Evidence) -> bool:
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
        """Let what is signed go first: it shares the interpreter with a flood.

        The server waits, and no thread does; another server than ours answers at once.
        """
        hold_back = getattr(request.environ.get("gunicorn.socket"), "hold_back", None)
        if hold_back and current_writer().is_busy:
            hold_back(HELD)

    def _not_kept(self, error: Exception) -> bool:
        if self._lines.take():
            log.error("refused_callback_not_kept", exc_info=error)
        return True

    def name_request(self, reason: str) -> None:
        """Give the request its line in the log, if it may have one."""
        if self.may_log():
            name_request("callback_refused", reason=reason)

    def may_log(self) -> bool:
        """Whether the request has a line in the log to itself; if not, it is left out of it."""
        has_line = self._lines.take()
        if not has_line:
            leave_out_request()
        return has_line

    def tell_of_flood(self) -> None:
        """Write one line for all that had none in the last minute."""
        left_out = self._lines.left_out()
        if left_out:
            log.warning("callbacks_refused", extra={"count": left_out})


def init_app(app: Flask) -> None:
    app.extensions["quarantine"] = Quarantine()


def current_quarantine() -> Quarantine:
    quarantine: Quarantine = current_app.extensions["quarantine"]
    return quarantine
