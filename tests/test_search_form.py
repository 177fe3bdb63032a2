"""The form of the filters: what it makes of what is chosen, and the chips of what is active."""

import re

import pytest

from tests.clients import Person, words


def test_zone_that_is_not_known_stops_no_filter_and_is_said(alice: Person) -> None:
    alice.has_message()
    typed = {"text": "Hello", "zone": "Etc/Unknown"}
    answer = alice.post("/messages/filter", typed, page="/messages")
    assert answer.location == "/messages?text=Hello"
    answer = alice.post("/messages/filter", typed | {"from": "2026-05-03"}, page="/messages")
    assert answer.status_code == 303
    page = alice.get(answer.location).text
    assert "since 3 May 2026 (UTC)" in words(page)
    assert "“Etc/Unknown” is not known here, so the days are UTC days" in words(page)
    export = re.search(r'href="(/messages/export.csv[^"]+)"', page)
    assert export
    assert alice.get(export[1].replace("&amp;", "&")).status_code == 200


def test_any_time_sets_aside_the_days_that_stand_in_the_form(alice: Person) -> None:
    alice.has_message()
    days = {"from": "2026-05-03", "to": "2026-05-04", "zone": "Europe/Paris"}
    location = alice.post("/messages/filter", {"period": "", **days}, page="/messages").location
    assert "period=custom" in location, "days alone mean a range"
    form = alice.get(location).text
    any_time = re.search(r'<option value="(\w*)">Any time', form)
    assert any_time
    again = alice.post("/messages/filter", {"period": any_time[1], **days}, page="/messages")
    assert again.location == "/messages"


@pytest.mark.parametrize(
    ("code", "chip"),
    [
        ("30003", "Error 30003 (Phone unreachable) ×"),
        ("39999", "Error 39999 ×"),
        ("HTTP 403", "Error HTTP 403 ×"),
    ],
)
def test_chip_of_an_error_says_its_code_once(alice: Person, code: str, chip: str) -> None:
    alice.has_message()
    page = alice.get("/messages", query_string={"error": code}).text
    assert f"Remove filter {chip}" in words(page)


@pytest.mark.parametrize("sender", ["Shop-1", "Shop_1", "Shop & Co", "+Shop"])
def test_messages_of_every_permitted_sender_are_found(alice: Person, sender: str) -> None:
    alice.has_message(sender=sender)
    alice.has_message(sender="Other")
    address = alice.post("/messages/filter", {"sender": sender}, page="/messages").location
    listing = alice.get(address.replace("/messages", "/messages.json")).json
    assert [message["sender"] for message in listing["messages"]] == [sender]  # type: ignore[index]


@pytest.mark.parametrize(("typed", "is_open"), [({"text": "ab"}, False), ({"error": "x"}, True)])
def test_more_filters_open_only_if_one_of_them_was_used(
    alice: Person, typed: dict[str, str], is_open: bool
) -> None:
    alice.has_message()
    form = alice.post("/messages/filter", typed | {"zone": "UTC"}, page="/messages").text
    assert ("<details open>" in form) is is_open
