"""Checks of what is to be deleted: is it?"""

from collections.abc import Iterator

from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.doctor.check_result import CheckResult, strip_period, warning
from smstracker.extensions import db
from smstracker.models import CarrierRemoval
from smstracker.plurals import format_count
from smstracker.privacy.carrier_progress import read_progress
from smstracker.web_templates import format_absolute_time


def check_privacy() -> Iterator[CheckResult]:
    """Warn of messages that Twilio still has although they are deleted here."""
    with reading_connection(db.engine) as connection:
        failing = read_progress(connection, CarrierRemoval.keeps_failing())
    if not failing.left:
        return
    reason = strip_period(failing.problems[0][0]) if failing.problems else "not known"
    detail = f"{format_count(failing.left, 'message')} cannot be removed at Twilio: {reason}"
    if failing.next_try_at and failing.next_try_at > utcnow():
        detail += f"; tried again at {format_absolute_time(failing.next_try_at)}"
    fix = "see the reasons on the page Privacy, and removal_failed in the log of the worker"
    if failing.failed:
        detail += f"; {failing.failed:,} not tried again"
        fix += "; delete by hand, in Twilio's Console, what is not tried again"
    yield warning("removal at Twilio", detail, fix)
