"""flask users: who may sign in."""

import click
from email_validator import EmailNotValidError, validate_email

from smstracker.addresses import absolute
from smstracker.commands.plainly import PlainGroup
from smstracker.database import READS_ONLY
from smstracker.extensions import db
from smstracker.models import SignInToken, User
from smstracker.models.sign_in import may_sign_in
from smstracker.models.users import fold

users = PlainGroup("users", help="Who may sign in.")


def _user(email: str) -> User:
    user = db.session.scalar(User.by_email(email))
    if user is None:
        raise click.ClickException("There is no user with this address.")
    return user


@users.command("add")
@click.argument("email")
@click.option("--admin", is_flag=True, help="May see the health of the connection to Twilio.")
def add(email: str, admin: bool) -> None:
    """Let EMAIL sign in; a deactivated user is let in again."""
    try:
        validate_email(email, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise click.ClickException("That does not look like an e-mail address.") from error
    user = db.session.scalar(User.by_email(email))
    if user is None:
        user = User(email=fold(email))
        db.session.add(user)
    user.active = True
    user.administrator = user.administrator or admin
    db.session.commit()
    click.echo(f"{user.email} may sign in{' as an administrator' if user.administrator else ''}.")


@users.command("list")
def list_() -> None:
    """One line for each user."""
    db.session.connection(execution_options={READS_ONLY: True})
    for user in db.session.scalars(db.select(User).order_by(User.email)):
        role = "administrator" if user.administrator else "sender"
        last = user.last_sign_in_at
        seen = f"last sign-in {last:%Y-%m-%d %H:%M} UTC" if last else "never signed in"
        click.echo(f"{user.email}  {role}  {'active' if user.active else 'deactivated'}  {seen}")


@users.command("deactivate")
@click.argument("email")
def deactivate(email: str) -> None:
    """Shut EMAIL out and end their sessions at once."""
    user = _user(email)
    user.deactivate()
    db.session.commit()
    click.echo(f"{user.email} is deactivated and signed out everywhere.")


@users.command("sign-out")
@click.argument("email")
def sign_out(email: str) -> None:
    """End all sessions of EMAIL at once; they may sign in again."""
    user = _user(email)
    user.end_sessions()
    db.session.commit()
    click.echo(f"{user.email} is signed out everywhere.")


@users.command("sign-in-link")
@click.argument("email")
def sign_in_link(email: str) -> None:
    """Print a link that signs EMAIL in once: the way in when mail is down."""
    if not may_sign_in(email):
        raise click.ClickException("This address may not sign in: flask users add, first.")
    issued = SignInToken.issue(email)
    db.session.commit()
    click.echo(absolute("auth.link", token=issued.token))
