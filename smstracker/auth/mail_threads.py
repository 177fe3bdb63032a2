"""Threads for mails: no look-up waits for the mail server, no mail for those who get none."""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from threading import BoundedSemaphore, Lock
from time import monotonic

log = logging.getLogger(__name__)

WAITING_LOOKUPS = 200
WAITING_MAILS = 200
CHECK_KEPT = 5.0  # seconds
WAIT = 1.0  # seconds
MOST_WAITERS = 4

Task = Callable[[], None]


@dataclass(order=True, frozen=True, slots=True)
class WaitingMail:
    """A mail that waits for a thread; the lowest rank is sent first and dropped last."""

    rank: tuple[bool, int, int]
    email: str = field(compare=False)
    network: str = field(compare=False)
    task: Task = field(compare=False)


class MailThreads:
    """Runs look-ups, checks of the server that all askers share, and mails to those who get one."""

    def __init__(self) -> None:
        self._lookups = ThreadPoolExecutor(1, "mail-look-up")
        self._checks = ThreadPoolExecutor(1, "mail-check")
        self._senders = ThreadPoolExecutor(2, "mail")
        self._lookups_under_way: deque[Future[None]] = deque()
        self._sends_under_way: deque[Future[None]] = deque()
        self._mails: list[WaitingMail] = []
        self._mails_so_far = 0
        self._check: Future[None] | None = None
        self._checked_at = 0.0
        self._lock = Lock()
        self._waiters = BoundedSemaphore(MOST_WAITERS)

    @property
    def has_room(self) -> bool:
        """Whether one more look-up can wait."""
        _forget_done(self._lookups_under_way)
        return len(self._lookups_under_way) < WAITING_LOOKUPS

    def look_up(self, task: Task) -> bool:
        """Run `task` soon. When too many are waiting, it is dropped and logged."""
        if not self.has_room:
            log.error("mail_dropped", extra={"reason": "too many requests"})
            return False
        self._lookups_under_way.append(self._lookups.submit(task))
        return True

    def check(self, task: Task) -> Future[None]:
        """The check of the server: the newest one if it began just now, otherwise `task`.

        Mails are no checks: then the time until one is known would tell who gets a mail.
        """
        with self._lock:
            is_old = monotonic() - self._checked_at > CHECK_KEPT
            if self._check is None or (is_old and self._check.done()):
                self._check, self._checked_at = self._checks.submit(task), monotonic()
            return self._check

    def send(self, task: Task, email: str, network: str, is_newcomer: bool) -> None:
        """Run `task`, which sends a mail to `email`, when its turn comes.

        Users come before newcomers, and who has few mails waiting before who has many: strangers
        can ask for many at one address, or at any address of a domain that is let in.
        """
        with self._lock:
            alike = sum(email == mail.email or network == mail.network for mail in self._mails)
            self._mails_so_far += 1
            rank = (is_newcomer, alike, self._mails_so_far)
            self._mails.append(WaitingMail(rank, email, network, task))
            is_full = len(self._mails) > WAITING_MAILS
            if is_full:
                self._mails.remove(max(self._mails))
            _forget_done(self._sends_under_way)
            self._sends_under_way.append(self._senders.submit(self._send_next))
        if is_full:
            log.error("mail_dropped", extra={"reason": "too many mails"})

    def _send_next(self) -> None:
        with self._lock:
            if not self._mails:  # the one of this turn was dropped
                return
            mail = min(self._mails)
            self._mails.remove(mail)
        mail.task()

    def wait_briefly(self, check: Future[None]) -> None:
        """Wait for a check for a second at most, and never with many threads."""
        if not check.done() and self._waiters.acquire(blocking=False):
            wait([check], WAIT)
            self._waiters.release()

    def drain(self) -> None:
        """Wait until everything is done."""
        wait(list(self._lookups_under_way))
        wait([self._check] if self._check else [])
        wait(list(self._sends_under_way))

    def close(self) -> None:
        """Finish what is under way and end the threads."""
        for threads in (self._lookups, self._checks, self._senders):
            threads.shutdown()


def _forget_done(under_way: deque[Future[None]]) -> None:
    while under_way and under_way[0].done():
        under_way.popleft()
