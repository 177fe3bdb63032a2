"""flask messages erase: all that is held of a person's number."""

import sys

import click
from flask.cli import with_appcontext

from smstracker.command_name import COMMAND
from smstracker.commands.database_errors import CommandWithPlainErrors
from smstracker.commands.output import confirm, echo
from smstracker.extensions import settings
from smstracker.models.audit_log import COMMAND_LINE
from smstracker.plurals import format_count
from smstracker.privacy import erasure
from smstracker.privacy.disk_traces import vacuum
from smstracker.privacy.typed_texts import count_typed_texts, describe_typed_texts
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError


@click.command("erase", cls=CommandWithPlainErrors)
@click.option("--yes", is_flag=True, help="Do not ask; the number comes from standard input.")
@click.option("--at-twilio/--not-at-twilio", default=None, help="Delete the messages there too.")
@click.option("--vacuum", "is_vacuum", is_flag=True, help="Write the SQLite file anew afterwards.")
@with_appcontext
def erase(yes: bool, at_twilio: bool | None, is_vacuum: bool) -> None:
    """Erase all that is held of a person. Asks for the number, which is no argument."""
    number = _read_number(yes)
    records = erasure.read_records(number)
    for kind, count in records.counts().items():
        echo(f"{count:>6}  {kind}")
    if records.is_empty:
        echo("Nothing is held of this number.")
        _report_texts(count_typed_texts(number))
        return
    if records.is_interrupted:
        echo("An erasure of this number was interrupted. This one finishes it.")
    if not yes:
        confirm("Erase all of it? This cannot be undone.")
    wants_twilio = settings().redact_at_twilio if at_twilio is None else at_twilio
    result = erasure.erase(number, at_twilio=wants_twilio, actor=COMMAND_LINE)
    if result.is_shared:
        echo("Another request erases all of it already. Its receipt is yours too.")
    echo(f"Receipt {result.receipt}")
    if left_count := erasure.count_left(result.receipt):
        left = format_count(left_count, "message or callback is", "messages or callbacks are")
        echo(f"{left} under way; the worker erases them once they are settled.")
    _report_twilio(wants_twilio)
    _report_texts(result.typed_text_count)
    if is_vacuum:
        vacuum()
    elif result.has_traces:
        echo(
            "An unused part of the database file still holds the number. "
            f"Run {COMMAND} purge --vacuum at a quiet time."
        )


def _report_texts(count: int) -> None:
    if count:
        echo(describe_typed_texts(count))


def _report_twilio(wants_twilio: bool) -> None:
    if wants_twilio:
        echo(
            "The worker deletes the messages at Twilio. The receipt, on the page Privacy, says how "
            "far it is."
        )
    else:
        echo("Nothing is deleted at Twilio: add --at-twilio for that.")


def _read_number(from_input: bool) -> str:
    """Read a number in any spelling, without showing it. Raises ClickException."""
    typed = sys.stdin.readline() if from_input else click.prompt("Phone number", hide_input=True)
    try:
        return parse_recipient(typed.strip(), settings().default_region)
    except PhoneNumberError as error:
        raise click.ClickException(str(error)) from error
