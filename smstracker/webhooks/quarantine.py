"""Keep refused callbacks before the refusal is answered, within rate limits."""

import logging
from concurrent.futures import Future
from typing import cast

from flask import Flask, current_app, request

from smstracker.callback_requests.status_callback import Refusal
from smstracker.logs import set_log_event, suppress_log_line
from smstracker.refused.request import read_refused_request
from smstracker.web.throttle import LogThrottle, TokenBucket
from smstracker.webhooks.writer import PendingWrite, StuckError, current_writer

log = logging.getLogger(__name__)

# For each process: refusals a second, and at once. Those that name our account may be Twilio's.
PLAUSIBLE_LIMIT = (200, 1000)
STRANGER_LIMIT = (10, 100)
LOG_LINES_PER_MINUTE = 10
# Delay of the response to a refused request while callbacks are being stored.
HOLD_BACK_SECONDS = 0.5


class Quarantine:
    """Quarantine of one app, shared by its threads."""

    def __init__(self) -> None:
        self._plausible_bucket = TokenBucket(*PLAUSIBLE_LIMIT)
        self._stranger_bucket = TokenBucket(*STRANGER_LIMIT)
        self._log_throttle = LogThrottle(LOG_LINES_PER_MINUTE)

    def keep(self, reason: Refusal) -> PendingWrite | None:
        """Have the current request stored; None if it is refused without being kept."""
        try:
            refused = read_refused_request(reason)
        except Exception as error:
            self._log_failure(error)
            return None
        # While the database is down, strangers' requests are not tried.
        is_paused = not refused.is_plausible and current_writer().is_unavailable
        bucket = self._plausible_bucket if refused.is_plausible else self._stranger_bucket
        if not is_paused:
            self._hold_back()
        if not is_paused and bucket.take():
            write = current_writer().write(refused)
            write.add_done_callback(self._log_failed_write)
            return write
        current_writer().count_refused(reason)
        if refused.is_plausible and refused.signature:
            # It may be Twilio's: to be sent again when there is room.
            write = PendingWrite(refused)
            write.set_exception(StuckError())
            return write
        return None

    def _hold_back(self) -> None:
        """Let verified callbacks go first: they share the interpreter with a flood.

        Our gunicorn worker delays the response without a thread; other servers answer at once.
        """
        hold_back = getattr(request.environ.get("gunicorn.socket"), "hold_back", None)
        if hold_back and current_writer().is_busy:
            hold_back(HOLD_BACK_SECONDS)

    def _log_failed_write(self, write: "Future[None]") -> None:
        if error := write.exception():
            self._log_failure(error)

    def _log_failure(self, error: BaseException) -> None:
        """Log why a request is not kept."""
        if self._log_throttle.take():
            log.error("refused_callback_not_kept", exc_info=error)

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
