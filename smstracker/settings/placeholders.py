"""Placeholders of instructions that nobody replaced by the real value."""

import re

PLACEHOLDER = "still holds a placeholder; set the real value"
_WORDS = (
    r"change.?(?:me|this)|replace.?(?:me|this)|placeholder"
    r"|your.?(?:\w+[-_ ]?)?(?:token|secret|password|key)|auth[-_ ]?token"
)
# Instructions end a placeholder with an ellipsis, put it in brackets, or say "your …". A host or
# user name may begin with "your-" as well, so a dot or an @ tells them apart.
_VALUE = re.compile(
    rf".*(?:…|\.\.\.)|<.*>|\[[^:]*\]|\{{.*\}}|your[-_ ][^.@]*|x{{3,}}"
    rf"|(?:my|the)[-_ ](?:\w+[-_ ])?(?:token|secret|password|key)"
    rf"|(?:the[-_ ]?)?(?:{_WORDS})(?:[-_ ]?here)?",
    re.I,
)
_WORDS_IN_KEY = re.compile(rf"{_WORDS}|replace|your.?secret|secret.?key|example|openssl|…", re.I)


_EXAMPLE = re.compile(rf"…|\.\.\.|<.*>|x{{3,}}|your[-_ ](?:user.?name|login)|{_WORDS}", re.I)


def is_example(value: str) -> bool:
    """Whether a user name or password, which people choose freely, is plainly a placeholder."""
    return _EXAMPLE.fullmatch(value) is not None


def is_placeholder(value: str) -> bool:
    """Whether a value, or the secret of a pair such as `SID:secret`, is a placeholder."""
    return any(_VALUE.fullmatch(text) for text in (value, value.rpartition(":")[2]))


def has_placeholder_words(key: str) -> bool:
    """Whether a long random key, which holds no words, has those of a placeholder."""
    return _WORDS_IN_KEY.search(key) is not None
