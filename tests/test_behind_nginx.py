"""nginx with TLS in front of two real web servers, by the configuration of deploy/."""

import getpass
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from config import ROOT
from tests.app_process import AppProcess
from tests.clients import hidden
from tests.live_settings import live_environment
from tests.machine import DEPLOYMENT_PACKAGES, need
from tests.serving import free_port
from tests.signing import STATUS_PATH, fields, sid, signature

pytestmark = pytest.mark.slow
FORGED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "Forwarded": "for=1",
}
EVENT_SECONDS = 3.0


@dataclass
class Site:
    """The address at nginx, and what is behind it."""

    base: str
    certificate: str
    folder: Path
    env: dict[str, str]
    servers: list[AppProcess]

    def flask(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "smstracker.command_line", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def browser(self) -> requests.Session:
        session = requests.Session()
        session.verify = self.certificate
        session.trust_env = False
        return session

    def call_back(self, number: int, word: str = "sent", **headers: str) -> int:
        form = fields(sid(number), word)
        headers |= {"X-Twilio-Signature": signature(STATUS_PATH, form, base=self.base)}
        address = self.base + STATUS_PATH
        return self.browser().post(address, data=form, headers=headers, timeout=30).status_code

    def signed_in(self, email: str) -> requests.Session:
        self.flask("users", "add", email, "--admin")
        [link] = re.findall(r"https://\S+", self.flask("users", "sign-in-link", email))
        browser = self.browser()
        token = hidden(browser.get(link, timeout=30).text, "csrf_token")
        answer = browser.post(
            link, data={"csrf_token": token}, headers={"Referer": link}, timeout=30
        )
        assert answer.url.startswith(f"{self.base}/messages"), answer.text
        return browser


def write_configuration(folder: Path, port: int, web_ports: list[int], certificate: Path) -> Path:
    """deploy/nginx/smstracker.conf with the ports and paths of this machine."""
    text = (ROOT / "deploy/nginx/smstracker.conf").read_text()
    for old, new in {
        "127.0.0.1:8000": f"127.0.0.1:{web_ports[0]}",
        "127.0.0.1:8001": f"127.0.0.1:{web_ports[1]}",
        "listen 443 ssl http2": f"listen 127.0.0.1:{port} ssl http2",
        "listen 80": f"listen 127.0.0.1:{free_port()}",
        "sms.example.org/fullchain.pem": "certificate.pem",
        "sms.example.org/privkey.pem": "key.pem",
        "/etc/letsencrypt/live": str(certificate.parent),
        "/var/log/nginx": str(folder),
    }.items():
        assert old in text
        text = text.replace(old, new)
    text = re.sub(r"(?m)^ *listen \[::\].*\n", "", text)
    temporary = [
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    ]
    path = folder / "nginx.conf"
    path.write_text(
        f"user {getpass.getuser()}; daemon off; pid {folder}/nginx.pid;\n"
        f"error_log {folder}/nginx.log crit;\n"
        f"events {{}}\nhttp {{ {' '.join(temporary)}\n{text}\n}}\n"
    )
    return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("nginx")
    nginx, openssl = need("nginx", DEPLOYMENT_PACKAGES["nginx"]), need("openssl")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    port = free_port()
    base = f"https://localhost:{port}"
    env = live_environment(
        PUBLIC_BASE_URL=base,
        DATABASE_URL=f"sqlite:///{folder / 'app.sqlite'}",
        TRUSTED_PROXIES="1",
        WEB_CONCURRENCY="1",
        WEB_THREADS="16",
        SIGN_IN_ALLOW="@example.org",
        MAIL_SERVER="127.0.0.1",
        MAIL_PORT="9",
        MAIL_DEFAULT_SENDER="sms@example.org",
    )
    site = Site(base, str(certificate), folder, env, [])
    site.flask("db", "upgrade")
    gunicorn = (sys.executable, "-m", "gunicorn", "-c", "python:smstracker.server", "wsgi:app")
    for _ in range(2):
        server_port = free_port()
        server = AppProcess(folder, *gunicorn, **env | {"PORT": str(server_port)})
        server.port = server_port
        site.servers.append(server)
    configuration = write_configuration(
        folder, port, [server.port for server in site.servers], certificate
    )
    process = subprocess.Popen([nginx, "-c", str(configuration), "-p", str(folder)])
    try:
        for server in site.servers:
            server.wait_for("Booting worker")
        deadline = time.monotonic() + 60
        while not is_up(site):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield site
    finally:
        process.terminate()
        process.wait(30)
        for server in site.servers:
            server.kill()


def is_up(site: Site) -> bool:
    try:
        ports = [server.port for server in site.servers]
        answers = [requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5) for port in ports]
        answers.append(site.browser().get(site.base + "/readyz", timeout=5))
    except requests.RequestException:
        return False
    return all(answer.status_code == 200 for answer in answers)


def test_person_signs_in_over_https(site: Site) -> None:
    browser = site.signed_in("ann@example.org")
    page = browser.get(site.base + "/messages", timeout=30)
    assert page.status_code == 200
    assert page.headers["Strict-Transport-Security"]
    cookies = [cookie for cookie in browser.cookies if cookie.name == "__Host-session"]
    assert [cookie.secure for cookie in cookies] == [True]


def test_callback_signed_for_the_public_address_is_accepted(site: Site) -> None:
    assert site.call_back(1) == 204
    assert site.call_back(2, **FORGED) == 204
    form = fields(sid(3), "sent")
    wrong = {"X-Twilio-Signature": signature(STATUS_PATH, form, base="http://127.0.0.1:8000")}
    answer = site.browser().post(site.base + STATUS_PATH, data=form, headers=wrong, timeout=30)
    assert answer.status_code == 403


def test_callback_that_is_too_large_is_refused_by_the_app(site: Site) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    address = site.base + STATUS_PATH
    body = b"Body=" + b"x" * 60_000
    answer = site.browser().post(address, data=body, headers=headers, timeout=30)
    assert answer.status_code in (403, 413)
    assert "X-Request-Id" in answer.headers
    answer = site.browser().post(address, data=b"x" * 2_000_000, headers=headers, timeout=30)
    assert answer.status_code == 413


def test_event_arrives_at_once_over_the_stream(site: Site) -> None:
    browser = site.signed_in("bea@example.org")
    form = browser.get(site.base + "/messages/new", timeout=30).text
    names = ("csrf_token", "form_id", "idempotency_key")
    typed = {name: hidden(form, name) for name in names if f'name="{name}"' in form}
    typed |= {"recipient": "+15558675310", "sender": "+15005550006", "body": "Hello"}
    sent = browser.post(
        site.base + "/messages", data=typed, headers={"Referer": site.base}, timeout=60
    )
    public_id = re.search(r"/messages/([0-9a-f-]{36})", sent.url)
    assert public_id, sent.url
    with browser.get(site.base + "/messages/stream", stream=True, timeout=30) as stream:
        assert stream.status_code == 200
        lines = stream.iter_lines(chunk_size=1, decode_unicode=True)
        assert next(lines).startswith("retry: ")
        path = f"/webhooks/twilio/status/{public_id[1]}"
        status = fields(sid(9), "delivered")
        headers = {"X-Twilio-Signature": signature(path, status, base=site.base)}
        answer = site.browser().post(site.base + path, data=status, headers=headers, timeout=30)
        assert answer.status_code == 204
        stored_at = time.monotonic()
        for line in lines:
            if line.startswith("data: ") and public_id[1] in json.dumps(line):
                break
        assert time.monotonic() - stored_at < EVENT_SECONDS


def test_logs_of_nginx_hold_no_addresses(site: Site) -> None:
    site.signed_in("dora@example.org")
    log = "".join(path.read_text() for path in site.folder.glob("*.log"))
    assert " POST " in log
    assert "/auth/link" not in log


def test_forged_headers_do_not_fool_the_limits(site: Site) -> None:
    """After all others that sign in: this machine may not ask for links for a while."""
    browser = site.browser()
    token = hidden(browser.get(site.base + "/auth/sign-in", timeout=30).text, "csrf_token")
    codes = []
    for number in range(7):
        forged = FORGED | {"X-Forwarded-For": f"203.0.113.{number}", "Referer": site.base}
        typed = {"csrf_token": token, "email": "carl@example.org"}
        answer = browser.post(
            site.base + "/auth/sign-in",
            data=typed,
            headers=forged,
            timeout=30,
            allow_redirects=False,
        )
        codes.append(answer.status_code)
        assert "evil.example" not in answer.text + str(answer.headers)
    assert codes[0] in (200, 302, 303)
    assert codes[-1] == 429, codes


def test_other_server_answers_while_one_is_stopped(site: Site) -> None:
    site.servers[0].end()
    assert [site.call_back(number) for number in range(100, 112)] == [204] * 12
    assert site.browser().get(site.base + "/healthz", timeout=30).status_code == 200
