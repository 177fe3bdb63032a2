"""Words that agree with a count."""

import pytest

from smstracker.plurals import format_count, pluralize


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 tries"), (1, "1 try"), (2, "2 tries"), (1200, "1,200 tries")]
)
def test_noun_agrees_with_its_count(count: int, words: str) -> None:
    assert format_count(count, "try", "tries") == words


def test_plural_is_an_added_s_unless_it_is_given() -> None:
    assert [pluralize(count, "day") for count in (0, 1, 2)] == ["days", "day", "days"]
    assert pluralize(2, "it", "them") == "them"
