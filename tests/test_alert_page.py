"""The page of alerts, its mute buttons, and who may see them."""

import html
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from flask import Flask
from sqlalchemy import select, update

from config import load
from smstracker import create_app
from smstracker.alerts.notice import format_moment
from smstracker.alerts.rules import RULES
from smstracker.clock import utcnow
from smstracker.doctor.alert_checks import check_open_alerts
from smstracker.extensions import db
from smstracker.models import Alert, AlertNotice, ScheduledJob, User
from tests.alert_scenes import MINUTE, add_alert, alerts, storing
from tests.clients import Client, Person, words
from tests.databases import await_lock_wait
from tests.serving import close

MakeApp = Callable[..., Flask]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(utcnow(), tick=False) as traveller:
        yield traveller


def administrator(app: Flask) -> Person:
    carol = Person.signed_in(app, "carol@example.org")
    with storing(app) as session:
        session.scalars(User.select_by_email(carol.email)).one().administrator = True
    return carol


@pytest.fixture
def admin(app: Flask) -> Person:
    return administrator(app)


def add_evaluation(app: Flask) -> None:
    with storing(app) as session:
        session.add(ScheduledJob(name="alerts", due_at=utcnow(), done_at=utcnow()))


def test_page_is_for_administrators(app: Flask, bob: Person, admin: Person) -> None:
    assert admin.get("/alerts").status_code == 200
    assert bob.get("/alerts").status_code == 403
    assert app.test_client().get("/alerts").status_code == 302
    assert "Alerts</a>" in admin.get("/messages").text
    assert "Alerts" not in bob.get("/messages").text


@pytest.mark.slow
def test_navigation_counts_open_alerts(app: Flask, bob: Person, admin: Person) -> None:
    add_alert(app)
    add_alert(app, "disk-full", opened_at=None)
    add_alert(app, "worker-gone", ended_at=utcnow())
    assert '<span class="alarm">1<span class="unseen"> open alert</span></span>' in (
        admin.get("/messages").text
    )
    assert "alarm" not in bob.get("/messages").text


def test_page_without_alerts_says_so_only_while_a_worker_looks(
    app: Flask, admin: Person, clock: time_machine.Traveller
) -> None:
    assert "No worker has looked yet" in words(admin.get("/alerts").text)
    add_evaluation(app)
    assert "No alert is open. The worker looks each minute." in words(admin.get("/alerts").text)
    clock.shift(timedelta(minutes=6))
    page = words(admin.get("/alerts").text)
    assert "No alert is open" not in page
    assert "No worker has looked since" in page


def test_page_shows_open_and_past_alerts(app: Flask, admin: Person) -> None:
    add_alert(app)
    gone = {"ended_at": utcnow() - 5 * MINUTE, "counts": {"minutes": 42, "fetched": 6}}
    add_alert(app, "worker-gone", **gone)
    long_ago = utcnow() - timedelta(days=31)
    add_alert(app, "disk-full", counts={"free_megabytes": 1, "free_percent": 0}, ended_at=long_ago)
    add_alert(app, "of-another-version")
    page = words(admin.get("/alerts").text)
    assert "6 of the newest 6 messages that Twilio accepted got no callback" in page
    assert "What to do: Run flask doctor" in page
    assert "It lasted 42 minutes; the worker looked up 6 statuses meanwhile." in page
    assert "The disk is nearly full" not in page


@pytest.mark.parametrize("hours", [1, 8, 24])
def test_alert_is_muted_for_hours_and_unmuted(app: Flask, admin: Person, hours: int) -> None:
    alert_id = add_alert(app)
    answer = admin.post("/alerts/mute", {"id": alert_id, "hours": hours}, page="/alerts")
    assert (answer.status_code, answer.location) == (303, f"/alerts#alert-{alert_id}")
    assert alerts(app)[0].muted_until == utcnow() + timedelta(hours=hours)
    page = words(admin.get("/alerts").text)
    assert "“Callbacks stopped coming” is muted for" in page
    assert "Muted until" in page
    admin.post("/alerts/mute", {"id": alert_id, "hours": 0}, page="/alerts")
    assert alerts(app)[0].muted_until is None
    log = words(admin.get("/audit").text)
    assert "Muted an alert" in log
    assert "Callbacks stopped coming" in log


def test_mute_is_for_administrators_by_post_with_a_token(
    app: Flask, bob: Person, admin: Person
) -> None:
    form = {"id": add_alert(app), "hours": 1}
    assert bob.post("/alerts/mute", form, page="/messages").status_code == 403
    assert admin.client.post("/alerts/mute", data=form).status_code == 400
    assert admin.get("/alerts/mute").status_code == 405
    for hours in ("2", "-1", "x", ""):
        answer = admin.post("/alerts/mute", form | {"hours": hours}, page="/alerts")
        assert answer.status_code == 400
    assert admin.post("/alerts/mute", {}, page="/alerts").status_code == 400
    assert admin.post("/alerts/mute", form | {"id": 2**63}, page="/alerts").status_code == 404
    assert alerts(app)[0].muted_until is None


def test_alert_that_is_over_cannot_be_muted(app: Flask, admin: Person) -> None:
    alert_id = add_alert(app, ended_at=utcnow())
    for row_id in (alert_id, 4711):
        admin.post("/alerts/mute", {"id": row_id, "hours": 1}, page="/messages")
        assert "This alert is over" in words(admin.get("/alerts").text)


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_alert_that_ends_at_that_moment_is_not_called_muted(app: Flask, admin: Person) -> None:
    alert_id = add_alert(app)
    form = {"id": alert_id, "hours": 1}
    with app.app_context(), ThreadPoolExecutor(1) as thread, db.engine.begin() as connection:
        Alert.change(connection, alert_id, ended_at=utcnow())
        answer = thread.submit(admin.post, "/alerts/mute", form, page="/alerts")
        await_lock_wait()
        connection.commit()
        assert answer.result(30).status_code == 303
    assert "This alert is over" in words(admin.get("/alerts").text)
    assert alerts(app)[0].muted_until is None


def test_page_says_where_alerts_go(make_app: MakeApp) -> None:
    hook = "https://hooks.example.org/hidden-7f3a"
    app = make_app(
        ALERT_EMAIL="team@example.org",
        ALERT_WEBHOOK_URL=hook,
        ALERT_WEBHOOK_SECRET=SECRET,
        HEARTBEAT_URL=hook,
    )
    admin = administrator(app)
    alert_id = add_alert(app)
    at = {"created_at": utcnow(), "due_at": utcnow(), "alert_id": alert_id}
    with storing(app) as session:
        sent = {"sent_at": utcnow() - 3 * MINUTE, "failures": 0}
        session.add(AlertNotice(channel="team@example.org", occasion="begin", **sent, **at))
        failed = {"failures": 3, "failure": "it answers 500"}
        session.add(AlertNotice(channel="webhook", occasion="begin", **failed, **at))
    page = admin.get("/alerts").text
    assert "team@example.org : last notice sent 3 minutes ago ." in words(page)
    assert "no notice sent yet. A notice could not be sent: it answers 500." in words(page)
    assert "fetches HEARTBEAT_URL each minute" in words(page)
    assert "hidden-7f3a" not in page


def test_page_says_that_alerts_go_nowhere(app: Flask, admin: Person) -> None:
    page = words(admin.get("/alerts").text)
    assert "Alerts appear only on this page. Set ALERT_EMAIL or ALERT_WEBHOOK_URL" in page
    assert "HEARTBEAT_URL is not set" in page
    with app.app_context():
        assert db.session.scalar(select(AlertNotice.id)) is None


def test_demo_mailbox_shows_the_mails_of_the_worker(tmp_path: Path, migrated_sqlite: Path) -> None:
    (tmp_path / "demo.sqlite").write_bytes(migrated_sqlite.read_bytes())
    demo = create_app(load({"ALERT_EMAIL": "me@home.example"}, instance=tmp_path))
    demo.test_client_class = Client
    alert_id = add_alert(demo)
    at = {"created_at": utcnow(), "due_at": utcnow(), "alert_id": alert_id, "failures": 0}
    with storing(demo) as session:
        told = {"channel": "me@home.example", "sent_at": utcnow()}
        session.add(AlertNotice(occasion="begin", **told, **at))
        session.add(AlertNotice(occasion="end", channel="me@home.example", **at))
    page = words(demo.test_client().get("/auth/mailbox").text)
    assert page.count("[smstracker] Callbacks stopped coming") == 1
    assert "Over:" not in page
    close(demo)


def test_what_keeps_the_service_from_working_stands_first_and_muted_alerts_last(
    app: Flask, admin: Person
) -> None:
    add_alert(app)
    add_alert(app, "backups-stopped", counts={"hours": 50})
    muted = {"counts": {"workers": 1}, "muted_until": utcnow() + timedelta(hours=1)}
    add_alert(app, "worker-gone", **muted)
    page = words(admin.get("/alerts").text)
    titles = ("Callbacks stopped coming", "Backups stopped", "A worker is gone")
    assert sorted(titles, key=page.index) == list(titles)


def test_pages_that_the_advice_names_are_links(app: Flask, admin: Person) -> None:
    add_alert(app, "callbacks-refused", counts={"callbacks": 4})
    high = {"failed": 20, "decided": 20, "usual_decided": 0, "usual_failed": 0}
    add_alert(app, "failures-high", counts=high)
    page = admin.get("/alerts").text
    links = {text: href for href, text in re.findall(r'href="([^"]+)"[^>]*>(Open [^<]+)<', page)}
    assert set(links) == {"Open Connection", "Open Insights"}
    insights = admin.get(html.unescape(links["Open Insights"]))
    assert admin.get(links["Open Connection"]).status_code == insights.status_code == 200
    assert "Last 24 hours, everyone's messages" in html.unescape(words(insights.text))
    assert RULES["failures-high"].page_name in RULES["failures-high"].advise("")


def test_open_alert_whose_cause_is_gone_says_when_it_ends(
    app: Flask, admin: Person, clock: time_machine.Traveller
) -> None:
    last, end = utcnow(), utcnow() + 10 * MINUTE
    add_alert(app)
    add_evaluation(app)
    assert "Not seen since" not in words(admin.get("/alerts").text)
    clock.shift(MINUTE)
    with storing(app) as session:
        session.execute(update(ScheduledJob).values(done_at=utcnow()))
    page = words(admin.get("/alerts").text)
    exact_last, exact_end = (f"{moment:%-d %b %Y, %H:%M:%S} UTC" for moment in (last, end))
    assert f"Not seen since {exact_last} . Ends at {exact_end} if it stays so." in page
    output = app.test_cli_runner().invoke(args=["alerts", "list"]).output
    sentence = f"Not seen since {format_moment(last)}. Ends at {format_moment(end)} if it stays so"
    assert f"       {sentence}.\n" in output
    with app.app_context():
        [result] = check_open_alerts()
    assert (result.verdict, result.detail.endswith(f". {sentence}")) == ("warning", True)
