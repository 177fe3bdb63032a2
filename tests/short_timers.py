"""Run a module of the app with a fraction of the patience that it has in earnest.

`python -m tests.short_timers 150 flask --app wsgi worker` asks Twilio after 2 seconds of silence, and not
after 5 minutes. The web server has to be as hasty: it plans the first look-up of each message.
"""

import runpy
import sys
from datetime import timedelta

from smstracker.sms import lookup_schedule, status
from smstracker.worker import loop

TIMES = {
    lookup_schedule: ("SILENCE_AGES", "SEARCH_AGES", "LEASE"),
    status: ("PENDING_IS_UNKNOWN_AFTER",),
    loop: ("CHORES_EVERY",),
}


def hasten(factor: float) -> None:
    """Divide the times, also where other modules have taken them over."""
    ours = [module for name, module in sys.modules.items() if name.startswith("smstracker")]
    for home, names in TIMES.items():
        for name in names:
            slow = getattr(home, name)
            for module in ours:
                if getattr(module, name, None) is slow:
                    setattr(module, name, _divide(slow, factor))


def _divide(slow: timedelta | tuple[timedelta, ...], factor: float) -> object:
    return tuple(each / factor for each in slow) if isinstance(slow, tuple) else slow / factor


if __name__ == "__main__":
    hasten(float(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
