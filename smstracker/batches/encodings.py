"""The encoding of a file that does not name it: found by what the letters of its words would be."""

import re
from collections.abc import Mapping

from charset_normalizer import from_bytes

# What spreadsheets store in, as people know it.
OLD_ENCODINGS: Mapping[str, str] = {
    "cp1252": "Western European (Windows-1252)",
    "cp1250": "Central European (Windows-1250)",
    "cp1254": "Turkish (Windows-1254)",
    "cp1251": "Cyrillic (Windows-1251)",
    "cp1253": "Greek (Windows-1253)",
    "cp1255": "Hebrew (Windows-1255)",
    "cp1256": "Arabic (Windows-1256)",
    "cp932": "Japanese (Shift JIS)",
    "gb18030": "Chinese (GB 18030)",
    "big5": "Chinese (Big5)",
    "cp949": "Korean (CP949)",
    "mac_roman": "Western European (Macintosh)",
    "cp850": "Western European (DOS)",
}
# Letters beyond a to z, by language.
_WESTERN = (
    *("äöüß", "àâçèéêëîïôùûüœ", "áéíóúñü", "áâãàçéêíóôõúü", "àèéìíòóù", "æøåéäöü", "åäöéü"),
    *("áéëèïóöü", "áðéíóúýþæö", "àçèéíïòóúü"),
)
_CENTRAL = (
    *("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "čćđšž", "ăâîşţ"),
    "äöüß",
)
_LATIN: Mapping[str, tuple[str, ...]] = {
    "cp1252": _WESTERN,
    "cp1250": _CENTRAL,
    "cp1254": ("âçğıîöşüûİ", "äöüß"),
    "mac_roman": _WESTERN,
    "cp850": _WESTERN,
}
_WORD = re.compile(r"[A-Za-z\x80-\U0010ffff]+")
# Around words; a currency, a quotation mark, a space that does not break.
_SIGNS = "\xa0€£§°–—…„“”‚‘’«»•·¿¡®©™²³½¼"
_INNER_SIGNS = str.maketrans("", "", "’·\xa0")
# Places where these letters do not stand, so that they are those of another encoding.
_MISPLACED = re.compile(
    r"õ(?!e)|ã(?![oesi]|$)|ñ(?![aeiouáéíóú])|œ(?!u)|[ìù]\w|(?<=\w)þ|ý$|iæ|^[^\W\d_a-zàéèóåöæø]$",
    re.I,
)
_LEAST_SHARE = 0.5  # of plausible words; below it, the words are of another script
# By which another encoding has to be better than that of most spreadsheets.
_MARGIN = 0.2


def guess_encoding(sample: bytes) -> str:
    """Return the encoding of lines that have letters beyond ASCII; Windows-1252 in doubt."""
    shares = {name: _plausible_share(sample, name) for name in _LATIN}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] < _LEAST_SHARE:
        rarer = [name for name in OLD_ENCODINGS if name not in _LATIN]
        match = from_bytes(sample, cp_isolation=rarer).best()
        return match.encoding if match and match.encoding in rarer else "cp1252"
    return best if shares[best] > shares["cp1252"] + _MARGIN else "cp1252"


def _plausible_share(sample: bytes, encoding: str) -> float:
    """The share of the words with other letters that some language of an encoding would have."""
    try:
        text = sample.decode(encoding)
    except UnicodeDecodeError:
        return 0.0
    words = [word for word in _WORD.findall(text) if not word.isascii()]
    alphabets = [frozenset(letters + letters.upper()) for letters in _LATIN[encoding]]
    count = sum(_is_plausible(word, alphabets) for word in words)
    return count / len(words) if words else 0.0


def _is_plausible(word: str, alphabets: list[frozenset[str]]) -> bool:
    letters = word.strip(_SIGNS).translate(_INNER_SIGNS)
    beyond = [letter for letter in letters if not letter.isascii()]
    if not letters.isalpha() and letters:
        return False
    if len(beyond) * 2 > max(len(letters), 4) or _MISPLACED.search(letters):
        return False
    return not _has_lone_capital(letters) and any(a.issuperset(beyond) for a in alphabets)


def _has_lone_capital(word: str) -> bool:
    """Whether a letter beyond ASCII is a capital among small ones, as in "JosŽ"."""
    return any(
        letter.isupper()
        and not letter.isascii()
        and (word[at - 1].islower() or word[at + 1 : at + 2].islower())
        for at, letter in enumerate(word)
        if at
    )
