"""The text of a notice: a mail, and the JSON of the webhook. Pure but for the public address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from smstracker.alerts.rules import QUIET_TIME, RULES
from smstracker.clock import format_duration
from smstracker.command_name import COMMAND
from smstracker.extensions import settings
from smstracker.models import Alert
from smstracker.models.alerts import BEGIN, END
from smstracker.plurals import format_count

EVENT_TYPES = {BEGIN: "alert.began", END: "alert.ended"}
NAMED = 3  # in the subject of a mail
TEST_TEXT = f"This is a test: {COMMAND} alerts test was run. Nothing is wrong."


@dataclass(frozen=True, slots=True)
class Notice:
    """What one channel sends. `id` stays the same when it is sent again."""

    id: str
    event_type: str
    title: str
    paragraphs: tuple[str, ...]
    links: tuple[str, ...]
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        return f"[smstracker] {self.title}"

    @property
    def text(self) -> str:
        """The paragraphs, then each link on a line of its own, where no program cuts it."""
        return "\n\n".join([*self.paragraphs, "\n".join(self.links)]) + "\n"


def compose(alert: Alert, occasion: str, notice_id: str) -> Notice:
    """The notice of an alert: that it began, continues ("day 1") or ended."""
    rule = RULES[alert.rule]
    title, sentence = rule.title(alert.subject), rule.describe(alert.subject, alert.counts)
    since = f"Since {format_moment(alert.began_at)}."
    links = [_alerts_page()]
    if occasion == END:
        paragraphs = [describe_end(alert), f"It was: {sentence}"]
    else:
        still = "" if occasion == BEGIN else "Still open. "
        advice = f"What to do: {rule.advise(alert.subject)}"
        paragraphs = [f"{still}{sentence}", since, advice]
        links = [*filter(None, [rule.page_address(alert.subject)]), *links]
    over = "No longer watched: " if alert.counts.get("unknown") else "Over: "
    prefix = {BEGIN: "", END: over}.get(occasion, "Still: ")
    event_type = EVENT_TYPES.get(occasion, "alert.continues")
    return Notice(
        notice_id, event_type, prefix + title, tuple(paragraphs), tuple(links), _facts(alert)
    )


def combine(notices: Sequence[Notice]) -> Notice:
    """One mail of several notices; its subject says how many, and names the first of them."""
    if len(notices) == 1:
        return notices[0]
    names = "; ".join(notice.title for notice in notices[:NAMED])
    more = f" and {len(notices) - NAMED} more" if len(notices) > NAMED else ""
    title = f"{len(notices)} alerts: {names}{more}"
    paragraphs = [text for notice in notices for text in (f"{notice.title}:", *notice.paragraphs)]
    pages = dict.fromkeys(link for notice in notices for link in notice.links[:-1])
    first = notices[0]
    links = (*pages, first.links[-1])
    return Notice(first.id, first.event_type, title, tuple(paragraphs), links)


def compose_test(notice_id: str) -> Notice:
    return Notice(notice_id, "alert.test", "Test", (TEST_TEXT,), (_alerts_page(),), {"test": True})


def _alerts_page() -> str:
    return f"{settings().public_base_url}/alerts"


def describe_end(alert: Alert) -> str:
    """How long it lasted, what was fetched meanwhile, and what stays unknown."""
    duration = format_duration(max(alert.lasted, timedelta(minutes=1)))
    fetched = alert.counts.get("fetched", 0)
    statuses = format_count(fetched, "status", "statuses")
    tail = f"; the worker looked up {statuses} meanwhile" if fetched else ""
    if unknown := alert.counts.get("unknown"):
        tail += f". The outcome of {format_count(unknown, 'message')} is still unknown"
    return f"It lasted {duration}{tail}."


def describe_gone(alert: Alert) -> str:
    """When an open alert was true last, and when it ends."""
    last, end = alert.last_true_at, alert.last_true_at + QUIET_TIME
    return f"Not seen since {format_moment(last)}. Ends at {format_moment(end)} if it stays so."


def format_moment(moment: datetime) -> str:
    return f"{moment:%-d %b %Y, %H:%M} UTC"


def _facts(alert: Alert) -> dict[str, object]:
    rule = RULES[alert.rule]
    return {
        "alert_id": alert.id,
        "rule": alert.rule,
        "error_code": alert.subject or None,
        "sentence": rule.describe(alert.subject, alert.counts),
        "advice": rule.full_advice(alert.subject),
        "began_at": alert.began_at.isoformat(timespec="seconds"),
        "ended_at": alert.ended_at.isoformat(timespec="seconds") if alert.ended_at else None,
        "counts": dict(alert.counts),
    }
