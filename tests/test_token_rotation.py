"""The rotation of the token, judged by the newest callbacks; a few late ones prove nothing."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask

from smstracker.carrier.signatures import Signatures
from smstracker.clock import utcnow
from smstracker.connection.report import build_report
from smstracker.connection.summary import SummaryKind, summarize
from smstracker.connection.token_rotation import Rotation, SignedCallback, judge_rotation
from tests.live_settings import settings
from tests.signing import ACCOUNT_SID, PRIMARY, SECONDARY, call_back, fields, sid

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
BOTH = {"primary": "a", "secondary": "b"}
OTHER = "c0ffee00c0ffee00c0ffee00c0ffee00"
MakeApp = Callable[..., Flask]


def newest(*ages: tuple[str, float]) -> list[SignedCallback]:
    """Callbacks by token and by age in minutes."""
    return [SignedCallback(token, NOON - timedelta(minutes=age)) for token, age in ages]


def run(token: str, count: int, age: float = 1) -> list[tuple[str, float]]:
    """So many within a minute."""
    return [(token, age + number / 60) for number in range(count)]


@pytest.mark.parametrize(
    ("callbacks", "expected"),
    [
        ([], Rotation.NO_CALLBACK),
        (run("primary", 1), Rotation.PRIMARY_SIGNS),
        (run("primary", 20), Rotation.PRIMARY_SIGNS),
        # One late callback under the old token, whatever came before it.
        (run("secondary", 1), Rotation.SETTLING),
        (run("secondary", 1) + run("primary", 9, age=2), Rotation.SETTLING),
        (run("secondary", 1, age=200) + run("primary", 9, age=900), Rotation.SETTLING),
        # A few of them, in whatever order.
        (run("secondary", 4) + run("primary", 9, age=2), Rotation.SETTLING),
        (run("primary", 1) + run("secondary", 4, age=2) + run("primary", 9, 3), Rotation.SETTLING),
        ([("secondary", 1), ("primary", 2)] * 9, Rotation.SETTLING),
        # Five in a row, or two that lie a quarter of an hour apart: the secondary token signs.
        (run("secondary", 5) + run("primary", 9, age=2), Rotation.PROMOTED),
        (run("secondary", 20), Rotation.PROMOTED),
        ([("secondary", 1), ("secondary", 16)], Rotation.SETTLING),
        ([("secondary", 1), ("secondary", 17)], Rotation.PROMOTED),
        ([("secondary", 1), ("primary", 9), ("secondary", 17)], Rotation.SETTLING),
        # Nothing has come since: what was proven stays so.
        (run("secondary", 5, age=3000), Rotation.PROMOTED),
        # The new token has been made the primary one.
        (run("primary", 1) + run("secondary", 19, age=5), Rotation.SETTLING),
        (run("primary", 1) + run("secondary", 19, age=16), Rotation.DONE),
        # The clock was ahead when it was under way.
        (run("primary", 1) + run("secondary", 19, age=-999), Rotation.DONE),
    ],
)
def test_rotation_is_judged_by_the_newest_callbacks(
    callbacks: list[tuple[str, float]], expected: Rotation
) -> None:
    assert judge_rotation(BOTH, newest(*callbacks), NOON) is expected


def test_rotation_without_a_secondary_token_is_none() -> None:
    assert judge_rotation({"primary": "a"}, newest(*run("primary", 5)), NOON) is Rotation.NONE


def test_mark_tells_tokens_apart_and_is_no_part_of_them() -> None:
    marks = Signatures(settings()).token_marks
    swapped = Signatures(
        settings(TWILIO_AUTH_TOKEN=SECONDARY, TWILIO_AUTH_TOKEN_SECONDARY=PRIMARY)
    ).token_marks
    assert marks == {"primary": swapped["secondary"], "secondary": swapped["primary"]}
    assert not any(mark in PRIMARY + SECONDARY for mark in marks.values())


class Twilio:
    """It signs with what it is told to, one callback a second, each of a message of its own."""

    def __init__(self, clock: time_machine.Traveller) -> None:
        self._clock = clock
        self._number = 0

    def calls_back(self, app: Flask, token: str, times: int = 1, **named: str) -> None:
        for _ in range(times):
            self._number += 1
            form = fields(sid(self._number), "sent", **named)
            answer = call_back(app.test_client(), form, token=token)
            assert answer.status_code == 204
            self._clock.shift(1)


def judged(app: Flask) -> tuple[Rotation, SummaryKind]:
    with app.app_context():
        numbers = build_report(utcnow())
    return numbers.rotation, summarize(numbers).kind


def test_late_callback_under_the_old_token_raises_no_advice(make_app: MakeApp) -> None:
    app = make_app()
    with time_machine.travel(NOON, tick=False) as clock:
        twilio = Twilio(clock)
        twilio.calls_back(app, PRIMARY, 3)
        twilio.calls_back(app, SECONDARY)
        rotation_now, kind = judged(app)
        assert rotation_now is Rotation.SETTLING
        assert kind is not SummaryKind.PROMOTED
        clock.shift(timedelta(hours=20))
        assert judged(app)[0] is Rotation.SETTLING
        twilio.calls_back(app, PRIMARY)
        assert judged(app)[0] is Rotation.DONE
        twilio.calls_back(app, PRIMARY, 19)
        assert judged(app)[0] is Rotation.PRIMARY_SIGNS


def test_promotion_is_seen_and_the_advice_ends_with_the_change_of_the_settings(
    make_app: MakeApp,
) -> None:
    before = make_app(TWILIO_AUTH_TOKEN=PRIMARY, TWILIO_AUTH_TOKEN_SECONDARY=SECONDARY)
    after = make_app(TWILIO_AUTH_TOKEN=SECONDARY, TWILIO_AUTH_TOKEN_SECONDARY=PRIMARY)
    with time_machine.travel(NOON, tick=False) as clock:
        twilio = Twilio(clock)
        twilio.calls_back(before, PRIMARY, 4)
        twilio.calls_back(before, SECONDARY, 5)
        assert judged(before) == (Rotation.PROMOTED, SummaryKind.PROMOTED)
        assert judged(after)[0] is Rotation.NO_CALLBACK  # at once, before anything has come
        twilio.calls_back(after, PRIMARY, 2)  # late ones under what is now the secondary token
        assert judged(after)[0] is Rotation.SETTLING
        twilio.calls_back(after, SECONDARY)
        clock.shift(timedelta(minutes=16))
        assert judged(after)[0] is Rotation.DONE


def test_callbacks_of_subaccounts_and_under_tokens_of_before_tell_nothing(
    make_app: MakeApp,
) -> None:
    sub = "AC" + "5" * 32
    app = make_app(TWILIO_SUBACCOUNT_TOKENS=f"{sub}:{OTHER}")
    with time_machine.travel(NOON, tick=False) as clock:
        twilio = Twilio(clock)
        twilio.calls_back(make_app(TWILIO_AUTH_TOKEN_SECONDARY=OTHER), OTHER, 9)
        twilio.calls_back(app, OTHER, 9, AccountSid=sub)
        assert judged(app)[0] is Rotation.NO_CALLBACK
        twilio.calls_back(app, PRIMARY, AccountSid=ACCOUNT_SID)
        assert judged(app)[0] is Rotation.PRIMARY_SIGNS
