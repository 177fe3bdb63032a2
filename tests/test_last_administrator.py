"""Two administrators demote each other at the same moment: one of them stays."""

from collections.abc import Callable
from threading import Event, Thread

import pytest
from flask import Flask
from sqlalchemy import select

from smstracker.extensions import db
from smstracker.models import AuditEntry, User
from smstracker.models.audit_log import AuditAction
from smstracker.models.user_changes import (
    LastAdministratorError,
    deactivate_user,
    delete_user,
    take_administrator,
)
from tests.databases import await_lock_wait

pytestmark = pytest.mark.both_databases

ANN, BOB = "ann@example.org", "bob@example.org"
Change = Callable[[User, str], None]


def delete(user: User, actor: str) -> None:
    delete_user(user, False, actor)


CHANGES = (take_administrator, deactivate_user, delete)


def find(email: str) -> User:
    return db.session.scalars(User.select_by_email(email)).one()


@pytest.fixture
def two_administrators(app: Flask) -> Flask:
    for email in (ANN, BOB):
        app.test_cli_runner().invoke(args=["users", "add", email, "--admin"])
    return app


def change_at_once(app: Flask, emails: tuple[str, str], change: Change) -> str:
    """Change the second user while the change of the first is not committed; how that ends."""
    outcomes, has_begun = list[str](), Event()

    def change_second() -> None:
        with app.app_context():
            # Read before the other change is known; on SQLite this waits for it.
            user = find(emails[1])
            has_begun.set()
            try:
                change(user, BOB)
                db.session.commit()
                outcomes.append("changed")
            except LastAdministratorError:
                outcomes.append("refused")
            db.session.rollback()

    thread = Thread(target=change_second)
    with app.app_context():
        is_sqlite = db.engine.dialect.name == "sqlite"
        change(find(emails[0]), ANN)
        thread.start()
        if not is_sqlite:
            assert has_begun.wait(20)
            await_lock_wait()
        db.session.commit()
    thread.join(20)
    [outcome] = outcomes
    return outcome


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("change", CHANGES)
def test_second_change_waits_for_the_first_and_is_refused(
    two_administrators: Flask, change: Change
) -> None:
    assert change_at_once(two_administrators, (BOB, ANN), change) == "refused"
    with two_administrators.app_context():
        remaining = select(User.email).where(User.administrator, User.active)
        assert db.session.scalars(remaining).all() == [ANN]


def test_role_that_is_taken_twice_at_once_is_recorded_once(two_administrators: Flask) -> None:
    assert change_at_once(two_administrators, (ANN, ANN), take_administrator) == "changed"
    with two_administrators.app_context():
        taken = AuditEntry.action == AuditAction.TOOK_ADMINISTRATOR
        assert db.session.scalars(select(AuditEntry.subject).where(taken)).all() == [ANN]
