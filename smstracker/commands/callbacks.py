"""flask callbacks: list, show and replay refused callbacks."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import click
from sqlalchemy import func, select

from smstracker.command_name import COMMAND
from smstracker.commands.database_errors import DatabaseErrorGroup
from smstracker.commands.output import echo
from smstracker.connection.wording import describe_other_replay
from smstracker.extensions import db
from smstracker.models import RefusedCallback
from smstracker.models.audit_log import COMMAND_LINE
from smstracker.refused.replay import replay, still_refused
from smstracker.refused.request import request_facts
from smstracker.refused.sentences import refusal_reason
from smstracker.refused.stored_diagnosis import diagnose, read_diagnosis

callbacks = DatabaseErrorGroup("callbacks", help="Refused callbacks.")

LIST_LIMIT = 50
BATCH_SIZE = 200
ROW_ID = click.IntRange(1, 2**63 - 1)
ROW_ID.name = f"ID from {COMMAND} callbacks list"  # for the sentence about a wrong one


@callbacks.command("list")
@click.option("--all", "show_all", is_flag=True, help=f"All, not only the newest {LIST_LIMIT}.")
def list_(show_all: bool) -> None:
    """List refused callbacks, newest first: when, why, and the fix."""
    query = RefusedCallback.select_newest().with_only_columns(RefusedCallback.id)
    ids = db.session.scalars(query if show_all else query.limit(LIST_LIMIT)).all()
    for row in _read_explained(ids):
        echo(_format_line(row))
    total = db.session.scalar(select(func.count()).select_from(RefusedCallback)) or 0
    older_count = total - len(ids)
    if older_count > 0 and not show_all:
        echo(f"{older_count} older: {COMMAND} callbacks list --all")
    if not ids:
        echo("No callback was refused.")


@callbacks.command("show")
@click.argument("id_", metavar="ID", type=ROW_ID)
def show(id_: int) -> None:
    """Print all that was stored of a refused callback. The body may hold phone numbers."""
    _require_rows([id_])
    [row] = _read_explained([id_])
    for name, value in _describe(row):
        if value is not None:
            echo(f"{name:24}{value}")
    truncation = "" if row.body_length == len(row.body) else f", the first {len(row.body)} are kept"
    echo(f"\n{row.body_length} bytes{truncation}:", lines=True)
    echo(row.body.decode(errors="backslashreplace"))


@callbacks.command("replay")
@click.argument("ids", metavar="[ID…]", nargs=-1, type=ROW_ID)
@click.option("--all", "replay_all", is_flag=True, help="Replay every callback not applied yet.")
def replay_(ids: Sequence[int], replay_all: bool) -> None:
    """Apply refused callbacks that verify now. The first to arrive is applied first."""
    if bool(ids) == replay_all:
        raise click.UsageError(f"Give IDs from {COMMAND} callbacks list, or --all.")
    _require_rows(ids)
    selected_ids = None if replay_all else list(ids)
    result = replay(selected_ids, COMMAND_LINE)
    echo(f"{result.applied} applied, {result.refused} stay refused")
    if result.applied_by_others:
        echo(describe_other_replay(result.applied_by_others))
    for sentence, count in still_refused(selected_ids):
        echo(f"{count:6}  {sentence}")
    if result.refused and not result.applied:
        echo(
            "Fix what is named there, then replay again. "
            "What none of your tokens or keys signed is never applied."
        )


def _require_rows(ids: Sequence[int]) -> None:
    existing_ids = db.session.scalars(select(RefusedCallback.id).where(RefusedCallback.id.in_(ids)))
    missing_ids = sorted(set(ids) - set(existing_ids))
    if missing_ids:
        raise click.ClickException(f"There is no refused callback {missing_ids[0]}.")


def _read_explained(ids: Sequence[int]) -> Iterator[RefusedCallback]:
    """Diagnose these rows by today's settings and return them, newest first."""
    for start in range(0, len(ids), BATCH_SIZE):
        is_in_batch = RefusedCallback.id.in_(ids[start : start + BATCH_SIZE])
        is_open = RefusedCallback.replayed_at.is_(None)
        diagnose(select(RefusedCallback.id).where(is_in_batch, is_open))
        db.session.commit()
        yield from db.session.scalars(RefusedCallback.select_newest().where(is_in_batch)).all()


def _format_line(row: RefusedCallback) -> str:
    repeats = f"  {row.count} times until {_format_utc(row.last_at)}" if row.count > 1 else ""
    diagnosis, at_fault = read_diagnosis(row)
    setting = f"  [{at_fault}]" if at_fault else ""
    applied = f"  applied {_format_utc(row.replayed_at)}" if row.replayed_at else ""
    why = "" if row.replayed_at else f"{refusal_reason(row.reason)}. "
    return f"{row.id}  {_format_utc(row.first_at)}{repeats}  {why}{diagnosis}{setting}{applied}"


def _describe(row: RefusedCallback) -> list[tuple[str, str | None]]:
    diagnosis, setting = read_diagnosis(row)
    return [
        ("Refused callback", str(row.id)),
        ("Why", refusal_reason(row.reason)),
        ("Diagnosis", diagnosis),
        ("Setting", setting),
        ("First received", _format_utc(row.first_at)),
        ("Times", f"{row.count}, last {_format_utc(row.last_at)}" if row.count > 1 else "1"),
        ("Applied", _format_utc(row.replayed_at) if row.replayed_at else "no"),
        ("Names our account", "yes" if row.is_plausible else "no"),
        ("AccountSid", row.account_sid),
        ("MessageSid", row.twilio_sid),
        ("MessageStatus", row.status),
        *request_facts(row).items(),
        ("Idempotency token", row.idempotency_token),
    ]


def _format_utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
