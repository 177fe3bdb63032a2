"""Keep refused callbacks before the refusal is answered, within rate limits."""

import logging
from datetime import timedelta
from typing import cast

from flask import Flask, current_app, request
from sqlalchemy.exc import SQLAlchemyError

from smstracker.clock import utcnow
from smstracker.logs import set_log_event, suppress_log_line
from smstracker.refused.request import RefusedRequest, read_refused_request
from smstracker.refused.status_callback import Refusal
from smstracker.web.throttle import LogThrottle, TokenBucket
from smstracker.webhooks.writer import current_writer

log = logging.getLogger(__name__)

# For each process: refusals a second, and at once. Those that name our account may be Twilio's.
PLAUSIBLE_LIMIT = (200, 1000)
STRANGER_LIMIT = (10, 100)
LOG_LINES_PER_MINUTE = 10
# While the database is down, strangers' requests must not occupy the threads by waiting for it.
STRANGER_PAUSE = timedelta(seconds=2)
# Delay of the response to a refused request while callbacks are being stored.
HOLD_BACK_SECONDS = 0.5


class Quarantine:
    """Quarantine of one app, shared by its threads."""

    def __init__(self) -> None:
        self._plausible_bucket = TokenBucket(*PLAUSIBLE_LIMIT)
        self._stranger_bucket = TokenBucket(*STRANGER_LIMIT)
        self._log_throttle = LogThrottle(LOG_LINES_PER_MINUTE)
        self._failed_at = utcnow() - STRANGER_PAUSE

    def keep(self, reason: Refusal) -> bool:
        """Keep the current request; False if it may be Twilio's and has to be sent again.

        Any other failure leaves it refused but not kept.
        """
        try:
            refused = read_refused_request(reason)
            try:
                return self._store(refused)
            except SQLAlchemyError as error:
                self._failed_at = utcnow()
                self._log_failure(error)
                return not refused.is_plausible
        except Exception as error:
            return self._log_failure(error)

    def _store(self, refused: RefusedRequest) -> bool:
        """Store within the limits; False if there is no room for what may be Twilio's."""
        bucket = self._plausible_bucket if refused.is_plausible else self._stranger_bucket
        is_paused = not refused.is_plausible and abs(utcnow() - self._failed_at) < STRANGER_PAUSE
        if not is_paused:
            self._hold_back()
        if not is_paused and bucket.take():
            current_writer().write(refused)
            return True
        current_writer().count_refused(may_wait=not is_paused)
        return not (refused.is_plausible and refused.signature)

    def _hold_back(self) -> None:
        """Let verified callbacks go first: they share the interpreter with a flood.

        Our gunicorn worker delays the response without a thread; other servers answer at once.
        """
        hold_back = getattr(request.environ.get("gunicorn.socket"), "hold_back", None)
        if hold_back and current_writer().is_busy:
            hold_back(HOLD_BACK_SECONDS)

    def _log_failure(self, error: Exception) -> bool:
        """Log why a request is not kept; True, because it stays refused."""
        if self._log_throttle.take():
            log.error("refused_callback_not_kept", exc_info=error)
        return True

    def log_refusal(self, reason: str) -> None:
        """Log the request as a refusal, unless the throttle suppresses its line."""
        if self.may_log():
            set_log_event("callback_refused", reason=reason)

    def may_log(self) -> bool:
        """Whether the request may have a log line of its own; otherwise suppress that line."""
        has_line = self._log_throttle.take()
        if not has_line:
            suppress_log_line()
        return has_line

    def log_suppressed_refusals(self) -> None:
        """Log how many lines were suppressed in the last minute, in one line."""
        suppressed_count = self._log_throttle.suppressed_count()
        if suppressed_count:
            log.warning("callbacks_refused", extra={"count": suppressed_count})


def init_app(app: Flask) -> None:
    app.extensions["quarantine"] = Quarantine()


def current_quarantine() -> Quarantine:
    return cast(Quarantine, current_app.extensions["quarantine"])
