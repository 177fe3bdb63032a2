"""The error guide: complete, well-formed, and shown to signed-in users."""

import re

import pytest

from smstracker.extensions import db
from smstracker.models import Message, User
from smstracker.sms import status
from smstracker.sms.error_guide import (
    ACTORS,
    RESENDABLE,
    address_administrator,
    documentation_url,
    explain_code,
    explanations,
    read_guide,
)
from tests.clients import Person, words
from tests.twilio_codes import EXPLAINED, LEFT_OUT, read_codes

ENTRY = """
[recipient.30003]
short = "Short"
cause = "What."
actor = "you"
action = "Do."
resend = "no"
resend_note = "Never."
charged = "no"
"""
# Advice to send the same message again, which only two classes may give.
ADVISES_RESEND = re.compile(r"\b(send it again|try (it )?(once more|again)|wait, then)\b", re.I)


def test_every_code_of_twilio_on_messages_is_explained_or_left_out_for_a_reason() -> None:
    explained = [code for codes in EXPLAINED.values() for code in read_codes(codes)]
    left_out = [code for codes in LEFT_OUT.values() for code in read_codes(codes)]
    assert set(explanations()) == set(explained)
    assert len(explained + left_out) == len({*explained, *left_out})


@pytest.mark.parametrize("resend", EXPLAINED)
def test_codes_are_in_the_class_of_advice_that_twilio_supports(resend: str) -> None:
    codes = {code for code, reason in explanations().items() if reason.resend == resend}
    assert codes == set(read_codes(EXPLAINED[resend]))


def test_no_sentence_contradicts_its_class() -> None:
    for code, reason in explanations().items():
        text = f"{reason.cause} {reason.action} {reason.send_again}"
        if reason.resend not in RESENDABLE:
            assert not ADVISES_RESEND.search(text), code
            assert not reason.send_again.startswith("Yes"), code
        if reason.resend == "after a fix":
            assert reason.send_again.startswith("Only "), code
        if "may have" in reason.cause:
            assert reason.resend == "ask first", code
        if reason.actor == "administrator":
            assert "administrator" in reason.action, code
        if reason.actor in ("you", "administrator"):
            assert "or ask your administrator" not in reason.action, code


def test_administrator_is_never_sent_to_the_administrator() -> None:
    reasons = [*explanations().values(), explain_code("31999"), explain_code("HTTP 404")]
    for reason in filter(None, reasons):
        for text in (reason.cause, reason.action, reason.send_again, ACTORS[reason.actor]):
            rewritten = address_administrator(text)
            assert "administrator" not in rewritten, rewritten
            assert rewritten[0].isupper(), rewritten


@pytest.mark.parametrize(
    ("code", "actor", "action"),
    [
        ("20003", "You", "Check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN."),
        ("21606", "You", "Choose another sender, or check the senders in the settings."),
    ],
)
def test_failed_message_tells_an_administrator_the_act_itself(
    alice: Person, code: str, actor: str, action: str
) -> None:
    message = alice.has_message(status="refused", error_code=code)
    with alice.app.app_context():
        db.session.query(User).update({"administrator": True})
        db.session.commit()
    page_text = words(alice.get(f"/messages/{message.public_id}").text)
    assert f"Who can act {actor} What to do {action}" in page_text
    assert "administrator" not in page_text
    resend_page = words(alice.get(f"/messages/{message.public_id}/again").text)
    assert code in status.CREDENTIALS_CODES or action in resend_page
    assert "administrator" not in resend_page
    assert "administrator" not in words(alice.get("/help/errors").text)


def test_sender_of_another_account_can_be_mended_by_two(alice: Person) -> None:
    message = alice.has_message(status="refused", error_code="21660")
    page_text = words(alice.get(f"/messages/{message.public_id}").text)
    assert (
        "Who can act You, or your administrator What to do Choose another sender, or ask"
        in page_text
    )


def test_sender_that_is_not_registered_is_not_taken_for_the_recipient() -> None:
    assert explanations()["30034"].short == "10DLC: sender not registered"


def test_message_that_was_never_sent_promises_no_statuses(alice: Person) -> None:
    message = alice.has_message(status="refused", error_code="21609", callback_requested=False)
    page_text = words(alice.get(f"/messages/{message.public_id}").text)
    assert "Twilio cannot use the callback address." in page_text
    assert "arrive by callback" not in page_text


def test_landline_that_twilio_refuses_is_named_and_not_sent_again() -> None:
    reason = explanations()["21635"]
    assert reason.short == "Landline"
    assert reason.resend == "no"
    assert "mobile number" in reason.action


def test_code_that_is_not_listed_is_no_reason_to_send_again() -> None:
    for code in ("31999", "HTTP 404"):
        reason = explain_code(code)
        assert reason
        assert reason.resend not in RESENDABLE


@pytest.mark.parametrize("spelling", [30003, "30003 ", "030003", " 30 003"])
def test_code_means_the_same_in_every_spelling(spelling: str | int) -> None:
    assert explain_code(spelling) is explanations()["30003"]


@pytest.mark.parametrize("nothing", [None, "", 0])
def test_no_code_has_no_reason(nothing: str | int | None) -> None:
    assert explain_code(nothing) is None


def test_page_of_twilio_is_linked_for_codes_alone() -> None:
    assert documentation_url("30003")
    for other in (None, "", "HTTP 404", "٣٠٠٠٣", "2161", "3003430003"):
        assert documentation_url(other) is None


def test_well_formed_entry_is_read() -> None:
    assert read_guide(ENTRY)["recipient"]["30003"].cause == "What."


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('short = "Short"\n', ""),
        ('"Short"', '"' + "x" * 29 + '"'),
        ('"What."', '""'),
        ('"What."', '"No full stop"'),
        ('"you"', '"somebody"'),
        ('resend = "no"', 'resend = "perhaps"'),
        ('charged = "no"', "charged = false"),
        ("recipient.30003", "recipient.x30003"),
        ("recipient.30003", "recipient.030003"),
        ("recipient.30003", "somewhere.30003"),
        ("[recipient.30003]", ENTRY + "[recipient.30003]"),
        ("[recipient.30003]", ENTRY + "[sender.30003]"),
        ('resend_note = "Never."', 'resend_note = "Never"'),
    ],
)
def test_faulty_entry_is_refused(right: str, wrong: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        read_guide(ENTRY.replace(right, wrong, 1))


def test_guide_lists_every_code_with_an_anchor(alice: Person) -> None:
    page = alice.get("/help/errors").text
    for code, reason in explanations().items():
        assert f'id="{code}"' in page
        assert reason.cause.replace("'", "&#39;") in page


@pytest.mark.parametrize("typed", ["30003", " 030003", "30 003", "Error 30003"])
def test_code_that_is_looked_up_leads_to_its_place(alice: Person, typed: str) -> None:
    answer = alice.client.get("/help/errors", query_string={"q": typed}, follow_redirects=False)
    assert answer.location == "/help/errors/30003"
    answer = alice.client.get(answer.location, follow_redirects=False)
    assert answer.location == "/help/errors#30003"


def test_word_that_is_looked_up_shows_the_entries_that_contain_it(alice: Person) -> None:
    page = alice.get("/help/errors?q=LANDLINE").text
    assert 'id="21635"' in page
    assert 'id="30006"' in page
    assert 'id="30007"' not in page
    assert f"of {len(explanations())} entries contain “LANDLINE”" in words(page)


def test_word_that_no_entry_contains_is_said_plainly(alice: Person) -> None:
    assert "No entry contains “xyzzy”." in words(alice.get("/help/errors?q=xyzzy").text)


@pytest.mark.parametrize(
    ("typed", "listed", "hidden"),
    [
        ("2161", ["21610", "21614"], "21608"),
        ("errors 2161", ["21610"], "21608"),
        ("30034 30003", ["30003", "30034"], "30004"),
        ("30034, 30003", ["30003", "30034"], "30004"),
    ],
)
def test_several_codes_or_the_beginning_of_some_show_their_entries(
    alice: Person, typed: str, listed: list[str], hidden: str
) -> None:
    page = alice.client.get("/help/errors", query_string={"q": typed}).text
    assert all(f'id="{code}"' in page for code in listed)
    assert f'id="{hidden}"' not in page


@pytest.mark.parametrize("typed", ["30034 99999", "3003430003", "9999"])
def test_what_is_no_code_leads_to_no_page_of_twilio(alice: Person, typed: str) -> None:
    page = alice.client.get("/help/errors", query_string={"q": typed}).text
    assert f"No entry contains “{typed}”." in words(page)
    assert "is not in this guide" not in page


def test_message_with_a_code_that_is_not_explained_links_to_twilio_alone(alice: Person) -> None:
    message = alice.has_message(status="undelivered", error_code="31999")
    page = alice.get(f"/messages/{message.public_id}").text
    assert "https://www.twilio.com/docs/api/errors/31999" in page
    assert "/help/errors/31999" not in page


@pytest.mark.parametrize("path", ["/help/errors/31999", "/help/errors/031999"])
def test_unknown_code_links_to_twilio(alice: Person, path: str) -> None:
    answer = alice.get(path)
    assert answer.status_code == 404
    assert "Error 31999 is not in this guide" in answer.text
    assert "https://www.twilio.com/docs/api/errors/31999" in answer.text


def test_guide_is_for_signed_in_people(client) -> None:  # type: ignore[no-untyped-def]
    assert client.get("/help/errors").status_code == 302


def test_failed_message_says_who_can_act_and_what_to_do(alice: Person) -> None:
    message = alice.has_message(status="undelivered", error_code="30003")
    page = alice.get(f"/messages/{message.public_id}").text
    page_text = words(page)
    for part in (
        "Phone unreachable",
        "Who can act You What to do",
        "Try once more in a while",
    ):
        assert part in page_text
    assert "Send again? Yes. Once more, after some minutes." in page_text
    assert "Charged? Perhaps" in page_text
    assert 'href="/help/errors/30003"' in page


@pytest.mark.parametrize(
    ("micros", "answer"), [(None, "Perhaps"), (7_900, "Yes, 0.0079 USD"), (0, "No")]
)
def test_known_price_says_whether_it_was_charged(
    alice: Person, micros: int | None, answer: str
) -> None:
    message = alice.has_message(status="undelivered", error_code="30003", price_micros=micros)
    with alice.app.app_context():
        db.session.get_one(Message, message.id).price_unit = "USD"
        db.session.commit()
    assert f"Charged? {answer} " in words(alice.get(f"/messages/{message.public_id}").text)


def test_simulated_message_was_not_charged(alice: Person) -> None:
    message = alice.has_message(status="undelivered", error_code="30003", simulated=True)
    assert "Charged? No: simulated" in words(alice.get(f"/messages/{message.public_id}").text)


@pytest.mark.parametrize("typed", ["30003", " 030003", "30 003"])
def test_log_finds_the_messages_with_a_code_in_every_spelling(alice: Person, typed: str) -> None:
    message = alice.has_message(status="undelivered", error_code="30003")
    page = alice.client.get("/messages", query_string={"error": typed}).text
    assert f"/messages/{message.public_id}" in page
    assert "Error 30003" in page
