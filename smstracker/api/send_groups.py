"""Group commit of sends: those that come while a transaction runs are saved by the next together.

A commit waits for the disk, and one owner's messages for each other: together they wait once. No
owner's messages wait for those of another.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Event, Lock
from typing import cast

from flask import Flask, current_app

from smstracker.database.engine import UNAVAILABLE
from smstracker.extensions import db, writing
from smstracker.models.message_drafts import (
    Draft,
    create_all,
    create_locked,
    lock_owners,
)
from smstracker.models.messages import Message
from smstracker.models.send_limits import NotSavedError
from smstracker.web.waiting_threads import waiting_threads

EXTENSION = "api_send_groups"
FREE_WAIT = 0.5  # seconds, after which a thread counts as one that waits
MAX_GROUP = 50  # messages; callbacks wait for the transaction on SQLite

Outcome = Message | NotSavedError


class TooManySavedError(NotSavedError):
    """As many threads wait as may, while messages of the same owner cannot be saved."""


@dataclass(eq=False, slots=True)
class _Waiting:
    """A draft and, once its transaction is over, its outcome or what went wrong.

    `wake` is set then, or when its thread has to save the next group.
    """

    draft: Draft
    outcome: Outcome | None = None
    error: Exception | None = None
    wake: Event = field(default_factory=Event)

    @property
    def is_over(self) -> bool:
        return self.outcome is not None or self.error is not None


class SendGroups:
    """The drafts of a process that wait to be saved. Of each owner, one of their threads saves them
    all.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        # By owner, while messages of that owner are being saved.
        self._waiting: dict[int, list[_Waiting]] = {}

    def save(self, draft: Draft) -> Message:
        """Save and commit a draft. Raises what `create_all` gives, TooManySavedError, or what went
        wrong.
        """
        waiting = _Waiting(draft)
        if not self._begin(waiting) and not waiting.wake.wait(FREE_WAIT):
            self._wait_longer(waiting)
        if not waiting.is_over:
            self._save_group(waiting)
        if waiting.error is not None:
            raise waiting.error
        if isinstance(waiting.outcome, NotSavedError):
            raise waiting.outcome
        return cast(Message, waiting.outcome)

    def _wait_longer(self, waiting: _Waiting) -> None:
        """Wait in one of the threads that may; without one, give up unless it is just being saved.

        Else an owner whose row is locked could take all threads of a process.
        """
        threads = waiting_threads()
        if threads.enter():
            try:
                waiting.wake.wait()
            finally:
                threads.leave()
        elif self._withdraw(waiting):
            raise TooManySavedError
        else:
            waiting.wake.wait()

    def _withdraw(self, waiting: _Waiting) -> bool:
        """Take a draft out of the queue; False if somebody has taken it to save it."""
        with self._lock:
            queue = self._waiting.get(waiting.draft.owner_id, [])
            is_queued = waiting in queue
            if is_queued:
                queue.remove(waiting)
            return is_queued

    def _begin(self, waiting: _Waiting) -> bool:
        """Return whether this thread saves, because no other does; else the draft waits."""
        with self._lock:
            is_first = waiting.draft.owner_id not in self._waiting
            queue = self._waiting.setdefault(waiting.draft.owner_id, [])
            if not is_first:
                queue.append(waiting)
            return is_first

    def _save_group(self, first: _Waiting) -> None:
        """Save a draft with those that wait, and have the first of the rest save the next group."""
        group = [first]
        try:
            self._save_with_others(group)
        finally:
            following = self._take_following(first.draft.owner_id)
            for member in group:
                if not member.is_over:  # the thread is being ended
                    member.error = RuntimeError("the group was not saved")
                member.wake.set()
            if following is not None:
                following.wake.set()

    def _save_with_others(self, group: list[_Waiting]) -> None:
        """Save a group with those that have come when its turn does.

        If one of them cannot be stored, each is saved alone; none is while the database is away.
        """
        try:
            with writing():
                owner_id = group[0].draft.owner_id
                lock_owners([owner_id])  # waits for other processes, while more drafts come
                group += self._take(owner_id)
                outcomes = create_locked([waiting.draft for waiting in group])
            _tell(group, outcomes)
        except Exception as error:
            for waiting in group:
                if len(group) == 1 or isinstance(error, UNAVAILABLE):
                    waiting.error = error
                else:
                    _save_alone(waiting)

    def _take(self, owner_id: int) -> list[_Waiting]:
        """Take those of an owner that wait, as many as fit into the group."""
        with self._lock:
            queue = self._waiting[owner_id]
            taken = queue[: MAX_GROUP - 1]
            del queue[: MAX_GROUP - 1]
        return taken

    def _take_following(self, owner_id: int) -> _Waiting | None:
        """Take the first that still waits; if none does, the owner's next draft begins anew."""
        with self._lock:
            if queue := self._waiting[owner_id]:
                return queue.pop(0)
            del self._waiting[owner_id]
        return None


def init_app(app: Flask) -> None:
    app.extensions[EXTENSION] = SendGroups()


def save_message(draft: Draft) -> Message:
    """Save and commit a message, with those that wait. Raises NotSavedError of some kind."""
    db.session.rollback()  # no transaction is open while it waits
    return cast(SendGroups, current_app.extensions[EXTENSION]).save(draft)


def _save_alone(waiting: _Waiting) -> None:
    try:
        with writing():
            outcomes = create_all([waiting.draft])
        _tell([waiting], outcomes)
    except Exception as error:
        waiting.error = error


def _tell(group: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
    # Other threads read them: without a session, no access to one can begin a query.
    db.session.expunge_all()
    for waiting, outcome in zip(group, outcomes, strict=True):
        waiting.outcome = outcome
