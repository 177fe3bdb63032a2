"""What a clock that was a month ahead has stored holds nothing up once it is right again."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from email.utils import format_datetime

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select, update

from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.models import (
    Alert,
    AlertNotice,
    CarrierRemoval,
    MailHealth,
    Message,
    SendLimitError,
    SignInToken,
    UserSession,
)
from smstracker.models.carrier_removals import CarrierAction, RemovedMessage
from smstracker.models.rate_limits import RateLimit, RateLimitRule
from smstracker.privacy import erasure
from smstracker.privacy.retention import remove_expired
from smstracker.worker.hand_over import claim_sendable
from tests import alert_scenes as scenes
from tests.alert_scenes import HOUR, MINUTE, alerts, deliver_all, run_evaluation
from tests.clients import Person
from tests.refused_callbacks import refusal, refused_rows
from tests.signing import sid
from tests.smtp_server import Inbox
from tests.twilio_stub import answer, listing, wire
from tests.worker_runs import look_up, work

SECOND, DAY, MONTH = timedelta(seconds=1), timedelta(days=1), timedelta(days=30)
SLIGHTLY = timedelta(minutes=4)  # as the clocks of two machines may differ
NUMBER = "+15558675310"
TEAM = "team@example.org"
MakeApp = Callable[..., Flask]


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A month ahead, until it is set right by `shift(-MONTH)`."""
    with time_machine.travel(utcnow() + MONTH, tick=False) as traveller:
        yield traveller


def test_limit_of_sign_in_ends(app: Flask, clock: time_machine.Traveller) -> None:
    rules = [RateLimitRule("mails to nobody", 1)]
    with app.app_context(), db.engine.begin() as connection:
        RateLimit.hit(connection, rules)
        assert RateLimit.retry_after(connection, rules)
        clock.shift(-MONTH)
        assert RateLimit.retry_after(connection, rules) is None
        RateLimit.hit(connection, rules)
        wait = RateLimit.retry_after(connection, rules)
    assert wait is not None
    assert wait <= timedelta(hours=1, seconds=1)


def test_sign_in_link_is_not_valid_for_a_month(app: Flask, clock: time_machine.Traveller) -> None:
    with app.app_context():
        token = SignInToken.issue("alice@example.org").token
        db.session.commit()
        assert SignInToken.is_live_link(token)
        clock.shift(-MONTH)
        assert not SignInToken.is_live_link(token)
        assert SignInToken.redeem_link(token) is None


def test_sign_in_mail_has_a_code_again(app: Flask, clock: time_machine.Traveller) -> None:
    def issue() -> str | None:
        return SignInToken.issue("alice@example.org", browser="b").code

    with app.app_context():
        assert [issue() is not None for _ in range(6)] == [True] * 5 + [False]
        clock.shift(-MONTH)
        assert issue()


def test_session_ends(app: Flask, clock: time_machine.Traveller) -> None:
    alice = Person.signed_in(app, "alice@example.org")
    clock.shift(-DAY)
    assert alice.get("/messages").status_code == 200
    clock.shift(DAY - MONTH)
    assert alice.get("/messages").status_code == 302


def test_use_of_a_session_is_noted(app: Flask, clock: time_machine.Traveller) -> None:
    clock.shift(-DAY)
    alice = Person.signed_in(app, "alice@example.org")
    for days in (1, -1):
        clock.shift(days * DAY)
        alice.get("/messages")
        with app.app_context():
            assert db.session.scalar(select(UserSession.used_at)) == utcnow()


def test_problem_of_the_mail_server_is_over(app: Flask, clock: time_machine.Traveller) -> None:
    with app.app_context():
        MailHealth.record_server("ConnectionRefusedError")
        db.session.commit()
        assert MailHealth.latest().has_server_problem
        clock.shift(-MONTH)
        assert not MailHealth.latest().has_server_problem


def test_send_limit_ends(make_app: MakeApp, clock: time_machine.Traveller) -> None:
    alice = Person.signed_in(make_app(SEND_LIMIT_PER_DAY="1"), "alice@example.org")
    alice.has_message()
    clock.shift(-SLIGHTLY)
    with pytest.raises(SendLimitError):
        alice.has_message()
    clock.shift(SLIGHTLY - MONTH)
    alice.has_message()


def test_message_for_now_goes_and_a_scheduled_one_waits(
    app: Flask, clock: time_machine.Traveller
) -> None:
    alice = Person.signed_in(app, "alice@example.org")
    scheduled = utcnow() + DAY
    alice.queue()
    alice.queue(send_at=scheduled)
    edited = alice.queue(send_at=scheduled)
    with app.app_context(), writing():
        db.session.get_one(Message, edited.id).edit_queued(edited.content, None)
    clock.shift(-MONTH)
    work(app)
    claimed = []
    for _ in range(2):  # the pace allows one at a time at first
        with app.app_context():
            claimed += [message.id for message in claim_sendable(10)]
        clock.shift(SECOND)
    assert [message.id in claimed for message in alice.messages()] == [True, False, True]
    assert alice.messages()[1].send_at == scheduled


def test_alert_ends_and_its_mail_is_sent(
    make_app: MakeApp, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    app = make_app(ALERT_EMAIL=TEAM, MAIL_PORT=str(inbox.controller.port))
    times = dict.fromkeys(("began_at", "last_true_at", "opened_at"), utcnow())
    with scenes.storing(app) as session:
        session.add(Alert(rule="code-unlisted", subject="39999", counts={"failed": 3}, **times))
    run_evaluation(app)
    with app.app_context():
        assert db.session.scalar(select(AlertNotice.due_at)) == utcnow()
    clock.shift(-MONTH)
    deliver_all(app)
    assert len(inbox.mails) == 1
    run_evaluation(app)
    with app.app_context():
        assert alerts(app)[0].ended_at == utcnow()


def test_rule_that_began_ahead_opens_in_its_time(app: Flask, clock: time_machine.Traveller) -> None:
    scenes.add_silent(app, 6)
    run_evaluation(app)
    clock.shift(-MONTH)
    scenes.remove_silent(app)
    scenes.add_silent(app, 6)
    for _ in range(12):
        clock.shift(MINUTE)
        run_evaluation(app)
    with app.app_context():
        assert [alert.opened_at is not None for alert in alerts(app)] == [True]


def test_times_of_an_alert_that_goes_on_are_set_right(
    app: Flask, clock: time_machine.Traveller
) -> None:
    times = dict.fromkeys(("began_at", "last_true_at", "opened_at"), utcnow())
    with scenes.storing(app) as session:
        session.add(Alert(rule="callbacks-silent", subject="", counts={}, **times))
    clock.shift(-MONTH)
    scenes.add_silent(app, 6)
    run_evaluation(app)
    [alert] = alerts(app)
    assert (alert.began_at, alert.opened_at, alert.ended_at) == (utcnow(), utcnow(), None)


def test_mute_ends_and_is_not_inherited(app: Flask, clock: time_machine.Traveller) -> None:
    times = dict.fromkeys(("began_at", "last_true_at", "opened_at"), utcnow())
    with app.app_context(), db.engine.begin() as connection:
        Alert.begin(connection, "disk-full", "", times)
        Alert.change(connection, 1, muted_until=utcnow() + DAY)
        assert Alert.read(connection, 1).is_muted(utcnow())
        clock.shift(-MONTH)
        assert not Alert.read(connection, 1).is_muted(utcnow())
        assert connection.scalar(select(Alert.id).where(Alert.is_audible(utcnow()))) == 1
        Alert.change(connection, 1, ended_at=utcnow())
        Alert.begin(connection, "disk-full", "", times)
        Alert.change(connection, 2, muted_until=utcnow() + HOUR, ended_at=utcnow())
        Alert.begin(connection, "disk-full", "", times)
        assert Alert.read(connection, 3).muted_until == utcnow() + HOUR


def test_past_alert_is_not_looked_at_for_a_month(app: Flask, clock: time_machine.Traveller) -> None:
    times = dict.fromkeys(("began_at", "last_true_at", "opened_at", "ended_at"), utcnow())
    with app.app_context(), db.engine.begin() as connection:
        Alert.begin(connection, "disk-full", "", times)
        assert Alert.is_any_recent(connection, utcnow())
        clock.shift(-MONTH)
        assert not Alert.is_any_recent(connection, utcnow())


def erase(app: Flask) -> str:
    """Erase what is held of NUMBER; return the receipt."""
    with app.app_context():
        return erasure.erase(NUMBER, at_twilio=False, actor="carol@example.org").receipt


def test_erasure_goes_on(app: Flask, clock: time_machine.Traveller) -> None:
    Person.signed_in(app, "alice@example.org").has_message(recipient=NUMBER, status="queued")
    receipt = erase(app)
    clock.shift(-MONTH)
    with app.app_context():
        assert erasure.count_left(receipt) == 1
        db.session.execute(update(Message).values(status="delivered"))
        db.session.commit()
        list(remove_expired(None))
        assert erasure.count_left(receipt) == 0


def test_message_that_stays_sent_is_erased(app: Flask, clock: time_machine.Traveller) -> None:
    Person.signed_in(app, "alice@example.org").has_message(recipient=NUMBER, status="sent")
    clock.shift(-SLIGHTLY)
    receipt = erase(app)
    with app.app_context():
        assert erasure.count_left(receipt) == 1
    clock.shift(SLIGHTLY - MONTH)
    receipt = erase(app)
    with app.app_context():
        assert erasure.count_left(receipt) == 0


def test_refused_callback_is_erased(app: Flask, clock: time_machine.Traveller) -> None:
    with scenes.storing(app) as session:
        session.add(refusal(utcnow(), body=b"To=%2B15558675310"))
    clock.shift(-MONTH)
    erase(app)
    assert refused_rows(app) == []


def test_removal_at_twilio_is_due(app: Flask, clock: time_machine.Traveller) -> None:
    message = RemovedMessage(sid(1), None, False, CarrierAction.DELETE)
    with app.app_context(), db.engine.begin() as connection:
        CarrierRemoval.request(connection, [message], utcnow() + DAY)
        assert CarrierRemoval.read_due(connection, utcnow()) is None
        clock.shift(-MONTH)
        removal = CarrierRemoval.read_due(connection, utcnow())
        assert removal
        removal.postpone(connection, utcnow() + DAY, "Twilio was not reached.")
        assert CarrierRemoval.read_due(connection, utcnow()) is None


def test_silent_message_is_looked_up_then_daily(
    app: Flask, make_app: MakeApp, clock: time_machine.Traveller
) -> None:
    alice = Person.signed_in(app, "alice@example.org")
    alice.has_message(twilio_sid=sid(1), status="sent")
    clock.shift(-MONTH)
    with wire(answer(200, {"sid": sid(1), "status": "sent"})) as twilio:
        looking = make_app(TWILIO_API_BASE_URL=twilio.url)
        look_up(looking)
        look_up(looking)
    assert len(twilio.requests) == 1
    assert alice.message().next_lookup_at == utcnow() + DAY


@pytest.mark.parametrize("is_listed", [True, False])
def test_unknown_outcome_never_becomes_not_sent(
    app: Flask, make_app: MakeApp, clock: time_machine.Traveller, is_listed: bool
) -> None:
    """The times in Twilio's list prove nothing of a message whose time is wrong."""
    alice = Person.signed_in(app, "alice@example.org")
    message = alice.has_message(status="unknown")
    clock.shift(-MONTH)
    listed = {"sid": sid(2), "status": "delivered", "to": NUMBER, "from": message.sender}
    listed |= {"body": message.body, "num_media": "0", "date_created": format_datetime(utcnow())}
    page = listing(*[listed] * is_listed)
    with wire(page, page, listing()) as twilio:
        looking = make_app(TWILIO_API_BASE_URL=twilio.url)
        look_up(looking)
        assert alice.events(message)[-1].payload["found"] == [sid(2)] * is_listed
        assert alice.message().next_lookup_at == utcnow() + DAY
        clock.shift(MONTH + HOUR)
        look_up(looking)
    assert [event.status for event in alice.events(message)] == ["unknown"] * 2
    assert alice.message().status == "unknown"
