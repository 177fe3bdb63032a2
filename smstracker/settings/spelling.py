"""Whether one name is a misspelling of another. Pure."""

import re
from collections import Counter
from collections.abc import Iterable

# Only a long name may have two typos: MAIL_HOST is no MAIL_PORT.
LONG_NAME_LENGTH = 12


def find_same_stem(name: str, settings: Iterable[str]) -> str | None:
    """Return the setting that differs only by underscores, plurals and the order of its words."""
    for setting in sorted(settings):
        has_same_words = sorted(setting.split("_")) == sorted(name.split("_"))
        if has_same_words or strip_plurals(setting) == strip_plurals(name):
            return setting
    return None


def strip_plurals(name: str) -> str:
    singular = re.sub(r"IES(_|$)", r"Y\1", name)
    return re.sub(r"S(_|$)", r"\1", singular).replace("_", "")


def has_more_words(name: str, setting: str) -> bool:
    """Recognise names such as SECRET_KEY_BASE, which belongs to another program."""
    setting_words, name_words = setting.split("_"), name.split("_")
    return len(name_words) > len(setting_words) and set(setting_words) <= set(name_words)


def has_other_word(name: str, setting: str) -> bool:
    """Recognise names such as DATABASE_USER, whose last word is no typo of DATABASE_URL's."""
    return any(
        len(word) <= 4 and count_edits(name_word, word) > 1
        for name_word, word in zip(name.split("_"), setting.split("_"), strict=False)
    )


def is_typo(name: str, setting: str) -> bool:
    """Check that a typo in a word or two turns the setting into the name.

    Another word in its place, as in DATABASE_SSL or EMAIL_PORT, is another program's name.
    """
    name_words, setting_words = name.split("_"), setting.split("_")
    if len(name_words) != len(setting_words) or name[0] != setting[0]:
        return False
    edit_counts = [*map(count_edits, name_words, setting_words)]
    max_edits = 2 if len(setting) >= LONG_NAME_LENGTH else 1
    is_near = all(n <= len(word) // 3 for n, word in zip(edit_counts, setting_words, strict=True))
    return is_near and sum(edit_counts) <= max_edits and not name.startswith(setting)


def lacks_or_swaps_letters(name: str, setting: str) -> bool:
    """Exclude other letters: they may make another word, such as DATABASE_URI, or a plural."""
    return not Counter(name) - Counter(setting)


def count_edits(word: str, other: str) -> int:
    """Count the letters that were left out, added, changed or swapped with the next."""
    last_row: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(word):
        row_before_last, last_row, row = last_row, row, [i + 1]
        for j, other_letter in enumerate(other):
            row.append(min(last_row[j + 1] + 1, row[j] + 1, last_row[j] + (letter != other_letter)))
            if i and j and letter == other[j - 1] and word[i - 1] == other_letter:
                row[-1] = min(row[-1], row_before_last[j - 1] + 1)
    return row[-1]
