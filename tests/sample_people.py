"""Users, sessions and an audit log for the pages of people: all that these pages can show."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, insert, select

from smstracker.models import AuditEntry, User, UserSession
from smstracker.models.audit_log import AuditAction

LONG_DOMAIN = "a-very-long-name-of-a-department-of-a-hospital.clinic.example.org"
BROWSERS = ("Firefox on Linux", "Safari on iPhone", "Samsung Internet on Android", None)
SESSIONS, ENTRIES = 40, 130


def insert_people(connection: Connection, email: str, now: datetime) -> None:
    """Insert users in each state; sessions and acts are of the user with this address."""
    users = (
        {"email": "gone@elsewhere.example", "active": False, "let_in_by": "added"},
        {"email": "was.allowed@elsewhere.example", "let_in_by": "setting"},
        {"email": f"{'x' * 60}@{LONG_DOMAIN}", "administrator": True, "last_sign_in_at": now},
    )
    for user in users:
        connection.execute(insert(User).values(created_at=now, **user))
    user_id = connection.scalar(select(User.id).where(User.email == email))
    for number in range(SESSIONS):
        connection.execute(
            insert(UserSession).values(
                user_id=user_id,
                key_hash=f"sample {number}",
                created_at=now - timedelta(hours=number + 1),
                used_at=now - timedelta(minutes=20 * number + 10),
                browser_name=BROWSERS[number % len(BROWSERS)],
            )
        )
    actions = [*AuditAction]
    for number in range(ENTRIES):
        action = actions[number % len(actions)]
        is_refusal = action is AuditAction.SIGN_IN_REFUSED
        connection.execute(
            insert(AuditEntry).values(
                at=now - timedelta(minutes=10 * (ENTRIES - number)),
                action=action,
                actor="" if is_refusal else email,
                subject=users[number % len(users)]["email"],
                count=17 if is_refusal else 1,
            )
        )
