"""Twilio's error codes in plain words: why, who can act, what to do. The data: error_guide.toml."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

DOCUMENTATION = "https://www.twilio.com/docs/api/errors/"
SHORTEST_CODE = 5  # digits of an error code
LONGEST_SHORT = 28

WHO = {
    "you": "You",
    "administrator": "Your administrator",
    "you or administrator": "You, or your administrator",
    "recipient": "The recipient",
    "nobody": "Nobody",
}
# The classes of advice on sending again, with the words that come before `when`.
AGAIN = {
    "later": "Yes. ",
    "once": "Yes. ",
    "after a fix": "",
    "ask first": "Ask the recipient first. ",
    "no": "No. ",
}
CHARGED = {"no": "No", "maybe": "Perhaps", "yes": "Yes"}
# Where the very same message may succeed at a second try.
WORTH_ANOTHER_TRY = ("later", "once")
# The groups of the guide, in the order of its page.
GROUPS = {
    "recipient": "The recipient",
    "text": "Text and templates",
    "pictures": "Pictures",
    "sender": "The sender",
    "registration": "Registration of the sender",
    "account": "The Twilio account",
    "limits": "Too many at once",
    "stopped": "Filtered or stopped",
    "network": "Networks",
    "twilio": "Twilio itself",
    "planned": "Planned messages, and how long they stay valid",
    "request": "The request to Twilio",
    "channels": "WhatsApp, RCS and other channels",
}
# What `when` says if an entry does not: by class and, of what has to be mended, by who mends it.
_WHEN = {
    "once": "Once more, after some minutes.",
    "ask first": "Only if it did not arrive.",
    "no": "It would fail in the same way.",
}
_WHEN_FIXED = {
    "you": "Only after you fix it.",
    "administrator": "Only after your administrator fixes it.",
    "you or administrator": "Only after you or your administrator fixes it.",
}


@dataclass(frozen=True, slots=True)
class ErrorExplanation:
    """`short` fits into a list; `who`, `again` and `charged` are keys of the tables above.

    `when` says in a sentence when sending again makes sense, or why it does not. "once" is for what
    may pass, but is not likely to if a second try has met it too.
    """

    short: str
    what: str
    who: str
    todo: str
    again: str
    when: str = ""
    charged: str = "maybe"

    def __post_init__(self) -> None:
        if not self.when:
            usual = _WHEN_FIXED.get(self.who) if self.again == "after a fix" else None
            object.__setattr__(self, "when", usual or _WHEN.get(self.again, ""))
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

    @property
    def send_again(self) -> str:
        """Whether sending the same message again makes sense, in one or two sentences."""
        return AGAIN[self.again] + self.when


def is_code(text: str) -> bool:
    """Whether it looks like one of Twilio's error codes."""
    return re.fullmatch(r"[1-9][0-9]{4,5}", text) is not None


def read_guide(text: str) -> Mapping[str, Mapping[str, ErrorExplanation]]:
    """The entries of a guide by group and code. Raises ValueError or TypeError for a faulty one."""
    tables = tomllib.loads(text)
    codes = [code for entries in tables.values() for code in entries]
    strange = [code for code in codes if not is_code(code)]
    strange += [code for code in set(codes) if codes.count(code) > 1]
    if strange or not tables.keys() <= GROUPS.keys():
        raise ValueError(f"no error codes or groups: {strange or list(tables)}")
    return {
        group: {
            code: ErrorExplanation(**tables[group][code]) for code in sorted(tables[group], key=int)
        }
        for group in GROUPS
        if group in tables
    }


GUIDE = read_guide(Path(__file__).with_name("error_guide.toml").read_text("utf-8"))
REASONS = {code: reason for entries in GUIDE.values() for code, reason in entries.items()}


def plain_code(code: str | int) -> str:
    """One spelling for an error code: no spaces, no zeros in front."""
    text = str(code).strip()
    digits = "".join(text.split())
    return digits.lstrip("0") if digits.isascii() and digits.isdecimal() else text


def explain_code(code: str | int | None) -> ErrorExplanation | None:
    """The reason for an error code; for a code that is not listed, one that says so."""
    code = "" if code is None else plain_code(code)[:16]
    if not code or code in REASONS:
        return REASONS.get(code)
    if code.startswith("HTTP "):
        return replace(_REFUSED_ON_THE_WAY, short=f"Refused ({code})")
    what = f"Twilio gave error {code}, which is not explained here."
    return replace(_UNLISTED, short=f"Error {code}", what=what)


_REFUSED_ON_THE_WAY = ErrorExplanation(
    "Refused",
    "The answer did not come from Twilio's messaging API: something in between, or a wrong "
    "address, refused the request. Nothing was sent.",
    "administrator",
    "Ask your administrator to check TWILIO_API_BASE_URL and the network.",
    "after a fix",
    charged="no",
)
_UNLISTED = ErrorExplanation(
    "Unknown error",
    "Twilio gave an error that is not explained here.",
    "you or administrator",
    "Read Twilio's own page on this code.",
    "no",
    "Not before you know what it means.",
)


# What a text says of the reader's administrator, and what it says to the administrator.
_SPOKEN_TO_ADMINISTRATOR: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"\bAsk your administrator to (\w)", lambda match: match[1].upper()),
    (r"\bask your administrator to ", lambda _: ""),
    (r"\bYour administrator has to (\w)", lambda match: match[1].upper()),
    (r"\b[Yy]ou,? or your administrator( fixes)?", lambda match: _you(match[0], match[1])),
    (r"\byour administrator (fix|know)(?:es|s)", lambda match: f"you {match[1]}"),
    (r"\byour administrator may want", lambda _: "you may want"),
    (r"\bYour administrator\b", lambda _: "You"),
)


def _you(words: str, fixes: str | None) -> str:
    return words[:3] + (" fix" if fixes else "")


def as_administrator(text: str) -> str:
    """A text of the guide or of a message's page, said to the administrator it speaks of."""
    for pattern, words in _SPOKEN_TO_ADMINISTRATOR:
        text = re.sub(pattern, words, text)
    return text


def documentation(code: str | None) -> str | None:
    """Twilio's page on an error code."""
    return DOCUMENTATION + code if code and is_code(code) else None
