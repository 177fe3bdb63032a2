"""`flask` as make installs it."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TextIO

import pytest
from flask import Flask

from config import ROOT
from smstracker import command_line, create_app
from smstracker.commands import MIGRATIONS, MODULES
from tests.live_settings import bare_environment, live_environment, settings
from tests.serving import free_port
from tests.source_sentences import PACKAGE, sentences

pytestmark = pytest.mark.slow


def run(
    *words: str, stdout: TextIO | int = subprocess.PIPE, **env: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "smstracker.command_line", *words],
        cwd=ROOT,
        env=bare_environment(**env),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.smoke
def test_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert run("--version").stdout.splitlines()[0] == f"smstracker {project['version']}"


def test_help_describes_every_command() -> None:
    lines = commands_listed(run("--help", COLUMNS="80").stdout)
    assert {words[0] for line in lines if len(words := line.split()) > 1} >= {*MODULES, "db", "run"}
    assert not [line for line in lines if "..." in line]


def commands_listed(help_text: str) -> list[str]:
    """The lines of the list of commands in the help of a group; none for a command."""
    return help_text.partition("Commands:\n")[2].splitlines()


def test_no_list_of_a_groups_commands_is_cut(app: Flask) -> None:
    runner, lines = app.test_cli_runner(), []
    with app.app_context():
        for name in (*MODULES, MIGRATIONS):
            lines += commands_listed(runner.invoke(args=[name, "--help"], terminal_width=80).output)
    assert len(lines) > 20
    assert not [line for line in lines if "..." in line]


def test_texts_name_the_command_as_it_is_called(tmp_path: Path) -> None:
    env = {"SMSTRACKER_COMMAND": "smstracker", "DATABASE_URL": f"sqlite:///{tmp_path}/none.sqlite"}
    assert run("users", "--help", **env).stdout.startswith("Usage: smstracker users ")
    refused = run("users", "list", **env)
    assert "for a new installation run smstracker db upgrade" in refused.stderr
    code = "from smstracker.alerts.rules import RULES; print(RULES['callbacks-silent'].advise(''))"
    advice = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=bare_environment(**env),
        capture_output=True,
        text=True,
    )
    assert advice.stdout.startswith("Run smstracker doctor: "), advice.stderr


DEMO = (
    "Demo mode: TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN are set neither in the environment nor in "
    ".env."
)


@pytest.mark.parametrize("command", ["users list", "doctor", "alerts list"])
def test_command_says_that_it_acts_on_a_demo_beside_an_installed_service(
    database: str, tmp_path: Path, command: str
) -> None:
    env = {"DATABASE_URL": database, "SMSTRACKER_SETTINGS": str(tmp_path / "etc")}
    assert "Demo mode" not in run(*command.split(), **env).stderr
    (tmp_path / "etc").mkdir()
    sentence = f"{DEMO} For the service of {tmp_path}/etc, run the command smstracker.\n"
    assert run(*command.split(), **env).stderr == sentence
    assert run(*command.split(), **env, SMSTRACKER_COMMAND="smstracker").stderr == ""
    live = live_environment(**env)
    assert "Demo mode" not in run(*command.split(), **live).stderr


def test_command_without_a_database_says_that_it_is_a_demo(tmp_path: Path) -> None:
    done = run("users", "list", DATABASE_URL=f"sqlite:///{tmp_path}/none.sqlite")
    first, second = done.stderr.splitlines()
    assert first == DEMO
    assert second.startswith("Error: ")


def test_docs_name_the_command_of_a_server() -> None:
    """That of a clone would act on a demo there."""
    page = (ROOT / "docs/operations.md").read_text()
    sections = re.split(r"(?m)^## ", page)[1:]
    of_clones = ("Install on a server", "Try it from a laptop", "Processes")
    named = re.compile(rf"flask ({'|'.join((*MODULES, MIGRATIONS))})\b")
    titles = [text.partition("\n")[0] for text in sections if named.search(text)]
    assert set(titles) <= set(of_clones)


def test_no_text_names_the_command_itself() -> None:
    """Each takes the name from smstracker.command_name."""
    command = re.compile(rf"\bflask ({'|'.join((*MODULES, MIGRATIONS))})\b")
    modules = [str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")]
    texts = [(name, text) for name in modules for text in sentences(name)]
    texts += [(path.name, path.read_text()) for path in PACKAGE.rglob("templates/**/*.*")]
    assert len(texts) > 1000
    assert [(name, text) for name, text in texts if command.search(text)] == []


LOADED_LATE = (
    "alembic",
    "psycopg",
    "requests",
    "twilio.rest",
    "smstracker.doctor",
    "smstracker.worker",
    "smstracker.commands.worker",
)


def test_app_starts_without_what_few_processes_need() -> None:
    code = f"import sys, wsgi; print(*[name for name in {LOADED_LATE} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=bare_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ""


WITHOUT_PAGES = (
    "flask_login",
    "flask_wtf",
    "phonenumbers",
    "twilio.rest",
    "smstracker.blueprints",
    "smstracker.dashboard",
    "smstracker.web_templates",
)


@pytest.mark.smoke
@pytest.mark.parametrize("command", ["users list", "worker --help"])
def test_commands_and_worker_start_without_pages(database: str, command: str) -> None:
    code = f"""
import sys
from smstracker.command_line import main
sys.argv = {["flask", *command.split()]}
try:
    main()
finally:
    print([name for name in {WITHOUT_PAGES} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=bare_environment(DATABASE_URL=database),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == "[]\n"


def test_server_that_is_itself_a_click_command_serves_pages() -> None:
    code = """
import click

@click.command()
def serve():
    import wsgi
    print("dashboard.messages" in wsgi.app.view_functions)

serve()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=bare_environment(), capture_output=True
    )
    assert done.stdout == b"True\n", done.stderr


def test_routes_are_listed() -> None:
    assert "dashboard.messages" in run("routes").stdout


def test_doctor_checks_the_app_with_its_pages(database: str) -> None:
    app = create_app(settings(DATABASE_URL=database), with_pages=False)
    assert not app.blueprints
    app.test_cli_runner().invoke(args=["doctor", "--help"])
    assert "webhooks" in app.blueprints


@pytest.mark.parametrize("command", ["users add a@example.org", "users list", "users add nonsense"])
def test_command_leaves_no_log_of_sqlite(database: str, command: str) -> None:
    run(*command.split(), DATABASE_URL=database)
    path = Path(database.removeprefix("sqlite:///"))
    assert not list(path.parent.glob("*-wal"))


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


@pytest.fixture
def database(migrated_sqlite: Path, tmp_path: Path) -> str:
    path = tmp_path / "run.sqlite"
    shutil.copy(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [
        ("users list", ""),
        ("users list", "1"),
        ("--version", "1"),
        ("users --help", ""),
        ("db current", ""),
    ],
)
def test_output_that_cannot_be_written_is_said_in_a_sentence(
    database: str, command: str, unbuffered: str
) -> None:
    if command == "users list":
        run("users", "add", "a@example.org", DATABASE_URL=database)
    env = {"DATABASE_URL": database, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = run(*command.split(), stdout=full, **env)
    assert done.returncode == 1
    sentence = "Error: The output cannot be written (No space left on device). "
    assert done.stderr == f"{sentence}Check where it goes.\n"


@pytest.mark.parametrize("command", ["users list", "--help"])
def test_reader_who_has_gone_is_no_news(database: str, command: str) -> None:
    run("users", "add", "a@example.org", DATABASE_URL=database)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        done = run(*command.split(), stdout=pipe, DATABASE_URL=database)
    assert done.stderr == ""


@pytest.mark.smoke
def test_flask_is_told_to_read_no_env_file(monkeypatch: pytest.MonkeyPatch) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(command_line.Commands, "main", lambda *_args, **_more: None)
    command_line.main()
    assert environment["FLASK_SKIP_DOTENV"] == "1"
