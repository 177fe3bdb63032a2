"""The `flask` command of this project, with smstracker's version and without Flask's `.env` loader.

`make` installs it in place of Flask's script, which prints only its own version and ends with a
traceback at an unreadable `.env`.
"""

import atexit
import gc
import importlib.metadata
import os
import platform

import click
from flask import current_app
from flask.cli import FlaskGroup

from smstracker.command_name import COMMAND
from smstracker.commands.database_errors import CommandWithPlainErrors
from smstracker.extensions import db
from smstracker.settings.files import ROOT
from smstracker.version import version


class Commands(CommandWithPlainErrors, FlaskGroup):
    """Our commands, and those of Flask and its extensions."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command and close its database: with the last connection, SQLite removes its log.

        Python's own end does not, see `main`.
        """
        try:
            return super().invoke(ctx)
        finally:
            if current_app:
                db.session.remove()
                db.engine.dispose()


def print_version(context: click.Context, _option: click.Parameter, is_requested: bool) -> None:
    if not is_requested or context.resilient_parsing:
        return
    click.echo(f"smstracker {version()}")
    click.echo(f"Python {platform.python_version()}, Flask {importlib.metadata.version('flask')}")
    context.exit()


version_option = click.Option(
    ["--version"],
    help="Show the version of smstracker.",
    expose_value=False,
    callback=print_version,
    is_flag=True,
    is_eager=True,
)


def main() -> None:
    os.environ.setdefault("FLASK_APP", str(ROOT / "wsgi.py"))
    # Only `config` reads `.env`: it expands no ${…}, and explains what is wrong with a broken file.
    os.environ["FLASK_SKIP_DOTENV"] = "1"
    # At its end Python looks for garbage among all that is loaded: a quarter of a short command.
    atexit.register(gc.freeze)
    group = Commands(
        name=COMMAND, load_dotenv=False, add_version_option=False, params=[version_option]
    )
    group.main(prog_name=COMMAND)


if __name__ == "__main__":
    main()
