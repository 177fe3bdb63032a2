"""When to ask Twilio about a message that no callback has settled. Pure; times are durations.

There is no counter of attempts: the next look-up follows from how long the silence has lasted, so
a worker that was down for a day asks once and goes on from there.
"""

from datetime import datetime, timedelta

from smstracker.sms import status

# Ages of the silence, counted from the last change of the status, at which Twilio is asked; after
# the last one daily, and for the last time when the receipt window ends.
SILENT_AFTER = (
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(hours=24),
)
# Ages of a message whose outcome is unknown at which it is looked for in Twilio's list. Only after
# the last of these may "nothing found" become "not sent".
TRACED_AFTER = (
    timedelta(minutes=1),
    timedelta(minutes=3),
    timedelta(minutes=6),
    timedelta(minutes=10),
)
# How long a worker may take for what it has claimed, before another one takes it up.
LEASE = timedelta(minutes=2)


def first_lookup(word: str, since: datetime) -> datetime | None:
    """When to ask first about a message that has had the status `word` since `since`."""
    if word in status.FINAL:
        return None
    steps = TRACED_AFTER if word in status.OUTCOME_OPEN else SILENT_AFTER
    return since + steps[0]


def next_lookup(
    word: str, since: datetime, *, now: datetime, receipt_window: timedelta
) -> datetime | None:
    """When to ask again about a message that has been silent since `since`; None for never.

    For an outcome that is not known, `since` is when the message was saved.
    """
    if word in status.FINAL:
        return None
    age = now - since
    early = TRACED_AFTER if word in status.OUTCOME_OPEN else ()
    steps: list[timedelta] = sorted({*early, *_delays_within(receipt_window)})
    for step in steps:
        if step > age:
            return since + step
    return None


def _delays_within(window: timedelta) -> tuple[timedelta, ...]:
    """The ages of look-ups within a receipt window, the end of the window the last of them."""
    day = SILENT_AFTER[-1]
    daily = (day * n for n in range(2, window // day + 1))
    return (*(step for step in (*SILENT_AFTER, *daily) if step < window), window)
