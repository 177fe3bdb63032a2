"""Send while everything breaks, then compare the app with the carrier's ledger.

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

from tests.chaos_checks import (
    CHECKS,
    Snapshot,
    awaiting_lookup,
    count_callbacks,
    false_statuses,
    sent_during_pauses,
    take_snapshot,
    wrong_totals,
)
from tests.chaos_environment import Environment, start_environment, wait_until
from tests.chaos_load import Load
from tests.databases import DATABASES

ENDED_PROCESSES = "processes that ended by themselves"
FAILED_COMMANDS = "commands that failed"
EXPIRED = "expired messages that were kept"
WRONG_TOTALS = "batches with wrong totals"
SENT_DURING_PAUSES = "messages sent during a pause"
OTHER_CHECKS = (WRONG_TOTALS, SENT_DURING_PAUSES, ENDED_PROCESSES, FAILED_COMMANDS, EXPIRED)
STRETCH_SECONDS = 60.0  # without a breakage
SETTLE_POLL_SECONDS = 1.0  # a snapshot of many messages takes long itself
RETENTION_SECONDS = 180.0  # a worker that is killed leaves its job to others after two minutes


@dataclass(frozen=True, slots=True)
class Plan:
    """How many messages are sent, and how often something breaks meanwhile."""

    messages: int
    kills: int = 20
    restarts: int = 5
    full_disks: int = 1
    bursts: int = 10  # of create calls that are refused
    batches: int = 10
    commands: int = 12
    expired_messages: int = 1_000  # that the worker deletes meanwhile
    seed: int = 1
    with_worker: bool = True
    settle_seconds: float = 240.0  # for the worker after the last callback


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened, and the violations of each check."""

    facts: Mapping[str, int]
    violations: Mapping[str, Sequence[str]]


def run(kind: str, plan: Plan, folder: Path) -> Outcome:
    """Run a plan on one kind of database, with files and logs in `folder`."""
    started = time.monotonic()
    with start_environment(
        kind, folder, plan.seed, plan.with_worker, plan.expired_messages
    ) as environment:
        load = Load.start(environment, plan.messages, plan.batches)
        try:
            _break_everything(environment, plan, load)
        finally:
            load.pool.join()
        violations = _settle(environment, plan, load)
        facts = {"messages sent": plan.messages} | load.count()
        facts |= count_callbacks(environment.carrier.ledger.attempts()) | environment.breakages
    return Outcome(facts | {"seconds": round(time.monotonic() - started)}, violations)


def _break_everything(environment: Environment, plan: Plan, load: Load) -> None:
    """Run the breakages in random order, spread over the messages."""
    chance = random.Random(plan.seed)
    breakages = _build_breakages(environment, plan)
    chance.shuffle(breakages)
    share, stretch = 0.0, 1 / (len(breakages) + 1)
    for breakage in breakages:
        # Nothing would be sent if each breakage came while the previous one lasts.
        environment.wait_until_ready()
        environment.let_send_times_come()
        share += stretch * chance.uniform(0.5, 1.2)
        load.pool.pace.allow(share + stretch)  # so that some are sent meanwhile
        wait_until(partial(_is_sent, load, share), STRETCH_SECONDS)
        breakage()


def _is_sent(load: Load, share: float) -> bool:
    return load.share_sent >= share or load.pool.is_done()


def _build_breakages(environment: Environment, plan: Plan) -> list[Callable[[], None]]:
    kills = [
        environment.kill_web,
        environment.kill_worker if environment.worker else environment.kill_web,
    ]
    breakages: list[Callable[[], None]] = [kills[n % 2] for n in range(plan.kills)]
    breakages += [environment.run_command] * plan.commands
    breakages += [environment.refuse_creates] * plan.bursts
    if environment.postgresql is None:
        return breakages + [environment.fill_disk] * plan.full_disks
    modes = ("immediate", "fast")
    return breakages + [
        partial(environment.restart_database, modes[n % 2]) for n in range(plan.restarts)
    ]


def _settle(environment: Environment, plan: Plan, load: Load) -> dict[str, Sequence[str]]:
    """Wait for the carrier and then for the worker, and check."""
    ledger = environment.carrier.ledger
    environment.wait_until_ready()
    environment.let_send_times_come()
    assert ledger.wait_until_idle(120), "the carrier has not finished"
    load.read_batches()

    def snapshot() -> Snapshot:
        return take_snapshot(environment.app, ledger, load.texts, load.stopped_texts())

    wait = partial(wait_until, seconds=plan.settle_seconds, pause=SETTLE_POLL_SECONDS)
    wait(lambda: not awaiting_lookup(snapshot()))
    # Only the daily list finds a failure that became a delivery without a callback.
    environment.let_a_day_pass()
    wait(lambda: not false_statuses(snapshot()))
    if environment.worker:
        wait_until(lambda: not environment.count_expired(), RETENTION_SECONDS)
    load.read_batches()
    final = snapshot()
    environment.record_ended_processes()
    expired = environment.count_expired() if environment.worker else 0
    return {name: check(final) for name, check in CHECKS.items()} | {
        WRONG_TOTALS: wrong_totals(final, load.batches),
        SENT_DURING_PAUSES: sent_during_pauses(ledger, load.batches),
        ENDED_PROCESSES: environment.ended_processes,
        FAILED_COMMANDS: environment.failed_commands,
        EXPIRED: [f"{expired} messages"] if expired else [],
    }


def format_table(outcomes: Mapping[str, Outcome]) -> str:
    """A table with a column for each database; a dash where a breakage does not apply."""
    columns = list(outcomes.values())
    names = list(
        dict.fromkeys(name for column in columns for name in column.facts if name != "seconds")
    )
    rows = [("", list(outcomes))]
    rows += [(name, [str(side.facts.get(name, "-")) for side in columns]) for name in names]
    rows += [("violations:", [""] * len(columns))]
    rows += [
        (f"  {name}", [str(len(side.violations[name])) for side in columns])
        for name in (*CHECKS, *OTHER_CHECKS)
    ]
    rows += [("seconds", [str(side.facts["seconds"]) for side in columns])]
    return "\n".join(
        f"{name:<40}" + "".join(f"{cell:>14}" for cell in cells).rstrip() for name, cells in rows
    )


def main() -> int:
    arguments = _arguments()
    kinds = [arguments.database] if arguments.database else DATABASES
    plan = Plan(
        arguments.messages,
        kills=arguments.kills,
        seed=arguments.seed,
        with_worker=not arguments.no_worker,
    )
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    outcomes = {}
    for kind in kinds:
        (folder / kind).mkdir()
        outcomes[kind] = run(kind, plan, folder / kind)
    print(
        f"Chaos run of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, seed {plan.seed}, logs in {folder}"
    )
    print(format_table(outcomes))
    return _report(outcomes)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--messages", type=int, default=5000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--database", choices=DATABASES, help="default: both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--no-worker", action="store_true", help="without look-ups: some outcomes stay unknown"
    )
    return parser.parse_args()


def _report(outcomes: Mapping[str, Outcome]) -> int:
    """Print ten violations of each check; the exit status."""
    lines = [
        f"{kind}: {name}: {violation}"
        for kind, outcome in outcomes.items()
        for name, violations in outcome.violations.items()
        for violation in violations[:10]
    ]
    print("\n".join(lines) if lines else "Nothing was violated.")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
