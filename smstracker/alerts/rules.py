"""The rules in words: what each says, what to do, how long it has to hold.

No sentence holds a number, text or token: counts and error codes only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from smstracker.backups.advice import FIND_FAILURE, FIND_TIMER
from smstracker.clock import MINUTE, format_duration
from smstracker.command_name import COMMAND, RESTART_WORKER, START_WORKER
from smstracker.extensions import settings
from smstracker.health_facts import BACKUP_INTERVAL
from smstracker.models.alerts import Counts, RuleName
from smstracker.percentages import format_share
from smstracker.plurals import format_count, is_or_are, it_or_them
from smstracker.sms.error_guide import address_administrator, documentation_url, explain_code

# A rule that has been false for this time has ended; a shorter pause does not end it.
QUIET_TIME = timedelta(minutes=10)
CONNECTION_PAGE = "/callbacks"
# Of everybody's messages, as the alert counts them.
INSIGHTS_PAGE = "/insights?everyone=1&period=24h"
Sentence = Callable[[str, Counts], str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule; `title`, `describe` and `advise` take the subject, an error code or empty.

    `page` is the address of the page that the advice speaks of, or empty; one of ours is a path and
    has a `page_name`. It opens after it has held for `holds`. `is_sick` if the service itself does
    not work: then HEARTBEAT_URL is not fetched. docs/operations.md lists it under `heading`.
    """

    name: RuleName
    heading: str
    describe: Sentence
    advise: Callable[[str], str]
    holds: timedelta = timedelta(0)
    is_sick: bool = True
    page: Callable[[str], str] = lambda _subject: ""
    page_name: str = ""

    def title(self, subject: str) -> str:
        return f"{self.heading}: {subject}" if subject else self.heading

    def page_address(self, subject: str) -> str:
        """The whole address of the page, or empty."""
        page = self.page(subject)
        return f"{settings().public_base_url}{page}" if page.startswith("/") else page

    def full_advice(self, subject: str) -> str:
        """The advice with the address of its page, for where there are no links."""
        return f"{self.advise(subject)} {self.page_address(subject)}".strip()


def _constant(text: str) -> Callable[[str], str]:
    return lambda _subject: text


def _silent(_subject: str, counts: Counts) -> str:
    accepted = format_count(counts.get("accepted", counts["messages"]), "message")
    return (
        f"{counts['messages']:,} of the newest {accepted} that Twilio accepted got no callback in "
        "time: they wait for one, or were looked up."
    )


def _refused(_subject: str, counts: Counts) -> str:
    callbacks = format_count(counts["callbacks"], "callback")
    return f"In the last hour {callbacks} signed with a secret of ours could not be accepted."


def _not_stored(_subject: str, counts: Counts) -> str:
    callbacks = format_count(counts["callbacks"], "callback")
    return (
        f"In the last 15 minutes {callbacks} could not be stored. They were answered with 503, so "
        "Twilio sends them again."
    )


def _gone(_subject: str, counts: Counts) -> str:
    if minutes := counts.get("minutes"):
        gap = format_duration(timedelta(minutes=minutes))
        return f"For {gap} no worker ran, or none could reach the database. One runs again."
    workers = format_count(counts["workers"], "worker")
    pronoun = it_or_them(counts["workers"])
    return f"{workers} stopped sending heartbeats, and no new worker replaced {pronoun}."


def _cannot_ask(_subject: str, counts: Counts) -> str:
    workers = format_count(counts["workers"], "worker")
    return f"The look-ups of {workers} at Twilio fail, so lost statuses are not fetched."


def _stuck(_subject: str, counts: Counts) -> str:
    wait = format_duration(timedelta(minutes=counts["minutes"]))
    return f"A message could be sent for {wait}, but no worker hands it to Twilio."


def _failing(_subject: str, counts: Counts) -> str:
    failed, decided = counts["failed"], counts["decided"]
    share = format_share(failed, decided, 0)
    now = f"In the last hour {failed:,} of {format_count(decided, 'message')} failed ({share})."
    if not counts["usual_decided"]:
        return f"{now} There is too little to compare with yet, so the limit is half of them."
    usual = format_share(counts["usual_failed"], counts["usual_decided"], 0)
    return f"{now} In the same hours of the past four weeks it was {usual}."


def _code(subject: str, counts: Counts) -> str:
    short = explanation.short if (explanation := explain_code(subject)) else ""
    share = format_share(counts["failed"], counts["decided"], 0)
    now = (
        f"In the last 6 hours {counts['failed']:,} of {format_count(counts['decided'], 'message')} "
        f"failed with error {subject} ({short}), which is {share}."
    )
    if not counts["usual_decided"]:
        return f"{now} There is too little to compare with yet, so the limit is a fifth of them."
    usual = format_share(counts["usual_failed"], counts["usual_decided"], 1)
    return f"{now} In the past four weeks it was {usual}."


def _unlisted(subject: str, counts: Counts) -> str:
    messages = format_count(counts["failed"], "message")
    return f"In the last 6 hours {messages} failed with error {subject}, which is not explained."


def _unknown(_subject: str, counts: Counts) -> str:
    messages = format_count(counts["messages"], "message")
    return (
        f"The outcome of {messages} has been unknown for more than ten minutes. smstracker never "
        "sends them again."
    )


def _disk(_subject: str, counts: Counts) -> str:
    return (
        f"{counts['free_megabytes']:,} MB ({counts['free_percent']} %) are free on the disk. When "
        "it is full, no callback can be stored."
    )


def _copied(_subject: str, counts: Counts) -> str:
    copies = format_count(counts["copies"], "copy", "copies")
    return (
        f"Beside the database {copies} of it {is_or_are(counts['copies'])} left, made when a log "
        "was replaced. The database may lack callbacks that a copy has."
    )


def _no_backup(_subject: str, counts: Counts) -> str:
    age = format_duration(timedelta(hours=counts["hours"]))
    moment = f"{age} ago" if counts["hours"] else "by a clock that was ahead"
    return f"The newest good backup was made {moment}, and no other since."


def _advise_code(subject: str) -> str:
    explanation = explain_code(subject)
    action = address_administrator(explanation.action) if explanation else ""
    return action.replace("Reword it", "Ask the senders to reword the message", 1)


_TROUBLE = (
    Rule(
        RuleName.CALLBACKS_SILENT,
        "Callbacks stopped coming",
        _silent,
        _constant(
            f"Run {COMMAND} doctor: it calls PUBLIC_BASE_URL as Twilio would, but from its own "
            "machine, and names the fix, or what to look at from outside."
        ),
        holds=5 * MINUTE,
    ),
    Rule(
        RuleName.CALLBACKS_REFUSED,
        "Callbacks of Twilio are refused",
        _refused,
        _constant("The page Connection names the setting at fault. Correct it, then replay them."),
        holds=2 * MINUTE,
        page=_constant(CONNECTION_PAGE),
        page_name="Connection",
    ),
    Rule(
        RuleName.CALLBACKS_NOT_STORED,
        "Callbacks could not be stored",
        _not_stored,
        _constant("The app's log says why at callback_not_stored."),
        holds=2 * MINUTE,
    ),
    Rule(
        RuleName.WORKER_GONE,
        "A worker is gone",
        _gone,
        _constant(f"The page Connection names its machine. On that, {START_WORKER}."),
        holds=2 * MINUTE,
        page=_constant(CONNECTION_PAGE),
        page_name="Connection",
    ),
    Rule(
        RuleName.TWILIO_UNREACHABLE,
        "Twilio cannot be asked",
        _cannot_ask,
        _constant("The page Connection says why: the credentials, the network or Twilio itself."),
        holds=10 * MINUTE,
        page=_constant(CONNECTION_PAGE),
        page_name="Connection",
    ),
    Rule(
        RuleName.OUTBOX_STUCK,
        "Messages wait and are not sent",
        _stuck,
        _constant(f"On the machine of the worker, {RESTART_WORKER}."),
        holds=2 * MINUTE,
    ),
    Rule(
        RuleName.DISK_FULL,
        "The disk is nearly full",
        _disk,
        _constant("Free space, or give the database a larger disk."),
        holds=5 * MINUTE,
    ),
)
_opens_later = partial(Rule, holds=10 * MINUTE, is_sick=False)
_OUTCOMES = (
    _opens_later(
        RuleName.FAILURES_HIGH,
        "Far more messages fail than usual",
        _failing,
        _constant("The page Insights lists the errors of the last day, each with its explanation."),
        page=_constant(INSIGHTS_PAGE),
        page_name="Insights",
    ),
    _opens_later(RuleName.ERROR_CODE, "One error is far above its usual", _code, _advise_code),
    _opens_later(
        RuleName.CODE_UNLISTED,
        "An error is not in the guide",
        _unlisted,
        _constant("Read Twilio's page on it."),
        page=lambda subject: documentation_url(subject) or "",
    ),
    _opens_later(
        RuleName.OUTCOME_UNKNOWN,
        "Outcomes stay unknown",
        _unknown,
        _constant("Their senders decide: they find them in their log under Unknown."),
    ),
)
_BACKUPS = Rule(
    RuleName.BACKUPS_STOPPED,
    "Backups stopped",
    _no_backup,
    _constant(
        f"If it fails, {FIND_FAILURE}. If it does not run, {FIND_TIMER}. Where no further backups "
        "are wanted, make one with --once."
    ),
    holds=BACKUP_INTERVAL,
    is_sick=False,
)
_COPIES = Rule(
    RuleName.DATABASE_COPIED,
    "The database may lack callbacks",
    _copied,
    _constant(
        f"Run {COMMAND} messages reconcile --all, which fetches the statuses from Twilio, then "
        "move the copy to another folder."
    ),
    holds=MINUTE,
    is_sick=False,
)
RULES: dict[str, Rule] = {rule.name: rule for rule in (*_TROUBLE, *_OUTCOMES, _COPIES, _BACKUPS)}
