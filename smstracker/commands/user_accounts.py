"""flask users: who may sign in."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import click

from smstracker.carrier.errors import START_DEMO
from smstracker.clock import format_duration
from smstracker.command_name import COMMAND
from smstracker.commands.database_errors import DatabaseErrorGroup
from smstracker.commands.output import confirm, echo
from smstracker.database.engine import READS_ONLY
from smstracker.extensions import db, settings
from smstracker.models import User
from smstracker.models.audit_log import COMMAND_LINE
from smstracker.models.sign_in import LIFETIME, may_sign_in
from smstracker.models.user_changes import (
    UserChangeError,
    add_user,
    deactivate_user,
    delete_user,
    make_sign_in_link,
    sign_user_out,
)
from smstracker.models.users import get_or_create_user, is_allowed, stored_email
from smstracker.people.admissions import describe_admission
from smstracker.people.user_pages import count_user_messages
from smstracker.plurals import format_count
from smstracker.privacy.former_users import count_unsettled, erase_former_users
from smstracker.settings.mail_addresses import MailAddressError, normalize_email, refuse_pattern
from smstracker.web.urls import sign_in_url, tell_to_sign_in

users = DatabaseErrorGroup("users", help="Who may sign in.")


@contextmanager
def _changing_a_user() -> Iterator[None]:
    """Commit, unless the change is refused: then say why."""
    try:
        yield
    except UserChangeError as error:
        raise click.ClickException(str(error)) from error
    db.session.commit()


def _find_user(email: str) -> User:
    user = db.session.scalar(User.select_by_email(email))
    if user is None:
        raise click.ClickException("There is no user with this address.")
    return user


def _user_to_deactivate(email: str) -> User:
    """The user to deactivate for an address without one: new if SIGN_IN_ALLOW lets it in."""
    try:
        address = normalize_email(email)
    except MailAddressError as error:
        raise click.ClickException(str(error)) from error
    return get_or_create_user(address) if is_allowed(settings(), address) else _find_user(email)


@users.command("add")
@click.argument("email")
@click.option(
    "--admin/--no-admin",
    default=None,
    help="Give or take the administrator role: the page Connection, and everybody's Insights.",
)
def add(email: str, admin: bool | None) -> None:
    """Let EMAIL sign in; a deactivated user is let in again."""
    try:
        refuse_pattern(email)
        address = normalize_email(email)
    except MailAddressError as error:
        raise click.ClickException(str(error)) from error
    with _changing_a_user():
        user = add_user(address, admin, COMMAND_LINE)
    role = " as an administrator" if user.administrator else ""
    if admin is False:
        role = ", without the administrator role"
    next_step = "" if user.last_sign_in_at else tell_to_sign_in()
    echo(f"{user.email} may sign in{role}.{next_step}")


@users.command("list")
def list_() -> None:
    """List users with what lets them in. Each line also has the role and the last sign-in."""
    db.session.connection(execution_options={READS_ONLY: True})
    all_users = db.session.scalars(
        db.select(User).where(User.deleted_at.is_(None)).order_by(User.email)
    ).all()
    if not all_users:
        echo(f"No users yet. Add the first one: {COMMAND} users add EMAIL --admin")
    for user in all_users:
        role = "administrator" if user.administrator else "user"
        at = user.last_sign_in_at
        last_sign_in = f"last sign-in {at:%Y-%m-%d %H:%M} UTC" if at else "never signed in"
        echo(f"{user.email}  {role}  {describe_admission(user)}  {last_sign_in}")


@users.command("deactivate")
@click.argument("email")
def deactivate(email: str) -> None:
    """Keep EMAIL from signing in and end their sessions at once."""
    user = db.session.scalar(User.select_by_email(email))
    new = "cannot sign in. Nobody with this address was added or has signed in yet"
    outcome = "signed out everywhere" if user else new
    user = user or _user_to_deactivate(email)
    with _changing_a_user():
        deactivate_user(user, COMMAND_LINE)
    echo(f"{user.email} is deactivated and {outcome}.")


@users.command("delete")
@click.argument("email")
@click.option("--keep-messages", is_flag=True, help="Keep the messages under “former user”.")
@click.option("--erase-messages", is_flag=True, help="Erase the messages. Asks before.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(email: str, keep_messages: bool, erase_messages: bool, yes: bool) -> None:
    """Delete EMAIL: address, sessions, links and settings.

    Say what becomes of the messages if there are any.
    """
    if keep_messages and erase_messages:
        raise click.UsageError("Give --keep-messages or --erase-messages, not both.")
    user = _find_user(email)
    count = count_user_messages(user)
    if count and not keep_messages and not erase_messages:
        raise click.UsageError(
            f"Say what becomes of {format_count(count, 'message')}: --keep-messages or "
            "--erase-messages."
        )
    address = user.email
    db.session.rollback()  # or callbacks wait for the answer: on SQLite the session may write
    if count and erase_messages and not yes:
        messages = format_count(count, "message")
        confirm(f"Erase {messages} of {address}? This cannot be undone.")
    with _changing_a_user():
        delete_user(user, erase_messages, COMMAND_LINE)
    if user.shut_out_hash:
        echo(f"{address} stays shut out, until users add lets it in again.")
    if not count:
        echo(f"{address} is deleted. There were no messages.")
        return
    if keep_messages:
        echo(f"{address} is deleted. The messages are kept under “{user.email}”.")
        return
    erased = sum(erase_former_users())
    echo(f"{address} is deleted, with {format_count(erased, 'message')}.")
    if unsettled := count_unsettled(user):
        more = format_count(unsettled, "more is", "more are")
        echo(f"{more} under way: the worker erases each once it is settled.")


@users.command("sign-out")
@click.argument("email")
def sign_out(email: str) -> None:
    """End all sessions of EMAIL at once; they may sign in again."""
    user = _find_user(email)
    with _changing_a_user():
        sign_user_out(user, COMMAND_LINE)
    echo(f"{user.email} is signed out everywhere.")


@users.command("sign-in-link")
@click.argument("email")
def sign_in_link(email: str) -> None:
    """Print a link that signs EMAIL in once. It is the way in when mail is down."""
    if not may_sign_in(email):
        raise click.ClickException(f"This address may not sign in. Run {COMMAND} users add first.")
    new_token = make_sign_in_link(stored_email(email), COMMAND_LINE)
    db.session.commit()
    echo(sign_in_url(new_token.token))
    echo(f"(valid {format_duration(LIFETIME)}, once)")
    if settings().demo and not _is_demo_up():
        echo(f"Nothing answers there: {START_DEMO}.", err=True)


def _is_demo_up() -> bool:
    """Whether something listens where the link leads; of a demo that is this machine."""
    address = urlsplit(settings().public_base_url)
    try:
        socket.create_connection((address.hostname, address.port or 80), timeout=2).close()
    except OSError:
        return False
    return True
