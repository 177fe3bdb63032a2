"""The commands of the person at the server."""

import json
import re
import shutil
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from click.testing import Result
from flask import Flask

from config import load
from smstracker import create_app
from smstracker.clock import utcnow
from tests.clients import Person, words
from tests.serving import close
from tests.signing import call_back, fields, sid

ALICE = "alice@example.org"


def run(app: Flask, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=arguments)


def test_added_user_may_sign_in_and_is_listed(app: Flask) -> None:
    said = run(app, "users", "add", "Zoe@Elsewhere.example").output
    assert "may sign in. No mail is sent now: tell them to open http" in said
    assert "administrator" in run(app, "users", "add", "amy@elsewhere.example", "--admin").output
    lines = run(app, "users", "list").output.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["amy@elsewhere.example", "administrator", "active"],
        ["zoe@elsewhere.example", "user", "active"],
    ]
    assert Person.signed_in(app, "zoe@elsewhere.example").get("/messages").status_code == 200
    assert "last sign-in" in run(app, "users", "list").output


def test_adding_twice_changes_nothing_but_may_make_an_administrator(app: Flask) -> None:
    run(app, "users", "add", "other@example.org", "--admin")
    run(app, "users", "add", ALICE)
    run(app, "users", "add", ALICE, "--admin")
    added = run(app, "users", "add", ALICE).output
    assert added.startswith(f"{ALICE} may sign in as an administrator. No mail")
    demoted = run(app, "users", "add", ALICE, "--no-admin").output
    assert demoted.startswith(f"{ALICE} may sign in, without the administrator role. No mail")
    assert len(run(app, "users", "list").output.splitlines()) == 2


def test_nonsense_is_no_address(app: Flask) -> None:
    result = run(app, "users", "add", "nonsense")
    assert result.exit_code == 1
    assert "e-mail address" in result.output


def test_deactivating_ends_sessions_at_once(app: Flask, alice: Person) -> None:
    assert alice.get("/messages").status_code == 200
    assert run(app, "users", "deactivate", ALICE).exit_code == 0
    assert alice.get("/messages").status_code == 302
    refused = run(app, "users", "sign-in-link", ALICE)
    assert refused.exit_code == 1
    run(app, "users", "add", ALICE)
    assert alice.get("/messages").status_code == 302
    assert Person.signed_in(app, ALICE).get("/messages").status_code == 200


def test_signing_out_ends_every_session_of_one_user(app: Flask, alice: Person, bob: Person) -> None:
    phone = Person.signed_in(app, ALICE)
    assert run(app, "users", "sign-out", ALICE.upper()).exit_code == 0
    assert [p.get("/messages").status_code for p in (alice, phone, bob)] == [302, 302, 200]


def test_printed_link_signs_in_once(app: Flask) -> None:
    link, note = run(app, "users", "sign-in-link", ALICE).output.splitlines()
    assert note == "(valid 15 minutes, once)"
    assert re.fullmatch(r"https://sms\.example\.org/auth/link/[\w-]{43}", link)
    path = link.removeprefix("https://sms.example.org")
    first, second = Person(app, ALICE), Person(app, ALICE)
    assert first.post(path).status_code == 303
    assert second.post(path).status_code == 410


def test_link_of_a_demo_that_does_not_answer_is_said_to_be_dead(
    tmp_path: Path, migrated_sqlite: Path
) -> None:
    shutil.copy(migrated_sqlite, tmp_path / "demo.sqlite")
    with socket.create_server(("127.0.0.1", 0)) as running:
        port = running.getsockname()[1]
        demo = create_app(load({"PORT": str(port)}, instance=tmp_path))
        [link, _] = run(demo, "users", "sign-in-link", ALICE).output.splitlines()
        assert link.startswith(f"http://127.0.0.1:{port}/auth/link/")
    dead = run(demo, "users", "sign-in-link", ALICE).output.splitlines()
    assert dead[2] == (
        "Nothing answers there: start the demo with make run, or set the PORT with which it runs."
    )
    close(demo)


@pytest.mark.parametrize("command", ["deactivate", "sign-out", "sign-in-link"])
def test_unknown_user_is_said_so(app: Flask, command: str) -> None:
    result = run(app, "users", command, "nobody@elsewhere.example")
    assert result.exit_code == 1
    assert "Error" in result.output


def test_page_and_command_round_a_duration_alike(app: Flask, alice: Person) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="sent")
    with time_machine.travel(message.created_at + timedelta(seconds=2.52), tick=False):
        call_back(alice.client, fields(sid(1), "delivered"))
        page = words(alice.get(f"/messages/{message.public_id}").text)
    assert page.count("3 seconds") == 2
    assert "3 seconds after you sent it" in page
    assert "+3 seconds" in run(app, "messages", "show", sid(1)).output


@pytest.mark.parametrize("by", ["id", "sid"])
def test_message_is_shown_with_its_timeline(app: Flask, alice: Person, by: str) -> None:
    message = alice.has_message(twilio_sid=sid(1), status="sent")
    call_back(alice.client, fields(sid(1), "undelivered", "30003"))
    call_back(alice.client, fields(sid(1), "sent"))
    wanted = str(message.public_id) if by == "id" else sid(1)
    output = run(app, "messages", "show", wanted).output
    assert "Not delivered to +1 555-867-5310" in output
    assert "Phone unreachable" in output
    assert "late" in output
    found = json.loads(run(app, "messages", "show", wanted, "--json").output)
    assert (found["status"], found["error_code"]) == ("undelivered", "30003")
    assert [event["effect"] for event in found["events"]] == ["moved", "late"]
    assert found["events"][0]["payload"]["ErrorCode"] == "30003"


def test_message_that_is_not_there_is_said_so(app: Flask) -> None:
    result = run(app, "messages", "show", "SM123")
    assert result.exit_code == 1
    assert "no message" in result.output


@pytest.mark.parametrize("spell", [str.lower, str.upper, " {} ".format])
def test_message_is_found_by_an_id_in_other_capitals(
    app: Flask, alice: Person, spell: Callable[[str], str]
) -> None:
    message = alice.has_message(twilio_sid=sid(0xABCDEF), status="delivered", final_at=utcnow())
    for typed in (sid(0xABCDEF), str(message.public_id)):
        assert "Delivered to" in run(app, "messages", "show", spell(typed)).output
        assert "It is final" in run(app, "messages", "reconcile", spell(typed)).output
