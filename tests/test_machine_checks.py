"""flask doctor on the machine: free space, rights of files, and what a crash would lose."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask
from sqlalchemy import create_engine, text

from smstracker import health_facts
from smstracker.doctor import machine_checks
from smstracker.doctor.check_result import CheckResult
from smstracker.doctor.machine_checks import check_durability, check_machine
from smstracker.extensions import db

MakeApp = Callable[..., Flask]
GB = 10**9


def findings(app: Flask) -> dict[str, CheckResult]:
    with app.app_context():
        return {finding.check: finding for finding in (*check_machine(), *check_durability())}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("free", "total", "verdict"),
    [
        (100 * GB, 200 * GB, "ok"),
        (GB - 1, 2 * GB, "warning"),
        (9 * GB, 100 * GB, "warning"),
        (0, 100 * GB, "warning"),
        (9 * GB, 4000 * GB, "warning"),
        (10 * GB, 4000 * GB, "ok"),
    ],
)
def test_disk_that_is_nearly_full_is_a_warning(
    app: Flask, monkeypatch: pytest.MonkeyPatch, free: int, total: int, verdict: str
) -> None:
    usage = SimpleNamespace(free=free, total=total)
    monkeypatch.setattr(health_facts.shutil, "disk_usage", lambda _folder: usage)
    disk = findings(app)["disk"]
    assert disk.verdict == verdict
    assert (disk.fix is None) is (verdict == "ok")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
def test_file_that_others_can_read_is_a_warning(app: Flask, database_url: str, suffix: str) -> None:
    path = Path(database_url.removeprefix("sqlite:///") + suffix)
    assert findings(app)["permissions"].verdict == "ok"
    path.touch()
    path.chmod(0o640)
    finding = findings(app)["permissions"]
    assert (finding.verdict, finding.fix) == ("warning", f"chmod go= {path}")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_file_whose_rights_cannot_be_changed_does_not_stop_the_app(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_more: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with app.app_context():
        Path(str(db.engine.url.database)).touch()
    assert app.test_client().get("/readyz").status_code == 200


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_commits_that_last_are_found_so(app: Flask) -> None:
    assert findings(app)["durability"].verdict == "ok"


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_durability_of_our_own_sqlite_is_no_question(app: Flask) -> None:
    assert "durability" not in findings(app)


@pytest.fixture
def administrator(postgres: str) -> Iterator[Callable[[str], None]]:
    """Run a statement as the owner of the server; what it set is reset at the end."""
    engine = create_engine(
        postgres.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )

    def run(statement: str) -> None:
        with engine.connect() as connection:
            connection.execute(text(statement))

    yield run
    for owner in ("ROLE postgres", "ROLE ALL", "DATABASE postgres", "SYSTEM"):
        run(f"ALTER {owner} RESET synchronous_commit")
    for name in machine_checks.DURABILITY_SETTINGS:
        run(f"ALTER SYSTEM RESET {name}")
    run("SELECT pg_reload_conf()")
    engine.dispose()


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("owner", "named"),
    [
        ("ROLE postgres", "the role"),
        ("ROLE ALL", "every role"),
        ("DATABASE postgres", "the database"),
        ("SYSTEM", "the server"),
    ],
)
def test_who_lets_commits_not_wait_is_named(
    make_app: MakeApp, administrator: Callable[[str], None], owner: str, named: str
) -> None:
    administrator(f"ALTER {owner} SET synchronous_commit = off")
    administrator("SELECT pg_reload_conf()")
    finding = findings(make_app())["durability"]
    assert finding.verdict != "ok"
    assert re.search(rf"\({named}\)|although {named} ", finding.detail)
    assert "synchronous_commit" in str(finding.fix)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    ("lasting", "losing"),
    [("DATABASE postgres", "ROLE ALL"), ("ROLE postgres", "DATABASE postgres")],
)
def test_narrower_setting_that_lets_commits_wait_wins(
    make_app: MakeApp, administrator: Callable[[str], None], lasting: str, losing: str
) -> None:
    administrator(f"ALTER {losing} SET synchronous_commit = off")
    administrator(f"ALTER {lasting} SET synchronous_commit = local")
    assert findings(make_app())["durability"].verdict == "ok"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_server_that_a_crash_can_destroy_is_a_problem(
    make_app: MakeApp, administrator: Callable[[str], None], name: str
) -> None:
    administrator(f"ALTER SYSTEM SET {name} = off")
    administrator("SELECT pg_reload_conf()")
    finding = findings(make_app())["durability"]
    assert finding.verdict == "problem"
    assert f"{name}=off: a crash can destroy the database" in finding.detail


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_session_that_does_not_wait_is_a_problem(make_app: MakeApp, database_url: str) -> None:
    app = make_app()
    with app.app_context(), db.engine.connect() as connection:
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        finding = machine_checks._check_postgresql_durability(connection)
    assert finding.verdict == "problem"
    assert "loses acknowledged callbacks" in finding.detail


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("limit", "verdict"), [(335, "warning"), (336, "ok")])
def test_too_few_open_files_for_the_threads_are_a_warning(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, limit: int, verdict: str
) -> None:
    monkeypatch.setattr(machine_checks, "attainable_limit", lambda: limit)
    finding = findings(make_app(WEB_THREADS="32"))["open files"]
    assert finding.verdict == verdict
    assert ("ulimit -n to 336" in str(finding.fix)) is (verdict == "warning")
