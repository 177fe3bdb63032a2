"""The send form: numbers in any spelling, clear errors, nothing typed is ever lost."""

import re

import pytest
from flask import Flask

from tests.clients import Person, words


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"recipient": ""}, "Type a phone number"),
        ({"recipient": "12"}, "too short"),
        ({"sender": "+15550000000"}, "Not a valid choice"),
        ({"body": ""}, "Type a text"),
        ({"body": " \r\n "}, "Type a text"),
        *(
            ({"body": f" {unseen}\u200b"}, "Nothing of the text can be seen. Type a text")
            for unseen in "\u00ad\u034f\u115f\u180e\u200e\u2060\u2800\u3164\ufe0f\ufeff\uffa0\x01"
        ),
        ({"body": "x" * 1601}, "1,601 characters: 1 more than one message can hold."),
        ({"body": "a\0b"}, "NUL"),
        ({"media_urls": "http://a.example/1.jpg"}, "Line 1 must begin with https://"),
        ({"media_urls": "https://a.example/1.jpg\r\n\r\nnonsense"}, "Line 3 must begin with"),
        ({"media_urls": "https://a.example/1.jpg\r\n" * 11}, "One message can hold 10 pictures"),
    ],
)
def test_error_keeps_everything_that_was_typed(
    alice: Person, changed: dict[str, str], problem: str
) -> None:
    form = alice.compose(recipient="(555) 867-5310", body="My text 🚀", media_urls="") | changed
    answer = alice.client.post("/messages", data=form)
    assert answer.status_code == 422
    assert problem in answer.text
    assert alice.messages() == []
    for name in {"recipient", "body"} - set(changed):
        assert form[name] in answer.text
    if "media_urls" in changed:
        assert changed["media_urls"].split("\r\n")[0] in answer.text


def test_line_ends_of_the_browser_count_once(alice: Person) -> None:
    alice.send(body="one\r\ntwo\rthree")
    assert alice.message().body == "one\ntwo\nthree"


def test_check_says_that_the_text_is_too_long_as_the_script_does(alice: Person) -> None:
    page = words(alice.send(body="🚀" * 1700, check="1").text)
    assert "UCS-2 · 52 segments 1,700 characters: 100 more" in page
    assert "1,700 characters: 100 more than one message can hold." in page
    page = words(alice.send(media_urls="https://a.example/1.jpg", body="x" * 1700, check="1").text)
    assert "not by segments · 1,700 of 1,600 characters" in page


def test_each_address_that_is_wrong_has_a_line_of_its_own(alice: Person) -> None:
    addresses = "ftp://a.example/1.jpg\nhttps://a.example/2.jpg\nnonsense"
    page = alice.send(media_urls=addresses, body="x" * 1601).text
    assert page.count("<li>Line ") == 2
    assert page.count("Line 3 must begin with") == 1
    assert "Pictures : 2 addresses cannot be used" in words(page)


def test_text_of_the_longest_permitted_length_goes(alice: Person) -> None:
    assert alice.send(body="x" * 1600).status_code == 303


def test_check_shows_country_and_number_and_sends_nothing(alice: Person) -> None:
    page = alice.send(recipient="+49 (0)151 23456789", check="1").text
    assert "Germany: +49 1512 3456789" in words(page)
    assert alice.messages() == []


def test_check_says_what_is_wrong_and_sends_nothing(alice: Person) -> None:
    answer = alice.send(recipient="+491512345678.0", check="1")
    assert answer.status_code == 200
    assert "A spreadsheet has turned that number into a decimal" in words(answer.text)
    assert alice.messages() == []


def test_understood_number_stands_beside_the_error_of_another_field(alice: Person) -> None:
    page = alice.send(recipient="(415) 555-2671", body="x" * 1601).text
    assert "United States or Canada: +1 415-555-2671" in words(page)


def test_number_that_was_shown_is_the_one_that_is_sent(alice: Person) -> None:
    typed = "\u202a+49\ufe0f 151 23456789\u202c"
    assert "+49 1512 3456789" in words(alice.send(recipient=typed, check="1").text)
    alice.send(recipient=typed)
    assert alice.message().recipient == "+4915123456789"


def test_counting_segments_needs_no_script_and_sends_nothing(alice: Person) -> None:
    answer = alice.send(body="Fenêtre 🚀", check="1")
    assert answer.status_code == 200
    assert "UCS-2" in answer.text
    assert "ê" in answer.text
    assert "Fenêtre 🚀" in answer.text
    assert alice.messages() == []


def test_stale_form_is_not_sent_and_keeps_the_text(alice: Person) -> None:
    answer = alice.client.post("/messages", data=alice.compose(body="Mine") | {"csrf_token": "x"})
    assert answer.status_code == 400
    assert "nothing was sent" in answer.text
    assert "Mine" in answer.text
    assert alice.messages() == []


@pytest.mark.parametrize("token", ["", "kept"])
def test_session_that_ended_while_typing_keeps_the_text(
    app: Flask, alice: Person, token: str
) -> None:
    form = alice.compose(body="A long text")
    if not token:
        form.pop("csrf_token")
        alice.client.delete_cookie("__Host-session", domain="sms.example.org")
    app.test_cli_runner().invoke(args=["users", "sign-out", alice.email])
    answer = alice.client.post("/messages", data=form)
    assert answer.status_code == 401
    assert "A long text" in answer.text
    assert "/auth/sign-in" in answer.text
    assert alice.messages() == []


def test_form_offers_the_senders_of_the_settings(make_app) -> None:  # type: ignore[no-untyped-def]
    service = "MG" + "a" * 32
    app = make_app(
        TWILIO_PHONE_NUMBER="+15005550006, MyBrand", TWILIO_MESSAGING_SERVICE_SID=service
    )
    page = Person.signed_in(app, "alice@example.org").get("/messages/new").text
    offered = page.partition("<select")[2].partition("</select>")[0]
    values = re.findall(r'<option[^>]* value="([^"]+)"', offered)
    assert values == [service, "+15005550006", "MyBrand"]


def test_too_large_form_is_a_413(alice: Person) -> None:
    assert alice.send(body="x" * 300_000).status_code == 413
