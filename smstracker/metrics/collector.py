"""The metrics by name, computed from the database at each scrape.

docs/monitoring.md lists them; a test compares. No label holds a number, a SID or an address: their
values are words of the program and codes of the error guide.
"""

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from sqlalchemy import Connection, Engine

from smstracker.alerts.rules import RULES
from smstracker.clock import utcnow
from smstracker.database.engine import reading_connection
from smstracker.health_facts import WorkerStatus, read_workers
from smstracker.metrics import metric_queries
from smstracker.models import Alert
from smstracker.models.callback_counts import (
    REFUSAL_COLUMNS,
    REFUSAL_PREFIX,
    STORE_BOUNDS,
    STORE_COLUMNS,
    STORE_MICROS,
)
from smstracker.models.metric_totals import LOOKUP_RESULTS, LOOKUPS
from smstracker.sms.error_guide import explanations
from smstracker.sms.status import State
from smstracker.version import version


class DatabaseCollector(Collector):
    """Reads all metrics as of one moment, so that what a purge moves is not counted twice."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._older_counts = metric_queries.OlderCounts()

    def collect(self) -> Iterator[Metric]:
        started_at, now = time.perf_counter(), utcnow()
        with reading_connection(self._engine) as connection:
            if self._engine.dialect.name == "postgresql":  # SQLite always reads so
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield _info(connection)
            callbacks, messages = self._older_counts.read(connection, now)
            yield from _callbacks(callbacks, metric_queries.last_accepted_at(connection, now))
            yield from _messages(messages)
            yield _lookups(metric_queries.read_totals(connection, LOOKUPS))
            yield from _backlog(
                "lookup", "due look-ups", metric_queries.count_due_lookups(connection, now)
            )
            outbox = metric_queries.count_outbox(connection, now)
            yield from _backlog("outbox", "outbox", outbox)
            yield _gauge("outbox_held", "Messages that a restore holds.", outbox.held)
            yield from _workers(read_workers(connection, now), now)
            counts = dict.fromkeys(RULES, 0) | Alert.count_open(connection)
            yield _gauges("alerts_open", "Open alerts, muted ones included.", "rule", counts)
        seconds = time.perf_counter() - started_at
        yield _gauge("scrape_seconds", "Seconds that it took to read these metrics.", seconds)

    def render(self) -> bytes:
        """Return all metrics as text for Prometheus."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)


def _gauge(name: str, documentation: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"smstracker_{name}", documentation, value)


def _counter(
    name: str, documentation: str, label: str, values: Mapping[str, float]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"smstracker_{name}", documentation, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _gauges(
    name: str, documentation: str, label: str, values: Mapping[str, float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"smstracker_{name}", documentation, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family


def _info(connection: Connection) -> GaugeMetricFamily:
    labels = ["version", "database"]
    family = GaugeMetricFamily("smstracker_info", "Always 1; says what runs.", labels=labels)
    family.add_metric([version(), connection.dialect.name], 1)
    return family


def _callbacks(counts: Counter[str], last_at: datetime | None) -> Iterator[Metric]:
    results = {name: counts[name] for name in ("accepted", "refused", "not_stored")}
    explanation = "Status callbacks: accepted (204), refused (4xx) or not stored (503)."
    yield _counter("callbacks", explanation, "result", results)
    for name, kind in (("repeated", "that repeat another"), ("unmatched", "without a message")):
        text = f"Accepted status callbacks {kind}."
        yield CounterMetricFamily(f"smstracker_callbacks_{name}", text, counts[name])
    reasons = {name.removeprefix(REFUSAL_PREFIX): counts[name] for name in REFUSAL_COLUMNS}
    reasons["unrecorded"] = max(counts["refused"] - sum(reasons.values()), 0)
    explanation = "Refused status callbacks by reason."
    yield _counter("callbacks_refused", explanation, "reason", reasons)
    yield _store_times(counts)
    explanation = "When the newest callback of a message was accepted; 0 if none in eight days."
    timestamp = last_at.timestamp() if last_at else 0
    yield _gauge("callback_last_accepted_timestamp_seconds", explanation, timestamp)


def _store_times(counts: Counter[str]) -> HistogramMetricFamily:
    bounds = [*(str(bound / 1000) for bound in STORE_BOUNDS), "+Inf"]
    sums = accumulate(counts[name] for name in STORE_COLUMNS)
    return HistogramMetricFamily(
        "smstracker_callback_store_seconds",
        "Seconds from the arrival of a status callback to the end of its commit.",
        buckets=list(zip(bounds, sums, strict=True)),
        sum_value=counts[STORE_MICROS] / 1e6,
    )


def _messages(counts: metric_queries.MessageCounts) -> Iterator[Metric]:
    states = {state.value: counts.states.get(state, 0) for state in State}
    yield _gauges("messages", "Messages by state, as the log shows them.", "state", states)
    codes: Counter[str] = Counter()
    for code, messages in counts.error_codes.items():
        codes[code if code in explanations() else "other" if code else "none"] += messages
    explanation = "Failed messages by error code: those of the error guide, other, or none."
    yield _gauges("failed_messages", explanation, "error_code", dict(sorted(codes.items())))
    explanation = "The message counts include messages up to this time."
    yield _gauge("messages_as_of_timestamp_seconds", explanation, counts.as_of.timestamp())


def _lookups(totals: Counter[str]) -> CounterMetricFamily:
    counts = {name: totals[name] for name in LOOKUP_RESULTS}
    return _counter("lookups", "Look-ups of the workers at Twilio by result.", "result", counts)


def _backlog(name: str, place: str, backlog: metric_queries.Backlog) -> Iterator[Metric]:
    yield _gauge(f"{name}_waiting", f"Messages in the {place}.", backlog.messages)
    explanation = f"Seconds for which the oldest of the {place} has waited."
    yield _gauge(f"{name}_oldest_seconds", explanation, backlog.oldest_seconds)


def _workers(workers: Sequence[WorkerStatus], now: datetime) -> Iterator[Metric]:
    alive = [worker for worker in workers if worker.is_alive]
    yield _gauge("workers", "Workers with a heartbeat in the last minute.", len(alive))
    ages = [(now - worker.beat_at).total_seconds() for worker in workers]
    explanation = "Seconds since the newest heartbeat of a worker; +Inf if there is none."
    age = max(min(ages, default=math.inf), 0)
    yield _gauge("worker_heartbeat_age_seconds", explanation, age)
    explanation = "1 if a worker cannot ask Twilio."
    yield _gauge("worker_problem", explanation, any(worker.problem for worker in alive))
