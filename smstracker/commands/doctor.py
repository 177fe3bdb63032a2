"""flask doctor: what is wrong with this installation, and what mends it."""

import json
from collections.abc import Iterable
from dataclasses import asdict

import click
from flask.cli import with_appcontext

from smstracker.commands.database_errors import DatabaseErrorCommand
from smstracker.doctor.check_result import CheckOutcome, CheckResult, problem
from smstracker.doctor.checks import examine


@click.command("doctor", cls=DatabaseErrorCommand)
@click.option("--json", "wants_json", is_flag=True, help="For programs.")
@click.option(
    "--fail-on",
    type=click.Choice([CheckOutcome.PROBLEM.value, CheckOutcome.WARNING.value]),
    default=CheckOutcome.PROBLEM.value,
    show_default=True,
    help="The mildest finding that makes it end with 1.",
)
@click.pass_context
@with_appcontext
def doctor(context: click.Context, wants_json: bool, fail_on: str) -> None:
    """Check settings, Twilio, the way back from Twilio, mail and worker. Ends with 1 if one fails.

    It sends no SMS and no mail.
    """
    findings = []
    for finding in examine():
        findings.append(finding)
        if not wants_json:
            click.echo(_line(finding))
    if wants_json:
        click.echo(_as_json(findings))
    failing = {CheckOutcome.PROBLEM, CheckOutcome(fail_on)}
    if any(finding.verdict in failing for finding in findings):
        context.exit(1)


def settings_report(problems: Iterable[str]) -> str:
    """What `--json` prints when the settings are wrong, so that there is no app to examine."""
    return _as_json(problem("settings", sentence) for sentence in problems)


def _as_json(findings: Iterable[CheckResult]) -> str:
    return json.dumps([asdict(finding) for finding in findings], indent=2)


def _line(finding: CheckResult) -> str:
    fix = f". Fix: {finding.fix}" if finding.fix else ""
    return f"{finding.verdict:<8} {finding.check}: {finding.found}{fix}"
