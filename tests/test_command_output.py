"""Stored text acts on no terminal, whichever command prints it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask

from config import ROOT
from smstracker import commands
from smstracker.commands import output
from smstracker.commands.database_errors import FOLDER_GONE
from smstracker.extensions import db
from smstracker.models import User
from tests.live_settings import live_environment

HOSTILE = "\x1b[2J\u202e\u0085a@example.org"
SHOWN = r"\x1b[2J\u202e\x85a@example.org"


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["users", "list"], 0),
        (["users", "deactivate", HOSTILE], 1),  # the last administrator: an error names it
        (["users", "delete", HOSTILE, "--erase-messages"], 1),
    ],
)
def test_address_is_escaped(app: Flask, arguments: list[str], exit_code: int) -> None:
    with app.app_context():
        db.session.add(User(email=HOSTILE, administrator=True, let_in_by="added-live"))
        db.session.commit()
    result = app.test_cli_runner().invoke(args=arguments)
    assert result.exit_code == exit_code, result.output
    assert SHOWN in result.output
    assert result.output.replace("\n", "").isprintable()


def test_every_command_prints_through_the_one_place() -> None:
    for path in Path(commands.__file__).parent.glob("*.py"):
        if path != Path(output.__file__):
            text = path.read_text()
            assert "click.echo" not in text, path.name
            assert "click.confirm" not in text, path.name


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [(["backup", "x"], (1, f"Error: {FOLDER_GONE}\n")), (["users", "list"], (0, ""))],
)
def test_deleted_folder_is_said_in_a_sentence(
    app: Flask, tmp_path: Path, arguments: list[str], outcome: tuple[int, str]
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    url = app.config["SETTINGS"].database_url
    command = [sys.executable, "-m", "smstracker.command_line", *arguments]
    environment = live_environment(DATABASE_URL=url) | {"PYTHONPATH": str(ROOT)}
    script = 'rmdir "$PWD"; exec "$@"'
    ended = subprocess.run(
        ["sh", "-c", script, "sh", *command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == outcome
