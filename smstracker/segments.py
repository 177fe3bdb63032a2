"""How a text is split into SMS segments: 3GPP TS 23.038 as Twilio applies it. Pure."""

from dataclasses import dataclass

GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED = frozenset("\f^{}\\[~]|€")


@dataclass(frozen=True, slots=True)
class Segments:
    """`units` are septets in GSM-7 and UTF-16 code units in UCS-2; `costly` forced UCS-2."""

    encoding: str
    count: int
    units: int
    costly: tuple[str, ...]


def count_segments(text: str) -> Segments:
    """The segments of `text`. Twilio's own `num_segments` is the truth; this is the forecast.

    A pair (an escaped GSM character, a surrogate pair) is never split over two segments, so a
    division by the segment size would count too few.
    """
    costly = tuple(sorted({c for c in text if c not in GSM_BASIC and c not in GSM_EXTENDED}))
    if costly:
        sizes, single, multi = [2 if ord(c) > 0xFFFF else 1 for c in text], 70, 67
    else:
        sizes, single, multi = [2 if c in GSM_EXTENDED else 1 for c in text], 160, 153
    units = sum(sizes)
    count = int(bool(text)) if units <= single else _filled(sizes, multi)
    return Segments("UCS-2" if costly else "GSM-7", count, units, costly)


def _filled(sizes: list[int], capacity: int) -> int:
    count, used = 1, 0
    for size in sizes:
        if used + size > capacity:
            count, used = count + 1, 0
        used += size
    return count
