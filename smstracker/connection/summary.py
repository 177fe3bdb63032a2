"""Sum up a report in one sentence: what is wrong now, the worst first, then what was. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Self

from smstracker.carrier.errors import CREDENTIALS_REFUSED
from smstracker.clock import HOUR, format_duration, is_within
from smstracker.command_name import COMMAND, START_WORKER
from smstracker.connection.refusal_causes import RefusalCause
from smstracker.connection.report import ConnectionReport, Window
from smstracker.connection.token_rotation import MAKE_PRIMARY, Rotation
from smstracker.connection.wording import (
    capitalize,
)
from smstracker.plurals import format_count, is_or_are, it_or_them, pluralize, was_or_were
from smstracker.refused.sentences import READY
from smstracker.sms.lookup_schedule import SILENCE_AGES

# Twilio itself says that now and then a callback is lost: only more than these are a problem.
MISSED_SHARE = 0.02
MISSED_COUNT = 3
# A new installation needs time to start its worker.
WORKER_EXPECTED_AFTER = timedelta(minutes=5)
# What no check from the machine of the app can see.
LOOK_FROM_OUTSIDE = (
    "open PUBLIC_BASE_URL/healthz on a phone without Wi-Fi, and look for error 11200 in the "
    "Debugger of Twilio's Console"
)
_SILENCE_ADVICE = (
    f"Run {COMMAND} doctor: it says if callbacks can arrive, or what to look at from outside"
)
CHECK_NETWORK = "check the worker's network and TWILIO_API_BASE_URL; it asks again soon"


class SummaryKind(StrEnum):
    """Subject of a summary."""

    NOT_STORING = "not storing"
    NO_CREDENTIALS = "no credentials"
    REFUSED = "refused"
    REPLAYABLE = "replayable"
    NOT_STORED = "not stored"
    SILENT = "silent"
    CANNOT_ASK = "cannot ask"
    NO_WORKER = "no worker"
    PROMOTED = "promoted"
    MISSED = "missed"
    WELL = "well"


# What a problem means for those who send.
_CONSEQUENCES = {
    SummaryKind.NOT_STORING: "Nothing can be sent. ",
    SummaryKind.NO_CREDENTIALS: "",  # says it
    SummaryKind.PROMOTED: "Sending may fail. ",
}


@dataclass(frozen=True, slots=True)
class HealthSummary:
    """A sentence on the connection: the problem, or that it is well, and what to do.

    `is_broken` if nothing can be sent or no status arrives by callback while it lasts. `is_past`
    if it may be over.
    """

    kind: SummaryKind
    finding: str
    advice: str = ""
    separator: str = ". "
    is_bad: bool = True
    is_broken: bool = False
    is_past: bool = False
    other: Self | None = None  # a second problem, with what to do about that

    @property
    def lines(self) -> list[str]:
        """A line for each problem, for administrators."""
        return [self.text, *([self.other.text] if self.other else [])]

    @property
    def text(self) -> str:
        """All of this problem."""
        return self.finding + self.separator + self.advice if self.advice else self.finding

    @property
    def brief(self) -> str:
        """What others need: the consequence, and who can act."""
        if not self.is_bad:
            return self.finding
        consequence = _CONSEQUENCES.get(self.kind, "Statuses may be late. ")
        return f"{consequence}{self.finding}. Your administrator sees what to do"


def summarize(report: ConnectionReport) -> HealthSummary:
    """The most severe problem, or that the connection is well; a present one before a past one.

    With it what keeps look-ups from taking the place of callbacks: that is another trouble.
    """
    problems = [problem for find in _PROBLEMS if (problem := find(report))]
    worst = min(problems, key=lambda problem: problem.is_past, default=None) or _well(report)
    if worst.kind is not SummaryKind.SILENT:
        return worst
    return replace(worst, other=_cannot_ask(report) or _no_worker(report))


def _not_storing(report: ConnectionReport) -> HealthSummary | None:
    problem = report.storage_problem
    if problem is None:
        return None
    finding = f"Nothing can be stored, and callbacks are answered with 503: {problem.cause}"
    return HealthSummary(SummaryKind.NOT_STORING, finding, capitalize(problem.fix), is_broken=True)


def _no_credentials(report: ConnectionReport) -> HealthSummary | None:
    """Twilio refuses the credentials, which also explains callbacks that no token of ours fits."""
    if not (_is_worker_refused(report) or _is_send_refused(report)):
        return None
    finding = "Twilio does not accept the credentials, so nothing can be sent or looked up"
    if any(cause.is_plausible and cause.hour and not cause.is_proven for cause in report.causes):
        finding += ", and its callbacks are refused"
    advice = "Compare TWILIO_AUTH_TOKEN and TWILIO_ACCOUNT_SID with the Twilio Console, and restart"
    return HealthSummary(SummaryKind.NO_CREDENTIALS, finding, advice, is_broken=True)


def _is_worker_refused(report: ConnectionReport) -> bool:
    # A 403 may be a proxy's.
    refusal = CREDENTIALS_REFUSED.format(status=401)
    return any(worker.problem == refusal for worker in report.live_workers)


def _is_send_refused(report: ConnectionReport) -> bool:
    """Whether Twilio refused the last send for its credentials, and no restart changed them."""
    at = report.credentials_refused_at
    if at is None or not is_within(at, report.at, HOUR):
        return False
    return all(worker.started_at < at for worker in report.live_workers)


def _refused(report: ConnectionReport) -> HealthSummary | None:
    # Requests that do not name our account never raise an alarm; those that only name it (a forger
    # can know the account) raise one only if callbacks are missing too.
    claimed = [cause for cause in report.causes if cause.is_plausible and cause.hour]
    proven = [cause for cause in claimed if cause.is_proven]
    is_majority = sum(cause.hour for cause in claimed) > report.hour.accepted
    looked_up = report.looked_up_since_last_callback or report.hour.by_lookup
    causes = claimed if is_majority and (report.without_callback or looked_up) else proven
    if not causes:
        return None
    return _describe_refused(causes, is_broken=not report.hour.accepted)


def _describe_refused(causes: Sequence[RefusalCause], is_broken: bool) -> HealthSummary:
    """Count the refusals, and name the worst cause with its share of them."""
    worst = max(causes, key=lambda cause: (cause.is_proven, cause.hour))
    count = sum(cause.hour for cause in causes if cause.diagnosis == worst.diagnosis)
    total = sum(cause.hour for cause in causes)
    subject, verb = format_count(total, "callback"), was_or_were(total)
    kind = SummaryKind.REPLAYABLE if worst.diagnosis == READY else SummaryKind.REFUSED
    if kind is SummaryKind.REPLAYABLE:
        subject, verb = (
            f"{count:,} of the {subject}" if count < total else subject,
            is_or_are(count),
        )
        finding = f"{subject} refused in the last hour {verb} valid with today's settings"
        advice, separator = f"replay {it_or_them(count)}", ": "
    else:
        finding, separator = f"{subject} {verb} refused in the last hour", ". "
        advice = f"The reason of {'each' if count == total else f'{count:,}'}: {_fix(worst)}"
        if total == 1:
            advice, separator = _fix(worst), ": "
    return HealthSummary(kind, finding, advice, separator, is_broken=is_broken)


def _fix(cause: RefusalCause) -> str:
    if not cause.diagnosis:
        return "it is not known yet"
    sentence = cause.diagnosis.rstrip(" .")
    is_named = cause.setting is None or cause.setting in sentence
    return sentence if is_named else f"{sentence} (check {cause.setting})"


def _not_stored(report: ConnectionReport) -> HealthSummary | None:
    count = report.hour.not_stored
    if not count:
        return None
    finding = (
        f"{format_count(count, 'callback')} could not be stored in the last hour and "
        f"{was_or_were(count)} refused with 503, so that Twilio sends {it_or_them(count)} again"
    )
    advice = "To see why, look for callback_not_stored in the app's log"
    return HealthSummary(SummaryKind.NOT_STORED, finding, advice, is_past=True)


def _silent(report: ConnectionReport) -> HealthSummary | None:
    """Twilio accepted messages after its last callback, and none of them got one."""
    waiting, looked_up = report.waiting_since_last_callback, report.looked_up_since_last_callback
    if report.hour.not_stored or not (waiting or looked_up):
        return None  # callbacks that came, and could not be stored, are no silence
    is_first = report.last_callback_at is None
    clauses = [_describe_silence(report)]
    waits = f"{format_count(waiting, 'message')} {pluralize(waiting, 'waits', 'wait')} for"
    if waiting and is_first:
        clauses[0] += f", though {waits} one"
    elif waiting:
        clauses.append(f"{waits} a callback")
    if looked_up:
        verb = was_or_were(looked_up)
        clauses.append(f"{format_count(looked_up, 'message')} {verb} looked up instead")
    return HealthSummary(SummaryKind.SILENT, "; ".join(clauses), _SILENCE_ADVICE, is_broken=True)


def _describe_silence(report: ConnectionReport) -> str:
    last = report.last_callback_at
    callback = "No callback of a message here" if report.week.unmatched else "No callback"
    if last is None:
        verb = "been accepted" if report.has_met_callbacks else "arrived"
        if report.has_full_history:
            return f"{callback} has ever {verb}"
        return f"{callback} has {verb} in the last 7 days"
    refused = any(cause.is_plausible and cause.newest_at > last for cause in report.causes)
    event = "Twilio has not reached this app"
    if refused or report.week.unmatched:
        event = f"{callback} has been accepted"
    return f"{event} for {format_duration(report.at - last)}"


def _cannot_ask(report: ConnectionReport) -> HealthSummary | None:
    problem = worker_problem(report)
    if problem is None:
        return None
    reason, _, advice = problem.partition(": ")
    finding = f"Twilio cannot be asked: {reason}"
    return HealthSummary(SummaryKind.CANNOT_ASK, finding, capitalize(advice or CHECK_NETWORK))


def worker_problem(report: ConnectionReport) -> str | None:
    """What keeps a running worker from asking Twilio, without a period."""
    problems = [worker.problem for worker in report.live_workers if worker.problem]
    return problems[0].strip().rstrip(".") if problems else None


def _no_worker(report: ConnectionReport) -> HealthSummary | None:
    oldest = report.oldest_message_at
    is_new = oldest is None or is_within(oldest, report.at, WORKER_EXPECTED_AFTER)
    if report.live_workers or (is_new and not report.workers):
        return None
    finding = f"{describe_no_worker(report)}: statuses that Twilio does not report are not fetched"
    return HealthSummary(SummaryKind.NO_WORKER, finding, capitalize(START_WORKER))


def describe_no_worker(report: ConnectionReport) -> str:
    if not report.workers:
        return "No worker runs"
    return f"The worker has not run for {format_duration(report.at - report.workers[0].beat_at)}"


def _missed(report: ConnectionReport) -> HealthSummary | None:
    day = report.day
    if not day.by_lookup:
        return None
    subject = "The one outcome"
    if day.outcomes > 1:
        subject = f"{day.by_lookup:,} of the {day.outcomes:,} outcomes"
    text = (
        f"{subject} of the last 24 hours did not arrive by callback ({_describe_missed(day)}) "
        f"and {was_or_were(day.by_lookup)} looked up"
    )
    is_bad = day.by_lookup >= MISSED_COUNT and day.by_lookup >= MISSED_SHARE * day.outcomes
    is_lost = day.by_lookup > day.final_refused  # the reason of a refused one stands on the page
    advice = capitalize(LOOK_FROM_OUTSIDE) if is_bad and is_lost else ""
    return HealthSummary(SummaryKind.MISSED, text, advice, is_bad=is_bad, is_past=True)


def _describe_missed(day: Window) -> str:
    refused, absent = day.final_refused, day.by_lookup - day.final_refused
    reasons = [f"{refused:,} {was_or_were(refused)} refused"] if refused else []
    if absent:
        stored = f" or {was_or_were(absent)} not stored" if day.not_stored else ""
        first_lookup = format_duration(SILENCE_AGES[0])
        reasons.append(f"{absent:,} did not come within {first_lookup}{stored}")
    return ", ".join(reasons)


def _promoted(report: ConnectionReport) -> HealthSummary | None:
    if report.rotation is not Rotation.PROMOTED:
        return None
    finding, advice = capitalize(report.rotation), capitalize(MAKE_PRIMARY)
    return HealthSummary(SummaryKind.PROMOTED, finding, advice)


def _well(report: ConnectionReport) -> HealthSummary:
    outcomes = report.day.outcomes
    if outcomes == 1:
        text = "The one outcome of the last 24 hours arrived by callback"
    elif outcomes:
        text = f"All {outcomes:,} outcomes of the last 24 hours arrived by callback"
    elif report.sent_in_day:
        text = (
            "None of the messages that Twilio accepted got an outcome in the last 24 hours, so "
            "there is nothing to judge yet"
        )
    else:
        text = "No message was sent in the last 24 hours, so no callback was expected"
    return HealthSummary(SummaryKind.WELL, text, is_bad=False)


# The worst first.
_PROBLEMS = (
    _not_storing,
    _no_credentials,
    _refused,
    _not_stored,
    _silent,
    _cannot_ask,
    _no_worker,
    _promoted,
    _missed,
)
