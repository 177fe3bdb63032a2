"""What every answer carries, who may call what, and what never leaks."""

import io
import json
import logging
import re
import uuid
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from smstracker import logs
from smstracker.auth import views as auth_views
from smstracker.auth.sign_in_limits import network_shares, parse_client
from smstracker.extensions import db
from smstracker.models import Message, User
from smstracker.simulator import SimulatorServer
from tests.clients import Client, Person, hidden
from tests.signing import PRIMARY, SECONDARY, STATUS_PATH, call_back, fields, sid, signature

PUBLIC = {
    "static",
    "auth.sign_in",
    "auth.ask_for_mail",
    "auth.link",
    "auth.follow_link",
    "auth.enter_code",
    "auth.sign_out",
    "health.healthz",
    "health.readyz",
    "metrics.metrics",  # guarded by METRICS_TOKEN, and tested with it
    "dashboard.home",
    "api.description",
}


# Arguments of routes that take no other text.
TYPED_ARGUMENTS = {
    "public_id": str(uuid.UUID(int=1)),
    "kind": "csv",
    "user_id": "1",
    "session_id": "1",
    "token_id": "1",
    "name": "sign-out",
}


def test_every_route_is_guarded_or_known_to_be_public(app: Flask) -> None:
    visitor = app.test_client()
    # So that it is the guard that answers, and not the lack of a token.
    token = {"csrf_token": hidden(visitor.get("/auth/sign-in").text, "csrf_token")}
    for rule in app.url_map.iter_rules():
        if rule.endpoint in PUBLIC:
            continue
        values = dict.fromkeys(rule.arguments, "00000000-0000-0000-0000-000000000001")
        values |= {name: value for name, value in TYPED_ARGUMENTS.items() if name in values}
        with app.test_request_context():
            path = app.url_map.bind("localhost").build(rule.endpoint, values)
        for method in rule.methods - {"HEAD", "OPTIONS"}:  # type: ignore[operator]
            is_ours = method == "POST" and not rule.endpoint.startswith("webhooks.")
            data = token if is_ours else None
            answer = visitor.open(path, method=method, data=data)
            to_sign_in = answer.status_code == 302 and "/auth/sign-in" in answer.location
            assert to_sign_in or answer.status_code in (401, 403, 415), (rule, method)


def test_every_post_but_callbacks_and_the_api_wants_a_csrf_token(app: Flask) -> None:
    visitor, exempt = app.test_client(), ("webhooks.", "api.")
    for rule in app.url_map.iter_rules():
        if "POST" not in rule.methods or rule.endpoint.startswith(exempt):  # type: ignore[operator]
            continue
        values = dict.fromkeys(rule.arguments, "x")
        values |= {name: value for name, value in TYPED_ARGUMENTS.items() if name in values}
        with app.test_request_context():
            path = app.url_map.bind("localhost").build(rule.endpoint, values)
        answer = visitor.post(path, data={"email": "alice@example.org"})
        assert answer.status_code == (401 if path == "/messages" else 400), rule


@pytest.mark.parametrize(
    "path",
    ["/auth/sign-in", "/messages", "/no/such/page", "/healthz", "/auth/link/x", "/static/app.css"],
)
def test_every_answer_carries_the_security_headers(alice: Person, path: str) -> None:
    for person in (alice.client, alice.app.test_client()):
        with person.get(path) as answer:
            headers = answer.headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert "camera=()" in headers["Permissions-Policy"]
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Strict-Transport-Security"].startswith("max-age=31536000")
        assert headers["X-Request-Id"]


def test_nothing_but_static_files_is_kept_by_caches(app: Flask, alice: Person) -> None:
    with app.app_context():
        db.session.execute(db.update(User).values(administrator=True))
        db.session.commit()
    message = alice.has_message(recipient="+15558675310")
    others = {"user_id": "999", "session_id": "999"}  # this session shall last
    arguments = TYPED_ARGUMENTS | others | {"public_id": str(message.public_id)}
    form = {"number": "+15558675310"}
    codes = Counter[int]()
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.endpoint == "auth.sign_out"):
        if rule.endpoint == "static":
            continue
        path = app.url_map.bind("localhost").build(
            rule.endpoint, {name: arguments.get(name, "x") for name in rule.arguments}
        )
        for method in rule.methods - {"HEAD", "OPTIONS"}:  # type: ignore[operator]
            token = {"csrf_token": hidden(alice.get("/messages/new").text, "csrf_token")}
            data = form | token if method == "POST" else None
            with alice.client.open(path, method=method, data=data) as answer:
                codes[answer.status_code] += 1
                assert answer.headers.getlist("Cache-Control") == ["no-store"], (rule, method)
                assert "Expires" not in answer.headers
    assert codes[200] >= 20


def test_static_files_are_kept_and_their_address_names_their_content(client: FlaskClient) -> None:
    page = client.get("/auth/sign-in").text
    address = re.search(r'href="(/static/app\.css\?v=[0-9a-f]{12})"', page)
    assert address
    with client.get(address[1]) as file:
        assert "max-age=31536000" in file.headers["Cache-Control"]


def test_cookie_is_secure_on_https(client: FlaskClient) -> None:
    cookie = client.get("/auth/sign-in").headers["Set-Cookie"]
    assert cookie.startswith("__Host-session=")
    for mark in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
        assert mark in cookie


def test_session_that_is_emptied_takes_its_cookie_along(app: Flask) -> None:
    with app.test_request_context() as context:
        context.session["a"] = 1
        context.session.clear()
        answer = app.make_response("")
        app.session_interface.save_session(app, context.session, answer)
    assert "__Host-session=; Expires=Thu, 01 Jan 1970" in answer.headers["Set-Cookie"]


def test_plain_http_on_loopback_has_neither_hsts_nor_a_secure_cookie(
    make_app: Callable[..., Flask],
) -> None:
    answer = make_app(PUBLIC_BASE_URL="http://127.0.0.1:8000").test_client().get("/auth/sign-in")
    assert "Strict-Transport-Security" not in answer.headers
    assert "Secure" not in answer.headers["Set-Cookie"]


@pytest.mark.parametrize("path", ["/messages", "//messages", "/", "/auth/link/x", ""])
def test_host_header_never_gets_into_an_address(client: FlaskClient, path: str) -> None:
    there = {"PATH_INFO": path}
    answer = client.get("/", base_url="https://evil.example", environ_overrides=there)
    assert "evil.example" not in answer.text
    assert "evil.example" not in answer.headers.get("Location", "")


@pytest.mark.parametrize("host", ["..", "x" * 300, "a b"])
def test_bad_host_header_breaks_nothing(client: FlaskClient, host: str) -> None:
    assert client.get("/no/such/page", headers={"Host": host}).status_code == 404
    assert client.get("/healthz", headers={"Host": host}).status_code == 200
    form = fields(sid(1), "sent")
    headers = {"Host": host, "X-Twilio-Signature": signature(STATUS_PATH, form)}
    assert client.post(STATUS_PATH, data=form, headers=headers).status_code == 204


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "20010db800010002/64"),
        ("unknown", "unknown"),
        ("203.0.113.10:40001", "203.0.113.10"),
        ("[2001:db8:1:2:3:4:5:6]:443", "20010db800010002/64"),
        ("[2001:db8:1:2:3:4:5:6]", "20010db800010002/64"),
        ("fe80::1%eth0", "fe80000000000000/64"),
        ("[::ffff:198.51.100.7]:80", "198.51.100.7"),
        ("_hidden:40001", "unknown"),
        ("01.2.3.4", "unknown"),
        ("", "unknown"),
    ],
)
def test_limits_count_clients(address: str, counted_as: str) -> None:
    assert network_shares(parse_client(address))[0] == (counted_as, 1)


def test_warnings_of_others_are_logged_without_what_they_quote(
    captured: "Captured", monkeypatch: pytest.MonkeyPatch
) -> None:
    # gunicorn's own set-up takes its log lines to itself.
    monkeypatch.setattr(logging.getLogger("gunicorn.error"), "propagate", True)
    logging.getLogger("gunicorn.error").warning("Invalid request %s", "/auth/link/TOKEN")
    assert "TOKEN" not in captured.getvalue()
    assert captured.lines[0]["logger"] == "gunicorn.error"


def test_mail_and_callback_addresses_use_the_configured_base(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    from smstracker.web.urls import external_url

    with app.test_request_context(base_url="https://evil.example"):
        assert external_url("auth.link", token="t") == "https://sms.example.org/auth/link/t"


@pytest.mark.parametrize(
    ("path", "method", "code"),
    [
        ("/no/such/page", "get", 404),
        ("/messages/new", "delete", 405),
        ("/auth/sign-out", "post", 400),
    ],
)
def test_error_pages_are_our_own_and_name_the_request(
    client: FlaskClient, path: str, method: str, code: int
) -> None:
    answer = getattr(client, method)(path)
    assert answer.status_code == code
    assert answer.headers["X-Request-Id"] in answer.text
    assert "smstracker" in answer.text


def test_unexpected_error_is_a_500_page_without_details(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setitem(app.view_functions, "auth.sign_in", broken)
    answer = client.get("/auth/sign-in")
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] in answer.text
    assert "secret detail" not in answer.text
    assert "default-src" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/messages", "/messages/new"])
def test_dead_database_is_a_503_page(
    alice: Person, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def gone(*_args: object, **_kwargs: object) -> None:
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(db.session, "execute", gone)
    answer = alice.get(path)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["X-Request-Id"] in answer.text


class Captured(io.StringIO):
    """Everything that the process logs, as it would be written."""

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


@pytest.fixture
def captured() -> Captured:
    stream = Captured()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.configure()
    root.handlers[:] = [handler]
    yield stream  # type: ignore[misc]
    root.handlers[:] = before
    root.setLevel(level)


def test_logs_hold_no_number_text_token_or_signature(
    live: Flask, simulator: SimulatorServer, captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    live.test_client_class = Client
    alice = Person(live, "alice@example.org")
    with live.app_context():
        token = auth_views.SignInToken.issue(alice.email).token
        db.session.commit()
    alice.post(f"/auth/link/{token}")
    alice.send(recipient="+1 555 867 5310", body="A text for nobody else")
    message = alice.message()
    # A callback that is stored together with another one is logged as two.
    assert simulator.ledger.wait_until_idle(30)
    form = fields(sid(5), "sent", Body="A text for nobody else")
    signed = signature(STATUS_PATH, form, base=live.config["SETTINGS"].public_base_url)
    live.test_client().post(STATUS_PATH, data=form, headers={"X-Twilio-Signature": signed})
    call_back(live.test_client(), form, token="f" * 32)
    live.test_client().post("/auth/sign-in?secret=query", data={"email": "alice@example.org"})

    def broken(_self: object, _now: object) -> None:
        raise ValueError(f"with {message.recipient} and {message.body}")

    monkeypatch.setattr(Message, "display_status", broken)
    assert alice.get(f"/messages/{message.public_id}").status_code == 500
    written = captured.getvalue()
    for secret in (
        *("8675310", "A text for nobody", token, signed, PRIMARY, SECONDARY, "secret=query"),
        *("alice@example.org", "+15005550006", live.config["SETTINGS"].secret_key),
    ):
        assert secret not in written, secret
    events = {line["event"] for line in captured.lines}
    assert {"request", "callback_stored", "callback_refused", "unexpected_error"} <= events
    stored = next(line for line in captured.lines if line["event"] == "callback_stored")
    assert stored["message_sid"] in (sid(5), message.twilio_sid)
    assert stored["request_id"]


def test_log_line_of_an_error_names_its_type_and_frames(captured: Captured) -> None:
    try:
        raise ValueError("hidden")
    except ValueError:
        logging.getLogger("smstracker.test").exception("something_broke", extra={"other": "hidden"})
    [line] = captured.lines
    assert (line["event"], line["error"], line["level"]) == (
        "something_broke",
        "ValueError",
        "error",
    )
    assert "test_security.py" in str(line["trace"])
    assert "hidden" not in captured.getvalue()


def test_log_level_of_chatty_libraries_is_raised() -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    logs.configure()
    assert logging.getLogger("twilio").level == logging.ERROR
    assert isinstance(root.handlers[0].formatter, logs.JsonFormatter)
    root.handlers[:] = before
    root.setLevel(level)


def test_page_that_the_server_took_for_a_webhook_is_refused(alice: Person) -> None:
    """The server's loop answers webhooks, and a stream would hold it for minutes."""
    taken = SimpleNamespace(framing=SimpleNamespace(is_webhook=True, has_large_body=False))
    answer = alice.client.get("/messages/stream", environ_overrides={"gunicorn.socket": taken})
    assert answer.status_code == 404
