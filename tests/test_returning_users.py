"""A restore names those to whom it gives back what was taken from them since the backup."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from smstracker.backups.returning_users import UNKNOWN_USERS
from tests.postgresql_programs import path_to_programs
from tests.serving import close

pytestmark = pytest.mark.both_databases

MakeApp = Callable[..., Flask]
BOSS, LEAVER = "boss@example.org", "leaver@example.org"
FIRED, STAYS = "fired@example.org", "stays@example.org"


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's programs of the server that the tests use."""
    monkeypatch.setenv("PATH", path_to_programs())


def run(make_app: MakeApp, *arguments: str | Path, **changed: str) -> str:
    app = make_app(**changed)
    result = app.test_cli_runner().invoke(args=[str(argument) for argument in arguments])
    close(app)
    assert result.exit_code == 0, result.output
    return result.output


def users(make_app: MakeApp, *commands: str) -> None:
    for command in commands:
        run(make_app, "users", *command.split())


@pytest.fixture
def backup(make_app: MakeApp, app: Flask, tmp_path: Path) -> Path:
    """A backup that has four users, two of them administrators."""
    close(app)
    users(make_app, f"add {BOSS} --admin", f"add {LEAVER} --admin", f"add {FIRED}", f"add {STAYS}")
    run(make_app, "backup", tmp_path / "a")
    return tmp_path / "a"


def test_those_shut_out_since_are_named_with_the_commands(make_app: MakeApp, backup: Path) -> None:
    users(make_app, f"deactivate {LEAVER}", f"delete {FIRED} --erase-messages")
    users(make_app, f"add {STAYS} --admin", f"add {BOSS} --no-admin")
    said = run(make_app, "restore", backup, "--replace")
    for lines in (
        f"  {LEAVER} (administrator) was deactivated:\n    flask users deactivate {LEAVER}\n",
        f"  {FIRED} was deleted:\n    flask users delete {FIRED} --erase-messages\n",
        f"  {BOSS} lost the administrator role:\n    flask users add {BOSS} --no-admin\n",
    ):
        assert lines in said
    assert said.index(LEAVER) < said.index("Restored.")
    assert STAYS not in said
    assert UNKNOWN_USERS not in said


def test_nobody_is_named_if_nobody_was_shut_out_since(make_app: MakeApp, backup: Path) -> None:
    users(make_app, f"deactivate {FIRED}", f"add {FIRED}", f"delete {STAYS} --keep-messages")
    users(make_app, f"add {STAYS}")
    said = run(make_app, "restore", backup, "--replace")
    assert "flask users" not in said


def test_deleted_address_that_stayed_shut_out_is_to_be_deactivated_too(
    make_app: MakeApp, backup: Path
) -> None:
    users(make_app, f"deactivate {FIRED}", f"delete {FIRED} --keep-messages")
    said = run(make_app, "restore", backup, "--replace")
    deactivation = f"    flask users deactivate {FIRED}\n"
    assert f"{deactivation}    flask users delete {FIRED} --keep-messages\n" in said


def test_address_that_a_setting_lets_in_is_named_although_the_backup_does_not_have_it(
    make_app: MakeApp, backup: Path
) -> None:
    users(make_app, "add new@example.org", "deactivate new@example.org")
    users(make_app, "add gone@example.org", "deactivate gone@example.org")
    users(make_app, "delete gone@example.org --keep-messages")
    users(make_app, "add other@example.com", "deactivate other@example.com")
    said = run(make_app, "restore", backup, "--replace", SIGN_IN_ALLOW="@example.org")
    for name in ("new", "gone"):
        assert f"    flask users deactivate {name}@example.org\n" in said
    assert "other@example.com" not in said


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_new_database_does_not_know(
    make_app: MakeApp, backup: Path, tmp_path: Path, migrated_sqlite: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'new.sqlite'}"
    assert UNKNOWN_USERS in run(make_app, "restore", backup, DATABASE_URL=url)
    for name in ("empty", "other"):
        shutil.copy(migrated_sqlite, tmp_path / f"{name}.sqlite")
        url = f"sqlite:///{tmp_path / name}.sqlite"
        if name == "other":
            run(make_app, "users", "add", "first@example.com", "--admin", DATABASE_URL=url)
        assert UNKNOWN_USERS in run(make_app, "restore", backup, DATABASE_URL=url)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_damaged_database_does_not_know(make_app: MakeApp, backup: Path, tmp_path: Path) -> None:
    file = tmp_path / "damaged.sqlite"
    file.write_bytes(b"SQLite format 3\0" + b"x" * 8000)
    url = f"sqlite:///{file}"
    assert UNKNOWN_USERS in run(make_app, "restore", backup, "--replace", DATABASE_URL=url)
