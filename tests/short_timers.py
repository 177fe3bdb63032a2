"""Run a module of the app with its timers divided by a factor.

`python -m tests.short_timers 150 flask --app wsgi worker` looks a silent message up after 2 seconds
instead of 5 minutes. Run the web server alike: it schedules the first look-up of each message.
"""

import runpy
import sys
from datetime import timedelta

from smstracker.models import outbox
from smstracker.sms import lookup_schedule, status
from smstracker.worker import loop

TIMES = {
    lookup_schedule: ("SILENCE_AGES", "SEARCH_AGES", "LEASE"),
    status: ("PENDING_IS_UNKNOWN_AFTER",),
    outbox: ("LEASE",),
    loop: ("JOB_CHECK_INTERVAL",),
}


def shorten_timers(factor: float) -> None:
    """Divide the timers, also in the modules that import them by name."""
    modules = [module for name, module in sys.modules.items() if name.startswith("smstracker")]
    for defining_module, names in TIMES.items():
        for name in names:
            value = getattr(defining_module, name)
            for module in modules:
                if getattr(module, name, None) is value:
                    setattr(module, name, _divide(value, factor))


def _divide(value: timedelta | tuple[timedelta, ...], factor: float) -> object:
    return tuple(step / factor for step in value) if isinstance(value, tuple) else value / factor


if __name__ == "__main__":
    shorten_timers(float(sys.argv[1]))
    del sys.argv[:2]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
