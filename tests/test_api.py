"""A program sends a message once, whatever it repeats, and is told what is wrong."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import update

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.messages.last_checks import find_obstacles
from smstracker.models import ApiToken, Message
from smstracker.models.api_tokens import TokenRights, revoke_token
from smstracker.models.outbox import claim
from smstracker.privacy.erasure import erase
from tests.programs import SENDER, TO, Program

MakeApp = Callable[..., Flask]
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.fixture
def program(app: Flask) -> Program:
    return Program(app)


def fields_at_fault(answer: Any) -> dict[str, str]:
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_request")
    return {error["field"]: error["message"] for error in answer.json["errors"]}


@pytest.mark.both_databases
def test_message_is_saved_in_the_outbox(program: Program) -> None:
    answer = program.send(reference="order 7")
    [message] = program.messages()
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/v1/messages/{message.public_id}"
    assert (message.status, message.recipient, message.sender, message.body) == (
        "outbox",
        TO,
        SENDER,
        "Hello",
    )
    body = answer.json
    assert (body["id"], body["status"], body["state"]) == (
        str(message.public_id),
        "outbox",
        "waiting",
    )
    assert (body["reference"], body["simulated"], body["is_final"]) == ("order 7", False, False)


@pytest.mark.both_databases
@pytest.mark.parametrize("word", ["delivered", "unknown", "canceled"])
def test_repeated_request_answers_the_same_message_as_it_is_now(
    program: Program, word: str
) -> None:
    first = program.send("key-1")
    with program.app.app_context():
        db.session.execute(update(Message).values(status=word))
        db.session.commit()
    again = program.send("key-1")
    assert again.status_code == 200
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert (again.json["id"], again.json["status"]) == (first.json["id"], word)
    assert len(program.messages()) == 1


def test_names_may_come_in_any_order_and_null_is_left_out(program: Program) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    texts = (
        '{"to": "+15558675310", "text": "é"}',
        '{"text":"\\u00e9","reference":null,"to":"+15558675310"}',
    )
    codes = [program.post("messages", data=text, headers=headers).status_code for text in texts]
    assert codes == [202, 200]


@pytest.mark.parametrize(
    "change", [{"to": "+15558675311"}, {"text": "Bye"}, {"from": SENDER}, {"reference": "x"}]
)
def test_other_content_under_the_same_key_is_refused(
    program: Program, change: dict[str, str]
) -> None:
    program.send("key-1")
    answer = program.send("key-1", **change)
    assert (answer.status_code, answer.json["code"]) == (409, "idempotency_key_reused")
    assert len(program.messages()) == 1


@pytest.mark.slow
@pytest.mark.both_databases
def test_two_hundred_calls_at_once_with_one_key_make_one_message(program: Program) -> None:
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: program.send("key-1"), range(200)))
    assert len(program.messages()) == 1
    assert len({answer.json["id"] for answer in answers}) == 1
    assert sorted(answer.status_code for answer in answers) == [200] * 199 + [202]


def test_keys_of_two_users_have_nothing_to_do_with_each_other(app: Flask, program: Program) -> None:
    bob = Program(app, "bob@example.org")
    assert program.send("key-1").status_code == bob.send("key-1").status_code == 202


def test_two_tokens_of_a_user_share_their_keys(app: Flask, program: Program) -> None:
    assert program.send("key-1").json["id"] == Program(app).send("key-1").json["id"]


def test_repeated_request_is_known_after_the_text_was_deleted(program: Program) -> None:
    program.send("key-1")
    with program.app.app_context():
        values = {"body": "", "media_urls": [], "content_deleted_at": utcnow()}
        db.session.execute(update(Message).values(values))
        db.session.commit()
    assert program.send("key-1").json["text"] is None
    assert program.send("key-1", text="Other").status_code == 409


def test_repeated_request_is_answered_when_it_would_be_refused_now(
    program: Program, make_app: MakeApp
) -> None:
    with time_machine.travel(NOON, tick=False):
        send_at = (NOON + timedelta(minutes=1)).isoformat()
        assert program.send("key-1", send_at=send_at, from_=SENDER).status_code == 202
    with time_machine.travel(NOON + timedelta(hours=1), tick=False):
        program.app = make_app(TWILIO_PHONE_NUMBER="+442079460018")
        assert program.send("key-1", send_at=send_at, from_=SENDER).status_code == 200
        assert set(fields_at_fault(program.send("key-2", send_at=send_at, from_=SENDER))) == {
            "from",
            "send_at",
        }


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "ä", "a\tb", "a,b"])
def test_key_is_needed_and_checked(program: Program, key: str) -> None:
    answer = program.post(
        "messages", json={"to": TO, "text": "x"}, headers={"Idempotency-Key": key}
    )
    assert answer.status_code == 400
    assert answer.json["code"] in ("idempotency_key_missing", "idempotency_key_invalid")
    assert program.messages() == []


def test_key_that_comes_twice_is_refused(program: Program) -> None:
    headers = [*program.headers.items(), ("Idempotency-Key", "k"), ("Idempotency-Key", "k")]
    client = program.app.test_client(use_cookies=False)
    answer = client.post("/api/v1/messages", json={"to": TO, "text": "x"}, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (400, "idempotency_key_invalid")
    assert program.messages() == []


def test_quotes_belong_to_the_key(program: Program) -> None:
    assert [program.send(key).status_code for key in ("k", '"k"', "k")] == [202, 202, 200]


def test_all_faults_are_told_at_once_in_the_words_of_the_form(program: Program) -> None:
    answer = program.send(
        to="12", text=" ", from_="+15550000000", reference="x" * 65, send_at="soon", colour="red"
    )
    faults = fields_at_fault(answer)
    assert set(faults) == {"to", "text", "from", "reference", "send_at", "colour"}
    assert "too short" in faults["to"]
    assert faults["text"] == "Type a text, or add the address of a picture."
    assert SENDER in faults["from"]
    assert answer.json["what_to_do"].startswith("Correct the request. Nothing was saved")
    assert program.messages() == []


@pytest.mark.parametrize(
    ("fields", "name", "sentence"),
    [
        ({"to": None}, "to", "Who is it for? Type a phone number."),
        ({"to": 15558675310}, "to", "Give “to” as a text"),
        ({"to": "1.5558675310E+10"}, "to", "spreadsheet"),
        ({"text": None}, "text", "Type a text"),
        ({"text": ["Hello"]}, "text", "Give “text” as a text"),
        ({"text": "x" * 1601}, "text", "1,601 characters: 1 more than one message can hold."),
        ({"text": "a\0b"}, "text", "a character (NUL) that cannot be sent"),
        ({"text": "a\ud800b"}, "text", "half of a character"),
        ({"media_urls": "https://example.org/x.jpg"}, "media_urls", "as a list"),
        ({"media_urls": ["https://example.org/x.jpg"] * 11}, "media_urls", "hold 10 pictures"),
        ({"media_urls": ["x", "ftp://example.org"]}, "media_urls[1]", "Address 2 "),
        ({"media_urls": [7]}, "media_urls[0]", "as a text"),
        ({"reference": "a\nb"}, "reference", "printable"),
        ({"send_at": "2026-11-20T18:00:00"}, "send_at", "with their offset"),
        ({"send_at": "2026-02-30T18:00:00Z"}, "send_at", "no such date"),
        ({"send_at": "0001-01-01T00:00:00+14:00"}, "send_at", "past"),
        ({"send_at": "9999-12-31T23:59:59-14:00"}, "send_at", "within 30 days"),
        ({"send_at": "2026-11-20T11:54:00Z"}, "send_at", "That time is past"),
        ({"send_at": "2026-12-20T12:01:00Z"}, "send_at", "within 30 days"),
        ({"send_at": 1795262400}, "send_at", "as a text"),
        ({"send_at": ""}, "send_at", "with their offset"),
        ({"send_at": " "}, "send_at", "with their offset"),
        ({"from": ""}, "from", "does not send from that"),
    ],
)
def test_fault_is_told_with_its_field(
    program: Program, fields: dict[str, Any], name: str, sentence: str
) -> None:
    with time_machine.travel(NOON, tick=False):
        faults = fields_at_fault(program.send(**fields))
    assert sentence in faults[name]
    assert program.messages() == []


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T18:00:00+01:00", NOON + timedelta(hours=5)),
        ("2026-11-20T17:00Z", NOON + timedelta(hours=5)),
        ("2026-11-20t17:00:00.5z", NOON + timedelta(hours=5, seconds=0.5)),
        ("2026-11-20T11:59:00Z", NOON),  # a clock that is a little behind
    ],
)
def test_message_waits_for_its_time(program: Program, text: str, moment: datetime) -> None:
    with time_machine.travel(NOON, tick=False):
        assert program.send(send_at=text).json["send_at"] == moment.isoformat()


def test_picture_may_go_without_a_text(program: Program) -> None:
    picture = "https://example.org/x.jpg"
    assert program.send(text=None, media_urls=[picture]).status_code == 202
    [message] = program.messages()
    assert (message.body, message.media_urls) == ("", [picture])


def test_number_is_read_as_in_the_form(program: Program) -> None:
    assert program.send(to="(555) 867-5310").json["recipient"] == TO


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON at line 1, column 2"),
        (b"[]", "has to be an object"),
        (b'"x"', "has to be an object"),
        (b'{"to": "1", "to": "2"}', "the name “to” twice"),
        (b'{"to": NaN}', "NaN is not JSON"),
        (b'{"to": -Infinity}', "-Infinity is not JSON"),
        (b'{"to": ' + b"9" * 5000 + b"}", "too many digits"),
        (b'{"to": ' + b"[" * 100 + b"]" * 100 + b"}", "nested more than"),
        (b"[" * 100_000, "nested more than"),
        (b'{"to": "\xff"}', "Byte 8 is not valid UTF-8. Write the JSON in UTF-8, as for"),
    ],
)
def test_json_that_means_nothing_certain_is_refused(
    program: Program, content: bytes, sentence: str
) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    answer = program.post("messages", data=content, headers=headers)
    assert (answer.status_code, answer.json["code"]) == (400, "invalid_json")
    assert sentence in answer.json["detail"]


def test_brackets_in_a_text_are_no_nesting(program: Program) -> None:
    assert program.send(text="[" * 200).status_code == 202


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_content_has_to_be_json(program: Program, content_type: str) -> None:
    headers = {"Idempotency-Key": "k", "Content-Type": content_type}
    answer = program.post("messages", data=json.dumps({"to": TO, "text": "x"}), headers=headers)
    assert (answer.status_code, answer.json["code"]) == (415, "not_json")


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_content_that_is_encoded_is_refused_by_its_encoding(
    program: Program, encoding: str
) -> None:
    answer = program.send(headers={"Content-Encoding": encoding})
    assert (answer.status_code, answer.json["code"]) == (415, "content_encoded")
    assert f"“{encoding}”" in answer.json["detail"]
    assert answer.headers["Accept-Encoding"] == "identity"


def test_content_that_says_it_is_not_encoded_is_taken(program: Program) -> None:
    assert program.send(headers={"Content-Encoding": "Identity"}).status_code == 202


def test_large_content_is_refused(program: Program) -> None:
    answer = program.send(text="x" * 200_000)
    assert (answer.status_code, answer.json["code"]) == (413, "too_large")


def test_token_that_reads_does_not_send(app: Flask) -> None:
    reader = Program(app, rights=TokenRights(may_send=False))
    answer = reader.send()
    assert (answer.status_code, answer.json["code"]) == (403, "token_read_only")
    assert reader.get("messages").status_code == 200


def test_token_sends_from_its_senders_only(make_app: MakeApp) -> None:
    app = make_app(TWILIO_PHONE_NUMBER="+15005550006,+442079460018")
    program = Program(app, rights=TokenRights(allowed_senders=["+442079460018"]))
    assert program.send().json["sender"] == "+442079460018"
    answer = program.send(from_=SENDER)
    assert (answer.status_code, answer.json["code"]) == (403, "sender_not_allowed")
    assert len(program.messages()) == 1


def test_token_whose_senders_are_all_gone_sends_nothing(app: Flask) -> None:
    program = Program(app, rights=TokenRights(allowed_senders=["+442079460018"]))
    assert program.send().json["code"] == "sender_not_allowed"


def test_sender_may_be_a_messaging_service(make_app: MakeApp) -> None:
    service = "MG" + "1" * 32
    program = Program(make_app(TWILIO_MESSAGING_SERVICE_SID=service))
    assert program.send().json["messaging_service_sid"] == service
    assert program.send(from_=SENDER).json["sender"] == SENDER


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("rights", "window"),
    [
        (TokenRights(limit_per_minute=2), timedelta(minutes=1)),
        (TokenRights(limit_per_day=2), timedelta(days=1)),
    ],
)
def test_token_has_limits_of_its_own(app: Flask, rights: TokenRights, window: timedelta) -> None:
    program, other = Program(app, rights=rights), Program(app, rights=rights)
    with time_machine.travel(NOON, tick=False):
        assert [program.send(f"k{n}").status_code for n in range(3)] == [202, 202, 429]
        refused = program.send("k2")
        assert refused.json["code"] == "send_limit_reached"
        assert abs(int(refused.headers["Retry-After"]) - window.total_seconds()) <= 1
        assert program.send("k0").status_code == 200
        assert other.send("k9").status_code == 202
    with time_machine.travel(NOON + window + timedelta(seconds=2), tick=False):
        assert program.send("k2").status_code == 202
    assert len(program.messages()) == 4


def test_limits_of_the_owner_hold_for_programs(make_app: MakeApp) -> None:
    program = Program(make_app(SEND_LIMIT_PER_MINUTE="1"))
    with time_machine.travel(NOON, tick=False):
        program.send("k0")
        answer = program.send("k1")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
        assert "limit of 1 messages in a minute. Nothing was saved" in answer.json["detail"]
        assert program.send("k0").status_code == 200
    with time_machine.travel(NOON + timedelta(seconds=59.6), tick=False):
        assert program.send("k1").headers["Retry-After"] == "1"


def test_token_that_is_revoked_stops_nothing_that_is_queued(program: Program) -> None:
    program.send()
    with program.app.app_context():
        revoke_token(db.session.get_one(ApiToken, program.token_id), "tests")
        db.session.commit()
        [waiting] = claim(db.session.connection(), 1, utcnow())
        db.session.commit()
        assert find_obstacles([waiting], utcnow()) == {}


def test_deleted_message_is_not_sent_again(program: Program) -> None:
    program.send("key-1")
    with program.app.app_context():
        db.session.execute(update(Message).values(status="delivered", final_at=utcnow()))
        db.session.commit()
        erase(TO, at_twilio=False, actor="tests")
    assert program.messages() == []
    answer = program.send("key-1")
    assert (answer.status_code, answer.json["code"]) == (409, "message_deleted")
    assert program.messages() == []
