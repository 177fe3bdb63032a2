"""The examples of docs/api.md do what it says, in a demo with its own worker."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from config import ROOT
from tests.app_process import AppProcess
from tests.live_settings import bare_environment
from tests.machine import need

pytestmark = pytest.mark.slow

TEXT = (ROOT / "docs" / "api.md").read_text()
FIND_ID = "python3 -c 'import json, sys; print(json.load(sys.stdin)[\"id\"])'"


def examples(language: str) -> list[str]:
    """The blocks of a language, without the indentation of their list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", TEXT, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """What a program of a demo has set: an address and a token."""
    demo = AppProcess(tmp_path)
    try:
        demo.wait_for("worker_started")
        database = bare_environment(DATABASE_URL=f"sqlite:///{tmp_path / 'run.sqlite'}")
        command = [sys.executable, "-m", "smstracker.command_line", "tokens", "add"]
        command += ["me@home.example", "--name", "Shop"]
        added = subprocess.run(command, cwd=ROOT, env=database, capture_output=True, text=True)
        assert added.returncode == 0, added.stderr
        yield {
            "PATH": os.environ["PATH"],
            "SMSTRACKER_URL": demo.url,
            "SMSTRACKER_TOKEN": added.stdout.strip(),
        }
    finally:
        demo.kill()


def run(command: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_examples_send_and_read(environment: dict[str, str]) -> None:
    need("curl")
    exports, send, read, search = examples("sh")
    assert exports.startswith("export SMSTRACKER_URL=")
    script = f"set -e\nID=$({send.strip()} | {FIND_ID})\n{read}\n{search}"
    printed = run(["sh", "-c", script], environment)
    assert printed.count('"reference":"order 1001"') == 2
    assert '"simulated":true' in printed
    [program] = examples("python")
    assert run([sys.executable, "-c", program], environment).strip() == "Delivered"
    address = f"{environment['SMSTRACKER_URL']}/api/v1/messages"
    headers = {"Authorization": f"Bearer {environment['SMSTRACKER_TOKEN']}"}
    assert len(requests.get(address, headers=headers, timeout=30).json()["messages"]) == 2
    run([sys.executable, "-c", program], environment)
    assert len(requests.get(address, headers=headers, timeout=30).json()["messages"]) == 2
