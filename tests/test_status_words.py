"""Every status word that the code or Twilio can put into an event has a rank and a label."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import smstracker
from smstracker.sms import status
from smstracker.sms.status import Effect

PACKAGE = Path(smstracker.__file__).parent
# https://www.twilio.com/docs/messaging/api/message-resource#message-status-values, outbound ones
TWILIO_WORDS = {"accepted", "scheduled", "queued", "sending", "sent", "delivered", "undelivered"}
TWILIO_WORDS |= {"failed", "read", "canceled", "partially_delivered"}


def words_written() -> set[str]:
    """Return the constants that the code passes as a StatusUpdate's status."""
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    trees = [ast.parse(source) for source in sources if "StatusUpdate(" in source]
    return {word for tree in trees for word in _module_words(tree)} | {"pending"}


def _module_words(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and getattr(node.func, "id", "") == "StatusUpdate"
            and node.args
        ):
            yield from _constants(node.args[0], tree)


def _constants(node: ast.expr, tree: ast.Module) -> Iterator[str]:
    """Return the values that an expression can have, as far as the module tells."""
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.IfExp):
        yield from (*_constants(node.body, tree), *_constants(node.orelse, tree))
    elif isinstance(node, ast.Subscript):
        yield from _constants(node.value, tree)
    elif isinstance(node, ast.Dict):
        for value in node.values:
            yield from _constants(value, tree)
    elif isinstance(node, ast.Name):
        yield from _assigned(node.id, tree)


def _assigned(name: str, tree: ast.Module) -> Iterator[str]:
    constant = getattr(status, name, None)
    if isinstance(constant, str):
        yield constant
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if value is not None and name in [getattr(target, "id", "") for target in targets]:
            yield from _constants(value, tree)


def test_words_that_the_code_writes_are_found() -> None:
    assert words_written() >= {"refused", "unreached", "untraced", "unknown", "deleted", "accepted"}


@pytest.mark.parametrize("word", sorted(words_written() | TWILIO_WORDS))
def test_word_that_can_be_written_has_a_rank_a_badge_and_a_label(word: str) -> None:
    assert word in status.RANK
    assert "unknown status" not in status.label(word)
    assert status.effects([(word, None)]) == [Effect.MOVED]


def test_each_word_of_ours_has_a_label_of_its_own_beside_those_of_twilio() -> None:
    own_words = ("pending", "unknown", "unreached", "deleted")
    labels = {word: status.label(word) for word in (*own_words, *TWILIO_WORDS)}
    assert len({labels[word] for word in own_words}) == len(own_words)
    assert not {labels[word] for word in own_words} & {labels[word] for word in TWILIO_WORDS}
