"""Send while everything breaks, then hold the app against the carrier's books.

`python -m tests.chaos --messages 5000 [--database sqlite|postgresql]`
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from smstracker.extensions import db
from smstracker.models import SignInToken
from smstracker.simulator import STORIES
from tests.chaos_checks import CHECKS, count_callbacks, gather, untrue, waiting
from tests.chaos_environment import Stage, stage, wait_until
from tests.chaos_senders import Crowd, Form, Sender
from tests.conftest import DATABASES

SENDERS = 6
DEATHS = "processes that ended by themselves"


@dataclass(frozen=True, slots=True)
class Plan:
    """How many messages are sent, and how often something breaks meanwhile."""

    messages: int
    kills: int = 20
    restarts: int = 5
    full_disks: int = 1
    seed: int = 1
    with_worker: bool = True
    settling: float = 240.0  # seconds that the worker has after the last callback


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened, and the violations of each check."""

    facts: Mapping[str, int]
    violations: Mapping[str, Sequence[str]]


def run(kind: str, plan: Plan, folder: Path) -> Outcome:
    """The whole of it on one kind of database, with its files and logs in `folder`."""
    started = time.monotonic()
    forms = [Form(_recipient(number), f"Message {number}") for number in range(plan.messages)]
    with stage(kind, folder, plan.seed, plan.with_worker) as scene:
        crowd = Crowd(_senders(scene), forms)
        try:
            _break_everything(scene, plan, crowd)
        finally:
            crowd.join()
        facts = {"messages sent": len(forms), "forms repeated": crowd.repeats}
        violations = _settle(scene, plan, [form.body for form in forms])
        facts |= count_callbacks(scene.carrier.books.attempts()) | scene.broken
    return Outcome(facts | {"seconds": round(time.monotonic() - started)}, violations)


def _recipient(number: int) -> str:
    return STORIES[number % len(STORIES)].number


def _senders(scene: Stage) -> list[Sender]:
    with scene.app.app_context():
        issued = [SignInToken.issue(f"sender{n}@example.org") for n in range(SENDERS)]
        db.session.commit()
    return [Sender(scene.url, each.token) for each in issued]


def _break_everything(scene: Stage, plan: Plan, crowd: Crowd) -> None:
    """One thing after another, at random points of the way to the last message."""
    chosen = random.Random(plan.seed)
    breaks = _breaks(scene, plan)
    chosen.shuffle(breaks)
    stretch = plan.messages / (len(breaks) + 1)
    for break_it in breaks:
        # Nothing would get through if the next blow always fell while the last one is repaired.
        scene.wait_until_ready()
        crowd.wait_for_next(int(stretch * chosen.uniform(0.5, 1.2)))
        break_it()


def _breaks(scene: Stage, plan: Plan) -> list[Callable[[], None]]:
    kills = [scene.kill_web, scene.kill_worker if scene.worker else scene.kill_web]
    breaks: list[Callable[[], None]] = [kills[n % 2] for n in range(plan.kills)]
    if scene.postgresql is None:
        return breaks + [scene.fill_disk] * plan.full_disks
    modes = ("immediate", "fast")
    return breaks + [partial(scene.restart_database, modes[n % 2]) for n in range(plan.restarts)]


def _settle(scene: Stage, plan: Plan, sent: Sequence[str]) -> dict[str, list[str]]:
    """Wait for the carrier and then for the worker, and check."""
    books = scene.carrier.books
    assert books.wait_until_idle(120), "the carrier has not finished"
    wait_until(lambda: not waiting(gather(scene.app, books, sent)), plan.settling)
    # A failure that became a delivery unheard of is found by the daily list alone.
    scene.let_a_day_pass()
    wait_until(lambda: not untrue(gather(scene.app, books, sent)), plan.settling)
    found = gather(scene.app, books, sent)
    scene.note_deaths()
    return {name: check(found) for name, check in CHECKS.items()} | {DEATHS: scene.died}


def table(outcomes: Mapping[str, Outcome]) -> str:
    """A column for each database; what a database cannot suffer is a dash."""
    sides = list(outcomes.values())
    names = list(dict.fromkeys(name for side in sides for name in side.facts if name != "seconds"))
    rows = [("", list(outcomes))]
    rows += [(name, [str(side.facts.get(name, "-")) for side in sides]) for name in names]
    rows += [("violations:", [""] * len(sides))]
    rows += [
        (f"  {name}", [str(len(side.violations[name])) for side in sides])
        for name in (*CHECKS, DEATHS)
    ]
    rows += [("seconds", [str(side.facts["seconds"]) for side in sides])]
    return "\n".join(
        f"{name:<40}" + "".join(f"{cell:>14}" for cell in cells).rstrip() for name, cells in rows
    )


def main() -> int:
    asked = _arguments()
    kinds = [asked.database] if asked.database else DATABASES
    plan = Plan(asked.messages, seed=asked.seed, with_worker=not asked.no_worker)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    outcomes = {}
    for kind in kinds:
        (folder / kind).mkdir()
        outcomes[kind] = run(kind, plan, folder / kind)
    print(
        f"Chaos run of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, seed {plan.seed}, logs in {folder}"
    )
    print(table(outcomes))
    return _report(outcomes)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--database", choices=DATABASES, help="both if not given")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-worker", action="store_true", help="nobody asks: some stay unknown")
    return parser.parse_args()


def _report(outcomes: Mapping[str, Outcome]) -> int:
    """Name a few of the violations; the exit status."""
    found = [
        f"{kind}: {name}: {one}"
        for kind, outcome in outcomes.items()
        for name, violations in outcome.violations.items()
        for one in violations[:10]
    ]
    print("\n".join(found) if found else "Nothing was violated.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
