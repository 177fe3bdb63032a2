"""A worker that runs once, at a time that the test chooses."""

from datetime import timedelta

import time_machine
from flask import Flask

from smstracker.clock import utcnow
from smstracker.worker.loop import Worker

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def in_minutes(minutes: int) -> time_machine.travel:
    """A clock that stands still, `minutes` from now."""
    return time_machine.travel(utcnow() + minutes * MINUTE, tick=False)


def work(app: Flask) -> None:
    """Run a worker once."""
    with app.app_context():
        worker = Worker()
        worker.work()
        worker.join_listing()
