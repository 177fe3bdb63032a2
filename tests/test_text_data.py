"""Texts that the code takes from data by their names."""

import ast
import tomllib
from collections.abc import Iterator

import pytest

from smstracker.callback_requests.status_callback import VERIFIED, Refusal
from tests.source_sentences import PACKAGE

# The sentences that `refused.diagnosis` finds by a refusal itself.
BY_REFUSAL = {Refusal.TOO_LARGE, Refusal.NOT_A_FORM, *VERIFIED}


def named_texts(module: str, function: str) -> Iterator[str]:
    """The names with which a module calls the function that returns a text of the data."""
    for node in ast.walk(ast.parse((PACKAGE / module).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            texts = ast.walk(node.args[0]) if node.func.id == function else ()
            constants = (text for text in texts if isinstance(text, ast.Constant))
            yield from (str(text.value) for text in constants if isinstance(text.value, str))


@pytest.mark.parametrize(
    ("modules", "function", "data", "others"),
    [
        (
            ("refused/diagnosis.py", "refused/sentences.py"),
            "sentence",
            tomllib.loads((PACKAGE / "refused/sentences.toml").read_text())["sentences"],
            BY_REFUSAL,
        ),
        (
            ("doctor/callback_probe.py",),
            "_obstacle",
            tomllib.loads((PACKAGE / "doctor/callback_probe.toml").read_text()),
            set(),
        ),
    ],
)
def test_every_text_of_the_data_is_used_and_every_used_one_is_there(
    modules: tuple[str, ...], function: str, data: dict[str, object], others: set[str]
) -> None:
    names = {name for module in modules for name in named_texts(module, function)}
    assert names | others == data.keys()
