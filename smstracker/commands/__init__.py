"""The commands under `flask`."""

from importlib import import_module
from typing import cast

import click
from flask import Flask
from flask.cli import AppGroup, ScriptInfo

from smstracker.extensions import db
from smstracker.settings.files import ROOT

# The module of each command.
MODULES = {
    "users": "user_accounts",
    "tokens": "token_commands",
    "messages": "message_status",
    "batches": "batch_commands",
    "callbacks": "callbacks",
    "alerts": "alert_commands",
    "worker": "worker",
    "purge": "worker",
    "audit": "audit_list",
    "doctor": "doctor",
    "backup": "backup",
    "restore": "backup",
}

MIGRATIONS = "db"
# These check pages too, or what serves them.
NEED_PAGES = ("doctor",)


class AppCommands(AppGroup):
    """An app's group of commands that imports ours when they are called.

    Web processes need none of them, and a command none of the others.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *MODULES, MIGRATIONS})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == MIGRATIONS:
            bind_migrations(_app(ctx))
        if cmd_name in NEED_PAGES and not _app(ctx).blueprints:
            add_pages(_app(ctx))
        if cmd_name not in MODULES:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"{__name__}.{MODULES[cmd_name]}")
        return cast(click.Command, getattr(module, cmd_name))


def _app(ctx: click.Context) -> Flask:
    return ctx.ensure_object(ScriptInfo).load_app()


def bind_migrations(app: Flask) -> None:
    """Give the app its migrations and `flask db`: 12 MB and 0.2 s, which few commands need."""
    migrate = import_module("flask_migrate")
    migrate.Migrate(app, db, directory=str(ROOT / "migrations"), render_as_batch=True)
    commands = migrate.cli.db.commands
    # Their own sentences do not fit into the list of `flask db --help`.
    commands["migrate"].short_help = "Write a migration from changes to the models."
    commands["stamp"].short_help = "Mark the database as of a revision, without migrating."


def add_pages(app: Flask) -> None:
    """Give the app its pages and webhooks: a third of the code, which few commands need."""
    import_module("smstracker.blueprints").init_app(app)
