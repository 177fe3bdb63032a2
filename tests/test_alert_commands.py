"""`flask alerts list` and `test`, and what `flask doctor` says of alerts."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask

from smstracker.clock import utcnow
from smstracker.doctor.alert_checks import check_alerts
from smstracker.models import Alert, ScheduledJob
from tests.alert_scenes import storing
from tests.http_receiver import receiving
from tests.serving import free_port
from tests.smtp_server import Inbox

MakeApp = Callable[..., Flask]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MINUTE = timedelta(minutes=1)


def run(app: Flask, *arguments: str) -> tuple[int, str]:
    answer = app.test_cli_runner().invoke(args=["alerts", *arguments])
    return answer.exit_code, answer.output


def test_list_says_what_is_open_and_what_was(app: Flask) -> None:
    now = utcnow()
    times = {"began_at": now - 42 * MINUTE, "opened_at": now - 40 * MINUTE, "last_true_at": now}
    ended = {"ended_at": now, "counts": {"minutes": 42, "fetched": 6}, "rule": "worker-gone"}
    with storing(app) as session:
        session.add(ScheduledJob(name="alerts", due_at=now, done_at=now))
        session.add(
            Alert(
                rule="callbacks-silent", subject="", counts={"messages": 5, "accepted": 7}, **times
            )
        )
        session.add(Alert(subject="", **times | ended))
    code, output = run(app, "list")
    assert code == 0
    opened, advice, past, end = output.splitlines()
    assert opened.startswith("open  since ")
    assert opened.endswith(
        "Callbacks stopped coming: 5 of the newest 7 messages that Twilio accepted got no callback "
        "in time: they wait for one, or were looked up."
    )
    assert advice.strip().startswith("What to do: Run flask doctor")
    assert past.startswith("ended  since ")
    assert end.strip() == "It lasted 42 minutes; the worker looked up 6 statuses meanwhile."


def test_list_says_that_nobody_looks(app: Flask) -> None:
    sentences = "No worker has looked in the last five minutes.\nNo alert is open.\n"
    assert run(app, "list") == (0, sentences)


def test_test_goes_through_each_channel(make_app: MakeApp, inbox: Inbox) -> None:
    with receiving() as receiver:
        app = make_app(
            ALERT_EMAIL="a@example.org, b@example.org",
            ALERT_WEBHOOK_URL=f"{receiver.url}/hook",
            ALERT_WEBHOOK_SECRET=SECRET,
            HEARTBEAT_URL=f"{receiver.url}/ping",
            MAIL_PORT=str(inbox.controller.port),
        )
        code, output = run(app, "test")
        assert output.splitlines() == [
            "sent     a@example.org",
            "sent     b@example.org",
            "sent     ALERT_WEBHOOK_URL",
            "fetched  HEARTBEAT_URL",
        ]
        assert (code, receiver.targets) == (0, ["/hook", "/ping"])
        assert '"type": "alert.test"' in receiver.received[0].body
    assert [to for to, _ in inbox.mails] == ["a@example.org", "b@example.org"]
    assert "This is a test" in inbox.newest


def test_test_ends_with_1_if_a_channel_failed(make_app: MakeApp, inbox: Inbox) -> None:
    app = make_app(
        ALERT_EMAIL="a@example.org",
        ALERT_WEBHOOK_URL=f"http://127.0.0.1:{free_port()}/hidden-7f3a",
        ALERT_WEBHOOK_SECRET=SECRET,
        MAIL_PORT=str(inbox.controller.port),
    )
    code, output = run(app, "test")
    assert code == 1
    assert output.splitlines() == [
        "sent     a@example.org",
        "failed   ALERT_WEBHOOK_URL: nothing listens on that port",
    ]


def test_test_without_any_channel_says_so(app: Flask) -> None:
    code, output = run(app, "test")
    assert (code, output.partition(":")[0]) == (1, "Alerts go nowhere")


@pytest.mark.parametrize(
    ("changed", "verdict", "detail", "fix"),
    [
        (
            {},
            "warning",
            "go nowhere but to the page /alerts; HEARTBEAT_URL is not set",
            "set ALERT_EMAIL or ALERT_WEBHOOK_URL, and HEARTBEAT_URL",
        ),
        (
            {"HEARTBEAT_URL": "https://b.org/y"},
            "warning",
            "go nowhere but to the page /alerts",
            "set ALERT_EMAIL or ALERT_WEBHOOK_URL",
        ),
        ({"ALERT_EMAIL": "a@b.org"}, "ok", "go to 1 address; HEARTBEAT_URL is not set", None),
        (
            {
                "ALERT_EMAIL": "a@b.org,c@b.org",
                "ALERT_WEBHOOK_URL": "https://b.org/x",
                "ALERT_WEBHOOK_SECRET": SECRET,
                "HEARTBEAT_URL": "https://b.org/y",
            },
            "ok",
            "go to 2 addresses and a webhook",
            None,
        ),
    ],
)
def test_doctor_says_where_alerts_go(
    make_app: MakeApp, changed: dict[str, str], verdict: str, detail: str, fix: str | None
) -> None:
    with make_app(**changed).app_context():
        check = check_alerts()
    assert (check.verdict, check.detail, check.fix) == (verdict, detail, fix)
