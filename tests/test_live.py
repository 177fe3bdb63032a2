"""The event stream over real HTTP: who is told of what, and that an open stream holds nothing."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import requests
from flask import Flask
from sqlalchemy import insert, text

from smstracker.extensions import db
from smstracker.live import broadcaster, event_stream
from smstracker.models import Message, StatusEvent
from smstracker.models.event_store import append_event
from smstracker.models.events import StatusUpdate
from smstracker.sms.status import Source
from tests.clients import Person
from tests.conftest import free_port, served

MakeApp = Callable[..., Flask]
IsReady = Callable[[], bool]


def stop(app: Flask) -> None:
    app.extensions["broadcaster"].stop()
    wait_until(lambda: not app.extensions["broadcaster"]._is_running)


@pytest.fixture
def house(make_app: MakeApp) -> Iterator[Flask]:
    port = free_port()
    app = make_app(PUBLIC_BASE_URL=f"http://127.0.0.1:{port}")
    with served(app, port):
        yield app
        stop(app)


@pytest.fixture
def ann(house: Flask) -> Person:
    return Person.signed_in(house, "ann@example.org")


def learn(app: Flask, message: Message, word: str = "sent") -> None:
    with app.app_context(), db.engine.begin() as connection:
        append_event(connection, message.id, StatusUpdate(word, Source.LOOKUP, {}))


def ask(person: Person, path: str = "/messages/stream", **headers: str) -> requests.Response:
    cookie = person.client.get_cookie("smstracker_session", domain="127.0.0.1")
    assert cookie
    base = person.app.config["SETTINGS"].public_base_url
    headers |= {"Cookie": f"smstracker_session={cookie.value}"}
    return requests.get(base + path, headers=headers, stream=True, timeout=6)


class Reader:
    """A browser's EventSource."""

    def __init__(self, answer: requests.Response) -> None:
        assert answer.status_code == 200, answer.status_code
        self.answer = answer
        self.lines = answer.iter_lines(chunk_size=1, decode_unicode=True)
        self.id = ""
        assert next(self.lines).startswith("retry: ")

    def next(self) -> list[str]:
        """The ids of the next event; ["*"] for all, [] when the stream has ended."""
        kind, data = "", ""
        for line in self.lines:
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data = value
            elif name == "id":
                self.id = value
            elif not line and data:
                return ["*"] if kind == "all" else json.loads(data)
        return []


@contextmanager
def reading(person: Person, path: str = "/messages/stream", **headers: str) -> Iterator[Reader]:
    answer = ask(person, path, **headers)
    try:
        reader = Reader(answer)  # kept, or its connection would be closed as garbage
        yield reader
    finally:
        answer.close()


def wait_until(is_so: IsReady) -> None:
    for _ in range(500):
        if is_so():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never became so")


def test_stream_tells_what_another_process_has_learned(
    house: Flask, ann: Person, make_app: MakeApp
) -> None:
    message = ann.has_message()
    other = make_app()
    with reading(ann) as reader:
        assert reader.answer.headers["Content-Type"] == "text/event-stream"
        assert reader.answer.headers["Cache-Control"] == "no-store"
        assert reader.answer.headers["X-Accel-Buffering"] == "no"
        learn(other, message)
        assert reader.next() == [str(message.public_id)]


def test_stream_tells_nobody_of_the_messages_of_others(house: Flask, ann: Person) -> None:
    mine, bob = ann.has_message(), Person.signed_in(house, "bob@example.org")
    his = bob.has_message()
    with reading(ann) as reader:
        learn(house, his)
        learn(house, mine)
        assert reader.next() == [str(mine.public_id)]
    with reading(ann, "/messages/stream?since=0") as reader:
        assert reader.next() == [str(mine.public_id)]


def test_resuming_tells_what_came_meanwhile(house: Flask, ann: Person) -> None:
    first, second = ann.has_message(), ann.has_message()
    with reading(ann) as reader:
        learn(house, first)
        assert reader.next() == [str(first.public_id)]
    learn(house, second)
    with reading(ann, "/messages/stream?since=0") as reader:
        assert reader.next() == sorted([str(first.public_id), str(second.public_id)])
    with reading(ann, "/messages/stream?since=0", **{"Last-Event-ID": reader.id}) as again:
        learn(house, first)
        told = again.next()  # a stream may repeat itself
        assert str(first.public_id) in told or str(first.public_id) in again.next()


def test_stream_far_behind_is_told_to_look_at_everything(
    house: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = ann.has_message()
    monkeypatch.setattr("smstracker.live.views.MOST_BEHIND", 1)
    for word in ("queued", "sent", "delivered"):
        learn(house, message, word)
    with reading(ann, "/messages/stream?since=0") as reader:
        assert reader.next() == ["*"]


def test_what_comes_soon_after_an_event_is_told_in_the_next_one(
    house: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "PAUSE", 2.0)
    first, *rest = [ann.has_message() for _ in range(3)]
    with reading(ann) as reader:
        learn(house, first)
        assert reader.next() == [str(first.public_id)]
        for message in rest:
            learn(house, message)
        assert reader.next() == sorted(str(message.public_id) for message in rest)


def test_while_much_is_stored_a_stream_rests_longer(
    house: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "PAUSE_WHEN_BUSY", 30.0)
    feed, message = house.extensions["broadcaster"], ann.has_message()
    with reading(ann) as reader:
        learn(house, message)
        assert reader.next()
        (mine,) = feed._streams
        assert not feed.is_busy
        assert not mine.rests(time.monotonic() + 1)
        feed._rate = 1e6
        assert feed.is_busy
        learn(house, message, "delivered")
        assert reader.next()
        assert mine.rests(time.monotonic() + 1)
        wait_until(lambda: feed._rate < 9e5)  # nothing more comes, so it forgets


def test_every_stream_has_its_turn(
    house: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcaster, "WOKEN_AT_A_BEAT", 1)
    message = ann.has_message()
    with reading(ann) as one, reading(ann) as another, reading(ann) as third:
        learn(house, message)
        assert [reader.next() for reader in (one, another, third)] == [[str(message.public_id)]] * 3


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_event_that_commits_late_is_told_and_never_skipped_by_a_position(
    house: Flask, ann: Person
) -> None:
    early, late = ann.has_message(), ann.has_message()
    news = StatusUpdate("sent", Source.LOOKUP, {}).row()
    with reading(ann) as reader:
        with house.app_context(), db.engine.connect() as slow:
            slow.execute(insert(StatusEvent).values(message_id=late.id, **news))
            learn(house, early)
            assert reader.next() == [str(early.public_id)]
            assert reader.id == "0"
            assert 'data-position="0"' in ann.get("/messages").text
            slow.commit()
        assert reader.next() == [str(late.public_id)]
        assert reader.id == "2"


def test_open_stream_holds_no_connection_and_no_lock(house: Flask, ann: Person) -> None:
    message = ann.has_message()
    with reading(ann) as reader, house.app_context():
        learn(house, message)
        assert reader.next()
        pool = db.engine.pool
        wait_until(lambda: pool.checkedout() == 0)  # type: ignore[attr-defined]
        with db.engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("LOCK TABLE status_event IN ACCESS EXCLUSIVE MODE NOWAIT"))
            else:
                connection.execute(text("DELETE FROM chore"))  # BEGIN IMMEDIATE


def test_threads_of_streams_take_no_room_in_the_pool(make_app: MakeApp) -> None:
    app = make_app(WEB_THREADS="640")
    with app.app_context():
        assert db.engine.pool.size() == 32  # type: ignore[attr-defined]


def test_sign_out_in_another_process_ends_the_stream(
    house: Flask, ann: Person, make_app: MakeApp
) -> None:
    other = make_app()
    with reading(ann) as reader:
        with other.app_context():
            db.session.execute(text("DELETE FROM user_session"))
            db.session.commit()
        assert reader.next() == []


def test_stream_ends_by_itself_and_the_thread_with_the_last(
    house: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "LIFETIME", 0.2)
    with reading(ann) as reader:
        assert reader.next() == []
        assert reader.id == "0"
    feed = house.extensions["broadcaster"]
    wait_until(lambda: not feed._is_running)
    assert feed._streams == set()


def test_streams_stay_below_half_of_the_threads(make_app: MakeApp) -> None:
    port = free_port()
    app = make_app(PUBLIC_BASE_URL=f"http://127.0.0.1:{port}", WEB_THREADS="4")
    with served(app, port):
        person = Person.signed_in(app, "ann@example.org")
        with reading(person):
            refused = ask(person)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "60")
            refused.close()
            stop(app)


def test_one_user_cannot_keep_every_stream_from_another(
    house: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = Person.signed_in(house, "bob@example.org")
    feed = house.extensions["broadcaster"]
    monkeypatch.setattr(feed, "_most", 2)
    with reading(ann), reading(ann), reading(bob):
        assert {stream.owner_id for stream in feed._streams} == {ann.id, bob.id}
        refused = ask(ann)
        assert refused.status_code == 503
        refused.close()


def test_broadcaster_recovers_from_a_database_that_was_away(
    house: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = ann.has_message()
    real, away, failed = broadcaster._read, threading.Event(), threading.Event()

    def read(*args: object) -> list[object]:
        if away.is_set():
            failed.set()
            raise OSError("away")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(broadcaster, "_read", read)
    with reading(ann) as reader:
        away.set()
        learn(house, message)
        assert failed.wait(5)
        away.clear()
        assert reader.next() == [str(message.public_id)]


def test_stream_is_for_signed_in_people(app: Flask) -> None:
    for path in ("/messages/stream", "/messages/rows"):
        answer = app.test_client().get(path)
        assert answer.status_code == 302
        assert "/auth/sign-in" in answer.location


def test_rows_are_ones_own_and_say_what_fits_no_longer(
    alice: Person, bob: Person, app: Flask
) -> None:
    mine, newer, his = alice.has_message(), alice.has_message(), bob.has_message()
    ids = f"{mine.public_id},{his.public_id}"
    page = alice.get(f"/messages/rows?ids={ids}&newest={mine.public_id}").text
    assert f'data-id="{mine.public_id}"' in page
    assert str(his.public_id) not in page
    assert "data-gone" not in page
    assert 'data-new="1"' in page
    assert 'id="pills"' in page
    learn(app, mine, "delivered")
    page = alice.get(f"/messages/rows?ids={ids}&state=waiting&newest={newer.public_id}").text
    assert "no longer in this list" in page
    assert 'data-new="0"' in page
    assert alice.get(f"/messages/rows?newest={his.public_id}").status_code == 404
    assert alice.get("/messages/rows?ids=nonsense").status_code == 404


def test_page_with_nothing_older_takes_nothing_for_new(alice: Person) -> None:
    oldest = alice.has_message()
    alice.has_message()
    assert f'data-newest="{alice.messages()[1].public_id}"' in alice.get("/messages").text
    page = alice.get(f"/messages?before={oldest.public_id}").text
    assert "No older messages" in page
    assert "data-newest" not in page
