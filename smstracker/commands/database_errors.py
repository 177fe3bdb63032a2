"""Commands that report trouble with the database, their output or folder in a sentence."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
from flask.cli import AppGroup

from smstracker.database.problems import DATABASE_ERRORS, explain
from smstracker.sms.typed_text import escape_invisible

FOLDER_GONE = "The folder in which you are was deleted. Change to another one: cd ~"


class CommandWithPlainErrors(click.Command):
    """Report a failure of the database or the output in a sentence and end with 1."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with report_output_errors():  # of --help and --version
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> object:
        try:
            with report_output_errors():
                return super().invoke(ctx)
        except DATABASE_ERRORS as error:
            problem = explain(error)
            if problem is None:
                raise
            raise click.ClickException(problem.sentence) from error
        except FileNotFoundError as error:
            if not is_folder_gone():
                raise
            raise click.ClickException(FOLDER_GONE) from error
        except click.ClickException as error:
            sentence = escape_invisible(error.message, allowed="\n")
            error.message = sentence  # type: ignore[misc]
            raise


@contextmanager
def report_output_errors() -> Iterator[None]:
    """Report that the output cannot be written; click handles a closed pipe."""
    try:
        yield
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if error.errno == errno.EPIPE or not _is_output_broken():
            raise
        # Python would flush once more at exit, and print a trace.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sentence = f"The output cannot be written ({error.strerror}). Check where it goes."
        raise click.ClickException(sentence) from error


def is_folder_gone() -> bool:
    """Whether the current folder was deleted, so that relative names mean nothing."""
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _is_output_broken() -> bool:
    """Whether stdout fails; the error may be of another file."""
    try:
        print(flush=True)
    except OSError:
        return True
    return False


class DatabaseErrorGroup(CommandWithPlainErrors, AppGroup):
    """A group of commands."""
