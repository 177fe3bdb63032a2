"""Which tests `make test` leaves to `make test-slow`, so that each runs in one of the two."""

import pytest


def mark_second_run(item: pytest.Item) -> None:
    """Mark the run on PostgreSQL as slow, unless SQL or threads matter: `both_databases`."""
    parameters = getattr(item, "callspec", None)
    is_on_postgresql = parameters and parameters.params.get("database_url") == "postgresql"
    is_only_run = any(mark.args[0] == "database_url" for mark in item.iter_markers("parametrize"))
    if is_on_postgresql and not is_only_run and not item.get_closest_marker("both_databases"):
        item.add_marker(pytest.mark.slow)
