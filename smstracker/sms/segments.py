"""SMS segments of a text: 3GPP TS 23.038 as Twilio applies it. Pure."""

import re
from dataclasses import dataclass

GSM_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_EXTENDED = frozenset("\f^{}\\[~]|€")
GSM = GSM_BASIC | GSM_EXTENDED
# Units in a single segment, and in each of several.
CAPACITY = {"GSM-7": (160, 153), "UCS-2": (70, 67)}
# Each of several segments from a toll-free number, which sends to the US and Canada, has one less.
TOLL_FREE = r"^\+18(00|33|44|55|66|77|88)\d{7}$"
SEGMENT_TABLES: dict[str, object] = {
    "basic": "".join(sorted(GSM_BASIC)),
    "extended": "".join(sorted(GSM_EXTENDED)),
    "capacity": CAPACITY,
    "tollFree": TOLL_FREE,
}


@dataclass(frozen=True, slots=True)
class Segments:
    """`units`: septets in GSM-7, UTF-16 code units in UCS-2; `costly` characters forced UCS-2.

    `capacity`: the units that fit into `count` segments.
    """

    encoding: str
    count: int
    units: int
    costly: tuple[str, ...]
    capacity: int


def is_gsm(text: str) -> bool:
    """Check that GSM-7 has every character of `text`."""
    return GSM.issuperset(text)


def count_segments(text: str, sender: str | None = None) -> Segments:
    """Forecast the segments of `text` from a sender; Twilio's own `num_segments` is authoritative.

    A pair (escaped GSM character, surrogate pair) is never split over two segments, so dividing
    by the segment size would count too few.
    """
    costly = tuple(sorted({c for c in text if c not in GSM}))
    encoding = "UCS-2" if costly else "GSM-7"
    single, multi = CAPACITY[encoding]
    multi -= bool(re.match(TOLL_FREE, sender or ""))
    sizes = [2 if (ord(c) > 0xFFFF if costly else c in GSM_EXTENDED) else 1 for c in text]
    units = sum(sizes)
    count = int(bool(text)) if units <= single else _count_filled(sizes, multi)
    capacity = single if count <= 1 else multi * count
    return Segments(encoding, count, units, costly, capacity)


def _count_filled(sizes: list[int], capacity: int) -> int:
    count, used = 1, 0
    for size in sizes:
        if used + size > capacity:
            count, used = count + 1, 0
        used += size
    return count
