"""Asking that goes wrong: what Twilio refuses, what is in between, clocks, locks, accounts."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from flask import Flask
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from smstracker.carrier import current_carrier
from smstracker.carrier.errors import CarrierBusyError, CarrierQueryError, NotFoundAtCarrierError
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Heartbeat, Message, RateLimit, StatusEvent
from smstracker.models.callback_store import MAX_REPEATED_ROWS, store_callback
from smstracker.models.event_store import append_event, update_message_facts
from smstracker.models.events import StatusUpdate
from smstracker.models.lookup_queue import schedule_next_lookup
from smstracker.sms.status import Source
from smstracker.worker import loop
from smstracker.worker.lookup_throttle import LookupThrottle
from smstracker.worker.loop import Worker
from tests.clients import Person
from tests.databases import await_lock_wait
from tests.signing import ACCOUNT_SID, call_back, fields, sid
from tests.twilio_stub import answer, listing, wire
from tests.worker_runs import HOUR, InstantWorker, in_minutes, look_up, work

pytestmark = pytest.mark.both_databases


MakeApp = Callable[..., Flask]


@contextmanager
def failing_twilio(bad_sid: str, code: int = 500) -> Iterator[tuple[str, list[str]]]:
    """A server that fails for one SID; its address and the requested SIDs."""
    requested_sids: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested_sid = self.path.partition("?")[0].rpartition("/")[2].removesuffix(".json")
            requested_sids.append(requested_sid)
            status, body = 200, {"sid": requested_sid, "status": "delivered"}
            if requested_sid == "Messages":
                body = {"messages": [], "next_page_uri": None}
            elif requested_sid == bad_sid:
                status, body = code, {"code": 20003, "message": "x", "status": code}
            encoded = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        def log_message(self, *_args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", requested_sids
        server.shutdown()
        thread.join()


def problem(app: Flask) -> str | None:
    with app.app_context():
        return db.session.scalars(select(Heartbeat.problem)).first()


def run_ticks(app: Flask, ticks: int, minutes: int) -> None:
    """Run one worker `ticks` times, `minutes` apart."""
    with app.app_context(), in_minutes(6) as clock:
        worker = InstantWorker()
        for _ in range(ticks):
            worker.work()
            worker.join_threads()
            clock.shift(minutes * 60)


@pytest.mark.slow
def test_one_message_that_cannot_be_asked_about_does_not_stand_before_others(
    make_app: MakeApp, alice: Person
) -> None:
    for number in range(1, 6):
        alice.has_message(status="sent", twilio_sid=sid(number))
    with failing_twilio(sid(1)) as (url, _asked):
        run_ticks(make_app(TWILIO_API_BASE_URL=url), ticks=8, minutes=3)
    assert [message.status for message in alice.messages()] == ["sent"] + ["delivered"] * 4


@pytest.mark.slow
def test_message_that_cannot_be_asked_about_is_given_up_in_the_end(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1))
    with failing_twilio(sid(1)) as (url, asked):
        run_ticks(make_app(TWILIO_API_BASE_URL=url), ticks=4 * 6, minutes=6 * 60)
    assert 5 < asked.count(sid(1)) < 20
    assert alice.message().next_lookup_at is None


@pytest.mark.slow
@pytest.mark.parametrize("code", [401, 404])
def test_message_of_an_account_that_is_not_ours_any_more_raises_no_alarm(
    make_app: MakeApp, alice: Person, code: int
) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1), account_sid="AC" + "9" * 32)
    with failing_twilio(sid(1), code) as (url, asked):
        app = make_app(TWILIO_API_BASE_URL=url)
        run_ticks(app, ticks=3, minutes=5)
    assert asked.count(sid(1)) == 2
    assert problem(app) is None
    assert alice.events(alice.message()) == []


def test_message_that_only_another_account_can_see_is_not_called_deleted(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1), account_sid="AC" + "9" * 32)
    absent = answer(404, {"code": 20404, "message": "x", "status": 404})
    with wire(absent) as twilio, in_minutes(6):
        look_up(make_app(TWILIO_API_BASE_URL=twilio.url))
        assert len(twilio.requests) == 1
    assert alice.message().status == "sent"
    assert alice.events(alice.message()) == []


@pytest.mark.parametrize(("code", "said"), [(401, "TWILIO_AUTH_TOKEN"), (500, "HTTP 500")])
def test_list_that_is_refused_says_why(
    make_app: MakeApp, alice: Person, code: int, said: str
) -> None:
    alice.has_message(status="unknown")
    refused = answer(code, {"code": 20003, "message": "x", "status": code})
    with wire(refused, refused) as twilio, in_minutes(4):
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        work(app)
        assert said in (problem(app) or "")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "20404", NotFoundAtCarrierError),
        (404, 20404, NotFoundAtCarrierError),
        (429, None, CarrierBusyError),
        *((404, code, CarrierQueryError) for code in ("gone", [20404], 20404.0, float("inf"))),
        *((503, code, CarrierQueryError) for code in (20404, None)),
    ],
)
@pytest.mark.parametrize("copied_status", [404, "gone"])
def test_look_up_error_is_read_whatever_its_body_claims(
    make_app: MakeApp,
    status: int,
    code: object,
    copied_status: object,
    kind: type[CarrierQueryError],
) -> None:
    body = {"type": "about:blank", "title": "x", "status": copied_status, "code": code}
    with wire(answer(status, body)) as twilio:
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        with app.app_context(), pytest.raises(CarrierQueryError) as caught:
            current_carrier().fetch(sid(1))
    assert caught.type is kind


def test_busy_list_is_no_problem_for_people(make_app: MakeApp, alice: Person) -> None:
    alice.has_message(status="unknown")
    busy = answer(429, {"code": 20429, "message": "x", "status": 429})
    with wire(busy, busy) as twilio, in_minutes(4):
        app = make_app(TWILIO_API_BASE_URL=twilio.url)
        work(app)
        assert problem(app) is None


def test_missing_page_of_something_in_between_is_not_taken_for_a_deleted_message(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1))
    page = answer(404, "<html>not found", "text/html")
    with wire(page, listing()) as twilio, in_minutes(6):
        work(make_app(TWILIO_API_BASE_URL=twilio.url))
    assert alice.events(alice.message()) == []
    assert alice.message().next_lookup_at is not None


def test_message_that_was_given_up_is_asked_about_again_when_there_is_news(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_message(status="queued", twilio_sid=sid(1), next_lookup_at=None)
    call_back(make_app().test_client(), fields(sid(1), "sent"))
    message = alice.message()
    assert message.next_lookup_at == message.status_at + timedelta(minutes=5)


@pytest.mark.slow
def test_listing_goes_back_to_the_last_one_that_succeeded(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    since: list[datetime | None] = []
    fails = [False]

    def listing_of(last_done: datetime | None) -> Iterator[int]:
        if fails[0]:
            raise CarrierQueryError("Twilio could not be reached.")
        since.append(last_done)
        yield 0

    monkeypatch.setitem(loop.JOBS, "listing", (listing_of, loop.DAY))
    with app.app_context(), in_minutes(0) as clock:
        began = utcnow()
        worker = Worker()
        worker.work()
        worker.join_threads()
        fails[0] = True
        for _ in range(3 * 4):
            clock.shift(6 * HOUR)
            worker.work()
            worker.join_threads()
        assert problem(app) is not None
        fails[0] = False
        for _ in range(2):
            clock.shift(HOUR)
            worker.work()
            worker.join_threads()
        assert since == [None, began]
        assert problem(app) is None


def test_listing_is_kept_by_one_worker_however_long_it_takes(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    with app.app_context(), in_minutes(0) as clock:

        def long_listing(_last_done: datetime | None) -> Iterator[int]:
            runs.append(utcnow())
            for _ in range(4):
                clock.shift(600)
                yield 0
                if len(runs) == 1:
                    second = Worker()
                    second.work()
                    second.join_threads()

        monkeypatch.setitem(loop.JOBS, "listing", (long_listing, loop.DAY))
        worker = Worker()
        worker.work()
        worker.join_threads()
    assert len(runs) == 1


def test_listing_fills_in_a_missing_error_code(make_app: MakeApp, alice: Person) -> None:
    alice.has_message(status="failed", twilio_sid=sid(1), next_lookup_at=None, final_at=utcnow())
    found = {"sid": sid(1), "status": "failed", "error_code": 30003}
    with wire(listing(found)) as twilio:
        work(make_app(TWILIO_API_BASE_URL=twilio.url))
    assert alice.message().error_code == "30003"


@pytest.mark.parametrize("price", ["1e999999", "much", "NaN", "", None])
def test_price_that_is_none_is_no_news(make_app: MakeApp, alice: Person, price: str | None) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1))
    told = {"sid": sid(1), "status": "delivered", "price": price, "price_unit": "USD"}
    with wire(answer(200, told), listing()) as twilio, in_minutes(6):
        work(make_app(TWILIO_API_BASE_URL=twilio.url))
    assert (alice.message().status, alice.message().price) == ("delivered", None)


@pytest.mark.parametrize(
    "strange",
    [
        {"price": float("nan")},
        {"price": [float("inf")]},
        {"error_message": "a\0b"},
        {"from": "+1500555\0" + "0006"},
        {"error_code": "3\0" + "0003"},
        {"status": "delivered\0"},
        {"price": "-0.0075", "price_unit": "U\0S"},
    ],
    ids=str,
)
def test_answer_with_values_that_no_column_takes_is_stored(
    make_app: MakeApp, alice: Person, strange: dict[str, object]
) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1))
    told = {"sid": sid(1), "status": "delivered"} | strange
    with wire(answer(200, told), listing()) as twilio, in_minutes(6):
        work(make_app(TWILIO_API_BASE_URL=twilio.url))
    assert alice.message().status == "delivered"


def test_failed_maintenance_keeps_no_lock(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> int:
        raise OperationalError("DELETE", {}, Exception("disk full"))

    monkeypatch.setattr(RateLimit, "purge", full)
    monkeypatch.delitem(loop.JOBS, "listing")
    with app.app_context():
        assert Worker()._work_or_wait() == 2

        def write() -> None:
            with app.app_context(), db.engine.begin() as connection:
                connection.execute(update(Message).values(body="written"))

        with ThreadPoolExecutor(1) as thread:
            thread.submit(write).result()


def test_clock_that_was_ahead_does_not_stop_the_work(app: Flask, alice: Person) -> None:
    alice.has_message(status="sent", twilio_sid=sid(1))
    with app.app_context():
        with in_minutes(60 * 24 * 365):
            LookupThrottle().back_off([])
        with in_minutes(60):
            assert len(LookupThrottle().claim().messages) == 1


def test_clock_that_is_set_back_does_not_stop_the_heartbeat(app: Flask) -> None:
    with app.app_context():
        worker = Worker()
        with in_minutes(60):
            worker.work()
            worker.join_threads()
        worker.work()
        worker.join_threads()
        assert db.session.scalars(select(Heartbeat.beat_at)).one() <= utcnow()


def test_look_up_and_callback_of_one_message_do_not_wait_for_each_other(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(status="queued", twilio_sid=sid(1))
    started = threading.Event()

    def callback() -> None:
        update = StatusUpdate("delivered", Source.CALLBACK, {}, sid(1), account_sid=ACCOUNT_SID)
        started.set()
        with app.app_context(), db.engine.begin() as connection:
            store_callback(connection, None, update)

    with app.app_context(), ThreadPoolExecutor(1) as thread:
        with db.engine.begin() as connection:
            append_event(connection, message.id, StatusUpdate("sent", Source.LOOKUP, {}, sid(1)))
            update_message_facts(connection, message.id, segments=1)
            done = thread.submit(callback)
            started.wait(30)
            await_lock_wait()
            schedule_next_lookup(connection, message.id)
        assert done.result(60) is None
    assert alice.message().status == "delivered"


def test_callback_of_another_account_moves_nothing_even_if_it_comes_first(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(status="pending")
    foreign = StatusUpdate("delivered", Source.CALLBACK, {}, sid(1), account_sid="AC" + "2" * 32)
    with app.app_context():
        with db.engine.begin() as connection:
            store_callback(connection, None, foreign)
            append_event(connection, message.id, StatusUpdate("queued", Source.SEND, {}, sid(1)))
        with db.engine.begin() as connection:
            store_callback(connection, message.public_id, foreign)
    assert alice.message().status == "queued"
    assert {event.source for event in alice.events(message)} == {"send"}


def test_callbacks_of_another_account_fill_no_disk_though_a_message_has_their_sid(
    app: Flask, alice: Person
) -> None:
    alice.has_message(status="queued", twilio_sid=sid(1), account_sid=ACCOUNT_SID)
    foreign = StatusUpdate("delivered", Source.CALLBACK, {}, sid(1), account_sid="AC" + "2" * 32)
    with app.app_context():
        for number in range(2 * MAX_REPEATED_ROWS):
            with db.engine.begin() as connection:
                token = str(number % (MAX_REPEATED_ROWS + 5))
                store_callback(connection, None, replace(foreign, idempotency_token=token))
        repeats = db.session.scalars(select(StatusEvent.repeats)).all()
    assert len(repeats) == MAX_REPEATED_ROWS
    assert sum(repeats) == MAX_REPEATED_ROWS
