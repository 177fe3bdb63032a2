"""Alerts reach a real HTTP receiver, signed; the heartbeat tells that all is well."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from flask import Flask
from sqlalchemy import delete, update
from standardwebhooks import Webhook, WebhookVerificationError

from config import ConfigError
from smstracker import health_facts
from smstracker.alerts import channels, notifier
from smstracker.alerts.channels import ChannelError
from smstracker.alerts.notice import compose_test
from smstracker.carrier import http_client
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import Alert, AlertNotice
from smstracker.models.alerts import MAX_RETRY_DELAY
from tests.alert_scenes import Space, deliver_all, notices, run_evaluation, storing
from tests.http_receiver import HttpReceiver, receiving
from tests.live_settings import settings
from tests.serving import free_port
from tests.twilio_stub import DRIP, wire

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
HIDDEN = "hidden-7f3a"
FULL = Space(10**12, 10**12 - 10**8, 10**8)
MINUTE = timedelta(minutes=1)
MakeApp = Callable[..., Flask]


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with receiving() as http_receiver:
        yield http_receiver


@pytest.fixture
def hooked(make_app: MakeApp, receiver: HttpReceiver) -> Flask:
    """An app whose alerts and heartbeat go to the receiver."""
    return make_app(
        ALERT_WEBHOOK_URL=f"{receiver.url}/hook?key={HIDDEN}",
        ALERT_WEBHOOK_SECRET=SECRET,
        HEARTBEAT_URL=f"{receiver.url}/ping/{HIDDEN}",
    )


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[bool], None]:
    monkeypatch.setattr(health_facts, "written_folders", lambda: [tmp_path])

    def set_full(is_full: bool) -> None:
        usage = FULL if is_full else Space(10**12, 0, 10**12)
        monkeypatch.setattr(health_facts.shutil, "disk_usage", lambda _folder: usage)

    set_full(False)
    return set_full


def pass_minutes(app: Flask, clock: time_machine.Traveller, minutes: int) -> None:
    for _ in range(minutes):
        clock.shift(MINUTE)
        run_evaluation(app)
        deliver_all(app)


def test_webhook_is_signed_and_says_what_happened(
    hooked: Flask, receiver: HttpReceiver, disk: Callable[[bool], None]
) -> None:
    disk(True)
    with time_machine.travel(utcnow(), tick=False) as clock:
        pass_minutes(hooked, clock, 7)
        disk(False)
        pass_minutes(hooked, clock, 12)
        hooks = [request for request in receiver.received if request.method == "POST"]
        begin, end = hooks
        for hook in hooks:
            with time_machine.travel(int(hook.headers["webhook-timestamp"])):
                Webhook(SECRET).verify(hook.body, hook.headers)
                with pytest.raises(WebhookVerificationError):
                    Webhook(OTHER_SECRET).verify(hook.body, hook.headers)
                with pytest.raises(WebhookVerificationError):
                    Webhook(SECRET).verify(hook.body + " ", hook.headers)
    assert begin.headers["content-type"] == "application/json"
    event = json.loads(begin.body)
    assert (event["type"], event["data"]["rule"]) == ("alert.began", "disk-full")
    assert event["data"]["counts"] == {"free_megabytes": 100, "free_percent": 0}
    assert event["data"]["sentence"].startswith("100 MB (0 %) are free on the disk.")
    assert json.loads(end.body)["type"] == "alert.ended"
    assert json.loads(end.body)["data"]["ended_at"]
    assert begin.headers["webhook-id"] != end.headers["webhook-id"]


def test_refused_webhook_is_posted_again_with_the_same_id(
    hooked: Flask, receiver: HttpReceiver, disk: Callable[[bool], None]
) -> None:
    disk(True)
    with time_machine.travel(utcnow(), tick=False) as clock:
        pass_minutes(hooked, clock, 5)
        receiver.answers = [500, 302]
        pass_minutes(hooked, clock, 1)
        with hooked.app_context():
            notice = db.session.get(AlertNotice, 1)
            assert notice is not None
            assert notice.failure == "it answers 500"
            db.session.remove()
        pass_minutes(hooked, clock, 4)
    hooks = [request for request in receiver.received if request.method == "POST"]
    assert len({request.headers["webhook-id"] for request in hooks}) == 1
    assert len(hooks) == 3
    assert "/elsewhere" not in receiver.targets
    assert notices(hooked) == [("webhook", "begin", True)]


def test_notice_with_the_number_of_an_earlier_one_has_another_id(
    hooked: Flask, receiver: HttpReceiver
) -> None:
    """A restored database gives numbers again; receivers leave out an id that they have had."""
    with time_machine.travel(utcnow(), tick=False) as clock:
        alert = {"id": 1, "rule": "disk-full", "subject": ""}
        alert |= {"counts": {"free_megabytes": 1, "free_percent": 0}}
        alert |= dict.fromkeys(("began_at", "last_true_at", "opened_at"), utcnow())
        with storing(hooked) as session:
            session.add(Alert(**alert))
        for _ in range(2):
            clock.shift(MINUTE)
            notice = {"id": 7, "alert_id": 1, "channel": "webhook", "occasion": "begin"}
            notice |= dict.fromkeys(("created_at", "due_at"), utcnow())
            with storing(hooked) as session:
                session.execute(delete(AlertNotice))
                session.add(AlertNotice(**notice))
            notifier.deliver("webhook", hooked)
    assert len({request.headers["webhook-id"] for request in receiver.received}) == 2


def test_heartbeat_is_fetched_while_all_is_well(
    hooked: Flask, receiver: HttpReceiver, disk: Callable[[bool], None]
) -> None:
    def pings() -> int:
        return receiver.targets.count(f"/ping/{HIDDEN}")

    with time_machine.travel(utcnow(), tick=False) as clock:
        receiver.answers = [302]
        pass_minutes(hooked, clock, 3)
        assert (pings(), len(receiver.received)) == (3, 3)
        disk(True)
        pass_minutes(hooked, clock, 5)
        assert pings() == 8  # not open yet
        pass_minutes(hooked, clock, 5)
        assert pings() == 8
        with hooked.app_context(), db.engine.begin() as connection:
            connection.execute(update(Alert).values(muted_until=utcnow() + 3 * MINUTE))
        pass_minutes(hooked, clock, 5)
        assert pings() == 10
        disk(False)
        pass_minutes(hooked, clock, 11)
        assert pings() == 12


def test_heartbeat_goes_on_when_only_messages_fail(
    hooked: Flask, receiver: HttpReceiver, disk: Callable[[bool], None]
) -> None:
    now = utcnow()
    with hooked.app_context(), db.engine.begin() as connection:
        times = {"began_at": now, "last_true_at": now, "opened_at": now}
        Alert.begin(connection, "failures-high", "", times)
    with hooked.app_context():
        notifier.fetch_heartbeat_if_well()
    assert len(receiver.received) == 1


def test_addresses_and_secret_are_in_no_log(
    make_app: MakeApp, disk: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    address = f"http://127.0.0.1:{free_port()}/{HIDDEN}"
    app = make_app(
        ALERT_WEBHOOK_URL=address, ALERT_WEBHOOK_SECRET=SECRET, HEARTBEAT_URL=f"{address}/ping"
    )
    caplog.set_level(logging.INFO)
    disk(True)
    with time_machine.travel(utcnow(), tick=False) as clock:
        pass_minutes(app, clock, 8)
    events = [record.getMessage() for record in caplog.records]
    assert {"heartbeat_not_fetched", "alert_not_sent", "alert_opened"} <= set(events)
    logged = json.dumps([record.__dict__ for record in caplog.records], default=str)
    assert HIDDEN not in logged
    assert SECRET not in logged
    assert HIDDEN not in repr(app.config["SETTINGS"])


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/x", "nothing listens on that port"),
        ("https://nowhere.invalid/x", "its name cannot be resolved"),
    ],
)
def test_failure_of_the_webhook_says_why(make_app: MakeApp, url: str, reason: str) -> None:
    app = make_app(ALERT_WEBHOOK_URL=url, ALERT_WEBHOOK_SECRET=SECRET)
    with app.app_context(), pytest.raises(ChannelError, match=reason):
        channels.send("webhook", compose_test("test_1"))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (DRIP + b"HTTP/1.1 204 " + b"x" * 4000, "it does not answer in time"),
        (DRIP + b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 4000, "it does not answer in time"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 100, "what answers there is not a web server"),
    ],
)
def test_answer_without_an_end_is_given_up(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, reply: bytes, reason: str
) -> None:
    monkeypatch.setattr(http_client, "RESPONSE_TIMEOUT", 0.5)
    with wire(reply) as receiver:
        app = make_app(HEARTBEAT_URL=receiver.url)
        started_at = time.monotonic()
        with app.app_context(), pytest.raises(ChannelError, match=reason):
            channels.fetch_heartbeat()
        assert time.monotonic() - started_at < 20  # at its pace it would take 80


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("ALERT_EMAIL", "a@example.org, nobody", "entry 2 is none"),
        ("ALERT_EMAIL", "ops@clinic", "whole addresses, such as ops@example.org; entry 1 is none"),
        ("ALERT_WEBHOOK_URL", "http://example.org/x", "must be an address that begins with https"),
        ("ALERT_WEBHOOK_URL", "https://user:x@example.org/x", "must be an address"),
        ("ALERT_WEBHOOK_URL", "https://example.org/a b", "must be an address"),
        ("ALERT_WEBHOOK_URL", "https://example.org/", "ALERT_WEBHOOK_SECRET: required, because"),
        ("ALERT_WEBHOOK_SECRET", SECRET, "ALERT_WEBHOOK_URL: required, because"),
        ("ALERT_WEBHOOK_SECRET", SECRET.removeprefix("whsec_"), "must be whsec_ and 24 to 64"),
        ("ALERT_WEBHOOK_SECRET", "whsec_c2hvcnQ=", "must be whsec_ and 24 to 64 bytes"),
        ("HEARTBEAT_URL", "ftp://127.0.0.1/x", "must be an address that begins with https"),
    ],
)
def test_setting_that_cannot_work_stops_the_start(name: str, value: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings(**{name: value})
    assert problem in str(error.value)
    assert value not in str(error.value)


def test_mail_needs_a_server() -> None:
    with pytest.raises(ConfigError, match="MAIL_SERVER: required, because ALERT_EMAIL is set"):
        settings(ALERT_EMAIL="a@example.org", MAIL_SERVER="")


def test_settings_are_read() -> None:
    read = settings(
        ALERT_EMAIL="B@example.org, a@example.org,b@EXAMPLE.org",
        ALERT_WEBHOOK_URL="https://hooks.example.org/services/x?y=z",
        ALERT_WEBHOOK_SECRET=SECRET,
        HEARTBEAT_URL="http://localhost:8001/ping",
    )
    assert read.alert_email == ("b@example.org", "a@example.org")
    assert read.alert_webhook_url == "https://hooks.example.org/services/x?y=z"
    assert read.heartbeat_url == "http://localhost:8001/ping"


def test_longest_retry_is_not_taken_for_a_wrong_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A notice that is due later than MAX_RETRY_DELAY would be sent at once."""
    assert notifier.retry_delay(30) == MAX_RETRY_DELAY
    monkeypatch.setattr(notifier, "MAX_RETRY_DELAY", 5 * MAX_RETRY_DELAY)
    assert notifier.retry_delay(30) == 5 * MAX_RETRY_DELAY
