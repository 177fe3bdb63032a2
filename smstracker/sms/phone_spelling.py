"""The spelling of a phone number: trimming, accepted characters, reasons for a refusal."""

import re
import unicodedata
from dataclasses import dataclass

import phonenumbers

from smstracker.sms.typed_text import MixedDigitsError, is_invisible, to_ascii_digits

NO_NUMBER = "Who is it for? Type a phone number."
SECOND_NUMBER = "That looks like more than one number. Type one number alone."
_LETTER_O_TYPED = "There is a letter O in the number. Type a zero if one is meant."
_LETTERS = "There are letters in the number. Type digits."
_DECIMAL = "A spreadsheet has turned that number into a decimal. Type its digits alone."

_CHANNELS = {"whatsapp": "WhatsApp", "rcs": "RCS", "messenger": "Messenger"}
_CHANNELS |= {"viber": "Viber", "signal": "Signal", "telegram": "Telegram", "line": "LINE"}
_MAX_LENGTH = 60  # of any spelling: 15 digits and generous separators
_QUOTES = "„‚\"'`´ʹʺʻʼʽ′″‴〃〝〞〟＂＇❛❜❝❞❟❠\u2e42\u300c\u300d\u300e\u300f\uff62\uff63"
# Full-width forms, as East Asian keyboards write them, and what they write for dash and tilde.
_LIKE_ASCII = {"＋": "+", "．": ".", "（": "(", "）": ")", "／": "/", "−": "-", "ー": "-", "ｰ": "-"}
_LIKE_ASCII |= {"[": "(", "]": ")", "［": "(", "］": ")"}
_LIKE_ASCII |= dict.fromkeys("～〜〰⁓∼", "~")
_LINE_ENDS = re.compile("[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]")
_EXTENSIONS = re.compile(r"(?:;?\s*ext(?:n|ension)?|[x#]|durchwahl|poste)[\s.:=]*[0-9]+", re.I)
# "0xx11 98765-4321" and "(0**11)", as Brazil writes a carrier's code.
_PLACEHOLDER = re.compile(
    r"(?P<before>\+?(?:[ ().\-]*[0-9]){0,4}[ ().\-]*)(?P<notation>[x×]{2}|\*\*)"
    r"(?P<after>[0-9 ().\-/]*)",
    re.I,
)
_SCIENTIFIC = re.compile(r"\+?[0-9]+(?:[.,][0-9]*)?\s*E\s*\+?[0-9]+", re.I)
_DELIMITERS = ",;|、，；"
_SECOND_NUMBER_SIGNS = re.compile(rf"[&{_DELIMITERS}]|\b(?:or|and|to|oder|und|bis|ou|et)\b", re.I)
# "~" is a dash in East Asia, and a pause in "8~10" of Russia.
_SEPARATORS = re.compile(r"[ ().\-/~]")
_BRACKETED_ZERO = re.compile(r"\(\s*0\s*\)")
# Letters that could have been meant as digits: O and 0, I and 1.
_DIGIT_LIKE = frozenset("OILSZB")
_VANITY = re.compile(
    r"\+?1?[2-9][0-9]{2}(?:[0-9]{3}(?P<last>[A-Z]{4})|(?P<all>[A-Z]{7}))", re.I | re.A
)


class PhoneNumberError(ValueError):
    """The text is not exactly one phone number; the message tells the reader why."""


class PlaceholderError(PhoneNumberError):
    """The number has a notation that nobody dials; `compact` is the number without it."""

    def __init__(self, notation: str, compact: str) -> None:
        super().__init__(f"“{notation}” stands for other digits. Type the number in full.")
        self.compact = compact
        self.meaning = f"“{notation}” stands for the code of a carrier and is left out."


@dataclass(frozen=True, slots=True)
class Spelling:
    """The typed + and ASCII digits, with "o" for "(0)".

    `beginnings` are the same before each slash, tilde and bracket, `parts` before each other
    separator: each may be a number of its own.
    """

    compact: str
    beginnings: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def digits(self) -> str:
        return self.compact.lstrip("+").replace("o", "0")

    @property
    def first_group(self) -> str:
        """What stands before the first separator; nothing if there is none."""
        groups = {*self.beginnings, *self.parts} - {"+"}
        return min(groups, key=len, default="")


def spell_number(typed: str, *, accepts_vanity: bool = False) -> Spelling:
    """Return the typed number without separators. Raises PhoneNumberError.

    Letters of a whole North American number (1-800-FLOWERS) become digits after +1, or wherever
    `accepts_vanity` says that a number without + is such a one.
    """
    text = _to_ascii(_trim(typed))
    _refuse_non_numbers(text)
    if any(map(str.isalpha, text)):
        return Spelling(_read_vanity(text, accepts_vanity))
    _refuse_other_characters(text)
    _refuse_decimal(text)
    return Spelling(
        _compact(text), _compact_beginnings(r"[/(~]", text), _compact_beginnings(r"[ .)\-]+", text)
    )


def _trim(typed: str) -> str:
    """Remove invisible characters, a link's scheme, and what surrounds a number in a list."""
    text = "".join(character for character in typed if not is_invisible(character))
    text = _strip(text)
    if len(text) > _MAX_LENGTH:  # before any pattern looks at it
        raise PhoneNumberError("That is too long for a phone number.")
    scheme = re.match(r"(?:tel|sms):", text, re.I | re.A)
    if scheme is None:
        return text
    text = _strip(text[scheme.end() :])
    if re.fullmatch(r"%2B[0-9 ().\-]+", text, re.I):
        raise PhoneNumberError("That link has %2B in place of the +. Type the number with a +.")
    if re.search(r"[?=%]", text) and not _EXTENSIONS.search(text):
        raise PhoneNumberError("That link holds more than a phone number. Type the number alone.")
    return text


def _strip(text: str) -> str:
    return text.strip("".join(filter(_may_surround_number, set(text))))


def _may_surround_number(character: str) -> bool:
    is_quote = character in _QUOTES or unicodedata.category(character) in ("Pi", "Pf")
    return is_quote or character in _DELIMITERS or character.isspace()


def _to_ascii(text: str) -> str:
    """Replace digits of any one script, dashes, spaces and full-width forms by ASCII."""
    try:
        return "".join(map(ascii_form, to_ascii_digits(text)))
    except MixedDigitsError as error:
        raise PhoneNumberError(str(error)) from error


def ascii_form(character: str) -> str:
    kind = unicodedata.category(character)
    return _LIKE_ASCII.get(character) or {"Pd": "-", "Zs": " "}.get(kind, character)


def _refuse_non_numbers(text: str) -> None:
    if not text:
        raise PhoneNumberError(NO_NUMBER)
    if channel := re.match(r"([A-Za-z][A-Za-z0-9+.-]*)\s*:", text):
        name = _CHANNELS.get(channel[1].lower())
        reason = f"This app sends SMS and MMS, not {name}." if name else "That is no phone number."
        raise PhoneNumberError(f"{reason} Type the number without “{channel[1][:20]}:”.")
    if not re.search("[0-9]", text):
        raise PhoneNumberError("That is not a phone number. Type it like +1 555 867 5310.")
    if _SCIENTIFIC.fullmatch(text):
        shortened = "A spreadsheet has shortened that number and lost digits. Type it in full."
        raise PhoneNumberError(shortened)
    if re.fullmatch(r"\+?[0-9]{7,},[0-9]{1,2}", text):
        raise PhoneNumberError(_DECIMAL)
    if match := _PLACEHOLDER.fullmatch(text):
        raise PlaceholderError(match["notation"], _compact(match["before"] + match["after"]))
    if _EXTENSIONS.search(text):
        raise PhoneNumberError("A text message cannot reach an extension. Leave it out.")
    if _LINE_ENDS.search(text) or _SECOND_NUMBER_SIGNS.search(text) or text.count("+") > 1:
        raise PhoneNumberError(SECOND_NUMBER)


def _refuse_other_characters(text: str) -> None:
    if match := re.search(r"[^+0-9 ().\-/~]", text):
        quoted = f": “{match[0]}”" if match[0].isprintable() else ""
        raise PhoneNumberError(f"There is a character that no phone number has{quoted}.")
    if not re.fullmatch(r"[ (]*\+?[^+]*", text):
        raise PhoneNumberError("The + belongs at the beginning.")


def _refuse_decimal(text: str) -> None:
    """Refuse `+491512345678.0`: a spreadsheet's decimal, whose last digit is none of the number."""
    before, dot, decimals = re.sub(r"[ ()\-/~]", "", text).rpartition(".")
    if not dot or not decimals.isdecimal():
        return
    is_plain = re.fullmatch(r"\+?[0-9]{7,}", before)
    is_decimal = "." not in before and (len(decimals) == 2 or not decimals.strip("0") or is_plain)
    if len(decimals) == 1 or is_decimal:
        raise PhoneNumberError(_DECIMAL)


def _read_vanity(text: str, accepts_vanity: bool) -> str:
    compact = _SEPARATORS.sub("", text)
    vanity = _VANITY.fullmatch(compact)
    is_north_american = accepts_vanity or compact.startswith("+1")
    if vanity is None or not is_north_american:
        has_lone_o = re.search(r"(?<![^\W\d_])O+(?![^\W\d_])", text, re.I)
        raise PhoneNumberError(_LETTER_O_TYPED if has_lone_o else _LETTERS)
    letters = (vanity["last"] or vanity["all"]).upper()
    if set(letters) <= _DIGIT_LIKE:
        raise PhoneNumberError(_LETTER_O_TYPED if "O" in letters else _LETTERS)
    return phonenumbers.convert_alpha_characters_in_number(compact)


def _compact_beginnings(separator: str, text: str) -> tuple[str, ...]:
    positions = (match.start() for match in re.finditer(separator, text))
    return tuple(compact for position in positions if (compact := _compact(text[:position])))


def _compact(text: str) -> str:
    return _SEPARATORS.sub("", _BRACKETED_ZERO.sub("o", text))
