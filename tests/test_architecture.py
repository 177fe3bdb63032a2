"""The packages import each other in one direction."""

import ast
from collections import defaultdict
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "smstracker"
# It composes the app, or starts it, from all others.
COMPOSERS = {"__init__", "__main__", "blueprints", "command_line", "server"}


def imported_modules(file: Path) -> set[str]:
    """The modules of ours that a file imports, wherever the import stands."""
    package = ".".join(["smstracker", *file.relative_to(PACKAGE).parent.parts])
    modules: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            is_root = module == "smstracker"
            modules |= {f"{module}.{alias.name}" for alias in node.names} if is_root else {module}
    return {module for module in modules if module.startswith("smstracker.")}


def imports_by_package() -> dict[str, set[str]]:
    imports: dict[str, set[str]] = defaultdict(set)
    for file in PACKAGE.rglob("*.py"):
        package = file.relative_to(PACKAGE).with_suffix("").parts[0]
        if package not in COMPOSERS:
            imported = {module.split(".")[1] for module in imported_modules(file)}
            imports[package] |= imported - {package}
    return imports


def test_no_packages_import_each_other_in_a_circle() -> None:
    imports = imports_by_package()
    assert "models" in imports["messages"], "the imports were not found"
    TopologicalSorter(imports).prepare()  # raises CycleError, which names a circle
