"""What the tests need of the machine beyond Python, and what is missing of it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import pytest

# Debian's packages for all tests: `.ci/run` installs them, the README names them.
BROWSER_PACKAGES = ("chromium", "libatomic1")
# The journeys run in three engines, each with its driver.
ENGINE_PACKAGES = {
    "chromedriver": "chromium-driver",
    "firefox-esr": "firefox-esr",
    "WebKitWebDriver": "webkit2gtk-driver",
    "Xvfb": "xvfb",
}
# The files of deploy/ are tried with these.
DEPLOYMENT_PACKAGES = {
    "nginx": "nginx-light",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
}
PACKAGES = (*BROWSER_PACKAGES, *ENGINE_PACKAGES.values(), "curl", "openssl")
PACKAGES += tuple(DEPLOYMENT_PACKAGES.values())
INSTALL = "sudo apt install"


def need(program: str, package: str | None = None) -> str:
    """The path of a program that a test needs. In CI nothing may be skipped, so there it fails."""
    path = shutil.which(program)
    if path is None:
        missing = f"{program} is not installed. To add it: {INSTALL} {package or program}"
        pytest.fail(missing) if in_ci() else pytest.skip(missing)
    return path


def in_ci() -> bool:
    return bool(os.environ.get("CI"))


@cache
def browser_problem() -> str | None:
    """Why no test can open a browser, with the command that mends it; None if one can."""
    command = f"{INSTALL} {' '.join(BROWSER_PACKAGES)}"
    if shutil.which("chromium") is None:
        return f"Chromium is not installed. To add it: {command}"
    programs = {"Playwright": [sys.executable, "-m", "playwright"], "Chromium": ["chromium"]}
    for name, program in programs.items():
        complaint = start_problem([*program, "--version"])
        if complaint is not None:
            return f"{name} does not start: {complaint}. To mend it: {command}"
    return None


def start_problem(command: Sequence[str]) -> str | None:
    """The last line that a program printed instead of starting; None if it starts."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if run.returncode == 0:
        return None
    lines = (run.stderr or run.stdout).strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else f"it ended with {run.returncode}"


def not_tried(reasons: Iterable[str]) -> Iterator[str]:
    """One sentence for each reason for which tests were skipped, with how many there are."""
    counts: dict[str, int] = {}
    for reason in reasons:
        reason = reason.removeprefix("Skipped: ")
        counts[reason] = counts.get(reason, 0) + 1
    for reason, count in counts.items():
        yield f"Not tried, and not in the coverage: {count} test{'s'[: count > 1]}. {reason}"
