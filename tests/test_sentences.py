"""Each sentence on the connection appears where it is true, and not in a similar case."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from smstracker.carrier.errors import CREDENTIALS_REFUSED
from smstracker.clock import HOUR, WEEK
from smstracker.connection import wording
from smstracker.connection.report import ConnectionReport, Delay
from smstracker.connection.summary import SummaryKind, summarize
from smstracker.connection.token_rotation import Rotation
from smstracker.database.problems import DISK_FULL
from smstracker.doctor import connection_checks
from smstracker.models.outbox import OutboxCounts
from smstracker.refused.replay import ReplayForecast
from smstracker.refused.sentences import READY
from tests.health_reports import MINUTE, NEW, NOW, SILENT, WELL, cause, window, worker
from tests.source_sentences import quoted, sentences

Change = dict[str, Any]
REFUSED = {"causes": (cause(),)}
CANNOT = {"workers": (worker(problem="Twilio could not be reached."),)}
GONE = {"workers": (worker(age=2 * HOUR),)}
ONE_READY = cause(1, diagnosis=READY, setting=None)
READY_CAUSE = cause(3, diagnosis=READY, setting=None)
UNSURE = cause(3, diagnosis=None, setting=None)
FORGED = cause(3, diagnosis="No token of yours fits.")
MISSING = {"without_callback": 1, "hour": replace(WELL.hour, accepted=0)}
STALE = {"workers": (worker(problem=CREDENTIALS_REFUSED.format(status=401)),)}
HALF = timedelta(seconds=2)
UNHEARD = SILENT | {"waiting_since_last_callback": 1}
OLD = {"oldest_message_at": NOW - 2 * WEEK}


def day(**changed: Any) -> Change:
    return {"day": replace(WELL.day, **changed)}


def hour(**changed: Any) -> Change:
    return {"hour": replace(WELL.hour, **changed)}


def rotating(how: Rotation) -> Change:
    return {"rotation": how}


def report_of(change: Change) -> ConnectionReport:
    changed = dict(change)
    base = NEW if changed.pop("new", False) else WELL
    return replace(base, **changed)


# A sentence, the report that it is true of, and a similar report that it is not true of.
REPORTS: list[tuple[str, Change, Change]] = [
    (
        "Nothing can be stored, and callbacks are answered with 503: the disk is full. "
        "Free space on the disk of the database",
        {"storage_problem": DISK_FULL} | GONE | UNHEARD,
        GONE | UNHEARD,
    ),
    (
        "problem outbox: a message could be sent for 10 minutes, but no worker takes it. "
        "see the log of flask worker at worker_waits, and start it anew",
        {"stuck_since": NOW - 10 * MINUTE},
        {},
    ),
    (
        "ok outbox: 3 messages to be sent, 1 of them for a later time; 1 sender paused. ",
        {"backlog": OutboxCounts(3, 1, NOW), "paused_senders": 1},
        {"backlog": OutboxCounts(3, 0, NOW)},
    ),
    (
        "ok outbox: 3 messages to be sent, "
        "2 of them in batches that are paused or in quiet hours. ",
        {"backlog": OutboxCounts(3, 0, NOW, in_halted_batches=2)},
        {"backlog": OutboxCounts(3, 0, NOW)},
    ),
    ("ok outbox: nothing waits to be sent. ", {}, {"backlog": OutboxCounts(1, 0, NOW)}),
    (
        "ok outbox: nothing waits to be sent; a restore holds 2: the senders edit or cancel them. ",
        {"backlog": OutboxCounts(0, 0, None, 2)},
        {},
    ),
    ("The worker has not run for 2 hours", GONE, GONE | {"storage_problem": DISK_FULL}),
    (
        "problem worker: The worker has not run for 2 hours (it was w)",
        GONE,
        UNHEARD | {"workers": ()},
    ),
    (
        "problem worker: not known: nothing can be stored (the disk is full)",
        GONE | {"storage_problem": DISK_FULL},
        GONE,
    ),
    (
        "2 callbacks could not be stored in the last hour and were refused with 503, so that "
        "Twilio sends them again. To see why, look for callback_not_stored in the app's log",
        hour(not_stored=2) | UNHEARD,
        day(not_stored=2),
    ),
    (
        "1 callback could not be stored in the last hour and was refused with 503, so that "
        "Twilio sends it again",
        hour(not_stored=1),
        hour(not_stored=2),
    ),
    (
        "warning connection: 2 callbacks could not be stored in the last hour and",
        hour(not_stored=2),
        day(not_stored=2),
    ),
    (
        "Twilio has not reached this app for 42 minutes; 1 message waits for a callback. "
        "Run flask doctor: it says if callbacks can arrive, or what to look at from outside",
        UNHEARD,
        UNHEARD | hour(not_stored=1),
    ),
    (
        "look at from outside\nNo worker runs: statuses that Twilio does not report",
        UNHEARD | {"workers": ()},
        UNHEARD,
    ),
    (
        "look at from outside\nTwilio cannot be asked: ",
        SILENT | CANNOT | {"waiting_since_last_callback": 1},
        UNHEARD,
    ),
    (
        "1 message was looked up instead",
        SILENT | {"looked_up_since_last_callback": 1},
        SILENT,
    ),
    (
        "No callback has been accepted for 42 minutes",
        UNHEARD | {"causes": (cause(0),)},
        UNHEARD,
    ),
    (
        "No callback has ever arrived, though 1 message waits for one",
        {"new": True, "waiting_since_last_callback": 1, "workers": (worker(),)},
        {"new": True, "waiting_since_last_callback": 1, "workers": (worker(),)} | OLD,
    ),
    (
        "No callback has ever been accepted, though 1 message waits for one",
        {"new": True, "waiting_since_last_callback": 1, "workers": (worker(),)}
        | {"week": replace(NEW.week, not_stored=1)},
        {"new": True, "waiting_since_last_callback": 1, "workers": (worker(),)},
    ),
    (
        "No callback has arrived in the last 7 days, though 1 message waits for one",
        {"last_callback_at": None, "waiting_since_last_callback": 1} | OLD,
        {"new": True, "waiting_since_last_callback": 1, "workers": (worker(),)},
    ),
    (
        "No callback of a message here has been accepted for 42 minutes",
        UNHEARD | {"week": replace(WELL.week, unmatched=1)},
        UNHEARD,
    ),
    (
        "14 callbacks were refused in the last hour. The reason of each: Valid for http://a.example",
        {"causes": (cause(),)},
        {"causes": (cause(0, day=14),)},
    ),
    (
        "1 callback was refused in the last hour: Valid for http://a.example",
        {"causes": (cause(1),)},
        {"causes": (cause(2),)},
    ),
    (
        "17 callbacks were refused in the last hour. The reason of 14: Valid for http://a.example",
        {"causes": (cause(), FORGED)} | MISSING,
        {"causes": (cause(17),)},
    ),
    (
        "3 callbacks refused in the last hour are valid with today's settings: replay them",
        {"causes": (READY_CAUSE,)},
        {"causes": (READY_CAUSE, FORGED)} | MISSING,
    ),
    (
        "1 callback refused in the last hour is valid with today's settings: replay it",
        {"causes": (ONE_READY,)},
        {"causes": (READY_CAUSE,)},
    ),
    (
        "1 of the 4 callbacks refused in the last hour is valid with today's settings: replay it",
        {"causes": (ONE_READY, FORGED)} | MISSING,
        {"causes": (cause(4, diagnosis=READY, setting=None),)},
    ),
    (
        "Statuses may be late. 1 of the 4 callbacks refused in the last hour is valid with "
        "today's settings. Your administrator sees what to do",
        {"causes": (ONE_READY, FORGED)} | MISSING,
        {"causes": (FORGED,)},
    ),
    (
        "refused in the last hour. The reason of each: it is not known yet",
        {"causes": (UNSURE,)} | hour(by_callback=0, accepted=0, by_lookup=1),
        {"causes": (UNSURE,)},
    ),
    (
        "Twilio cannot be asked: Twilio could not be reached. "
        "Check the worker's network and TWILIO_API_BASE_URL; it asks again soon",
        CANNOT,
        {},
    ),
    (
        "Twilio cannot be asked: Twilio did not accept the credentials (HTTP 403)",
        {"workers": (worker(problem=CREDENTIALS_REFUSED.format(status=403)),)},
        STALE,
    ),
    (
        "Twilio does not accept the credentials, so nothing can be sent or looked up, and its "
        "callbacks are refused. Compare TWILIO_AUTH_TOKEN and TWILIO_ACCOUNT_SID with the Twilio "
        "Console, and restart",
        STALE | MISSING | {"causes": (FORGED,)},
        STALE | MISSING | {"causes": (cause(),)},
    ),
    (
        "so nothing can be sent or looked up. Compare TWILIO_AUTH_TOKEN",
        {"credentials_refused_at": NOW - MINUTE},
        {"credentials_refused_at": NOW - 61 * MINUTE},
    ),
    (
        "so nothing can be sent or looked up. Your administrator sees what to do",
        {"credentials_refused_at": NOW - MINUTE},
        {
            "credentials_refused_at": NOW - MINUTE,
            "workers": (replace(worker(), started_at=NOW - MINUTE / 2),),
        },
    ),
    (
        "Nothing can be sent. Nothing can be stored, and callbacks are answered with 503: the "
        "disk is full. Your administrator sees what to do",
        {"storage_problem": DISK_FULL},
        {},
    ),
    (
        "No worker runs: statuses that Twilio does not report are not fetched. Start flask worker",
        {"new": True, "oldest_message_at": NOW - 6 * MINUTE},
        {"new": True, "oldest_message_at": NOW - 4 * MINUTE},
    ),
    (
        "Sending may fail. The newest callbacks are signed with the secondary token: Twilio has "
        "promoted it. Your administrator sees what to do",
        rotating(Rotation.PROMOTED),
        rotating(Rotation.SETTLING),
    ),
    (
        "The newest callbacks are signed with the secondary token: Twilio has promoted it. "
        "Set TWILIO_AUTH_TOKEN to it, and TWILIO_AUTH_TOKEN_SECONDARY to the old one",
        rotating(Rotation.PROMOTED),
        rotating(Rotation.SETTLING),
    ),
    (
        "1 of the 125 outcomes of the last 24 hours did not arrive by callback "
        "(1 did not come within 5 minutes) and was looked up",
        day(by_lookup=1),
        day(by_lookup=0),
    ),
    (
        "by callback (1 was refused, 2 did not come within 5 minutes) and",
        day(by_lookup=3, final_refused=1),
        day(by_lookup=3),
    ),
    (
        "by callback (2 were refused) and were looked up",
        day(by_lookup=2, final_refused=2),
        day(by_lookup=3, final_refused=2),
    ),
    (
        "(2 did not come within 5 minutes or were not stored)",
        day(by_lookup=2, not_stored=1),
        day(by_lookup=2),
    ),
    ("All 124 outcomes of the last 24 hours arrived by callback", {}, day(by_lookup=1)),
    (
        "The one outcome of the last 24 hours arrived by callback",
        {"day": window(1)},
        {"day": window(0, 1)},
    ),
    (
        "The one outcome of the last 24 hours did not arrive by callback "
        "(1 did not come within 5 minutes) and was",
        {"day": window(0, 1)},
        {"day": window(1, 1)},
    ),
    (
        "None of the messages that Twilio accepted got an outcome in the last 24 hours, so there "
        "is nothing to judge yet",
        {"day": window()},
        {"day": window(), "sent_in_day": 0},
    ),
    (
        "No message was sent in the last 24 hours, so no callback was expected",
        {"day": window(), "sent_in_day": 0},
        {"day": window()},
    ),
    # The lines of flask doctor.
    (
        "problem connection: Twilio has not reached this app for 42 minutes; 1 message waits for a "
        "callback. see the lines callbacks and worker",
        UNHEARD,
        UNHEARD | {"causes": (cause(0),)},
    ),
    (
        "callback. callbacks can arrive from this machine, so open PUBLIC_BASE_URL/healthz on a "
        "phone without Wi-Fi, and look for error 11200 in the Debugger of Twilio's Console",
        UNHEARD | {"is_reached": True},
        UNHEARD | {"is_reached": True, "causes": (cause(0),)},
    ),
    (
        "see the lines callbacks, refused and worker",
        UNHEARD | {"causes": (cause(0),)},
        UNHEARD,
    ),
    (
        "problem connection: 14 callbacks were refused in the last hour. start the demo with make "
        "run, or set the PORT with which it runs",
        {"causes": (cause(),), "workers": (), "is_demo": True} | MISSING,
        {"causes": (cause(),), "is_demo": True} | MISSING,
    ),
    (
        "worker: No worker runs. start the demo with make run",
        {"workers": (), "is_demo": True},
        {"workers": ()},
    ),
    (
        "warning connection: 14 callbacks",
        {"causes": (cause(),)},
        {"causes": (cause(),)} | hour(accepted=0),
    ),
    (
        "problem connection: 14 callbacks",
        {"causes": (cause(),)} | hour(accepted=0),
        {"causes": (cause(),)},
    ),
    ("problem connection: Twilio has not", UNHEARD, SILENT),
    (
        "problem refused: 3 in 24 hours, 3 in 7 days: No token of yours fits. flask callbacks list",
        {"causes": (FORGED,)} | day(accepted=0),
        {"causes": (replace(FORGED, is_plausible=False),)} | day(accepted=0),
    ),
    ("warning refused: 3 in 24", {"causes": (FORGED,)}, {"causes": (FORGED,)} | day(accepted=0)),
    ("refused: 3 in 24 hours, 3 in 7 days: No token of yours", {"causes": (FORGED,)}, {}),
    (
        "3 in 7 days, from strangers: No token of yours",
        {"causes": (replace(FORGED, is_plausible=False),)},
        {"causes": (FORGED,)},
    ),
    ("flask callbacks list", {"causes": (FORGED,)}, {"causes": (READY_CAUSE,)}),
    ("flask callbacks replay --all", {"causes": (READY_CAUSE,)}, {"causes": (FORGED,)}),
    ("token rotation: none is under way", rotating(Rotation.NONE), rotating(Rotation.NO_CALLBACK)),
    (
        "a secondary token is set; no callback since then shows which one signs",
        rotating(Rotation.NO_CALLBACK),
        rotating(Rotation.PRIMARY_SIGNS),
    ),
    (
        "a secondary token is set; the newest callbacks are signed with TWILIO_AUTH_TOKEN",
        rotating(Rotation.PRIMARY_SIGNS),
        rotating(Rotation.PROMOTED),
    ),
    (
        "a few of the newest callbacks are signed with the secondary token, as is normal for some "
        "minutes after a rotation",
        rotating(Rotation.SETTLING),
        rotating(Rotation.PROMOTED),
    ),
    (
        "it is over: the newest callbacks are signed with TWILIO_AUTH_TOKEN, and for 15 minutes "
        "none with the secondary token. remove TWILIO_AUTH_TOKEN_SECONDARY",
        rotating(Rotation.DONE),
        rotating(Rotation.PRIMARY_SIGNS),
    ),
    (
        "the newest callbacks are signed with the secondary token: Twilio has promoted it",
        rotating(Rotation.PROMOTED),
        rotating(Rotation.DONE),
    ),
    (
        "worker: runs, but cannot ask: Twilio could not be reached. "
        "check the worker's network and TWILIO_API_BASE_URL; it asks again soon",
        CANNOT,
        {},
    ),
    (
        "worker: No worker runs. start flask worker, and keep it running",
        {"workers": ()},
        {"workers": (worker(),)},
    ),
    ("last callback: none yet", {"new": True}, {}),
    ("none in the last 7 days", {"last_callback_at": None} | OLD, {"new": True}),
    (
        "callbacks in 24 hours: 248 accepted, 0 of them repeated, 0 refused; "
        "124 outcomes by callback, 0 by look-up (0 %)",
        {},
        {"day": window(1)},
    ),
    ("; 1 outcome by callback, 0 by look-up", {"day": window(1)}, {"day": window(2)}),
    ("95 % within 2.0 s (1 message:", {"to_final": Delay(HALF, HALF, 1)}, {}),
    ("0 refused, 2 could not be stored; 124 outcomes", day(not_stored=2), {}),
    (
        "time to outcome: half within 2.0 s, 95 % within 2.0 s (9 messages: few, so only a hint)",
        {"to_final": Delay(HALF, HALF, 9)},
        {"to_final": Delay(HALF, HALF, 90)},
    ),
]
# A sentence, a text that has it, and a text that has not.
WORDINGS: list[tuple[str, str, str]] = [
    ("There was nothing to replay.", wording.describe_replay(0, 0), wording.describe_replay(0, 1)),
    (
        "Another replay applied 2 callbacks at the same time.",
        wording.describe_replay(0, 0, applied_by_others=2),
        wording.describe_replay(2, 0),
    ),
    (
        "1 callback was applied. 2 callbacks stay refused. 2 ×: Why.",
        wording.describe_replay(1, 2, [("Why.", 2)]),
        wording.describe_replay(1, 0),
    ),
    (
        "The other reasons are below.",
        wording.describe_replay(0, 4, [(f"{number}.", 1) for number in range(4)]),
        wording.describe_replay(0, 3, [(f"{number}.", 1) for number in range(3)]),
    ),
    (
        "Every refused callback has been applied.",
        wording.describe_forecast(ReplayForecast((), is_complete=True), refusal_waits=False),
        wording.describe_forecast(ReplayForecast((), is_complete=True), refusal_waits=True),
    ),
    (
        "Replay applies only what is valid with today's settings.",
        wording.describe_forecast(ReplayForecast((), is_complete=False), refusal_waits=True),
        wording.describe_forecast(ReplayForecast((7,), is_complete=True), refusal_waits=True),
    ),
    (
        "Replay applies the 1 callback that is valid now.",
        wording.describe_forecast(ReplayForecast((7,), is_complete=True), refusal_waits=True),
        wording.describe_forecast(ReplayForecast((), is_complete=True), refusal_waits=True),
    ),
    (
        "None is valid with today's settings, so none can be applied. Fix a cause named above and "
        "restart: a Replay button then appears here. What none of your tokens or keys signed is "
        "never applied.",
        wording.describe_forecast(ReplayForecast((), is_complete=True), refusal_waits=True),
        wording.describe_forecast(ReplayForecast((7, 8), is_complete=True), refusal_waits=True),
    ),
    ("under 1 %", wording.format_share(4, 1000, 0), wording.format_share(0, 1000, 0)),
    ("over 99 %", wording.format_share(996, 1000, 0), wording.format_share(1000, 1000, 0)),
    *(
        (
            sentence,
            wording.cause_sentence(cause(diagnosis=None, reason=reason)),
            wording.cause_sentence(cause(diagnosis="Known.", reason=reason)),
        )
        for reason, sentence in (
            ("signature", "The signature does not verify."),
            ("unreadable", "Signed, but without a message SID or status."),
            ("not-a-form", "Not a form."),
            ("too-large", "Larger than any callback."),
            ("inbound", "An incoming message, not a status callback."),
            ("json", "JSON of another webhook."),
            ("recut", "A captured callback with rearranged fields."),
            ("address", "Not a callback address."),
            ("new", "Refused (new)."),
        )
    ),
]


def lines(change: Change) -> str:
    """What banner, page and flask doctor say of a report."""
    changed = dict(change)
    is_demo, is_reached = (bool(changed.pop(name, False)) for name in ("is_demo", "is_reached"))
    report = report_of(changed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_checks, "build_report", lambda _now: report)
        results = list(connection_checks.check_connection(is_demo, is_reached))
    checks = [f"{row.verdict} {row.check}: {row.detail}. {row.fix or ''}" for row in results]
    summary = summarize(report)
    return "\n".join([*summary.lines, summary.brief, *checks])


@cache
def cases() -> list[tuple[str, str, str]]:
    """A sentence, a text that has it, and a similar one that has not."""
    reports = [(sentence, lines(matching), lines(other)) for sentence, matching, other in REPORTS]
    return [*reports, *WORDINGS]


@pytest.mark.parametrize("number", range(len(REPORTS) + len(WORDINGS)))
def test_sentence_stands_where_it_is_true_and_only_there(number: int) -> None:
    sentence, matching, other = cases()[number]
    assert sentence in matching
    assert sentence not in other


@pytest.mark.parametrize(
    "module",
    [
        "connection/summary.py",
        "connection/token_rotation.py",
        "doctor/connection_checks.py",
        "connection/wording.py",
    ],
)
def test_every_sentence_on_the_connection_has_its_case(module: str) -> None:
    def has_case(part: str) -> bool:
        return any(
            part in matching and (part in sentence or part not in other)
            for sentence, matching, other in cases()
        )

    assert [part for part in sentences(module) if not has_case(part)] == ["cannot be judged ("] * (
        module == "doctor/connection_checks.py"
    )


def test_every_kind_of_summary_has_a_case() -> None:
    reports = [
        report_of(matching)
        for _, matching, _ in REPORTS
        if not {"is_demo", "is_reached"} & set(matching)
    ]
    assert {summarize(report).kind for report in reports} == set(SummaryKind)


def test_connection_that_cannot_be_judged_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_now: object) -> ConnectionReport:
        raise OperationalError("SELECT", {}, Exception())

    monkeypatch.setattr(connection_checks, "build_report", fail)
    [result] = connection_checks.check_connection(is_demo=False, is_reached=True)
    assert (result.verdict, result.check) == ("problem", "connection")
    assert result.detail.startswith("cannot be judged (")


def unquoted(module: str, *test_files: str) -> Iterator[str]:
    texts = quoted(*test_files)
    for part in sentences(module):
        if not any(text in part or part in text for text in texts):
            yield part


@pytest.mark.parametrize(
    ("module", "test_files"),
    [
        ("doctor/checks.py", ("test_doctor.py", "test_callback_edge.py", "test_alert_commands.py")),
        (
            "network_errors.py",
            (
                *("test_network_errors.py", "test_doctor.py", "test_callback_probe.py"),
                "test_mailer.py",
            ),
        ),
        ("doctor/callback_probe.py", ("test_callback_probe.py", "test_shared_keys.py")),
        (
            "refused/sentences.py",
            ("test_diagnosis.py", "test_shared_keys.py", "test_sentences.py", "test_connection.py"),
        ),
    ],
)
def test_every_sentence_of_a_check_is_expected_by_a_test(
    module: str, test_files: tuple[str, ...]
) -> None:
    no_sentences = {"  at both ends ", "Zoë ✓ 🚀", "1+1=2 & more", "empty fields added"}
    assert set(unquoted(module, *test_files)) <= no_sentences
