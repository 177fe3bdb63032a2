"""A message whose outcome is unknown: adopted, found to be not sent, or left to a person."""

from collections.abc import Callable, Sequence
from datetime import datetime
from email.utils import format_datetime
from itertools import chain
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import CarrierRemoval, Message, RefusedCallback, StatusEvent
from smstracker.privacy import erasure
from smstracker.privacy.retention import remove_expired
from smstracker.simulator import SimulatorServer
from smstracker.worker import unknown_outcomes
from tests.clients import Person, words
from tests.signing import PRIMARY, call_back, fields, sid
from tests.twilio_stub import answer, listing, wire
from tests.worker_runs import HOUR, MINUTE, in_minutes, look_up, work

SID_HOLDERS = (StatusEvent, RefusedCallback)
DAY = 24 * HOUR
PICTURE = "https://a.example/1.jpg"
MakeApp = Callable[..., Flask]


def listed_message(number: int, message: Message, **changed: Any) -> dict[str, Any]:
    """A message in Twilio's list that is just like `message`."""
    made_at = changed.pop("made_at", message.created_at)
    return {
        "sid": sid(number),
        "status": "delivered",
        "to": message.recipient,
        "from": message.sender,
        "body": message.body,
        "num_media": "0",
        "num_segments": "1",
        "messaging_service_sid": message.messaging_service_sid,
        "date_created": format_datetime(made_at),
    } | changed


def run_search(
    make_app: MakeApp,
    alice: Person,
    *listed: dict[str, Any],
    minutes: int = 4,
    newest: Sequence[dict[str, Any]] = (),
) -> Message:
    """The message after a worker has searched a list with these messages.

    After ten minutes it also asks for the `newest` messages of the account.
    """
    with wire(listing(*listed), listing(*newest), listing()) as twilio, in_minutes(minutes):
        look_up(make_app(TWILIO_API_BASE_URL=twilio.url))
    return alice.messages()[0]


def test_lost_answer_is_found_in_the_list_and_adopted(
    live: Flask, simulator: SimulatorServer
) -> None:
    alice = Person.signed_in(live, "alice@example.org")
    alice.send(recipient="+15005550107", body="callbacks lost too", sender="+15005550006")
    [made] = simulator.ledger.messages()
    assert simulator.ledger.wait_until_idle(30)
    assert simulator.ledger.count_creates(made.to, made.body) == 1
    message = alice.message()
    assert (message.status, message.twilio_sid) == ("delivered", made.sid)


def test_exactly_one_match_is_adopted_with_an_event(make_app: MakeApp, alice: Person) -> None:
    message = alice.has_message(status="unknown")
    message = run_search(make_app, alice, listed_message(1, message))
    assert (message.status, message.twilio_sid) == ("delivered", sid(1))
    [event] = alice.events(message)
    assert (event.status, event.source) == ("delivered", "lookup")
    assert message.next_lookup_at is None


def test_message_of_a_killed_process_is_looked_for_too(make_app: MakeApp, alice: Person) -> None:
    message = alice.has_message(status="pending")
    assert run_search(make_app, alice, listed_message(1, message)).twilio_sid == sid(1)


def test_message_that_is_just_being_handed_over_is_not_looked_for(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(status="pending", next_lookup_at=utcnow())
    with in_minutes(1):
        look_up(app)
    assert alice.events(alice.message()) == []
    assert alice.message().next_lookup_at == message.created_at + 2 * MINUTE


@pytest.mark.parametrize(
    "changed",
    [
        {"body": "Another text"},
        {"from": "+15005550199"},
        {"num_media": "1"},
    ],
)
def test_what_is_not_the_same_is_not_adopted_and_proves_nothing(
    make_app: MakeApp, alice: Person, changed: dict[str, Any]
) -> None:
    message = alice.has_message(status="unknown")
    for minutes in (4, 11, 40):
        message = run_search(
            make_app, alice, listed_message(1, message, **changed), minutes=minutes
        )
        assert (message.status, message.twilio_sid) == ("unknown", None)
    page = alice.get(f"/messages/{message.public_id}").text
    assert ("could be this one" in page) == ("body" not in changed)
    assert sid(1) in page


def test_trial_account_writes_its_own_words_before_the_text(
    make_app: MakeApp, alice: Person
) -> None:
    message = alice.has_message(status="unknown")
    body = f"Sent from your Twilio trial account - {message.body}"
    assert run_search(make_app, alice, listed_message(1, message, body=body)).twilio_sid == sid(1)


def test_service_message_is_known_by_its_service_whatever_number_sent_it(
    make_app: MakeApp, alice: Person
) -> None:
    service = "MG" + "1" * 32
    message = alice.has_message(status="unknown", messaging_service_sid=service, sender=None)
    found = listed_message(1, message, **{"from": "+15005550199"})
    message = run_search(make_app, alice, found)
    assert (message.twilio_sid, message.sender) == (sid(1), "+15005550199")


def test_messages_of_ours_whose_sid_is_known_are_no_match(make_app: MakeApp, alice: Person) -> None:
    message = alice.has_message(status="unknown")
    alice.has_message(twilio_sid=sid(1), status="delivered")
    message = run_search(make_app, alice, listed_message(1, message))
    assert (message.status, message.twilio_sid) == ("unknown", None)


@pytest.mark.parametrize(("minutes", "is_match"), [(-6, False), (-4, True), (9, True), (11, False)])
def test_message_is_a_match_only_if_it_was_made_about_then(
    make_app: MakeApp, alice: Person, minutes: int, is_match: bool
) -> None:
    message = alice.has_message(status="unknown")
    made_at: datetime = message.created_at + minutes * MINUTE
    twilio_sid = run_search(make_app, alice, listed_message(1, message, made_at=made_at)).twilio_sid
    assert twilio_sid == (sid(1) if is_match else None)


def test_nothing_found_over_ten_minutes_is_not_sent_and_safe_to_send_again(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_message(status="unknown")
    for minutes, expected in ((2, "unknown"), (7, "unknown"), (11, "untraced")):
        assert run_search(make_app, alice, minutes=minutes).status == expected
    message = alice.message()
    page = alice.get(f"/messages/{message.public_id}").text
    assert "Not sent" in page
    assert "several searches of its list over ten minutes did not find the message" in words(page)
    assert "safe to send it again" in page
    assert "Twilio has no trace of it" in alice.get("/messages").text


@pytest.mark.parametrize(
    ("hours", "status"), [(-25, "untraced"), (-23, "unknown"), (23, "unknown"), (25, "untraced")]
)
def test_same_text_of_another_day_does_not_keep_it_from_being_not_sent(
    make_app: MakeApp, alice: Person, hours: int, status: str
) -> None:
    message = alice.has_message(status="unknown")
    other = listed_message(1, message, made_at=message.created_at + hours * HOUR)
    for minutes in (2, 11):
        message = run_search(make_app, alice, other, minutes=minutes)
    assert message.status == status


@pytest.mark.parametrize(("most", "status"), [(3, "untraced"), (2, "unknown")])
def test_list_that_is_too_long_to_be_searched_proves_nothing(
    make_app: MakeApp, alice: Person, monkeypatch: pytest.MonkeyPatch, most: int, status: str
) -> None:
    monkeypatch.setattr(unknown_outcomes, "MAX_LISTED_MESSAGES", most)
    message = alice.has_message(status="unknown")
    others = [
        listed_message(n, message, made_at=message.created_at - n * DAY, body="x")
        for n in (1, 2, 3)
    ]
    for minutes in (2, 11):
        message = run_search(make_app, alice, *others, minutes=minutes)
    assert message.status == status


@pytest.mark.parametrize("recipient", ["+1555867XXXX", "+1XXXXXXXXXX", "XXXX", None])
def test_account_that_masks_numbers_never_proves_that_a_message_was_not_sent(
    make_app: MakeApp, alice: Person, recipient: str | None
) -> None:
    message = alice.has_message(status="unknown")
    other = listed_message(1, message, to=recipient, made_at=message.created_at - 3 * DAY)
    for minutes in (2, 11, 40):
        assert run_search(make_app, alice, minutes=minutes, newest=[other]).status == "unknown"
    page = alice.get(f"/messages/{message.public_id}").text
    assert "Twilio hides numbers in its list (Message Redaction)" in words(page)


@pytest.mark.parametrize(
    "changed",
    [
        {"to": "+15558675310"},
        {"to": "whatsapp:+15558675310"},
        {"to": "+15005550006", "from": "+1555867XXXX", "direction": "inbound"},
    ],
)
def test_account_that_shows_the_numbers_of_recipients_proves_it(
    make_app: MakeApp, alice: Person, changed: dict[str, Any]
) -> None:
    message = alice.has_message(status="unknown")
    other = listed_message(1, message, made_at=message.created_at - 3 * DAY, **changed)
    for minutes in (2, 11):
        message = run_search(make_app, alice, minutes=minutes, newest=[other])
    assert message.status == "untraced"


def test_masked_number_may_be_somebody_else_s_and_is_no_match(
    make_app: MakeApp, alice: Person
) -> None:
    message = alice.has_message(status="unknown")
    masked = listed_message(1, message, to="+1555867XXXX")
    message = run_search(make_app, alice, masked, minutes=11)
    assert (message.status, message.twilio_sid) == ("unknown", None)
    page = words(alice.get(f"/messages/{message.public_id}").text)
    assert "1 message that could be this one" in page


def test_text_that_twilio_no_longer_has_may_be_the_same_of_a_wrong_clock(
    make_app: MakeApp, alice: Person
) -> None:
    message = alice.has_message(status="unknown")
    redacted = listed_message(1, message, body="", made_at=message.created_at - HOUR)
    for minutes in (2, 11):
        message = run_search(make_app, alice, redacted, minutes=minutes)
    assert message.status == "unknown"
    page = words(alice.get(f"/messages/{message.public_id}").text)
    assert "1 message that could be this one" in page


def test_one_look_is_not_enough_however_late(make_app: MakeApp, alice: Person) -> None:
    alice.has_message(status="unknown")
    assert run_search(make_app, alice, minutes=300).status == "unknown"
    assert run_search(make_app, alice, minutes=311).status == "untraced"


def test_second_search_soon_after_the_first_proves_nothing(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_message(status="unknown")
    for minutes, expected in ((9, "unknown"), (11, "unknown"), (16, "untraced")):
        assert run_search(make_app, alice, minutes=minutes).status == expected


def test_look_that_failed_does_not_count(make_app: MakeApp, alice: Person) -> None:
    alice.has_message(status="unknown")
    for minutes in (2, 7):
        with wire(answer(500, {}), answer(500, {})) as twilio, in_minutes(minutes):
            look_up(make_app(TWILIO_API_BASE_URL=twilio.url))
    assert run_search(make_app, alice, minutes=30).status == "unknown"


def test_callback_after_all_wins_over_not_sent(make_app: MakeApp, alice: Person) -> None:
    message = alice.has_message(status="unknown")
    for minutes in (2, 11):
        run_search(make_app, alice, minutes=minutes)
    call_back(
        make_app().test_client(),
        fields(sid(9), "delivered"),
        f"/webhooks/twilio/status/{message.public_id}",
    )
    assert (alice.message().status, alice.message().twilio_sid) == ("delivered", sid(9))


def test_two_matches_are_left_to_a_person(make_app: MakeApp, alice: Person) -> None:
    message = alice.has_message(status="unknown")
    found = [listed_message(1, message), listed_message(2, message)]
    message = run_search(make_app, alice, *found, minutes=11)
    message = run_search(make_app, alice, *found, minutes=40)
    assert (message.status, message.twilio_sid) == ("unknown", None)
    page = alice.get(f"/messages/{message.public_id}").text
    assert "Twilio's list has 2 messages that could be this one" in words(page)
    assert sid(1) in page
    assert sid(2) in page


def test_twins_of_unknown_outcome_are_never_confused(make_app: MakeApp, alice: Person) -> None:
    first = alice.has_message(status="unknown")
    alice.has_message(status="unknown")
    found = listing(listed_message(1, first))
    with wire(found, listing(), found, listing(), listing()) as twilio, in_minutes(11):
        look_up(make_app(TWILIO_API_BASE_URL=twilio.url))
    assert {message.status for message in alice.messages()} == {"unknown"}
    assert {message.twilio_sid for message in alice.messages()} == {None}


def test_same_text_to_somebody_else_is_no_twin(make_app: MakeApp, alice: Person) -> None:
    message = alice.has_message(status="unknown")
    later = {"status": "unknown", "next_lookup_at": message.created_at + HOUR}
    alice.has_message(**later, recipient="+15558675311")
    assert run_search(make_app, alice, listed_message(1, message)).twilio_sid == sid(1)


@pytest.mark.parametrize(("minutes", "is_twin"), [(-11, False), (-9, True), (9, True), (11, False)])
def test_same_text_is_a_twin_only_if_it_was_sent_about_then(
    make_app: MakeApp, alice: Person, minutes: int, is_twin: bool
) -> None:
    message = alice.has_message(status="unknown")
    later = {"status": "unknown", "next_lookup_at": message.created_at + HOUR}
    alice.has_message(**later, created_at=message.created_at + minutes * MINUTE)
    twilio_sid = run_search(make_app, alice, listed_message(1, message)).twilio_sid
    assert twilio_sid == (None if is_twin else sid(1))


def test_twins_that_differ_by_a_blank_are_twins(make_app: MakeApp, alice: Person) -> None:
    alice.has_message(status="unknown", body="Hello")
    second = alice.has_message(status="unknown", body="Hello ")
    found = listing(listed_message(1, second))
    with wire(found, found, listing()) as twilio, in_minutes(4):
        look_up(make_app(TWILIO_API_BASE_URL=twilio.url))
    assert {message.twilio_sid for message in alice.messages()} == {None}


def test_clock_that_is_wrong_by_minutes_does_not_make_it_not_sent(
    make_app: MakeApp, alice: Person
) -> None:
    message = alice.has_message(status="unknown")
    found = listed_message(1, message, made_at=message.created_at - 6 * MINUTE)
    for minutes in (2, 12):
        message = run_search(make_app, alice, found, minutes=minutes)
    assert (message.status, message.twilio_sid) == ("unknown", None)


def test_list_in_another_order_is_searched_to_its_end(make_app: MakeApp, alice: Person) -> None:
    message = alice.has_message(status="unknown")
    scheduled = listed_message(2, message, made_at=message.created_at - 3 * DAY, body="reminder")
    message = run_search(make_app, alice, scheduled, listed_message(1, message))
    assert message.twilio_sid == sid(1)


def test_what_the_recipient_wrote_is_no_match(make_app: MakeApp, alice: Person) -> None:
    message = alice.has_message(status="unknown")
    inbound = listed_message(2, message, status="received", direction="inbound")
    assert run_search(make_app, alice, inbound).twilio_sid is None


def test_two_looks_at_once_are_no_repeated_search(make_app: MakeApp, alice: Person) -> None:
    message = alice.has_message(status="unknown")
    with in_minutes(30), wire(*[listing()] * 4) as twilio:
        runner = make_app(TWILIO_API_BASE_URL=twilio.url).test_cli_runner()
        for _ in range(2):
            runner.invoke(args=["messages", "reconcile", str(message.public_id)])
    assert len(alice.events(message)) == 2
    assert alice.message().status == "unknown"


def test_message_of_an_unknown_account_is_never_called_not_sent(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_message(status="unknown", account_sid=None)
    for minutes in (2, 12, 40):
        assert run_search(make_app, alice, minutes=minutes).status == "unknown"


def test_message_that_is_first_looked_for_after_days_is_settled_all_the_same(
    make_app: MakeApp, alice: Person
) -> None:
    alice.has_message(status="unknown")
    assert run_search(make_app, alice, minutes=80 * 60).status == "unknown"
    assert run_search(make_app, alice, minutes=80 * 60 + 11).status == "untraced"


def test_callback_that_comes_while_twilio_is_asked_wins(make_app: MakeApp, alice: Person) -> None:
    message = alice.has_message(status="unknown")
    run_search(make_app, alice, minutes=2)
    web = make_app().test_client()
    with wire(listing(), listing(), listing()) as twilio, in_minutes(12):

        def call_back_once() -> None:
            twilio.on_request = lambda: None
            path = f"/webhooks/twilio/status/{message.public_id}"
            assert call_back(web, fields(sid(1), "teleported"), path).status_code == 204

        twilio.on_request = call_back_once
        look_up(make_app(TWILIO_API_BASE_URL=twilio.url))
    assert "untraced" not in {event.status for event in alice.events(message)}
    assert alice.message().twilio_sid == sid(1)


def test_list_is_never_answered_by_sending(make_app: MakeApp, alice: Person) -> None:
    alice.has_message(status="unknown")
    with wire(listing(), listing(), listing()) as twilio, in_minutes(11):
        work(make_app(TWILIO_API_BASE_URL=twilio.url))
        assert twilio.requests == ["", "", ""]  # bodies: a create call would have one


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"num_media": "1"}, "delivered"),
        ({"num_media": "1", "body": "Sent from your Twilio trial account -"}, "delivered"),
        ({"num_media": "2"}, "unknown"),
        ({"num_media": None}, "unknown"),
        ({"num_media": "1", "body": "A text"}, "unknown"),
    ],
)
def test_picture_of_unknown_outcome_is_known_by_the_number_of_pictures(
    make_app: MakeApp, alice: Person, changed: dict[str, Any], status: str
) -> None:
    message = alice.has_message(status="unknown", body="", media_urls=[PICTURE])
    assert run_search(make_app, alice, listed_message(1, message, **changed)).status == status


def test_two_pictures_of_unknown_outcome_are_never_confused(
    make_app: MakeApp, alice: Person
) -> None:
    first = alice.has_message(status="unknown", body="", media_urls=[PICTURE])
    alice.has_message(status="unknown", body="", media_urls=[PICTURE + "?2"])
    found = listing(listed_message(1, first, num_media="1"))
    with wire(found, found, listing()) as twilio, in_minutes(4):
        look_up(make_app(TWILIO_API_BASE_URL=twilio.url))
    assert {message.twilio_sid for message in alice.messages()} == {None}


@pytest.mark.parametrize("token", [PRIMARY, "f" * 32])
def test_message_is_found_by_the_sid_of_an_erased_callback(
    make_app: MakeApp, alice: Person, token: str
) -> None:
    message = alice.has_message(status="unknown")
    call_back(alice.app.test_client(), fields(sid(1), "sent"), token=token)
    with alice.app.app_context():
        erasure.erase(message.recipient, at_twilio=True, actor="carol@example.org")
        sids = [db.session.scalars(select(model.twilio_sid)).all() for model in SID_HOLDERS]
        assert sid(1) not in chain(*sids)
    message = run_search(make_app, alice, listed_message(1, message))
    assert (message.status, message.twilio_sid) == ("delivered", sid(1))
    with alice.app.app_context(), in_minutes(6):
        list(remove_expired(None))
        assert db.session.scalars(select(CarrierRemoval.twilio_sid)).all() == [sid(1)]
    assert alice.messages() == []
