"""flask audit: who did what, and when."""

import click

from smstracker.command_name import COMMAND
from smstracker.commands.database_errors import DatabaseErrorGroup
from smstracker.commands.output import echo
from smstracker.database.engine import READS_ONLY
from smstracker.extensions import db
from smstracker.models import AuditEntry
from smstracker.models.audit_log import AuditAction

audit = DatabaseErrorGroup("audit", help="Who did what, and when.")

LIST_LIMIT = 50


@audit.command("list")
@click.option("--all", "show_all", is_flag=True, help=f"All, not only the newest {LIST_LIMIT}.")
@click.option(
    "--action",
    type=click.Choice([str(action) for action in AuditAction]),
    help="Only what was done in this way.",
)
def list_(show_all: bool, action: str | None) -> None:
    """List the audit log, newest first: when, who, what and about whom."""
    db.session.connection(execution_options={READS_ONLY: True})
    query = AuditEntry.select_newest(AuditAction(action) if action else None)
    streamed = query.execution_options(yield_per=500)
    query = streamed if show_all else query.limit(LIST_LIMIT + 1)
    count = 0
    for count, entry in enumerate(db.session.scalars(query), 1):
        if count > LIST_LIMIT and not show_all:
            echo(f"Older: {COMMAND} audit list --all")
            break
        echo(_format_line(entry))
    if count == 0:
        echo("Nothing of this kind is recorded." if action else "Nothing is recorded yet.")


def _format_line(entry: AuditEntry) -> str:
    times = f"  {entry.count_in_words}".rstrip()
    subject = f"  {entry.subject}" if entry.subject else ""
    return f"{entry.at:%Y-%m-%d %H:%M:%S} UTC  {entry.actor or '-'}  {entry.words}{subject}{times}"
