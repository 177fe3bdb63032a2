"""Demo mode never starts where a real installation is, and the simulator never with credentials."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import time_machine
from flask import Flask
from sqlalchemy import update

from config import ROOT, ConfigError, load
from smstracker import create_app
from smstracker.database import demo_guard
from smstracker.database.problems import LIVE
from smstracker.extensions import db
from smstracker.models import Message, SignInToken, User
from smstracker.web.health import database_problem
from tests import live_settings
from tests.clients import Client, Person
from tests.live_settings import bare_environment
from tests.serving import close, free_port

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PUBLIC_BASE_URL", "https://sms.example.org"),
        ("PUBLIC_BASE_URL", "https://192.0.2.7"),
        ("TWILIO_PHONE_NUMBER", "+15005550006"),
        ("TWILIO_MESSAGING_SERVICE_SID", "MG" + "a" * 32),
        ("TWILIO_AUTH_TOKEN_SECONDARY", "the-second"),
        ("TWILIO_AUTH_TOKEN_FORMER", "the-former"),
        ("TWILIO_SUBACCOUNT_TOKENS", "AC" + "2" * 32 + ":" + "d" * 32),
        ("TWILIO_WEBHOOK_KEYS", "key:secret"),
        ("TWILIO_API_BASE_URL", "https://api.example.org"),
        ("MAIL_SERVER", "mail.example.org"),
        ("SIGN_IN_ALLOW", "@example.org"),
    ],
)
def test_demo_does_not_start_with_a_setting_of_a_real_installation(
    tmp_path: Path, name: str, value: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load({name: value, "MAIL_DEFAULT_SENDER": "a@example.org"}, instance=tmp_path)
    [problem] = caught.value.problems
    assert problem.startswith("TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN: not set, but")
    assert name in problem
    assert not list(tmp_path.iterdir())


def test_demo_takes_the_file_of_a_setting_for_a_sign_of_a_real_installation(tmp_path: Path) -> None:
    path = tmp_path / "allowed"
    path.write_text("@example.org\n")
    with pytest.raises(ConfigError, match="looks like a real installation: SIGN_IN_ALLOW_FILE is"):
        load({"SIGN_IN_ALLOW_FILE": str(path)}, instance=tmp_path)


@pytest.mark.parametrize("base", ["http://127.0.0.1:9000", "http://localhost", "https://[::1]"])
def test_demo_starts_at_an_address_of_this_machine(tmp_path: Path, base: str) -> None:
    assert load({"PUBLIC_BASE_URL": base}, instance=tmp_path).demo


def test_demo_and_live_have_a_file_each(tmp_path: Path) -> None:
    assert load({}, instance=tmp_path).database_url.endswith("/demo.sqlite")
    assert load(live_settings.LIVE, instance=tmp_path).database_url.endswith("/smstracker.sqlite")


LET_IN = {
    "users add": lambda app: invoke(app, "users", "add", "boss@work.example"),
    "users add --admin": lambda app: invoke(app, "users", "add", "boss@work.example", "--admin"),
    "SIGN_IN_ALLOW": lambda app: Person.signed_in(app, "alice@example.org"),
    "shut out": lambda app: invoke(app, "users", "deactivate", "alice@example.org"),
}


def invoke(app: Flask, *arguments: str) -> None:
    done = app.test_cli_runner().invoke(args=arguments)
    assert done.exit_code == 0, done.output


def add_as_before(app: Flask, email: str) -> None:
    """Add a user as versions did that marked demo and live alike."""
    with app.app_context():
        db.session.add(User(email=email, administrator=True))
        db.session.commit()


def make_live(app: Flask) -> None:
    Person.signed_in(app, "alice@example.org").has_message()


@contextmanager
def demo(url: str, folder: Path) -> Iterator[Flask]:
    ports = {"PORT": str(free_port()), "SIMULATOR_PORT": str(free_port())}
    app = create_app(load({"DATABASE_URL": url, **ports}, instance=folder))
    app.test_client_class = Client
    yield app
    close(app)


def test_demo_does_not_start_on_messages_of_a_live_account(
    app: Flask, database_url: str, tmp_path: Path
) -> None:
    with demo(database_url, tmp_path):
        make_live(app)
    with (
        pytest.raises(ConfigError, match="holds messages of a live account"),
        demo(database_url, tmp_path),
    ):
        pass


@pytest.mark.parametrize("way", LET_IN)
def test_demo_does_not_start_where_a_live_installation_let_somebody_in(
    app: Flask, database_url: str, tmp_path: Path, way: str
) -> None:
    LET_IN[way](app)
    with (
        pytest.raises(ConfigError, match="or users of a live installation"),
        demo(database_url, tmp_path),
    ):
        pass


def test_demo_does_not_start_where_an_earlier_version_added_somebody_who_has_signed_in_since(
    app: Flask, database_url: str, tmp_path: Path
) -> None:
    add_as_before(app, "boss@work.example")
    boss = Person.signed_in(app, "boss@work.example")
    boss.post("/auth/sign-out", page="/messages")
    with (
        pytest.raises(ConfigError, match="or users of a live installation"),
        demo(database_url, tmp_path),
    ):
        pass


def test_demo_does_not_start_where_somebody_is_signed_in_since_an_earlier_version(
    app: Flask, database_url: str, tmp_path: Path
) -> None:
    Person.signed_in(app, "alice@example.org")
    with app.app_context():
        db.session.execute(update(User).values(let_in_by="added"))
        db.session.commit()
    with pytest.raises(ConfigError, match="or users of"), demo(database_url, tmp_path):
        pass


def test_demo_goes_on_with_whom_it_added_and_whom_an_earlier_version_did(
    app: Flask, database_url: str, tmp_path: Path
) -> None:
    with demo(database_url, tmp_path) as started:
        invoke(started, "users", "add", "boss@work.example", "--admin")
        add_as_before(started, "ann@work.example")
        for email in ("boss@work.example", "ann@work.example", "guest@work.example"):
            Person.signed_in(started, email)
    with demo(database_url, tmp_path) as started, started.app_context():
        assert database_problem() is None


def test_whom_a_demo_added_is_let_in_by_the_live_installation_and_makes_it_one(
    app: Flask, database_url: str, tmp_path: Path
) -> None:
    with demo(database_url, tmp_path) as started:
        invoke(started, "users", "add", "boss@work.example")
    assert Person.signed_in(app, "boss@work.example").get("/messages").status_code == 200
    listed = app.test_cli_runner().invoke(args=["users", "list"]).output
    assert "boss@work.example  user  active (added)" in listed
    with pytest.raises(ConfigError), demo(database_url, tmp_path):
        pass


def test_demo_goes_on_with_what_a_demo_has_sent(
    app: Flask, database_url: str, tmp_path: Path
) -> None:
    with demo(database_url, tmp_path) as started:
        make_live(started)
        with started.app_context():
            db.session.execute(update(Message).values(simulated=True))
            db.session.commit()
    with demo(database_url, tmp_path) as started, started.app_context():
        assert database_problem() is None


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_live_messages_that_were_not_seen_at_the_start_stop_the_demo(
    migrated_sqlite: Path, tmp_path: Path, make_app
) -> None:  # type: ignore[no-untyped-def]
    """As when the database was away then: nobody gets a connection to it."""
    path = tmp_path / "later" / "x.sqlite"
    url = f"sqlite:///{path}"
    with demo(url, tmp_path) as started:
        path.parent.mkdir()
        shutil.copy(migrated_sqlite, path)
        make_live(make_app(DATABASE_URL=url))
        with started.app_context():
            assert database_problem() is LIVE
        stranger = Person(started, "a@example.org")
        assert stranger.get("/readyz").status_code == 503
        assert stranger.post("/auth/sign-in", {"email": stranger.email}).status_code == 503
        done = started.test_cli_runner().invoke(args=["users", "list"])
        assert (done.exit_code, done.stderr) == (1, f"Error: {LIVE.sentence}\n")


def test_running_demo_ends_its_work_once_its_database_is_live(
    app: Flask, database_url: str, tmp_path: Path
) -> None:
    with time_machine.travel(NOON, tick=False) as clock, demo(database_url, tmp_path) as started:
        guest = Person.signed_in(started, "guest@example.org")
        make_live(app)
        clock.shift(2)
        for _ in range(2):
            assert guest.get("/messages").status_code == 503
            assert guest.get("/readyz").status_code == 503
        with started.app_context():
            assert database_problem() is LIVE


def test_running_demo_is_judged_once_a_second(
    app: Flask, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = demo_guard._has_row
    with time_machine.travel(NOON, tick=False) as clock, demo(database_url, tmp_path) as started:
        guest = Person.signed_in(started, "guest@example.org")
        monkeypatch.setattr(
            demo_guard, "_has_row", lambda *what: asked.append(what[1]) or real(*what)
        )
        clock.shift(2)
        for _ in range(3):
            assert guest.get("/messages").status_code == 200
    assert asked.count(demo_guard.NEW_LIVE_SIGN_QUERIES[0]) == 1


@pytest.mark.parametrize("way", ["added-live", "setting"])
def test_demo_lets_nobody_in_as_whom_a_live_installation_let_in(
    app: Flask, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Within the second before the demo notices, and whoever was signed in there before."""
    with time_machine.travel(NOON, tick=False), demo(database_url, tmp_path) as started:
        guest = Person.signed_in(started, "boss@work.example")
        with started.app_context():
            token = SignInToken.issue(guest.email).token
            db.session.commit()
        with app.app_context():
            db.session.execute(update(User).values(let_in_by=way))
            db.session.commit()
        assert guest.get("/messages").status_code == 302
        again = Person(started, guest.email)
        assert again.post(f"/auth/link/{token}").status_code == 410


COMMANDS = {
    "make run": ["smstracker"],
    "gunicorn": ["gunicorn", "-c", "python:smstracker.server", "wsgi:app"],
    "worker": ["flask", "worker"],
    "command": ["flask", "users", "list"],
    "migration": ["flask", "db", "upgrade"],
}


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("name", "sign"), [("gunicorn", "setting"), *((name, "database") for name in COMMANDS)]
)
def test_every_process_says_it_in_a_sentence(
    migrated_sqlite: Path, tmp_path: Path, make_app, name: str, sign: str
) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "x.sqlite"
    shutil.copy(migrated_sqlite, path)
    env = bare_environment(DATABASE_URL=f"sqlite:///{path}")
    env |= {"PORT": str(free_port()), "SIMULATOR_PORT": str(free_port())}
    if sign == "setting":
        env["SIGN_IN_ALLOW"] = "@example.org"
    else:
        make_live(make_app(DATABASE_URL=env["DATABASE_URL"]))
    done = subprocess.run(
        [sys.executable, "-m", *COMMANDS[name]],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (1, 2)
    head, problem = done.stderr.splitlines()
    assert head == "smstracker cannot start:"
    assert "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN" in problem
