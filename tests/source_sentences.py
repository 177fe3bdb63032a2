"""The sentences that a module can say, read from its source."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import smstracker

PACKAGE = Path(smstracker.__file__).parent
FEWEST_WORDS = 3  # less is no sentence: the name of a check, a joint between two parts
_GAP = re.compile(r"\{[a-z_0-9.]*\}")


def sentences(module: str) -> Iterator[str]:
    """What a module says, docstrings left out: each constant between what is filled in."""
    tree = ast.parse((PACKAGE / module).read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
        if is_text and id(node) not in docstrings:
            parts = _GAP.split(node.value)
            yield from (part for part in parts if len(part.split()) >= FEWEST_WORDS)


def quoted(*test_files: str) -> set[str]:
    """The texts that tests expect."""
    trees = [ast.parse(Path(__file__).with_name(name).read_text()) for name in test_files]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    values = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return {value for value in values if isinstance(value, str) and len(value) >= 7}
