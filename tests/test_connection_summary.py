"""One sentence for each state of the connection: the worst first, and quiet when there is none."""

from dataclasses import replace
from typing import Any

import pytest

from smstracker.clock import DAY, HOUR, WEEK
from smstracker.connection.report import ConnectionReport
from smstracker.connection.summary import SummaryKind, summarize
from smstracker.connection.token_rotation import Rotation
from smstracker.health_facts import WorkerStatus
from tests.health_reports import MINUTE, NEW, NOW, SILENT, WELL, cause, window, worker

CHECK_THE_WAY = "Run flask doctor: it says if callbacks can arrive, or what to look at from outside"
WITH_OTHERS = replace(window(6, period=WEEK), unmatched=9)
GOOD: list[tuple[ConnectionReport, dict[str, Any], str]] = [
    (WELL, {}, "All 124 outcomes of the last 24 hours arrived by callback"),
    (WELL, {"day": window(1)}, "The one outcome of the last 24 hours arrived by callback"),
    (WELL, {"day": window(1234)}, "All 1,234 outcomes of the last 24 hours arrived by callback"),
    (
        WELL,
        {"day": window(), "sent_in_day": 0},
        "No message was sent in the last 24 hours, so no callback was expected",
    ),
    (
        WELL,
        {"day": window(), "sent_in_day": 2},
        "None of the messages that Twilio accepted got an outcome in the last 24 hours, so there "
        "is nothing to judge yet",
    ),
    # An idle week is no silence: nothing was accepted that could have been called back.
    (
        WELL,
        {"last_callback_at": NOW - WEEK, "day": window(), "sent_in_day": 0},
        "No message was sent in the last 24 hours, so no callback was expected",
    ),
    (NEW, {}, "No message was sent in the last 24 hours, so no callback was expected"),
    (
        NEW,
        {"sent_in_day": 1, "oldest_message_at": NOW - 4 * MINUTE},
        "None of the messages that Twilio accepted got an outcome in the last 24 hours, so there "
        "is nothing to judge yet",
    ),
    (
        WELL,
        {"day": window(999, 1)},
        "1 of the 1,000 outcomes of the last 24 hours did not arrive by callback "
        "(1 did not come within 5 minutes) and was looked up",
    ),
    (
        WELL,
        {"day": window(997, 3)},
        "3 of the 1,000 outcomes of the last 24 hours did not arrive by callback "
        "(3 did not come within 5 minutes) and were looked up",
    ),
    (
        WELL,
        {"causes": (cause(500, is_plausible=False),)},
        "All 124 outcomes of the last 24 hours arrived by callback",
    ),
    # Who knows the account can forge; that is no news unless callbacks are missing.
    (
        WELL,
        {
            "hour": window(),
            "causes": (cause(9, diagnosis="No token of yours.", setting="T"),),
        },
        "All 124 outcomes of the last 24 hours arrived by callback",
    ),
    (
        WELL,
        {"causes": (cause(20, diagnosis="No token of yours fits.", setting="T"),)},
        "All 124 outcomes of the last 24 hours arrived by callback",
    ),
    (
        WELL,
        {"causes": (cause(0, day=9),)},
        "All 124 outcomes of the last 24 hours arrived by callback",
    ),
    # A worker that has started since may have other credentials.
    (
        WELL,
        {
            "credentials_refused_at": NOW - MINUTE,
            "workers": (worker(), replace(worker(), started_at=NOW - MINUTE / 2)),
        },
        "All 124 outcomes of the last 24 hours arrived by callback",
    ),
    (
        WELL,
        {"workers": (worker(), worker(age=DAY, problem="Twilio could not be reached."))},
        "All 124 outcomes of the last 24 hours arrived by callback",
    ),
]
BAD: list[tuple[ConnectionReport, dict[str, Any], str]] = [
    (
        WELL,
        {"causes": (cause(),)},
        "14 callbacks were refused in the last hour. The reason of each: "
        "Valid for http://a.example, but PUBLIC_BASE_URL is https://a.example",
    ),
    (
        WELL,
        {
            "hour": window(),
            "without_callback": 1,
            "causes": (cause(1, diagnosis="No token of yours fits.", setting="T"),),
        },
        "1 callback was refused in the last hour: No token of yours fits (check T)",
    ),
    (
        WELL,
        {
            "hour": window(by_lookup=1),
            "causes": (cause(2, diagnosis=None, setting=None),),
        },
        "2 callbacks were refused in the last hour. The reason of each: it is not known yet",
    ),
    (
        WELL,
        SILENT | {"looked_up_since_last_callback": 6},
        "Twilio has not reached this app for 42 minutes; "
        "6 messages were looked up instead. "
        f"{CHECK_THE_WAY}",
    ),
    (
        WELL,
        SILENT
        | {
            "looked_up_since_last_callback": 6,
            "week": replace(window(6, period=WEEK), unmatched=9),
        },
        "No callback of a message here has been accepted for 42 minutes; "
        "6 messages were looked up instead. "
        f"{CHECK_THE_WAY}",
    ),
    (
        WELL,
        SILENT | {"looked_up_since_last_callback": 1, "waiting_since_last_callback": 1},
        "Twilio has not reached this app for 42 minutes; 1 message waits for a callback; "
        "1 message was looked up instead. "
        f"{CHECK_THE_WAY}",
    ),
    (
        WELL,
        SILENT | {"waiting_since_last_callback": 2, "workers": ()},
        "Twilio has not reached this app for 42 minutes; 2 messages wait for a callback. "
        f"{CHECK_THE_WAY}",
    ),
    (
        WELL,
        SILENT | {"waiting_since_last_callback": 2, "workers": (worker(problem="Credentials."),)},
        "Twilio has not reached this app for 42 minutes; 2 messages wait for a callback. "
        f"{CHECK_THE_WAY}",
    ),
    (
        NEW,
        {"waiting_since_last_callback": 3, "workers": (worker(),)},
        f"No callback has ever arrived, though 3 messages wait for one. {CHECK_THE_WAY}",
    ),
    (
        NEW,
        {"looked_up_since_last_callback": 2, "workers": (worker(),)},
        f"No callback has ever arrived; 2 messages were looked up instead. {CHECK_THE_WAY}",
    ),
    (
        NEW,
        {"looked_up_since_last_callback": 2, "workers": (worker(),), "causes": (cause(0, day=2),)},
        f"No callback has ever been accepted; 2 messages were looked up instead. {CHECK_THE_WAY}",
    ),
    (
        WELL,
        SILENT | {"looked_up_since_last_callback": 2, "causes": (cause(0, day=2),)},
        "No callback has been accepted for 42 minutes; 2 messages were looked up instead. "
        f"{CHECK_THE_WAY}",
    ),
    (
        WELL,
        {"workers": (worker(problem="Twilio answered with HTTP 418."),)},
        "Twilio cannot be asked: Twilio answered with HTTP 418. "
        "Check the worker's network and TWILIO_API_BASE_URL; it asks again soon",
    ),
    (
        WELL,
        {"workers": (worker(age=2 * HOUR, problem="Old."),)},
        "The worker has not run for 2 hours: statuses that Twilio does not report are not fetched. "
        "Start flask worker, and keep it running",
    ),
    (
        NEW,
        {"sent_in_day": 1, "oldest_message_at": NOW - 5 * MINUTE},
        "No worker runs: statuses that Twilio does not report are not fetched. "
        "Start flask worker, and keep it running",
    ),
    (
        WELL,
        {"day": window(121, 3)},
        "3 of the 124 outcomes of the last 24 hours did not arrive by callback "
        "(3 did not come within 5 minutes) and were looked up. Open PUBLIC_BASE_URL/healthz on a "
        "phone without Wi-Fi, and look for error 11200 in the Debugger of Twilio's Console",
    ),
    (
        WELL,
        {"day": replace(window(121, 3), final_refused=3)},
        "3 of the 124 outcomes of the last 24 hours did not arrive by callback "
        "(3 were refused) and were looked up",
    ),
    (
        WELL,
        {"rotation": Rotation.PROMOTED},
        "The newest callbacks are signed with the secondary token: Twilio has promoted it. "
        "Set TWILIO_AUTH_TOKEN to it, and TWILIO_AUTH_TOKEN_SECONDARY to the old one",
    ),
]


@pytest.mark.parametrize(("state", "changed", "text"), GOOD)
def test_sentence_is_quiet_while_nothing_is_wrong(
    state: ConnectionReport, changed: dict[str, Any], text: str
) -> None:
    sentence = summarize(replace(state, **changed))
    assert (sentence.text, sentence.brief, sentence.is_bad) == (text, text, False)


@pytest.mark.parametrize(("state", "changed", "text"), BAD)
def test_sentence_says_what_is_wrong(
    state: ConnectionReport, changed: dict[str, Any], text: str
) -> None:
    sentence = summarize(replace(state, **changed))
    assert (sentence.text, sentence.is_bad) == (text, True)
    assert text.startswith(sentence.finding)


@pytest.mark.parametrize(
    ("workers", "second"),
    [
        ((worker(),), []),
        (
            (worker(problem="Twilio could not be reached"),),
            [
                "Twilio cannot be asked: Twilio could not be reached. Check the worker's network "
                "and TWILIO_API_BASE_URL; it asks again soon"
            ],
        ),
        (
            (),
            [
                "No worker runs: statuses that Twilio does not report are not fetched. "
                "Start flask worker, and keep it running"
            ],
        ),
    ],
)
def test_each_of_two_troubles_has_its_own_line(
    workers: tuple[WorkerStatus, ...], second: list[str]
) -> None:
    changes = SILENT | {"waiting_since_last_callback": 2, "workers": workers}
    first = "Twilio has not reached this app for 42 minutes; 2 messages wait for a callback."
    assert summarize(replace(WELL, **changes)).lines == [f"{first} {CHECK_THE_WAY}", *second]


@pytest.mark.parametrize(("state", "changed", "text"), BAD)
def test_sentence_for_everybody_names_no_setting(
    state: ConnectionReport, changed: dict[str, Any], text: str
) -> None:
    brief = summarize(replace(state, **changed)).brief
    assert "_URL" not in brief
    assert "TOKEN" not in brief
    assert "flask" not in brief
    assert brief.startswith("Statuses may be late. ") or "promoted" in brief
    assert brief.endswith(". Your administrator sees what to do")


def test_sentence_names_the_worst_first() -> None:
    everything = {
        "causes": (cause(),),
        "looked_up_since_last_callback": 1,
        "workers": (worker(problem="Credentials."),),
        "rotation": Rotation.PROMOTED,
        "day": window(1, 9),
    }
    heard = []
    for name, mended in (
        ("causes", ()),
        ("looked_up_since_last_callback", 0),
        ("workers", (worker(age=HOUR),)),
        ("workers", (worker(),)),
        ("rotation", Rotation.SETTLING),
        ("day", window(10)),
    ):
        sentence = summarize(replace(WELL, **everything))  # type: ignore[arg-type]
        assert sentence.is_bad
        heard.append(sentence.text.split()[0])
        everything[name] = mended
    assert heard == ["14", "Twilio", "Twilio", "The", "The", "9"]
    assert not summarize(replace(WELL, **everything)).is_bad  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"workers": (worker(age=HOUR),)}, SummaryKind.NO_WORKER),
        ({"workers": (worker(problem="Twilio is gone."),)}, SummaryKind.CANNOT_ASK),
        ({"rotation": Rotation.PROMOTED}, SummaryKind.PROMOTED),
        ({}, SummaryKind.NOT_STORED),
        (SILENT | {"waiting_since_last_callback": 1}, SummaryKind.NOT_STORED),
    ],
)
def test_what_is_wrong_now_stands_before_what_was(
    changed: dict[str, Any], kind: SummaryKind
) -> None:
    past = {"hour": replace(window(10), not_stored=1), "day": window(1, 9)}
    assert summarize(replace(WELL, **past | changed)).kind is kind
