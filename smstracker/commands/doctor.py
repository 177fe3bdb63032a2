"""flask doctor: what is wrong with this installation, and how to fix it."""

import json
from collections.abc import Iterable

import click
from flask.cli import with_appcontext

from smstracker.commands.database_errors import CommandWithPlainErrors
from smstracker.commands.output import echo
from smstracker.doctor.check_result import CheckOutcome, CheckResult, problem
from smstracker.doctor.checks import run_checks


@click.command("doctor", cls=CommandWithPlainErrors)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--fail-on",
    type=click.Choice([CheckOutcome.PROBLEM.value, CheckOutcome.WARNING.value]),
    default=CheckOutcome.PROBLEM.value,
    show_default=True,
    help="End with 1 at this result or a worse one.",
)
@click.pass_context
@with_appcontext
def doctor(context: click.Context, as_json: bool, fail_on: str) -> None:
    """Check settings, Twilio, callbacks, mail and worker. Ends with 1 on a problem.

    It sends no SMS and no mail.
    """
    results = []
    for result in run_checks():
        results.append(result)
        if not as_json:
            echo(_format_line(result))
    if as_json:
        echo(_format_json(results), lines=True)
    if {result.verdict for result in results} & {CheckOutcome.PROBLEM, CheckOutcome(fail_on)}:
        context.exit(1)


def format_settings_problems(problems: Iterable[str]) -> str:
    """The output of `--json` when wrong settings prevent the start of the app."""
    return _format_json(problem("settings", sentence) for sentence in problems)


def _format_json(results: Iterable[CheckResult]) -> str:
    rows = [
        {"check": row.check, "verdict": row.verdict, "found": row.detail, "fix": row.fix}
        for row in results
    ]
    return json.dumps(rows, indent=2)


def _format_line(result: CheckResult) -> str:
    fix = f". Fix: {result.fix}" if result.fix else ""
    return f"{result.verdict:<8} {result.check}: {_uncapitalize(result.detail)}{fix}"


def _uncapitalize(sentence: str) -> str:
    """Begin small after a colon, except with a name."""
    is_name = sentence.startswith("Twilio") or sentence[1:2].isupper()
    return sentence if is_name else sentence[:1].lower() + sentence[1:]
