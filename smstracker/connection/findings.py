"""The health of the connection as `flask doctor` tells it: the page /callbacks in lines."""

from collections.abc import Iterator

from sqlalchemy.exc import SQLAlchemyError

from smstracker.clock import ago, in_words, utcnow
from smstracker.connection.causes import Cause
from smstracker.connection.report import Delay, Report, Window, report
from smstracker.connection.sentence import sentence
from smstracker.connection.wording import brief_time, share, why
from smstracker.database_problems import cause
from smstracker.extensions import settings
from smstracker.finding import Finding, ok, phrase, problem, warning

_START_WORKER = "start flask worker, and keep it running"


def findings() -> Iterator[Finding]:
    """The numbers of the page /callbacks, and what they amount to."""
    try:
        found = report(utcnow())
    except SQLAlchemyError as error:
        yield problem("connection", f"cannot be judged ({cause(error)})")
        return
    yield _worker(found)
    yield _tokens(found)
    said = sentence(found)
    if said.is_bad:
        yield warning("connection", phrase(said.text), "see the page /callbacks")
    else:
        yield ok("connection", said.text)
    yield _last_callback(found)
    yield from (_window(window) for window in found.windows)
    yield from _delays(found)
    yield from (_cause(cause) for cause in found.causes)


def _worker(found: Report) -> Finding:
    live = found.live_workers
    if not live:
        last = f" for {in_words(found.at - found.workers[0].beat_at)}" if found.workers else ""
        return problem("worker", f"none has run{last}", _START_WORKER)
    for worker in live:
        if worker.problem:
            return problem("worker", f"runs, but cannot ask: {phrase(worker.problem)}")
    return ok("worker", "one runs" if len(live) == 1 else f"{len(live)} run")


def _tokens(found: Report) -> Finding:
    check = "token rotation"
    if settings().demo or not settings().twilio_auth_token_secondary:
        return ok(check, "none is under way")
    if found.by_secondary:
        what = "callbacks are signed with the secondary token: Twilio has promoted it"
        return warning(check, what, "make it TWILIO_AUTH_TOKEN, and that the secondary one")
    what = "under way: TWILIO_AUTH_TOKEN_SECONDARY is set, and signs nothing yet"
    return warning(check, what, "once it is promoted, make it TWILIO_AUTH_TOKEN")


def _last_callback(found: Report) -> Finding:
    last = found.last_callback_at
    return ok("last callback", ago(last, found.at) if last else "none has come yet")


def _window(window: Window) -> Finding:
    return ok(
        f"callbacks in {in_words(window.span)}",
        f"{window.accepted:,} accepted, {window.repeated:,} of them repeated, "
        f"{window.refused:,} refused; {window.told:,} outcomes by callback, "
        f"{window.missed:,} by asking ({share(window.repaired_share)})",
    )


def _delays(found: Report) -> Iterator[Finding]:
    for what, delay in (("first callback", found.to_first), ("outcome", found.to_final)):
        if delay.median is not None and delay.p95 is not None:
            yield _delay(what, delay)


def _delay(what: str, delay: Delay) -> Finding:
    half, most = (brief_time(time) for time in (delay.median, delay.p95) if time is not None)
    few = ": few, so a hint only" if delay.is_few else ""
    return ok(
        f"time to {what}",
        f"half within {half}, 95 % within {most} ({delay.sample:,} messages{few})",
    )


def _cause(cause: Cause) -> Finding:
    """What strangers post is no fault of this installation's."""
    whose = "" if cause.is_plausible else ", from strangers"
    found = f"{cause.day:,} in 24 hours, {cause.week:,} in 7 days{whose}: {phrase(why(cause))}"
    if cause.is_plausible and cause.day:
        return warning("refused", found, "flask callbacks list")
    return ok("refused", found)
