"""The commands under `flask`."""

from importlib import import_module
from typing import cast

import click
from flask.cli import AppGroup

# The module of each command.
MODULES = {
    "users": "user_accounts",
    "messages": "message_status",
    "callbacks": "callbacks",
    "worker": "worker",
    "purge": "worker",
    "doctor": "doctor",
}


class AppCommands(AppGroup):
    """An app's group of commands that imports ours when they are called.

    Web processes need none of them, and a command none of the others.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *MODULES})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in MODULES:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"{__name__}.{MODULES[cmd_name]}")
        return cast(click.Command, getattr(module, cmd_name))
