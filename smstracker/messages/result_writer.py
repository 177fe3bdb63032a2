"""Group commit: what Twilio answers to several threads at a time is stored in one transaction."""

import logging
from queue import SimpleQueue
from threading import Lock

from smstracker.database.problems import log_reason
from smstracker.extensions import db
from smstracker.models.event_store import apply_send_results
from smstracker.models.events import SendResult

log = logging.getLogger(__name__)


class _PendingResult:
    """A result that waits for its commit; `is_stored` is None until that was tried."""

    def __init__(self, message_id: int, result: SendResult) -> None:
        self.message_id, self.result = message_id, result
        self.is_stored: bool | None = None


class SendResultWriter:
    """Stores the results of threads that send; needs an app context.

    One thread stores all that have come while another one was storing, and waits for no more.
    """

    def __init__(self) -> None:
        self._pending: SimpleQueue[_PendingResult] = SimpleQueue()
        self._lock = Lock()

    def store(self, message_id: int, result: SendResult) -> bool:
        """Store a result, perhaps with others; False if that failed, perhaps because of another."""
        pending = _PendingResult(message_id, result)
        self._pending.put(pending)
        with self._lock:
            if pending.is_stored is None:
                self._store_group()
        return pending.is_stored is True

    def _store_group(self) -> None:
        group = [self._pending.get() for _ in range(self._pending.qsize())]
        results = {pending.message_id: pending.result for pending in group}
        try:
            with db.engine.begin() as connection:
                apply_send_results(connection, results)
            is_stored = True
        except Exception as error:
            facts = {"reason": log_reason(error), "count": len(group)}
            log.warning("send_outcomes_not_recorded", extra=facts)
            is_stored = False
        for pending in group:
            pending.is_stored = is_stored
