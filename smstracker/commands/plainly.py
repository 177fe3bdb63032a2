"""Commands that say in a sentence, and not with a trace, why the database cannot be used."""

from typing import Any

import click
from flask.cli import AppGroup

from smstracker.database_problems import DATABASE_ERRORS, explain


class Plainly(click.Command):
    """Says a problem of the database in a sentence and ends with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DATABASE_ERRORS as error:
            problem = explain(error)
            if problem is None:
                raise
            raise click.ClickException(problem.sentence) from error


class PlainCommand(Plainly):
    """A command of its own."""


class PlainGroup(Plainly, AppGroup):
    """Commands under one name."""
