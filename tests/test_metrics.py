"""GET /metrics: guarded by its token, true for all processes, and as documented."""

import re
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Connection, event, insert, update

from config import ROOT
from smstracker.callback_requests.status_callback import Refusal
from smstracker.clock import utcnow
from smstracker.extensions import db
from smstracker.insights.rollup_job import roll_up
from smstracker.metrics import metric_queries
from smstracker.metrics import views as metrics_views
from smstracker.models import CallbackTally, Heartbeat, MetricTotal
from smstracker.models.callback_counts import REFUSAL_COLUMNS, refusal_column
from smstracker.models.metric_totals import LOOKUP_RESULTS
from smstracker.worker.lookup import LookupOutcome
from smstracker.worker.maintenance import purge
from tests.alert_scenes import add_tally
from tests.clients import Person
from tests.signing import call_back, fields, sid

MakeApp = Callable[..., Flask]
TOKEN = "metrics-token-1"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
Samples = dict[tuple[str, ...], float]


@pytest.fixture
def app(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> Flask:
    monkeypatch.setattr(metrics_views, "MAX_AGE_SECONDS", 0.0)
    return make_app(METRICS_TOKEN=TOKEN)


def scrape(app: Flask) -> Samples:
    """The samples by name and label values."""
    response = app.test_client().get("/metrics", headers=BEARER)
    assert response.status_code == 200, response.text
    families = text_string_to_metric_families(response.text)
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def test_metrics_do_not_exist_without_the_setting(make_app: MakeApp) -> None:
    response = make_app().test_client().get("/metrics", headers=BEARER)
    assert response.status_code == 404


@pytest.mark.parametrize(
    "header", [None, "", TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", "Bearer é"]
)
def test_metrics_need_the_token(app: Flask, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = app.test_client().get("/metrics", headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "smstracker_" not in response.text


@pytest.mark.both_databases
def test_metrics_open_no_session_and_are_not_cached(app: Flask) -> None:
    response = app.test_client().get("/metrics", headers=BEARER)
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert "Set-Cookie" not in response.headers
    assert response.headers["Cache-Control"] == "no-store"


def test_metrics_cannot_be_posted(app: Flask) -> None:
    assert app.test_client().post("/metrics", headers=BEARER).status_code == 405


def test_documented_metrics_are_those_that_appear(app: Flask, alice: Person) -> None:
    alice.has_message(status="failed", error_code="30007")
    table = (ROOT / "docs/monitoring.md").read_text().split("## Metrics")[1].split("\n## ")[0]
    rows = re.findall(r"(?m)^\| `(\w+)` \| (\w+) \| ([^|]*)\|", table)
    documented = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    text = app.test_client().get("/metrics", headers=BEARER).text
    families = list(text_string_to_metric_families(text))
    shown = {
        family.name + "_total" * (family.type == "counter"): (
            family.type,
            {label for sample in family.samples for label in sample.labels},
        )
        for family in families
    }
    assert shown == documented
    assert all(family.documentation.endswith(".") for family in families)


@pytest.mark.both_databases
def test_callbacks_of_all_processes_are_counted(make_app: MakeApp, app: Flask) -> None:
    other_app = make_app()
    client, other = app.test_client(), other_app.test_client()
    before = scrape(app)
    assert before["smstracker_callbacks_total", "accepted"] == 0
    for sender in (client, other, other):
        assert call_back(sender, fields(sid(1), "sent")).status_code == 204
    assert call_back(client, fields(sid(1), "sent"), token="wrong").status_code == 403
    assert client.post("/webhooks/twilio/status", json={}).status_code == 415
    samples = scrape(app)
    assert samples["smstracker_callbacks_total", "accepted"] == 3
    assert samples["smstracker_callbacks_total", "refused"] == 2
    assert samples["smstracker_callbacks_repeated_total",] == 2
    assert samples["smstracker_callbacks_unmatched_total",] == 3
    assert samples["smstracker_callbacks_refused_total", "signature"] == 1
    assert samples["smstracker_callbacks_refused_total", "not_a_form"] == 1
    assert samples["smstracker_callbacks_refused_total", "unrecorded"] == 0


def test_refusals_without_a_column_for_their_reason_are_unrecorded(app: Flask) -> None:
    add_tally(app, refused=7, refused_signature=4)
    samples = scrape(app)
    assert samples["smstracker_callbacks_refused_total", "signature"] == 4
    assert samples["smstracker_callbacks_refused_total", "unrecorded"] == 3


def test_problem_of_a_worker_that_is_gone_is_none(app: Flask) -> None:
    for age, is_problem in ((59, 1), (61, 0)):
        beat_at = utcnow() - timedelta(seconds=age)
        with app.app_context():
            db.session.query(Heartbeat).delete()
            columns = {"worker": "w", "started_at": beat_at, "beat_at": beat_at}
            db.session.add(Heartbeat(**columns, problem="Twilio could not be reached."))
            db.session.commit()
        assert scrape(app)["smstracker_worker_problem",] == is_problem


def test_each_reason_of_a_refusal_has_a_column() -> None:
    assert {refusal_column(reason) for reason in Refusal} == set(REFUSAL_COLUMNS)


@pytest.mark.both_databases
def test_time_to_store_is_counted_with_the_next_commit(app: Flask, client: FlaskClient) -> None:
    for number in range(4):
        assert call_back(client, fields(sid(number), "sent")).status_code == 204
    samples = scrape(app)
    count = samples["smstracker_callback_store_seconds_count",]
    assert count == 3
    assert samples["smstracker_callback_store_seconds_bucket", "+Inf"] == count
    assert 0 < samples["smstracker_callback_store_seconds_sum",] < 30
    buckets = [
        value
        for key, value in samples.items()
        if key[0] == "smstracker_callback_store_seconds_bucket"
    ]
    assert buckets == sorted(buckets)


@pytest.mark.both_databases
def test_counters_do_not_go_backwards_when_tallies_are_purged(
    app: Flask, client: FlaskClient
) -> None:
    now = utcnow()
    with time_machine.travel(now, tick=False) as clock:
        for number in range(3):
            call_back(client, fields(sid(number), "sent"))
        call_back(client, fields(sid(1), "sent"), token="wrong")
        before = scrape(app)
        clock.shift(timedelta(days=9))
        for _ in range(2):
            with app.app_context():
                purged = purge()["counts of callbacks"]
        assert purged == 0
        with app.app_context():
            assert db.session.query(CallbackTally).count() == 0
        after = scrape(app)
    counters = [key for key in before if "_total" in key[0] or "store_seconds" in key[0]]
    assert {key: before[key] for key in counters} == {key: after[key] for key in counters}
    assert before["smstracker_callbacks_total", "accepted"] == 3


@pytest.mark.both_databases
def test_purge_during_a_scrape_counts_nothing_twice(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = utcnow()
    with time_machine.travel(now - timedelta(days=9), tick=False):
        call_back(client, fields(sid(1), "sent"))
    read_totals = metric_queries.read_totals

    def purge_before(connection: Connection, prefix: str) -> Counter[str]:
        def purge_all() -> None:
            with app.app_context():
                for _ in range(2):
                    purge()

        with ThreadPoolExecutor() as pool:
            pool.submit(purge_all).result()
        return read_totals(connection, prefix)

    monkeypatch.setattr(metric_queries, "read_totals", purge_before)
    assert scrape(app)["smstracker_callbacks_total", "accepted"] == 1
    with app.app_context():
        assert db.session.query(CallbackTally).count() == 0


@pytest.mark.both_databases
@pytest.mark.parametrize("days", [5, 60])
@pytest.mark.parametrize("is_rolled_up", [False, True])
def test_messages_are_counted_by_state_and_error_code(
    app: Flask, alice: Person, is_rolled_up: bool, days: int
) -> None:
    bob = Person.signed_in(app, "bob@example.org")
    at = utcnow() - timedelta(days=days)
    for code in ("30007", "30007", "99999", "HTTP 401", None):
        bob.has_message(status="failed", error_code=code, created_at=at)
    alice.has_message(status="delivered", created_at=at)
    alice.has_message(status="sent", created_at=at, status_at=at)
    alice.has_message(status="sent")
    alice.has_message(status="delivered")
    if is_rolled_up:
        with app.app_context():
            for _ in range(days // 3 + 2):
                list(roll_up(None))
    samples = scrape(app)
    states = {key[1]: value for key, value in samples.items() if key[0] == "smstracker_messages"}
    assert states.pop("waiting") == 1
    assert states.pop("delivered") == 2
    assert states.pop("failed") == 5
    assert states.pop("no-receipt") == 1
    assert states == {"unknown": 0, "cancelled": 0}
    codes = {
        key[1]: value for key, value in samples.items() if key[0] == "smstracker_failed_messages"
    }
    assert codes == {"30007": 2, "other": 2, "none": 1}


@pytest.mark.both_databases
def test_too_many_messages_of_today_are_left_out_and_said_so(
    app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric_queries, "MAX_UNCOVERED_MESSAGES", 2)
    for _ in range(2):
        alice.has_message(status="delivered")
    assert scrape(app)["smstracker_messages", "delivered"] == 2
    alice.has_message(status="delivered")
    samples = scrape(app)
    assert samples["smstracker_messages", "delivered"] == 0
    as_of = samples["smstracker_messages_as_of_timestamp_seconds",]
    assert as_of < (utcnow() - timedelta(hours=1)).timestamp()


def test_message_after_the_clock_was_put_back_is_counted(app: Flask, alice: Person) -> None:
    alice.has_message(status="delivered")
    with app.app_context(), time_machine.travel(utcnow() + timedelta(days=3)):
        list(roll_up(None))
    alice.has_message(status="delivered")
    assert scrape(app)["smstracker_messages", "delivered"] == 2


def test_callbacks_of_a_process_whose_clock_is_behind_are_counted_at_once(app: Flask) -> None:
    add_tally(app, timedelta(minutes=50), accepted=1)
    assert scrape(app)["smstracker_callbacks_total", "accepted"] == 1
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(update(CallbackTally).values(accepted=2))
    assert scrape(app)["smstracker_callbacks_total", "accepted"] == 2


@pytest.mark.both_databases
def test_outbox_and_due_lookups_have_depth_and_age(app: Flask, alice: Person) -> None:
    now = utcnow()
    alice.has_message(status="outbox", send_at=now - timedelta(seconds=90))
    alice.has_message(status="outbox", send_at=now - timedelta(seconds=30))
    alice.has_message(status="outbox", send_at=None)
    alice.has_message(status="sent", next_lookup_at=now - timedelta(seconds=60))
    alice.has_message(status="sent", next_lookup_at=now + timedelta(seconds=60))
    samples = scrape(app)
    assert samples["smstracker_outbox_waiting",] == 2
    assert samples["smstracker_outbox_held",] == 1
    assert 90 <= samples["smstracker_outbox_oldest_seconds",] < 120
    assert samples["smstracker_lookup_waiting",] == 1
    assert 60 <= samples["smstracker_lookup_oldest_seconds",] < 90


@pytest.mark.both_databases
def test_workers_are_counted_by_their_heartbeats(app: Flask) -> None:
    assert scrape(app)["smstracker_worker_heartbeat_age_seconds",] == float("inf")
    now = utcnow()
    ages = {"a": timedelta(seconds=20), "b": timedelta(seconds=50), "c": timedelta(hours=1)}
    with app.app_context(), db.engine.begin() as connection:
        for name, age in ages.items():
            row = {"worker": name, "started_at": now, "beat_at": now - age, "problem": None}
            connection.execute(insert(Heartbeat).values(row))
    samples = scrape(app)
    assert samples["smstracker_workers",] == 2
    assert 20 <= samples["smstracker_worker_heartbeat_age_seconds",] < 50
    assert samples["smstracker_worker_problem",] == 0
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(update(Heartbeat).values(problem="Twilio cannot be reached."))
    assert scrape(app)["smstracker_worker_problem",] == 1


@pytest.mark.both_databases
def test_totals_add_up_over_transactions(app: Flask) -> None:
    for _ in range(2):
        with app.app_context(), db.engine.begin() as connection:
            MetricTotal.add(connection, {"lookup.changed": 2, "lookup.busy": 0})
    assert scrape(app)["smstracker_lookups_total", "changed"] == 4
    assert {outcome.name.lower() for outcome in LookupOutcome} < set(LOOKUP_RESULTS)


@pytest.mark.both_databases
def test_one_scrape_reads_for_all_within_seconds(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_views, "MAX_AGE_SECONDS", 60.0)
    statements: list[str] = []
    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    scrape(app)
    assert statements
    statements.clear()
    scrape(app)
    assert not statements


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_database_that_is_away_is_a_503(app: Flask, database_url: str) -> None:
    path = Path(database_url.removeprefix("sqlite:///"))
    path.rename(path.with_suffix(".moved"))
    response = app.test_client().get("/metrics", headers=BEARER)
    assert (response.status_code, response.text) == (503, "The database does not answer\n")


def test_no_label_holds_what_is_personal(app: Flask, alice: Person) -> None:
    message = alice.has_message(
        status="failed", error_code="+15005550009", recipient="+15005550009", twilio_sid=sid(7)
    )
    text = app.test_client().get("/metrics", headers=BEARER).text
    assert 'smstracker_failed_messages{error_code="other"} 1.0' in text
    for secret in ("5005550009", sid(7), "alice", "example.org", str(message.public_id)):
        assert secret not in text
