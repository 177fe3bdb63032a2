"""Twilio's error codes explained: cause, who can act, what to do.

Data in error_guide.toml, the vocabulary of its entries in error_words.toml.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from smstracker.sms.identifiers import ERROR_CODE, ERROR_CODE_LENGTH

DOCUMENTATION_URL = "https://www.twilio.com/docs/api/errors/"
MIN_CODE_DIGITS = 5
MAX_SHORT_CHARACTERS = 28

_FOLDER = Path(__file__).parent
_words = tomllib.loads((_FOLDER / "error_words.toml").read_text("utf-8"))
ACTORS: dict[str, str] = _words["actors"]
RESEND_ADVICE: dict[str, str] = _words["resend"]
CHARGED: dict[str, str] = _words["charged"]
GROUPS: dict[str, str] = _words["groups"]
# Classes in which the same message may succeed when sent again.
RESENDABLE = ("later", "once")


@dataclass(frozen=True, slots=True)
class ErrorExplanation:
    """`short` fits into a list; `actor`, `resend` and `charged` are keys of error_words.toml.

    `resend_note` says in a sentence when sending again makes sense, or why it does not. "once" is
    for a passing error that is unlikely to pass if a second try meets it too.
    """

    short: str
    cause: str
    actor: str
    action: str
    resend: str
    resend_note: str = ""
    charged: str = "maybe"

    def __post_init__(self) -> None:
        if not self.resend_note:
            default = _words["fix_notes"].get(self.actor) if self.resend == "after a fix" else None
            note = default or _words["resend_notes"].get(self.resend, "")
            object.__setattr__(self, "resend_note", note)
        for name, text in asdict(self).items():
            if not isinstance(text, str) or not text or text != text.strip():
                raise ValueError(f"{name} is empty or untidy: {text!r}")
        if len(self.short) > MAX_SHORT_CHARACTERS:
            raise ValueError(f"too long for a list: {self.short!r}")
        for sentence in (self.cause, self.action, self.resend_note):
            if not sentence.endswith("."):
                raise ValueError(f"no sentence: {sentence!r}")
        if not (self.actor in ACTORS and self.resend in RESEND_ADVICE and self.charged in CHARGED):
            raise ValueError(f"an unknown word in {self!r}")

    @property
    def send_again(self) -> str:
        """Advice on sending the same message again, in one or two sentences."""
        return RESEND_ADVICE[self.resend] + self.resend_note


def is_code(text: str) -> bool:
    """Check that `text` looks like one of Twilio's error codes."""
    return re.fullmatch(ERROR_CODE, text) is not None


def read_guide(text: str) -> Mapping[str, Mapping[str, ErrorExplanation]]:
    """Read entries by group and code from TOML. Raises ValueError or TypeError for a faulty one."""
    tables = tomllib.loads(text)
    codes = [code for entries in tables.values() for code in entries]
    invalid_codes = [code for code in codes if not is_code(code)]
    invalid_codes += [code for code in set(codes) if codes.count(code) > 1]
    if invalid_codes or not tables.keys() <= GROUPS.keys():
        raise ValueError(f"no error codes or groups: {invalid_codes or list(tables)}")
    tables = {group: tables[group] for group in GROUPS if group in tables}
    return {
        group: {code: ErrorExplanation(**entries[code]) for code in sorted(entries, key=int)}
        for group, entries in tables.items()
    }


@cache
def guide() -> Mapping[str, Mapping[str, ErrorExplanation]]:
    """The explanations by group and code. Reading them takes time that most commands can save."""
    return read_guide((_FOLDER / "error_guide.toml").read_text("utf-8"))


@cache
def explanations() -> Mapping[str, ErrorExplanation]:
    return {code: entry for entries in guide().values() for code, entry in entries.items()}


@cache
def once_codes() -> frozenset[str]:
    """The codes after which one second try is worth it, but no third."""
    return frozenset(code for code, entry in explanations().items() if entry.resend == "once")


@cache
def stop_reasons() -> Mapping[str, ErrorExplanation]:
    """The explanations of our own reasons not to send, by `stop_reasons.StopReason`."""
    tables = tomllib.loads((_FOLDER / "stop_reasons.toml").read_text("utf-8"))
    return {name: ErrorExplanation(**entry) for name, entry in tables.items()}


def plain_code(code: str | int) -> str:
    """Normalize an error code: no spaces, no leading zeros."""
    text = str(code).strip()
    digits = "".join(text.split())
    return digits.lstrip("0") if digits.isascii() and digits.isdecimal() else text


def explain_code(code: str | int | None) -> ErrorExplanation | None:
    """Return the explanation of an error code; an unlisted code gets one that says so."""
    code = "" if code is None else plain_code(code)[:ERROR_CODE_LENGTH]
    if not code or code in explanations():
        return explanations().get(code)
    if code in stop_reasons():
        return stop_reasons()[code]
    if code.startswith("HTTP "):
        return replace(_REFUSED_BY_PROXY, short=f"Refused ({code})")
    cause = f"Twilio gave error {code}, which is not explained here."
    return replace(_UNLISTED, short=f"Error {code}", cause=cause)


_REFUSED_BY_PROXY = ErrorExplanation(
    "Refused",
    "A proxy or a wrong address refused the request: the answer did not come from Twilio's "
    "messaging API. Nothing was sent.",
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


# Patterns that speak of the reader's administrator, with the wording for the administrator.
_ADMINISTRATOR_WORDING: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"\b(?:Ask your administrator|Your administrator has) to (\w)", lambda m: m[1].upper()),
    (r"\bask your administrator to ", ""),
    (r"\b([Yy]ou),? or your administrator fixes", r"\1 fix"),
    (r"\b([Yy]ou),? or your administrator", r"\1"),
    (r"\byour administrator (fix|know)(?:es|s)", r"you \1"),
    (r"\byour administrator may want", "you may want"),
    (r"\bYour administrator\b", "You"),
)


def address_administrator(text: str) -> str:
    """Rewrite a text about "your administrator" for the administrator."""
    for pattern, words in _ADMINISTRATOR_WORDING:
        text = re.sub(pattern, words, text)
    return text


def documentation_url(code: str | None) -> str | None:
    """Return the address of Twilio's page on an error code."""
    return DOCUMENTATION_URL + code if code and is_code(code) else None
