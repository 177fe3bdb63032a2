"""Alerts open, last and end; people are told once, a day, and at the end."""

import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from flask import Flask
from sqlalchemy import update

from smstracker import health_facts
from smstracker.alerts.evaluation import next_occasion, plan_notices, update_alerts
from smstracker.alerts.finding import Finding
from smstracker.alerts.notice import compose
from smstracker.alerts.rules import QUIET_TIME, RULES
from smstracker.clock import utcnow
from smstracker.extensions import db, receipt_window
from smstracker.models import Alert, AlertNotice, ScheduledJob
from smstracker.worker.loop import Worker
from tests import alert_scenes as scenes
from tests.alert_scenes import (
    HOUR,
    MINUTE,
    Space,
    alerts,
    deliver_all,
    notices,
    run_evaluation,
)
from tests.http_receiver import receiving
from tests.serving import free_port
from tests.smtp_server import Inbox
from tests.twilio_stub import SILENCE, wire

MakeApp = Callable[..., Flask]
DAY = timedelta(days=1)
TEAM = "team@example.org"
HOLDS = RULES["callbacks-silent"].holds // MINUTE


@pytest.fixture(autouse=True)
def empty_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_facts.shutil, "disk_usage", lambda _folder: Space(10**12, 0, 10**12))


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(utcnow(), tick=False) as coordinates:
        yield coordinates


@pytest.fixture
def told(make_app: MakeApp, inbox: Inbox) -> Flask:
    """An app whose alerts go to the team, by a real mail server."""
    return make_app(ALERT_EMAIL=TEAM, MAIL_PORT=str(inbox.controller.port))


def evaluate_each_minute(app: Flask, clock: time_machine.Traveller, minutes: int) -> None:
    for _ in range(minutes):
        clock.shift(MINUTE)
        run_evaluation(app)
        deliver_all(app)


def open_alert(app: Flask, clock: time_machine.Traveller) -> None:
    scenes.add_silent(app, 6)
    evaluate_each_minute(app, clock, HOLDS + 1)


def add_open_alert(app: Flask, **columns: object) -> None:
    """Store an alert that has just opened, of which nothing is told yet."""
    now = utcnow()
    times = {"began_at": now, "last_true_at": now, "opened_at": now}
    facts = {"rule": "code-unlisted", "subject": "39999", "counts": {"failed": 3}}
    with scenes.storing(app) as session:
        session.add(Alert(**facts | times | columns))


@pytest.mark.both_databases
def test_alert_opens_after_its_time_and_not_before(
    app: Flask, clock: time_machine.Traveller
) -> None:
    scenes.add_silent(app, 5)
    evaluate_each_minute(app, clock, HOLDS)
    assert [alert.opened_at for alert in alerts(app)] == [None]
    evaluate_each_minute(app, clock, 1)
    [alert] = alerts(app)
    assert alert.opened_at == utcnow()
    assert alert.began_at == utcnow() - HOLDS * MINUTE
    assert alert.counts == {"messages": 5, "accepted": 5}


def test_short_trouble_leaves_nothing(app: Flask, clock: time_machine.Traveller) -> None:
    scenes.add_silent(app, 5)
    evaluate_each_minute(app, clock, HOLDS)
    scenes.remove_silent(app)
    evaluate_each_minute(app, clock, 1)
    assert alerts(app) == []


def test_mail_tells_of_the_beginning_once_and_of_the_end(
    told: Flask, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    open_alert(told, clock)
    evaluate_each_minute(told, clock, 5)
    [(to, text)] = inbox.mails
    assert to == TEAM
    assert "5 of the newest 5 messages that Twilio accepted got no callback in time" in text
    assert "What to do: Run flask doctor" in text
    assert "https://sms.example.org/alerts" in text
    final = {"status": "delivered", "status_source": "lookup", "final_at": utcnow()}
    scenes.remove_silent(told)
    scenes.add_messages(told, 6, **final)
    scenes.add_messages(told, 9, **final | {"status_source": "callback"})
    evaluate_each_minute(told, clock, 12)
    assert len(inbox.mails) == 2
    assert "It lasted 10 minutes; the worker looked up 6 statuses meanwhile." in inbox.newest
    assert notices(told) == [(TEAM, "begin", True), (TEAM, "end", True)]


def test_alerts_of_one_time_are_told_in_one_mail_each_and_one_post_each(
    make_app: MakeApp, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    with receiving() as receiver:
        app = make_app(
            ALERT_EMAIL=f"{TEAM},b@example.org",
            MAIL_PORT=str(inbox.controller.port),
            ALERT_WEBHOOK_URL=receiver.url,
            ALERT_WEBHOOK_SECRET="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        )
        for code in ("39991", "39992", "39993", "39994"):
            scenes.add_outcomes(app, failed=3, code=code)
        evaluate_each_minute(app, clock, 11)
        assert len(receiver.received) == 4
    assert sorted(to for to, _ in inbox.mails) == ["b@example.org", TEAM]
    assert inbox.newest.count("which is not explained.") == 4
    assert inbox.newest.count("/alerts") == 1
    name = "An error is not in the guide: 3999[1-4]"
    subject = rf"\[smstracker\] 4 alerts: {name}; {name}; {name} and 1 more"
    assert re.fullmatch(subject, inbox.subjects[-1])
    assert {is_sent for _, _, is_sent in notices(app)} == {True}


def test_alerts_that_could_not_be_told_are_told_later_in_one_mail(
    make_app: MakeApp, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    app = make_app(ALERT_EMAIL=TEAM, MAIL_PORT=str(inbox.controller.port))
    for code in ("39991", "39992"):
        add_open_alert(app, subject=code)
    inbox.refusals = ["451 Greylisted"]
    with app.app_context(), db.engine.begin() as connection:
        plan_notices(connection, [TEAM], utcnow())
    deliver_all(app)
    assert inbox.mails == []
    clock.shift(MINUTE)
    deliver_all(app)
    [(_, text)] = inbox.mails
    assert "39991" in text
    assert "39992" in text


def test_mail_ends_with_its_links_each_on_a_line_of_its_own(
    told: Flask, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    add_open_alert(told)
    with told.app_context(), db.engine.begin() as connection:
        plan_notices(connection, [TEAM], utcnow())
    deliver_all(told)
    paragraphs, _, links = inbox.newest.rstrip().rpartition("\n\n")
    page = "https://www.twilio.com/docs/api/errors/39999"
    assert links.splitlines() == [page, "https://sms.example.org/alerts"]
    assert "https:" not in paragraphs
    assert paragraphs.endswith("What to do: Read Twilio's page on it.")


def test_mail_reminds_once_a_day(told: Flask, inbox: Inbox, clock: time_machine.Traveller) -> None:
    open_alert(told, clock)
    for hours, mails in ((23, 1), (1, 2), (1, 2), (23, 3)):
        clock.shift(hours * HOUR)
        with told.app_context(), db.engine.begin() as connection:
            finding = Finding("callbacks-silent", {"messages": 5, "accepted": 7})
            update_alerts(connection, [finding], utcnow())
            plan_notices(connection, [TEAM], utcnow())
        deliver_all(told)
        assert len(inbox.mails) == mails
    assert "Still open." in inbox.newest
    assert [occasion for _, occasion, _ in notices(told)] == ["begin", "day 1", "day 2"]


def test_flapping_rule_makes_one_alert(
    told: Flask, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    """A pause shorter than the quiet time does not end it."""
    open_alert(told, clock)
    true = Finding("callbacks-silent", {"messages": 5, "accepted": 5})
    for _ in range(5):
        with told.app_context(), db.engine.begin() as connection:
            for findings in ([],) * 9 + ([true],):
                clock.shift(MINUTE)
                update_alerts(connection, findings, utcnow())
                plan_notices(connection, [TEAM], utcnow())
    deliver_all(told)
    assert len(alerts(told)) == len(inbox.mails) == 1


@pytest.mark.slow
def test_value_around_its_limit_makes_one_alert(
    told: Flask,
    inbox: Inbox,
    clock: time_machine.Traveller,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """It changes every quarter of an hour, and ends only half as much above the limit again."""
    monkeypatch.setattr(health_facts, "written_folders", lambda: [tmp_path])

    def pass_quarter(free: int) -> None:
        usage = Space(10**10, 10**10 - free, free)
        monkeypatch.setattr(health_facts.shutil, "disk_usage", lambda _folder: usage)
        evaluate_each_minute(told, clock, 15)

    pass_quarter(1_020_000_000)
    assert alerts(told) == []
    for _ in range(3):
        pass_quarter(980_000_000)
        pass_quarter(1_490_000_000)
    [alert] = alerts(told)
    assert alert.ended_at is None
    assert len(inbox.mails) == 1
    pass_quarter(1_510_000_000)
    assert alerts(told)[0].ended_at
    assert len(inbox.mails) == 2


def test_alert_that_is_not_open_yet_is_dropped_below_its_limit(
    app: Flask, clock: time_machine.Traveller
) -> None:
    scenes.add_silent(app, 5)
    evaluate_each_minute(app, clock, 1)
    scenes.add_silent(app, 6, status_source="callback")
    evaluate_each_minute(app, clock, HOLDS + 1)
    assert alerts(app) == []


def test_time_that_the_rule_was_true_is_how_long_it_lasted(
    app: Flask, clock: time_machine.Traveller
) -> None:
    open_alert(app, clock)
    scenes.remove_silent(app)
    evaluate_each_minute(app, clock, QUIET_TIME // MINUTE)
    [alert] = alerts(app)
    assert alert.ended_at == utcnow()
    assert alert.lasted == HOLDS * MINUTE


@pytest.mark.both_databases
def test_two_workers_at_once_mail_once(
    told: Flask, make_app: MakeApp, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    """Both believe that they have the lease, as after a long pause."""
    scenes.add_silent(told, 5)
    other = make_app(ALERT_EMAIL=TEAM, MAIL_PORT=str(inbox.controller.port))
    for _ in range(HOLDS + 2):
        clock.shift(MINUTE)
        barrier = threading.Barrier(2)

        def work(app: Flask, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            run_evaluation(app)
            deliver_all(app)

        threads = [threading.Thread(target=work, args=[app]) for app in (told, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(alerts(told)) == len(inbox.mails) == 1


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_notice_that_another_worker_is_taking_holds_up_none(app: Flask) -> None:
    for code in ("39991", "39992"):
        add_open_alert(app, subject=code)
    with app.app_context(), db.engine.begin() as connection:
        plan_notices(connection, [TEAM], utcnow())
    with app.app_context(), db.engine.begin() as one, db.engine.begin() as other:
        taken = [AlertNotice.claim(worker, TEAM, utcnow(), 1) for worker in (one, other)]
    assert [[notice.id for notice in claimed] for claimed in taken] == [[1], [2]]


@pytest.mark.both_databases
def test_worker_evaluates_under_its_lease(
    told: Flask, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    scenes.add_silent(told, 5)
    with told.app_context():
        workers = [Worker(), Worker()]
        for _ in range(HOLDS + 3):
            clock.shift(MINUTE)
            for worker in workers:
                worker._run_job("alerts")
                worker.join_threads()
        assert ScheduledJob.last_done_at(db.session.connection(), "alerts") == utcnow()
        db.session.remove()
    assert len(inbox.mails) == 1


def test_heartbeat_that_hangs_holds_up_no_mail(
    make_app: MakeApp, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    with wire(SILENCE) as receiver:
        app = make_app(
            ALERT_EMAIL=TEAM, MAIL_PORT=str(inbox.controller.port), HEARTBEAT_URL=receiver.url
        )
        add_open_alert(app)
        with app.app_context():
            worker = Worker()
            worker._run_job("alerts")
            worker._threads[f"notify {TEAM}"].join()
            assert worker._threads["notify heartbeat"].is_alive()
            db.session.remove()
        assert len(inbox.mails) == 1
        receiver.close()
        worker.join_threads()


def test_worker_that_dies_before_sending_leaves_the_mail_to_the_next(
    told: Flask, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    scenes.add_silent(told, 5)
    for _ in range(HOLDS + 1):
        clock.shift(MINUTE)
        run_evaluation(told)
    with told.app_context(), db.engine.begin() as connection:
        assert AlertNotice.claim(connection, TEAM, utcnow(), 1)
    evaluate_each_minute(told, clock, 4)
    assert inbox.mails == []
    evaluate_each_minute(told, clock, 1)
    assert len(inbox.mails) == 1


def test_mail_server_that_is_away_is_tried_again_less_and_less_often(
    make_app: MakeApp, clock: time_machine.Traveller
) -> None:
    port = free_port()
    app = make_app(ALERT_EMAIL=TEAM, MAIL_PORT=str(port))
    open_alert(app, clock)
    evaluate_each_minute(app, clock, 20)
    with app.app_context():
        notice = db.session.get(AlertNotice, 1)
        assert notice is not None
        assert (notice.failures, notice.failure) == (5, "nothing listens on that port")
        db.session.remove()
    box = Inbox(port)
    box.controller.start()
    try:
        evaluate_each_minute(app, clock, 15)
    finally:
        box.controller.stop()
    assert len(box.mails) == 1


def test_end_replaces_a_beginning_that_could_not_be_told(
    make_app: MakeApp, clock: time_machine.Traveller
) -> None:
    app = make_app(ALERT_EMAIL=TEAM, MAIL_PORT=str(free_port()))
    open_alert(app, clock)
    scenes.remove_silent(app)
    evaluate_each_minute(app, clock, 12)
    assert notices(app) == [(TEAM, "end", False)]


def test_muted_alert_tells_nothing_until_the_time_is_over(
    told: Flask, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    scenes.add_silent(told, 5)
    evaluate_each_minute(told, clock, 1)
    with told.app_context(), db.engine.begin() as connection:
        connection.execute(update(Alert).values(muted_until=utcnow() + 15 * MINUTE))
    evaluate_each_minute(told, clock, HOLDS + 1)
    assert inbox.mails == []
    evaluate_each_minute(told, clock, 15 - HOLDS)
    assert len(inbox.mails) == 1


def test_end_is_not_told_a_day_later(
    told: Flask, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    ended = {"ended_at": utcnow(), "muted_until": utcnow() + DAY}
    add_open_alert(told, **ended)
    add_open_alert(told, **ended | {"subject": "39998", "muted_until": utcnow() + HOUR})
    with told.app_context(), db.engine.begin() as connection:
        for alert_id in (1, 2):
            AlertNotice.plan(connection, alert_id, TEAM, "begin", utcnow())
    clock.shift(2 * HOUR)
    evaluate_each_minute(told, clock, 1)
    clock.shift(DAY)
    evaluate_each_minute(told, clock, 1)
    assert len(inbox.mails) == 1
    assert "39998" in inbox.newest


@pytest.mark.slow
def test_alert_muted_while_the_mail_server_is_away_tells_nothing(
    make_app: MakeApp, clock: time_machine.Traveller
) -> None:
    port = free_port()
    app = make_app(ALERT_EMAIL=TEAM, MAIL_PORT=str(port))
    open_alert(app, clock)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(update(Alert).values(muted_until=utcnow() + HOUR))
    box = Inbox(port)
    box.controller.start()
    try:
        evaluate_each_minute(app, clock, 59)
        assert box.mails == []
        evaluate_each_minute(app, clock, 1)
    finally:
        box.controller.stop()
    assert len(box.mails) == 1


def test_beginning_of_an_alert_that_is_over_is_not_told(
    told: Flask, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    add_open_alert(told, muted_until=utcnow() + DAY)
    with told.app_context(), db.engine.begin() as connection:
        AlertNotice.plan(connection, 1, TEAM, "begin", utcnow())
        connection.execute(update(Alert).values(ended_at=utcnow()))
    clock.shift(3 * DAY)
    evaluate_each_minute(told, clock, 1)
    assert inbox.mails == []


def test_alert_that_comes_back_stays_muted(app: Flask, clock: time_machine.Traveller) -> None:
    with app.app_context(), db.engine.begin() as connection:
        until = utcnow() + DAY
        times = {"began_at": utcnow(), "last_true_at": utcnow()}
        Alert.begin(connection, "disk-full", "", times | {"opened_at": utcnow()})
        connection.execute(update(Alert).values(muted_until=until, ended_at=utcnow()))
        Alert.begin(connection, "disk-full", "", times)
    assert [alert.muted_until for alert in alerts(app)] == [until, until]


def test_time_without_a_worker_is_told(
    told: Flask, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    with told.app_context():
        Worker()._run_job("alerts")
        clock.shift(42 * MINUTE)
        scenes.add_messages(told, 6, status="delivered", status_source="lookup", final_at=utcnow())
        worker = Worker()
        worker._send_heartbeat()
        for _ in range(13):
            worker._run_job("alerts")
            worker.join_threads()
            clock.shift(MINUTE)
        db.session.remove()
    begin, end = (text for _, text in inbox.mails)
    assert "For 42 minutes no worker ran, or none could reach the database." in begin
    assert "It lasted 42 minutes; the worker looked up 6 statuses meanwhile." in end


def test_outcomes_that_stay_unknown_are_not_said_to_be_settled(
    told: Flask, inbox: Inbox, clock: time_machine.Traveller
) -> None:
    scenes.add_messages(told, 5, status="unknown", created_at=utcnow() - HOUR)
    evaluate_each_minute(told, clock, 11)
    with told.app_context():
        window = receipt_window()
    clock.shift(window - 2 * HOUR)
    evaluate_each_minute(told, clock, 11)
    assert [occasion for _, occasion, _ in notices(told)] == ["begin", "day 1"]
    clock.shift(HOUR)
    evaluate_each_minute(told, clock, 11)
    with told.app_context():
        notice = compose(alerts(told)[0], "end", "1")
    assert notice.title == "No longer watched: Outcomes stay unknown"
    assert "The outcome of 5 messages is still unknown." in inbox.newest


def test_past_alerts_are_deleted_after_a_month(told: Flask, clock: time_machine.Traveller) -> None:
    open_alert(told, clock)
    scenes.remove_silent(told)
    evaluate_each_minute(told, clock, 12)
    for days, left in ((29, 1), (2, 0)):
        clock.shift(days * DAY)
        with told.app_context(), db.engine.begin() as connection:
            Alert.purge(connection, utcnow())
        assert len(alerts(told)) == left
    assert notices(told) == []


@pytest.mark.parametrize(
    ("notices", "is_ended", "occasion"),
    [
        ([], False, "begin"),
        ([], True, None),
        ([("begin", HOUR)], False, None),
        ([("begin", HOUR)], True, "end"),
        ([("begin", 25 * HOUR)], False, "day 1"),
        ([("begin", 50 * HOUR), ("day 9", 25 * HOUR)], False, "day 10"),
        ([("day 1", HOUR)], False, None),
        ([("end", 25 * HOUR)], True, None),
    ],
)
def test_next_occasion(
    notices: list[tuple[str, timedelta]], is_ended: bool, occasion: str | None
) -> None:
    now = utcnow()
    made = [(name, now - age) for name, age in notices]
    assert next_occasion(made, now, is_ended=is_ended) == occasion
