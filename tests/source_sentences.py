"""The sentences that a module can say, read from its source and its data."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import smstracker

PACKAGE = Path(smstracker.__file__).parent
FEWEST_WORDS = 3  # less is no sentence: the name of a check, a joint between two parts
_GAP = re.compile(r"\{[a-z_0-9.]*\}")


def sentences(module: str) -> Iterator[str]:
    """What a module says, docstrings left out: each constant between what is filled in."""
    for text in (*_texts_of_code(PACKAGE / module), *_texts_of_data(PACKAGE / module)):
        yield from (part for part in _GAP.split(text) if len(part.split()) >= FEWEST_WORDS)


def _texts_of_code(file: Path) -> Iterator[str]:
    tree = ast.parse(file.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            yield node.value


def _texts_of_data(file: Path) -> Iterator[str]:
    """The values of the file of the same name that holds a module's data, if there is one."""
    data = file.with_suffix(".toml")
    tables: list[object] = [tomllib.loads(data.read_text("utf-8"))] if data.exists() else []
    while tables:
        value = tables.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict | list):
            tables += value.values() if isinstance(value, dict) else value


def quoted(*test_files: str) -> set[str]:
    """The texts that tests expect."""
    trees = [ast.parse(Path(__file__).with_name(name).read_text()) for name in test_files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    values = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return {value for value in values if isinstance(value, str) and len(value) >= 7}
