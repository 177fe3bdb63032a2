"""The health of the connection as `flask doctor` tells it: the page /callbacks in lines."""

from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from smstracker.clock import format_age, format_duration, utcnow
from smstracker.connection.refusal_causes import RefusalCause
from smstracker.connection.report import ConnectionReport, Delay, Window, build_report
from smstracker.connection.summary import (
    BROKEN,
    MAKE_PRIMARY,
    HealthSummary,
    SummaryKind,
    summarize,
)
from smstracker.connection.token_rotation import Rotation
from smstracker.connection.wording import brief_time, callbacks, share, were, why
from smstracker.database.problems import log_reason as database_cause
from smstracker.doctor.check_result import CheckOutcome, CheckResult, ok, phrase, problem, warning
from smstracker.refused.diagnosis import READY

_START_WORKER = "start flask worker, and keep it running"
_SEE_PAGE = "see the page /callbacks"
_ROTATIONS = {
    Rotation.NONE: "none is under way",
    Rotation.UNSEEN: "a secondary token is set; no callback has come since that shows which signs",
    Rotation.PRIMARY_SIGNS: "a secondary token is set; the newest callbacks are signed with "
    "TWILIO_AUTH_TOKEN",
    Rotation.SETTLING: "a few of the newest callbacks are signed with the secondary token, as is "
    "normal for some minutes after a rotation",
    Rotation.DONE: "it is over: the newest callbacks are signed with TWILIO_AUTH_TOKEN, and for 15 "
    "minutes none with the secondary token",
}


def findings() -> Iterator[CheckResult]:
    """The numbers of the page /callbacks, and what they amount to."""
    try:
        found = build_report(utcnow())
    except SQLAlchemyError as error:
        yield problem("connection", f"cannot be judged ({database_cause(error)})")
        return
    yield _worker(found)
    yield _tokens(found)
    yield _connection(found, summarize(found))
    yield from _none_accepted(found)
    yield _last_callback(found)
    yield from (_window(window) for window in found.windows)
    yield from _delays(found)
    yield from (_cause(cause) for cause in found.causes)


def _connection(found: ConnectionReport, said: HealthSummary) -> CheckResult:
    if not said.is_bad:
        return ok("connection", said.text)
    refuses_all = said.kind is SummaryKind.REFUSED and not found.hour.accepted
    verdict = CheckOutcome.PROBLEM if said.kind in BROKEN or refuses_all else CheckOutcome.WARNING
    return CheckResult("connection", verdict, phrase(said.text), _SEE_PAGE)


def _none_accepted(found: ConnectionReport) -> Iterator[CheckResult]:
    """A forger must not be able to alarm anybody, but of a whole day one should have come."""
    refused = sum(cause.day for cause in found.causes if cause.is_plausible)
    if refused and not found.day.accepted:
        what = f"{callbacks(refused)} {were(refused)} refused in 24 hours, and none accepted"
        yield problem("refused", what, "flask callbacks list says why")


def _worker(found: ConnectionReport) -> CheckResult:
    live = found.live_workers
    if not live and found.storage:
        return problem("worker", f"not known: nothing can be stored ({found.storage.cause})")
    if not live:
        last = (
            f" for {format_duration(found.at - found.workers[0].beat_at)}" if found.workers else ""
        )
        return problem("worker", f"none has run{last}", _START_WORKER)
    for worker in live:
        if worker.problem:
            return problem("worker", f"runs, but cannot ask: {phrase(worker.problem)}")
    return ok("worker", "one runs" if len(live) == 1 else f"{len(live)} run")


def _tokens(found: ConnectionReport) -> CheckResult:
    check = "token rotation"
    if found.rotation is Rotation.PROMOTED:
        what = "the newest callbacks are signed with the secondary token: Twilio has promoted it"
        return warning(check, what, MAKE_PRIMARY[0].lower() + MAKE_PRIMARY[1:])
    drop = "remove TWILIO_AUTH_TOKEN_SECONDARY" if found.rotation is Rotation.DONE else None
    return CheckResult(check, CheckOutcome.OK, _ROTATIONS[found.rotation], drop)


def _last_callback(found: ConnectionReport) -> CheckResult:
    last = found.last_callback_at
    none = "none has come yet" if found.is_young else "none has come in the last 7 days"
    return ok("last callback", format_age(last, found.at) if last else none)


def _window(window: Window) -> CheckResult:
    lost = f", {window.not_stored:,} could not be stored" if window.not_stored else ""
    return ok(
        f"callbacks in {format_duration(window.span)}",
        f"{window.accepted:,} accepted, {window.repeated:,} of them repeated, "
        f"{window.refused:,} refused{lost}; {window.told:,} outcomes by callback, "
        f"{window.missed:,} by asking ({share(window.repaired_share)})",
    )


def _delays(found: ConnectionReport) -> Iterator[CheckResult]:
    for what, delay in (("first callback", found.to_first), ("outcome", found.to_final)):
        if delay.median is not None and delay.p95 is not None:
            yield _delay(what, delay)


def _delay(what: str, delay: Delay) -> CheckResult:
    half, most = (brief_time(time) for time in (delay.median, delay.p95) if time is not None)
    few = ": few, so a hint only" if delay.is_few else ""
    return ok(
        f"time to {what}",
        f"half within {half}, 95 % within {most} ({delay.sample:,} messages{few})",
    )


def _cause(cause: RefusalCause) -> CheckResult:
    """What strangers post is no fault of this installation's."""
    whose = "" if cause.is_plausible else ", from strangers"
    found = f"{cause.day:,} in 24 hours, {cause.week:,} in 7 days{whose}: {phrase(why(cause))}"
    if cause.is_plausible and cause.day:
        fix = "flask callbacks replay --all" if cause.diagnosis == READY else "flask callbacks list"
        return warning("refused", found, fix)
    return ok("refused", found)
