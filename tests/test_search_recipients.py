"""Recipients that were searched for: what was typed, and the handle that stands for it."""

import threading
from collections.abc import Callable

import pytest
from flask import Flask

from smstracker.extensions import writing
from smstracker.models import RecipientSearch
from tests.clients import Person


@pytest.mark.slow
def test_same_search_twice_at_once_gets_one_handle(app: Flask, alice: Person) -> None:
    me, first_is_stored = alice.id, threading.Event()
    handles: list[str] = []

    def again() -> None:
        with app.test_request_context(method="POST"):
            first_is_stored.wait(30)
            with writing():
                handles.append(RecipientSearch.get_or_create(me, "5310", is_full=False).handle)

    other = threading.Thread(target=again)
    other.start()
    with app.test_request_context(method="POST"), writing():
        handles.append(RecipientSearch.get_or_create(me, "5310", is_full=False).handle)
        first_is_stored.set()
        other.join(0.3)  # it waits for the row, or has got one of its own
    other.join(30)
    assert len(handles) == 2
    assert len(set(handles)) == 1


@pytest.mark.parametrize(
    ("region", "typed"),
    [
        *(("DE", "8675310"), ("DE", "558675310"), ("SG", "58675310"), ("AT", "58 67 53 10")),
        *(("US", "5310"), ("US", "8675310"), ("US", "(555) 867-5310"), ("US", "1 555 867 5310")),
        *(("US", "0555"), ("US", "9999"), ("DE", "+1 555 867 5310"), ("DE", "001 555 867 5310")),
    ],
)
def test_recipient_is_found_by_last_digits_in_every_country(
    make_app: Callable[..., Flask], region: str, typed: str
) -> None:
    anna = Person.signed_in(make_app(DEFAULT_REGION=region), "anna@example.org")
    number = f"+1555867{typed}" if len(typed) == 4 else "+15558675310"
    anna.has_message(recipient=number, recipient_reversed=number[:0:-1])
    address = anna.post("/messages/filter", {"number": typed}, page="/messages").location
    listing = anna.get(address.replace("/messages", "/messages.json")).json
    assert len(listing["messages"]) == 1  # type: ignore[index]


@pytest.mark.parametrize("typed", ["4915123456789", "+49 151\u200e23456789", "tel:+4915123456789"])
def test_recipient_is_found_by_every_spelling_that_the_form_takes(
    make_app: Callable[..., Flask], typed: str
) -> None:
    anna = Person.signed_in(make_app(DEFAULT_REGION="DE"), "anna@example.org")
    number = "+4915123456789"
    anna.has_message(recipient=number, recipient_reversed=number[:0:-1])
    address = anna.post("/messages/filter", {"number": typed}, page="/messages").location
    listing = anna.get(address.replace("/messages", "/messages.json")).json
    assert len(listing["messages"]) == 1  # type: ignore[index]


@pytest.mark.parametrize(
    "typed", ["+491512345678.0", "5678O", "whatsapp:5678", "5678, 5679", "415…2671"]
)
def test_search_refuses_what_the_form_refuses(alice: Person, typed: str) -> None:
    answer = alice.post("/messages/filter", {"number": typed}, page="/messages")
    assert answer.status_code == 422
    assert "Recipient: " in answer.text


def test_number_with_a_trunk_prefix_is_a_whole_one(make_app: Callable[..., Flask]) -> None:
    anna = Person.signed_in(make_app(DEFAULT_REGION="NZ"), "anna@example.org")
    number = "+6421123456"
    anna.has_message(recipient=number, recipient_reversed=number[:0:-1])
    address = anna.post("/messages/filter", {"number": "021 123 456"}, page="/messages").location
    assert "To +64 21 123 456" in anna.get(address).text
