"""Through real HTTP: what proxies do to callbacks is found before Twilio meets it."""

import io
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select
from werkzeug.serving import BaseWSGIServer, make_server

from smstracker.clock import utcnow
from smstracker.doctor.callback_probe import PASSABLE, Obstacle, _explain_redirect, find_obstacle
from smstracker.extensions import db
from smstracker.models import CallbackTally, RefusedCallback
from smstracker.webhooks.views import compute_proof
from tests.machine import need
from tests.serving import QuietRequestHandler, free_port
from tests.signing import ACCOUNT_SID, SECONDARY, call_back, signature

# What is tested here asks nothing of the database.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

Environ = dict[str, Any]
Wsgi = Callable[[Environ, Any], Iterable[bytes]]
Proxied = Callable[..., Obstacle | None]
PATH = "/webhooks/twilio/probe"


@pytest.fixture
def proxied(make_app: Callable[..., Flask]) -> Iterator[Proxied]:
    """Serve the app behind a proxy, and what the probe says of it."""
    servers: list[BaseWSGIServer] = []

    def serve(
        proxy: Callable[[Wsgi], Wsgi],
        context: ssl.SSLContext | None = None,
        served: dict[str, str] | None = None,
        **changed: str,
    ) -> Obstacle | None:
        port = free_port()
        base = f"{'https' if context else 'http'}://127.0.0.1:{port}"
        app = make_app(PUBLIC_BASE_URL=base, **changed)
        there = make_app(PUBLIC_BASE_URL=base, **changed | served) if served else app
        server = make_server(
            "127.0.0.1",
            port,
            proxy(there.wsgi_app),
            threaded=True,
            request_handler=QuietRequestHandler,
            ssl_context=context,
        )
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with app.app_context():
            return find_obstacle()

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def rewriting(change: Callable[[Environ], None]) -> Callable[[Wsgi], Wsgi]:
    """A proxy that changes what it passes on."""

    def proxy(app: Wsgi) -> Wsgi:
        def answer(environ: Environ, start_response: Any) -> Iterable[bytes]:
            change(environ)
            return app(environ, start_response)

        return answer

    return proxy


def answering(status: str, body: bytes = b"", **headers: str) -> Callable[[Wsgi], Wsgi]:
    """A proxy that answers itself."""

    def proxy(_app: Wsgi) -> Wsgi:
        def answer(_environ: Environ, start_response: Any) -> Iterable[bytes]:
            start_response(status, list(headers.items()))
            return [body]

        return answer

    return proxy


def drop_signature_settings(environ: Environ) -> None:
    environ.pop("HTTP_X_TWILIO_WEBHOOKS_SIGNATURE_SETTINGS", None)


def drop_query(environ: Environ) -> None:
    environ["QUERY_STRING"] = ""
    environ["RAW_URI"] = environ["REQUEST_URI"] = environ["PATH_INFO"]


def decode_query(environ: Environ) -> None:
    for name in ("RAW_URI", "REQUEST_URI"):
        environ[name] = environ[name].replace("%7E", "~").replace("%2F", "/")


def drop_blanks(environ: Environ) -> None:
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    tidied = urlencode(parse_qsl(body.decode())).encode()
    environ["wsgi.input"] = io.BytesIO(tidied)
    environ["CONTENT_LENGTH"] = str(len(tidied))


def trim_values(environ: Environ) -> None:
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    pairs = parse_qsl(body.decode(), keep_blank_values=True)
    tidied = urlencode([(name, value.strip()) for name, value in pairs]).encode()
    environ["wsgi.input"] = io.BytesIO(tidied)
    environ["CONTENT_LENGTH"] = str(len(tidied))


def add_client(environ: Environ) -> None:
    environ["HTTP_X_FORWARDED_FOR"] = "203.0.113.7"


def spoil_both(environ: Environ) -> None:
    drop_query(environ)
    drop_blanks(environ)


def reencode(environ: Environ) -> None:
    """Another spelling of the same values, which no signature minds."""
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).replace(b"+", b"%20")
    environ["wsgi.input"] = io.BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))


@pytest.mark.parametrize("change", [lambda _environ: None, reencode])
def test_proxy_that_passes_everything_on_is_no_obstacle(
    proxied: Proxied, change: Callable[[Environ], None]
) -> None:
    assert proxied(rewriting(change)) is None


@pytest.mark.parametrize(
    ("change", "spoilt"),
    [
        (drop_query, "the query string does not"),
        (decode_query, "the query string does not"),
        (drop_blanks, "the form does not"),
        (trim_values, "the form does not"),
        (spoil_both, "the query string and the form do not"),
    ],
)
def test_proxy_that_rewrites_is_found_out(
    proxied: Proxied, change: Callable[[Environ], None], spoilt: str
) -> None:
    obstacle = proxied(rewriting(change))
    assert obstacle
    assert f"{spoilt} arrive as sent, so signatures do not verify" in obstacle.description
    assert "unchanged" in obstacle.fix


@pytest.mark.parametrize(
    ("answer", "found", "fix"),
    [
        (
            answering("302 X", Location="https://u:p@team.cloudflareaccess.com/cdn?secret"),
            "to https://team.cloudflareaccess.com: a login or another site stands in front",
            "let POST requests to /webhooks/twilio/ through to the app without a login",
        ),
        (
            answering("308 X", Location="https://u:p@127.0.0.1/webhooks/x?secret"),
            "it redirects from http",
            "perhaps https://127.0.0.1)",
        ),
        (
            answering("301 X", Location="//127.0.0.1:81/x"),
            "to http",
            "perhaps http://127.0.0.1:81)",
        ),
        (
            answering("301 X", Location="http://www.127.0.0.1/"),
            "to",
            "perhaps http://www.127.0.0.1)",
        ),
        (answering("302 X", Location="//127.0.0.1.evil.example/"), "another site", "a login"),
        (answering("301 X", Location="/other"), "another path of itself", "without redirecting"),
        (answering("302 X", Location="http://[bad"), "another path", "without redirecting"),
        (answering("200 OK", b"Welcome to nginx"), "another program", "SECRET_KEY"),
        (answering("200 OK", b'{"proof": "guessed"}'), "another program", "SECRET_KEY"),
        (answering("200 OK", b'["proof"]'), "another program", "SECRET_KEY"),
        (answering("403 X", b"<h1>403 Forbidden"), "in front of the app", "firewall"),
        (
            answering("404 X"),
            "but not for the app's addresses (404)",
            "check PUBLIC_BASE_URL and that the proxy passes /webhooks/twilio/ on to this version",
        ),
        (answering("401 X"), "it answers with 401 before the app is asked", "without password"),
        (
            answering("502 X"),
            "it answers with 502",
            "check that the app runs, that the proxy in front of PUBLIC_BASE_URL reaches it, and "
            "the app's log",
        ),
    ],
)
def test_answer_that_is_not_the_apps_has_its_own_advice(
    proxied: Proxied, answer: Callable[[Wsgi], Wsgi], found: str, fix: str
) -> None:
    text = proxied(answer)
    assert text
    assert found in text.description
    assert fix in text.fix
    assert "secret" not in text.description + text.fix
    for host in ("cloudflareaccess", "evil.example"):
        assert host not in text.fix, "never the address of somebody else"


def test_app_with_another_token_is_told_from_a_proxy_that_rewrites(proxied: Proxied) -> None:
    other = {"TWILIO_AUTH_TOKEN": "another-token", "TWILIO_AUTH_TOKEN_SECONDARY": ""}
    obstacle = proxied(rewriting(lambda _: None), served=other)
    assert obstacle
    assert "refuses a signature" in obstacle.description
    assert "TWILIO_AUTH_TOKEN" in obstacle.fix


@pytest.mark.parametrize("path", [PATH, f"{PATH}/", f"{PATH}?escapes=a%2Fb"])
def test_probe_is_never_kept_nor_counted_as_a_refused_callback(app: Flask, path: str) -> None:
    client = app.test_client()
    form = {"Nonce": "n", "AccountSid": ACCOUNT_SID}
    assert call_back(client, form, path, token="another").status_code == 403
    assert call_back(client, {"AccountSid": ACCOUNT_SID}, path).status_code == 404
    assert client.post(path, data=b"{}", content_type="application/json").status_code == 415
    with app.app_context():
        assert db.session.scalars(select(RefusedCallback)).all() == []
        assert db.session.scalars(select(CallbackTally)).all() == []


def test_proxy_that_drops_the_header_of_shared_keys_is_found(proxied: Proxied) -> None:
    keys = {"TWILIO_WEBHOOK_KEYS": "one:the-first, two:the-second"}
    assert proxied(rewriting(lambda _: None), **keys) is None
    obstacle = proxied(rewriting(drop_signature_settings), **keys)
    assert obstacle
    assert "the shared key one does not arrive" in obstacle.description
    assert (
        " does not arrive as sent, while one signed with the Auth Token does"
        in obstacle.description
    )
    assert "make the proxy pass on the header " in obstacle.fix
    assert "X-Twilio-Webhooks-Signature-Settings" in obstacle.fix


def test_other_installation_is_not_taken_for_this_one(proxied: Proxied) -> None:
    obstacle = proxied(
        rewriting(lambda _: None), served={"SECRET_KEY": "another one signs with this: 5b2d"}
    )
    assert obstacle
    assert "another SECRET_KEY" in obstacle.description


def test_certificate_that_does_not_verify_is_a_problem(
    proxied: Proxied, self_signed: ssl.SSLContext
) -> None:
    obstacle = proxied(rewriting(lambda _: None), context=self_signed)
    assert obstacle
    assert "certificate" in obstacle.description


def test_address_that_nobody_answers_at_may_be_reached_from_elsewhere(
    make_app: Callable[..., Flask],
) -> None:
    with make_app(PUBLIC_BASE_URL=f"http://127.0.0.1:{free_port()}").app_context():
        obstacle = find_obstacle()
    assert obstacle
    assert (
        obstacle.description
        == "it cannot be reached from this machine: nothing listens on that port"
    )
    assert "from outside" in obstacle.fix


def test_probe_proves_itself_only_to_whom_the_guard_lets_in(app: Flask) -> None:
    client = app.test_client()
    assert client.post(PATH, data={"Nonce": "n"}).status_code == 403
    answer = call_back(client, {"Nonce": "n"}, PATH)
    with app.app_context():
        assert answer.json == {"proof": compute_proof("n"), "proxies": 0}
    assert call_back(client, {"Nonce": "n"}, PATH, token=SECONDARY).status_code == 200
    assert signature(PATH, {"Nonce": "n"}) not in answer.text


@pytest.mark.parametrize(
    ("location", "fix"),
    [
        ("https://SMS.example.org:443/login", "answer without redirecting"),
        ("http://sms.example.org/webhooks/x", "answer without redirecting"),
        (
            "https://sms.example.org:8443/",
            "set PUBLIC_BASE_URL to the address that does not redirect "
            "(perhaps https://sms.example.org:8443)",
        ),
        ("https://www.sms.example.org/", "perhaps https://www.sms.example.org)"),
        ("https://example.org/", "without a login"),
        ("https://sms.example.org.evil.example/", "without a login"),
        ("https://sms.example.org@evil.example/", "without a login"),
        ("ftp://evil.example/", "without a login"),
    ],
)
def test_redirect_of_an_https_address_has_its_own_advice(
    make_app: Callable[..., Flask], location: str, fix: str
) -> None:
    with make_app(PUBLIC_BASE_URL="https://sms.example.org").app_context():
        advice = _explain_redirect(location)
    assert fix in advice.fix
    assert "evil" not in advice.fix


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's context with a certificate for 90 days that this machine trusts."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *(need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "90"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.parametrize(("days", "left"), [(0, None), (75, None), (77, "13 days"), (89, "1 day")])
def test_certificate_that_ends_soon_is_told(
    proxied: Proxied, trusted: ssl.SSLContext, days: int, left: str | None
) -> None:
    with time_machine.travel(utcnow() + timedelta(days=days, hours=-1)):
        obstacle = proxied(rewriting(lambda _environ: None), trusted)
    if left is None:
        assert obstacle is None
        return
    assert obstacle
    assert obstacle.name in PASSABLE
    begin, end = (
        "a request arrives intact, but its certificate ends in ",
        ", and then Twilio hangs up",
    )
    assert obstacle.description == begin + left + end
    assert obstacle.fix == (
        "renew it: certbot renew on its machine says why that does not happen by itself; then "
        "reload the proxy"
    )


@pytest.mark.parametrize(("trusted_proxies", "is_told"), [("0", True), ("1", False), ("2", False)])
def test_proxy_that_is_not_trusted_is_told(
    proxied: Proxied, trusted_proxies: str, is_told: bool
) -> None:
    obstacle = proxied(rewriting(add_client), TRUSTED_PROXIES=trusted_proxies)
    assert (obstacle is not None) is is_told
    if obstacle:
        assert obstacle.name in PASSABLE
        assert obstacle.description == (
            "a request arrives intact, but through 1 proxy, while TRUSTED_PROXIES is 0: all "
            "clients look like one, and share one limit on sign-in"
        )
        assert obstacle.fix == "set TRUSTED_PROXIES=1 and start the app again"
