"""The states of a batch, which is a file of people and one text for them."""

from enum import StrEnum


class BatchState(StrEnum):
    """What becomes of a batch. Twilio hears of its messages only while it is RUNNING."""

    CHECKING = "checking"
    REFUSED = "refused"  # the file or its columns; `problem` says why
    READY = "ready"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    DONE = "done"
    DISCARDED = "discarded"  # never sent, and about to be deleted


STARTED = (BatchState.RUNNING, BatchState.PAUSED, BatchState.STOPPED, BatchState.DONE)
UNDER_WAY = (BatchState.RUNNING, BatchState.PAUSED)
OVER = (BatchState.STOPPED, BatchState.DONE)
UNSENT = (BatchState.CHECKING, BatchState.REFUSED, BatchState.READY)
