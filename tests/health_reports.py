"""Made-up reports on the connection."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from smstracker.clock import DAY, HOUR, WEEK
from smstracker.connection.refusal_causes import RefusalCause
from smstracker.connection.report import ConnectionReport, Delay, Window
from smstracker.connection.token_rotation import Rotation
from smstracker.health_facts import WorkerStatus
from smstracker.refused.replay import ReplayForecast

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
QUIET = Delay(None, None, 0)


def window(by_callback: int = 0, by_lookup: int = 0, period: timedelta = DAY) -> Window:
    return Window(period, by_callback * 2, 0, 0, by_callback, by_lookup)


def worker(age: timedelta = MINUTE / 30, problem: str | None = None) -> WorkerStatus:
    return WorkerStatus("w", NOW - WEEK, NOW - age, problem, age <= MINUTE)


def cause(hour: int = 14, **columns: Any) -> RefusalCause:
    diagnosis = {
        "diagnosis": "Valid for http://a.example, but PUBLIC_BASE_URL is https://a.example"
    }
    proven = columns.pop("is_proven", "Valid" in (columns.get("diagnosis", "Valid") or ""))
    identity = {"reason": "signature", "setting": "PUBLIC_BASE_URL", "is_plausible": True}
    identity |= {"is_proven": proven}
    counts = {"hour": hour, "day": hour, "week": hour, "newest_at": NOW - MINUTE}
    return RefusalCause(**(diagnosis | identity | counts | columns))


# A healthy day: Twilio calls, a worker runs, messages are sent.
WELL = ConnectionReport(
    at=NOW,
    last_callback_at=NOW - MINUTE,
    hour=window(10, period=HOUR),
    day=window(124),
    week=window(600, period=WEEK),
    to_first=QUIET,
    to_final=QUIET,
    sent_in_day=130,
    oldest_message_at=NOW - WEEK,
    unknown=0,
    without_callback=0,
    waiting_since_last_callback=0,
    looked_up_since_last_callback=0,
    rotation=Rotation.PRIMARY_SIGNS,
    replay=ReplayForecast((), is_complete=True),
    causes=(),
    workers=(worker(),),
)
NEW = replace(
    WELL,
    last_callback_at=None,
    hour=window(),
    day=window(),
    sent_in_day=0,
    oldest_message_at=None,
    workers=(),
)
SILENT = {"last_callback_at": NOW - 42 * MINUTE}
