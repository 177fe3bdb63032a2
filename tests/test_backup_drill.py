"""A drill: a backup while messages are under way, then all processes lost, then the restore."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from config import ROOT, load
from smstracker import create_app
from smstracker.extensions import db
from smstracker.models import Message
from tests.chaos_checks import awaiting_lookup, false_statuses, sent_twice, take_snapshot
from tests.chaos_environment import start_environment, wait_until
from tests.chaos_load import FORM, LATER, Load
from tests.databases import DATABASES
from tests.postgresql_programs import path_to_programs
from tests.serving import close

pytestmark = pytest.mark.slow

MESSAGES = 120
SETTLE_SECONDS = 60.0


def run_flask(env: Mapping[str, str], *arguments: str) -> None:
    command = [sys.executable, "-m", "smstracker.command_line", *arguments]
    environment = {**env, "PATH": os.environ["PATH"]}
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def read_bodies(app: Flask) -> list[str]:
    with app.app_context():
        return list(db.session.scalars(select(Message.body)))


@pytest.mark.parametrize("kind", DATABASES)
def test_nothing_that_a_backup_held_is_wrong_after_its_restore(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", path_to_programs())
    path = tmp_path / "backup"
    with start_environment(kind, tmp_path, seed=1, with_worker=True) as environment:
        env = environment.web.env
        ledger = environment.carrier.ledger
        sending = Load.start(environment, MESSAGES, batches=0, ways=(FORM, LATER))
        sending.pool.pace.allow(1)
        try:
            # Those for later wait meanwhile.
            wait_until(lambda: len(ledger.messages()) >= MESSAGES // 8, 60, "messages are sent")
            # In this process: a new one would begin when all is sent.
            made = environment.app.test_cli_runner().invoke(args=["backup", str(path)])
            assert made.exit_code == 0, made.output
        finally:
            sending.pool.join()
        environment.close()
        close(environment.app)
        run_flask(env, "restore", str(path), "--replace")

        environment.app = app = create_app(load(env))
        held = read_bodies(app)
        assert 0 < len(held) < MESSAGES, "the backup was made while messages were sent"
        environment.start()
        environment.let_send_times_come()
        assert ledger.wait_until_idle(120)
        wait_until(lambda: not awaiting_lookup(take_snapshot(app, ledger, held)), SETTLE_SECONDS)
        # As after each outage, only the daily list finds a failure that became a delivery.
        environment.let_a_day_pass()
        wait_until(lambda: not false_statuses(take_snapshot(app, ledger, held)), SETTLE_SECONDS)
        snapshot = take_snapshot(app, ledger, held)
        assert (false_statuses(snapshot), sent_twice(snapshot)) == ([], [])
        close(app)
