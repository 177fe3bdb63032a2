"""Threads for sign-in mails, so that look-ups of addresses never wait for the mail server."""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock, Timer
from time import monotonic

log = logging.getLogger(__name__)

MAX_WAITING_LOOKUPS = 200
MAX_WAITING_MAILS = 200
CHECK_LIFETIME_SECONDS = 5.0
CHECK_WAIT_SECONDS = 1.0
MAX_WAITING_THREADS = 4

Task = Callable[[], None]


@dataclass(order=True, frozen=True, slots=True)
class WaitingMail:
    """A mail in the queue; of those due, the lowest rank is sent first and dropped last."""

    rank: tuple[bool, int, int]
    email: str = field(compare=False)
    network: str = field(compare=False)
    task: Task = field(compare=False)
    due_at: float = field(compare=False)


class MailThreads:
    """Threads for look-ups of addresses, shared checks of the mail server, and mails."""

    def __init__(self) -> None:
        self._lookups = ThreadPoolExecutor(1, "mail-look-up")
        self._checks = ThreadPoolExecutor(1, "mail-check")
        self._senders = ThreadPoolExecutor(2, "mail")
        self._running_lookups: deque[Future[None]] = deque()
        self._waiting_mails: list[WaitingMail] = []
        self._mail_count = 0
        self._timer: Timer | None = None
        self._check: Future[None] | None = None
        self._checked_at = 0.0
        self._lock = Lock()
        self._waiter_slots = BoundedSemaphore(MAX_WAITING_THREADS)

    @property
    def has_room(self) -> bool:
        """Whether the queue of look-ups has room for one more."""
        while self._running_lookups and self._running_lookups[0].done():
            self._running_lookups.popleft()
        return len(self._running_lookups) < MAX_WAITING_LOOKUPS

    def look_up(self, task: Task) -> bool:
        """Queue a look-up; if too many are waiting, drop it, log that and return False."""
        if not self.has_room:
            log.error("mail_dropped", extra={"reason": "too many requests"})
            return False
        self._running_lookups.append(self._lookups.submit(task))
        return True

    def check(self, task: Task) -> Future[None]:
        """The latest check of the mail server, or `task` as a new one if that has expired.

        Sent mails do not count as checks, as the response time would show who gets a mail.
        """
        with self._lock:
            is_expired = monotonic() - self._checked_at > CHECK_LIFETIME_SECONDS
            if self._check is None or (is_expired and self._check.done()):
                self._check, self._checked_at = self._checks.submit(task), monotonic()
            return self._check

    def send(
        self, task: Task, email: str, network: str, is_newcomer: bool, delay: float = 0.0
    ) -> None:
        """Queue `task`, which sends a mail to `email` after `delay` seconds at the earliest.

        If too many are waiting, drop the last. What is delayed ends with the process.

        Users rank before newcomers, then addresses and networks with few waiting mails: strangers
        can request many mails to one address, or to any address of an allowed domain.
        """
        with self._lock:
            similar_count = sum(
                email == mail.email or network == mail.network for mail in self._waiting_mails
            )
            self._mail_count += 1
            rank = (is_newcomer, similar_count, self._mail_count)
            due_at = monotonic() + delay
            self._waiting_mails.append(WaitingMail(rank, email, network, task, due_at))
            is_full = len(self._waiting_mails) > MAX_WAITING_MAILS
            if is_full:
                self._waiting_mails.remove(max(self._waiting_mails))
            if not delay:
                self._senders.submit(self._send_next)
        if delay:
            self._send_due()
        if is_full:
            log.error("mail_dropped", extra={"reason": "too many mails"})

    def _send_due(self) -> None:
        """Have sent what is due, and set the timer to what is due next."""
        with self._lock:
            now = monotonic()
            if self._timer:
                self._timer.cancel()
            for mail in self._waiting_mails:
                if mail.due_at <= now:
                    self._senders.submit(self._send_next)
            later = [mail.due_at for mail in self._waiting_mails if mail.due_at > now]
            if later:
                self._timer = Timer(min(later) - now, self._send_due)
                self._timer.daemon = True
                self._timer.start()

    def _send_next(self) -> None:
        with self._lock:
            now = monotonic()
            mail = min((mail for mail in self._waiting_mails if mail.due_at <= now), default=None)
            if mail is None:  # it was dropped
                return
            self._waiting_mails.remove(mail)
        mail.task()

    def wait_briefly(self, check: Future[None]) -> None:
        """Wait for a check, for one second and on a few threads at most."""
        if not check.done() and self._waiter_slots.acquire(blocking=False):
            wait([check], CHECK_WAIT_SECONDS)
            self._waiter_slots.release()
