"""Words that agree with a count."""

import re
from pathlib import Path

import pytest

import smstracker
from smstracker.plurals import format_count, pluralize


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 tries"), (1, "1 try"), (2, "2 tries"), (1200, "1,200 tries")]
)
def test_noun_agrees_with_its_count(count: int, words: str) -> None:
    assert format_count(count, "try", "tries") == words


def test_plural_is_an_added_s_unless_it_is_given() -> None:
    assert [pluralize(count, "day") for count in (0, 1, 2)] == ["days", "day", "days"]
    assert pluralize(2, "it", "them") == "them"


# A page's figures stand in a table or before "of"; "times" only where there are several.
_FIGURE_BEFORE_NOUN = re.compile(r'"\{:,\}"\.format\([^{}]*\) \}\} (?!times\b|s\b)\w*s\b')


def test_no_page_puts_a_plural_behind_a_bare_figure() -> None:
    package = Path(smstracker.__file__).parent
    for page in package.rglob("*.html"):
        assert _FIGURE_BEFORE_NOUN.findall(page.read_text()) == [], page.name
