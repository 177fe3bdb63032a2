"""How each user was let in, one spelling for each address, several sign-in links at once.

Databases of before do not say who came in a demo. A demo makes an administrator of everybody at
the first sign-in, a live installation of nobody. So an administrator is taken for a guest of a
demo, and not let in until `flask users add`, if there was a demo (a simulated message is stored,
or the instance folder holds the secrets of one) and

- the row is as old as a sign-in or session of theirs, so that it was made by signing in, or
- they have signed in and sent a simulated message: that they were added before cannot be told.

Other administrators were added. Whoever is no administrator came by SIGN_IN_ALLOW if that named
them as it was read until now, or if signing in made the row, and was added otherwise.
In a demo, which has no such setting and once made nobody an administrator, the former is a guest.

All sessions end if there was a demo, where anybody can sign in as anybody.
"""

import sys
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

import idna
import sqlalchemy as sa
from alembic import op
from flask import current_app

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
# A row that the first sign-in made is that much older than it: less than a person needs.
SAME_MOMENT = timedelta(seconds=1)
LONGEST = 254

USER = sa.table(
    "user",
    sa.column("id", sa.Integer),
    sa.column("email", sa.String),
    sa.column("active", sa.Boolean),
    sa.column("administrator", sa.Boolean),
    sa.column("let_in_by", sa.String),
    sa.column("created_at", MOMENT),
    sa.column("last_sign_in_at", MOMENT),
)
SESSION = sa.table(
    "user_session",
    sa.column("user_id", sa.Integer),
    sa.column("created_at", MOMENT),
    sa.column("is_demo", sa.Boolean),
)
MESSAGE = sa.table("message", sa.column("owner_id", sa.Integer), sa.column("simulated", sa.Boolean))


def upgrade() -> None:
    op.add_column(
        "user",
        sa.Column("let_in_by", sa.String(length=16), nullable=False, server_default="added"),
    )
    op.add_column(
        "user_session",
        sa.Column("is_demo", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    _create_tokens()
    op.create_table(
        "mail_health",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("server_problem", sa.String(length=64), nullable=True),
        sa.Column("server_at", MOMENT, nullable=True),
        sa.Column("refusal", sa.String(length=64), nullable=True),
        sa.Column("refusal_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mail_health")),
    )
    connection = op.get_bind()
    guests = _say_who_was_let_in(connection)
    _report(guests, _spell_alike(connection))


def downgrade() -> None:
    # The older version would let the guests of a demo in, as administrators, and take a session of
    # a demo, where anybody can sign in as anybody, for a real one. Tokens are made anew below.
    op.get_bind().execute(sa.delete(SESSION).where(SESSION.c.is_demo))
    guests = sa.update(USER).where(USER.c.let_in_by == "demo")
    op.get_bind().execute(guests.values(active=sa.false()))
    op.drop_table("mail_health")
    op.drop_table("sign_in_token")
    op.drop_column("user_session", "is_demo")
    op.drop_column("user", "let_in_by")
    op.create_table(
        "sign_in_token",
        sa.Column("email", sa.String(length=254), nullable=False),
        *_token_columns(),
        sa.PrimaryKeyConstraint("email", name=op.f("pk_sign_in_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sign_in_token_token_hash")),
    )
    _index_tokens("browser_hash", "expires_at")


def _create_tokens() -> None:
    """Made anew: a token lives 15 minutes."""
    op.drop_table("sign_in_token")
    op.create_table(
        "sign_in_token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=False),
        *_token_columns(),
        sa.Column("is_demo", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_in_token")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sign_in_token_token_hash")),
    )
    _index_tokens("browser_hash", "email", "expires_at")


def _token_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("token_hash", sa.String(length=64), nullable=False),
        sa.Column("code_hash", sa.String(length=64), nullable=True),
        sa.Column("browser_hash", sa.String(length=64), nullable=True),
        sa.Column("attempts_left", sa.Integer(), nullable=False),
        sa.Column("next_path", sa.String(length=500), nullable=True),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("used_at", MOMENT, nullable=True),
    ]


def _index_tokens(*columns: str) -> None:
    for column in columns:
        op.create_index(op.f(f"ix_sign_in_token_{column}"), "sign_in_token", [column])


def _say_who_was_let_in(connection: sa.Connection) -> int:
    """Fill `let_in_by`; how many are taken for guests of a demo."""
    of_simulated = sa.select(MESSAGE.c.owner_id).where(MESSAGE.c.simulated).distinct()
    simulating = set(connection.scalars(of_simulated))
    settings = current_app.config["SETTINGS"]
    has_secrets = (settings.instance / "demo-auth-token").exists()
    was_demo = bool(simulating) or settings.demo or has_secrets
    times = _sign_in_times(connection)
    guests = 0
    for user in connection.execute(sa.select(USER)).all():
        if user.administrator:
            is_guest = was_demo and _is_guest(user, times[user.id], user.id in simulating)
            way = "demo" if is_guest else "added"
            guests += is_guest
        else:
            is_allowed = _is_made_by_sign_in(user, times[user.id]) or _was_allowed(user.email)
            way = ("demo" if settings.demo else "setting") if is_allowed else "added"
        connection.execute(sa.update(USER).where(USER.c.id == user.id).values(let_in_by=way))
    if was_demo:
        connection.execute(sa.delete(SESSION))
    return guests


def _sign_in_times(connection: sa.Connection) -> dict[int, list[datetime]]:
    """When each user signed in, as far as it is known."""
    times: defaultdict[int, list[datetime]] = defaultdict(list)
    for row in connection.execute(sa.select(SESSION.c.user_id, SESSION.c.created_at)):
        times[row.user_id].append(row.created_at)
    last = sa.select(USER.c.id, USER.c.last_sign_in_at)
    for row in connection.execute(last.where(USER.c.last_sign_in_at.is_not(None))):
        times[row.id].append(row.last_sign_in_at)
    return times


def _is_guest(user: Any, times: list[datetime], has_simulated: bool) -> bool:
    return bool(times) and (has_simulated or _is_made_by_sign_in(user, times))


def _is_made_by_sign_in(user: Any, times: list[datetime]) -> bool:
    return any(abs(moment - user.created_at) < SAME_MOMENT for moment in times)


def _was_allowed(email: str) -> bool:
    """Whether SIGN_IN_ALLOW let this address in as it was read until now: with ss for ß."""
    allow = current_app.config["SETTINGS"].sign_in_allow or ()
    entries = {_as_once_folded(entry) for entry in allow}
    return email in entries or "@" + email.rpartition("@")[2] in entries


def _as_once_folded(entry: str) -> str:
    local, _, domain = entry.rpartition("@")
    try:
        return f"{local}@{idna.decode(domain)}".casefold()
    except idna.IDNAError:
        return entry


def _spell_alike(connection: sa.Connection) -> int:
    """Give every address its one spelling. How many keep theirs, because another row has it.

    They keep their messages, and nobody signs in as them: the one spelling leads to the other row.
    Of two rows that both want it, the active one gets it, then the one that was used last.
    """
    users = connection.execute(sa.select(USER)).all()
    taken = {user.email for user in users}
    newest_first = sorted(
        users, key=lambda u: (u.active, u.last_sign_in_at or u.created_at, u.id), reverse=True
    )
    doubles = 0
    for user in newest_first:
        spelling = _spelling(user.email)
        if spelling == user.email:
            continue
        change: dict[str, Any] = {"email": spelling}
        if spelling in taken:
            doubles += 1
            change = {"active": False}
            connection.execute(sa.delete(SESSION).where(SESSION.c.user_id == user.id))
        taken.add(spelling)
        connection.execute(sa.update(USER).where(USER.c.id == user.id).values(change))
    return doubles


def _spelling(email: str) -> str:
    """With the domain as A-label; what cannot have one stays as it is."""
    local, _, domain = email.rpartition("@")
    try:
        spelling = f"{local}@{idna.encode(domain, uts46=True, transitional=False).decode()}"
    except idna.IDNAError:
        return email
    return spelling if len(spelling) <= LONGEST else email


def _report(guests: int, doubles: int) -> None:
    """Numbers only: what `make run` prints may end up in a log, and `users list` has the names."""
    if guests and not current_app.config["SETTINGS"].demo:
        sys.stdout.write(
            f"Administrators who may have come in a demo, and are not let in any more: {guests}.\n"
            "flask users list names them; flask users add EMAIL --admin lets one in again.\n"
        )
    if doubles:
        sys.stdout.write(
            f"Users who are another spelling of a user, and are deactivated: {doubles}.\n"
            "flask users list names them; their messages are kept.\n"
        )
