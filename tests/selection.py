"""Which tests `make test` leaves to `make test-slow`, and which of them begin first."""

from collections import Counter
from collections.abc import Sequence

import pytest

COVERED_CASES = 2


def mark_second_runs(items: Sequence[pytest.Item]) -> None:
    """Mark the runs on PostgreSQL as slow, unless SQL or threads matter: `both_databases`.

    Of a test with several cases the first is enough, unless their SQL differs: `every_case`.
    """
    names_of_first_cases: set[str] = set()
    for item in items:
        if not is_second_run(item):
            continue
        item.add_marker(pytest.mark.no_cover)
        mark = item.get_closest_marker("both_databases")
        name = item.nodeid.partition("[")[0]
        if not mark or (name in names_of_first_cases and not mark.kwargs.get("every_case")):
            item.add_marker(pytest.mark.slow)
        names_of_first_cases.add(name)


def leave_later_cases_uncovered(items: Sequence[pytest.Item]) -> None:
    """Count the coverage of the first cases of a test alone: counting costs as much as half a test,
    and the later ones run through the same code with other values.
    """
    case_counts: Counter[str] = Counter()
    for item in items:
        name = item.nodeid.partition("[")[0]
        case_counts[name] += 1
        if case_counts[name] > COVERED_CASES:
            item.add_marker(pytest.mark.no_cover)


def put_long_tests_first(items: list[pytest.Item]) -> None:
    """At the end one process would run a long test while the others have nothing left to do."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def is_second_run(item: pytest.Item) -> bool:
    """Whether the test runs on PostgreSQL here, and on SQLite too."""
    parameters = getattr(item, "callspec", None)
    is_on_postgresql = parameters and parameters.params.get("database_url") == "postgresql"
    is_only_run = any(mark.args[0] == "database_url" for mark in item.iter_markers("parametrize"))
    return bool(is_on_postgresql) and not is_only_run
