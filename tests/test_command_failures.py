"""Every command, and each way in which the database can fail: one sentence, 1, no trace."""

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import Result
from flask import Flask
from flask_migrate.cli import db as migrations
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from smstracker.backups import sqlite_backup
from smstracker.database import engine
from smstracker.doctor import checks
from smstracker.extensions import db
from smstracker.worker.loop import Worker
from tests.clients import Person
from tests.databases import migrate
from tests.serving import free_port
from tests.signing import call_back, fields, sid

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

MakeApp = Callable[..., Flask]

# Each command, with arguments that bring it to the database.
COMMANDS = {
    "alerts list": [],
    "audit list": [],
    "backup": ["new.backup"],
    "batches list": [],
    "batches pause": ["00000000-0000-0000-0000-000000000001"],
    "batches resume": ["00000000-0000-0000-0000-000000000001"],
    "batches stop": ["00000000-0000-0000-0000-000000000001"],
    "callbacks list": [],
    "callbacks replay": ["--all"],
    "callbacks show": ["1"],
    "doctor": [],
    "messages erase": ["--yes"],
    "messages reconcile": ["--all"],
    "messages show": ["SM1"],
    "purge": [],
    "tokens add": ["a@example.org", "--name", "Shop"],
    "tokens list": [],
    "tokens revoke": ["1"],
    "users add": ["a@example.org"],
    "users deactivate": ["a@example.org"],
    "users delete": ["a@example.org", "--keep-messages"],
    "users list": [],
    "users sign-in-link": ["a@example.org"],
    "users sign-out": ["a@example.org"],
    "worker": [],
    "db check": [],
    "db current": [],
    "db downgrade": [],
    "db stamp": [],
    "db upgrade": [],
}
WITHOUT_DATABASE = {"restore", "alerts test"}
MIGRATIONS = [name for name in COMMANDS if name.startswith("db ")]
WRITING = ["users add", "tokens add", "purge", "worker", "doctor", "db downgrade"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing waits long, the doctor leaves the network alone, and files go to a folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine, "BUSY_TIMEOUT_MS", 20)
    monkeypatch.setattr(sqlite_backup, "MAX_WAIT_SECONDS", 0.02)
    monkeypatch.setattr(import_module("smstracker.commands.worker"), "MAX_WAIT_SECONDS", -1)
    monkeypatch.setattr(checks, "find_obstacle", lambda: None)


def run(app: Flask, name: str) -> Result:
    words = [*name.split(), *COMMANDS[name]]
    if words[0] == "db":
        return app.test_cli_runner().invoke(migrations, words[1:])
    return app.test_cli_runner().invoke(args=words, input="+15005550006\n")


def check(app: Flask, cause: str, names: Iterable[str] = COMMANDS) -> None:
    for name in names:
        result = run(app, name)
        assert result.exit_code == 1, (name, result.output)
        assert isinstance(result.exception, SystemExit), (name, result.exception)
        if name == "doctor":
            line = next(line for line in result.stdout.splitlines() if " database: " in line)
            assert re.search(rf"^problem  database: .*{cause}.* Fix: ", line), line
            assert result.stderr == ""
        else:
            assert re.fullmatch(rf"Error: .*{cause}.*\. .+\.\n", result.stderr), (name, result)


def test_every_command_that_needs_a_database_is_tried_here(app: Flask) -> None:
    def names(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[str]:
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if isinstance(command, click.Group):
                yield from names(command, (*path, name))
            else:
                yield " ".join((*path, name))

    with app.app_context():
        ours = {name for name in names(app.cli) if not name.startswith("db ")}
    assert ours - WITHOUT_DATABASE == set(COMMANDS) - set(MIGRATIONS)


def test_full_disk_is_said_of_what_runs_without_sqlalchemy(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk() -> None:
        with closing(sqlite3.connect(":memory:")) as connection:
            connection.execute("PRAGMA max_page_count = 1")
            connection.execute("CREATE TABLE too_much (id)")

    monkeypatch.setattr(import_module("smstracker.commands.worker"), "vacuum", fill_disk)
    result = app.test_cli_runner().invoke(args=["purge", "--vacuum"])
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: The disk is full. ")


def test_missing_folder_is_said_by_every_command(make_app: MakeApp) -> None:
    check(make_app(DATABASE_URL="sqlite:////nowhere/at/all.sqlite"), "file cannot be opened")


def test_file_in_place_of_the_folder_is_said_by_every_command(
    make_app: MakeApp, tmp_path: Path
) -> None:
    folder = tmp_path / "file"
    folder.touch()
    check(make_app(DATABASE_URL=f"sqlite:///{folder}/app.sqlite"), "file cannot be opened")


def test_foreign_file_is_said_by_every_command(make_app: MakeApp, tmp_path: Path) -> None:
    path = tmp_path / "letter.sqlite"
    path.write_bytes(b"Dear Sir or Madam, " * 100)
    check(make_app(DATABASE_URL=f"sqlite:///{path}"), "not a SQLite database")


def test_locked_file_is_said_by_every_command(make_app: MakeApp, tmp_path: Path) -> None:
    path = tmp_path / "held.sqlite"
    migrate(f"sqlite:///{path}")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("PRAGMA locking_mode = exclusive")
    holder.execute("BEGIN IMMEDIATE")
    holder.execute("PRAGMA user_version = 1")
    holder.execute("COMMIT")
    try:
        check(make_app(DATABASE_URL=f"sqlite:///{path}"), "database is locked")
    finally:
        holder.close()


IS_IT_NEW = (
    "If it should hold messages, check DATABASE_URL and whether its disk is mounted; "
    "for a new installation run flask db upgrade."
)


def test_missing_file_is_said_and_not_made_by_every_command_but_the_upgrade(
    make_app: MakeApp, tmp_path: Path
) -> None:
    path = tmp_path / "missing.sqlite"
    app = make_app(DATABASE_URL=f"sqlite:///{path}")
    check(app, "does not exist", [name for name in COMMANDS if name != "db upgrade"])
    said = run(app, "users list").stderr
    assert said == f"Error: The database file does not exist (yet). {IS_IT_NEW}\n"
    assert app.test_client().get("/readyz").status_code == 503
    assert not path.exists()
    assert run(app, "db upgrade").exit_code == 0


def test_missing_file_beside_its_log_is_said_and_not_made(
    make_app: MakeApp, tmp_path: Path
) -> None:
    path, log = tmp_path / "lost.sqlite", tmp_path / "lost.sqlite-wal"
    log.write_bytes(b"messages")
    app = make_app(DATABASE_URL=f"sqlite:///{path}")
    check(app, "file is missing, but its -wal file exists")
    assert "put back the very file that was moved" in run(app, "db upgrade").stderr
    assert "flask db upgrade" in app.test_client().get("/readyz").text
    assert not path.exists()
    assert log.read_bytes() == b"messages"


def test_lost_file_is_no_new_installation_to_a_process_that_has_used_it(
    make_app: MakeApp, tmp_path: Path
) -> None:
    path = tmp_path / "used.sqlite"
    migrate(f"sqlite:///{path}")
    app = make_app(DATABASE_URL=f"sqlite:///{path}")
    assert app.test_client().get("/readyz").status_code == 200
    with app.app_context():
        db.engine.dispose()
    path.unlink()
    answer = app.test_client().get("/readyz").text
    assert "deleted or replaced" in answer
    assert "flask db upgrade" not in answer


def test_worker_ends_when_the_file_is_replaced(make_app: MakeApp, tmp_path: Path) -> None:
    path = tmp_path / "used.sqlite"
    migrate(f"sqlite:///{path}")
    app = make_app(DATABASE_URL=f"sqlite:///{path}")
    path.unlink()
    migrate(f"sqlite:///{path}")
    result = run(app, "worker")
    assert (result.exit_code, "deleted or replaced while" in result.stderr) == (1, True)
    with app.app_context(), pytest.raises(OperationalError):
        Worker().run()


def test_file_that_is_replaced_before_it_is_opened_is_not_used(
    make_app: MakeApp, tmp_path: Path
) -> None:
    path = tmp_path / "new.sqlite"
    migrate(f"sqlite:///{path}")
    app = make_app(DATABASE_URL=f"sqlite:///{path}")
    path.rename(tmp_path / "former.sqlite")
    migrate(f"sqlite:///{path}")
    assert "deleted or replaced" in app.test_client().get("/readyz").text
    assert call_back(app.test_client(), fields(sid(1), "sent")).status_code == 503


def test_empty_file_is_said_by_every_command_but_the_upgrade(
    make_app: MakeApp, tmp_path: Path
) -> None:
    path = tmp_path / "empty.sqlite"
    path.touch()
    app = make_app(DATABASE_URL=f"sqlite:///{path}")
    check(app, "file is empty", [name for name in COMMANDS if name != "db upgrade"])
    assert run(app, "users list").stderr == f"Error: The database file is empty. {IS_IT_NEW}\n"
    assert path.stat().st_size == 0


@pytest.mark.parametrize("is_replaced", [False, True])
def test_file_that_is_gone_or_another_one_is_not_ready_and_stores_nothing(
    make_app: MakeApp, tmp_path: Path, is_replaced: bool
) -> None:
    path = tmp_path / "moved.sqlite"
    migrate(f"sqlite:///{path}")
    app = make_app(DATABASE_URL=f"sqlite:///{path}")
    client = app.test_client()
    assert client.get("/readyz").status_code == 200
    path.rename(tmp_path / "elsewhere.sqlite")
    if is_replaced:
        migrate(f"sqlite:///{tmp_path / 'another.sqlite'}")
        (tmp_path / "another.sqlite").rename(path)
    assert "deleted or replaced" in client.get("/readyz").text
    assert call_back(client, fields(sid(1), "sent")).status_code == 503
    assert "deleted or replaced" in client.get("/readyz").text
    stranger = Person(app, "a@example.org")
    page = stranger.post("/auth/sign-in", {"email": stranger.email}).text
    assert "so nothing was saved. Tell whoever runs smstracker." in page
    assert "Try again in a moment" not in page


def test_file_that_cannot_be_written_is_said_by_every_command_that_writes(
    make_app: MakeApp, tmp_path: Path
) -> None:
    path = tmp_path / "mounted.sqlite"
    migrate(f"sqlite:///{path}")
    app = make_app(DATABASE_URL=f"sqlite:///file:{path}?mode=ro&uri=true")
    for name in COMMANDS:
        result = run(app, name)
        assert result.exit_code in (0, 1), name
        assert result.exception is None or isinstance(result.exception, SystemExit), name
    check(app, "cannot be written", WRITING)


def test_server_that_is_away_is_said_by_every_command(make_app: MakeApp) -> None:
    url = f"postgresql://somebody:secret@127.0.0.1:{free_port()}/none"
    check(make_app(DATABASE_URL=url), "refuses connections")


def test_missing_database_is_said_by_every_command(make_app: MakeApp, postgres: str) -> None:
    url = postgres.replace("/postgres?", "/nowhere?")
    check(make_app(DATABASE_URL=url), "no database of this name")


def test_replica_is_said_by_every_command_that_writes(make_app: MakeApp, postgres: str) -> None:
    app = make_app(DATABASE_URL=f"{postgres}&options=-cdefault_transaction_read_only%3Don")
    check(app, "read-only", WRITING)


def test_schema_without_tables_is_said_by_every_command_but_the_migrations(
    make_app: MakeApp, postgres: str
) -> None:
    engine = create_engine(postgres.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS bare"))
    engine.dispose()
    app = make_app(DATABASE_URL=f"{postgres}&options=-csearch_path%3Dbare")
    check(app, "not migrated", [name for name in COMMANDS if name not in MIGRATIONS])


def test_missing_schema_is_said_by_the_upgrade(make_app: MakeApp, postgres: str) -> None:
    app = make_app(DATABASE_URL=f"{postgres}&options=-csearch_path%3Dnowhere")
    check(app, "schema for the tables is missing", ["db upgrade"])


def test_upgrade_says_what_it_did(make_app: MakeApp, tmp_path: Path) -> None:
    app = make_app(DATABASE_URL=f"sqlite:///{tmp_path / 'new.sqlite'}")
    said = run(app, "db upgrade").output
    done = r"The database was brought from empty to (\d{4}): (\d+) steps in \d+\.\d seconds\.\n"
    revision, steps = re.fullmatch(done, said).groups()  # type: ignore[union-attr]
    assert int(revision) == int(steps)
    again = run(app, "db upgrade")
    assert again.output == f"The database is already up to date ({revision}).\n"
    downgraded = run(app, "db downgrade").output
    assert re.match(rf"The database was brought from {revision} to \d+: 1 step in", downgraded)
    assert downgraded.endswith("does not run on that. To get back: flask db upgrade\n")


def test_database_of_a_newer_version_is_said(make_app: MakeApp, tmp_path: Path) -> None:
    path = tmp_path / "newer.sqlite"
    migrate(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    app = make_app(DATABASE_URL=f"sqlite:///{path}")
    assert "newer version" in run(app, "doctor").output
    result = run(app, "db upgrade")
    assert result.exit_code == 1
    assert "'9999'" in result.stderr
