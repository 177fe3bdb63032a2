"""What a replay of all would do, as the page foretells it: within bounds, the likely ones first."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask

from smstracker.callback_requests.status_callback import Refusal
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import RefusedCallback
from smstracker.refused import replay
from smstracker.refused.replay import forecast, is_applicable
from tests.refused_callbacks import refusal
from tests.signing import STATUS_PATH, fields, sid, signature

MakeApp = Callable[..., Flask]


def valid(**columns: Any) -> RefusedCallback:
    """One that verifies with today's settings."""
    form = fields(sid(1), "delivered")
    body = urlencode(form).encode()
    signed = {"body": body, "body_length": len(body), "signature": signature(STATUS_PATH, form)}
    return refusal(utcnow(), **(signed | columns))


def read_forecast(app: Flask, *refusals: RefusedCallback) -> tuple[int, bool]:
    """How many a replay would apply, and whether these are all."""
    with app.app_context():
        for one in refusals:
            db.session.add(one)
            db.session.flush()
        db.session.commit()
        replay_of_all = forecast(db.session.connection())
    return replay_of_all.applicable, replay_of_all.is_complete


def test_forecast_counts_what_is_valid_by_now(app: Flask) -> None:
    refusals = (valid(), refusal(utcnow()), valid(replayed_at=utcnow()), valid())
    assert read_forecast(app, *refusals) == (2, True)


def test_forecast_looks_at_so_many_and_says_that_there_are_more(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_FORECAST", 2)
    assert read_forecast(app, *(valid() for _ in range(3))) == (2, False)


def test_forecast_looks_for_so_long_and_says_that_there_are_more(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_FORECAST_SECONDS", -1)
    assert read_forecast(app, valid()) == (0, False)


def test_forecast_looks_first_at_what_names_our_account_then_at_the_newest(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MAX_FORECAST", 1)
    older = refusal(utcnow())
    strange = refusal(utcnow(), is_plausible=False)
    assert read_forecast(app, older, valid(), strange) == (1, False)


@pytest.mark.parametrize("reason", Refusal)
def test_refusal_for_whatever_reason_would_be_applied_if_it_is_valid(
    database_url: str, make_app: MakeApp, reason: Refusal
) -> None:
    with make_app().app_context():
        assert is_applicable(valid(reason=reason.value))


def test_refusal_for_a_reason_of_another_release_is_left_alone(app: Flask) -> None:
    with app.app_context():
        assert not is_applicable(valid(reason="of-another-release"))
