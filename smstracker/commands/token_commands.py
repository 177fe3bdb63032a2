"""flask tokens: what programs use to send and read in the name of a user."""

from datetime import datetime, timedelta

import click

from smstracker.clock import utcnow
from smstracker.command_name import COMMAND
from smstracker.commands.database_errors import DatabaseErrorGroup
from smstracker.commands.output import echo
from smstracker.database.engine import READS_ONLY
from smstracker.extensions import db, settings
from smstracker.messages.senders import offered_senders
from smstracker.models import ApiToken, User
from smstracker.models.api_tokens import (
    NAME_LENGTH,
    TokenError,
    TokenRights,
    add_token,
    revoke_token,
)
from smstracker.models.audit_log import COMMAND_LINE
from smstracker.models.sign_in import may_sign_in
from smstracker.models.users import get_or_create_user, stored_email

MAX_ID = 2**31 - 1
MAX_DAYS = 3650

tokens = DatabaseErrorGroup("tokens", help="Programs that send and read in the name of a user.")


def _check_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    name = name.strip()
    if not name or len(name) > NAME_LENGTH or not name.isprintable():
        raise click.BadParameter(f"a name has 1 to {NAME_LENGTH} printable characters.")
    return name


def _check_senders(senders: tuple[str, ...]) -> None:
    offered = offered_senders()
    if unknown := [sender for sender in senders if sender not in offered]:
        raise click.ClickException(f"{unknown[0]} is none of the senders: {', '.join(offered)}.")


@tokens.command("add")
@click.argument("email")
@click.option("--name", required=True, callback=_check_name, help="The name of the program.")
@click.option("--read-only", is_flag=True, help="It may read messages, and send none.")
@click.option(
    "--expires",
    "days",
    metavar="DAYS",
    type=click.IntRange(1, MAX_DAYS),
    help="It ends after so many days; without this, never.",
)
@click.option("--sender", "senders", multiple=True, help="It may send from this alone.")
@click.option("--per-minute", type=click.IntRange(1), help="Messages it may send in a minute.")
@click.option("--per-day", type=click.IntRange(1), help="Messages it may send in a day.")
def add(
    email: str,
    name: str,
    read_only: bool,
    days: int | None,
    senders: tuple[str, ...],
    per_minute: int | None,
    per_day: int | None,
) -> None:
    """Print a new token of EMAIL, once: only its digest is stored."""
    _check_senders(senders)
    if not may_sign_in(email):
        raise click.ClickException(f"This address may not sign in. Run {COMMAND} users add first.")
    owner = db.session.scalar(User.select_by_email(email))
    owner = owner or get_or_create_user(stored_email(email))
    rights = TokenRights(not read_only, senders or None, per_minute, per_day)
    lifetime = timedelta(days=days) if days else None
    try:
        token, secret = add_token(owner, name, rights, lifetime, COMMAND_LINE)
    except TokenError as error:
        raise click.ClickException(str(error)) from error
    db.session.commit()
    echo(secret)
    echo(f"(token {token.id}, shown only now)", err=True)


@tokens.command("list")
def list_() -> None:
    """List the tokens that are not revoked, with rights, end and last use."""
    db.session.connection(execution_options={READS_ONLY: True})
    now = utcnow()
    all_tokens = db.session.scalars(ApiToken.select_unrevoked()).all()
    if not all_tokens:
        echo(f"No tokens. Add one: {COMMAND} tokens add EMAIL --name NAME")
    for token in all_tokens:
        echo("  ".join((str(token.id), token.owner.email, token.name, *_facts(token, now))))


def _facts(token: ApiToken, now: datetime) -> list[str]:
    used_at, expires_at = token.last_used_at, token.expires_at
    facts = ["sends and reads" if token.may_send else "reads only"]
    facts += [f"from {', '.join(token.allowed_senders)}"] if token.allowed_senders else []
    facts += [f"{token.limit_per_minute:,} a minute"] if token.limit_per_minute else []
    facts += [f"{token.limit_per_day:,} a day"] if token.limit_per_day else []
    if not token.owner.has_access(settings()):
        facts.append("its owner may not sign in")
    if expires_at:
        facts.append(f"{'expired' if token.has_expired(now) else 'until'} {_format(expires_at)}")
    return [*facts, f"last used {_format(used_at)}" if used_at else "never used"]


def _format(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


@tokens.command("revoke")
@click.argument("token_id", metavar="ID", type=click.IntRange(1, MAX_ID))
def revoke(token_id: int) -> None:
    """End the token ID at once; what it has queued is still sent."""
    query = ApiToken.select_unrevoked().where(ApiToken.id == token_id)
    token = db.session.scalar(query)
    if token is None:
        raise click.ClickException(f"There is no token {token_id}, or it is revoked already.")
    revoke_token(token, COMMAND_LINE)
    db.session.commit()
    echo(f"Token {token_id} of {token.owner.email} is revoked.")
