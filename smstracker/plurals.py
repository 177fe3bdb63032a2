"""Words that agree with a count."""


def pluralize(count: int, singular: str, plural: str = "") -> str:
    """The form of a word for a count; `plural` if that is more than an added s."""
    return singular if count == 1 else plural or f"{singular}s"


def format_count(count: int, singular: str, plural: str = "") -> str:
    """A number of things: "1 callback", "1,200 messages"."""
    return f"{count:,} {pluralize(count, singular, plural)}"


def was_or_were(count: int) -> str:
    """The verb after a count."""
    return pluralize(count, "was", "were")


def is_or_are(count: int) -> str:
    """The verb after a count, for now."""
    return pluralize(count, "is", "are")


def it_or_them(count: int) -> str:
    """The pronoun for a count."""
    return pluralize(count, "it", "them")
