"""What was refused is looked at again, by the settings of today."""

from collections.abc import Sequence
from importlib import import_module


def replay_refused(ids: Sequence[int] | None) -> tuple[int, int]:
    """How many were applied and how many stay refused; None stands for all."""
    import_module("smstracker.webhooks.diagnosis").diagnose_pending()
    done = import_module("smstracker.webhooks.replay").replay(ids)
    return done.applied, done.refused
