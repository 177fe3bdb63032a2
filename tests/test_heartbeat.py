"""A heartbeat that the outside service did not take is told, whatever its HTTP status."""

import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from flask import Flask
from sqlalchemy import update

from smstracker.alerts import notifier
from smstracker.alerts.heartbeat_answer import find_rejection
from smstracker.clock import utcnow
from smstracker.doctor.alert_checks import check_heartbeat
from smstracker.doctor.check_result import CheckResult
from smstracker.extensions import db
from smstracker.models import Alert, User
from smstracker.models.jobs import JobName
from tests.alert_scenes import HOUR, MINUTE, add_alert, storing
from tests.clients import Person, words
from tests.http_receiver import HttpReceiver, receiving

pytestmark = pytest.mark.both_databases

HIDDEN = "hidden-7f3a"
UNKNOWN = "it answers that it knows no such check"
NOT_TAKEN = "it answers that it did not take it"


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with receiving() as http_receiver:
        http_receiver.answers = [200] * 9
        yield http_receiver


@pytest.fixture
def app(make_app: Callable[..., Flask], receiver: HttpReceiver) -> Flask:
    return make_app(HEARTBEAT_URL=f"{receiver.url}/{HIDDEN}")


def fetch(app: Flask, receiver: HttpReceiver, text: str) -> None:
    receiver.text = text
    notifier.deliver(JobName.HEARTBEAT, app)


def check(app: Flask) -> CheckResult:
    with app.app_context():
        [result] = check_heartbeat()
    return result


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("", None),
        ("OK", None),
        ("Got it, thanks!", None),
        ('{"ok":true}', None),
        ("[false]", None),
        ("<p>OK (not found)</p>", None),
        ("OK (not found)", UNKNOWN),
        ("OK (rate limited)\n", "it answers that it is fetched too often"),
        ("ok (asleep)", NOT_TAKEN),
        ('{"ok": false, "msg": "Monitor not found or not active."}', NOT_TAKEN),
        ('{"success": false}', NOT_TAKEN),
    ],
)
def test_answer_that_takes_nothing_is_told_from_one_that_does(
    answer: str, reason: str | None
) -> None:
    assert find_rejection(answer.encode()) == reason


def test_heartbeat_that_was_not_taken_is_told_until_one_is(
    app: Flask, receiver: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    assert check(app).detail == "the worker has not fetched HEARTBEAT_URL yet"
    admin = Person.signed_in(app, "carol@example.org")
    with storing(app) as session:
        session.scalars(User.select_by_email(admin.email)).one().administrator = True
    caplog.set_level(logging.WARNING)
    fetch(app, receiver, "OK (not found)")
    assert [record.__dict__["reason"] for record in caplog.records] == [UNKNOWN]
    result = check(app)
    assert (result.verdict, result.detail.rpartition(": ")[2]) == ("problem", UNKNOWN)
    page = admin.get("/alerts").text
    assert f"The newest heartbeat was not taken: {UNKNOWN}." in words(page)
    assert HIDDEN not in page + caplog.text + str(result)
    fetch(app, receiver, "OK")
    assert (check(app).verdict, check(app).detail) == ("ok", "HEARTBEAT_URL was taken just now")
    page = words(admin.get("/alerts").text)
    assert "was not taken" not in page
    assert "while all is well; it was last taken just now ." in page


def test_heartbeat_that_cannot_be_fetched_is_told_too(app: Flask, receiver: HttpReceiver) -> None:
    receiver.answers = [404]
    fetch(app, receiver, "")
    assert check(app).detail.endswith(": it answers 404")


def test_heartbeat_that_an_open_alert_holds_back_is_told_with_its_reason(
    app: Flask, receiver: HttpReceiver
) -> None:
    admin = Person.signed_in(app, "carol@example.org")
    with storing(app) as session:
        session.scalars(User.select_by_email(admin.email)).one().administrator = True
    fetch(app, receiver, "OK")
    opened_at = datetime(2026, 11, 23, 11, 7, tzinfo=UTC)
    facts = {"counts": {"callbacks": 4}, "opened_at": opened_at}
    add_alert(app, "callbacks-refused", **facts)
    add_alert(app, "disk-full", counts={"free_megabytes": 1, "free_percent": 0})
    add_alert(app, "backups-stopped", counts={"hours": 50}, opened_at=opened_at - MINUTE)
    sentence = "because an alert is open: Callbacks of Twilio are refused"
    result = check(app)
    assert result.verdict == "warning"
    assert result.detail == f"HEARTBEAT_URL is not fetched since 23 Nov 2026, 11:07 UTC, {sentence}"
    page = words(admin.get("/alerts").text)
    assert re.search(
        rf"HEARTBEAT_URL is not fetched since 23 Nov 2026, 11:07:00 UTC ?, {sentence}\.", page
    )
    fetch(app, receiver, "OK")
    assert len(receiver.received) == 1
    with storing(app) as session:
        session.execute(update(Alert).values(muted_until=utcnow() + HOUR))
    assert "HEARTBEAT_URL was taken" in check(app).detail
    assert "is not fetched since" not in words(admin.get("/alerts").text)


def test_heartbeat_that_is_not_set_is_no_subject(make_app: Callable[..., Flask]) -> None:
    with make_app().app_context():
        assert list(check_heartbeat()) == []
        db.session.remove()
