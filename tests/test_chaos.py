"""A short chaos run; `make chaos` is the long one."""

from pathlib import Path

import pytest

from tests.chaos import Plan, run
from tests.databases import DATABASES

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.mark.parametrize("kind", DATABASES)
def test_nothing_is_lost_doubled_or_false_while_everything_breaks(
    kind: str, tmp_path: Path
) -> None:
    few = Plan(200, kills=3, restarts=1, bursts=1, batches=2, commands=3, settle_seconds=30)
    outcome = run(kind, few, tmp_path)
    assert {name: found for name, found in outcome.violations.items() if found} == {}
    assert outcome.facts["web server killed"] + outcome.facts["worker killed"] == 3
    assert outcome.facts["commands run"] == 3
    assert outcome.facts["pauses of batches"] > 0
    assert outcome.facts["disk full" if kind == "sqlite" else "database restarted"] == 1
    assert outcome.facts["callbacks not stored (503)"] > 0
