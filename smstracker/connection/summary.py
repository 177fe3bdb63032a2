"""The one sentence on the health of the connection. Pure: the worst of a report, said first."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from smstracker.clock import format_duration
from smstracker.connection.refusal_causes import RefusalCause
from smstracker.connection.report import ConnectionReport, Window
from smstracker.connection.token_rotation import Rotation
from smstracker.connection.wording import callbacks, messages, were
from smstracker.refused.diagnosis import READY

# Twilio itself says that now and then a callback is lost. It is news when more are than these.
MISSED_SHARE = 0.02
MISSED_COUNT = 3
_LONG = "in the last 7 days"
# A fresh installation has to be given the time to start its worker.
WORKER_EXPECTED_AFTER = timedelta(minutes=5)
MAKE_PRIMARY = "Set TWILIO_AUTH_TOKEN to it, and TWILIO_AUTH_TOKEN_SECONDARY to the old one"


class SummaryKind(StrEnum):
    """What a sentence is about."""

    NOT_STORING = "not storing"
    REFUSED = "refused"
    NOT_STORED = "not stored"
    SILENT = "silent"
    CANNOT_ASK = "cannot ask"
    NO_WORKER = "no worker"
    PROMOTED = "promoted"
    MISSED = "missed"
    WELL = "well"


# While one of these lasts, no status arrives by callback.
BROKEN = (SummaryKind.NOT_STORING, SummaryKind.SILENT)


@dataclass(frozen=True, slots=True)
class HealthSummary:
    """`text` is for administrators; `brief` is the same without what only they can mend."""

    kind: SummaryKind
    text: str
    is_bad: bool
    brief: str


def _bad(kind: SummaryKind, brief: str, advice: str, joint: str = ". ") -> HealthSummary:
    return HealthSummary(kind, brief + joint + advice, True, brief)


def summarize(report: ConnectionReport) -> HealthSummary:
    """The worst that there is to say of the connection, or how well it does."""
    for said in _BY_WEIGHT:
        found = said(report)
        if found is not None:
            return found
    return _well(report)


def _not_storing(report: ConnectionReport) -> HealthSummary | None:
    if report.storage is None:
        return None
    brief = f"Nothing can be stored, and callbacks are answered with 503: {report.storage.cause}"
    fix = report.storage.fix
    return _bad(SummaryKind.NOT_STORING, brief, fix[0].upper() + fix[1:])


def _refused(report: ConnectionReport) -> HealthSummary | None:
    # What does not even claim to be of our account must not be able to alarm anybody; what only
    # claims to be (a forger can know the account) not unless callbacks are missing as well.
    claimed = [cause for cause in report.causes if cause.is_plausible and cause.hour]
    proven = [cause for cause in claimed if cause.is_proven]
    is_majority = sum(cause.hour for cause in claimed) > report.hour.accepted
    is_missed = report.unheard or report.repaired_since or report.hour.missed
    causes = claimed if is_majority and is_missed else proven
    if not causes:
        return None
    count = sum(cause.hour for cause in causes)
    brief = f"{callbacks(count)} {were(count)} refused in the last hour"
    worst = max(causes, key=lambda cause: (cause.is_proven, cause.hour))
    return _bad(SummaryKind.REFUSED, brief, _fix(worst), ": ")


def _fix(cause: RefusalCause) -> str:
    if cause.diagnosis == READY:
        return f"valid with today's settings. Replay {'it' if cause.hour == 1 else 'them'}"
    if not cause.diagnosis:
        return "why is not known yet"
    said = cause.diagnosis.rstrip(" .")
    named = cause.setting is None or cause.setting in said
    return said if named else f"{said} (check {cause.setting})"


def _not_stored(report: ConnectionReport) -> HealthSummary | None:
    count = report.hour.not_stored
    if not count:
        return None
    brief = f"{callbacks(count)} could not be stored in the last hour and {were(count)} refused"
    brief += " with 503, so that Twilio sends them again"
    return _bad(SummaryKind.NOT_STORED, brief, "The app's log says why at callback_not_stored")


def _silent(report: ConnectionReport) -> HealthSummary | None:
    """Messages that Twilio accepted after its last callback, and not one came for them."""
    waiting, repaired = report.waiting_since, report.repaired_since
    if not (waiting or repaired):
        return None
    is_first = report.last_callback_at is None
    said = [_silence(report)]
    if waiting and is_first:
        said[0] += f", though {messages(waiting)} {_waits(waiting)} for one"
    elif waiting:
        said.append(f"{messages(waiting)} {_waits(waiting)} for a callback")
    if repaired:
        said.append(f"Twilio was asked about {messages(repaired)} instead")
    return _bad(SummaryKind.SILENT, "; ".join(said) + _helpless(report), _silence_advice(report))


def _silence(report: ConnectionReport) -> str:
    last = report.last_callback_at
    refused = [c for c in report.causes if c.is_plausible and (not last or c.newest_at > last)]
    if last is None:
        what = "been accepted" if refused else "come"
        return (
            f"No callback has ever {what}" if report.is_young else f"No callback has {what} {_LONG}"
        )
    since = format_duration(report.at - last)
    if refused:
        return f"No callback has been accepted for {since}"
    return f"Twilio has not reached this app for {since}"


def _helpless(report: ConnectionReport) -> str:
    """What makes silence worse: nobody asks instead."""
    if not report.live_workers:
        return ", and no worker runs to ask Twilio"
    return ", and Twilio cannot be asked" if _problem(report) else ""


def _silence_advice(report: ConnectionReport) -> str:
    advice = "Check with flask doctor that PUBLIC_BASE_URL is reached from outside"
    if not report.live_workers:
        return advice + ", and start flask worker"
    problem = _problem(report)
    return f"{advice}. {problem}" if problem else advice


def _cannot_ask(report: ConnectionReport) -> HealthSummary | None:
    problem = _problem(report)
    return (
        _bad(SummaryKind.CANNOT_ASK, "Twilio cannot be asked", problem, ": ") if problem else None
    )


def _problem(report: ConnectionReport) -> str | None:
    problems = (worker.problem for worker in report.live_workers)
    found = next((problem for problem in problems if problem), None)
    return found.strip().rstrip(".") if found else None


def _no_worker(report: ConnectionReport) -> HealthSummary | None:
    if report.live_workers:
        return None
    effect = "what Twilio does not report is not fetched"
    if report.workers:
        since = format_duration(report.at - report.workers[0].beat_at)
        brief = f"The worker has not run for {since}: {effect}"
        return _bad(SummaryKind.NO_WORKER, brief, "Start flask worker")
    oldest = report.oldest_message_at
    if oldest is None or report.at - oldest < WORKER_EXPECTED_AFTER:
        return None
    return _bad(SummaryKind.NO_WORKER, f"No worker runs: {effect}", "Start flask worker")


def _missed(report: ConnectionReport) -> HealthSummary | None:
    day = report.day
    if not day.missed:
        return None
    text = (
        f"For {day.missed:,} of {messages(day.expected)} finished in the last 24 hours no valid "
        f"callback told the outcome: {_why_missed(day)}. Twilio was asked instead"
    )
    is_bad = day.missed >= MISSED_COUNT and (day.repaired_share or 0) >= MISSED_SHARE
    return HealthSummary(SummaryKind.MISSED, text, is_bad, text)


def _why_missed(day: Window) -> str:
    refused, absent = day.refused_finals, day.missed - day.refused_finals
    why = [f"{refused:,} {were(refused)} refused"] if refused else []
    if absent:
        stored = " or could not be stored" if day.not_stored else ""
        why.append(f"{absent:,} did not come in time{stored}")
    return ", ".join(why)


def _secondary(report: ConnectionReport) -> HealthSummary | None:
    if report.rotation is not Rotation.PROMOTED:
        return None
    brief = "The newest callbacks are signed with the secondary token: Twilio has promoted it"
    return _bad(SummaryKind.PROMOTED, brief, MAKE_PRIMARY)


def _well(report: ConnectionReport) -> HealthSummary:
    expected = report.day.expected
    if expected == 1:
        text = "The one outcome of the last 24 hours was called back"
    elif expected:
        text = f"All {expected:,} outcomes of the last 24 hours were called back"
    elif report.sent_in_day:
        text = "No sent message was finished in the last 24 hours, so there is nothing to judge yet"
    else:
        text = "No message was sent in the last 24 hours, so no callback was expected"
    return HealthSummary(SummaryKind.WELL, text, False, text)


def _waits(count: int) -> str:
    return "waits" if count == 1 else "wait"


_BY_WEIGHT: tuple[Callable[[ConnectionReport], HealthSummary | None], ...] = (
    _not_storing,
    _refused,
    _not_stored,
    _silent,
    _cannot_ask,
    _no_worker,
    _secondary,
    _missed,
)
