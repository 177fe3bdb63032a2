"""What makes the rules of alerts true: rows as messages, callbacks and workers leave them."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from flask import Flask
from sqlalchemy import insert, select, update

from smstracker.alerts import notifier
from smstracker.alerts.evaluation import evaluate
from smstracker.alerts.finding import Finding
from smstracker.alerts.rule_checks import check_rules
from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.extensions import db
from smstracker.health_facts import BACKUP_INTERVAL
from smstracker.models import (
    Alert,
    AlertNotice,
    CallbackTally,
    Heartbeat,
    InsightFailure,
    InsightOutcome,
    Message,
    ScheduledJob,
    SenderPace,
    User,
)
from smstracker.models.callback_counts import bucket_start
from smstracker.models.insight_rollups import DAY_SECONDS, EVERYONE, QUARTER
from smstracker.models.jobs import JobName
from tests.refused_callbacks import refusal

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
DIAGNOSIS = "Valid for http://sms.example.org, but PUBLIC_BASE_URL is https://sms.example.org."
NO_OUTCOMES = dict.fromkeys(("waiting", "failed", "no_receipt", "unknown", "cancelled"), 0)


class Space(NamedTuple):
    """What `shutil.disk_usage` returns, in bytes."""

    total: int
    used: int
    free: int


@contextmanager
def storing(app: Flask) -> Iterator[Any]:
    with app.app_context():
        yield db.session
        db.session.commit()
        db.session.remove()


def add_messages(app: Flask, number: int, **columns: Any) -> None:
    """Store messages of one user, saved a minute ago, with what a test changes."""
    now = utcnow()
    facts = {"status": "sent", "status_source": "send", "body": "x", "media_urls": []}
    facts |= {"recipient": "+15558675310", "simulated": False, "created_at": now - MINUTE}
    facts |= {"status_at": columns.get("created_at", now - MINUTE)}
    with storing(app) as session:
        owner = session.scalar(select(User.id)) or _add_user()
        ids = ({"public_id": uuid.uuid4(), "idempotency_key": uuid.uuid4()} for _ in range(number))
        rows = [{"owner_id": owner, **facts, **columns, **keys} for keys in ids]
        if rows:
            session.execute(insert(Message), rows)


def add_waiting(app: Flask, age: timedelta) -> None:
    """Store a message that nobody has claimed since it could be sent."""
    since = utcnow() - age
    add_messages(app, 1, status="outbox", sender="+15005550006", send_at=since)
    with storing(app) as session:
        session.add(SenderPace(sender="+15005550006", next_at=since))


def _add_user() -> int:
    user = User(email="somebody@example.org", created_at=utcnow())
    db.session.add(user)
    db.session.flush()
    return user.id


def add_outcomes(
    app: Flask, delivered: int = 0, failed: int = 0, code: str = "30034", **columns: Any
) -> None:
    """Store messages that became final ten minutes ago."""
    final = {"status_source": "callback", "final_at": utcnow() - 10 * MINUTE} | columns
    add_messages(app, delivered, status="delivered", **final)
    add_messages(app, failed, status="undelivered", error_code=code, **final)


def add_usual(
    app: Flask, days: int, delivered: int, failed: int, codes: dict[str, int] | None = None
) -> None:
    """Store rollups of each of the past days, all in the quarter of an hour that is now."""
    quarter = int(utcnow().timestamp()) // QUARTER * QUARTER
    outcomes, failures = [], []
    for day in range(1, days + 1):
        key = {"owner_id": EVERYONE, "is_deleted": False}
        counts = NO_OUTCOMES | {"delivered": delivered, "failed": failed}
        bucket = quarter - day * DAY_SECONDS
        outcomes.append(key | counts | {"bucket": bucket})
        failures += [
            key
            | {"bucket": bucket - bucket % DAY_SECONDS, "error_code": code, "messages": messages}
            for code, messages in (codes or {}).items()
        ]
    with storing(app) as session:
        session.execute(insert(InsightOutcome), outcomes)
        if failures:
            session.execute(insert(InsightFailure), failures)


def add_silent(app: Flask, number: int, **columns: Any) -> None:
    """Store messages that Twilio accepted ten minutes ago, of which nothing was heard."""
    now = utcnow()
    times = {"created_at": now - 10 * MINUTE, "accepted_at": now - 10 * MINUTE}
    add_messages(app, number, **times | {"next_lookup_at": now + 5 * MINUTE} | columns)


def add_tally(app: Flask, age: timedelta = timedelta(), **counts: int) -> None:
    """Store counts of callbacks of that age."""
    at = utcnow() - age
    zeros = dict.fromkeys(("accepted", "repeated", "refused"), 0)
    last = at if counts.get("accepted") else None
    with storing(app) as session:
        session.add(
            CallbackTally(
                bucket_at=bucket_start(at), process="p", last_accepted_at=last, **zeros | counts
            )
        )


def add_refused(app: Flask, number: int, **columns: Any) -> None:
    with storing(app) as session:
        session.add_all(
            refusal(utcnow() - MINUTE, **{"diagnosis": DIAGNOSIS, "is_proven": True} | columns)
            for _ in range(number)
        )


def add_alert(app: Flask, rule: str = "callbacks-silent", **columns: Any) -> int:
    """Store an open alert; its id."""
    now = utcnow()
    times = {"began_at": now - 42 * MINUTE, "opened_at": now - 37 * MINUTE, "last_true_at": now}
    facts: dict[str, Any] = {"rule": rule, "subject": "", "counts": {"messages": 6, "accepted": 6}}
    with storing(app) as session:
        alert = Alert(**facts | times | columns)
        session.add(alert)
        session.flush()
        return int(alert.id)


def add_backup(app: Flask, age: timedelta) -> None:
    """Store that a good backup of that age was made."""
    with storing(app) as session:
        times = {"started_at": utcnow() - age, "interval": BACKUP_INTERVAL}
        ScheduledJob.mark_done(session.connection(), JobName.BACKUP, **times)


def add_worker(
    app: Flask, name: str = "w1", age: timedelta = timedelta(), problem: str | None = None
) -> None:
    """Store a heartbeat of that age, of a worker that started an hour before it."""
    beat_at = utcnow() - age
    with storing(app) as session:
        session.add(
            Heartbeat(worker=name, started_at=beat_at - HOUR, beat_at=beat_at, problem=problem)
        )


def remove_silent(app: Flask) -> None:
    """Have all callbacks come after all."""
    with storing(app) as session:
        session.execute(update(Message).values(status_source="callback"))


def find(app: Flask, last_evaluated: datetime | None = None) -> list[Finding]:
    """The rules that open an alert now."""
    with app.app_context(), reading_connection(db.engine) as connection:
        return [true for true in check_rules(connection, utcnow(), last_evaluated) if true.opens]


def found(app: Flask, rule: str) -> dict[str, Any] | None:
    """The counts of a rule that is true, with its subject; None if it is not."""
    findings = [finding for finding in find(app) if finding.rule == rule]
    assert len(findings) < 2
    return {**findings[0].counts, "subject": findings[0].subject} if findings else None


def run_evaluation(app: Flask) -> None:
    with app.app_context():
        assert list(evaluate(None))
        db.session.remove()


def deliver_all(app: Flask) -> None:
    """Send what is due, each channel in a thread as the worker does."""
    with app.app_context():
        works = notifier.deliveries().values()
    threads = [threading.Thread(target=work, args=[app]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def alerts(app: Flask) -> list[Alert]:
    with app.app_context():
        return list(db.session.scalars(select(Alert).order_by(Alert.id)))


def notices(app: Flask) -> list[tuple[str, str, bool]]:
    """Channel, occasion, and whether it was sent, in order."""
    with app.app_context():
        rows = db.session.scalars(select(AlertNotice).order_by(AlertNotice.id))
        return [(row.channel, row.occasion, row.sent_at is not None) for row in rows]
