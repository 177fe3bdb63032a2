"""flask callbacks: what the person at the server reads about refused callbacks, and the replay."""

from collections.abc import Callable
from urllib.parse import urlencode

import pytest
import time_machine
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient

from tests.clients import Person
from tests.refused_callbacks import NOON, refused_rows, replayed
from tests.signing import STATUS_PATH, call_back, fields, forge, sid

OLD = "https://old.example.org"


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=["callbacks", *arguments])


def test_list_tells_when_why_the_fix_and_the_setting(make_app: Callable[..., Flask]) -> None:
    app = make_app(PUBLIC_BASE_URL=OLD)
    with time_machine.travel(NOON, tick=False) as clock:
        for _ in range(2):
            call_back(app.test_client(), fields(sid(1), "sent"), X_Forwarded_Host="sms.example.org")
            clock.shift(60)
        forge(app.test_client(), 2)
        lines = run(app, "list").output.splitlines()
        clock.shift(60)
        replayed(make_app())
        later_lines = run(make_app(), "list").output.splitlines()
    assert lines == [
        "2  2026-11-23 12:02:00 UTC  The signature does not verify. It has no signature: it "
        "is not from Twilio, or a proxy drops the header X-Twilio-Signature.",
        "1  2026-11-23 12:00:00 UTC  2 times until 2026-11-23 12:01:00 UTC  The signature does "
        "not verify. Valid for https://sms.example.org, but PUBLIC_BASE_URL is "
        "https://old.example.org: set PUBLIC_BASE_URL to https://sms.example.org, or correct the "
        "address at Twilio. After a move to another address change nothing: messages sent before "
        "it keep the old one, and are looked up.  [PUBLIC_BASE_URL]",
    ]
    assert later_lines[0] == lines[0]
    assert later_lines[1] == (
        "1  2026-11-23 12:00:00 UTC  2 times until 2026-11-23 12:01:00 UTC  "
        "It was refused at first, and has been applied.  applied 2026-11-23 12:03:00 UTC"
    )
    assert "Setting" not in run(make_app(), "show", "1").output


def test_wrong_id_is_named_as_one(app: Flask) -> None:
    assert "'abc' is not a valid ID from flask callbacks list." in run(app, "show", "abc").output


def test_list_is_explained_by_todays_settings(make_app: Callable[..., Flask]) -> None:
    old = make_app(PUBLIC_BASE_URL=OLD)
    call_back(old.test_client(), fields(sid(1), "sent"))
    assert "Valid with today's settings" not in run(old, "list").output
    assert "Valid with today's settings: replay it." in run(make_app(), "list").output


def test_list_shows_the_newest_fifty_unless_asked_for_all(app: Flask, client: FlaskClient) -> None:
    assert run(app, "list").output == "No callback was refused.\n"
    for number in range(53):
        forge(client, number)
    lines = run(app, "list").output.splitlines()
    assert len(lines) == 51
    assert lines[0].startswith("53  ")
    assert lines[-1] == "3 older: flask callbacks list --all"
    assert len(run(app, "list", "--all").output.splitlines()) == 53


def test_show_prints_everything_and_lets_nobody_write_to_the_terminal(
    app: Flask, client: FlaskClient
) -> None:
    form = fields(sid(1), "sent", Evil="x")
    body = f"AccountSid={form['AccountSid']}&MessageSid=%1b[2J&To=%2B15558675310&\x1b[2J\xff"
    client.post(
        f"{STATUS_PATH}?a=1",
        data=body.encode("latin-1"),
        headers={"X-Twilio-Signature": "signed", "X-Forwarded-Proto": "http"},
        content_type="application/x-www-form-urlencoded",
    )
    output = run(app, "show", "1").output
    for part in ("The signature does not verify", f"{STATUS_PATH}?a=1", "signed", "%2B15558675310"):
        assert part in output
    assert "\\x1b[2J\\xff" in output
    assert "\x1b" not in output


def test_show_says_that_a_body_was_cut(app: Flask, client: FlaskClient) -> None:
    form = fields(sid(1), "sent", Huge="x" * 20_000)
    call_back(client, form, token="f" * 32)
    output = run(app, "show", "1").output
    assert f"{len(urlencode(form))} bytes, the first 16384 are kept" in output
    assert "neither explained nor replayed" in output


@pytest.mark.parametrize("arguments", [["show", "7"], ["replay", "7"]])
def test_id_that_is_not_there_is_said_to_be_missing(app: Flask, arguments: list[str]) -> None:
    result = run(app, *arguments)
    assert (result.exit_code, result.output) == (1, "Error: There is no refused callback 7.\n")


@pytest.mark.parametrize(
    "arguments", [["replay"], ["replay", "1", "--all"], ["replay", "x"], ["show", "9" * 30]]
)
def test_unclear_wish_is_a_usage_error(app: Flask, arguments: list[str]) -> None:
    assert run(app, *arguments).exit_code == 2


def test_replay_prints_how_many_and_what_remains(
    make_app: Callable[..., Flask], alice: Person
) -> None:
    old = make_app(PUBLIC_BASE_URL=OLD).test_client()
    alice.has_message(twilio_sid=sid(1))
    for word in ("sent", "delivered"):
        call_back(old, fields(sid(1), word))
    forge(old, 2)
    forge(old, 3)
    app = make_app()
    assert run(app, "replay", "1").output == "1 applied, 0 stay refused\n"
    assert run(app, "replay", "--all").output == (
        "1 applied, 2 stay refused\n"
        "     2  It has no signature: it is not from Twilio, or a proxy drops the header "
        "X-Twilio-Signature.\n"
    )
    assert run(app, "replay", "1").output == "0 applied, 0 stay refused\n"
    assert alice.message().status == "delivered"
    assert len(refused_rows(app)) == 4
