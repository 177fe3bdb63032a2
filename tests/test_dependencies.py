"""What is imported is declared, and declared as it is locked."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from config import ROOT

APP = ("smstracker", "migrations", "config.py", "wsgi.py")
TESTS = ("tests", "bench")
OURS = {"smstracker", "migrations", "config", "wsgi", "tests"}
OURS |= {path.stem for path in (ROOT / "bench").iterdir()}


def declared(*extras: str) -> dict[str, str]:
    """The pinned version of each distribution."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for name in extras for line in optional[name])]
    pins = (re.fullmatch(r"([\w.-]+)(?:\[\w+\])?==([\w.]+)", line) for line in lines)
    return {normal(pin[1]): pin[2] for pin in pins if pin}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def sources(*places: str) -> Iterator[Path]:
    for place in places:
        path = ROOT / place
        files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
        yield from (
            file
            for file in files
            if file.suffix == ".py" or (not file.suffix and file.read_bytes()[:2] == b"#!")
        )


@cache
def imported(*places: str) -> set[str]:
    """The top-level modules of others that are imported, late imports too."""
    modules: set[str] = set()
    for source in sources(*places):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Import):
                modules |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules.add(str(node.module).partition(".")[0])
    return modules - set(sys.stdlib_module_names) - OURS


@cache
def installed_distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def undeclared(modules: set[str], names: dict[str, str]) -> dict[str, list[str]]:
    """The distributions of modules none of which is declared."""
    distributions = installed_distributions()
    found = {module: distributions.get(module, []) for module in modules - {"_typeshed"}}
    return {
        module: packages
        for module, packages in found.items()
        if not names.keys() & {normal(package) for package in packages}
    }


@pytest.mark.slow
def test_what_the_app_imports_is_declared() -> None:
    assert undeclared(imported(*APP), declared()) == {}


@pytest.mark.slow
def test_what_the_tests_import_is_declared() -> None:
    assert undeclared(imported(*APP) | imported(*TESTS), declared("dev")) == {}


def test_migrations_do_not_change_with_the_app() -> None:
    for migration in sources("migrations/versions"):
        assert not re.search(r"(?m)^(from|import) (smstracker|config)", migration.read_text())


@pytest.mark.parametrize(
    ("lock", "extras"), [("requirements.txt", ()), ("requirements-dev.txt", ("dev",))]
)
def test_declared_versions_are_those_of_the_lock(lock: str, extras: tuple[str, ...]) -> None:
    pins = re.findall(r"(?m)^([\w.-]+)==([^ ;\\]+)", (ROOT / lock).read_text())
    locked = {normal(name): version for name, version in pins}
    assert declared(*extras).items() <= locked.items()


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    assert len(declared("dev")) == len(lines)
