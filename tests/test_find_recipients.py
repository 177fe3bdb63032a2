"""Recipients that were searched for: what was typed, and the handle that stands for it."""

import threading

from flask import Flask

from smstracker.extensions import db
from smstracker.models import RecipientSearch
from tests.people import Person


def test_same_search_twice_at_once_gets_one_handle(app: Flask, alice: Person) -> None:
    me, first_is_stored = alice.id, threading.Event()
    found: list[str] = []

    def again() -> None:
        with app.test_request_context(method="POST"):
            first_is_stored.wait(5)
            found.append(RecipientSearch.remember(me, "5310", is_full=False).handle)
            db.session.commit()

    other = threading.Thread(target=again)
    other.start()
    with app.test_request_context(method="POST"):
        found.append(RecipientSearch.remember(me, "5310", is_full=False).handle)
        first_is_stored.set()
        other.join(0.3)  # it waits for the row, or has got one of its own
        db.session.commit()
    other.join(5)
    assert len(found) == 2
    assert len(set(found)) == 1

