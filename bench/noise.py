"""A month of ordinary noise, as the worker sees it: outcomes, callbacks, blips and restarts."""

import math
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from random import Random
from typing import Any

from sqlalchemy import delete, insert, update

from smstracker.extensions import db
from smstracker.models import (
    CallbackTally,
    Heartbeat,
    InsightFailure,
    InsightOutcome,
    Message,
    RefusedCallback,
    User,
)
from smstracker.models.callback_counts import bucket_start
from smstracker.models.insight_rollups import DAY_SECONDS, EVERYONE, QUARTER

HISTORY_DAYS = 28
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
STEP = 5 * MINUTE
Row = tuple[str, str | None, datetime]  # status, error code, time
FAILURE_SHARE = 0.06  # in the middle; each day and hour has its own
LOST_SHARE = 0.01  # of the callbacks
UNKNOWN_SHARE = 0.00003  # still, after the searches in Twilio's list
# Shares by hour of the day: a clinic's, with some at night.
HOURS = (1, 1, 1, 1, 1, 2, 4, 8, 14, 16, 14, 12, 8, 10, 12, 12, 10, 8, 6, 4, 3, 2, 1, 1)
CODES = ("30003", "30005", "30006", "30007", "30008", "21610", "30034", "30004", "21211", "21614")
CODE_WEIGHTS = (34, 20, 14, 9, 10, 4, 2, 3, 2, 2)
NO_COUNTS = dict.fromkeys(("accepted", "repeated", "refused", "not_stored"), 0)
NO_OUTCOMES = dict.fromkeys(("waiting", "no_receipt", "unknown", "cancelled"), 0)


class Month:
    """Advances in steps; each hour's messages are stored when the hour has passed."""

    def __init__(self, chance: Random, volume: int, start: datetime) -> None:
        self._chance, self._volume, self._start = chance, volume, start
        self._at = start
        self._day_factor, self._day_failure = 1.0, FAILURE_SHARE
        self._worker = 0
        self._unable_until = start
        self._outcomes = Counter[tuple[int, str]]()
        self._failures = Counter[tuple[int, str]]()

    def fill_history(self) -> None:
        """Store a user, and the rollups of four weeks before the month."""
        with db.engine.begin() as connection:
            connection.execute(insert(User), [{"id": 1, "email": "a@example.org", "active": True}])
            self._start_worker(connection, self._start)
        at = self._start - timedelta(days=HISTORY_DAYS)
        while at < self._start:
            self._begin_day(at)
            self._count(self._draw(at, HOUR))
            at += HOUR

    def advance(self, now: datetime) -> None:
        """Bring the database up to `now`."""
        while self._at + STEP <= now:
            self._begin_day(self._at)
            rows = list(self._draw(self._at, STEP))
            self._count(rows)
            self._store(rows)
            self._at += STEP
        if self._chance.random() < STEP / timedelta(days=3):
            self._unable_until = now + 6 * MINUTE
        problem = "Twilio could not be reached." if now < self._unable_until else None
        with db.engine.begin() as connection:
            connection.execute(update(Heartbeat).values(beat_at=now, problem=problem))
            if (now.hour, now.minute) == (3, 0) and now.day % 7 == 0:  # a deployment
                connection.execute(delete(Heartbeat))
                self._start_worker(connection, now)

    def _start_worker(self, connection: Any, now: datetime) -> None:
        self._worker += 1
        row = {"worker": f"w{self._worker}", "started_at": now, "beat_at": now, "problem": None}
        connection.execute(insert(Heartbeat), [row])

    def _begin_day(self, at: datetime) -> None:
        """Each day has a volume and a failure share of its own; some days have a campaign."""
        if at.hour or at.minute:
            return
        self._store_rollups()
        is_weekend = at.weekday() > 4
        campaign = 2.5 if self._chance.random() < 0.1 else 1.0
        self._day_factor = campaign * (0.3 if is_weekend else 1.0) * self._chance.uniform(0.8, 1.2)
        self._day_failure = FAILURE_SHARE * math.exp(self._chance.gauss(0, 0.25))

    def _draw(self, at: datetime, width: timedelta) -> Iterator[Row]:
        """The messages from `at` on."""
        share = HOURS[at.hour] / sum(HOURS) * (width / HOUR)
        mean = self._volume * self._day_factor * share
        failure = self._day_failure * math.exp(self._chance.gauss(0, 0.15))
        for _ in range(self._poisson(mean)):
            moment = at + self._chance.random() * width
            dice = self._chance.random()
            if dice < UNKNOWN_SHARE:
                yield "unknown", None, moment
            elif dice < failure:
                yield "undelivered", self._chance.choices(CODES, CODE_WEIGHTS)[0], moment
            else:
                yield "delivered", None, moment

    def _poisson(self, mean: float) -> int:
        if mean > 30:
            return max(round(self._chance.gauss(mean, math.sqrt(mean))), 0)
        limit, count, product = math.exp(-mean), 0, self._chance.random()
        while product > limit:
            count, product = count + 1, product * self._chance.random()
        return count

    def _store(self, rows: list[Row]) -> None:
        chance = self._chance
        messages, accepted = [], 0
        for status, code, moment in rows:
            is_lost = chance.random() < LOST_SHARE
            accepted += not is_lost
            messages.append(_message(status, code, moment, "lookup" if is_lost else "callback"))
        counts = NO_COUNTS | {"accepted": accepted * 2}
        if chance.random() < 1 / 600:  # the database was locked for a moment
            counts["not_stored"] = chance.randint(1, 4)
        bucket = bucket_start(self._at)
        last = self._at + 4 * MINUTE if accepted else None
        with db.engine.begin() as connection:
            if messages:
                connection.execute(insert(Message), messages)
            tally = {"bucket_at": bucket, "process": "p", "last_accepted_at": last}
            connection.execute(insert(CallbackTally), [tally | counts])
            if chance.random() < 1 / 4000:  # a setting was wrong for a moment
                connection.execute(insert(RefusedCallback), [_refusal(self._at)])

    def _count(self, rows: Iterable[Row]) -> None:
        for status, code, moment in rows:
            second = int(moment.timestamp())
            if status != "unknown":
                self._outcomes[second // QUARTER * QUARTER, "failed" if code else "delivered"] += 1
            if code:
                self._failures[second // DAY_SECONDS * DAY_SECONDS, code] += 1

    def _store_rollups(self) -> None:
        """Store what was counted of the past day, as the worker does."""
        key = {"owner_id": EVERYONE, "is_deleted": False}
        buckets = sorted({bucket for bucket, _ in self._outcomes})
        outcomes = [
            key
            | NO_OUTCOMES
            | {"bucket": bucket}
            | {name: self._outcomes[bucket, name] for name in ("failed", "delivered")}
            for bucket in buckets
        ]
        failures = [
            key | {"bucket": day, "error_code": code, "messages": messages}
            for (day, code), messages in self._failures.items()
        ]
        with db.engine.begin() as connection:
            for table, rows in ((InsightOutcome, outcomes), (InsightFailure, failures)):
                if rows:
                    connection.execute(insert(table), rows)
        self._outcomes.clear()
        self._failures.clear()


def _message(status: str, code: str | None, moment: datetime, source: str) -> dict[str, object]:
    is_final = status != "unknown"
    return {
        "public_id": uuid.uuid4(),
        "idempotency_key": uuid.uuid4(),
        "owner_id": 1,
        "recipient": "+12025550123",
        "recipient_reversed": "32105552021",
        "body": "x",
        "media_urls": [],
        "simulated": False,
        "status": status,
        "status_at": moment,
        "status_source": source if is_final else "send",
        "error_code": code,
        "created_at": moment,
        "accepted_at": moment if is_final else None,
        "final_at": moment + (6 * MINUTE if source == "lookup" else MINUTE / 10)
        if is_final
        else None,
    }


def _refusal(at: datetime) -> dict[str, object]:
    facts = {"reason": "signature", "is_plausible": True, "is_proven": True, "target": "/"}
    times = {"first_at": at, "last_at": at, "count": 1}
    return {"fingerprint": uuid.uuid4().hex, "body": b"", "body_length": 0, **facts, **times}
