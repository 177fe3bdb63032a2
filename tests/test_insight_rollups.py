"""Rollups equal a plain count, whatever changes in between; on both databases."""

import itertools
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from flask import Flask
from flask_migrate import downgrade, upgrade
from sqlalchemy import Connection, delete, event, func, insert, select, text, update

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.insights import charts, query, rollup_job
from smstracker.insights.query import InsightsResult, measure
from smstracker.models import (
    FeedCursor,
    InsightCoverage,
    InsightDelivery,
    InsightOutcome,
    InsightRecount,
    Message,
    StatusEvent,
    User,
    insight_coverage,
    message_text,
)
from smstracker.models.event_store import append_event, update_message_facts
from smstracker.models.events import StatusUpdate
from smstracker.models.insight_counts import keep_totals
from smstracker.models.insight_rollups import DAY_SECONDS, QUARTER
from smstracker.sms.status import AWAITING_RECEIPT, RANK, Source, State
from smstracker.web.time_range import TimeRange, read_period
from tests.clients import Person, words

pytestmark = pytest.mark.both_databases


Clock = Any  # a time_machine coordinates object
NOON = datetime(2026, 11, 20, 12, 10, tzinfo=UTC)
MONTH = TimeRange("30d", since=NOON - timedelta(days=30))
CALLING_CODES = {"+4915112345678": "49", "+15558675310": "1", "+35312345678": "353"}
CALLBACK_WORDS = ("sent", "delivered", "undelivered", "read")


def plain_figures(owner_id: int | None, period: TimeRange) -> list[object]:
    """The figures, counted message by message."""
    outcomes: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    by_sender: defaultdict[str, Counter[int]] = defaultdict(Counter)
    by_code: defaultdict[str, Counter[int]] = defaultdict(Counter)
    spend: dict[str, tuple[int, int]] = {}
    for message in db.session.scalars(select(Message)):
        if owner_id in (None, message.owner_id) and is_within(period, message.created_at):
            state = message.display_status(utcnow()).state
            outcomes[state] += 1
            if state is State.FAILED:
                failures[message.error_code or ""] += 1
            if message.price_unit:
                micros, messages = spend.get(message.price_unit, (0, 0))
                spend[message.price_unit] = (micros + (message.price_micros or 0), messages + 1)
            seconds = seconds_to_delivery(message)
            if seconds is not None:
                by_sender[message.sender or ""][duration_bin(seconds)] += 1
                by_code[CALLING_CODES[message.recipient]][duration_bin(seconds)] += 1
    db.session.rollback()
    return [outcomes, failures, spend, by_sender, by_code]


def duration_bin(seconds: int) -> int:
    """The longest duration that is counted as equal to this one: exact below 40 seconds."""
    step = 1
    while seconds >= 40 * step:
        step *= 2
    return seconds // step * step + step - 1


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
    outcomes: Counter[str] = Counter()
    for counts in result.outcomes:
        outcomes.update(counts)
    lists = (result.failures, result.spend, result.by_sender, result.by_calling_code)
    return [+outcomes, *lists]


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
    duration = timedelta(seconds=rng.choice([rng.randrange(200), rng.randrange(9_000)]))
    word = rng.choice([*RANK, "delivered", "delivered", "sent"])
    return Message(
        owner_id=owner_id,
        idempotency_key=uuid.uuid4(),
        recipient=rng.choice(list(CALLING_CODES)),
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


@pytest.mark.slow
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
            for table, rows in ((InsightOutcome, 150), (InsightDelivery, 20)):
                assert (db.session.scalar(select(func.count()).select_from(table)) or 0) > rows
        assert_equals_plain_count(app, me, None)
        for _ in range(4):
            _add_changes(rng, app)
            assert_equals_plain_count(app, me, None)
            run_job(app, clock, rng.randrange(3))
            assert_equals_plain_count(app, me, None)
            clock.shift(rng.randrange(1, 40) * 3600)
            assert_equals_plain_count(app, me, None)


def _add_changes(rng: random.Random, app: Flask, *words: str) -> None:
    with app.app_context(), db.engine.begin() as connection:
        ids = list(connection.scalars(select(Message.id)))
        for message_id in rng.sample(ids, 8):
            word = rng.choice(words or CALLBACK_WORDS)
            status_update = StatusUpdate(word, Source.CALLBACK, {}, error_code="30005")
            append_event(connection, message_id, status_update)
        for message_id in rng.sample(ids, 4):
            update_message_facts(
                connection, message_id, price_micros=-rng.randrange(9999), price_unit="EUR"
            )


@pytest.mark.slow
@pytest.mark.parametrize(
    "zone",
    [
        "Asia/Kathmandu",
        pytest.param("America/St_Johns", marks=pytest.mark.slow),
        pytest.param("UTC", marks=pytest.mark.slow),
    ],
)
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
            for bar, since, until in zip(bars, starts, [*starts[1:], None], strict=True):
                part = TimeRange(
                    since=max(since, period.since or since), until=until or period.until
                )
                assert +Counter(bar.counts) == plain_figures(me, part)[0]


def test_page_reads_the_rollups(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        add_history(random.Random(3), alice)
        run_job(app, clock)
        with app.app_context():
            before = figures(measure(alice.id, TimeRange(), utcnow()))
            # No event records this, so only rollups can give the same figures.
            db.session.execute(
                update(Message)
                .where(Message.created_at < NOON - timedelta(hours=13))
                .where(Message.status.not_in(["pending", *AWAITING_RECEIPT]))
                .values(status="failed", price_micros=1)
            )
            db.session.commit()
            assert figures(measure(alice.id, TimeRange(), utcnow())) == before


def test_write_of_another_worker_in_between_stays(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = rollup_job.count_totals
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(5), alice)
        me = alice.id
        run_job(app, clock, 2)
        reset_coverage()

        def count_late(*args: object) -> object:
            outdated = count(*args)  # type: ignore[arg-type]
            monkeypatch.setattr(rollup_job, "count_totals", count)
            _add_changes(random.Random(5), app)
            run_job(app, clock, 3)
            return outdated

        monkeypatch.setattr(rollup_job, "count_totals", count_late)
        run_job(app, clock, 1)
        assert_equals_plain_count(app, me, None)


def reset_coverage() -> None:
    """Have everything counted again."""
    noon = int(NOON.timestamp()) // DAY_SECONDS * DAY_SECONDS
    with db.engine.begin() as connection:
        connection.execute(update(InsightCoverage).values(since=noon, until=noon))
        connection.execute(delete(InsightOutcome))


@pytest.mark.slow
@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("has_other_writers", [False, True])
def test_event_that_commits_late_is_not_skipped(
    app: Flask, alice: Person, has_other_writers: bool
) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(6), alice)
        me = alice.id
        run_job(app, clock)
        [late, early] = db.session.scalars(
            select(Message.id).where(Message.status == "sent").limit(2)
        ).all()
        db.session.rollback()
        update_to_failed = StatusUpdate("failed", Source.CALLBACK, {})
        with db.engine.connect() as slow:
            append_event(slow, late, update_to_failed)
            with db.engine.begin() as connection:
                append_event(connection, early, update_to_failed)
            run_job(app, clock)
            assert cursor_position() == 0
            assert_equals_plain_count(app, me, None)
            slow.commit()
        assert_equals_plain_count(app, me, None)
        run_job(app, clock)
        assert cursor_position() == 2
        assert_equals_plain_count(app, me, None)


def cursor_position() -> int | None:
    with db.engine.connect() as connection:
        return connection.scalar(select(FeedCursor.position))


def test_job_killed_before_its_commit_counts_the_same_changes_again(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_args: object) -> None:
        raise Killed

    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(16), alice)
        me = alice.id
        run_job(app, clock)
        _add_changes(random.Random(16), app)
        # The cursor is moved, and the old rows are gone, but nothing is committed.
        with monkeypatch.context() as patch:
            patch.setattr(rollup_job, "insert", die)
            with pytest.raises(Killed):
                run_job(app, clock)
        assert cursor_position() == 0
        assert_equals_plain_count(app, me, None)
        run_job(app, clock)
        assert cursor_position() == 8
        assert_equals_plain_count(app, me, None)


def test_recounted_changes_are_deleted(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(7), alice)
        me = alice.id
        run_job(app, clock)
        for _ in range(2):
            _add_changes(random.Random(7), app)
            run_job(app, clock)
            assert not db.session.scalars(select(InsightRecount)).all()
            db.session.rollback()
            assert_equals_plain_count(app, me, None)


def delete_messages(connection: Connection, message_ids: Sequence[int]) -> None:
    keep_totals(connection, message_ids)
    if connection.dialect.name == "postgresql":  # on SQLite, a trigger does that
        is_deleted = message_text.c.message_id.in_(message_ids)
        connection.execute(delete(message_text).where(is_deleted))
    connection.execute(delete(Message).where(Message.id.in_(message_ids)))


@pytest.mark.slow
@pytest.mark.parametrize("is_counted", [False, True])
def test_deleted_messages_keep_their_place_in_the_totals(
    app: Flask, alice: Person, bob: Person, is_counted: bool
) -> None:
    rng = random.Random(17)
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(rng, alice, bob)
        me = alice.id
        # What is still waiting when it is deleted will have no receipt.
        clock.shift(timedelta(days=4))
        day = TimeRange(since=NOON.replace(hour=0, minute=0) - timedelta(days=1), until=NOON)
        ranges = (TimeRange(), MONTH, day)
        if is_counted:
            run_job(app, clock)
        before = [figures(measure(owner, r, utcnow())) for owner in (me, None) for r in ranges]
        for _ in range(2):
            ids = db.session.scalars(select(Message.id)).all()
            db.session.rollback()
            with db.engine.begin() as connection:
                delete_messages(connection, rng.sample(ids, 30))
            for _ in range(2):
                after = [
                    figures(measure(owner, r, utcnow())) for owner in (me, None) for r in ranges
                ]
                db.session.rollback()
                assert after == before
                run_job(app, clock)


def test_all_messages_may_be_deleted(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(18), alice)
        me = alice.id
        clock.shift(timedelta(days=4))
        before, first_at = figures(measure(me, TimeRange(), utcnow())), query.first_counted_at(me)
        db.session.rollback()
        with db.engine.begin() as connection:
            delete_messages(connection, connection.scalars(select(Message.id)).all())
        run_job(app, clock)
        assert figures(measure(me, TimeRange(), utcnow())) == before
        kept_at = query.first_counted_at(me)
        assert first_at
        assert kept_at
        assert timedelta() <= first_at - kept_at < timedelta(seconds=QUARTER)


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
        _add_changes(random.Random(13), app, "read")
        result = measure(me, TimeRange(), utcnow())
        assert figures(result)[1:] == figures(before)[1:]
        assert result.as_of is not None
        assert result.as_of <= measured_at
        assert result.complete_since == before.complete_since


def test_message_that_was_sent_since_the_old_figures_counts_once(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        yesterday = NOON - timedelta(days=1)
        message = alice.has_message(created_at=yesterday, status_at=yesterday)
        run_job(app, clock)
        with db.engine.begin() as connection:
            append_event(connection, message.id, StatusUpdate("sent", Source.LOOKUP, {}))
        monkeypatch.setattr(query, "MAX_LIVE_MESSAGES", 0)
        result = measure(alice.id, TimeRange(), utcnow())
        assert result.as_of is not None
        assert figures(result)[0] == {State.WAITING: 1}
        assert all(count >= 0 for counts in result.outcomes for count in counts.values())


def test_missing_messages_are_older_than_the_page_says(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(14), alice)
        me = alice.id
        alice.has_message()
        run_job(app, clock)
        midnight = int(NOON.timestamp()) // DAY_SECONDS * DAY_SECONDS
        with db.engine.begin() as connection:
            connection.execute(update(InsightCoverage).values(since=midnight - DAY_SECONDS))
            connection.execute(
                delete(InsightOutcome).where(InsightOutcome.bucket < midnight - DAY_SECONDS)
            )
        monkeypatch.setattr(query, "MAX_LIVE_MESSAGES", 0)
        result = measure(me, TimeRange(), utcnow())
        assert result.as_of == NOON.replace(hour=0, minute=0)
        assert result.complete_since
        assert result.complete_since.timestamp() == midnight - DAY_SECONDS
        period = TimeRange(since=result.complete_since, until=result.as_of)
        assert figures(result) == plain_figures(me, period)


def test_worker_that_was_away_for_days_catches_up(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(19), alice)
        me = alice.id
        run_job(app, clock)
        clock.shift(timedelta(days=3))
        alice.has_message(status="delivered")
        _add_changes(random.Random(19), app)
        clock.shift(timedelta(days=3))
        assert_equals_plain_count(app, me, None)
        run_job(app, clock)
        assert_equals_plain_count(app, me, None)
        until = db.session.scalar(select(InsightCoverage.until))
        assert (
            until == int((utcnow() - rollup_job.MIN_AGE).timestamp()) // DAY_SECONDS * DAY_SECONDS
        )


@pytest.mark.slow
def test_migration_has_the_messages_counted_again(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(22), alice)
        me = alice.id
        run_job(app, clock)
        downgrade(revision="0010")
        with db.engine.begin() as connection:
            connection.execute(text("INSERT INTO insight_change (message_id) VALUES (1)"))
            connection.execute(text("INSERT INTO insight_span VALUES (1800, 0, 0, 0, 72, 0)"))
        upgrade()
        assert_equals_plain_count(app, me, None)
        assert cursor_position() == 0
        run_job(app, clock)
        assert_equals_plain_count(app, me, None)


@pytest.mark.slow
@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("is_counted", [False, True])
def test_migration_keeps_the_counts_and_recounts_what_was_left(
    app: Flask, alice: Person, is_counted: bool
) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(24), alice)
        me = alice.id
        clock.shift(timedelta(days=4))
        before = figures(measure(me, TimeRange(), utcnow()))
        ids = db.session.scalars(select(Message.id)).all()
        db.session.rollback()
        with db.engine.begin() as connection:
            delete_messages(connection, ids[:30])
        run_job(app, clock)
        downgrade(revision="0013")
        _count_as_the_release_before(is_counted)
        upgrade()
        coverage = (
            range(day_of(NOON), day_of(NOON) + DAY_SECONDS, DAY_SECONDS) if is_counted else range(0)
        )
        with db.engine.connect() as connection:
            assert insight_coverage.read_coverage(connection) == coverage
            assert connection.scalars(select(InsightRecount.day)).all() == [day_of(NOON)]
        assert cursor_position() == 0
        assert figures(measure(me, TimeRange(), utcnow())) == before
        db.session.rollback()
        run_job(app, clock)
        assert figures(measure(me, TimeRange(), utcnow())) == before


def day_of(moment: datetime) -> int:
    return int(moment.timestamp()) // DAY_SECONDS * DAY_SECONDS


def _count_as_the_release_before(is_counted: bool) -> None:
    """Write what the release before has counted of a day and a half, without its rows."""
    day = day_of(NOON)
    with db.engine.begin() as connection:
        if is_counted:
            coverage = {"since": day, "until": day + DAY_SECONDS + 12 * 3600}
            connection.execute(insert(InsightCoverage).values(name="insights", **coverage))
            connection.execute(insert(FeedCursor).values(name="insights", position=0, version=7))
        recount = text("INSERT INTO insight_recount (quarter) VALUES (:quarter)")
        connection.execute(recount, {"quarter": day + 5 * QUARTER})
        # Without an update, a pending message counts as unknown.
        moved = text("UPDATE insight_outcome SET pending = unknown, unknown = 0")
        connection.execute(moved)


def test_many_changes_are_counted_in_steps(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup_job, "MAX_DAYS", 2)
    monkeypatch.setattr(rollup_job, "MAX_EVENTS", 5)
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(20), alice)
        me = alice.id
        run_job(app, clock)
        for seed in range(3):
            _add_changes(random.Random(seed), app)
        run_job(app, clock)
        assert cursor_position() == 24
        assert_equals_plain_count(app, me, None)
        monkeypatch.setattr(insight_coverage, "MAX_CHANGES", 1)
        assert_equals_plain_count(app, me, None)


def test_changes_in_each_step_do_not_stop_the_counting_of_days(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup_job, "MAX_RUN_SECONDS", -1.0)  # one step
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(25), alice)
        me = alice.id
        for seed in range(4):
            _add_changes(random.Random(seed), app)
            run_job(app, clock, 1)
        with db.engine.connect() as connection:
            days = insight_coverage.read_coverage(connection)
        assert days == range(day_of(NOON) - 3 * DAY_SECONDS, day_of(NOON), DAY_SECONDS)
        assert_equals_plain_count(app, me, None)


def test_changes_all_over_the_range_are_left_to_the_worker(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(23), alice)
        me = alice.id
        run_job(app, clock)
        for seed in range(4):
            _add_changes(random.Random(seed), app)
        assert_equals_plain_count(app, me, None)
        monkeypatch.setattr(query, "MAX_LIVE_RANGES", 3)
        assert measure(me, TimeRange(), utcnow()).as_of
        db.session.rollback()
        run_job(app, clock)
        assert_equals_plain_count(app, me, None)


def test_event_without_a_message_changes_nothing(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(21), alice)
        me = alice.id
        run_job(app, clock)
        with db.engine.begin() as connection:
            row = StatusUpdate("sent", Source.CALLBACK, {}, "SM1").row()
            connection.execute(insert(StatusEvent).values(row))
        run_job(app, clock)
        assert cursor_position() == 1
        assert_equals_plain_count(app, me, None)


def test_last_microsecond_counts_in_its_quarter(app: Flask, alice: Person) -> None:
    # SQLite would round it up to the next second.
    last = NOON.replace(minute=0) - timedelta(hours=27, microseconds=1)
    with time_machine.travel(NOON, tick=False) as clock:
        alice.has_message(created_at=last, status="delivered", status_at=last)
        me = alice.id
        assert_equals_plain_count(app, me, None)
        run_job(app, clock)
        with app.app_context():
            bucket = db.session.scalar(
                select(InsightOutcome.bucket).where(InsightOutcome.owner_id == me)
            )
        assert bucket == NOON.timestamp() // DAY_SECONDS * DAY_SECONDS - 15 * 3600 - QUARTER
        assert_equals_plain_count(app, me, None)


def test_newest_day_has_no_rollup(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        add_history(random.Random(10), alice)
        run_job(app, clock)
        newest = db.session.scalar(select(func.max(InsightOutcome.bucket)))
        assert newest is not None
        assert newest + QUARTER <= NOON.replace(hour=0, minute=0).timestamp()
        assert db.session.scalar(select(func.count()).select_from(User)) == 1


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
        assert "These figures are as of 20 Nov 2026, 00:00:00 UTC" in page
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
        alice.has_message(status="outbox")
        assert_equals_plain_count(app, me, None)
        run_job(app, clock)
        assert_equals_plain_count(app, me, None)


def test_message_of_a_clock_far_ahead_is_counted(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        add_history(random.Random(12), alice)
        alice.has_message(created_at=NOON + timedelta(days=40), status_at=NOON)
        run_job(app, clock)
        assert_equals_plain_count(app, alice.id, None)


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
        assert statements() == count <= 18
