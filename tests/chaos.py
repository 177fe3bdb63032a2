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

from smstracker.extensions import db
from smstracker.models import SignInToken
from smstracker.simulator import SCENARIOS
from tests.chaos_checks import (
    CHECKS,
    awaiting_lookup,
    count_callbacks,
    false_statuses,
    take_snapshot,
)
from tests.chaos_environment import Environment, start_environment, wait_until
from tests.chaos_senders import Form, Sender, SenderPool
from tests.databases import DATABASES

SENDERS = 6
TOO_MANY_REQUESTS = 20429
ENDED_PROCESSES = "processes that ended by themselves"
FAILED_COMMANDS = "commands that failed"
EXPIRED = "expired messages that were kept"
RETENTION_SECONDS = 180.0  # a worker that is killed leaves its job to others after two minutes


@dataclass(frozen=True, slots=True)
class Plan:
    """How many messages are sent, and how often something breaks meanwhile."""

    messages: int
    kills: int = 20
    restarts: int = 5
    full_disks: int = 1
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
        pool = start_senders(environment, plan.messages)
        try:
            _break_everything(environment, plan, pool)
        finally:
            pool.join()
        later = sum(map(_is_later, range(plan.messages))) if environment.worker else 0
        facts = {"messages sent": plan.messages, "of these, from the outbox": later}
        facts |= {"forms repeated": pool.repeats}
        violations = _settle(environment, plan, [*map(_text, range(plan.messages))])
        facts |= count_callbacks(environment.carrier.ledger.attempts()) | environment.breakages
    return Outcome(facts | {"seconds": round(time.monotonic() - started)}, violations)


def start_senders(environment: Environment, messages: int) -> SenderPool:
    """Have several users send so many messages."""
    forms = [
        Form(_recipient(number), _text(number), bool(environment.worker) and _is_later(number))
        for number in range(messages)
    ]
    return SenderPool(_senders(environment), forms)


def _text(number: int) -> str:
    return f"Message {number}"


def _recipient(number: int) -> str:
    return SCENARIOS[number % len(SCENARIOS)].number


def _is_later(number: int) -> bool:
    """Every second round of the scenarios waits in the outbox, where the worker takes it.

    Not what Twilio always asks to send more slowly: the others of the sender would wait for it.
    """
    scenario = SCENARIOS[number % len(SCENARIOS)]
    return number // len(SCENARIOS) % 2 == 1 and scenario.refusal != TOO_MANY_REQUESTS


def _senders(environment: Environment) -> list[Sender]:
    with environment.app.app_context():
        tokens = [SignInToken.issue(f"sender{n}@example.org") for n in range(SENDERS)]
        db.session.commit()
    return [Sender(environment.url, token.token) for token in tokens]


def _break_everything(environment: Environment, plan: Plan, pool: SenderPool) -> None:
    """Run the breakages in random order, spread over the messages."""
    chance = random.Random(plan.seed)
    breakages = _build_breakages(environment, plan)
    chance.shuffle(breakages)
    stretch = plan.messages / (len(breakages) + 1)
    for breakage in breakages:
        # Nothing would be sent if each breakage came while the previous one lasts.
        environment.wait_until_ready()
        environment.let_send_times_come()
        pool.wait_for_next(int(stretch * chance.uniform(0.5, 1.2)))
        breakage()


def _build_breakages(environment: Environment, plan: Plan) -> list[Callable[[], None]]:
    kills = [
        environment.kill_web,
        environment.kill_worker if environment.worker else environment.kill_web,
    ]
    breakages: list[Callable[[], None]] = [kills[n % 2] for n in range(plan.kills)]
    breakages += [environment.run_command] * plan.commands
    if environment.postgresql is None:
        return breakages + [environment.fill_disk] * plan.full_disks
    modes = ("immediate", "fast")
    return breakages + [
        partial(environment.restart_database, modes[n % 2]) for n in range(plan.restarts)
    ]


def _settle(environment: Environment, plan: Plan, sent: Sequence[str]) -> dict[str, list[str]]:
    """Wait for the carrier and then for the worker, and check."""
    ledger = environment.carrier.ledger
    environment.wait_until_ready()
    environment.let_send_times_come()
    assert ledger.wait_until_idle(120), "the carrier has not finished"
    wait_until(
        lambda: not awaiting_lookup(take_snapshot(environment.app, ledger, sent)),
        plan.settle_seconds,
    )
    # Only the daily list finds a failure that became a delivery without a callback.
    environment.let_a_day_pass()
    wait_until(
        lambda: not false_statuses(take_snapshot(environment.app, ledger, sent)),
        plan.settle_seconds,
    )
    if environment.worker:
        wait_until(lambda: not environment.count_expired(), RETENTION_SECONDS)
    snapshot = take_snapshot(environment.app, ledger, sent)
    environment.record_ended_processes()
    expired = environment.count_expired() if environment.worker else 0
    return {name: check(snapshot) for name, check in CHECKS.items()} | {
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
        for name in (*CHECKS, ENDED_PROCESSES, FAILED_COMMANDS, EXPIRED)
    ]
    rows += [("seconds", [str(side.facts["seconds"]) for side in columns])]
    return "\n".join(
        f"{name:<40}" + "".join(f"{cell:>14}" for cell in cells).rstrip() for name, cells in rows
    )


def main() -> int:
    arguments = _arguments()
    kinds = [arguments.database] if arguments.database else DATABASES
    plan = Plan(arguments.messages, seed=arguments.seed, with_worker=not arguments.no_worker)
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
