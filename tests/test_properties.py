"""What holds for every sequence of callbacks and for any bytes, as hypothesis finds them."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Message
from smstracker.models.callback_store import Callback as GroupedCallback
from smstracker.models.callback_store import store_callback, store_callbacks
from smstracker.models.events import StatusUpdate
from smstracker.sms.status import Source
from tests.clients import Person
from tests.signing import ACCOUNT_SID, STATUS_PATH, sid, signature

pytestmark = pytest.mark.both_databases


Callback = tuple[str, str | None]

# The database is made once for a test and not for each example: every example has its own message.
REAL = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def legal_sequences(draw: st.DrawFn) -> list[Callback]:
    """What Twilio may call back about one message, in its own order."""
    start = draw(st.sampled_from([[], ["accepted"], ["scheduled"], ["queued"]]))
    middle = draw(st.sampled_from([[], ["queued"], ["queued", "sending"], ["sending"]]))
    words: list[Callback] = [(word, None) for word in dict.fromkeys([*start, *middle])]
    code = draw(st.sampled_from([None, "30003", "30008"]))
    end = draw(
        st.sampled_from(
            [
                [("canceled", None)],
                [("failed", code)],
                [("sent", None)],
                [("sent", None), ("undelivered", code)],
                [("sent", None), ("delivered", draw(st.sampled_from([None, "30018"])))],
                [("sent", None), ("delivered", None), ("read", None)],
                [("sent", None), ("partially_delivered", None), ("delivered", None)],
                # A late receipt after all, which does happen.
                [("failed", code), ("delivered", None)],
                [("sent", None), ("undelivered", code), ("delivered", None), ("read", None)],
            ]
        )
    )
    return words + end


@st.composite
def shuffles(draw: st.DrawFn) -> tuple[list[Callback], list[Callback]]:
    """A legal sequence, and the same one in any order with any repeats."""
    ordered = draw(legal_sequences())
    repeats = draw(st.lists(st.sampled_from(ordered), max_size=4))
    return ordered, draw(st.permutations(ordered + repeats))


def status_update(number: int, callback: Callback) -> StatusUpdate:
    word, code = callback
    return StatusUpdate(word, Source.CALLBACK, {}, sid(number), code, account_sid=ACCOUNT_SID)


class Book:
    """Messages of Alice, one for each run, and what became of them."""

    def __init__(self, app: Flask, owner: int) -> None:
        self.app, self.owner, self.number = app, owner, 0

    def new_message(self) -> int:
        self.number += 1
        row: dict[str, Any] = {"public_id": uuid.uuid4(), "idempotency_key": uuid.uuid4()}
        row |= {"owner_id": self.owner, "recipient": "+15558675310", "sender": "+15005550006"}
        row |= {"body": "x", "media_urls": [], "simulated": False, "status": "pending"}
        row |= {"twilio_sid": sid(self.number), "account_sid": ACCOUNT_SID}
        with db.engine.begin() as connection:
            connection.execute(
                insert(Message).values(**row, status_at=utcnow(), created_at=utcnow())
            )
        return self.number

    def apply(self, number: int, callbacks: Sequence[Callback]) -> None:
        for callback in callbacks:
            with db.engine.begin() as connection:
                store_callback(connection, None, status_update(number, callback))

    def apply_in_groups(self, number: int, callbacks: Sequence[Callback]) -> None:
        updates = [status_update(number, callback) for callback in callbacks]
        for part in (updates[:2], updates[2:]):
            with db.engine.begin() as connection:
                store_callbacks(connection, [GroupedCallback(None, update) for update in part])

    def apply_at_once(self, number: int, callbacks: Sequence[Callback]) -> None:
        def one(callback: Callback) -> None:
            with self.app.app_context():
                self.apply(number, [callback])

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(one, callbacks))

    def after(
        self, callbacks: Sequence[Callback], apply: Callable[[int, Sequence[Callback]], None]
    ) -> tuple[Any, ...]:
        """What a new message comes to when the callbacks are applied to it."""
        number = self.new_message()
        apply(number, callbacks)
        return self.state(number)

    def state(self, number: int) -> tuple[Any, ...]:
        which = (Message.status, Message.error_code, Message.has_conflict)
        facts = (Message.final_at.is_(None), Message.accepted_at.is_(None))
        with db.engine.connect() as connection:
            chosen = select(*which, *facts).where(Message.twilio_sid == sid(number))
            return tuple(connection.execute(chosen).one())


@pytest.fixture
def book(app: Flask, alice: Person) -> Iterator[Book]:
    book = Book(app, alice.id)
    with app.app_context():
        yield book
        db.session.remove()


@REAL
@given(shuffles())
@example(
    (
        [("failed", "30008"), ("delivered", None), ("read", None)],
        [("read", None), ("delivered", None), ("failed", "30008")],
    )
)
def test_any_order_with_any_repeats_ends_as_the_ordered_one(
    book: Book, both: tuple[list[Callback], list[Callback]]
) -> None:
    ordered, shuffled = both
    assert book.after(ordered, book.apply) == book.after(shuffled, book.apply)


@pytest.mark.slow
@REAL
@given(shuffles())
def test_groups_in_any_order_end_as_the_ordered_callbacks(
    book: Book, both: tuple[list[Callback], list[Callback]]
) -> None:
    ordered, shuffled = both
    assert book.after(ordered, book.apply) == book.after(shuffled, book.apply_in_groups)


@pytest.mark.slow
@settings(REAL, max_examples=15)
@given(shuffles())
def test_eight_threads_at_once_end_as_the_ordered_one(
    book: Book, both: tuple[list[Callback], list[Callback]]
) -> None:
    ordered, shuffled = both
    assert book.after(ordered, book.apply) == book.after(shuffled, book.apply_at_once)


CODES = {204, 400, 403, 413, 415, 503}
FORM = "application/x-www-form-urlencoded"
KINDS = (FORM, f"{FORM}; charset=utf-8", f"{FORM}; charset=nonsense", "text/plain")
KINDS += ("multipart/form-data; boundary=x", "")
NAMES = ("MessageSid", "SmsSid", "MessageStatus", "SmsStatus", "ErrorCode", "AccountSid", "New")
PRINTABLE = st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#")
LATIN = st.characters(min_codepoint=32, max_codepoint=255)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(REAL, max_examples=150)
@given(
    body=st.binary(max_size=400),
    path=st.text(PRINTABLE, max_size=30),
    query=st.text(PRINTABLE, max_size=30),
    kind=st.sampled_from(KINDS),
    signed=st.text(LATIN, max_size=60),
)
def test_any_bytes_at_the_webhook_are_never_a_500(
    app: Flask, body: bytes, path: str, query: str, kind: str, signed: str
) -> None:
    for target in (f"{STATUS_PATH}?{query}", f"{STATUS_PATH}/{path}"):
        answer = app.test_client().post(
            target, data=body, content_type=kind, headers={"X-Twilio-Signature": signed}
        )
        assert answer.status_code in CODES | {404}


@pytest.mark.slow
@settings(REAL, max_examples=150)
@given(st.dictionaries(st.sampled_from(NAMES) | VALUES, VALUES | st.just(sid(1)), max_size=8))
def test_any_signed_form_is_stored_or_refused_in_words(app: Flask, form: dict[str, str]) -> None:
    answer = app.test_client().post(
        STATUS_PATH,
        data=form,
        content_type=FORM,
        headers={"X-Twilio-Signature": signature(STATUS_PATH, form)},
    )
    assert answer.status_code in (204, 400)
