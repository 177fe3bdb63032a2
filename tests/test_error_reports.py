"""Error reports: every failure arrives, and nothing that the program handled goes with it."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import event
from werkzeug.routing import AnyConverter, BaseConverter, IntegerConverter

from config import ROOT, ConfigError
from smstracker import error_reports
from smstracker.commands import MODULES
from smstracker.error_reports import ReportHandler
from smstracker.extensions import db
from smstracker.models import User
from smstracker.worker import loop
from smstracker.worker.loop import JOBS, Worker
from tests.clients import Person
from tests.live_settings import live_environment, settings
from tests.sentry_receiver import SentryReceiver
from tests.signing import BASE_URL, call_back, fields, sid
from tests.stream_readers import wait_until

MakeApp = Callable[..., Flask]
NUMBER, TEXT, SECRET = "5005550987", "marked-text", "marked-secret"
MARKS = (NUMBER, TEXT, SECRET, "alice", "X-Twilio-Signature", "Cookie", "Bearer", sid(7))
FREE_STATEMENTS = (
    "user_session",
    "rate_limit",
    'from "user"',
    "set_config",
)  # beneath the view, not before it
COMMANDS = {
    "users": ["add", f"{TEXT}@example.org"],
    "messages": ["show", sid(7)],
    "callbacks": ["list"],
    "alerts": ["list"],
    "tokens": ["list"],
    "batches": ["list"],
    "audit": ["list"],
    "purge": [],
}
# They report trouble themselves, in a sentence or as a check.
WITHOUT_REPORT = {"worker", "doctor", "backup", "restore"}


class MarkedError(Exception):
    """What a fault of the program may look like: its message holds what must not leave."""


@pytest.fixture
def receiver() -> Iterator[SentryReceiver]:
    receiver = SentryReceiver()
    yield receiver
    receiver.close()


@pytest.fixture
def app(
    make_app: MakeApp, receiver: SentryReceiver, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Flask]:
    monkeypatch.setattr(error_reports, "LIMIT", (1000, 1000))
    hooks = sys.excepthook, threading.excepthook
    app = make_app(SENTRY_DSN=receiver.dsn, METRICS_TOKEN=SECRET)
    yield app
    sys.excepthook, threading.excepthook = hooks
    handler: ReportHandler = app.extensions["error_reports"]
    error_reports.LOGGER.removeHandler(handler)
    handler.client.close(timeout=5)


def fail_statements(app: Flask) -> None:
    """Have every statement fail but those that let a signed-in person in."""

    def fail(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        sentence = statement.lower()
        is_query = sentence.startswith(("select", "insert", "update", "delete", "with"))
        if is_query and not any(words in sentence for words in FREE_STATEMENTS):
            local_variable = f"+1{NUMBER} {TEXT}"
            raise MarkedError(local_variable) from KeyError(local_variable)

    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", fail)


def value_for(converter: BaseConverter) -> str | int:
    """Something that an address may hold there."""
    if isinstance(converter, AnyConverter):
        return min(converter.items)
    is_number = isinstance(converter, IntegerConverter)
    return 1 if is_number else "00000000-0000-4000-8000-000000000000"


def assert_unmarked(receiver: SentryReceiver) -> None:
    everything = receiver.everything
    for mark in MARKS:
        assert mark not in everything


def test_every_route_reports_its_failure_without_what_it_handled(
    app: Flask, alice: Person, receiver: SentryReceiver
) -> None:
    with app.app_context():
        db.session.query(User).update({"administrator": True})
        db.session.commit()
    fail_statements(app)
    failed = set()
    marked = {"q": TEXT, "body": TEXT, "recipient": f"+1{NUMBER}", "csrf_token": SECRET}
    headers = {"Authorization": f"Bearer {SECRET}", "X-Twilio-Signature": SECRET}
    app.config["WTF_CSRF_ENABLED"] = False
    # In the end, signing out ends the session of all others.
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.endpoint == "auth.sign_out"):
        names = {name: value_for(converter) for name, converter in rule._converters.items()}
        names |= {"kind": "csv"} if "kind" in names else {}
        path = app.url_map.bind("localhost").build(rule.endpoint, names)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            response = alice.client.open(
                path,
                method=method,
                query_string={"q": TEXT, "phone": NUMBER},
                data=marked if method == "POST" else None,
                headers=headers,
            )
            if response.status_code in (500, 503):
                failed.add(f"{method} {rule.rule}")
            response.close()
    message = fields(sid(7), "sent", To=f"+1{NUMBER}", Body=TEXT)
    assert call_back(alice.client, message).status_code == 503
    assert len(failed) > 15, failed
    wanted = {place for place in failed if not place.endswith(("/readyz", "<path:path>"))}
    events = receiver.wait_for(len(wanted))
    told = {place for place in wanted if "/webhooks" not in place}
    wait_until(lambda: told <= {report.get("transaction") for report in receiver.events})
    kinds = {values["type"] for report in events for values in report["exception"]["values"]}
    assert {"MarkedError", "KeyError"} <= kinds
    wanted_events = {"callback_not_stored", "unexpected_error"}
    wait_until(
        lambda: wanted_events <= {r["tags"]["event"] for r in receiver.events if "tags" in r}
    )
    assert_unmarked(receiver)


def test_report_holds_the_listed_facts_and_no_others(
    app: Flask, alice: Person, receiver: SentryReceiver
) -> None:
    fail_statements(app)
    assert alice.client.get(f"/messages?q={TEXT}").status_code == 500
    [report] = receiver.wait_for(1)
    report.pop("sdk", None)  # the name of the library
    assert report.keys() == {
        *("event_id", "timestamp", "level", "platform", "release", "environment"),
        *("exception", "transaction", "tags"),
    }
    assert report["transaction"] == "GET /messages"
    assert report["environment"] == "live"
    cause, error = report["exception"]["values"]
    assert (cause["type"], error["type"]) == ("KeyError", "MarkedError")
    assert error.keys() == {"type", "module", "stacktrace"}
    frames = error["stacktrace"]["frames"]
    assert {"module", "function", "lineno", "in_app"} == {name for f in frames for name in f}
    assert any(frame["in_app"] for frame in frames)
    assert_unmarked(receiver)


@pytest.mark.parametrize("job", sorted(JOBS))
def test_every_job_of_the_worker_reports_its_failure(
    app: Flask, receiver: SentryReceiver, monkeypatch: pytest.MonkeyPatch, job: str
) -> None:
    def fail(_last_done: object) -> Iterator[int]:
        raise MarkedError(f"+1{NUMBER} {TEXT}")
        yield 0

    monkeypatch.setitem(loop.JOBS, job, (fail, JOBS[job][1]))
    worker = Worker()
    with app.app_context():
        worker._work_or_wait()
        worker.join_threads()
    [report] = receiver.wait_for(1)
    assert report["exception"]["values"][-1]["type"] == "MarkedError"
    assert_unmarked(receiver)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_reports_its_failure(
    app: Flask, receiver: SentryReceiver, command: str
) -> None:
    fail_statements(app)
    outcome = app.test_cli_runner().invoke(args=[command, *COMMANDS[command]])
    assert isinstance(outcome.exception, MarkedError)
    assert outcome.exc_info
    sys.excepthook(*outcome.exc_info)  # as Python does at the end of the process
    [report] = receiver.wait_for(1)
    assert report["tags"] == {"event": "uncaught_exception"}
    assert_unmarked(receiver)


def test_all_commands_are_tried() -> None:
    assert MODULES.keys() == COMMANDS.keys() | WITHOUT_REPORT


def test_failure_of_a_thread_is_reported(app: Flask, receiver: SentryReceiver) -> None:
    def fail() -> None:
        raise MarkedError(TEXT)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    receiver.wait_for(1)
    assert_unmarked(receiver)


@pytest.mark.slow
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_sentry_that_does_not_answer_delays_no_request(
    app: Flask, alice: Person, receiver: SentryReceiver
) -> None:
    receiver.may_answer.clear()
    fail_statements(app)
    assert alice.client.get("/messages").status_code == 500
    assert receiver.stalled.wait(10)
    started_at = time.monotonic()
    for _ in range(5):
        assert alice.client.get("/messages").status_code == 500
    assert time.monotonic() - started_at < 2
    started_at = time.monotonic()
    app.extensions["error_reports"].client.close(timeout=error_reports.CLOSE_SECONDS)
    assert time.monotonic() - started_at < 2.5


def test_flood_of_failures_is_cut(
    app: Flask, alice: Person, receiver: SentryReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler: ReportHandler = app.extensions["error_reports"]
    monkeypatch.setattr(handler, "_bucket", error_reports.TokenBucket(0, 2))
    fail_statements(app)
    for _ in range(4):
        assert alice.client.get("/messages").status_code == 500
    handler.client.flush(timeout=5)
    assert len(receiver.events) == 2


@pytest.mark.slow
def test_library_is_not_loaded_without_the_setting() -> None:
    code = "import sys, wsgi; print({'sentry_sdk', 'prometheus_client'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=live_environment(PYTHONPATH=str(ROOT), PATH=os.environ["PATH"]),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize(
    ("dsn", "fault"),
    [
        ("sentry.example.org", "must be like https://key@sentry.example.org/1"),
        ("https://k3y@[::1/1", "must be like https://key@sentry.example.org/1"),
        ("https://sentry.example.org/1", "must have the key and an @ before the host"),
        ("https://@sentry.example.org/1", "must have a key of letters and digits before the @"),
        ("https://k-3y@sentry.example.org/1", "must have a key of letters and digits before the @"),
        (
            "https://k3y:s3cret@sentry.example.org/1",
            "must have no colon and second key before the @: leave both out",
        ),
        (
            "http://k3y@sentry.example.org/1",
            "must begin with https:// unless it is a loopback address",
        ),
        ("https://k3y@sentry.example.org/1?x=1", "must have no ? or # and nothing after it"),
        ("https://k3y@sentry.example.org/1#x", "must have no ? or # and nothing after it"),
        *(
            (
                f"https://k3y@sentry.example.org{path}",
                "must end in a slash and the number of the project",
            )
            for path in ("", "/", "/my-project")
        ),
    ],
)
def test_dsn_stops_the_start_by_what_is_wrong_with_it(dsn: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(SENTRY_DSN=dsn)
    assert caught.value.problems == [f"SENTRY_DSN: {fault}"]


def test_dsn_of_sentry_is_accepted() -> None:
    dsn = "https://0123456789abcdef@o12.ingest.de.sentry.example/34"
    assert settings(SENTRY_DSN=dsn, PUBLIC_BASE_URL=BASE_URL).sentry_dsn == dsn
