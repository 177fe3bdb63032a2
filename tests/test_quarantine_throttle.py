"""Whoever posts rubbish at full speed fills neither the disk nor the log, and slows nobody."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from smstracker import logs
from smstracker.web.throttle import LogThrottle, TokenBucket
from smstracker.webhooks import quarantine, views, writer
from tests.refused_callbacks import STRANGER, refused_count, refused_rows, stored_events
from tests.serving import await_writer
from tests.signing import (
    ACCOUNT_SID,
    PRIMARY,
    STATUS_PATH,
    call_back,
    fields,
    forge,
    sid,
    signature,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """Everything that is logged, as it would be written."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(level)


def lines(written: io.StringIO, event: str) -> list[dict[str, object]]:
    every = [json.loads(line) for line in written.getvalue().splitlines()]
    return [line for line in every if line["event"] == event]


@pytest.mark.slow
def test_flood_leaves_rows_and_log_lines_bounded_and_signed_callbacks_stored(
    make_app: Callable[..., Flask], written: io.StringIO
) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        app = make_app()
        client = app.test_client()
        for number in range(300):
            clock.shift(0.05)
            assert forge(client, number, STRANGER).status_code == 403
            if number % 60 == 0:
                assert call_back(client, fields(sid(number), "sent")).status_code == 204
        clock.shift(60)
        forge(client, 9999, STRANGER)
    assert len(stored_events(app)) == 5
    # A burst of 100, 10 in each of 15 seconds, and the last.
    assert 245 <= len(refused_rows(app)) <= 251
    assert refused_count(app) == 301
    assert len(lines(written, "callback_refused")) == 11
    assert [line["count"] for line in lines(written, "callbacks_refused")] == [290]
    assert len(lines(written, "callback_stored")) == 5


def test_strange_ones_do_not_use_up_the_room_of_plausible_ones(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "STRANGER_LIMIT", (1, 2))
    monkeypatch.setattr(quarantine, "PLAUSIBLE_LIMIT", (1, 3))
    with time_machine.travel(NOON, tick=False):
        app = make_app()
        for number in range(5):
            forge(app.test_client(), number, STRANGER)
            forge(app.test_client(), number)
    assert [row.is_plausible for row in refused_rows(app)] == [False, True, False, True, True]


@pytest.mark.both_databases
def test_what_is_only_counted_is_written_within_about_a_second(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "STRANGER_LIMIT", (0.001, 1))
    with time_machine.travel(NOON, tick=False) as clock:
        app = make_app()
        for _ in range(4):
            forge(app.test_client(), account=STRANGER)
        assert refused_count(app) == 1
        clock.shift(1)
        forge(app.test_client(), account=STRANGER)
    assert refused_count(app) == 5


@pytest.mark.both_databases
def test_what_could_not_be_counted_is_counted_later(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "STRANGER_LIMIT", (0.001, 1))
    app = make_app()
    client = app.test_client()
    for _ in range(3):
        forge(client, account=STRANGER)
    with monkeypatch.context() as patch:
        patch.setattr(writer.CallbackTally, "add", lambda *_: 1 / 0)
        assert call_back(client, fields(sid(1), "sent")).status_code == 503
    assert call_back(client, fields(sid(1), "sent")).status_code == 204
    assert refused_count(app) == 3


def test_strange_ones_do_not_wait_for_a_dead_database(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def gone(*_args: object) -> None:
        tried.append("")
        raise OperationalError("UPDATE", {}, Exception("gone"))

    with time_machine.travel(NOON, tick=False) as clock:
        app = make_app()
        client = app.test_client()
        with monkeypatch.context() as patch:
            patch.setattr(writer.RefusedCallback, "store", gone)
            assert [forge(client, n, STRANGER).status_code for n in range(5)] == [403] * 5
            assert len(tried) == 1
            assert [forge(client, n).status_code for n in range(5)] == [503] * 5
            assert len(tried) == 6
        clock.shift(3)
        forge(client, 1, STRANGER)
    assert len(refused_rows(app)) == 1


def test_strange_ones_do_not_queue_behind_a_database_that_takes_long_to_fail(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    with time_machine.travel(NOON, tick=False) as clock:
        app = make_app()

        def slowly_gone(*_args: object) -> None:
            tried.append("")
            clock.shift(5)
            raise OperationalError("UPDATE", {}, Exception("gone"))

        monkeypatch.setattr(writer.RefusedCallback, "store", slowly_gone)
        monkeypatch.setattr(writer.CallbackTally, "add", slowly_gone)
        for number in range(6):
            forge(app.test_client(), number, STRANGER)
            await_writer(app)
        assert len(tried) == 1


@pytest.mark.both_databases
def test_signed_looking_ones_over_the_budget_may_come_again(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "PLAUSIBLE_LIMIT", (0.001, 2))
    client = make_app().test_client()
    codes = [
        call_back(client, fields(sid(n), "sent"), token="f" * 32).status_code for n in range(4)
    ]
    assert codes == [403, 403, 503, 503]


@pytest.mark.both_databases
def test_many_threads_at_once_are_counted_exactly(
    make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine, "PLAUSIBLE_LIMIT", (0.001, 40))
    app = make_app()

    def post(number: int) -> int:
        if number % 5 == 0:
            return call_back(app.test_client(), fields(sid(number), "sent")).status_code
        return forge(app.test_client(), number % 7).status_code

    with ThreadPoolExecutor(8) as threads:
        codes = list(threads.map(post, range(200)))
    assert codes == [204 if number % 5 == 0 else 403 for number in range(200)]
    assert call_back(app.test_client(), fields(sid(1), "sent")).status_code == 204
    assert len(stored_events(app)) == 41
    assert refused_count(app) == 160
    assert sum(row.count for row in refused_rows(app)) == 40
    assert len(refused_rows(app)) <= 7


def test_failures_that_nobody_signed_for_share_the_lines_of_refusals(
    make_app: Callable[..., Flask], written: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    client = app.test_client()
    with monkeypatch.context() as patch:
        patch.setattr(views, "read_form", lambda _: 1 / 0)
        for number in range(20):
            assert call_back(client, fields(sid(number), "sent"), token="f" * 32).status_code == 503
    assert len(lines(written, "callback_not_stored")) == 10
    monkeypatch.setattr(views, "read_callback", lambda *_, **__: 1 / 0)
    for number in range(3):
        assert call_back(client, fields(sid(number), "sent")).status_code == 503
    assert len(lines(written, "callback_not_stored")) == 13


def test_log_of_refusals_holds_no_number_text_signature_or_path(
    client: FlaskClient, written: io.StringIO
) -> None:
    form = fields(sid(1), "sent", Body="A text for nobody else")
    signed = signature(STATUS_PATH, form, "f" * 32)
    path = f"{STATUS_PATH}/secret-path?secret=query"
    headers = {"X-Twilio-Signature": signed}
    client.post(path, data=form, headers=headers)
    client.post(path, data=json.dumps(form), content_type="application/json", headers=headers)
    client.post("/webhooks/twilio/secret-path", data=form, headers=headers)
    client.post(path, data=form | {"Huge": "x" * 140_000}, headers=headers)
    call_back(client, {"Body": "A text for nobody else"})
    assert len(lines(written, "callback_refused")) == 5
    for secret in ("8675310", "5550006", "A text", signed, PRIMARY, ACCOUNT_SID, "secret"):
        assert secret not in written.getvalue(), secret


def test_budget_survives_a_clock_that_is_set_back() -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        budget = TokenBucket(per_second=1, burst=2)
        assert [budget.take() for _ in range(3)] == [True, True, False]
        clock.shift(timedelta(hours=-1))
        assert not budget.take()
        clock.shift(1)
        assert [budget.take() for _ in range(2)] == [True, False]


def test_lines_tell_once_how_many_got_none() -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        some = LogThrottle(per_minute=2)
        assert [some.take() for _ in range(5)] == [True, True, False, False, False]
        assert some.suppressed_count() == 0
        clock.shift(60)
        assert [some.suppressed_count(), some.suppressed_count()] == [3, 0]
        assert some.take()
