"""The event stream over real HTTP: who gets which changes, and that it holds no resources."""

# Fixtures are imported.
# ruff: noqa: F811

import re
import threading
import time

import pytest
from flask import Flask
from sqlalchemy import insert, text

from smstracker.extensions import db
from smstracker.live import broadcaster, event_stream, views
from smstracker.messages.search import PAGE_SIZE
from smstracker.models import StatusEvent
from smstracker.models.event_feed import EventTail
from smstracker.models.events import StatusUpdate
from smstracker.sms.status import Source
from tests.clients import Person
from tests.serving import free_port, served
from tests.stream_readers import (  # noqa: F401
    MakeApp,
    ann,
    append_status,
    open_stream,
    request_stream,
    streaming_app,
    wait_until,
)

pytestmark = pytest.mark.both_databases


def test_stream_sends_changes_of_another_process(
    streaming_app: Flask, ann: Person, make_app: MakeApp
) -> None:
    message = ann.has_message()
    other = make_app()
    with open_stream(ann) as reader:
        assert reader.response.headers["Content-Type"] == "text/event-stream"
        assert reader.response.headers["Cache-Control"] == "no-store"
        assert reader.response.headers["X-Accel-Buffering"] == "no"
        append_status(other, message)
        assert reader.next() == [str(message.public_id)]


def test_stream_sends_only_own_messages(streaming_app: Flask, ann: Person) -> None:
    own = ann.has_message()
    foreign = Person.signed_in(streaming_app, "bob@example.org").has_message()
    with open_stream(ann) as reader:
        append_status(streaming_app, foreign)
        append_status(streaming_app, own)
        assert reader.next() == [str(own.public_id)]
    with open_stream(ann, "/messages/stream?since=0") as reader:
        assert reader.next() == [str(own.public_id)]


def test_resumed_stream_sends_changes_since_its_position(streaming_app: Flask, ann: Person) -> None:
    first, second = ann.has_message(), ann.has_message()
    with open_stream(ann) as reader:
        append_status(streaming_app, first)
        assert reader.next() == [str(first.public_id)]
    append_status(streaming_app, second)
    with open_stream(ann, "/messages/stream?since=0") as reader:
        assert reader.next() == sorted([str(first.public_id), str(second.public_id)])
    with open_stream(ann, "/messages/stream?since=0", **{"Last-Event-ID": reader.id}) as resumed:
        append_status(streaming_app, first)
        ids = resumed.next()  # a stream may repeat itself
        assert str(first.public_id) in ids or str(first.public_id) in resumed.next()


def test_position_that_no_database_holds_is_none(streaming_app: Flask, ann: Person) -> None:
    message = ann.has_message()
    with open_stream(ann, f"/messages/stream?since={'9' * 19}") as reader:
        append_status(streaming_app, message)
        assert reader.next() == [str(message.public_id)]


def test_stream_far_behind_reloads_everything(
    streaming_app: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = ann.has_message()
    monkeypatch.setattr("smstracker.live.views.MAX_EVENTS_BEHIND", 1)
    for word in ("queued", "sent", "delivered"):
        append_status(streaming_app, message, word)
    with open_stream(ann, "/messages/stream?since=0") as reader:
        assert reader.next() == ["*"]


def test_stream_with_more_changes_than_rows_of_a_page_reloads_everything(
    streaming_app: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (event_stream, views):
        monkeypatch.setattr(module, "MAX_IDS", 2)
    for _ in range(3):
        append_status(streaming_app, ann.has_message())
    with open_stream(ann, "/messages/stream?since=0") as reader:
        assert reader.next() == ["*"]
    with open_stream(ann, "/messages/stream?since=1") as reader:
        assert len(reader.next()) == 2


@pytest.mark.slow
def test_changes_soon_after_an_event_come_in_the_next_one(
    streaming_app: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcaster, "MIN_WRITE_INTERVAL", 1.0)
    first, *later = [ann.has_message() for _ in range(3)]
    with open_stream(ann) as reader:
        append_status(streaming_app, first)
        assert reader.next() == [str(first.public_id)]
        for message in later:
            append_status(streaming_app, message)
        assert reader.next() == sorted(str(message.public_id) for message in later)


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_stream_writes_less_often_under_load(
    streaming_app: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcaster, "MAX_WRITE_INTERVAL", 30.0)
    monkeypatch.setattr(broadcaster, "POLLS_PER_WRITE", 300)
    hub, message = streaming_app.extensions["broadcaster"], ann.has_message()
    with open_stream(ann) as reader:
        append_status(streaming_app, message)
        assert reader.next()
        (stream,) = hub._streams
        assert stream.written_at + hub.write_interval < time.monotonic() + 1
        hub._rate = 3e4
        append_status(streaming_app, message, "delivered")
        assert reader.next()
        assert stream.written_at + hub.write_interval > time.monotonic() + 1
        wait_until(lambda: hub._rate < 2.7e4)  # decays without new events


def test_more_changes_of_one_commit_than_are_read_at_once_all_come(
    streaming_app: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcaster, "BATCH_SIZE", 1)
    messages = [ann.has_message() for _ in range(3)]
    with open_stream(ann) as reader:
        event = StatusUpdate("sent", Source.CALLBACK, {}).row()
        with streaming_app.app_context(), db.engine.begin() as connection:
            rows = [{"message_id": message.id, **event} for message in messages]
            connection.execute(insert(StatusEvent), rows)
        assert reader.next() == sorted(str(message.public_id) for message in messages)


def test_every_stream_is_woken_in_turn(
    streaming_app: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcaster, "MAX_WAKES", 1)
    message = ann.has_message()
    with open_stream(ann) as first, open_stream(ann) as second, open_stream(ann) as third:
        append_status(streaming_app, message)
        assert [reader.next() for reader in (first, second, third)] == [
            [str(message.public_id)]
        ] * 3


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_event_that_commits_late_is_sent_and_no_position_skips_it(
    streaming_app: Flask, ann: Person
) -> None:
    early, late = ann.has_message(), ann.has_message()
    columns = StatusUpdate("sent", Source.LOOKUP, {}).row()
    with open_stream(ann) as reader:
        with streaming_app.app_context(), db.engine.connect() as slow:
            slow.execute(insert(StatusEvent).values(message_id=late.id, **columns))
            append_status(streaming_app, early)
            assert reader.next() == [str(early.public_id)]
            assert reader.id == "0"
            assert 'data-position="0"' in ann.get("/messages").text
            slow.commit()
        assert reader.next() == [str(late.public_id)]
        assert reader.id == "2"


def test_open_stream_holds_no_connection_and_no_lock(streaming_app: Flask, ann: Person) -> None:
    message = ann.has_message()
    with open_stream(ann) as reader, streaming_app.app_context():
        append_status(streaming_app, message)
        assert reader.next()
        pool = db.engine.pool
        wait_until(lambda: pool.checkedout() == 0)  # type: ignore[attr-defined]
        with db.engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("LOCK TABLE status_event IN ACCESS EXCLUSIVE MODE NOWAIT"))
            else:
                connection.execute(text("DELETE FROM scheduled_job"))  # BEGIN IMMEDIATE


def test_stream_threads_do_not_enlarge_the_pool(make_app: MakeApp) -> None:
    app = make_app(WEB_THREADS="640")
    with app.app_context():
        assert db.engine.pool.size() == 32  # type: ignore[attr-defined]


@pytest.mark.slow
def test_sign_out_in_another_process_ends_the_stream(
    streaming_app: Flask, ann: Person, make_app: MakeApp
) -> None:
    other = make_app()
    with open_stream(ann) as reader:
        with other.app_context():
            db.session.execute(text("DELETE FROM user_session"))
            db.session.commit()
        assert reader.next() == ["*"]  # the page fetches, and learns that it is signed out
        assert reader.next() == []


def test_stream_ends_by_itself_and_the_thread_with_the_last_one(
    streaming_app: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "LIFETIME", 0.2)
    with open_stream(ann) as reader:
        assert reader.next() == []
        assert reader.id == "0"
    hub = streaming_app.extensions["broadcaster"]
    wait_until(lambda: not hub._is_running)
    assert hub._streams == set()


def test_streams_stay_below_half_of_the_threads(make_app: MakeApp) -> None:
    port = free_port()
    app = make_app(PUBLIC_BASE_URL=f"http://127.0.0.1:{port}", WEB_THREADS="4")
    with served(app, port):
        person = Person.signed_in(app, "ann@example.org")
        with open_stream(person):
            response = request_stream(person)
            assert (response.status_code, response.headers["Retry-After"]) == (503, "60")
            response.close()


def test_one_user_cannot_take_every_stream(
    streaming_app: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = Person.signed_in(streaming_app, "bob@example.org")
    hub = streaming_app.extensions["broadcaster"]
    monkeypatch.setattr(hub, "_max_streams", 2)
    with open_stream(ann), open_stream(ann), open_stream(bob):
        assert {stream.owner_id for stream in hub._streams} == {ann.id, bob.id}
        response = request_stream(ann)
        assert response.status_code == 503
        response.close()


def test_broadcaster_recovers_when_the_database_is_back(
    streaming_app: Flask, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = ann.has_message()
    original, is_away, has_failed = EventTail.read, threading.Event(), threading.Event()

    def read(*args: object) -> list[object]:
        if is_away.is_set():
            has_failed.set()
            raise OSError("away")
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(EventTail, "read", read)
    with open_stream(ann) as reader:
        is_away.set()
        append_status(streaming_app, message)
        assert has_failed.wait(30)
        is_away.clear()
        assert reader.next() == [str(message.public_id)]


def test_closed_broadcaster_no_longer_reads_the_database(app: Flask, alice: Person) -> None:
    hub = app.extensions["broadcaster"]
    alice.get("/messages/stream", buffered=False).close()
    hub.close()
    assert not hub._thread.is_alive()


def test_stream_that_comes_when_the_process_ends_is_refused(app: Flask, alice: Person) -> None:
    app.extensions["broadcaster"].stop()
    assert alice.get("/messages/stream").status_code == 503


def test_stream_that_cannot_begin_keeps_no_place(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> None:
        raise RuntimeError("it cannot begin")

    monkeypatch.setattr(views, "_catch_up", fail)
    assert alice.get("/messages/stream").status_code == 500
    assert not app.extensions["broadcaster"]._streams


def test_stream_is_for_signed_in_people(app: Flask) -> None:
    for path in ("/messages/stream", "/messages/rows"):
        response = app.test_client().get(path)
        assert response.status_code == 302
        assert "/auth/sign-in" in response.location


def test_rows_are_own_messages_and_mark_those_that_left_the_filter(
    alice: Person, bob: Person, app: Flask
) -> None:
    own, newer, foreign = alice.has_message(), alice.has_message(), bob.has_message()
    ids = f"{own.public_id},{foreign.public_id}"
    page = alice.get(f"/messages/rows?ids={ids}&newest={own.public_id}").text
    assert f'data-id="{own.public_id}"' in page
    assert str(foreign.public_id) not in page
    assert "data-gone" not in page
    assert 'data-new="1"' in page
    assert 'id="pills"' in page
    append_status(app, own, "delivered")
    page = alice.get(f"/messages/rows?ids={ids}&state=waiting&newest={newer.public_id}").text
    assert "no longer in this list" in page
    assert 'data-new="0"' in page
    assert alice.get(f"/messages/rows?newest={foreign.public_id}").status_code == 404
    assert alice.get("/messages/rows?ids=nonsense").status_code == 404


def test_more_rows_than_a_page_has_are_not_read(alice: Person) -> None:
    ids = ",".join(["0b0e7b0c-0000-4000-8000-000000000001"] * (PAGE_SIZE + 1))
    assert alice.get(f"/messages/rows?ids={ids}").status_code == 400


def test_page_beyond_the_oldest_message_offers_no_new_ones(alice: Person) -> None:
    oldest = alice.has_message()
    alice.has_message()
    assert f'data-newest="{alice.messages()[1].public_id}"' in alice.get("/messages").text
    page = alice.get(f"/messages?before={oldest.public_id}").text
    assert "No older messages" in page
    assert "data-newest" not in page


def test_page_of_a_former_reader_is_answered_as_signed_out(alice: Person, bob: Person) -> None:
    page = alice.get("/messages").text
    paths = re.findall(r'data-(?:stream|rows)="([^"]+)"', page)
    assert len(paths) == 2
    for path in paths:
        assert alice.get(path, buffered=False).status_code == 200
        response = bob.get(path)
        assert response.status_code == 302
        assert "/auth/sign-in" in response.location
