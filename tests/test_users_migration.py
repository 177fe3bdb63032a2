"""Migration 0007: how the users of older databases were admitted, and one spelling of addresses."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import text

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.models import SignInToken
from tests.clients import Person

pytestmark = pytest.mark.both_databases


INSERT_USER = (
    'INSERT INTO "user" (id, email, active, administrator, created_at, last_sign_in_at) '
    "VALUES (:id, :email, :active, :administrator, :created, :last)"
)
INSERT_SESSION = "INSERT INTO user_session (key_hash, user_id, created_at) VALUES (:key, :id, :at)"
INSERT_MESSAGE = (
    "INSERT INTO message (public_id, owner_id, form_id, recipient, body, media_urls, simulated, "
    "callback_requested, status, status_at, conflicting, created_at) VALUES "
    "(:uuid, :id, :uuid, '+15005550006', 'x', '[]', :simulated, :yes, 'sent', :at, :no, :at)"
)


class OldDatabase:
    """A database at revision 0006, to be filled and upgraded."""

    def __init__(self, app: Flask, folder: Path) -> None:
        self.app = app
        # An installation of its own: no secrets of a demo lie there.
        app.config["SETTINGS"] = replace(app.config["SETTINGS"], instance=folder)
        with app.app_context():
            downgrade(revision="0006")
        self.now = utcnow()
        self.ids: dict[str, int] = {}

    def _run(self, statement: str, **values: Any) -> None:
        with self.app.app_context(), db.engine.begin() as connection:
            naive = connection.dialect.name == "sqlite"
            times = {k: v.replace(tzinfo=None) for k, v in values.items() if hasattr(v, "tzinfo")}
            connection.execute(text(statement), values | (times if naive else {}))

    def add_user(
        self, email: str, *, admin: bool = False, active: bool = True, **times: Any
    ) -> None:
        """Add a user, with the days since creation (`made`), a session (`signed_in`) and `last`."""
        number = self.ids[email] = len(self.ids) + 1
        created = self.now - timedelta(days=times.get("made", 40))
        signed_in, last = times.get("signed_in"), times.get("last", times.get("signed_in"))
        last_at = None if last is None else self.now - timedelta(days=last, milliseconds=-5)
        self._run(
            INSERT_USER,
            id=number,
            email=email,
            active=active,
            administrator=admin,
            created=created,
            last=last_at,
        )
        if signed_in is not None:
            at = self.now - timedelta(days=signed_in, milliseconds=-5)
            self._run(INSERT_SESSION, key=f"{number:064}", id=number, at=at)

    def add_message(self, email: str, *, simulated: bool) -> None:
        uuid = f"{self.ids[email] * 2 + simulated:032x}"
        self._run(
            INSERT_MESSAGE,
            uuid=uuid,
            id=self.ids[email],
            simulated=simulated,
            yes=True,
            no=False,
            at=self.now,
        )

    def session_owners(self) -> list[int]:
        with self.app.app_context(), db.engine.connect() as connection:
            return list(connection.scalars(text("SELECT user_id FROM user_session ORDER BY id")))

    def upgrade(self) -> dict[str, str]:
        """Upgrade; return the third column of `users list` by address."""
        with self.app.app_context():
            upgrade()
        lines = self.app.test_cli_runner().invoke(args=["users", "list"]).output.splitlines()
        return {line.split("  ")[0]: line.split("  ")[2] for line in lines}


@pytest.fixture
def old_database(make_app: Callable[..., Flask], tmp_path: Path) -> OldDatabase:
    return OldDatabase(make_app(SIGN_IN_ALLOW="@straße.example, @clinic.example"), tmp_path)


@pytest.mark.slow
def test_upgrade_keeps_guests_of_a_demo_out_and_added_administrators_in(
    old_database: OldDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    old_database.add_user("guest@home.example", admin=True, made=3, signed_in=3, last=1)
    old_database.add_user("once@home.example", admin=True, made=30, last=30)
    old_database.add_user("sent@home.example", admin=True, made=30, last=9)
    old_database.add_message("sent@home.example", simulated=True)
    old_database.add_user("fresh@work.example", admin=True, made=30)
    old_database.add_user("carol@work.example", admin=True, made=30, signed_in=2)
    old_database.add_message("carol@work.example", simulated=False)
    old_database.add_user("dora@work.example", made=30, signed_in=2)
    assert old_database.upgrade() == {
        "guest@home.example": "out (from a demo)",
        "once@home.example": "out (from a demo)",
        "sent@home.example": "out (from a demo)",
        "fresh@work.example": "active (added)",
        "carol@work.example": "active (added)",
        "dora@work.example": "active (added)",
    }
    printed = capsys.readouterr().out
    assert "not let in any more: 3." in printed
    assert "@" not in printed
    with old_database.app.app_context(), db.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM user_session")) == 0


def test_upgrade_without_a_trace_of_a_demo_takes_nobody_for_a_guest(
    old_database: OldDatabase,
) -> None:
    old_database.add_user("carol@work.example", admin=True, made=3, signed_in=3)
    old_database.add_message("carol@work.example", simulated=False)
    assert old_database.upgrade() == {"carol@work.example": "active (added)"}
    with old_database.app.app_context(), db.engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM user_session")) == 1


def test_upgrade_knows_a_demo_by_its_secrets(old_database: OldDatabase, tmp_path: Path) -> None:
    (tmp_path / "demo-auth-token").touch()
    old_database.add_user("guest@home.example", admin=True, made=3, signed_in=3)
    assert old_database.upgrade() == {"guest@home.example": "out (from a demo)"}


def test_upgrade_tells_who_came_by_the_setting(old_database: OldDatabase) -> None:
    old_database.add_user("ann@clinic.example", made=30, signed_in=2)
    old_database.add_user("mallory@strasse.example", made=30, signed_in=2)
    old_database.add_user("gone@former.example", made=3, signed_in=3)
    old_database.add_user("dora@work.example", made=30, signed_in=2)
    assert old_database.upgrade() == {
        "ann@clinic.example": "active (SIGN_IN_ALLOW)",
        "mallory@strasse.example": "out (no longer in SIGN_IN_ALLOW)",
        "gone@former.example": "out (no longer in SIGN_IN_ALLOW)",
        "dora@work.example": "active (added)",
    }


def test_upgrade_spells_addresses_alike_and_merges_nobody(
    old_database: OldDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    old_database.add_user("ann@bücher.example", last=3)
    old_database.add_user("ben@bücher.example", last=1)
    old_database.add_user("ben@xn--bcher-kva.example", last=2)
    old_database.add_user("eva@ｂücher.example", last=2)
    old_database.add_user("eva@BÜCHER.example".lower(), last=1)
    old_database.add_user("zoe@ｂücher.example", last=1, active=False)
    old_database.add_user("zoe@bücher.example", last=2)
    old_database.add_user("müller@work.example")
    same = "deactivated (another spelling of {}@xn--bcher-kva.example)"
    assert old_database.upgrade() == {
        "ann@xn--bcher-kva.example": "active (added)",
        "ben@bücher.example": same.format("ben"),
        "ben@xn--bcher-kva.example": "active (added)",
        "eva@xn--bcher-kva.example": "active (added)",
        "eva@ｂücher.example": same.format("eva"),
        "zoe@xn--bcher-kva.example": "active (added)",
        "zoe@ｂücher.example": same.format("zoe"),
        "müller@work.example": "active (added)",
    }
    assert "deactivated: 3." in capsys.readouterr().out
    ben = Person.signed_in(old_database.app, "ben@bücher.example")
    with old_database.app.app_context(), db.engine.connect() as connection:
        owner = text("SELECT user_id FROM user_session ORDER BY id DESC")
        assert connection.scalar(owner) == old_database.ids["ben@xn--bcher-kva.example"]
    assert ben.get("/messages").status_code == 200


def test_upgrade_signs_the_second_spelling_of_a_user_out(old_database: OldDatabase) -> None:
    old_database.add_user("ben@bücher.example", made=30, signed_in=1)
    old_database.add_user("ben@xn--bcher-kva.example", made=30, signed_in=2)
    old_database.upgrade()
    assert old_database.session_owners() == [old_database.ids["ben@xn--bcher-kva.example"]]


def test_upgrade_of_a_demo_reports_no_guests(
    old_database: OldDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = old_database.app.config["SETTINGS"]
    old_database.app.config["SETTINGS"] = replace(settings, demo=True, sign_in_allow=None)
    old_database.add_user("guest@home.example", admin=True, made=3, signed_in=3)
    assert old_database.upgrade() == {"guest@home.example": "active (demo)"}
    assert "not let in any more" not in capsys.readouterr().out


def test_upgrade_of_a_demo_that_made_nobody_an_administrator_leaves_it_one(
    old_database: OldDatabase,
) -> None:
    settings = old_database.app.config["SETTINGS"]
    old_database.app.config["SETTINGS"] = replace(settings, demo=True, sign_in_allow=None)
    old_database.add_user("guest@home.example", made=3, signed_in=3)
    old_database.upgrade()
    with old_database.app.app_context():
        assert db.session.scalar(text('SELECT let_in_by FROM "user"')) == "demo"


@pytest.mark.slow
def test_downgrade_ends_what_signs_in_during_a_demo_alone(old_database: OldDatabase) -> None:
    old_database.add_user("carol@work.example", admin=True)
    old_database.upgrade()
    live = old_database.app.config["SETTINGS"]
    old_database.app.config["SETTINGS"] = replace(live, demo=True)
    Person.signed_in(old_database.app, "carol@work.example")
    old_database.app.config["SETTINGS"] = live
    Person.signed_in(old_database.app, "carol@work.example")
    assert len(old_database.session_owners()) == 2
    with old_database.app.app_context():
        SignInToken.issue("carol@work.example")
        db.session.commit()
        downgrade(revision="0006")
        assert db.session.scalar(text("SELECT count(*) FROM sign_in_token")) == 0
        db.session.rollback()
    assert len(old_database.session_owners()) == 1
    old_database.upgrade()


@pytest.mark.slow
def test_downgrade_lets_no_guest_of_a_demo_in(old_database: OldDatabase) -> None:
    old_database.add_user("guest@home.example", admin=True, made=3, signed_in=3)
    old_database.add_message("guest@home.example", simulated=True)
    old_database.upgrade()
    with old_database.app.app_context():
        downgrade(revision="0006")
        with db.engine.connect() as connection:
            assert not connection.scalar(text('SELECT active FROM "user"'))
        upgrade()
