"""Each rule has a scene in which it is true, and one just below it."""

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import time_machine
from flask import Flask

from config import ROOT
from smstracker import health_facts
from smstracker.alerts.failures import Outcomes, code_ratio, failure_ratio
from smstracker.alerts.rules import RULES
from smstracker.clock import format_duration, utcnow
from tests import alert_scenes as scenes
from tests.alert_scenes import HOUR, MINUTE, Space, found

DAY = timedelta(days=1)
Scene = Callable[[Flask], None]


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within one bucket of every kind, so that no scene straddles two; the disk is empty."""
    monkeypatch.setattr(health_facts.shutil, "disk_usage", lambda _folder: Space(10**12, 0, 10**12))
    at = utcnow().replace(hour=12, minute=4, second=0, microsecond=0)
    with time_machine.travel(at, tick=False):
        yield


def usual_day(app: Flask) -> None:
    scenes.add_usual(app, 28, delivered=95, failed=5, codes={"30034": 1, "30003": 4})


def failing(failed: int, delivered: int) -> Scene:
    def scene(app: Flask) -> None:
        usual_day(app)
        scenes.add_outcomes(app, delivered, failed)

    return scene


def failing_without_history(failed: int, delivered: int, days: int = 3) -> Scene:
    def scene(app: Flask) -> None:
        scenes.add_usual(app, days, delivered=95, failed=5)
        scenes.add_outcomes(app, delivered, failed)

    return scene


def looked_up(app: Flask, number: int) -> None:
    """Statuses that were fetched although callbacks were due."""
    times = dict.fromkeys(("created_at", "accepted_at"), utcnow() - 20 * MINUTE)
    final = {"status": "delivered", "status_source": "lookup", "final_at": utcnow() - 10 * MINUTE}
    scenes.add_messages(app, number, **times | final)


def silent(app: Flask, number: int, called_back: int = 0, **columns: object) -> None:
    """Silent messages, and others of the same time that are `sent` by a callback."""
    scenes.add_silent(app, number, **columns)
    scenes.add_silent(app, called_back, status_source="callback")


def silent_beside_others(app: Flask, number: int) -> None:
    """Silent messages, while callbacks of another program come."""
    scenes.add_tally(app, accepted=500, unmatched=500)
    scenes.add_silent(app, number)


def unknown(app: Flask, number: int, age: timedelta) -> None:
    scenes.add_messages(app, number, status="unknown", created_at=utcnow() - age)


SCENES: list[tuple[str, Scene, Scene]] = [
    ("callbacks-silent", lambda app: silent(app, 5), lambda app: silent(app, 4)),
    ("callbacks-silent", lambda app: silent(app, 5, 5), lambda app: silent(app, 5, 6)),
    ("callbacks-silent", lambda app: silent(app, 40, 1), lambda app: silent(app, 1, 40)),
    ("callbacks-silent", lambda app: looked_up(app, 5), lambda app: looked_up(app, 4)),
    (
        "callbacks-silent",
        lambda app: silent_beside_others(app, 5),
        lambda app: silent_beside_others(app, 4),
    ),
    (
        "callbacks-silent",
        lambda app: silent(app, 5, created_at=utcnow() - 6 * DAY),
        lambda app: silent(app, 5, created_at=utcnow() - 8 * DAY),
    ),
    (
        "callbacks-silent",
        lambda app: silent(app, 5, accepted_at=utcnow() - 5 * MINUTE),
        lambda app: silent(app, 5, accepted_at=utcnow() - 4 * MINUTE),
    ),
    (
        "callbacks-silent",
        lambda app: silent(app, 5),
        lambda app: silent(app, 5, status="refused", accepted_at=None),
    ),
    (
        "callbacks-refused",
        lambda app: scenes.add_refused(app, 3),
        lambda app: scenes.add_refused(app, 2),
    ),
    (
        "callbacks-refused",
        lambda app: scenes.add_refused(app, 1, count=3),
        lambda app: scenes.add_refused(app, 9, is_proven=False, diagnosis="No token fits."),
    ),
    (
        "callbacks-refused",
        lambda app: scenes.add_refused(app, 3, last_at=utcnow() - 59 * MINUTE),
        lambda app: scenes.add_refused(app, 3, last_at=utcnow() - 61 * MINUTE),
    ),
    (
        "callbacks-refused",
        lambda app: scenes.add_refused(app, 3),
        lambda app: scenes.add_refused(app, 9, replayed_at=utcnow()),
    ),
    (
        "callbacks-not-stored",
        lambda app: scenes.add_tally(app, not_stored=5),
        lambda app: scenes.add_tally(app, not_stored=4),
    ),
    (
        "callbacks-not-stored",
        lambda app: scenes.add_tally(app, age=10 * MINUTE, not_stored=5),
        lambda app: scenes.add_tally(app, age=20 * MINUTE, not_stored=5),
    ),
    (
        "worker-gone",
        lambda app: scenes.add_worker(app, age=3 * MINUTE),
        lambda app: scenes.add_worker(app, age=1 * MINUTE),
    ),
    (
        "twilio-unreachable",
        lambda app: scenes.add_worker(app, problem="Twilio could not be reached."),
        lambda app: scenes.add_worker(app),
    ),
    ("failures-high", failing(10, 10), failing(10, 9)),  # 20 messages
    ("failures-high", failing(31, 169), failing(29, 171)),  # 10 points above 5 %
    ("failures-high", failing(7, 13), failing(6, 14)),  # 6 of 20 may be chance
    ("failures-high", failing_without_history(10, 10), failing_without_history(9, 11)),
    ("error-code", failing(10, 90), failing(9, 91)),
    ("error-code", failing(10, 190), failing(10, 191)),  # five times 1 %
    ("error-code", failing_without_history(10, 40), failing_without_history(10, 41)),
    (
        "error-code",
        lambda app: scenes.add_outcomes(app, 10, 10, code="30034"),
        lambda app: scenes.add_outcomes(app, 10, 10, code="30008"),  # nobody can act
    ),
    (
        "code-unlisted",
        lambda app: scenes.add_outcomes(app, 1, 3, code="39999"),
        lambda app: scenes.add_outcomes(app, 1, 2, code="39999"),
    ),
    (
        "code-unlisted",
        lambda app: scenes.add_outcomes(app, 0, 3, code="39999"),
        lambda app: scenes.add_outcomes(app, 0, 3, code="+155586753"),  # no code, maybe a number
    ),
    (
        "code-unlisted",
        lambda app: scenes.add_outcomes(app, 0, 3, code="3999999"),  # the longest
        lambda app: scenes.add_outcomes(app, 0, 3, code="39999999"),
    ),
    (
        "outcome-unknown",
        lambda app: unknown(app, 3, 11 * MINUTE),
        lambda app: unknown(app, 2, 11 * MINUTE),
    ),
    (
        "outcome-unknown",
        lambda app: unknown(app, 3, 71 * HOUR),
        lambda app: unknown(app, 3, 9 * MINUTE),
    ),
    (
        "outbox-stuck",
        lambda app: scenes.add_waiting(app, 5 * MINUTE),
        lambda app: scenes.add_waiting(app, 4 * MINUTE),
    ),
    (
        "backups-stopped",
        lambda app: scenes.add_backup(app, 25 * HOUR),
        lambda app: scenes.add_backup(app, 25 * HOUR - MINUTE),
    ),
]


@pytest.mark.both_databases(every_case=True)
@pytest.mark.parametrize(("rule", "scene", "_below"), SCENES)
def test_rule_is_true(app: Flask, rule: str, scene: Scene, _below: Scene) -> None:
    scene(app)
    assert found(app, rule)


@pytest.mark.parametrize(("rule", "_scene", "below"), SCENES)
def test_rule_is_not_true_just_below(app: Flask, rule: str, _scene: Scene, below: Scene) -> None:
    below(app)
    assert found(app, rule) is None


def test_nothing_is_found_in_a_new_installation(app: Flask) -> None:
    assert scenes.find(app) == []


def test_documentation_has_every_rule_and_how_long_it_holds() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    table = page.partition("### What to do at each alert")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"(?m)^\| \*\*(.+?)\*\* \| (.+?) \|", table))
    assert rows.keys() == {rule.heading for rule in RULES.values()}
    for rule in RULES.values():
        assert f"for {format_duration(rule.holds)}" in rows[rule.heading]


def test_every_rule_has_a_scene() -> None:
    assert {rule for rule, *_ in SCENES} | {"disk-full", "database-copied"} == set(RULES)


@pytest.mark.parametrize(
    ("total", "free", "is_full"),
    [
        (10**11, 999_000_000, True),
        (5 * 10**9, 10**9, False),
        (10**11, 9 * 10**9, True),
        (10**11, 10**10, False),
        (10**13, 10**10, False),
        (10**13, 10**10 - 1, True),
    ],
)
def test_disk_is_nearly_full_by_size_and_share(
    app: Flask,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    total: int,
    free: int,
    is_full: bool,
) -> None:
    usage = Space(total, total - free, free)
    monkeypatch.setattr(health_facts, "written_folders", lambda: [tmp_path])
    monkeypatch.setattr(health_facts.shutil, "disk_usage", lambda _folder: usage)
    counts = found(app, "disk-full")
    assert (counts is not None) == is_full
    if counts:
        assert counts["free_megabytes"] == free // 1_000_000


@pytest.mark.parametrize("names", [("roomy", "full"), ("full", "roomy")])
def test_fullest_of_two_disks_is_judged(
    app: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, names: tuple[str, str]
) -> None:
    """The small one has enough of its few bytes."""
    usages = {"roomy": Space(2 * 10**9, 0, 2 * 10**9), "full": Space(10**11, 0, 5 * 10**9)}
    folders = [tmp_path / name for name in names]
    monkeypatch.setattr(health_facts, "written_folders", lambda: folders)
    monkeypatch.setattr(health_facts.shutil, "disk_usage", lambda folder: usages[folder.name])
    assert found(app, "disk-full") == {"free_megabytes": 5000, "free_percent": 5, "subject": ""}


def test_outcomes_of_a_clock_that_is_ahead_do_not_count_yet(app: Flask) -> None:
    scenes.add_outcomes(app, delivered=0, failed=20, final_at=utcnow() + MINUTE)
    assert scenes.find(app) == []


def test_counts_are_those_of_the_scene(app: Flask) -> None:
    failing(10, 90)(app)
    assert found(app, "error-code") == {
        "failed": 10,
        "decided": 100,
        "usual_failed": 28,
        "usual_decided": 2800,
        "subject": "30034",
    }


def test_requests_of_strangers_do_not_hide_refused_callbacks(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_facts, "MAX_ROWS", 10)
    scenes.add_refused(app, 4, last_at=utcnow() - 30 * MINUTE)
    scenes.add_refused(app, 20, is_proven=False, diagnosis="No token fits.")
    assert found(app, "callbacks-refused") == {"callbacks": 4, "subject": ""}


def test_killed_worker_that_a_new_one_replaces_is_not_missed(app: Flask) -> None:
    scenes.add_worker(app, "old", age=2 * HOUR)
    assert found(app, "worker-gone") == {"workers": 1, "subject": ""}
    scenes.add_worker(app, "new")
    assert found(app, "worker-gone") is None


def test_time_without_any_worker_is_found_when_one_runs_again(app: Flask) -> None:
    scenes.add_worker(app, "new")  # started an hour ago
    assert scenes.find(app, utcnow() - 59 * MINUTE) == []
    [finding] = scenes.find(app, utcnow() - 90 * MINUTE)
    assert (finding.rule, finding.counts["minutes"]) == ("worker-gone", 90)
    assert finding.began_at == utcnow() - 90 * MINUTE


def test_short_time_without_a_worker_is_a_restart(app: Flask) -> None:
    assert scenes.find(app, utcnow() - 9 * MINUTE) == []
    assert [finding.rule for finding in scenes.find(app, utcnow() - 10 * MINUTE)] == ["worker-gone"]


@pytest.mark.parametrize("minutes", [-60, 15, 360])
def test_usual_failures_are_those_of_the_same_hour(app: Flask, minutes: int) -> None:
    """Failures that are usual at another time of day do not count."""
    with time_machine.travel(utcnow() + minutes * MINUTE, tick=False):
        scenes.add_usual(app, 28, delivered=10, failed=90)
    scenes.add_usual(app, 28, delivered=95, failed=5)
    scenes.add_outcomes(app, delivered=60, failed=40)
    assert found(app, "failures-high")


@pytest.mark.parametrize(
    ("current", "usual", "is_above"),
    [
        (Outcomes(200, 1000), Outcomes(100, 1000), True),  # twice, and 10 points
        (Outcomes(199, 1000), Outcomes(100, 1000), False),
        (Outcomes(590, 1000), Outcomes(300, 1000), False),  # not twice
        (Outcomes(109, 1000), Outcomes(10, 1000), False),  # not 10 points
        (Outcomes(110, 1000), Outcomes(10, 1000), True),
        (Outcomes(19, 19), Outcomes(0, 1000), False),
        (Outcomes(20, 20), Outcomes(0, 1000), True),
    ],
)
def test_failures_are_far_above(current: Outcomes, usual: Outcomes, is_above: bool) -> None:
    assert (failure_ratio(current, usual) >= 1) == is_above


def test_error_is_far_above_at_ten_messages_and_five_times() -> None:
    assert code_ratio(Outcomes(10, 100), Outcomes(20, 1000)) >= 1
    assert code_ratio(Outcomes(10, 101), Outcomes(20, 1000)) < 1
    assert code_ratio(Outcomes(9, 9), Outcomes(0, 1000)) < 1
