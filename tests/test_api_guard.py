"""One guard: the API takes tokens and no cookies, everything else takes no token."""

import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from flask import Flask, session
from sqlalchemy import select
from werkzeug.routing import Rule

from smstracker.api import guard
from smstracker.api.guard import BUCKETS
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import ApiToken
from smstracker.models.api_tokens import revoke_token
from smstracker.models.token_secret import new_secret
from smstracker.web.throttle import OwnerBuckets
from tests.clients import Person
from tests.programs import Program

MakeApp = Callable[..., Flask]
PUBLIC = {"api.description"}
ID = "00000000-0000-4000-8000-000000000000"


def path_of(rule: Rule) -> str:
    """An address of a rule; what its variables name does not exist."""
    path = re.sub(r"<uuid:\w+>", ID, rule.rule)
    path = re.sub(r"<int:\w+>", "1", path)
    path = re.sub(r'<any\("?([\w-]+)[^>]*>', r"\1", path)  # the first of several words
    return re.sub(r"<[^>]+>", "x", path)


def calls(app: Flask) -> list[tuple[str, str, str]]:
    """Endpoint, method and address of each route."""
    return [
        (rule.endpoint, method, path_of(rule))
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
    ]


def gist(answer: Any) -> tuple[int, str | None, bytes]:
    """What an answer says, without what differs each time."""
    content = re.sub(rb'[0-9a-f]{10}-[0-9a-f]+-[0-9a-f]+|value="[^"]*"|\d', b"", answer.data)
    return answer.status_code, answer.headers.get("Location"), content


def test_nothing_outside_of_the_api_takes_a_token(app: Flask) -> None:
    program, count = Program(app), 0
    for endpoint, method, path in calls(app):
        if endpoint.startswith("api."):
            continue
        client = app.test_client(use_cookies=False)
        without = client.open(path, method=method)
        assert gist(program.call(method, path)) == gist(without), (method, path)
        count += 1
    assert count > 40


def test_nothing_in_the_api_takes_a_cookie(app: Flask, alice: Person) -> None:
    found = [call for call in calls(app) if call[2].startswith("/api/")]
    assert {endpoint.partition(".")[0] for endpoint, _, _ in found} == {"api"}
    assert len(found) >= 6
    for endpoint, method, path in found:
        answer = alice.client.open(path, method=method)
        assert answer.status_code == (200 if endpoint in PUBLIC else 401), (method, path)
        assert "Set-Cookie" not in answer.headers
        answer.close()


def test_cookie_beside_a_token_changes_nothing(app: Flask, alice: Person, bob: Person) -> None:
    alice.has_message()
    program = Program(app, bob.email)
    with alice.client as client:
        answer = client.get("/api/v1/messages", headers=program.headers)
        assert answer.json["messages"] == []
        assert dict(session) == {}, "the session is not even read"


def test_api_allows_no_other_origin(app: Flask) -> None:
    program = Program(app)
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    for method in ("OPTIONS", "GET"):
        answer = program.call(method, "/api/v1/messages", headers=headers)
        assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "token_missing"),
        ("", "token_missing"),
        ("Bearer", "token_missing"),
        ("Basic YTpi", "token_missing"),
        ("Bearer nonsense", "token_invalid"),
        ("Bearer smst_é", "token_invalid"),
        ("bearer {secret}x", "token_invalid"),
        ("Bearer {secret}", "token_unknown"),
    ],
)
def test_call_without_a_token_is_a_401(app: Flask, header: str | None, code: str) -> None:
    headers = {} if header is None else {"Authorization": header.format(secret=new_secret())}
    answer = app.test_client().get("/api/v1/messages", headers=headers)
    assert (answer.status_code, answer.json["code"]) == (401, code)  # type: ignore[index]
    assert answer.content_type == "application/problem+json"
    challenge = 'Bearer realm="smstracker"'
    challenge += "" if code == "token_missing" else ', error="invalid_token"'
    assert answer.headers["WWW-Authenticate"] == challenge


def test_token_is_taken_from_the_header_alone(app: Flask) -> None:
    secret = Program(app).secret
    client = app.test_client()
    assert client.get(f"/api/v1/messages?access_token={secret}").status_code == 401
    assert client.post("/api/v1/messages", data={"access_token": secret}).status_code == 401


@pytest.mark.both_databases
def test_ended_token_is_a_401_that_says_why(app: Flask, make_app: MakeApp) -> None:
    program = Program(app, lifetime=timedelta(days=1))
    other = Program(app, "bob@example.org")
    assert program.get("messages").status_code == 200
    with time_machine.travel(utcnow() + timedelta(days=2), tick=False):
        assert program.get("messages").json["code"] == "token_expired"
    with app.app_context():
        revoke_token(db.session.get_one(ApiToken, program.token_id), "tests")
        db.session.commit()
    assert program.get("messages").json["code"] == "token_revoked"
    app.test_cli_runner().invoke(args=["users", "deactivate", other.email])
    assert other.get("messages").json["code"] == "token_revoked"
    third = Program(app, "carol@example.org")
    third.app = make_app(SIGN_IN_ALLOW="@elsewhere.example")
    assert third.get("messages").json["code"] == "owner_shut_out"


def test_token_of_a_demo_is_unknown_in_a_live_installation(app: Flask) -> None:
    program = Program(app)
    with app.app_context():
        db.session.get_one(ApiToken, program.token_id).is_demo = True
        db.session.commit()
    assert program.get("messages").json["code"] == "token_unknown"


@pytest.mark.both_databases
def test_use_is_noted_at_most_once_a_minute(app: Flask) -> None:
    program, now = Program(app), utcnow()

    def used_after(seconds: int) -> float:
        with time_machine.travel(now + timedelta(seconds=seconds), tick=False):
            program.get("messages")
        with app.app_context():
            used_at = db.session.scalars(select(ApiToken.last_used_at)).one()
        assert used_at is not None
        return round((used_at - now).total_seconds())

    assert [used_after(seconds) for seconds in (0, 50, 70, 100, 200)] == [0, 0, 70, 70, 200]


def test_programs_of_a_user_that_ask_too_often_are_told_to_wait(app: Flask) -> None:
    buckets = app.extensions[BUCKETS]
    buckets["GET"] = OwnerBuckets(1, 2)
    program, other = Program(app), Program(app, "bob@example.org")
    with time_machine.travel(utcnow(), tick=False):
        codes = [program.get("messages").status_code for _ in range(3)]
        answer = program.get("messages")
        assert codes == [200, 200, 429]
        assert (answer.json["code"], answer.headers["Retry-After"]) == ("too_many_requests", "1")
        assert Program(app).get("messages").status_code == 429
        assert other.get("messages").status_code == program.send().status_code - 2 == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/api", 404, None),
        ("GET", "/api/", 404, "not_found"),
        ("GET", "/api/v1//messages", 200, None),
        ("GET", "/api/v1/messages/", 404, "not_found"),
        ("GET", "/api/v1/messages/nonsense", 404, "not_found"),
        ("GET", f"/api/v1/messages/{ID}", 404, "not_found"),
        ("DELETE", "/api/v1/messages", 405, "method_not_allowed"),
        ("POST", f"/api/v1/messages/{ID}", 405, "method_not_allowed"),
    ],
)
def test_wrong_address_is_a_problem_and_no_page(
    app: Flask, method: str, path: str, status: int, code: str | None
) -> None:
    answer = Program(app).call(method, path)
    assert answer.status_code == status
    if code:
        assert answer.json["code"] == code  # type: ignore[index]
        assert answer.content_type == "application/problem+json"
    if status == 405:
        assert answer.headers["Allow"]


def test_database_that_is_away_is_a_503_to_be_repeated(
    app: Flask, make_app: MakeApp, tmp_path: Path
) -> None:
    program = Program(app)
    program.app = make_app(DATABASE_URL=f"sqlite:///{tmp_path / 'missing' / 'x.sqlite'}")
    answer = program.send()
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert answer.content_type == "application/problem+json"
    assert answer.json["simulated"] is False


def test_own_error_is_a_problem(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> None:
        raise ZeroDivisionError("+15558675310")

    monkeypatch.setattr(guard, "find_caller", fail)
    answer = Program(app).get("messages")
    assert (answer.status_code, answer.json["code"]) == (500, "server_error")
    assert "15558675310" not in answer.text
    assert answer.headers["X-Request-Id"]


def test_every_problem_has_a_code_a_sentence_and_what_to_do(app: Flask) -> None:
    body = app.test_client().get("/api/v1/messages").json
    assert body == {
        "type": "urn:smstracker:problem:token_missing",
        "title": "A token is needed",
        "status": 401,
        "detail": "The request has no token.",
        "code": "token_missing",
        "what_to_do": "Add a token on the page Settings, and send it as: "
        "Authorization: Bearer smst_…",
        "simulated": False,
    }
