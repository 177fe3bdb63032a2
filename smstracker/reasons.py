"""Twilio's error codes in plain words: why, who can act, what to do. The data: error_guide.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

DOCUMENTATION = "https://www.twilio.com/docs/api/errors/"
LONGEST_SHORT = 28

WHO = {
    "you": "You",
    "administrator": "Your administrator",
    "recipient": "The recipient",
    "nobody": "Nobody",
}
AGAIN = {
    "later": "Yes",
    "once": "Yes",
    "after a change": "Only after a change",
    "ask first": "Ask the recipient first",
    "no": "No",
}
CHARGED = {"no": "No", "maybe": "Perhaps", "yes": "Yes"}
# Where the very same message may succeed at a second try.
WORTH_ANOTHER_TRY = ("later", "once")


@dataclass(frozen=True, slots=True)
class Reason:
    """`short` fits into a list; `who`, `again` and `charged` are keys of the tables above.

    `when` says in a sentence when sending again makes sense, or why it does not. "once" is for what
    may pass, but is not likely to if a second try has met it too.
    """

    short: str
    what: str
    who: str
    todo: str
    again: str
    when: str
    charged: str

    def __post_init__(self) -> None:
        for field in fields(self):
            text = getattr(self, field.name)
            if not isinstance(text, str) or not text or text != text.strip():
                raise ValueError(f"{field.name} is empty or untidy: {text!r}")
        if len(self.short) > LONGEST_SHORT:
            raise ValueError(f"too long for a list: {self.short!r}")
        for sentence in (self.what, self.todo, self.when):
            if not sentence.endswith("."):
                raise ValueError(f"no sentence: {sentence!r}")
        if self.who not in WHO or self.again not in AGAIN or self.charged not in CHARGED:
            raise ValueError(f"an unknown word in {self!r}")


def read_guide(text: str) -> Mapping[str, Reason]:
    """The entries of a guide. Raises ValueError or TypeError for one that is not well-formed."""
    guide = {code: Reason(**entry) for code, entry in tomllib.loads(text).items()}
    strange = [code for code in guide if not (code.isdecimal() and len(code) == 5)]
    if strange:
        raise ValueError(f"no error codes: {', '.join(strange)}")
    return dict(sorted(guide.items()))


REASONS = read_guide(Path(__file__).with_name("error_guide.toml").read_text("utf-8"))


def reason_for(code: str | None) -> Reason | None:
    """The reason for an error code; for a code that is not listed, one that says so."""
    if code is None:
        return None
    if code in REASONS:
        return REASONS[code]
    if code.startswith("HTTP "):
        return Reason(
            f"Refused ({code})",
            "The answer did not come from Twilio's messaging API: something in between, or a "
            "wrong address, refused the request. Nothing was sent.",
            "administrator",
            "Your administrator has to check TWILIO_API_BASE_URL and the network.",
            "after a change",
            "As soon as your administrator has put it right.",
            "no",
        )
    return Reason(
        f"Error {code}",
        f"Twilio gave error {code}, which has no plain words here yet.",
        "administrator",
        "Twilio's own page on this code says more.",
        "no",
        "Not unless Twilio's own page advises it.",
        "maybe",
    )


def documentation(code: str | None) -> str | None:
    """Twilio's page on an error code."""
    return DOCUMENTATION + code if code and code.isascii() and code.isdecimal() else None
