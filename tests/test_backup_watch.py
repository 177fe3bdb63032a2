"""Backups that stop are told: by doctor after a day, by an alert after two."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import time_machine
from click.testing import Result
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import func, select, text

from config import ROOT
from smstracker import health_facts
from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.doctor.backup_checks import check_backups
from smstracker.doctor.check_result import CheckResult
from smstracker.extensions import db
from smstracker.models import Message, ScheduledJob
from smstracker.models.jobs import JobName
from tests.alert_scenes import HOUR, MINUTE, Space, add_backup, alerts, run_evaluation
from tests.clients import Person
from tests.live_settings import live_environment
from tests.postgresql_programs import path_to_programs
from tests.serving import close

MakeApp = Callable[..., Flask]
DAY = timedelta(days=1)
on_postgresql = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL's programs of the server that the tests use, and an empty disk."""
    monkeypatch.setenv("PATH", path_to_programs())
    monkeypatch.setattr(health_facts.shutil, "disk_usage", lambda _folder: Space(10**12, 0, 10**12))


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(utcnow(), tick=False) as traveller:
        yield traveller


def run(make_app: MakeApp, *arguments: str | Path) -> Result:
    """Run a command as its own process would: with an app of its own."""
    app = make_app()
    result = app.test_cli_runner().invoke(args=[str(argument) for argument in arguments])
    close(app)
    return result


def backup_line(app: Flask, check: str = "backup") -> CheckResult:
    with app.app_context():
        results = {result.check: result for result in check_backups()}
        db.session.remove()
    return results[check]


def newest_backup_at(app: Flask) -> datetime | None:
    with app.app_context(), reading_connection(db.engine) as connection:
        return ScheduledJob.last_done_at(connection, JobName.BACKUP)


def open_alerts(app: Flask) -> list[str]:
    run_evaluation(app)
    return [alert.rule for alert in alerts(app) if alert.opened_at and not alert.ended_at]


def test_backup_is_told_by_the_doctor_until_another_is_due(
    make_app: MakeApp, app: Flask, tmp_path: Path, clock: time_machine.Traveller
) -> None:
    assert (backup_line(app).verdict, backup_line(app).detail) == ("warning", "none is known")
    assert run(make_app, "backup", tmp_path / "a").exit_code == 0
    clock.shift(24 * HOUR)
    assert backup_line(app) == CheckResult("ok", "backup", "the newest was made 1 day ago")
    clock.shift(2 * HOUR)
    result = backup_line(app)
    assert result.verdict == "warning"
    assert result.detail == "the newest was made 1 day ago, and another was due"


def test_backup_that_fails_is_told_until_one_succeeds(
    make_app: MakeApp, app: Flask, tmp_path: Path, clock: time_machine.Traveller
) -> None:
    assert run(make_app, "backup", tmp_path / "missing" / "a").exit_code == 1
    assert backup_line(app).detail == "the newest attempt failed just now; a good one is not known"
    assert run(make_app, "backup", tmp_path / "a").exit_code == 0
    made_at = newest_backup_at(app)
    clock.shift(DAY)
    assert run(make_app, "backup", tmp_path / "a").exit_code == 1  # it exists
    clock.shift(HOUR)
    result = backup_line(app)
    assert result.verdict == "warning"
    assert result.detail == "the newest attempt failed 1 hour ago; a good one was made 1 day ago"
    assert newest_backup_at(app) == made_at
    assert run(make_app, "backup", tmp_path / "b").exit_code == 0
    assert backup_line(app).detail == "the newest was made just now"


def back_up_by_hand(app: Flask, path: Path) -> int:
    """Run the command at a terminal."""
    env = live_environment(DATABASE_URL=app.config["SETTINGS"].database_url)
    command = [sys.executable, "-m", "smstracker.command_line", "backup", str(path)]
    main_side, terminal = os.openpty()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env | {"PATH": path_to_programs()},
        stdin=terminal,
        capture_output=True,
        check=False,
    )
    os.close(main_side)
    os.close(terminal)
    return done.returncode


def test_backup_by_hand_neither_hides_nor_sets_that_the_nightly_one_fails(
    make_app: MakeApp, app: Flask, tmp_path: Path
) -> None:
    assert back_up_by_hand(app, tmp_path / "missing" / "a") == 1
    assert backup_line(app).detail == "none is known"
    assert run(make_app, "backup", tmp_path / "missing" / "a").exit_code == 1
    assert back_up_by_hand(app, tmp_path / "a") == 0
    detail = backup_line(app).detail
    assert detail.startswith("the newest attempt failed ")
    assert "; a good one was made " in detail
    assert run(make_app, "backup", tmp_path / "b").exit_code == 0
    assert backup_line(app).detail == "the newest was made just now"


def test_advice_on_a_server_names_the_journal_of_the_service() -> None:
    code = "from smstracker.alerts.rules import RULES; print(RULES['backups-stopped'].advise(''))"
    env = live_environment(SMSTRACKER_COMMAND="smstracker")
    command = [sys.executable, "-c", code]
    advice = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    journal = "journalctl -u smstracker-backup -n 20"
    assert f"If it fails, {journal} says why; then systemctl start" in advice.stdout
    assert "PATH" not in advice.stdout


@pytest.mark.parametrize(
    ("rule", "act"),
    [
        ("worker-gone", "run systemctl start smstracker-worker, and see in journalctl -u"),
        ("outbox-stuck", "then run systemctl restart smstracker-worker"),
    ],
)
def test_advice_on_a_server_names_the_unit_of_the_worker(rule: str, act: str) -> None:
    code = f"from smstracker.alerts.rules import RULES; print(RULES[{rule!r}].advise(''))"
    env = live_environment(SMSTRACKER_COMMAND="smstracker")
    command = [sys.executable, "-c", code]
    advice = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert act in advice.stdout
    assert "smstracker worker" not in advice.stdout


def test_alert_opens_after_two_missing_backups_and_ends_with_the_next(
    make_app: MakeApp, app: Flask, tmp_path: Path, clock: time_machine.Traveller
) -> None:
    assert open_alerts(app) == []
    add_backup(app, timedelta())
    for hours in (26, 23):
        clock.shift(hours * HOUR)
        assert open_alerts(app) == []
    clock.shift(HOUR)
    assert open_alerts(app) == ["backups-stopped"]
    [alert] = alerts(app)
    assert alert.counts == {"hours": 50}
    assert run(make_app, "backup", tmp_path / "a").exit_code == 0
    clock.shift(MINUTE)
    assert open_alerts(app) == ["backups-stopped"]  # not quiet for long enough
    clock.shift(10 * MINUTE)
    assert open_alerts(app) == []


def test_one_missing_backup_opens_no_alert(app: Flask, clock: time_machine.Traveller) -> None:
    add_backup(app, timedelta())
    clock.shift(48 * HOUR)
    assert open_alerts(app) == []
    add_backup(app, timedelta())
    clock.shift(24 * HOUR)
    assert open_alerts(app) == []
    assert alerts(app) == []


def test_backup_made_once_lets_nobody_expect_another(
    make_app: MakeApp, app: Flask, tmp_path: Path, clock: time_machine.Traveller
) -> None:
    add_backup(app, timedelta())
    assert run(make_app, "backup", tmp_path / "a", "--once").exit_code == 0
    clock.shift(99 * DAY)
    assert open_alerts(app) == []
    sentence = "the last was made 99 days ago with --once, so no other is expected"
    assert backup_line(app) == CheckResult("ok", "backup", sentence)


def test_backup_by_a_clock_that_was_ahead_does_not_keep_the_alert_away(
    app: Flask, clock: time_machine.Traveller
) -> None:
    add_backup(app, -365 * DAY)
    assert open_alerts(app) == []
    clock.shift(25 * HOUR)
    assert open_alerts(app) == ["backups-stopped"]
    assert alerts(app)[0].counts == {"hours": 0}


def test_restored_database_expects_the_next_backup_from_now_on(
    make_app: MakeApp, app: Flask, tmp_path: Path, clock: time_machine.Traveller
) -> None:
    add_backup(app, 40 * HOUR)
    made_at = newest_backup_at(app)
    assert open_alerts(app) == []
    assert len(alerts(app)) == 1  # watched, so that the file holds it
    assert run(make_app, "backup", tmp_path / "a").exit_code == 0
    close(app)
    clock.shift(90 * DAY)
    assert run(make_app, "restore", tmp_path / "a", "--replace").exit_code == 0
    restored = make_app()
    assert newest_backup_at(restored) == made_at
    for hours in (0, 24, 25):
        clock.shift(hours * HOUR)
        assert open_alerts(restored) == []
    clock.shift(HOUR)
    assert open_alerts(restored) == ["backups-stopped"]


@pytest.mark.slow
@pytest.mark.parametrize("revision", ["0011", "0021"])
def test_database_of_an_older_version_is_backed_up_and_restored(
    make_app: MakeApp, app: Flask, alice: Person, tmp_path: Path, revision: str
) -> None:
    alice.has_message()
    with app.app_context():
        downgrade(revision=revision)
    close(app)
    made = run(make_app, "backup", tmp_path / "a")
    assert made.exit_code == 0
    sentence = "Alerts do not know of it: it could not be stored (the database is not migrated).\n"
    assert made.stderr == sentence
    with make_app().app_context():
        upgrade()
        db.engine.dispose()
    assert run(make_app, "restore", tmp_path / "a", "--replace").exit_code == 0
    with make_app().app_context():
        assert db.session.scalar(select(func.count()).select_from(Message)) == 1
        db.session.remove()


@on_postgresql
def test_database_that_takes_no_writes_is_backed_up(
    make_app: MakeApp, app: Flask, tmp_path: Path
) -> None:
    with app.app_context(), db.engine.begin() as connection:
        name = connection.scalar(text("SELECT quote_ident(current_database())"))
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    try:
        result = run(make_app, "backup", tmp_path / "a")
    finally:
        with app.app_context(), db.engine.connect() as connection:
            connection.execute(text("SET TRANSACTION READ WRITE"))
            connection.execute(text(f"ALTER DATABASE {name} RESET default_transaction_read_only"))
            connection.commit()
    assert result.exit_code == 0
    assert result.stderr.startswith("Alerts do not know of it: it could not be stored (")
    assert newest_backup_at(app) is None


@on_postgresql
@pytest.mark.parametrize(
    ("version", "verdict", "detail"),
    [
        ("pg_dump (PostgreSQL) 9.6.24", "warning", "is of version 9, and refuses the server's "),
        ("pg_dump (PostgreSQL) 99.1 (Debian 99.1-1)", "ok", "is of version 99, the server of "),
        (None, "ok", "is not installed here, so flask backup has to run elsewhere"),
    ],
)
def test_doctor_compares_the_programs_with_the_server(
    app: Flask,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str | None,
    verdict: str,
    detail: str,
) -> None:
    if version:
        program = tmp_path / "pg_dump"
        program.write_text(f"#!/bin/sh\necho '{version}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    result = backup_line(app, "pg_dump")
    assert result.verdict == verdict
    assert result.detail.startswith(detail)
    assert bool(result.fix) == (version is None or verdict == "warning")
