"""The figures of /insights, on both databases."""

import html
import itertools
import random
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import time_machine
from flask import Flask
from sqlalchemy import update

from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.insights import charts, figures
from smstracker.insights.query import measure
from smstracker.models import Message, User
from smstracker.models.event_store import append_event
from smstracker.models.events import StatusUpdate
from smstracker.percentages import format_share
from smstracker.sms.status import RANK, Source, State
from smstracker.web.time_range import TimeRange, read_period
from tests.clients import Person, hidden, words


def test_outcomes_equal_a_plain_count(app: Flask, alice: Person, bob: Person) -> None:
    rng = random.Random(4)
    now = utcnow()
    for number in range(60):
        created_at = now - timedelta(minutes=rng.randrange(60 * 24 * 9))
        person = alice if number % 3 else bob
        word = rng.choice(list(RANK))
        person.has_message(status=word, created_at=created_at, status_at=created_at)
    owner = alice.id
    with app.app_context():
        period = TimeRange("7d", since=now - timedelta(days=7))
        plain = Counter(
            message.display_status(utcnow()).state
            for message in db.session.query(Message).filter(Message.owner_id == owner)
            if message.created_at >= period.since  # type: ignore[operator]
        )
        unit, starts = charts.bar_starts(period, None, now)
        outcomes = measure(owner, period, utcnow(), starts).outcomes
        totals = figures.totals_by_state(outcomes)
        bars = charts.bars(outcomes, unit, starts, ZoneInfo("UTC"))
    assert totals == {state: plain[state] for state in State}
    assert sum(bar.total for bar in bars) == plain.total()


def test_silence_becomes_no_receipt(app: Flask, alice: Person) -> None:
    alice.has_message(status="sent")
    owner = alice.id
    with time_machine.travel(utcnow() + timedelta(days=5)), app.app_context():
        outcomes = measure(owner, TimeRange(), utcnow()).outcomes
        assert figures.totals_by_state(outcomes)[State.NO_RECEIPT] == 1


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-05-03", 24)]
)
def test_a_day_has_the_hours_of_its_zone(day: str, hours: int) -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    period = read_period({"from": day, "to": day, "zone": "Europe/Berlin"}, now)
    unit, starts = charts.bar_starts(period, None, now)
    assert (unit, len(starts)) == ("hour", hours)


@pytest.mark.parametrize("day", ["2026-04-05", "2026-10-04"])
def test_hours_stay_whole_where_the_clocks_move_by_half_an_hour(day: str) -> None:
    zone = "Australia/Lord_Howe"
    now = datetime(2026, 12, 1, tzinfo=UTC)
    period = read_period({"from": day, "to": day, "zone": zone}, now)
    assert period.since
    assert period.until
    unit, starts = charts.bar_starts(period, None, now)
    lengths = [end - start for start, end in itertools.pairwise([*starts, period.until])]
    assert sum(lengths, timedelta()) == period.until - period.since
    # One hour has lost or won half an hour.
    assert sum(length != timedelta(hours=1) for length in lengths) == 1
    bars = charts.bars([{}] * len(starts), unit, starts, ZoneInfo(zone))
    assert bars[-1].tick == "23:00"


def test_a_long_range_of_a_young_log_is_shown_by_days() -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    period = read_period({"from": "2026-01-01"}, now)
    unit, starts = charts.bar_starts(period, now - timedelta(days=9), now)
    assert (unit, len(starts)) == ("day", 9)


def test_percentiles_need_enough_samples() -> None:
    assert figures.percentiles(Counter({3: 19})) is None
    assert figures.percentiles(Counter(range(1, 101))) == (50, 90, 99)


def test_durations_leave_out_deliveries_learned_by_look_up(app: Flask, alice: Person) -> None:
    now = utcnow()
    for source in (Source.CALLBACK, Source.LOOKUP):
        alice.has_message(
            status="delivered",
            status_source=source,
            accepted_at=now,
            final_at=now + timedelta(seconds=7),
        )
    owner = alice.id
    with app.app_context():
        result = measure(owner, TimeRange(), utcnow())
    assert result.by_sender == {"+15005550006": {7: 1}}
    assert result.by_calling_code == {"1": {7: 1}}


def test_durations_leave_out_read_messages(app: Flask, alice: Person) -> None:
    now = utcnow()
    times = {"status_source": Source.CALLBACK, "accepted_at": now, "final_at": now}
    alice.has_message(status="read", **times)
    owner = alice.id
    with app.app_context():
        assert not measure(owner, TimeRange(), utcnow()).by_sender


def test_durations_leave_out_a_receipt_that_comes_first(app: Flask, alice: Person) -> None:
    message = alice.has_message(status="unknown")
    owner = alice.id
    with app.app_context():
        with db.engine.begin() as connection:
            append_event(connection, message.id, StatusUpdate("delivered", Source.CALLBACK, {}))
        result = measure(owner, TimeRange(), utcnow())
    assert figures.totals_by_state(result.outcomes)[State.DELIVERED] == 1
    assert not result.by_sender
    assert not result.by_calling_code


def test_spend_counts_by_currency_and_without_a_price(app: Flask, alice: Person) -> None:
    alice.has_message(price_micros=7500, price_unit="USD")
    alice.has_message()
    owner = alice.id
    with app.app_context():
        spend = measure(owner, TimeRange(), utcnow()).spend
    [(currency, total, count)] = figures.prices(spend)
    assert (currency, figures.format_money(total), count) == ("USD", "0.0075", 1)


def test_without_a_final_message_no_rate_is_shown(alice: Person) -> None:
    alice.has_message()
    page = words(alice.get("/insights").text)
    assert "No message is final yet" in page
    assert "–" not in page.partition("Outcomes")[2].partition("Waiting")[0]
    alice.has_message(status="delivered")
    page = words(alice.get("/insights").text)
    assert "No message is final yet" not in page
    assert "of the 1 message that is final" in page


def test_cancelled_messages_do_not_lower_the_rate(alice: Person) -> None:
    for word in ("delivered", "delivered", "delivered", "failed", *["canceled"] * 4):
        alice.has_message(status=word)
    shown = words(alice.get("/insights?period=24h").text)
    assert "75.0 % delivered , none without a receipt, of the 4 messages that are final" in shown


def test_failures_link_to_the_filtered_log(alice: Person) -> None:
    alice.has_message(status="undelivered", error_code="30003")
    page = alice.get("/insights?period=30d&zone=Asia/Kolkata").text
    assert "state=failed&amp;error=30003&amp;period=30d&amp;zone=Asia/Kolkata" in page


@pytest.mark.parametrize("word", ["undelivered", "unreached", "untraced"])
def test_failures_without_a_code_link_to_as_many_messages(alice: Person, word: str) -> None:
    alice.has_message(status=word, error_code=None)
    alice.has_message(status="failed", error_code="30003")
    page = alice.get("/insights?period=30d&zone=Asia/Kolkata").text
    [link] = re.findall(r'<a href="([^"]*error=none[^"]*)">Without an error code</a>', page)
    assert "period=30d&amp;zone=Asia/Kolkata" in link
    log = alice.get(html.unescape(link)).text
    assert "Without an error code" in words(log)
    assert log.count("<li data-id=") == 1


def test_share_rounds_little_not_to_nothing_and_much_not_to_all() -> None:
    assert format_share(1, 10_000) == "under 0.1 %"
    assert format_share(9_999, 10_000) == "over 99.9 %"
    assert format_share(0, 0) == "–"


def test_users_do_not_see_the_totals_of_others(alice: Person, bob: Person) -> None:
    bob.has_message(status="delivered")
    assert "No messages in this range" in words(alice.get("/insights").text)
    assert alice.get("/insights?everyone=1").status_code == 404


def make_administrator(app: Flask, person: Person) -> None:
    with app.app_context():
        statement = update(User).where(User.email == person.email)
        db.session.execute(statement.values(administrator=True))
        db.session.commit()


def test_senders_without_numbers_show_the_last_digits_or_the_name() -> None:
    senders = {"+15005550006": Counter({3: 2}), "Clinic": Counter({3: 1}), "": Counter({3: 1})}
    rows = figures.durations_by_sender(senders, show_numbers=False)
    assert [row.name for row in rows] == ["…0006", "Clinic", "Messaging Service"]


def test_administrators_see_totals_without_numbers_or_texts(
    app: Flask, alice: Person, bob: Person
) -> None:
    now = utcnow()
    delivered = {"status_source": Source.CALLBACK, "accepted_at": now, "final_at": now}
    bob.has_message(status="delivered", **delivered)
    make_administrator(app, alice)
    page = alice.get("/insights?everyone=1").text
    assert "100.0 % delivered" in words(page)
    assert "none without a receipt" in words(page)
    for secret in ("5558675310", "15005550006", "Hello", "bob@"):
        assert secret not in page


@pytest.mark.parametrize(
    ("from_", "to", "zone", "problem"),
    [
        ("2026-05-03", "2026-05-01", "Asia/Tokyo", "ends before it begins"),
        ("2026-05-03", "soon", "Asia/Tokyo", "Type each day like"),
    ],
)
def test_invalid_range_is_explained_and_stays_in_the_form(
    alice: Person, from_: str, to: str, zone: str, problem: str
) -> None:
    answer = alice.get(f"/insights?from={from_}&to={to}&zone={zone}")
    assert answer.status_code == 422
    assert problem in words(answer.text)
    assert [hidden(answer.text, name) for name in ("from", "to", "zone")] == [from_, to, zone]
    assert f"Days and hours are in the time zone {zone}" in words(answer.text)


def test_unknown_zone_counts_as_utc_and_stays_in_the_form(alice: Person) -> None:
    answer = alice.get("/insights?from=2026-05-03&to=2026-05-04&zone=Etc/Unknown")
    assert answer.status_code == 200
    assert "“Etc/Unknown” is not known here" in words(answer.text)
    assert "Days and hours are in the time zone UTC" in words(answer.text)
    assert hidden(answer.text, "zone") == "Etc/Unknown"
    assert "period=30d&amp;zone=Etc/Unknown" in answer.text.replace("%2F", "/")


def test_refresh_keeps_the_range(alice: Person) -> None:
    page = alice.get("/insights?from=2026-05-03&to=2026-05-04&zone=Europe/Paris").text
    link = re.search(r'<a href="([^"]+)">Refresh', page)
    assert link
    again = alice.get(html.unescape(link[1]))
    assert "3 May 2026 to 4 May 2026" in words(again.text)
    assert "time zone Europe/Paris" in words(again.text)


def test_all_time_is_a_range_as_in_the_log(app: Flask, alice: Person) -> None:
    make_administrator(app, alice)
    with time_machine.travel(utcnow() - timedelta(days=400)):
        alice.has_message(status="failed", error_code="30003")
    page = alice.get("/insights?period=all&zone=Asia/Kolkata").text
    assert "state=failed&amp;error=30003" in page
    assert re.search(r'period=all[^>]*aria-current="page">All time', page)
    assert "everyone=1&amp;period=all&amp;zone=Asia/Kolkata" in page


@pytest.mark.parametrize("highest", [0, 1, 3, 17, 99_999])
def test_the_axis_reaches_the_highest_bar_in_few_steps(highest: int) -> None:
    values = charts.axis(highest)
    assert values[-1] >= highest
    assert len(values) <= 6
