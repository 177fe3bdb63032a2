"""Once a setting is mended, what was refused for it is applied: once, in order, as it came."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from smstracker.extensions import db
from smstracker.messages.timeline import build_timeline
from smstracker.models import CallbackTally
from smstracker.models.event_store import append_event
from smstracker.models.events import StatusUpdate
from smstracker.refused import replay as replaying
from smstracker.refused.replay import ReplayDecision
from smstracker.sms.status import Source
from tests.clients import Person
from tests.refused_callbacks import NOON, refused_rows, replayed, stored_events
from tests.signing import BASE_URL, SECONDARY, call_back, callback_path, fields, forge, sid

pytestmark = pytest.mark.both_databases


SUBACCOUNT, SUBTOKEN = "AC" + "5" * 32, "b" * 32
NEW_TOKEN = "e" * 32
Make = Callable[..., Flask]


@pytest.mark.parametrize(
    ("wrong", "mended", "token", "account"),
    [
        ({"PUBLIC_BASE_URL": "https://old.example.org"}, {"PUBLIC_BASE_URL": BASE_URL}, "", ""),
        ({}, {"TWILIO_AUTH_TOKEN": NEW_TOKEN}, NEW_TOKEN, ""),
        ({}, {"TWILIO_AUTH_TOKEN_SECONDARY": NEW_TOKEN}, NEW_TOKEN, ""),
        ({}, {"TWILIO_SUBACCOUNT_TOKENS": f"{SUBACCOUNT}:{SUBTOKEN}"}, SUBTOKEN, SUBACCOUNT),
    ],
)
def test_replay_after_a_setting_is_mended_moves_the_message_and_keeps_the_order(
    make_app: Make,
    alice: Person,
    wrong: dict[str, str],
    mended: dict[str, str],
    token: str,
    account: str,
) -> None:
    message = alice.has_message(twilio_sid=sid(1), account_sid=account or None)
    signed = {"token": token} if token else {}
    named = {"AccountSid": account} if account else {}
    client = make_app(**wrong).test_client()
    with time_machine.travel(NOON, tick=False) as clock:
        for word in ("sent", "delivered", "read"):
            form = fields(sid(1), word, **named)
            assert call_back(client, form, callback_path(message), **signed).status_code == 403
            clock.shift(60)
        app = make_app(**mended)
        clock.shift(3600)
        assert replayed(make_app(**wrong)) == (0, 3)
        assert replayed(app) == (3, 0)
        assert replayed(app) == (0, 0)
    message = alice.message()
    assert (message.status, message.status_at) == ("read", NOON + timedelta(minutes=2))
    events = alice.events(message)
    assert [event.status for event in events] == ["sent", "delivered", "read"]
    assert [event.received_at - NOON for event in events] == [
        timedelta(minutes=n) for n in range(3)
    ]
    assert {event.replayed_at for event in events} == {NOON + timedelta(minutes=63)}
    assert all(row.replayed_at for row in refused_rows(app))


def test_replayed_event_says_that_it_was_refused_first(make_app: Make, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    old = make_app(PUBLIC_BASE_URL="https://old.example.org")
    call_back(old.test_client(), fields(sid(1), "sent"), callback_path(message))
    call_back(make_app().test_client(), fields(sid(1), "delivered"), callback_path(message))
    replayed(alice.app)
    steps = build_timeline(alice.message(), alice.events(message))
    assert [step.source for step in steps[1:]] == [
        "callback from Twilio, refused at first, accepted later",
        "callback from Twilio",
    ]
    assert "accepted later" in alice.get(f"/messages/{message.public_id}").text


def test_forged_one_is_never_applied_however_often(
    make_app: Make, app: Flask, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    client = app.test_client()
    forge(client)
    call_back(client, fields(sid(1), "delivered"), callback_path(message), token="f" * 32)
    for changed in ({}, {"PUBLIC_BASE_URL": "https://other.example.org"}):
        assert replayed(make_app(**changed)) == (0, 2)
    assert alice.message().status == "queued"
    assert stored_events(app) == []


def test_former_token_explains_and_never_verifies(make_app: Make) -> None:
    app = make_app(TWILIO_AUTH_TOKEN_FORMER=NEW_TOKEN)
    call_back(app.test_client(), fields(sid(1), "sent"), token=NEW_TOKEN)
    assert replayed(app) == (0, 1)
    assert refused_rows(app)[0].setting == "TWILIO_AUTH_TOKEN_SECONDARY"


def test_token_of_a_subaccount_does_not_vouch_for_another_accounts_message(
    make_app: Make, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1), account_sid="AC" + "1" * 32)
    form = fields(sid(1), "delivered", AccountSid=SUBACCOUNT)
    call_back(alice.client, form, callback_path(message), token=SUBTOKEN)
    app = make_app(TWILIO_SUBACCOUNT_TOKENS=f"{SUBACCOUNT}:{SUBTOKEN}")
    assert replayed(app) == (1, 0)
    assert alice.message().status == "queued"
    assert [event.message_id for event in stored_events(app)] == [None]


def test_signed_one_that_went_to_a_wrong_address_is_found_by_its_sid(
    app: Flask, alice: Person
) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    path = "/webhooks/twilio/sms/status"
    assert call_back(app.test_client(), fields(sid(1), "sent"), path).status_code == 404
    assert replayed(app) == (1, 0)
    assert [event.status for event in alice.events(message)] == ["sent"]


@pytest.mark.parametrize(
    ("form", "word"),
    [
        ({"MessageSid": sid(1)}, "its message SID or status is missing"),
        ({"Huge": "x" * 20_000}, "larger than what is kept"),
    ],
)
def test_unreadable_and_cut_ones_stay_refused(app: Flask, form: dict[str, str], word: str) -> None:
    client = app.test_client()
    whole = fields(sid(1), "sent", **form) if "Huge" in form else form
    signed_for = {"token": "f" * 32} if "Huge" in form else {}
    call_back(client, whole, **signed_for)
    assert replayed(app) == (0, 1)
    assert word in (refused_rows(app)[0].diagnosis or "")
    assert stored_events(app) == []


def test_only_the_chosen_ones_are_replayed(make_app: Make) -> None:
    old = make_app(PUBLIC_BASE_URL="https://old.example.org").test_client()
    for number in range(3):
        call_back(old, fields(sid(number), "sent"))
    app = make_app()
    ids = [row.id for row in refused_rows(app)]
    assert replayed(app, [ids[1], 10**12]) == (1, 0)
    assert [event.twilio_sid for event in stored_events(app)] == [sid(1)]
    assert [bool(row.replayed_at) for row in refused_rows(app)] == [False, True, False]


@pytest.mark.slow
def test_two_replays_at_once_apply_each_once(
    make_app: Make, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "BATCH_SIZE", 3)
    old = make_app(PUBLIC_BASE_URL="https://old.example.org").test_client()
    messages = [alice.has_message(twilio_sid=sid(n), body=str(n)) for n in range(10)]
    for word in ("sent", "delivered"):
        for number, message in enumerate(messages):
            call_back(old, fields(sid(number), word), callback_path(message))
    app = make_app()
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda _: replayed(app), range(4)))
    assert sum(applied for applied, _ in done) == 20
    assert len(stored_events(app)) == 20
    assert {message.status for message in alice.messages()} == {"delivered"}
    with app.app_context():
        # They were refused when they came, and say nothing good of the connection.
        assert sum(tally.accepted for tally in db.session.scalars(select(CallbackTally))) == 0


def test_replay_tells_what_another_one_has_applied_meanwhile(
    make_app: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_app(PUBLIC_BASE_URL="https://old.example.org").test_client()
    call_back(old, fields(sid(1), "sent"))
    app, decide = make_app(), replaying._decide

    def decide_and_wait(*arguments: Any) -> Iterator[ReplayDecision]:
        monkeypatch.setattr(replaying, "_decide", decide)
        decisions = list(decide(*arguments))
        assert replayed(app) == (1, 0)
        return iter(decisions)

    monkeypatch.setattr(replaying, "_decide", decide_and_wait)
    output = app.test_cli_runner().invoke(args=["callbacks", "replay", "--all"]).output
    assert "0 applied, 0 stay refused" in output
    assert "Another replay applied 1 callback at the same time." in output


@pytest.mark.slow
def test_replay_among_repeats_and_fresh_callbacks_neither_deadlocks_nor_loses(
    make_app: Make, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "BATCH_SIZE", 5)
    old = make_app(PUBLIC_BASE_URL="https://old.example.org")
    app = make_app()
    messages = [alice.has_message(twilio_sid=sid(n), body=str(n)) for n in range(8)]

    def post(number: int) -> int:
        at = number % 8
        form = fields(sid(at), "sent" if number % 3 else "delivered")
        served = old if number % 2 else app
        return call_back(served.test_client(), form, callback_path(messages[at])).status_code

    with ThreadPoolExecutor(8) as threads:
        for start in range(0, 120, 40):
            posted = [threads.submit(post, number) for number in range(start, start + 40)]
            done = [threads.submit(replayed, app) for _ in range(2)]
            assert {future.result() for future in posted} == {204, 403}
            assert all(future.exception() is None for future in done)
    replayed(app)
    assert all(row.replayed_at for row in refused_rows(app))
    assert {message.status for message in alice.messages()} == {"delivered"}


def test_late_replay_does_not_move_a_message_backwards(make_app: Make, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1))
    old = make_app(PUBLIC_BASE_URL="https://old.example.org").test_client()
    call_back(old, fields(sid(1), "sent"), callback_path(message))
    with alice.app.app_context(), db.engine.begin() as connection:
        append_event(connection, message.id, StatusUpdate("delivered", Source.LOOKUP, {}, sid(1)))
    assert replayed(make_app()) == (1, 0)
    assert (alice.message().status, alice.message().status_source) == ("delivered", "lookup")


def test_one_that_cannot_be_stored_does_not_cost_the_others_their_place(
    make_app: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_app(PUBLIC_BASE_URL="https://old.example.org").test_client()
    for number in range(3):
        call_back(old, fields(sid(number), "sent"), token=SECONDARY)
    app = make_app()
    real = replaying.store_callback

    def failing(connection, public_id, update) -> bool:  # type: ignore[no-untyped-def]
        if update.twilio_sid == sid(1):
            raise ValueError("cannot be stored")
        return real(connection, public_id, update)

    with monkeypatch.context() as patch:
        patch.setattr(replaying, "store_callback", failing)
        assert replayed(app) == (2, 1)
    assert replayed(app) == (1, 0)


def test_database_that_fails_during_a_replay_leaves_it_to_be_done_again(
    make_app: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_app(PUBLIC_BASE_URL="https://old.example.org").test_client()
    call_back(old, fields(sid(1), "sent"))
    app = make_app()

    def gone(*_args: object) -> bool:
        raise OperationalError("INSERT", {}, Exception("gone"))

    with monkeypatch.context() as patch:
        patch.setattr(replaying, "store_callback", gone)
        with pytest.raises(OperationalError):
            replayed(app)
    assert refused_rows(app)[0].replayed_at is None
    assert replayed(app) == (1, 0)


def test_applied_one_that_comes_again_stays_applied(make_app: Make) -> None:
    old = make_app(PUBLIC_BASE_URL="https://old.example.org").test_client()
    call_back(old, fields(sid(1), "sent"))
    app = make_app()
    assert replayed(app) == (1, 0)
    call_back(old, fields(sid(1), "sent"))
    assert replayed(app) == (0, 0)
    [row] = refused_rows(app)
    assert (row.count, bool(row.replayed_at), len(stored_events(app))) == (2, True, 1)


def test_large_replay_only_verifies_and_leaves_the_explaining_to_the_worker(
    make_app: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "MAX_EXPLAINED", 1)
    app = make_app()
    for number in (1, 2):
        call_back(app.test_client(), fields(sid(number), "sent"), token="f" * 32)
    assert replayed(app) == (0, 2)
    assert [row.diagnosis for row in refused_rows(app)] == [None, None]


def test_replay_explains_for_so_long_and_leaves_the_rest_to_the_worker(
    make_app: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "monotonic", count(step=1.5).__next__)
    app = make_app()
    for number in (1, 2):
        call_back(app.test_client(), fields(sid(number), "sent"), token="f" * 32)
    assert replayed(app) == (0, 2)
    assert [bool(row.diagnosis) for row in refused_rows(app)] == [True, False]
