"""deploy/: units, alert rules and dashboard are valid, and name what exists."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from config import ROOT, SETTINGS
from smstracker.alerts.rules import RULES
from smstracker.settings.value_files import SUFFIX
from tests.machine import DEPLOYMENT_PACKAGES, need

pytestmark = pytest.mark.slow
DEPLOY = ROOT / "deploy"
UNITS = sorted(path.name for path in (DEPLOY / "systemd").glob("*.*") if path.suffix != ".env")
MAX_EXPOSURE = 25  # of 100, by systemd-analyze security


def run(*command: str, cwd: Path = DEPLOY, **env: str) -> str:
    program = need(command[0], DEPLOYMENT_PACKAGES.get(command[0]))
    done = subprocess.run(
        [program, *command[1:]],
        cwd=cwd,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as installed, with programs that exist here."""
    folder = tmp_path / "units"
    shutil.copytree(DEPLOY / "systemd", folder)
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for name in ("flask", "gunicorn"):
        (bin_folder / name).touch(mode=0o755)
    for unit in folder.rglob("*.*"):
        if unit.is_file():
            text = unit.read_text().replace("/opt/smstracker/.venv/bin", str(bin_folder))
            unit.write_text(text.replace("/opt/smstracker/deploy", str(DEPLOY)))
    (folder / "smstracker-web@.service").rename(folder / "smstracker-web@8000.service")
    return folder


def test_units_are_valid(units: Path) -> None:
    names = [name.replace("@", "@8000") for name in UNITS if not name.endswith(".d")]
    output = run("systemd-analyze", "verify", "--man=no", *names, cwd=units)
    ours = [line for line in output.splitlines() if "smstracker" in line]
    assert not ours, output


@pytest.mark.parametrize("unit", [name for name in UNITS if name.endswith(".service")])
def test_units_may_touch_little(units: Path, unit: str) -> None:
    """systemd reads no drop-in offline, so both files are made one."""
    path = units / unit.replace("@", "@8000")
    path.write_text(path.read_text() + (units / "smstracker-.service.d/common.conf").read_text())
    output = run(
        *("systemd-analyze", "security", "--offline=true", "--no-pager"),
        *(f"--threshold={MAX_EXPOSURE}", str(path)),
    )
    assert "exposure level" in output


def test_alert_rules_open_and_stay_closed_as_told() -> None:
    folder = DEPLOY / "prometheus"
    assert "SUCCESS" in run("promtool", "check", "rules", "alerts.yml", cwd=folder)
    assert "SUCCESS" in run("promtool", "test", "rules", "alerts_test.yml", cwd=folder)
    run("promtool", "check", "config", "--syntax-only", "prometheus.yml", cwd=folder)


def test_only_alerts_on_a_sick_service_page() -> None:
    text = (DEPLOY / "prometheus/alerts.yml").read_text()
    groups = set(re.findall(r'rule[!=]~"([^"]+)"', text))
    assert groups == {"|".join(name for name, rule in RULES.items() if not rule.is_sick)}


def test_rules_and_dashboard_use_metrics_that_exist() -> None:
    table = (ROOT / "docs/monitoring.md").read_text()
    documented = set(re.findall(r"(?m)^\| `(smstracker_\w+)`", table))
    dashboard = (DEPLOY / "grafana/smstracker.json").read_text()
    assert len(json.loads(dashboard)["panels"]) == 12
    for text in (dashboard, (DEPLOY / "prometheus/alerts.yml").read_text()):
        used = {name.removesuffix("_bucket") for name in re.findall(r"smstracker_\w+", text)}
        assert used
        assert used <= documented


def test_settings_of_the_files_exist() -> None:
    names = set(SETTINGS) | {name + SUFFIX for name in SETTINGS}
    compose = (DEPLOY / "container/compose.yaml").read_text()
    env = (DEPLOY / "systemd/smstracker.env").read_text()
    used = set(re.findall(r"(?m)^    (\w+_FILE): /run/secrets/(?!postgres)", compose))
    used |= set(re.findall(r"(?m)^([A-Z_]+)=", env))
    assert len(used) > 6
    assert used <= names


def test_logs_of_all_containers_are_limited() -> None:
    compose = (DEPLOY / "container/compose.yaml").read_text()
    shared = compose.partition("x-app: &app\n")[2].partition("\n\n")[0]
    services = re.findall(r"(?m)^  \w+:\n(?:    .*\n)+", compose.partition("services:\n")[2])
    assert len(services) == 4
    assert "  logging: *logging" in shared
    assert all("<<: *app" in text or "logging: *logging" in text for text in services)
    assert re.search(r"(?m)^x-logging: &logging\n.*\n  options: \{ max-size: \d+m, ", compose)


def test_image_holds_no_secret_and_no_test() -> None:
    ignored = (DEPLOY / "container/Dockerfile.dockerignore").read_text().splitlines()
    assert ignored[0] == "**"
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert kept == {
        "config.py",
        "wsgi.py",
        "pyproject.toml",
        "requirements.txt",
        "smstracker",
        "migrations",
    }


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the command's settings, and a flask that prints the setting it is asked for."""
    flask = tmp_path / ".venv/bin/flask"
    flask.parent.mkdir(parents=True)
    flask.write_text('#!/bin/sh\nprintenv "$1"\n')
    flask.chmod(0o755)
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "deploy").symlink_to(DEPLOY)
    return tmp_path


def run_command(
    installed: Path, name: str, settings: str, folder: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run deploy/systemd/smstracker with these settings; prints the one with this name."""
    (installed / "smstracker.env").write_text(settings)
    env = {
        "PATH": f"{installed}:{os.environ['PATH']}",
        "SMSTRACKER_ROOT": str(installed),
        "SMSTRACKER_SETTINGS": str(installed),
    }
    command = [str(DEPLOY / "systemd/smstracker"), name]
    return subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        (
            "DATABASE_URL=postgresql://db/sms?sslmode=verify-full&connect_timeout=5",
            "DATABASE_URL",
            "postgresql://db/sms?sslmode=verify-full&connect_timeout=5",
        ),
        ("ALERT_EMAIL=a@example.org, b@example.org", "ALERT_EMAIL", "a@example.org, b@example.org"),
        (
            "MAIL_DEFAULT_SENDER=smstracker <sms@example.org>",
            "MAIL_DEFAULT_SENDER",
            "smstracker <sms@example.org>",
        ),
        ("# A comment\n; another\n\n  PORT=8000  ", "PORT", "8000"),
        ("MAIL_USERNAME=$HOME$(touch made)`touch made`;a=b", "MAIL_USERNAME", None),
        ("PORT=", "PORT", ""),
    ],
)
def test_command_reads_settings_as_systemd_does(
    installed: Path, line: str, name: str, value: str | None
) -> None:
    ended = run_command(installed, name, line)
    assert (ended.returncode, ended.stderr) == (0, "")
    expected = line.partition("=")[2] if value is None else value
    assert ended.stdout == f"{expected}\n"
    assert not list(installed.rglob("made"))


@pytest.mark.parametrize("line", ['PORT="8000"', "PORT 8000", "export PORT=8000", "PORT=80\\"])
def test_command_refuses_settings_that_systemd_reads_otherwise(installed: Path, line: str) -> None:
    ended = run_command(installed, "PORT", f"# first\n{line}")
    assert (ended.returncode, "smstracker.env, line 2" in ended.stderr) == (1, True)


def test_command_passes_secrets_as_files_and_ignores_copies(installed: Path) -> None:
    (installed / "secrets/SECRET_KEY").write_text("secret")
    (installed / "secrets/SECRET_KEY~").write_text("former")
    ended = run_command(installed, "SECRET_KEY_FILE", "PORT=8000\n")
    assert ended.stdout == f"{installed}/secrets/SECRET_KEY\n", ended.stderr


def test_command_finds_files_in_the_callers_folder_and_no_code(installed: Path) -> None:
    (installed / ".venv/bin/flask").write_text('#!/bin/sh\npwd; echo "$PYTHONSAFEPATH"\n')
    folder = installed / "elsewhere"
    folder.mkdir()
    ended = run_command(installed, "backup", "PORT=8000\n", folder)
    assert ended.stdout == f"{folder}\n1\n", ended.stderr


def test_texts_name_the_command_that_is_installed(installed: Path) -> None:
    ended = run_command(installed, "SMSTRACKER_COMMAND", "PORT=8000\n")
    assert ended.stdout == "smstracker\n", ended.stderr
    page = (ROOT / "docs/operations.md").read_text()
    assert "install deploy/systemd/smstracker /usr/local/sbin/smstracker\n" in page


@pytest.mark.parametrize(("newest_days", "is_old_kept"), [(1, False), (None, True), (20, True)])
def test_old_backups_go_while_a_newer_one_is_there_though_the_newest_failed(
    tmp_path: Path, newest_days: int | None, is_old_kept: bool
) -> None:
    old, newest = tmp_path / "backup-2026-01-01-030000", tmp_path / "backup-2026-01-20-030000"
    for path, days in ((old, 30), (newest, newest_days), (tmp_path / "backup-1.part", 0)):
        if days is not None:
            path.touch()
            os.utime(path, times=(time.time() - days * 86_400,) * 2)
    script = ROOT / "deploy/systemd/nightly-backup"
    ended = subprocess.run([script, "false"], env=os.environ | {"STATE_DIRECTORY": str(tmp_path)})
    assert ended.returncode == 1
    assert old.exists() is is_old_kept


def test_services_read_the_same_secrets_as_the_command() -> None:
    """One that only some of them read would be checked by the command and used by none."""
    for unit in UNITS:
        if unit.endswith(".service"):
            [start] = re.findall(r"(?m)^ExecStart=(.*)", (DEPLOY / "systemd" / unit).read_text())
            assert "/opt/smstracker/deploy/systemd/run-with-secrets /opt/smstracker/" in start
