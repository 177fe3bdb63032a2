"""Rollups equal a plain count, whatever changes in between; on both databases."""

import itertools
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from flask import Flask
from sqlalchemy import delete, event, func, select, update

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.insights import charts, query, rollup_job
from smstracker.insights.query import InsightsResult, measure
from smstracker.models import (
    InsightBucket,
    InsightChange,
    InsightRollup,
    Message,
    User,
    insight_cursor,
)
from smstracker.models.event_store import append_event, update_message_facts
from smstracker.models.events import StatusUpdate
from smstracker.models.insight_rollups import DAY, HALF_HOUR
from smstracker.models.message_totals import Durations, duration_bin
from smstracker.sms.status import RANK, Source
from smstracker.web.time_range import TimeRange, read_period
from tests.clients import Person, words

pytestmark = pytest.mark.both_databases


Clock = Any  # a time_machine coordinates object
NOON = datetime(2026, 11, 20, 12, 10, tzinfo=UTC)
MONTH = TimeRange("30d", since=NOON - timedelta(days=30))
CALLBACK_WORDS = ("sent", "delivered", "undelivered", "read")


def plain_figures(owner_id: int | None, period: TimeRange) -> list[object]:
    """The figures, counted message by message."""
    outcomes: Counter[object] = Counter()
    by_sender: Durations[str | None] = defaultdict(Counter)
    by_prefix: Durations[str] = defaultdict(Counter)
    spend: dict[str | None, tuple[int, int]] = {}
    for message in db.session.scalars(select(Message)):
        if owner_id in (None, message.owner_id) and is_within(period, message.created_at):
            outcomes[str(message.display_status(utcnow()).state), message.error_code] += 1
            micros, count = spend.get(message.price_unit, (0, 0))
            spend[message.price_unit] = (micros + (message.price_micros or 0), count + 1)
            seconds = seconds_to_delivery(message)
            if seconds is not None:
                by_sender[message.sender][duration_bin(seconds)] += 1
                by_prefix[message.recipient[1:4]][duration_bin(seconds)] += 1
    db.session.rollback()
    return [outcomes, by_sender, by_prefix, spend]


def seconds_to_delivery(message: Message) -> int | None:
    if message.status != "delivered" or message.status_source != Source.CALLBACK:
        return None
    accepted_at, final_at = message.accepted_at, message.final_at
    if not accepted_at or not final_at or final_at <= accepted_at:
        return None
    return int(final_at.timestamp()) - int(accepted_at.timestamp())


def is_within(period: TimeRange, moment: datetime) -> bool:
    after_start = not period.since or moment >= period.since
    return after_start and (not period.until or moment < period.until)


def figures(result: InsightsResult) -> list[object]:
    outcomes: Counter[object] = Counter()
    for outcome in result.outcomes:
        outcomes[str(outcome.state), outcome.error_code] += outcome.count
    return [outcomes, result.sums.by_sender, result.sums.by_prefix, result.sums.spend]


def assert_equals_plain_count(app: Flask, *owners: int | None) -> None:
    with app.app_context():
        for owner in owners:
            for period in (TimeRange(), MONTH):
                result = measure(owner, period, utcnow())
                assert result.as_of is None
                assert figures(result) == plain_figures(owner, period)


def run_job(app: Flask, clock: Clock, times: int = 3) -> None:
    """Run the rollup job as the worker does, once each half minute."""
    with app.app_context():
        for _ in range(times):
            clock.shift(31)
            list(rollup_job.roll_up(None))


def add_history(rng: random.Random, *people: Person) -> None:
    for person in people:
        with person.app.app_context():
            owner = person.id
            db.session.add_all([random_message(rng, owner) for _ in range(60)])
            db.session.commit()


def random_message(rng: random.Random, owner_id: int) -> Message:
    created_at = NOON - timedelta(minutes=rng.randrange(3 * 1440))
    duration = timedelta(seconds=rng.randrange(200))
    word = rng.choice([*RANK, "delivered", "delivered", "sent"])
    return Message(
        owner_id=owner_id,
        idempotency_key=uuid.uuid4(),
        recipient=rng.choice(["+4915112345678", "+15558675310"]),
        sender=rng.choice([None, "+15005550006"]),
        body="Hello",
        media_urls=[],
        simulated=False,
        status=word,
        status_source=rng.choice([Source.CALLBACK, Source.LOOKUP]),
        error_code=rng.choice([None, "30003"]),
        created_at=created_at,
        status_at=created_at + duration,
        accepted_at=created_at,
        final_at=created_at + duration if word == "delivered" else None,
        price_micros=-7900 if word == "delivered" else None,
        price_unit="USD" if word == "delivered" else None,
    )


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_rollups_equal_a_plain_count_through_a_history(
    app: Flask, alice: Person, bob: Person, seed: int
) -> None:
    rng = random.Random(seed)
    with time_machine.travel(NOON, tick=False) as clock:
        add_history(rng, alice, bob)
        me = alice.id
        assert_equals_plain_count(app, me, None)
        run_job(app, clock)
        with app.app_context():
            widths = dict(
                db.session.execute(
                    select(InsightBucket.width, func.count()).group_by(InsightBucket.width)
                ).all()  # type: ignore[arg-type]
            )
        assert widths[HALF_HOUR] > 100
        assert widths[DAY] >= 2
        assert_equals_plain_count(app, me, None)
        for _ in range(4):
            _add_changes(rng, app)
            assert_equals_plain_count(app, me, None)
            run_job(app, clock, rng.randrange(3))
            assert_equals_plain_count(app, me, None)
            clock.shift(rng.randrange(1, 40) * 3600)
            assert_equals_plain_count(app, me, None)


def _add_changes(rng: random.Random, app: Flask) -> None:
    with app.app_context(), db.engine.begin() as connection:
        ids = list(connection.scalars(select(Message.id)))
        for message_id in rng.sample(ids, 8):
            word = rng.choice(CALLBACK_WORDS)
            status_update = StatusUpdate(word, Source.CALLBACK, {}, error_code="30005")
            append_event(connection, message_id, status_update)
        for message_id in rng.sample(ids, 4):
            update_message_facts(
                connection, message_id, price_micros=-rng.randrange(9999), price_unit="EUR"
            )


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns", "UTC"])
def test_ranges_that_cut_half_hours_equal_a_plain_count(
    app: Flask, alice: Person, zone: str
) -> None:
    rng = random.Random(15)
    arguments = {"from": "2026-11-18", "to": "2026-11-18", "zone": zone}
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(rng, alice)
        me = alice.id
        run_job(app, clock)
        minutes = [NOON - timedelta(minutes=rng.randrange(3 * 1440)) for _ in range(10)]
        ranges = [
            TimeRange(since=min(pair), until=max(pair)) for pair in itertools.pairwise(minutes)
        ]
        for period in (*ranges, read_period(arguments, utcnow()), read_period({}, utcnow(), "24h")):
            unit, starts = charts.bar_starts(period, NOON - timedelta(days=3), utcnow())
            result = measure(me, period, utcnow(), starts)
            assert figures(result) == plain_figures(me, period)
            bars = charts.bars(result.outcomes, unit, starts, ZoneInfo(zone))
            assert sum(bar.total for bar in bars) == sum(
                outcome.count for outcome in result.outcomes
            )


def test_page_reads_the_rollups(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        add_history(random.Random(3), alice)
        run_job(app, clock)
        with app.app_context():
            before = figures(measure(alice.id, TimeRange(), utcnow()))
            # No event records this, so only rollups can give the same figures.
            db.session.execute(
                update(Message)
                .where(Message.created_at < NOON - timedelta(hours=3))
                .values(status="failed")
            )
            db.session.commit()
            assert figures(measure(alice.id, TimeRange(), utcnow())) == before


def test_another_receipt_window_is_counted_again(
    make_app: Callable[..., Flask], app: Flask, alice: Person
) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        add_history(random.Random(4), alice)
        me = alice.id
        run_job(app, clock)
        other = make_app(RECEIPT_WINDOW_HOURS="5")
        assert_equals_plain_count(other, me, None)
        run_job(other, clock)
        assert_equals_plain_count(other, me, None)


def test_write_of_another_worker_in_between_stays(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = rollup_job.count_by_owner
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(5), alice)
        me = alice.id
        run_job(app, clock, 2)
        with db.engine.begin() as connection:
            connection.execute(delete(InsightBucket))

        def count_late(*args: object) -> object:
            outdated = count(*args)  # type: ignore[arg-type]
            monkeypatch.setattr(rollup_job, "count_by_owner", count)
            _add_changes(random.Random(5), app)
            run_job(app, clock, 3)
            return outdated

        monkeypatch.setattr(rollup_job, "count_by_owner", count_late)
        run_job(app, clock, 1)
        assert_equals_plain_count(app, me, None)


def test_event_that_commits_late_is_not_skipped(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(6), alice)
        me = alice.id
        run_job(app, clock)
        # The newest event is above the complete ids.
        _add_changes(random.Random(6), app)
        list(rollup_job.roll_up(None))
        clock.shift(29)
        list(rollup_job.roll_up(None))
        with db.engine.connect() as connection:
            assert insight_cursor.unfollowed_buckets(
                connection, insight_cursor.read_cursor(connection)
            )
        assert_equals_plain_count(app, me, None)


def test_followed_changes_are_deleted(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(7), alice)
        me = alice.id
        run_job(app, clock)
        for _ in range(2):
            _add_changes(random.Random(7), app)
            run_job(app, clock)
            assert not db.session.scalars(select(InsightChange)).all()
            db.session.rollback()
            assert_equals_plain_count(app, me, None)


def test_page_says_as_of_when_if_it_cannot_count_all(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        alice = Person.signed_in(app, "alice@example.org")
        add_history(random.Random(8), alice)
        run_job(app, clock)
        page = words(alice.get("/insights?period=30d").text)
        assert "Outcomes" in page
        assert "These figures are as of" not in page
        monkeypatch.setattr(query, "MAX_LIVE_MESSAGES", 1)
        alice.has_message(status="sent")
        alice.has_message(status="sent")
        page = words(alice.get("/insights?period=30d").text)
        assert "These figures are as of 20 Nov 2026, 11:00:00 UTC" in page
        with app.app_context():
            assert measure(alice.id, MONTH, utcnow()).outcomes


def test_clock_that_is_put_back_makes_no_message_silent_for_longer(
    app: Flask, alice: Person
) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        add_history(random.Random(11), alice)
        me = alice.id
        clock.shift(timedelta(hours=40))
        run_job(app, clock)
        clock.shift(timedelta(hours=-30))
        assert_equals_plain_count(app, me, None)
        run_job(app, clock)
        assert_equals_plain_count(app, me, None)


def test_message_of_a_clock_far_ahead_is_counted(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        add_history(random.Random(12), alice)
        alice.has_message(created_at=NOON + timedelta(days=40), status_at=NOON)
        run_job(app, clock)
        assert_equals_plain_count(app, alice.id, None)


def test_changes_that_cannot_be_counted_at_once_leave_the_old_figures(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(13), alice)
        me = alice.id
        run_job(app, clock)
        alice.has_message()
        monkeypatch.setattr(query, "MAX_LIVE_MESSAGES", 0)
        before, measured_at = measure(me, TimeRange(), utcnow()), utcnow()
        db.session.rollback()
        _add_changes(random.Random(13), app)
        clock.shift(3600)
        for _ in range(3):  # seen, followed, and not counted again yet
            result = measure(me, TimeRange(), utcnow())
            assert figures(result) == figures(before)
            assert result.as_of is not None
            assert result.as_of <= measured_at
            assert result.complete_since == before.complete_since
            db.session.rollback()
            clock.shift(31)
            rollup_job.follow_changes(utcnow())


def test_missing_messages_are_older_than_the_page_says(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(14), alice)
        me = alice.id
        alice.has_message()
        run_job(app, clock)
        gap = int(NOON.timestamp()) // DAY * DAY - 2 * HALF_HOUR
        with db.engine.begin() as connection:
            connection.execute(delete(InsightBucket).where(InsightBucket.began == gap))
            connection.execute(delete(InsightBucket).where(InsightBucket.width == DAY))
        monkeypatch.setattr(query, "MAX_LIVE_MESSAGES", 0)
        result = measure(me, TimeRange(), utcnow())
        assert result.as_of
        assert result.complete_since
        assert result.complete_since.timestamp() == gap + HALF_HOUR
        period = TimeRange(since=result.complete_since, until=result.as_of)
        assert figures(result) == plain_figures(me, period)


def test_page_without_rollups_does_not_say_that_nothing_was_sent(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(NOON, tick=False):
        alice = Person.signed_in(app, "alice@example.org")
        alice.has_message(status="delivered")
        monkeypatch.setattr(query, "MAX_LIVE_MESSAGES", 0)
        page = words(alice.get("/insights").text)
    assert "No messages in this range" not in page
    assert "not counted yet" in page


def test_number_of_statements_does_not_depend_on_the_data(app: Flask) -> None:
    def statements() -> int:
        log: list[str] = []

        def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
            log.append(statement)

        with app.app_context():
            engine = db.engine
        event.listen(engine, "before_cursor_execute", note)
        assert alice.get("/insights?period=30d").status_code == 200
        event.remove(engine, "before_cursor_execute", note)
        return len(log)

    with time_machine.travel(NOON, tick=False) as clock:
        alice = Person.signed_in(app, "alice@example.org")
        alice.has_message()
        run_job(app, clock)
        count = statements()
        add_history(random.Random(9), alice)
        run_job(app, clock)
        assert statements() == count <= 11


def test_last_microsecond_counts_in_its_half_hour(app: Flask, alice: Person) -> None:
    # SQLite would round it up to the next second.
    last = NOON.replace(minute=0) - timedelta(hours=3, microseconds=1)
    with time_machine.travel(NOON, tick=False) as clock:
        alice.has_message(created_at=last, status="delivered", status_at=last)
        me = alice.id
        assert_equals_plain_count(app, me, None)
        run_job(app, clock)
        with app.app_context():
            start = db.session.scalar(
                select(InsightRollup.began).where(InsightRollup.owner_id == me)
            )
        assert start == NOON.timestamp() // HALF_HOUR * HALF_HOUR - 7 * HALF_HOUR
        assert_equals_plain_count(app, me, None)


def test_newest_hour_has_no_rollup(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(10), alice)
        run_job(app, clock)
        newest = db.session.scalar(select(func.max(InsightRollup.began)))
        assert newest is not None
        assert newest + HALF_HOUR <= (NOON - timedelta(minutes=58)).timestamp()
        assert db.session.scalar(select(func.count()).select_from(User)) == 1
