"""Each sentence on the connection has a scene that makes it true, and one beside it without it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from smstracker.connection import wording
from smstracker.connection.report import HOUR, WEEK, ConnectionReport, Delay
from smstracker.connection.summary import SummaryKind, summarize
from smstracker.connection.token_rotation import Rotation
from smstracker.database.problems import DISK_FULL
from smstracker.doctor.checks import connection_checks
from smstracker.refused.diagnosis import READY
from smstracker.refused.replay import ReplayForecast
from tests.health_reports import MINUTE, NEW, NOW, SILENT, WELL, cause, window, worker
from tests.source_sentences import quoted, sentences

Change = dict[str, Any]
REFUSED = {"causes": (cause(),)}
CANNOT = {"workers": (worker(problem="Twilio could not be reached."),)}
GONE = {"workers": (worker(age=2 * HOUR),)}
ONE_READY = cause(1, diagnosis=READY, setting=None)
READY_CAUSE = cause(3, diagnosis=READY, setting=None)
UNSURE = cause(3, diagnosis=None, setting=None)
FORGED = cause(3, diagnosis="Signed with no token of yours.")
HALF = timedelta(seconds=2)
UNHEARD = SILENT | {"waiting_since": 1}
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


# What is said, the scene that makes it true, and the scene beside it that must not show it.
SCENES: list[tuple[str, Change, Change]] = [
    (
        "Nothing can be stored, and callbacks are answered with 503: the disk is full. "
        "Free space on the disk of the database",
        {"storage": DISK_FULL} | GONE | UNHEARD,
        GONE | UNHEARD,
    ),
    ("The worker has not run for 2 hours", GONE, GONE | {"storage": DISK_FULL}),
    (
        "problem worker: not known: nothing can be stored (the disk is full)",
        GONE | {"storage": DISK_FULL},
        GONE,
    ),
    (
        "2 callbacks could not be stored in the last hour and were refused with 503, so that "
        "Twilio sends them again. The app's log says why at callback_not_stored",
        hour(not_stored=2) | UNHEARD,
        day(not_stored=2),
    ),
    (
        "Twilio has not reached this app for 42 minutes; 1 message waits for a callback. "
        "Check with flask doctor that PUBLIC_BASE_URL is reached from outside",
        UNHEARD,
        UNHEARD | hour(not_stored=1),
    ),
    ("waits for a callback, and no worker runs", UNHEARD | {"workers": ()}, UNHEARD),
    ("outside, and start flask worker", UNHEARD | {"workers": ()}, UNHEARD),
    (
        "waits for a callback, and Twilio cannot be asked",
        SILENT | CANNOT | {"waiting_since": 1},
        UNHEARD,
    ),
    ("Twilio was asked about 1 message instead", SILENT | {"repaired_since": 1}, SILENT),
    (
        "No callback has been accepted for 42 minutes",
        UNHEARD | {"causes": (cause(0),)},
        UNHEARD,
    ),
    (
        "No callback has ever come, though 1 message waits for one",
        {"new": True, "waiting_since": 1, "workers": (worker(),)},
        {"new": True, "waiting_since": 1, "workers": (worker(),)} | OLD,
    ),
    (
        "No callback has come in the last 7 days, though 1 message waits for one",
        {"last_callback_at": None, "waiting_since": 1} | OLD,
        {"new": True, "waiting_since": 1, "workers": (worker(),)},
    ),
    (
        "14 callbacks were refused in the last hour: Valid for http://a.example",
        {"causes": (cause(),)},
        {"causes": (cause(0, day=14),)},
    ),
    (
        "3 callbacks were refused in the last hour: valid with today's settings. Replay them",
        {"causes": (READY_CAUSE,)},
        {"causes": (replace(READY_CAUSE, hour=0),)},
    ),
    (
        "valid with today's settings. Replay it",
        {"causes": (ONE_READY,)},
        {"causes": (READY_CAUSE,)},
    ),
    (
        "refused in the last hour: why is not known yet",
        {"causes": (UNSURE,)} | hour(told=0, accepted=0, missed=1),
        {"causes": (UNSURE,)},
    ),
    ("Twilio cannot be asked: Twilio could not be reached", CANNOT, {}),
    (
        "No worker runs: what Twilio does not report is not fetched. Start flask worker",
        {"new": True, "oldest_message_at": NOW - 6 * MINUTE},
        {"new": True, "oldest_message_at": NOW - 4 * MINUTE},
    ),
    (
        "The newest callbacks are signed with the secondary token: Twilio has promoted it. "
        "Set TWILIO_AUTH_TOKEN to it, and TWILIO_AUTH_TOKEN_SECONDARY to the old one",
        rotating(Rotation.PROMOTED),
        rotating(Rotation.SETTLING),
    ),
    (
        "For 1 of 125 messages finished in the last 24 hours no valid callback told the outcome: "
        "1 did not come in time. Twilio was asked instead",
        day(missed=1),
        day(missed=0),
    ),
    (
        "told the outcome: 1 was refused, 2 did not come in time. Twilio",
        day(missed=3, refused_finals=1),
        day(missed=3),
    ),
    (
        "told the outcome: 2 were refused. Twilio",
        day(missed=2, refused_finals=2),
        day(missed=3, refused_finals=2),
    ),
    (
        "2 did not come in time or could not be stored",
        day(missed=2, not_stored=1),
        day(missed=2),
    ),
    ("All 124 outcomes of the last 24 hours were called back", {}, day(missed=1)),
    (
        "The one outcome of the last 24 hours was called back",
        {"day": window(1)},
        {"day": window(0, 1)},
    ),
    (
        "No sent message was finished in the last 24 hours, so there is nothing to judge yet",
        {"day": window()},
        {"day": window(), "sent_in_day": 0},
    ),
    (
        "No message was sent in the last 24 hours, so no callback was expected",
        {"day": window(), "sent_in_day": 0},
        {"day": window()},
    ),
    # The lines of flask doctor.
    ("see the page /callbacks", {"causes": (cause(),)}, {}),
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
        "problem refused: 3 callbacks were refused in 24 hours, and none accepted. "
        "flask callbacks list says why",
        {"causes": (FORGED,)} | day(accepted=0),
        {"causes": (replace(FORGED, is_plausible=False),)} | day(accepted=0),
    ),
    ("refused: 3 in 24 hours, 3 in 7 days: Signed with", {"causes": (FORGED,)}, {}),
    (
        "3 in 7 days, from strangers: Signed with",
        {"causes": (replace(FORGED, is_plausible=False),)},
        {"causes": (FORGED,)},
    ),
    ("flask callbacks list", {"causes": (FORGED,)}, {"causes": (READY_CAUSE,)}),
    ("flask callbacks replay --all", {"causes": (READY_CAUSE,)}, {"causes": (FORGED,)}),
    ("token rotation: none is under way", rotating(Rotation.NONE), rotating(Rotation.UNSEEN)),
    (
        "a secondary token is set; no callback has come since that shows which signs",
        rotating(Rotation.UNSEEN),
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
    ("worker: runs, but cannot ask: Twilio could not be reached", CANNOT, {}),
    (
        "worker: none has run. start flask worker, and keep it running",
        {"workers": ()},
        {"workers": (worker(),)},
    ),
    ("last callback: none has come yet", {"new": True}, {}),
    ("none has come in the last 7 days", {"last_callback_at": None} | OLD, {"new": True}),
    (
        "callbacks in 1 day: 248 accepted, 0 of them repeated, 0 refused; "
        "124 outcomes by callback, 0 by asking (0 %)",
        {},
        {"day": window(1)},
    ),
    ("0 refused, 2 could not be stored; 124 outcomes", day(not_stored=2), {}),
    (
        "time to outcome: half within 2.0 s, 95 % within 2.0 s (9 messages: few, so a hint only)",
        {"to_final": Delay(HALF, HALF, 9)},
        {"to_final": Delay(HALF, HALF, 90)},
    ),
]
# Each a call that says it, and one that says something else.
WORDS: list[tuple[str, str, str]] = [
    ("There was nothing to replay.", wording.replayed(0, 0), wording.replayed(0, 1)),
    (
        "1 callback was applied. 2 callbacks stay refused. 2 ×: Why.",
        wording.replayed(1, 2, [("Why.", 2)]),
        wording.replayed(1, 0),
    ),
    (
        "The other reasons are below.",
        wording.replayed(0, 4, [(f"{number}.", 1) for number in range(4)]),
        wording.replayed(0, 3, [(f"{number}.", 1) for number in range(3)]),
    ),
    (
        "All that was refused has been applied since.",
        wording.prospect(ReplayForecast(0, is_whole=True, is_done=True)),
        wording.prospect(ReplayForecast(0, is_whole=True, is_done=False)),
    ),
    (
        "Replay applies all that is valid with today's settings, and nothing else.",
        wording.prospect(ReplayForecast(0, is_whole=False, is_done=False)),
        wording.prospect(ReplayForecast(1, is_whole=True, is_done=False)),
    ),
    (
        "Replay applies the 1 callback that is valid by now.",
        wording.prospect(ReplayForecast(1, is_whole=True, is_done=False)),
        wording.prospect(ReplayForecast(0, is_whole=True, is_done=False)),
    ),
    (
        "None can be applied: none is valid with today's settings. Fix a cause named above and "
        "restart: a Replay button then appears here. What none of your tokens or keys has signed "
        "is never applied.",
        wording.prospect(ReplayForecast(0, is_whole=True, is_done=False)),
        wording.prospect(ReplayForecast(2, is_whole=True, is_done=False)),
    ),
    ("< 1 %", wording.share(0.004), wording.share(0)),
    ("> 99 %", wording.share(0.996), wording.share(1)),
    *(
        (
            said,
            wording.why(cause(diagnosis=None, reason=reason)),
            wording.why(cause(diagnosis="Known.", reason=reason)),
        )
        for reason, said in (
            ("signature", "The signature does not verify."),
            ("unreadable", "Signed, but naming no message or no status."),
            ("not-a-form", "Not a form, as which Twilio posts."),
            ("too-large", "Larger than any callback."),
            ("inbound", "An incoming message, and no status callback."),
            ("json", "JSON of another webhook."),
            ("recut", "A captured callback whose fields were divided anew."),
            ("address", "To an address that is no callback address."),
            ("new", "They were refused."),
        )
    ),
]


def lines(change: Change) -> str:
    """What banner, page and flask doctor say of a scene."""
    report = report_of(change)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection_checks, "report", lambda _now: report)
        told = list(connection_checks.findings())
    parts = [f"{one.verdict} {one.check}: {one.found}. {one.fix or ''}" for one in told]
    return "\n".join([summarize(report).text, *parts])


@cache
def told() -> list[tuple[str, str, str]]:
    """What is expected, what the scene says, and what the one beside it says."""
    scenes = [(said, lines(true), lines(beside)) for said, true, beside in SCENES]
    return [*scenes, *WORDS]


@pytest.mark.parametrize("number", range(len(SCENES) + len(WORDS)))
def test_sentence_is_said_in_its_scene_and_not_beside_it(number: int) -> None:
    said, true, beside = told()[number]
    assert said in true
    assert said not in beside


@pytest.mark.parametrize(
    "module", ["connection/sentence.py", "connection/findings.py", "connection/wording.py"]
)
def test_no_sentence_on_the_connection_lacks_its_scenes(module: str) -> None:
    def has_scenes(part: str) -> bool:
        return any(
            part in true and (part in said or part not in beside) for said, true, beside in told()
        )

    assert [part for part in sentences(module) if not has_scenes(part)] == [
        "cannot be judged ("
    ] * (module == "connection/findings.py")


def test_every_kind_of_sentence_has_a_scene() -> None:
    assert {summarize(report_of(true)).kind for _, true, _ in SCENES} == set(SummaryKind)


def test_connection_that_cannot_be_judged_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_now: object) -> ConnectionReport:
        raise OperationalError("SELECT", {}, Exception())

    monkeypatch.setattr(connection_checks, "report", fail)
    [finding] = connection_checks.findings()
    assert (finding.verdict, finding.check) == ("problem", "connection")
    assert finding.found.startswith("cannot be judged (")


def unquoted(module: str, *test_files: str) -> Iterator[str]:
    texts = quoted(*test_files)
    for part in sentences(module):
        if not any(text in part or part in text for text in texts):
            yield part


@pytest.mark.parametrize(
    ("module", "test_files"),
    [
        ("doctor.py", ("test_doctor.py", "test_callback_edge.py")),
        ("network_errors.py", ("test_network_errors.py", "test_doctor.py", "test_self_probe.py")),
        ("self_probe.py", ("test_self_probe.py", "test_callback_edge.py")),
        ("webhooks/diagnosis.py", ("test_diagnosis.py", "test_callback_edge.py")),
    ],
)
def test_no_sentence_of_a_check_lacks_a_test_that_expects_it(
    module: str, test_files: tuple[str, ...]
) -> None:
    no_sentences = {"  at both ends ", "Zoë ✓ 🚀", "1+1=2 & more", "empty fields added"}
    assert set(unquoted(module, *test_files)) <= no_sentences
