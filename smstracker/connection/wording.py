"""Wording of numbers, times and reasons on the connection page and in `flask doctor`."""

from collections.abc import Sequence
from datetime import timedelta

from smstracker import health_facts
from smstracker.clock import format_duration, spell_duration
from smstracker.connection.refusal_causes import RefusalCause
from smstracker.extensions import receipt_window
from smstracker.percentages import format_share as format_share
from smstracker.plurals import format_count, is_or_are, pluralize, was_or_were
from smstracker.refused.replay import ReplayForecast
from smstracker.refused.sentences import refusal_reason

MAX_REASONS = 3
UNKNOWN_AFTER = spell_duration(health_facts.UNKNOWN_AFTER)
CALLBACK_OVERDUE_AFTER = spell_duration(health_facts.CALLBACK_OVERDUE_AFTER)


def format_receipt_window() -> str:
    """Time for which callbacks of other programs are kept."""
    return format_duration(receipt_window())


def describe_replay(
    applied: int,
    refused: int,
    reasons: Sequence[tuple[str, int]] = (),
    applied_by_others: int = 0,
) -> str:
    """The result of a replay; `reasons` tell why and how many are still refused."""
    sentences = []
    if applied:
        sentences.append(f"{format_count(applied, 'callback')} {was_or_were(applied)} applied.")
    if applied_by_others:
        sentences.append(describe_other_replay(applied_by_others))
    if refused:
        stays = pluralize(refused, "stays", "stay")
        sentences.append(f"{format_count(refused, 'callback')} {stays} refused.")
        sentences += [f"{count:,} ×: {sentence}" for sentence, count in reasons[:MAX_REASONS]]
        if len(reasons) > MAX_REASONS:
            sentences.append("The other reasons are below.")
    return " ".join(sentences) or "There was nothing to replay."


def describe_other_replay(applied: int) -> str:
    """What another replay has applied at the same time."""
    return f"Another replay applied {format_count(applied, 'callback')} at the same time."


def describe_forecast(forecast: ReplayForecast, refusal_waits: bool) -> str:
    """Forecast of a replay of all, and the advice if it would apply none."""
    if not refusal_waits:
        return "Every refused callback has been applied."
    if not forecast.is_complete:
        return "Replay applies only what is valid with today's settings."
    count = forecast.applicable
    if count:
        callbacks = format_count(count, "callback")
        return f"Replay applies the {callbacks} that {is_or_are(count)} valid now."
    return (
        "None is valid with today's settings, so none can be applied. Fix a cause named above and "
        "restart: a Replay button then appears here. What none of your tokens or keys signed is "
        "never applied."
    )


def cause_sentence(cause: RefusalCause) -> str:
    """The diagnosis of a cause, or the reason if there is none."""
    return cause.diagnosis or f"{refusal_reason(cause.reason)}."


def capitalize(text: str) -> str:
    """Begin a text with a capital; `str.capitalize` would lower the rest."""
    return text[:1].upper() + text[1:]


def format_delay(duration: timedelta) -> str:
    """A delay: "0.8 s", "42 s", "3 minutes"."""
    seconds = duration.total_seconds()
    if seconds >= 60:
        return format_duration(duration)
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
