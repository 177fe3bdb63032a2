"""Each scenario from the send form to the timeline, over real HTTP."""

from collections import Counter

import pytest
from flask import Flask

from smstracker.models import Message
from smstracker.simulator import SCENARIOS, SimulatorServer
from smstracker.sms.status import Effect, effects
from tests.clients import Client, Person

# What becomes of a message to the number of each scenario: our status and error code.
OUTCOMES = {
    "+15005550006": ("delivered", None),
    "+15005553003": ("undelivered", "30003"),
    "+15005553005": ("undelivered", "30005"),
    "+15005553006": ("undelivered", "30006"),
    "+15005553007": ("undelivered", "30007"),
    "+15005553034": ("undelivered", "30034"),
    "+15005550001": ("refused", "21211"),
    "+15005550004": ("refused", "21610"),
    "+15005550100": ("sent", None),
    "+15005550101": ("delivered", None),
    "+15005550102": ("delivered", None),
    "+15005550103": ("delivered", None),
    "+15005550104": ("queued", None),
    "+15005550105": ("sent", None),
    "+15005550106": ("delivered", None),
    "+15005550107": ("delivered", None),
    "+15005550108": ("delivered", None),
    "+15005550109": ("refused", "20429"),
    "+15005550110": ("delivered", None),
    "+15005550111": ("delivered", "30018"),
    "+15005550112": ("unknown", None),
    "+15005550114": ("sent", None),
    "+15005550115": ("delivered", None),
    "+15005550116": ("queued", None),
}


@pytest.fixture
def sender(live: Flask) -> Person:
    live.test_client_class = Client
    return Person.signed_in(live, "alice@example.org")


def send_to(sender: Person, simulator: SimulatorServer, number: str) -> Message:
    """Send and wait until the carrier has nothing left to say."""
    assert sender.send(recipient=number).status_code == 303
    assert simulator.ledger.wait_until_idle(30)
    return sender.message()


def test_every_scenario_has_an_outcome_here() -> None:
    assert {scenario.number for scenario in SCENARIOS} == set(OUTCOMES)


@pytest.mark.parametrize("number", OUTCOMES)
def test_message_ends_as_its_scenario_says(
    sender: Person, simulator: SimulatorServer, number: str
) -> None:
    message = send_to(sender, simulator, number)
    assert (message.status, message.error_code) == OUTCOMES[number]
    assert sender.get(f"/messages/{message.public_id}").status_code == 200
    not_sent = OUTCOMES[number][0] in ("refused", "unknown")
    assert simulator.ledger.count_creates(number, "Hello") == (0 if not_sent else 1)


def test_every_acknowledged_callback_is_among_the_events(
    sender: Person, simulator: SimulatorServer
) -> None:
    for number in ("+15005550102", "+15005550103", "+15005550105", "+15005550110"):
        sender.send(recipient=number)
    assert simulator.ledger.wait_until_idle(30)
    for message in sender.messages():
        attempts = simulator.ledger.attempts(message.twilio_sid)
        taken = [attempt for attempt in attempts if attempt.response_status == 204]
        events = [e for e in sender.events(message) if e.source == "callback"]
        stored = Counter(e.status for e in events for _ in range(1 + e.repeats))
        # What is stored although the carrier gave up waiting for the answer comes again.
        assert Counter(a.status for a in taken) <= stored <= Counter(a.status for a in attempts)
        assert {a.idempotency_token for a in taken} == {e.idempotency_token for e in events}


def test_forged_callback_is_refused_and_changes_nothing(
    sender: Person, simulator: SimulatorServer
) -> None:
    message = send_to(sender, simulator, "+15005550105")
    answers = [a.response_status for a in simulator.ledger.attempts(message.twilio_sid)]
    assert answers == [204, 403]
    assert message.status == "sent"


def test_shared_key_callbacks_verify_and_those_of_an_unknown_key_are_refused(
    sender: Person, simulator: SimulatorServer
) -> None:
    for number, answer in (("+15005550115", 204), ("+15005550116", 403)):
        sender.send(recipient=number, body=number)
        assert simulator.ledger.wait_until_idle(30)
        message = sender.messages()[-1]
        answers = [a.response_status for a in simulator.ledger.attempts(message.twilio_sid)]
        assert answers == [answer, answer]
    events = [e for m in sender.messages() for e in sender.events(m) if e.source == "callback"]
    assert {event.signed_with for event in events} == {"shared key"}


def test_swapped_callbacks_are_labelled_late(sender: Person, simulator: SimulatorServer) -> None:
    message = send_to(sender, simulator, "+15005550103")
    found = effects((e.status, e.error_code) for e in sender.events(message))
    assert Effect.LATE in found


def test_callback_before_the_answer_finds_its_message(
    sender: Person, simulator: SimulatorServer
) -> None:
    message = send_to(sender, simulator, "+15005550108")
    words = [event.status for event in sender.events(message)]
    assert words.index("sent") < words.index("queued")
    assert message.twilio_sid is not None


def test_lost_answer_is_settled_by_the_callbacks(
    sender: Person, simulator: SimulatorServer
) -> None:
    message = send_to(sender, simulator, "+15005550107")
    assert message.twilio_sid == simulator.ledger.messages()[0].sid
    assert {event.status for event in sender.events(message)} >= {"unknown", "delivered"}


def test_picture_message_and_messaging_service(sender: Person, simulator: SimulatorServer) -> None:
    sender.send(recipient="+15005550006", media_urls="https://pictures.example/one.jpg")
    assert simulator.ledger.wait_until_idle(30)
    message = sender.message()
    assert message.status == "delivered"
    assert message.twilio_sid is not None
    assert message.twilio_sid.startswith("MM")
