"""Checks of the connection: the page /callbacks in lines."""

from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from smstracker.clock import format_age, format_duration, utcnow
from smstracker.connection import wording
from smstracker.connection.queries import DAY
from smstracker.connection.refusal_causes import RefusalCause
from smstracker.connection.report import ConnectionReport, Window, build_report
from smstracker.connection.summary import BROKEN, MAKE_PRIMARY, SummaryKind, summarize
from smstracker.connection.token_rotation import SETTLED_AFTER, Rotation
from smstracker.database.problems import log_reason as database_cause
from smstracker.doctor.check_result import CheckResult, ok, problem, strip_period, warning
from smstracker.refused.sentences import READY

_ROTATIONS = {
    Rotation.NONE: "none is under way",
    Rotation.NO_CALLBACK: "a secondary token is set; no callback since then shows which one signs",
    Rotation.PRIMARY_SIGNS: "a secondary token is set; the newest callbacks are signed with "
    "TWILIO_AUTH_TOKEN",
    Rotation.SETTLING: "a few of the newest callbacks are signed with the secondary token, as is "
    "normal for some minutes after a rotation",
    Rotation.DONE: "it is over: the newest callbacks are signed with TWILIO_AUTH_TOKEN, and for "
    f"{format_duration(SETTLED_AFTER)} none with the secondary token",
}


def check_connection() -> Iterator[CheckResult]:
    """Check the connection by its report."""
    try:
        report = build_report(utcnow())
    except SQLAlchemyError as error:
        yield problem("connection", f"cannot be judged ({database_cause(error)})")
        return
    yield _check_worker(report)
    yield _check_tokens(report)
    yield _check_summary(report)
    yield from _check_refusals(report)
    yield _check_last_callback(report)
    yield from (_describe_window(window) for window in report.windows)
    yield from _describe_delays(report)
    yield from (_check_cause(cause) for cause in report.causes)


def _check_summary(report: ConnectionReport) -> CheckResult:
    summary = summarize(report)
    if not summary.is_bad:
        return ok("connection", summary.text)
    refuses_all = summary.kind is SummaryKind.REFUSED and not report.hour.accepted
    result = problem if summary.kind in BROKEN or refuses_all else warning
    return result("connection", strip_period(summary.text), "see the page /callbacks")


def _check_refusals(report: ConnectionReport) -> Iterator[CheckResult]:
    """Report refusals as a problem only after a day without a valid callback: forgers exist."""
    refused = sum(cause.day for cause in report.causes if cause.is_plausible)
    if refused and not report.day.accepted:
        count = wording.count_callbacks(refused)
        detail = f"{count} {wording.was_or_were(refused)} refused in 24 hours, and none accepted"
        yield problem("refused", detail, "see flask callbacks list")


def _check_worker(report: ConnectionReport) -> CheckResult:
    live_workers = report.live_workers
    if not live_workers and report.storage_problem:
        cause = report.storage_problem.cause
        return problem("worker", f"not known: nothing can be stored ({cause})")
    if not live_workers:
        detail = "none runs"
        if report.workers:
            detail = f"none has run for {format_duration(report.at - report.workers[0].beat_at)}"
        return problem("worker", detail, "start flask worker, and keep it running")
    for worker in live_workers:
        if worker.problem:
            return problem("worker", f"runs, but cannot ask: {strip_period(worker.problem)}")
    return ok("worker", "one runs" if len(live_workers) == 1 else f"{len(live_workers)} run")


def _check_tokens(report: ConnectionReport) -> CheckResult:
    if report.rotation is Rotation.PROMOTED:
        detail = "the newest callbacks are signed with the secondary token: Twilio has promoted it"
        return warning("token rotation", detail, MAKE_PRIMARY[0].lower() + MAKE_PRIMARY[1:])
    fix = "remove TWILIO_AUTH_TOKEN_SECONDARY" if report.rotation is Rotation.DONE else None
    return ok("token rotation", _ROTATIONS[report.rotation], fix)


def _check_last_callback(report: ConnectionReport) -> CheckResult:
    check = "last callback"
    if report.last_callback_at:
        return ok(check, format_age(report.last_callback_at, report.at))
    return ok(check, "none yet" if report.has_full_history else "none in the last 7 days")


def _describe_window(window: Window) -> CheckResult:
    not_stored = f", {window.not_stored:,} could not be stored" if window.not_stored else ""
    period = "24 hours" if window.period == DAY else format_duration(window.period)
    return ok(
        f"callbacks in {period}",
        f"{window.accepted:,} accepted, {window.repeated:,} of them repeated, "
        f"{window.refused:,} refused{not_stored}; {window.by_callback:,} outcomes by callback, "
        f"{window.by_lookup:,} by look-up ({wording.format_share(window.lookup_share)})",
    )


def _describe_delays(report: ConnectionReport) -> Iterator[CheckResult]:
    for name, delay in (("first callback", report.to_first), ("outcome", report.to_final)):
        if delay.median is not None and delay.p95 is not None:
            median, p95 = wording.format_delay(delay.median), wording.format_delay(delay.p95)
            hint = ": few, so only a hint" if delay.is_few else ""
            sample = f"{delay.sample_size:,} messages{hint}"
            yield ok(f"time to {name}", f"half within {median}, 95 % within {p95} ({sample})")


def _check_cause(cause: RefusalCause) -> CheckResult:
    """Strangers' requests are no fault of this installation."""
    strangers = "" if cause.is_plausible else ", from strangers"
    sentence = strip_period(wording.cause_sentence(cause))
    detail = f"{cause.day:,} in 24 hours, {cause.week:,} in 7 days{strangers}: {sentence}"
    if cause.is_plausible and cause.day:
        fix = "flask callbacks replay --all" if cause.diagnosis == READY else "flask callbacks list"
        return warning("refused", detail, fix)
    return ok("refused", detail)
