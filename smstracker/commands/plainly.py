"""Commands that say in a sentence, and not with a trace, that the database is away."""

from typing import Any

import click
from flask.cli import AppGroup

from smstracker.database import UNAVAILABLE


class _Plainly(click.Command):
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UNAVAILABLE as error:
            raise click.ClickException(
                "The database does not answer. Check DATABASE_URL and whether it runs, and with "
                "flask db upgrade whether it is up to date."
            ) from error


class PlainCommand(_Plainly):
    """A command of its own."""


class PlainGroup(_Plainly, AppGroup):
    """Commands under one name."""
