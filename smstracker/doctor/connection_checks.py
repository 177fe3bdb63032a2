"""Checks of the connection: the page /callbacks in lines."""

from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from smstracker.carrier.errors import START_DEMO
from smstracker.clock import DAY, format_age, format_duration, utcnow
from smstracker.command_name import COMMAND, RESTART_WORKER, START_WORKER
from smstracker.connection import wording
from smstracker.connection.refusal_causes import RefusalCause
from smstracker.connection.report import ConnectionReport, Window, build_report
from smstracker.connection.summary import (
    CHECK_NETWORK,
    LOOK_FROM_OUTSIDE,
    SummaryKind,
    describe_no_worker,
    summarize,
    worker_problem,
)
from smstracker.connection.token_rotation import MAKE_PRIMARY, Rotation
from smstracker.database.problems import log_reason as database_cause
from smstracker.doctor.check_result import CheckResult, ok, problem, strip_period, warning
from smstracker.plurals import format_count
from smstracker.refused.sentences import READY
from smstracker.sms.typed_text import escape_invisible

_ROTATION_FIXES = {
    Rotation.PROMOTED: MAKE_PRIMARY,
    Rotation.DONE: "remove TWILIO_AUTH_TOKEN_SECONDARY",
}
# Where the advice of the summary is a reason.
_SUMMARY_FIXES = {
    SummaryKind.REFUSED: f"{COMMAND} callbacks list",
    SummaryKind.REPLAYABLE: f"{COMMAND} callbacks replay --all",
}


def check_connection(is_demo: bool, is_reached: bool) -> Iterator[CheckResult]:
    """Check the connection by its report; `make run` starts and ends all of a demo.

    `is_reached` if a callback can arrive from this machine.
    """
    try:
        report = build_report(utcnow())
    except SQLAlchemyError as error:
        yield problem("connection", f"cannot be judged ({database_cause(error)})")
        return
    is_stopped_demo = is_demo and not report.live_workers
    yield _check_worker(report, is_stopped_demo)
    yield _check_outbox(report)
    yield _check_tokens(report)
    yield _check_summary(report, is_stopped_demo, is_reached)
    yield _check_last_callback(report)
    yield from (_describe_window(window) for window in report.windows)
    yield from _describe_delays(report)
    yield from (_check_cause(cause, report.day.accepted > 0) for cause in report.causes)


def _check_summary(
    report: ConnectionReport, is_stopped_demo: bool, is_reached: bool
) -> CheckResult:
    summary = summarize(report)
    if not summary.is_bad:
        return ok("connection", summary.text)
    result = problem if summary.is_broken else warning
    if is_stopped_demo:  # no page is up
        return result("connection", summary.finding, START_DEMO)
    if summary.kind in (SummaryKind.SILENT, SummaryKind.MISSED):
        # The advice names this command itself.
        return result("connection", summary.finding, _advise_silence(report, is_reached))
    if summary.kind in _SUMMARY_FIXES:
        return result("connection", strip_period(summary.text), _SUMMARY_FIXES[summary.kind])
    fix = summary.advice[:1].lower() + summary.advice[1:]
    return result("connection", summary.finding, strip_period(fix))


def _advise_silence(report: ConnectionReport, is_reached: bool) -> str:
    """Name the lines that tell more, or what only somebody outside can see."""
    is_refused = any(cause.is_plausible for cause in report.causes)
    if is_reached and not is_refused:
        return f"callbacks can arrive from this machine, so {LOOK_FROM_OUTSIDE}"
    if is_refused:
        return "see the lines callbacks, refused and worker"
    return "see the lines callbacks and worker"


def _check_worker(report: ConnectionReport, is_stopped_demo: bool) -> CheckResult:
    worker_count = len(report.live_workers)
    if cause := worker_problem(report):
        reason, _, advice = cause.partition(": ")
        return problem("worker", f"runs, but cannot ask: {reason}", advice or CHECK_NETWORK)
    if worker_count:
        return ok("worker", "one runs" if worker_count == 1 else f"{worker_count} run")
    if report.storage_problem:
        cause = report.storage_problem.cause
        return problem("worker", f"not known: nothing can be stored ({cause})")
    names = [escape_invisible(worker.name) for worker in report.workers[:1]]
    detail = f"{describe_no_worker(report)}{f' (it was {names[0]})' if names else ''}"
    return problem("worker", detail, START_DEMO if is_stopped_demo else START_WORKER)


def _check_outbox(report: ConnectionReport) -> CheckResult:
    backlog = report.backlog
    if report.stuck_since:
        age = format_duration(report.at - report.stuck_since)
        detail = f"a message could be sent for {age}, but no worker takes it"
        return problem("outbox", detail, RESTART_WORKER)
    detail = "nothing waits to be sent"
    if backlog.waiting:
        detail = f"{format_count(backlog.waiting, 'message')} to be sent"
        if backlog.scheduled:
            detail += f", {backlog.scheduled:,} of them for a later time"
        if count := backlog.in_halted_batches:
            detail += f", {count:,} of them in batches that are paused or in quiet hours"
        if report.paused_senders:
            detail += f"; {format_count(report.paused_senders, 'sender')} paused"
    if backlog.held:
        detail += f"; a restore holds {backlog.held:,}: the senders edit or cancel them"
    return ok("outbox", detail)


def _check_tokens(report: ConnectionReport) -> CheckResult:
    result = warning if report.rotation is Rotation.PROMOTED else ok
    return result("token rotation", report.rotation, _ROTATION_FIXES.get(report.rotation))


def _check_last_callback(report: ConnectionReport) -> CheckResult:
    check = "last callback"
    if report.last_callback_at:
        return ok(check, format_age(report.last_callback_at, report.at))
    return ok(check, "none yet" if report.has_full_history else "none in the last 7 days")


def _describe_window(window: Window) -> CheckResult:
    not_stored = f", {window.not_stored:,} could not be stored" if window.not_stored else ""
    period = "24 hours" if window.period == DAY else format_duration(window.period)
    share = wording.format_share(window.by_lookup, window.outcomes, 0)
    return ok(
        f"callbacks in {period}",
        f"{window.accepted:,} accepted, {window.repeated:,} of them repeated, "
        f"{window.refused:,} refused{not_stored}; "
        f"{format_count(window.by_callback, 'outcome')} by callback, "
        f"{window.by_lookup:,} by look-up ({share})",
    )


def _describe_delays(report: ConnectionReport) -> Iterator[CheckResult]:
    for name, delay in (("first callback", report.to_first), ("outcome", report.to_final)):
        if delay.median is not None and delay.p95 is not None:
            median, p95 = wording.format_delay(delay.median), wording.format_delay(delay.p95)
            hint = ": few, so only a hint" if delay.is_few else ""
            sample = format_count(delay.sample_size, "message") + hint
            yield ok(f"time to {name}", f"half within {median}, 95 % within {p95} ({sample})")


def _check_cause(cause: RefusalCause, accepts_others: bool) -> CheckResult:
    """Strangers' requests are no fault of this installation."""
    strangers = "" if cause.is_plausible else ", from strangers"
    sentence = strip_period(wording.cause_sentence(cause))
    detail = f"{cause.day:,} in 24 hours, {cause.week:,} in 7 days{strangers}: {sentence}"
    if not (cause.is_plausible and cause.day):
        return ok("refused", detail)
    fix = _SUMMARY_FIXES[
        SummaryKind.REPLAYABLE if cause.diagnosis == READY else SummaryKind.REFUSED
    ]
    # A problem only after a day without a valid callback: forgers exist.
    return (warning if accepts_others else problem)("refused", detail, fix)
