"""The remembered sentence on the log: threads share it, and what is too old is not kept."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from smstracker.connection import banner
from smstracker.connection.banner import CACHE_LIFETIME, Banner
from smstracker.connection.summary import HealthSummary, SummaryKind

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """When a sentence was computed; it is numbered."""
    times: list[datetime] = []

    def compute(now: datetime) -> HealthSummary:
        times.append(now)
        text = f"Sentence {len(times)}"
        return HealthSummary(SummaryKind.WELL, text, is_bad=False)

    monkeypatch.setattr(banner, "_compute", compute)
    return times


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Threads take turns as often as they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def said(remembering: Banner) -> str | None:
    sentence = remembering.summary()
    return sentence and sentence.text


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (CACHE_LIFETIME - timedelta(seconds=1), "Sentence 1"),
        (CACHE_LIFETIME, "Sentence 2"),
        (-timedelta(hours=1), "Sentence 2"),
    ],
)
def test_sentence_lasts_half_a_minute_whatever_the_clock_does(
    computed: list[datetime], passed: timedelta, text: str
) -> None:
    remembering = Banner()
    with time_machine.travel(NOON, tick=False) as clock:
        remembering.summary()
        clock.shift(passed)
        assert said(remembering) == text


def test_sentence_that_was_being_computed_when_it_was_forgotten_is_not_kept(
    computed: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    remembering, compute = Banner(), banner._compute

    def replay_meanwhile(now: datetime) -> HealthSummary | None:
        sentence = compute(now)
        if len(computed) == 1:
            remembering.invalidate()
        return sentence

    monkeypatch.setattr(banner, "_compute", replay_meanwhile)
    with time_machine.travel(NOON, tick=False):
        assert [said(remembering) for _ in range(3)] == ["Sentence 1", "Sentence 2", "Sentence 2"]


def test_others_get_the_former_sentence_while_one_computes(
    computed: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    remembering, compute = Banner(), banner._compute
    meanwhile: list[str | None] = []

    def look_meanwhile(now: datetime) -> HealthSummary | None:
        meanwhile.append(said(remembering))
        return compute(now)

    monkeypatch.setattr(banner, "_compute", look_meanwhile)
    with time_machine.travel(NOON, tick=False):
        remembering.summary()
        remembering.invalidate()
        assert said(remembering) == "Sentence 2"
    assert meanwhile == [None, "Sentence 1"]


def test_sentence_can_be_forgotten_at_any_moment(
    computed: list[datetime], hasty_threads: None
) -> None:
    remembering = Banner()
    remembering.summary()
    with ThreadPoolExecutor(2) as threads:
        forgetting = threads.submit(lambda: [remembering.invalidate() for _ in range(20_000)])
        asking = threads.submit(lambda: [said(remembering) for _ in range(20_000)])
        assert None not in asking.result()
        forgetting.result()
