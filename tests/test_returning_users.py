"""A restore names those to whom it gives back what was taken from them since the backup."""

import shlex
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask

from smstracker.backups import backup_file
from smstracker.backups.former_accounts import UserAccount
from smstracker.backups.returning_users import UNKNOWN_USERS, describe_returning
from smstracker.commands import backup as backup_commands
from smstracker.extensions import db
from smstracker.models import User
from smstracker.models.users import LetInBy
from tests.clients import Person
from tests.postgresql_programs import path_to_programs
from tests.serving import close

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


@pytest.mark.both_databases
def test_those_shut_out_since_are_named_with_the_commands(make_app: MakeApp, backup: Path) -> None:
    users(make_app, f"deactivate {LEAVER}", f"delete {FIRED} --erase-messages")
    users(make_app, f"add {STAYS} --admin", f"add {BOSS} --no-admin")
    said = run(make_app, "restore", backup, "--replace")
    for lines in (
        f"  {LEAVER} (administrator) was deactivated:\n    flask users deactivate {LEAVER}\n",
        f"  {FIRED} was deleted:\n    flask users delete --erase-messages {FIRED}\n",
        f"  {BOSS} lost the administrator role:\n    flask users add --no-admin {BOSS}\n",
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
    make_app: MakeApp, backup: Path, tmp_path: Path
) -> None:
    users(make_app, f"deactivate {FIRED}", f"delete {FIRED} --keep-messages")
    deactivation = f"    flask users deactivate {FIRED}\n"
    for _ in range(2):
        said = restore(make_app, backup, tmp_path)
        assert f"{deactivation}    flask users delete --keep-messages {FIRED}\n" in said


def test_address_that_a_setting_lets_in_is_named_although_the_backup_does_not_have_it(
    make_app: MakeApp, backup: Path
) -> None:
    users(make_app, "add new@example.org", "deactivate new@example.org")
    users(make_app, "add gone@example.org", "deactivate gone@example.org")
    users(make_app, "delete gone@example.org --keep-messages")
    users(make_app, "add other@example.com", "deactivate other@example.com")
    users(make_app, "add left@example.org", "delete left@example.org --keep-messages")
    said = run(make_app, "restore", backup, "--replace", SIGN_IN_ALLOW="@example.org")
    for name in ("new", "gone"):
        assert f"    flask users deactivate {name}@example.org\n" in said
    assert "other@example.com" not in said
    assert "left@example.org" not in said  # not shut out: they may sign in as anybody new


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


SHUT_OUT = {
    f"deactivate {LEAVER}": f"    flask users deactivate {LEAVER}\n",
    f"delete {LEAVER} --keep-messages": f"    flask users delete --keep-messages {LEAVER}\n",
    f"delete {LEAVER} --erase-messages": f"    flask users delete --erase-messages {LEAVER}\n",
    f"add {LEAVER} --no-admin": f"    flask users add --no-admin {LEAVER}\n",
}


def restore(make_app: MakeApp, backup: Path, tmp_path: Path, **changed: str) -> str:
    for former in tmp_path.glob("*.before-*"):  # of the same second
        former.unlink()
    return run(make_app, "restore", backup, "--replace", **changed)


@pytest.mark.both_databases
@pytest.mark.parametrize("change", SHUT_OUT)
def test_each_later_restore_names_those_whom_an_earlier_one_has_brought_back(
    make_app: MakeApp, backup: Path, tmp_path: Path, change: str
) -> None:
    run(make_app, "backup", tmp_path / "b")
    users(make_app, change)
    for path in (backup, tmp_path / "b", backup):
        said = restore(make_app, path, tmp_path)
        assert SHUT_OUT[change] in said
        assert UNKNOWN_USERS not in said


def test_audit_log_says_what_a_restore_has_undone_of_users(
    make_app: MakeApp, backup: Path, tmp_path: Path
) -> None:
    users(make_app, f"deactivate {FIRED}", f"add {LEAVER} --no-admin")
    users(make_app, "add new@example.org", "delete new@example.org --keep-messages")
    restore(make_app, backup, tmp_path)
    entries = run(make_app, "audit", "list")
    assert f"Restored a backup from before a user was deactivated  {FIRED}\n" in entries
    assert f"before a user lost the administrator role  {LEAVER}\n" in entries
    assert "before a user was deleted  new@example.org\n" in entries
    assert "former user" not in entries


def test_backup_from_before_a_user_was_added_forgets_nothing(
    make_app: MakeApp, app: Flask, tmp_path: Path
) -> None:
    close(app)
    users(make_app, f"add {BOSS} --admin")
    run(make_app, "backup", tmp_path / "oldest")
    users(make_app, f"add {LEAVER}", f"add {FIRED}")
    run(make_app, "backup", tmp_path / "a")
    users(make_app, f"deactivate {LEAVER}", f"delete {FIRED} --erase-messages")
    restore(make_app, tmp_path / "oldest", tmp_path)
    said = restore(make_app, tmp_path / "a", tmp_path)
    assert f"    flask users deactivate {LEAVER}\n" in said
    assert f"    flask users delete --erase-messages {FIRED}\n" in said


def test_who_is_let_in_again_after_a_restore_is_not_named_by_the_next(
    make_app: MakeApp, backup: Path, tmp_path: Path
) -> None:
    users(make_app, f"deactivate {FIRED}", f"delete {LEAVER} --keep-messages")
    restore(make_app, backup, tmp_path)
    users(make_app, f"deactivate {FIRED}", f"add {FIRED}")
    users(make_app, f"deactivate {LEAVER}", f"add {LEAVER}")
    assert "flask users" not in restore(make_app, backup, tmp_path)


def test_who_is_added_after_a_restore_of_an_older_backup_is_not_named_by_the_next(
    make_app: MakeApp, app: Flask, tmp_path: Path
) -> None:
    close(app)
    users(make_app, f"add {BOSS} --admin", f"add {LEAVER}")
    run(make_app, "backup", tmp_path / "oldest")
    users(make_app, f"add {LEAVER} --admin", f"add {FIRED}")
    run(make_app, "backup", tmp_path / "a")
    users(make_app, f"add {LEAVER} --no-admin", f"delete {FIRED} --keep-messages")
    restore(make_app, tmp_path / "a", tmp_path)
    restore(make_app, tmp_path / "oldest", tmp_path)
    users(make_app, f"add {LEAVER} --admin", f"add {FIRED}")
    assert "flask users" not in restore(make_app, tmp_path / "a", tmp_path)


def test_deletion_ends_what_an_earlier_restore_has_undone(
    make_app: MakeApp, backup: Path, tmp_path: Path
) -> None:
    users(make_app, f"deactivate {STAYS}")
    restore(make_app, backup, tmp_path)
    users(make_app, f"delete {STAYS} --keep-messages")
    app = make_app(SIGN_IN_ALLOW="@example.org")
    Person.signed_in(app, STAYS)
    close(app)
    said = restore(make_app, backup, tmp_path, SIGN_IN_ALLOW="@example.org")
    assert "flask users" not in said


def test_address_that_is_in_use_again_is_not_named(app: Flask) -> None:
    account = UserAccount(2, STAYS, True, False, LetInBy.ADDED_LIVE, is_deleted=False)
    deleted = replace(account, id=1, is_deleted=True)
    with app.app_context():
        assert describe_returning([deleted, account], [account]) == ""


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_restore_that_was_killed_behind_psql_has_recorded_all(
    make_app: MakeApp, backup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users(make_app, f"deactivate {LEAVER}")

    def end(*_: object) -> None:
        raise backup_file.BackupError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(backup_commands, "_bring_up_to_date", end)
        killed = make_app().test_cli_runner().invoke(args=["restore", str(backup), "--replace"])
    assert killed.exit_code == 1
    entries = run(make_app, "audit", "list")
    assert "  Restored a backup\n" in entries
    assert f"  Restored a backup from before a user was deactivated  {LEAVER}\n" in entries
    assert SHUT_OUT[f"deactivate {LEAVER}"] in restore(make_app, backup, tmp_path)
    assert run(make_app, "audit", "list").count("  Restored a backup\n") == 1


HOSTILE = {
    "next line": "a\u0085b@example.net",
    "line separator": "a\u2028b@example.net",
    "file separator": "a\x1cb@example.net",
    "line break": "a\nb@example.net",
    "tab": "a\tb\x0b@example.net",
    "backslash": r"a\tb\\N@example.net",
    "null of COPY": r"\N",
    "terminal": "\x1b[2J\u202ea@example.net",
    "dash": "-x@example.net",
    "shell": "$(true)';$$ $hold$ %s b@example.net",
}


@pytest.mark.both_databases
def test_any_address_is_named_as_it_is_and_acts_on_no_terminal(
    make_app: MakeApp, app: Flask, tmp_path: Path
) -> None:
    """Older versions stored addresses as typed."""
    with app.app_context():
        for address in HOSTILE.values():
            db.session.add(User(email=address, let_in_by="added-live"))
        db.session.commit()
    run(make_app, "backup", tmp_path / "a")
    with app.app_context():
        db.session.execute(db.update(User).values(active=False))
        db.session.commit()
    close(app)
    for _ in range(2):
        said = restore(make_app, tmp_path / "a", tmp_path)
        commands = [line for line in said.splitlines() if line.startswith("    flask users ")]
        assert said.replace("\n", "").isprintable()
        assert said.count("was deactivated:") == len(HOSTILE)
        assert {words_of(command) for command in commands} == {
            ("flask", "users", "deactivate", *(["--"] if kind == "dash" else []), address)
            for kind, address in HOSTILE.items()
        }


def words_of(command: str) -> tuple[str, ...]:
    """The words that a shell reads in a command."""
    script = ["bash", "-c", f"printf '%s\\0' {command}"]
    output = subprocess.run(script, capture_output=True, check=True).stdout
    return tuple(output.decode().split("\0")[:-1])


def test_command_for_an_address_with_a_dash_works(
    make_app: MakeApp, app: Flask, tmp_path: Path
) -> None:
    close(app)
    users(make_app, f"add {BOSS} --admin", "add -- -x@example.org")
    run(make_app, "backup", tmp_path / "a")
    users(make_app, "delete --keep-messages -- -x@example.org")
    said = restore(make_app, tmp_path / "a", tmp_path)
    [command] = (line for line in said.splitlines() if line.startswith("    flask users "))
    assert "is deleted" in run(make_app, *shlex.split(command)[1:])
