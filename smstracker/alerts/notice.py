"""The text of a notice: a mail, and the JSON of the webhook. Pure but for the public address."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from smstracker.alerts.rules import RULES
from smstracker.clock import format_duration
from smstracker.command_name import COMMAND
from smstracker.extensions import settings
from smstracker.models import Alert
from smstracker.models.alerts import BEGIN, END

EVENT_TYPES = {BEGIN: "alert.began", END: "alert.ended"}
NAMED = 3  # in the subject of a mail
TEST_TEXT = f"This is a test: {COMMAND} alerts test was run. Nothing is wrong."


@dataclass(frozen=True, slots=True)
class Notice:
    """What one channel sends. `id` stays the same when it is sent again."""

    id: str
    event_type: str
    title: str
    lines: tuple[str, ...]
    facts: Mapping[str, object] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        return f"[smstracker] {self.title}"

    @property
    def text(self) -> str:
        return "\n\n".join(self.lines) + "\n"


def compose(alert: Alert, occasion: str, notice_id: str) -> Notice:
    """The notice of an alert: that it began, continues ("day 1") or ended."""
    rule = RULES[alert.rule]
    title, sentence = rule.title(alert.subject), rule.describe(alert.subject, alert.counts)
    since = f"Since {format_moment(alert.began_at)}."
    if occasion == END:
        lines = [describe_end(alert), f"Problem: {sentence}"]
    elif occasion == BEGIN:
        lines = [sentence, since, f"What to do: {rule.advise(alert.subject)}"]
    else:
        lines = [f"Still open. {sentence}", since, f"What to do: {rule.advise(alert.subject)}"]
    over = "No longer watched: " if alert.counts.get("unknown") else "Over: "
    prefix = {BEGIN: "", END: over}.get(occasion, "Still: ")
    lines.append(f"{settings().public_base_url}/alerts")
    event_type = EVENT_TYPES.get(occasion, "alert.continues")
    return Notice(notice_id, event_type, prefix + title, tuple(lines), _facts(alert))


def combine(notices: Sequence[Notice]) -> Notice:
    """One mail of several notices; its subject says how many, and names the first of them."""
    if len(notices) == 1:
        return notices[0]
    names = "; ".join(notice.title for notice in notices[:NAMED])
    more = f" and {len(notices) - NAMED} more" if len(notices) > NAMED else ""
    title = f"{len(notices)} alerts: {names}{more}"
    lines = [line for notice in notices for line in (f"{notice.title}:", *notice.lines[:-1])]
    return Notice(notices[0].id, notices[0].event_type, title, (*lines, notices[0].lines[-1]))


def compose_test(notice_id: str) -> Notice:
    address = f"{settings().public_base_url}/alerts"
    return Notice(notice_id, "alert.test", "Test", (TEST_TEXT, address), {"test": True})


def describe_end(alert: Alert) -> str:
    """How long it lasted, what was fetched meanwhile, and what stays unknown."""
    duration = format_duration(max(alert.lasted, timedelta(minutes=1)))
    fetched = alert.counts.get("fetched", 0)
    verb = "message was" if fetched == 1 else "messages were"
    tail = f"; {fetched:,} {verb} fetched" if fetched else ""
    if unknown := alert.counts.get("unknown"):
        noun = "message" if unknown == 1 else "messages"
        tail += f". The outcome of {unknown:,} {noun} is still unknown"
    return f"It lasted {duration}{tail}."


def format_moment(moment: datetime) -> str:
    return f"{moment:%-d %b %Y, %H:%M} UTC"


def _facts(alert: Alert) -> dict[str, object]:
    rule = RULES[alert.rule]
    return {
        "alert_id": alert.id,
        "rule": alert.rule,
        "error_code": alert.subject or None,
        "sentence": rule.describe(alert.subject, alert.counts),
        "advice": rule.advise(alert.subject),
        "began_at": alert.began_at.isoformat(timespec="seconds"),
        "ended_at": alert.ended_at.isoformat(timespec="seconds") if alert.ended_at else None,
        "counts": dict(alert.counts),
    }
