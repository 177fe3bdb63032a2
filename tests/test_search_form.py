"""The form of the filters: what it makes of what is chosen, and the chips of what is active."""

import re
from collections.abc import Callable

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


def listed(alice: Person, typed: str) -> tuple[str, list[str]]:
    """The address that the search box leads to, and the recipients found there."""
    address = alice.post("/messages/filter", {"text": typed}, page="/messages").location
    listing = alice.get(address.replace("/messages", "/messages.json")).json
    return address, [message["recipient"] for message in listing["messages"]]  # type: ignore[index]


@pytest.mark.parametrize(
    "typed", ["+15558675310", "(555) 867-5310", "555 867 5310", "tel:+1-555-867-5310"]
)
def test_number_in_the_search_box_finds_its_recipient_and_is_in_no_address(
    alice: Person, typed: str
) -> None:
    alice.has_message(recipient="+15558675310")
    alice.has_message(recipient="+15558675311", body="Call 555 867 5310 or +15558675310")
    address, recipients = listed(alice, typed)
    assert recipients == ["+15558675310"]
    assert re.fullmatch(r"/messages\?recipient=[\w-]{16}", address)
    page = alice.get(address).text
    assert not re.search(r'(?:href|action)="[^"]*(?:8675310|867-5310)', page)
    assert "5310" not in re.findall(r"<title>(.*)</title>", page)[0]


def test_number_in_the_search_box_takes_the_place_of_an_earlier_one(alice: Person) -> None:
    alice.has_message(recipient="+15558675310")
    typed = {"text": "+15558675310", "number": "+15558675311", "state": "waiting"}
    address = alice.post("/messages/filter", typed, page="/messages").location
    page = words(alice.get(address).text)
    assert "Remove filter To +1 555-867-5310" in page
    assert "5311" not in page
    assert "state=waiting" in address


def test_impossible_number_in_the_search_box_is_refused_in_no_address(alice: Person) -> None:
    alice.has_message()
    answer = alice.post("/messages/filter", {"text": "+1 555 867 53"}, page="/messages")
    assert answer.status_code == 422
    assert "Recipient: " in words(answer.text)
    assert re.search(r'<input[^>]*value="\+1 555 867 53"[^>]*aria-invalid="true"', answer.text)


@pytest.mark.parametrize(
    ("typed", "recipient"),
    [
        ("447700900123", "+447700900123"),
        ("00447700900123", "+447700900123"),
        ("07700 900123", "+447700900123"),
        ("06 12 34 56 78", "+33612345678"),
        ("867-5310", "+15558675310"),
        ("+15558675310;", "+15558675310"),
        ("<+15558675310>", "+15558675310"),
        ("whatsapp:+15558675310", "+15558675310"),
        ("+1\u2011555\u2011867\u20115310", "+15558675310"),
        ("+1\u00a0555\u00a0867\u00a05310", "+15558675310"),
        ("+1 555 867 – 5310", "+15558675310"),
        ("\uff0b15558675310", "+15558675310"),
        ("٠٧٧٠٠٩٠٠١٢٣", "+447700900123"),
    ],
)
def test_number_of_any_country_finds_its_recipient_and_is_in_no_address(
    alice: Person, typed: str, recipient: str
) -> None:
    alice.has_message(recipient=recipient)
    alice.has_message(recipient="+15558675311", body=typed)
    address, recipients = listed(alice, typed)
    assert recipients == [recipient]
    assert re.fullmatch(r"/messages\?recipient=[\w-]{16}", address)


@pytest.mark.parametrize(
    "typed",
    [
        "Ann +1 555 867 5310",
        "call 5558675310",
        "Ms Smith (555) 867-5310",
        "00491701234567 ok",
        "x5558675310 2026-11-27",
        "two 5_5_5_8_6_7_5_3_1_0",
        "Ann ①②③④⑤⑥⑦⑧",
    ],
)
def test_number_beside_words_is_refused_in_no_address(alice: Person, typed: str) -> None:
    alice.has_message()
    answer = alice.post("/messages/filter", {"text": typed}, page="/messages")
    assert answer.status_code == 422
    assert "Search for the number alone" in words(answer.text)


@pytest.mark.parametrize(
    "typed",
    ["5310", "12.50", "2026-11-27", "27.11.2026", "2026-11-27 10:15", "Order 555867", "A+1"],
)
def test_text_that_is_no_whole_number_is_searched_for_in_texts(alice: Person, typed: str) -> None:
    alice.has_message(recipient="+15558675311", body=f"It is {typed}, thanks")
    alice.has_message(recipient="+15558675310", body="Hello")
    address, recipients = listed(alice, typed)
    assert "text=" in address
    assert recipients == ["+15558675311"]


@pytest.mark.parametrize("change", [str, str.lower, lambda sid: f" {sid} "])
def test_sid_in_the_search_box_finds_its_message(
    alice: Person, change: Callable[[str], str]
) -> None:
    sid = "SM" + "0123456789abcdef" * 2
    alice.has_message(recipient="+15558675310", twilio_sid=sid)
    alice.has_message(recipient="+15558675311", body=f"Quoted: {sid}")
    address, recipients = listed(alice, change(sid))
    assert recipients == ["+15558675310"]
    page = alice.get(address).text
    assert f"Remove filter Id or SID {change(sid).strip()}" in words(page)
    assert f'value="{change(sid).strip()}" maxlength' in page, "the box keeps what was typed"
    assert re.search(r"Waiting 1\b", words(page)), "the pills count it"


def test_id_in_the_search_box_finds_ones_own_message_only(alice: Person, bob: Person) -> None:
    message = alice.has_message(recipient="+15558675310")
    alice.has_message()
    bob.has_message()
    assert listed(alice, str(message.public_id))[1] == ["+15558675310"]
    assert listed(bob, str(message.public_id))[1] == []


def test_error_code_in_the_search_box_leads_to_the_messages_with_the_error(alice: Person) -> None:
    alice.has_message(recipient="+15558675310", status="undelivered", error_code="30003")
    alice.has_message()
    address, recipients = listed(alice, "30003")
    assert recipients == []
    page = alice.get(address).text
    assert "30003 is also an error code: show the messages with error 30003" in words(page)
    link = re.search(r'also an error code: <a href="/messages(\?[^"]+)"', page)
    assert link
    listing = alice.get(f"/messages.json{link[1]}").json
    assert [message["recipient"] for message in listing["messages"]] == ["+15558675310"]  # type: ignore[index]
    assert "is also an error code" not in alice.get("/messages?text=39999").text


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("nowhere", "Only the texts were searched. More filters has the recipient"),
        ("+15558675399", "Only recipients were searched. To find a number within texts"),
    ],
)
def test_search_without_a_message_says_what_was_searched(
    alice: Person, typed: str, sentence: str
) -> None:
    alice.has_message()
    assert sentence in words(alice.get(listed(alice, typed)[0]).text)


@pytest.mark.parametrize(
    ("field", "typed"),
    [("text", "ab"), ("number", "5678O"), ("error", "x"), ("from", "2999-99-99")],
)
def test_refused_search_focuses_the_field_at_fault(alice: Person, field: str, typed: str) -> None:
    alice.has_message()
    fields = {"text": "Hello", "number": "5310", field: typed}
    page = alice.post("/messages/filter", fields, page="/messages").text
    assert re.findall(r'name="(\w+)"[^>]* aria-invalid="true"[^>]* autofocus', page) == [field]
