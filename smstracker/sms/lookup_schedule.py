"""When to ask Twilio about a message without a final status. Pure.

The length of the silence decides, not a count of attempts: a worker that was down for a day asks
once and goes on from there.
"""

from datetime import datetime, timedelta

from smstracker.sms import status

# Time since the last status change at which Twilio is asked; then daily, and for the last time
# when the receipt window ends.
SILENCE_AGES = tuple(timedelta(minutes=minutes) for minutes in (5, 15, 60, 6 * 60, 24 * 60))
# Time since the message was saved at which one of unknown outcome is searched for in Twilio's list.
# Only after the last search may "not found" become "not sent".
SEARCH_AGES = tuple(timedelta(minutes=minutes) for minutes in (1, 3, 6, 10))
LONGEST_WAIT = SILENCE_AGES[-1]  # from one look-up to the next
NEVER_ASKED_ABOUT = (status.OUTBOX, *status.FINAL)
# How long a worker may take for its claimed messages before another worker gets them.
LEASE = timedelta(minutes=2)


def first_lookup(word: str, since: datetime) -> datetime | None:
    """Return when to ask first about a message with status `word` since `since`."""
    if word in NEVER_ASKED_ABOUT:
        return None
    return since + (SEARCH_AGES if word in status.OUTCOME_OPEN else SILENCE_AGES)[0]


def next_lookup(
    word: str, since: datetime, *, now: datetime, receipt_window: timedelta
) -> datetime | None:
    """Return when to ask again about a message silent since `since`; None for never.

    For an unknown outcome, `since` is when the message was saved. If that is of a clock that was
    ahead, Twilio is asked daily.
    """
    if word in NEVER_ASKED_ABOUT:
        return None
    ages = (*(SEARCH_AGES if word in status.OUTCOME_OPEN else ()), *_ages_until(receipt_window))
    lookup_at = min((since + age for age in ages if since + age > now), default=None)
    return lookup_at and min(lookup_at, now + LONGEST_WAIT)


def _ages_until(window: timedelta) -> tuple[timedelta, ...]:
    """Return the ages of look-ups within a receipt window; its end is the last."""
    day = SILENCE_AGES[-1]
    daily = (day * n for n in range(2, window // day + 1))
    return (*(step for step in (*SILENCE_AGES, *daily) if step < window), window)
