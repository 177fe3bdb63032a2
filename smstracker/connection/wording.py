"""Numbers, times and reasons on the page of the connection, as people say them."""

from collections.abc import Sequence
from datetime import timedelta

from smstracker.clock import format_duration
from smstracker.connection.refusal_causes import RefusalCause
from smstracker.extensions import settings
from smstracker.refused.replay import ReplayForecast

REASONS_TOLD = 3
# For what strangers post, which is explained one by one.
_REASONS = {
    "signature": "The signature does not verify.",
    "unreadable": "Signed, but naming no message or no status.",
    "not-a-form": "Not a form, as which Twilio posts.",
    "too-large": "Larger than any callback.",
    "inbound": "An incoming message, and no status callback.",
    "json": "JSON of another webhook.",
    "recut": "A captured callback whose fields were divided anew.",
    "address": "To an address that is no callback address.",
}


def callbacks(count: int) -> str:
    """How many callbacks, as people say it."""
    return f"{count:,} callback{'' if count == 1 else 's'}"


def messages(count: int) -> str:
    """How many messages, as people say it."""
    return f"{count:,} message{'' if count == 1 else 's'}"


def were(count: int) -> str:
    """The verb after a number of things."""
    return "was" if count == 1 else "were"


def receipt_window() -> str:
    """How long a callback of no message here is kept."""
    return format_duration(timedelta(hours=settings().receipt_window_hours))


def replayed(applied: int, refused: int, reasons: Sequence[tuple[str, int]] = ()) -> str:
    """What came of a replay, and why some are still refused: `reasons` with their counts."""
    if not applied and not refused:
        return "There was nothing to replay."
    said = []
    if applied:
        said.append(f"{callbacks(applied)} {were(applied)} applied.")
    if refused:
        stays = "stays" if refused == 1 else "stay"
        said.append(f"{callbacks(refused)} {stays} refused.")
        said += [f"{count:,} ×: {sentence}" for sentence, count in reasons[:REASONS_TOLD]]
        if len(reasons) > REASONS_TOLD:
            said.append("The other reasons are below.")
    return " ".join(said)


def prospect(forecast: ReplayForecast) -> str:
    """What a replay of all would do, and what would let it do more."""
    if forecast.is_done:
        return "All that was refused has been applied since."
    if not forecast.is_whole:
        return "Replay applies all that is valid with today's settings, and nothing else."
    count = forecast.applicable
    if count:
        return f"Replay applies the {callbacks(count)} that {_is_valid(count)} by now."
    return (
        "None can be applied: none is valid with today's settings. Fix a cause named above and "
        "restart: a Replay button then appears here. What none of your tokens or keys has signed "
        "is never applied."
    )


def _is_valid(count: int) -> str:
    return "is valid" if count == 1 else "are valid"


def why(cause: RefusalCause) -> str:
    """What is behind refusals, in a sentence."""
    return cause.diagnosis or _REASONS.get(cause.reason, "They were refused.")


def share(part: float | None) -> str:
    """A share in percent; never rounded to none or to all."""
    if part is None:
        return "–"
    if 0 < part < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < part < 1 else f"{part:.0%}".replace("%", " %")


def brief_time(duration: timedelta) -> str:
    """A delay, exact where it matters: "0.8 s", "42 s", "3 minutes"."""
    seconds = duration.total_seconds()
    if seconds >= 60:
        return format_duration(duration)
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
