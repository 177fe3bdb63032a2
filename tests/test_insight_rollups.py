"""What is counted ahead equals a plain count, whatever happens in between; on both databases."""

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
from smstracker.insights import charts, rollup_job
from smstracker.insights import query as reading
from smstracker.insights.query import InsightsResult, measure
from smstracker.models import InsightBucket, InsightChange, InsightTally, Message, User
from smstracker.models.event_store import append_event, update_message_facts
from smstracker.models.events import StatusUpdate
from smstracker.models.insight_rollups import DAY, HALF_HOUR
from smstracker.models.message_totals import Took, duration_bin
from smstracker.sms.status import RANK, Source
from smstracker.web.time_range import TimeRange, read_period
from tests.clients import Person, words

Clock = Any  # what time_machine gives
NOON = datetime(2026, 11, 20, 12, 10, tzinfo=UTC)
MONTH = TimeRange("30d", since=NOON - timedelta(days=30))
CALLED_BACK = ("sent", "delivered", "undelivered", "read")


def plain(owner_id: int | None, period: TimeRange) -> list[object]:
    """The figures, one message after the other."""
    outcomes: Counter[object] = Counter()
    by_sender: Took[str | None] = defaultdict(Counter)
    by_code: Took[str] = defaultdict(Counter)
    spend: dict[str | None, tuple[int, int]] = {}
    for one in db.session.scalars(select(Message)):
        if owner_id in (None, one.owner_id) and is_in(period, one.created_at):
            outcomes[str(one.display_status(utcnow()).state), one.error_code] += 1
            micros, count = spend.get(one.price_unit, (0, 0))
            spend[one.price_unit] = (micros + (one.price_micros or 0), count + 1)
            is_told = one.status == "delivered" and one.status_source == Source.CALLBACK
            if is_told and one.final_at and one.accepted_at and one.final_at > one.accepted_at:
                took = int(one.final_at.timestamp()) - int(one.accepted_at.timestamp())
                by_sender[one.sender][duration_bin(took)] += 1
                by_code[one.recipient[1:4]][duration_bin(took)] += 1
    db.session.rollback()
    return [outcomes, by_sender, by_code, spend]


def is_in(period: TimeRange, made: datetime) -> bool:
    return (not period.since or made >= period.since) and (not period.until or made < period.until)


def found(measured: InsightsResult) -> list[object]:
    outcomes: Counter[object] = Counter()
    for one in measured.outcomes:
        outcomes[str(one.state), one.error_code] += one.count
    return [outcomes, measured.sums.by_sender, measured.sums.by_code, measured.sums.spend]


def check(app: Flask, *owners: int | None) -> None:
    with app.app_context():
        for owner in owners:
            for period in (TimeRange(), MONTH):
                measured = measure(owner, period, utcnow())
                assert measured.as_of is None
                assert found(measured) == plain(owner, period)


def work(app: Flask, clock: Clock, times: int = 3) -> None:
    """The chore, as the worker does it each half minute."""
    with app.app_context():
        for _ in range(times):
            clock.shift(31)
            list(rollup_job.roll_up(None))


def has_history(rng: random.Random, *people: Person) -> None:
    for person in people:
        with person.app.app_context():
            owner = person.id
            for _ in range(60):
                made = NOON - timedelta(minutes=rng.randrange(3 * 1440))
                took = timedelta(seconds=rng.randrange(200))
                word = rng.choice([*RANK, "delivered", "delivered", "sent"])
                db.session.add(
                    Message(
                        owner_id=owner,
                        form_id=uuid.uuid4(),
                        recipient=rng.choice(["+4915112345678", "+15558675310"]),
                        sender=rng.choice([None, "+15005550006"]),
                        body="Hello",
                        media_urls=[],
                        simulated=False,
                        status=word,
                        status_source=rng.choice([Source.CALLBACK, Source.LOOKUP]),
                        error_code=rng.choice([None, "30003"]),
                        created_at=made,
                        status_at=made + took,
                        accepted_at=made,
                        final_at=made + took if word == "delivered" else None,
                        price_micros=-7900 if word == "delivered" else None,
                        price_unit="USD" if word == "delivered" else None,
                    )
                )
            db.session.commit()


@pytest.mark.parametrize("seed", [1, 2])
def test_tallies_equal_a_plain_count_through_a_history(
    app: Flask, alice: Person, bob: Person, seed: int
) -> None:
    rng = random.Random(seed)
    with time_machine.travel(NOON, tick=False) as clock:
        has_history(rng, alice, bob)
        me = alice.id
        check(app, me, None)
        work(app, clock)
        with app.app_context():
            widths = dict(
                db.session.execute(
                    select(InsightBucket.width, func.count()).group_by(InsightBucket.width)
                ).all()  # type: ignore[arg-type]
            )
        assert widths[HALF_HOUR] > 100
        assert widths[DAY] >= 2
        check(app, me, None)
        for _ in range(4):
            _something_happens(rng, app)
            check(app, me, None)
            work(app, clock, rng.randrange(3))
            check(app, me, None)
            clock.shift(rng.randrange(1, 40) * 3600)
            check(app, me, None)


def _something_happens(rng: random.Random, app: Flask) -> None:
    with app.app_context(), db.engine.begin() as connection:
        ids = list(connection.scalars(select(Message.id)))
        for of in rng.sample(ids, 8):
            news = StatusUpdate(rng.choice(CALLED_BACK), Source.CALLBACK, {}, error_code="30005")
            append_event(connection, of, news)
        for of in rng.sample(ids, 4):
            update_message_facts(
                connection, of, price_micros=-rng.randrange(9999), price_unit="EUR"
            )


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/St_Johns", "UTC"])
def test_ranges_that_cut_half_hours_equal_a_plain_count(
    app: Flask, alice: Person, zone: str
) -> None:
    rng = random.Random(15)
    asked = {"from": "2026-11-18", "to": "2026-11-18", "zone": zone}
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        has_history(rng, alice)
        me = alice.id
        work(app, clock)
        minutes = [NOON - timedelta(minutes=rng.randrange(3 * 1440)) for _ in range(10)]
        ranges = [TimeRange(since=min(two), until=max(two)) for two in itertools.pairwise(minutes)]
        for period in (*ranges, read_period(asked, utcnow()), read_period({}, utcnow(), "24h")):
            unit, starts = charts.starts(period, NOON - timedelta(days=3), utcnow())
            measured = measure(me, period, utcnow(), starts)
            counted = found(measured)
            assert counted == plain(me, period)
            bars = charts.bars(measured.outcomes, unit, starts, ZoneInfo(zone))
            assert sum(bar.total for bar in bars) == sum(o.count for o in measured.outcomes)


def test_tallies_are_what_the_page_reads(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        has_history(random.Random(3), alice)
        work(app, clock)
        with app.app_context():
            before = found(measure(alice.id, TimeRange(), utcnow()))
            # No event tells of this, so only what was counted ahead can be what is shown.
            db.session.execute(
                update(Message)
                .where(Message.created_at < NOON - timedelta(hours=3))
                .values(status="failed")
            )
            db.session.commit()
            assert found(measure(alice.id, TimeRange(), utcnow())) == before


def test_another_receipt_window_is_counted_anew(
    make_app: Callable[..., Flask], app: Flask, alice: Person
) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        has_history(random.Random(4), alice)
        me = alice.id
        work(app, clock)
        other = make_app(RECEIPT_WINDOW_HOURS="5")
        check(other, me, None)
        work(other, clock)
        check(other, me, None)


def test_what_another_worker_wrote_meanwhile_stays(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = rollup_job.count_by_owner
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        has_history(random.Random(5), alice)
        me = alice.id
        work(app, clock, 2)
        with db.engine.begin() as connection:
            connection.execute(delete(InsightBucket))

        def count_late(*args: object) -> object:
            old = count(*args)  # type: ignore[arg-type]
            monkeypatch.setattr(rollup_job, "count_by_owner", count)
            _something_happens(random.Random(5), app)
            work(app, clock, 3)
            return old

        monkeypatch.setattr(rollup_job, "count_by_owner", count_late)
        work(app, clock, 1)
        check(app, me, None)


def test_an_event_that_is_committed_late_is_not_passed_over(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        has_history(random.Random(6), alice)
        me = alice.id
        work(app, clock)
        # The newest is at once above what counts as complete.
        _something_happens(random.Random(6), app)
        list(rollup_job.roll_up(None))
        clock.shift(29)
        list(rollup_job.roll_up(None))
        with db.engine.connect() as connection:
            assert rollup_job.insight_buckets.touched_messages(
                connection, rollup_job.insight_buckets.cursor(connection)
            )
        check(app, me, None)


def test_changes_that_were_followed_are_deleted(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        has_history(random.Random(7), alice)
        me = alice.id
        work(app, clock)
        for _ in range(2):
            _something_happens(random.Random(7), app)
            work(app, clock)
            assert not db.session.scalars(select(InsightChange)).all()
            db.session.rollback()
            check(app, me, None)


def test_too_much_to_count_at_once_is_said(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        alice = Person.signed_in(app, "alice@example.org")
        has_history(random.Random(8), alice)
        work(app, clock)
        page = words(alice.get("/insights?period=30d").text)
        assert "Outcomes" in page
        assert "These figures are as of" not in page
        monkeypatch.setattr(reading, "LIVE_MOST", 1)
        alice.has_message(status="sent")
        alice.has_message(status="sent")
        page = words(alice.get("/insights?period=30d").text)
        assert "These figures are as of 20 Nov 2026, 11:00:00 UTC" in page
        with app.app_context():
            assert measure(alice.id, MONTH, utcnow()).outcomes


def test_a_clock_that_is_put_back_makes_nobody_silent_for_longer(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        has_history(random.Random(11), alice)
        me = alice.id
        clock.shift(timedelta(hours=40))
        work(app, clock)
        clock.shift(timedelta(hours=-30))
        check(app, me, None)
        work(app, clock)
        check(app, me, None)


def test_what_was_made_with_a_clock_far_ahead_is_counted(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock:
        has_history(random.Random(12), alice)
        alice.has_message(created_at=NOON + timedelta(days=40), status_at=NOON)
        work(app, clock)
        check(app, alice.id, None)


def test_news_that_cannot_be_counted_at_once_leaves_what_was_known(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        has_history(random.Random(13), alice)
        me = alice.id
        work(app, clock)
        alice.has_message()
        monkeypatch.setattr(reading, "LIVE_MOST", 0)
        before, learned = measure(me, TimeRange(), utcnow()), utcnow()
        db.session.rollback()
        _something_happens(random.Random(13), app)
        clock.shift(3600)
        for _ in range(3):  # looked at, followed, and not counted anew yet
            late = measure(me, TimeRange(), utcnow())
            assert found(late) == found(before)
            assert late.as_of is not None
            assert late.as_of <= learned
            assert late.complete_since == before.complete_since
            db.session.rollback()
            clock.shift(31)
            rollup_job.follow(utcnow())


def test_what_is_left_out_lies_before_the_moment_that_is_told(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        has_history(random.Random(14), alice)
        me = alice.id
        alice.has_message()
        work(app, clock)
        hole = int(NOON.timestamp()) // DAY * DAY - 2 * HALF_HOUR
        with db.engine.begin() as connection:
            connection.execute(delete(InsightBucket).where(InsightBucket.began == hole))
            connection.execute(delete(InsightBucket).where(InsightBucket.width == DAY))
        monkeypatch.setattr(reading, "LIVE_MOST", 0)
        measured = measure(me, TimeRange(), utcnow())
        assert measured.as_of
        assert measured.complete_since
        assert measured.complete_since.timestamp() == hole + HALF_HOUR
        shown = TimeRange(since=measured.complete_since, until=measured.as_of)
        assert found(measured) == plain(me, shown)


def test_nothing_counted_yet_is_not_taken_for_nothing_sent(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(NOON, tick=False):
        alice = Person.signed_in(app, "alice@example.org")
        alice.has_message(status="delivered")
        monkeypatch.setattr(reading, "LIVE_MOST", 0)
        page = words(alice.get("/insights").text)
    assert "Nothing was sent" not in page
    assert "not counted yet" in page


def test_the_page_takes_as_many_statements_for_much_as_for_little(
    app: Flask,
) -> None:
    def statements() -> int:
        seen: list[str] = []

        def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
            seen.append(statement)

        with app.app_context():
            engine = db.engine
        event.listen(engine, "before_cursor_execute", note)
        assert alice.get("/insights?period=30d").status_code == 200
        event.remove(engine, "before_cursor_execute", note)
        return len(seen)

    with time_machine.travel(NOON, tick=False) as clock:
        alice = Person.signed_in(app, "alice@example.org")
        alice.has_message()
        work(app, clock)
        few = statements()
        has_history(random.Random(9), alice)
        work(app, clock)
        assert statements() == few <= 11


def test_the_last_moment_of_a_half_hour_is_of_that_half_hour(app: Flask, alice: Person) -> None:
    # SQLite would round it up to the next second.
    last = NOON.replace(minute=0) - timedelta(hours=3, microseconds=1)
    with time_machine.travel(NOON, tick=False) as clock:
        alice.has_message(created_at=last, status="delivered", status_at=last)
        me = alice.id
        check(app, me, None)
        work(app, clock)
        with app.app_context():
            began = db.session.scalar(select(InsightTally.began).where(InsightTally.owner_id == me))
        assert began == NOON.timestamp() // HALF_HOUR * HALF_HOUR - 7 * HALF_HOUR
        check(app, me, None)


def test_nothing_is_kept_of_the_newest_hour(app: Flask, alice: Person) -> None:
    with time_machine.travel(NOON, tick=False) as clock, app.app_context():
        has_history(random.Random(10), alice)
        work(app, clock)
        newest = db.session.scalar(select(func.max(InsightTally.began)))
        assert newest is not None
        assert newest + HALF_HOUR <= (NOON - timedelta(minutes=58)).timestamp()
        assert db.session.scalar(select(func.count()).select_from(User)) == 1
