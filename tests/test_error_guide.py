"""The error guide: complete, well-formed, and there for whoever is signed in."""

import pytest

from smstracker.extensions import db
from smstracker.models import Message
from smstracker.reasons import (
    REASONS,
    WORTH_ANOTHER_TRY,
    documentation,
    read_guide,
    reason_for,
)
from tests.people import Person, words

# Every code that Twilio's documentation names for what senders of SMS and MMS meet.
MET = """
11200 11205 11210 11220 11751 12300 14107 20003 20429 21211 21212 21408 21602 21603 21604 21606
21608 21609 21610 21611 21612 21614 21617 21619 21620 21623 21656 21659 21703 21704 21705 30001
30002 30003 30004 30005 30006 30007 30008 30009 30010 30011 30017 30018 30019 30020 30021 30022
30023 30024 30025 30026 30027 30029 30030 30032 30033 30034 30035 30036 30042 30410 30450 30453
30500 35111 35114 35115 35117 35118 60005 63001 63003 63005 63007 63009 63010 63012 63013 63014
63015 63016 63018 63019 63021 63024 63026 63027 63028 63032 63034 63035 63036 63038 63040 63041
63042
"""
# The same message may be sent again after a while; once at most, where the cause is not known.
LATER = """
20429 21611 30001 30017 30022 30023 30027 30035 30036 30450 60005 63009 63010 63012 63018 63038
"""
ONCE = "30003 30008 30020 30021 30500"
# The message may have arrived, so that sending it again may double it.
ASK_FIRST = "30409 30410"
ENTRY = """
[30003]
short = "Short"
what = "What."
who = "you"
todo = "Do."
again = "no"
when = "Never."
charged = "no"
"""


def test_every_code_that_senders_meet_is_explained() -> None:
    assert set(MET.split()) <= set(REASONS)


def test_same_message_may_be_sent_again_for_these_errors_alone() -> None:
    for again, codes in (("later", LATER), ("once", ONCE), ("ask first", ASK_FIRST)):
        assert {c for c, reason in REASONS.items() if reason.again == again} == set(codes.split())


def test_code_that_is_not_listed_is_no_reason_to_send_again() -> None:
    for code in ("31999", "HTTP 404"):
        reason = reason_for(code)
        assert reason
        assert reason.again not in WORTH_ANOTHER_TRY


def test_page_of_twilio_is_linked_for_codes_alone() -> None:
    assert documentation("30003")
    for other in (None, "", "HTTP 404", "٣٠٠٠٣"):
        assert documentation(other) is None


def test_well_formed_entry_is_read() -> None:
    assert read_guide(ENTRY)["30003"].what == "What."


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('short = "Short"\n', ""),
        ('"Short"', '"' + "x" * 29 + '"'),
        ('"What."', '""'),
        ('"What."', '"No full stop"'),
        ('"you"', '"somebody"'),
        ('again = "no"', 'again = "perhaps"'),
        ('charged = "no"', "charged = false"),
        ("[30003]", "[x30003]"),
        ("[30003]", ENTRY + "[30003]"),
    ],
)
def test_faulty_entry_is_refused(right: str, wrong: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        read_guide(ENTRY.replace(right, wrong, 1))


def test_guide_lists_every_code_with_an_anchor(alice: Person) -> None:
    page = alice.get("/help/errors").text
    for code, reason in REASONS.items():
        assert f'id="{code}"' in page
        assert reason.what.replace("'", "&#39;") in page


@pytest.mark.parametrize("path", ["/help/errors?code=30003", "/help/errors/30003"])
def test_known_code_leads_to_its_place(alice: Person, path: str) -> None:
    answer = alice.client.get(path, follow_redirects=False)
    assert answer.status_code == 302
    assert answer.location in ("/help/errors#30003", "/help/errors/30003")


def test_unknown_code_links_to_twilio(alice: Person) -> None:
    answer = alice.get("/help/errors/31999")
    assert answer.status_code == 404
    assert "Error 31999 is not in this guide" in answer.text
    assert "https://www.twilio.com/docs/api/errors/31999" in answer.text


def test_guide_is_for_signed_in_people(client) -> None:  # type: ignore[no-untyped-def]
    assert client.get("/help/errors").status_code == 302


def test_failed_message_says_who_can_act_and_what_to_do(alice: Person) -> None:
    message = alice.has_message(status="undelivered", error_code="30003")
    page = alice.get(f"/messages/{message.public_id}").text
    said = words(page)
    for part in ("Phone unreachable", "Who can act The recipient", "Try once more in a while"):
        assert part in said
    assert "Send again? Yes. Once more, after some minutes." in said
    assert "Charged? Perhaps" in said
    assert 'href="/help/errors/30003"' in page


@pytest.mark.parametrize(
    ("micros", "said"), [(None, "Perhaps"), (7_900, "Yes, 0.0079 USD"), (0, "No")]
)
def test_known_price_says_whether_it_was_charged(
    alice: Person, micros: int | None, said: str
) -> None:
    message = alice.has_message(status="undelivered", error_code="30003", price_micros=micros)
    with alice.app.app_context():
        db.session.get_one(Message, message.id).price_unit = "USD"
        db.session.commit()
    assert f"Charged? {said} " in words(alice.get(f"/messages/{message.public_id}").text)
