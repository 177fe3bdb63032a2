"""`flask` as make installs it."""

import os
import subprocess
import sys
import tomllib

from config import ROOT
from tests.conftest import free_port


def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "smstracker.command_line", *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | env,
        capture_output=True,
        text=True,
    )


def test_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert run("--version").stdout.splitlines()[0] == f"smstracker {project['version']}"


def test_command_of_an_extension_says_that_the_database_is_away() -> None:
    url = f"postgresql://u:secret@127.0.0.1:{free_port()}/d"
    done = run("db", "upgrade", DATABASE_URL=url)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: The database server refuses connections.")
    assert len(done.stderr.splitlines()) == 1


def test_wrong_settings_are_listed_without_a_trace() -> None:
    done = run("users", "list", PORT="nonsense")
    assert done.returncode == 1
    assert done.stderr.startswith("smstracker cannot start:\n  - PORT: ")
    assert "Traceback" not in done.stderr
