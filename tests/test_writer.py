"""Group commit: callbacks share a transaction, and none costs another its place."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from flask import Flask
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from werkzeug.datastructures import MultiDict

from smstracker.carrier import Signer
from smstracker.extensions import db
from smstracker.models import Message, StatusEvent
from smstracker.models.events import News
from smstracker.models.recording import Recorded, record
from smstracker.status import Source
from smstracker.webhooks import writer
from smstracker.webhooks.forms import read_callback
from tests.people import Person
from tests.signing import ACCOUNT_SID, fields, sid

SIGNER = Signer(ACCOUNT_SID, "primary")


def news_of(number: int, word: str) -> News:
    news = read_callback(MultiDict(fields(sid(number), word)), SIGNER, None)
    assert news is not None
    return news


def write(app: Flask, *waiting: tuple[Message | None, News]) -> list[BaseException | None]:
    """Write callbacks as one group, as a process of its own would; the error of each."""
    group = writer.CallbackWriter(100)
    group._waiting = [
        (writer.Callback(message.public_id if message else None, news), writer.Future())
        for message, news in waiting
    ]
    done = [future for _, future in group._waiting]
    with app.app_context():
        group._write_all(db.engine)
    return [future.exception(timeout=0) for future in done]


def test_one_that_cannot_be_stored_does_not_cost_the_others_their_place(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = writer.record_callback

    def failing(connection, public_id, news) -> Recorded:  # type: ignore[no-untyped-def]
        if news.twilio_sid == sid(1):
            raise ValueError("cannot be stored")
        return real(connection, public_id, news)

    monkeypatch.setattr(writer, "record_callback", failing)
    bad, good = write(app, (None, news_of(1, "sent")), (None, news_of(2, "sent")))
    assert isinstance(bad, ValueError)
    assert good is None
    with app.app_context():
        assert db.session.scalar(select(func.count()).select_from(StatusEvent)) == 1


def test_group_is_written_in_one_order_so_that_processes_cannot_deadlock(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str | None, str]] = []

    def note(_connection: object, _id: object, news: News) -> Recorded:
        written.append((news.twilio_sid, news.status))
        return Recorded(is_repeated=False, is_matched=True)

    monkeypatch.setattr(writer, "record_callback", note)
    came = [(2, "sent"), (1, "sent"), (2, "delivered"), (1, "queued")]
    write(app, *((None, news_of(number, word)) for number, word in came))
    expected = [(1, "sent"), (1, "queued"), (2, "sent"), (2, "delivered")]
    assert written == [(sid(number), word) for number, word in expected]


def test_database_that_fails_the_group_fails_every_callback_of_it(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_args: object) -> None:
        raise OperationalError("INSERT", {}, Exception("gone"))

    monkeypatch.setattr(writer, "record_callback", gone)
    errors = write(app, *((None, news_of(number, "sent")) for number in (1, 2)))
    assert all(isinstance(error, OperationalError) for error in errors)


@pytest.mark.parametrize("seed", [1, 2])
def test_many_processes_at_once_neither_deadlock_nor_lose_anything(
    app: Flask, alice: Person, seed: int
) -> None:
    """By path and by SID alone, before and after the send answer, eight groups at a time."""
    chance = random.Random(seed)
    messages = [alice.has_message(status="pending", body=str(n)) for n in range(12)]
    words = ("queued", "sending", "sent", "delivered", "sent", "delivered")
    callbacks = [(number, word) for number in range(12) for word in words]
    chance.shuffle(callbacks)

    def one_group(group: list[tuple[int, str]]) -> None:
        waiting = [
            (
                messages[number] if chance.random() < 0.5 else None,
                replace(news_of(number, word), idempotency_token=str(chance.random())),
            )
            for number, word in group
        ]
        assert write(app, *waiting) == [None] * len(group)

    def send_answer(number: int) -> None:
        with app.app_context(), db.engine.begin() as connection:
            record(connection, messages[number].id, News("queued", Source.SEND, {}, sid(number)))

    with ThreadPoolExecutor(8) as threads:
        done = [threads.submit(one_group, callbacks[at : at + 5]) for at in range(0, 72, 5)]
        done += [threads.submit(send_answer, number) for number in range(12)]
        assert [future.exception() for future in done] == [None] * len(done)
    ended = {message.twilio_sid: message for message in alice.messages()}
    assert set(ended) == {sid(number) for number in range(12)}
    assert {message.status for message in ended.values()} == {"delivered"}
    assert {len(alice.events(message)) for message in ended.values()} == {len(words) + 1}
