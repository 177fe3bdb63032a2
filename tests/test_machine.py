"""What the machine lacks is said once, in a sentence that names what adds it."""

import sys
from pathlib import Path

import pytest

from tests import machine
from tests.machine import PACKAGES, not_tried, start_problem

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", [".ci/run", "README.md"])
def test_every_package_that_tests_need_is_named(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    assert [package for package in PACKAGES if package not in text] == []


def test_program_that_does_not_start_is_reported_with_its_last_line() -> None:
    crash = "import sys; print('first', file=sys.stderr); sys.exit('libatomic.so.1 is missing.')"
    assert start_problem([sys.executable, "-c", crash]) == "libatomic.so.1 is missing"
    assert start_problem([sys.executable, "-c", ""]) is None
    assert "No such file" in str(start_problem(["/nowhere/node"]))


def test_browser_that_is_missing_is_reported_with_the_command_that_adds_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert machine.browser_problem.__wrapped__() == (
        "Chromium is not installed. To add it: sudo apt install chromium libatomic1"
    )


def test_driver_that_does_not_start_is_reported_with_the_line_it_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver = tmp_path / "node"
    driver.write_text("#!/bin/sh\necho 'node: no libatomic.so.1' >&2\nexit 127\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PLAYWRIGHT_NODEJS_PATH", str(driver))
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    problem = machine.browser_problem.__wrapped__()
    assert problem == (
        "Playwright does not start: node: no libatomic.so.1. "
        "To mend it: sudo apt install chromium libatomic1"
    )


def test_skipped_tests_are_told_in_one_sentence_for_each_reason() -> None:
    reasons = [*["Skipped: No browser."] * 102, "Skipped: No openssl."]
    assert list(not_tried(reasons)) == [
        "Not tried, and not in the coverage: 102 tests. No browser.",
        "Not tried, and not in the coverage: 1 test. No openssl.",
    ]


def test_nothing_is_told_when_nothing_was_skipped() -> None:
    assert list(not_tried([])) == []


def test_program_that_is_missing_fails_the_test_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="sudo apt install nowhere"):
        machine.need("nowhere")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="sudo apt install nowhere"):
        machine.need("nowhere")
