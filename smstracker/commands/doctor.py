"""flask doctor: what is wrong with this installation, and what mends it."""

import json
from dataclasses import asdict

import click
from flask.cli import with_appcontext

from smstracker.commands.plainly import PlainCommand
from smstracker.doctor import examine
from smstracker.finding import Finding, Verdict


@click.command("doctor", cls=PlainCommand)
@click.option("--json", "wants_json", is_flag=True, help="For programs.")
@click.pass_context
@with_appcontext
def doctor(context: click.Context, wants_json: bool) -> None:
    """Check settings, Twilio, the way back from Twilio, mail and worker. Ends with 1 if one fails.

    It sends no SMS and no mail.
    """
    findings = []
    for finding in examine():
        findings.append(finding)
        if not wants_json:
            click.echo(_line(finding))
    if wants_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    if any(finding.verdict is Verdict.PROBLEM for finding in findings):
        context.exit(1)


def _line(finding: Finding) -> str:
    fix = f". Fix: {finding.fix}" if finding.fix else ""
    return f"{finding.verdict:<8} {finding.check}: {finding.found}{fix}"
