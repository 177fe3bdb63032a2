"""flask callbacks: what was refused, why, and how it is applied after all."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import click
from sqlalchemy import func, select

from smstracker.commands.database_errors import DatabaseErrorGroup
from smstracker.extensions import db
from smstracker.models import RefusedCallback
from smstracker.refused.diagnosis import diagnose
from smstracker.refused.replay import replay, still_refused

callbacks = DatabaseErrorGroup("callbacks", help="Callbacks that were refused.")

SHOWN = 50
BATCH = 200
ID = click.IntRange(1, 2**63 - 1)
MEND_FIRST = (
    "Mend what is named there, then replay again. "
    "What none of your tokens has signed is never applied."
)
REASONS = {
    "signature": "signature does not verify",
    "unreadable": "no SID or no status",
    "inbound": "an incoming message",
    "json": "JSON of another webhook",
    "recut": "fields divided anew",
    "not-a-form": "not a form",
    "too-large": "too large",
    "address": "unknown address",
}


@callbacks.command("list")
@click.option("--all", "wants_all", is_flag=True, help=f"Not only the newest {SHOWN}.")
def list_(wants_all: bool) -> None:
    """One line for each, newest first: when, why it was refused, and the fix."""
    newest = RefusedCallback.select_newest().with_only_columns(RefusedCallback.id)
    ids = db.session.scalars(newest if wants_all else newest.limit(SHOWN)).all()
    for row in _explained(ids):
        click.echo(_line(row))
    hidden = 0 if wants_all else _count() - len(ids)
    if hidden > 0:
        click.echo(f"{hidden} older: flask callbacks list --all")
    if not ids:
        click.echo("No callback was refused.")


@callbacks.command("show")
@click.argument("id_", metavar="ID", type=ID)
def show(id_: int) -> None:
    """Everything that is kept about one, body included: it may hold phone numbers."""
    _must_exist([id_])
    [row] = _explained([id_])
    for name, value in _facts(row):
        if value is not None:
            click.echo(f"{name:24}{_printable(value)}")
    cut = "" if row.body_length == len(row.body) else f", the first {len(row.body)} are kept"
    click.echo(f"\n{row.body_length} bytes{cut}:")
    click.echo(_printable(row.body.decode(errors="backslashreplace")))


@callbacks.command("replay")
@click.argument("ids", metavar="[ID…]", nargs=-1, type=ID)
@click.option("--all", "wants_all", is_flag=True, help="All that were not applied yet.")
def replay_(ids: Sequence[int], wants_all: bool) -> None:
    """Apply those that verify with today's settings, in the order in which they came."""
    if bool(ids) == wants_all:
        raise click.UsageError("Say which: IDs of flask callbacks list, or --all.")
    _must_exist(ids)
    chosen = None if wants_all else list(ids)
    replayed = replay(chosen)
    click.echo(f"{replayed.applied} applied, {replayed.refused} stay refused")
    for sentence, count in still_refused(chosen):
        click.echo(f"{count:6}  {sentence}")
    if replayed.refused and not replayed.applied:
        click.echo(MEND_FIRST)


def _count() -> int:
    return db.session.scalar(select(func.count()).select_from(RefusedCallback)) or 0


def _must_exist(ids: Sequence[int]) -> None:
    found = db.session.scalars(select(RefusedCallback.id).where(RefusedCallback.id.in_(ids)))
    missing = sorted(set(ids) - set(found))
    if missing:
        raise click.ClickException(f"There is no refused callback {missing[0]}.")


def _explained(ids: Sequence[int]) -> Iterator[RefusedCallback]:
    """The rows of these ids, newest first, explained by today's settings."""
    for at in range(0, len(ids), BATCH):
        some = RefusedCallback.id.in_(ids[at : at + BATCH])
        diagnose(select(RefusedCallback.id).where(some, RefusedCallback.replayed_at.is_(None)))
        db.session.commit()
        yield from db.session.scalars(RefusedCallback.select_newest().where(some)).all()


def _line(row: RefusedCallback) -> str:
    times = f"  {row.count} times until {_utc(row.last_at)}" if row.count > 1 else ""
    about = f"  [{row.setting}]" if row.setting else ""
    applied = f"  applied {_utc(row.replayed_at)}" if row.replayed_at else ""
    why = REASONS.get(row.reason, row.reason)
    return f"{row.id}  {_utc(row.first_at)}{times}  {why}: {row.diagnosis}{about}{applied}"


def _facts(row: RefusedCallback) -> list[tuple[str, str | None]]:
    return [
        ("Refused callback", str(row.id)),
        ("Why", REASONS.get(row.reason, row.reason)),
        ("Diagnosis", row.diagnosis),
        ("Setting", row.setting),
        ("Came", _utc(row.first_at)),
        ("Times", f"{row.count}, last {_utc(row.last_at)}" if row.count > 1 else "1"),
        ("Applied", _utc(row.replayed_at) if row.replayed_at else "no"),
        ("Names our account", "yes" if row.is_plausible else "no"),
        ("AccountSid", row.account_sid),
        ("MessageSid", row.twilio_sid),
        ("MessageStatus", row.status),
        ("Path and query", row.target),
        ("Host", row.sent_host),
        ("X-Forwarded-Host", row.forwarded_host),
        ("X-Forwarded-Proto", row.forwarded_proto),
        ("Content-Type", row.content_type),
        ("X-Twilio-Signature", row.signature),
        ("Signature settings", row.signature_settings),
        ("Idempotency token", row.idempotency_token),
    ]


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _printable(text: str) -> str:
    """Text of a stranger, without what would move the cursor of a terminal or worse."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
