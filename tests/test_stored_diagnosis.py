"""Stored refusals are diagnosed in turns: no flood keeps one of Twilio's waiting."""

from itertools import count

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event
from werkzeug.datastructures import MultiDict

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import RefusedCallback
from smstracker.refused import stored_diagnosis
from smstracker.refused.stored_diagnosis import diagnose_pending
from tests.clients import Person
from tests.refused_callbacks import refusal, refused_rows
from tests.signing import BASE_URL, STATUS_PATH, call_back, fields, forge, sid, signature

FLOOD = 30  # rows before, and as many after
OTHER_ADDRESS = BASE_URL.replace("https", "http")
RUBBISH = "x" * 27 + "="


def diagnose(app: Flask, limit: int = 200) -> int:
    with app.app_context():
        diagnosed = diagnose_pending(limit)
        db.session.commit()
        return diagnosed


def signed_refusal(number: int) -> RefusedCallback:
    """A callback that our token has signed for another address."""
    form = fields(sid(number), "delivered")
    signed = signature(STATUS_PATH, MultiDict(form), base=OTHER_ADDRESS)
    body = "&".join(f"{name}={value}" for name, value in form.items()).replace("+", "%2B").encode()
    facts = {"body": body, "body_length": len(body), "twilio_sid": sid(number)}
    return refusal(utcnow(), signature=signed, **facts)


def store_within_flood(app: Flask, refused: list[RefusedCallback], **flood: object) -> None:
    """Store refusals in the middle of a flood."""
    with app.app_context():
        for rows in (_flood(flood), refused, _flood(flood)):
            db.session.add_all(rows)
            db.session.commit()


def _flood(columns: dict[str, object]) -> list[RefusedCallback]:
    return [refusal(utcnow(), **{"signature": RUBBISH} | columns) for _ in range(FLOOD)]


def proven(app: Flask) -> int:
    return sum(row.is_proven for row in refused_rows(app))


@pytest.mark.parametrize(
    "flood",
    [{"is_plausible": False}, {"signature": "rubbish"}, {"signature": None}],
    ids=["of another account", "with what is no signature", "unsigned"],
)
def test_flood_that_cannot_be_twilios_keeps_no_callback_waiting(
    app: Flask, flood: dict[str, object]
) -> None:
    store_within_flood(app, [signed_refusal(number) for number in range(3)], **flood)
    assert diagnose(app, limit=12) == 12
    assert proven(app) == 3


def test_flood_in_our_name_keeps_no_callback_of_our_messages_waiting(
    app: Flask, alice: Person
) -> None:
    for number in range(3):
        alice.has_message(twilio_sid=sid(number))
    refused = [signed_refusal(number) for number in range(4)]  # one of another program
    store_within_flood(app, refused, twilio_sid=sid(9))
    assert diagnose(app, limit=12) == 12
    assert proven(app) == 3


def test_flood_in_our_name_keeps_nothing_waiting_that_was_verified_on_arrival(app: Flask) -> None:
    inbound = refusal(utcnow(), reason="inbound", twilio_sid=sid(1))
    store_within_flood(app, [inbound], twilio_sid=sid(9))
    diagnose(app, limit=12)
    assert proven(app) == 1


def test_flood_with_a_sid_of_ours_keeps_nothing_else_waiting(app: Flask, alice: Person) -> None:
    alice.has_message(twilio_sid=sid(9))
    others = [refusal(utcnow(), twilio_sid=sid(1), signature=RUBBISH)]
    others += [refusal(utcnow(), is_plausible=False, target="/strange")]
    with app.app_context():
        db.session.add_all([*others, *_flood({"twilio_sid": sid(9)}), *others])
        db.session.commit()
    diagnose(app, limit=12)
    assert [row.diagnosis is not None for row in refused_rows(app)][:2] == [True, True]


def test_choice_of_the_next_ones_keeps_no_callback_waiting(app: Flask, client: FlaskClient) -> None:
    """It takes no write lock of SQLite."""
    forge(client)
    begun: list[str] = []
    with app.app_context():
        engine = db.engine

        def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            begun.append(statement)

        event.listen(engine, "before_cursor_execute", note)
        diagnose_pending()
        event.remove(engine, "before_cursor_execute", note)
    chosen = next(number for number, sql in enumerate(begun) if "refused_callback" in sql)
    assert "BEGIN IMMEDIATE" not in begun[:chosen]


def test_diagnosing_ends_when_its_time_is_up_and_goes_on_later(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        forge(client, number)
    monkeypatch.setattr(
        stored_diagnosis, "monotonic", count(step=stored_diagnosis.MAX_SECONDS / 2).__next__
    )
    assert [diagnose(app) for _ in range(4)] == [2, 2, 1, 0]


def test_oldest_and_newest_are_diagnosed_in_turn(app: Flask, client: FlaskClient) -> None:
    for number in range(6):
        forge(client, number)
    diagnose(app, limit=3)
    diagnosed = [row.diagnosis is not None for row in refused_rows(app)]
    assert diagnosed == [True, *[False] * 3, True, True]


def test_pending_ones_are_diagnosed_once(app: Flask, client: FlaskClient) -> None:
    forge(client)
    call_back(client, fields(sid(1), "sent"), token="f" * 32)
    assert [diagnose(app, limit=1) for _ in range(3)] == [1, 1, 0]
    unsigned, foreign = refused_rows(app)
    assert unsigned.diagnosis
    assert unsigned.diagnosis.startswith("It has no signature")
    assert foreign.setting == "TWILIO_AUTH_TOKEN"
