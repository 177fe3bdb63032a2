"""The numbers behind the health of the connection, against a plain count over the same rows."""

import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from statistics import median

import pytest
import time_machine
from flask import Flask
from sqlalchemy import event

from smstracker.clock import utcnow
from smstracker.connection.queries import PERIODS
from smstracker.connection.report import ConnectionReport, build_report
from smstracker.extensions import db
from smstracker.models import CallbackTally, Heartbeat, Message, StatusEvent
from smstracker.models.callback_counts import bucket_start
from smstracker.models.messages import Content
from smstracker.sms.status import FINAL, NOT_CALLED_BACK, NOT_SENT, RANK
from tests.clients import Person
from tests.refused_callbacks import refusal
from tests.signing import sid

pytestmark = pytest.mark.both_databases


MINUTE = timedelta(minutes=1)
TALLIED = ("repeated", "refused", "not_stored")


@pytest.fixture
def now() -> Iterator[datetime]:
    with time_machine.travel(utcnow(), tick=False):
        yield utcnow()


def add_message(owner: int, accepted: datetime, **columns: object) -> Message:
    message = Message(owner_id=owner, idempotency_key=uuid.uuid4())
    message.set_content(Content("+15558675310", "+15005550006", "Hello"))
    facts = {"created_at": accepted, "status_at": accepted, "accepted_at": accepted}
    for name, value in (facts | columns).items():
        setattr(message, name, value)
    return message


def add_callback(word: str, at: datetime, **columns: object) -> dict[str, object]:
    return {"status": word, "source": "callback", "payload": {}, "received_at": at} | columns


def random_message(owner: int, now: datetime, chance: random.Random) -> Message:
    accepted = now - timedelta(seconds=chance.randrange(9 * 86400))
    word = chance.choice(list(RANK))
    source = chance.choice(["callback", "callback", "lookup", "send", None])
    end = min(accepted + timedelta(seconds=chance.randrange(4000)), now)
    return add_message(
        owner,
        accepted,
        status=word,
        status_source=source,
        status_at=end,
        final_at=end if word in FINAL else None,
    )


def random_callbacks(
    message: Message, now: datetime, chance: random.Random
) -> list[dict[str, object]]:
    """What Twilio called back before the message ended; nothing if it was asked about."""
    if message.status_source != "callback" or message.status in ("pending", "unknown", *NOT_SENT):
        return []
    first = min(message.accepted_at + timedelta(seconds=chance.randrange(-2, 60)), now)  # type: ignore[operator]
    told = [add_callback("sent", first), add_callback(message.status, message.status_at)]
    return [one | {"message_id": message.id} for one in told]


@pytest.fixture
def events(app: Flask, alice: Person, bob: Person, now: datetime) -> list[dict[str, object]]:
    """Some hundred messages of two owners, with callbacks or without."""
    chance = random.Random(7)
    owners = [alice.id, bob.id]
    with app.app_context():
        messages = [random_message(chance.choice(owners), now, chance) for _ in range(600)]
        db.session.add_all(messages)
        db.session.flush()
        told = [one for message in messages for one in random_callbacks(message, now, chance)]
        db.session.execute(db.insert(StatusEvent), told)
        db.session.commit()
    return told


def read_report(app: Flask, now: datetime) -> ConnectionReport:
    with app.app_context():
        return build_report(now)


def test_report_counts_what_callbacks_and_look_ups_ended(
    app: Flask, alice: Person, bob: Person, now: datetime, events: list[dict[str, object]]
) -> None:
    report = read_report(app, now)
    mine = alice.messages() + bob.messages()
    for window, span in zip(report.windows, PERIODS, strict=True):
        ended = [m for m in mine if m.final_at and m.final_at > now - span]
        sources = [m.status_source for m in ended if m.status not in NOT_CALLED_BACK]
        told = [m for m in ended if m.status_source == "callback"]
        assert (window.by_callback, window.by_lookup) == (len(told), sources.count("lookup"))


def test_report_counts_what_waits(
    app: Flask, alice: Person, bob: Person, now: datetime, events: list[dict[str, object]]
) -> None:
    report = read_report(app, now)
    mine, heard = alice.messages() + bob.messages(), {one["message_id"] for one in events}
    unknown = [m for m in mine if m.status in ("pending", "unknown")]
    assert report.unknown == len([m for m in unknown if m.status_at < now - 10 * MINUTE])
    words = {"accepted", "queued", "sending", "sent", "partially_delivered"}
    waiting = [m for m in mine if m.status in words and m.id not in heard]
    old = [m for m in waiting if m.accepted_at <= now - 5 * MINUTE]  # type: ignore[operator]
    recent = [m for m in old if m.created_at > now - timedelta(days=7)]
    unheard = [m for m in recent if m.status_source != "callback"]
    assert report.without_callback == len(unheard) > 20
    sent = [m for m in mine if m.status != "outbox"]
    assert report.sent_in_day == len([m for m in sent if m.created_at > now - PERIODS[1]])
    assert report.oldest_message_at == min(mine, key=lambda m: m.id).created_at


def test_report_measures_how_long_callbacks_take(
    app: Flask, alice: Person, bob: Person, now: datetime, events: list[dict[str, object]]
) -> None:
    report = read_report(app, now)
    ended = [
        m for m in alice.messages() + bob.messages() if m.final_at and m.final_at > now - PERIODS[2]
    ]
    firsts, ends = [], []
    for message in ended:
        came = [one for one in events if one["message_id"] == message.id]
        if came:
            took = [(one["received_at"] - message.accepted_at).total_seconds() for one in came]  # type: ignore[operator]
            firsts.append(max(min(took), 0))
            ends.append(max(took[1], 0))
    assert report.to_first.sample_size == report.to_final.sample_size == len(ends) > 40
    for delay, seconds in ((report.to_first, firsts), (report.to_final, ends)):
        assert delay.median == timedelta(seconds=median(seconds))
        assert not delay.is_few
        p95 = delay.p95.total_seconds()  # type: ignore[union-attr]
        faster = len([one for one in seconds if one < p95]) / len(seconds)
        assert faster < 0.95 <= faster + seconds.count(p95) / len(seconds)


def test_delay_of_one_message_is_shown_as_few(app: Flask, alice: Person, now: datetime) -> None:
    with app.app_context():
        at = now - MINUTE
        message = add_message(alice.id, at, status="delivered", final_at=now)
        db.session.add(message)
        db.session.flush()
        end = add_callback("delivered", at + timedelta(seconds=3), message_id=message.id)
        late = add_callback("sent", at, message_id=message.id, replayed_at=now)
        db.session.add_all([StatusEvent(**end), StatusEvent(**late)])
        db.session.commit()
    delay = read_report(app, now).to_first
    assert (delay.median, delay.sample_size, delay.is_few) == (timedelta(seconds=3), 1, True)
    assert delay.p95 == timedelta(seconds=3)


def test_callback_that_overtakes_the_answer_took_no_time(
    app: Flask, alice: Person, now: datetime
) -> None:
    with app.app_context():
        message = add_message(alice.id, now, status="delivered", final_at=now)
        db.session.add(message)
        db.session.flush()
        early = add_callback("delivered", now - timedelta(seconds=2), message_id=message.id)
        db.session.add(StatusEvent(**early))
        db.session.commit()
    numbers = read_report(app, now)
    nothing = timedelta(0)
    assert (numbers.to_first.median, numbers.to_first.p95) == (nothing, nothing)
    assert (numbers.to_final.median, numbers.to_final.p95) == (nothing, nothing)


def test_tally_is_summed_over_processes_and_spans(app: Flask, now: datetime) -> None:
    chance = random.Random(3)
    rows = [
        {
            "bucket_at": bucket_start(now - timedelta(minutes=chance.randrange(8 * 1440))),
            "process": f"p{number}",
            **{name: chance.randrange(50) for name in ("repeated", "refused", "not_stored")},
            "accepted": 50,
            "last_accepted_at": None,
        }
        for number in range(200)
    ]
    with app.app_context():
        db.session.execute(db.insert(CallbackTally), rows)
        db.session.commit()
    report = read_report(app, now)
    for window, span in zip(report.windows, PERIODS, strict=True):
        within = [row for row in rows if row["bucket_at"] >= bucket_start(now - span)]
        for name in ("accepted", *TALLIED):
            assert getattr(window, name) == sum(row[name] for row in within)


def tally(app: Flask, at: datetime, process: str = "p", **columns: object) -> None:
    counts: dict[str, object] = dict.fromkeys(("accepted", "repeated", "refused"), 0)
    with app.app_context():
        row = CallbackTally(bucket_at=bucket_start(at), process=process, **(counts | columns))
        db.session.add(row)
        db.session.commit()


def test_last_callback_is_the_newest_of_all_processes(app: Flask, now: datetime) -> None:
    assert read_report(app, now).last_callback_at is None
    at = bucket_start(now - 20 * MINUTE)
    for process, moment in (("a", at + MINUTE), ("b", at + 2 * MINUTE)):
        tally(app, at, process, accepted=1, last_accepted_at=moment)
    tally(app, now, "c", refused=3)
    assert read_report(app, now).last_callback_at == at + 2 * MINUTE


def test_last_callback_is_taken_from_messages_while_nothing_is_tallied(
    app: Flask, alice: Person, now: datetime
) -> None:
    told = {"status": "delivered", "status_source": "callback", "final_at": now - MINUTE}
    alice.has_message(**told)
    assert read_report(app, now).last_callback_at == now - MINUTE


def test_messages_since_the_last_callback_are_told_apart(
    app: Flask, alice: Person, now: datetime
) -> None:
    last = now - 40 * MINUTE
    tally(app, last, accepted=1, last_accepted_at=last)
    report = {"status": "delivered", "status_source": "lookup", "final_at": now - 10 * MINUTE}
    alice.has_message(**report, accepted_at=last - MINUTE)
    alice.has_message(**report, accepted_at=last + MINUTE)
    alice.has_message(**(report | {"status": "untraced"}), accepted_at=last + MINUTE)
    for accepted in (last - MINUTE, last + MINUTE, now - 6 * MINUTE, now - 4 * MINUTE):
        alice.has_message(status="sent", status_source="send", accepted_at=accepted)
    numbers = read_report(app, now)
    assert (
        numbers.looked_up_since_last_callback,
        numbers.waiting_since_last_callback,
        numbers.without_callback,
    ) == (1, 2, 3)


def test_missed_outcome_counts_as_refused_if_a_refused_callback_named_it(
    app: Flask, alice: Person, now: datetime
) -> None:
    ended = {"status": "delivered", "status_source": "lookup"}
    for number, age in ((1, MINUTE), (2, MINUTE), (3, MINUTE), (4, timedelta(hours=2))):
        alice.has_message(**ended, twilio_sid=sid(number), final_at=now - age)
    with app.app_context():
        db.session.add_all(
            [
                refusal(now - MINUTE),
                refusal(now - MINUTE),
                refusal(now - MINUTE, twilio_sid=sid(2), status="sent"),
                refusal(now - MINUTE, twilio_sid=sid(3), is_plausible=False),
                refusal(now - timedelta(hours=2), twilio_sid=sid(4)),
            ]
        )
        db.session.commit()
    numbers = read_report(app, now)
    assert [(window.by_lookup, window.final_refused) for window in numbers.windows[:2]] == [
        (3, 1),
        (4, 2),
    ]


def test_refusals_are_grouped_by_what_is_behind_them(app: Flask, now: datetime) -> None:
    with app.app_context():
        wrong = {"diagnosis": "Valid for http://x.example", "setting": "PUBLIC_BASE_URL"}
        db.session.add_all(
            [
                refusal(now - MINUTE, count=3, **wrong),
                refusal(now - 30 * MINUTE, **wrong),
                refusal(now - MINUTE, first_at=now - timedelta(hours=2), count=9, **wrong),
                refusal(now - timedelta(hours=20), **wrong),
                refusal(now - timedelta(days=6), **wrong),
                refusal(now - timedelta(days=8), **wrong),
                refusal(now, replayed_at=now, **wrong),
                refusal(now, is_plausible=False, count=500),
            ]
        )
        db.session.commit()
    likely, rubbish = read_report(app, now).causes
    assert (likely.hour, likely.day, likely.week) == (5, 14, 15)
    assert likely.setting == "PUBLIC_BASE_URL"
    assert likely.newest_at == now - MINUTE
    assert (rubbish.is_plausible, rubbish.hour) == (False, 500)


def test_worker_lives_while_it_beats(app: Flask, now: datetime) -> None:
    with app.app_context():
        for name, age in (("here", 5), ("gone", 61)):
            beat = now - timedelta(seconds=age)
            db.session.add(Heartbeat(worker=name, started_at=beat, beat_at=beat, problem=None))
        db.session.commit()
    here, gone = read_report(app, now).workers
    assert (here.name, here.is_alive, gone.is_alive) == ("here", True, False)


def test_report_costs_the_same_few_statements_whatever_there_is(
    app: Flask, now: datetime, events: list[dict[str, object]]
) -> None:
    seen: list[str] = []
    with app.app_context():
        event.listen(
            db.engine, "before_cursor_execute", lambda _c, _cursor, sql, *_rest: seen.append(sql)
        )
        build_report(now)
    assert "BEGIN IMMEDIATE" not in seen
    assert 0 < len([sql for sql in seen if sql.startswith("SELECT")]) <= 19
