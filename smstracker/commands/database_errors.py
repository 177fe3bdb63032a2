"""Commands that say in a sentence, and not with a trace, what is wrong around them.

That is the database, and whatever takes what they print.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from flask.cli import AppGroup

from smstracker.database.problems import DATABASE_ERRORS, explain


class ReportsDatabaseErrors(click.Command):
    """Says a problem of the database or of its output in a sentence and ends with 1."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with plain_output():  # of --help and --version
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with plain_output():
                return super().invoke(ctx)
        except DATABASE_ERRORS as error:
            problem = explain(error)
            if problem is None:
                raise
            raise click.ClickException(problem.sentence) from error


@contextmanager
def plain_output() -> Iterator[None]:
    """Say that the output cannot be written; a reader who has gone is left to click."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE or not _output_fails():
            raise
        # Python would try once more at its end, and print a trace.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sentence = f"The output cannot be written ({error.strerror}). Look at where it goes."
        raise click.ClickException(sentence) from error


def _output_fails() -> bool:
    """Whether an empty line more cannot be written either: the error may be of another file."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


class DatabaseErrorCommand(ReportsDatabaseErrors):
    """A command of its own."""


class DatabaseErrorGroup(ReportsDatabaseErrors, AppGroup):
    """Commands under one name."""
