"""Segments, compared with Twilio's own calculator."""

import pytest

from smstracker.sms.segments import count_segments


@pytest.mark.parametrize(
    ("text", "encoding", "count", "units"),
    [
        ("", "GSM-7", 0, 0),
        ("a" * 160, "GSM-7", 1, 160),
        ("a" * 161, "GSM-7", 2, 161),
        ("a" * 306, "GSM-7", 2, 306),
        ("a" * 307, "GSM-7", 3, 307),
        ("€" * 80, "GSM-7", 1, 160),
        ("€" * 81, "GSM-7", 2, 162),
        # An escaped character is not split: 153 septets hold 76 of them, not 76 and a half.
        ("€" * 153, "GSM-7", 3, 306),
        ("é" * 160, "GSM-7", 1, 160),
        ("ê" * 70, "UCS-2", 1, 70),
        ("ê" * 71, "UCS-2", 2, 71),
        ("😀" * 35, "UCS-2", 1, 70),
        # Nor is a surrogate pair: 67 code units hold 33 of them.
        ("😀" * 67, "UCS-2", 3, 134),
        ("ê" + "a" * 134, "UCS-2", 3, 135),
    ],
)
def test_segments(text: str, encoding: str, count: int, units: int) -> None:
    segments = count_segments(text)
    assert (segments.encoding, segments.count, segments.units) == (encoding, count, units)


@pytest.mark.parametrize(
    ("sender", "gsm", "ucs"),
    [
        ("+18005550100", 304, 132),
        ("+18885550100", 304, 132),
        ("+18015550100", 306, 134),
        ("+4980055501000", 306, 134),
        ("MG" + "1" * 32, 306, 134),
        (None, 306, 134),
    ],
)
def test_each_of_several_segments_from_a_toll_free_number_has_one_less(
    sender: str | None, gsm: int, ucs: int
) -> None:
    assert count_segments("a" * 160, sender).count == count_segments("ж" * 70, sender).count == 1
    for letter, capacity in (("a", gsm), ("ж", ucs)):
        counted = [count_segments(letter * length, sender) for length in (capacity, capacity + 1)]
        assert [segments.count for segments in counted] == [2, 3]
        assert counted[0].capacity == capacity


def test_each_costly_character_is_listed_once() -> None:
    assert count_segments("“Café” ça va ✓✓").costly == ("ç", "“", "”", "✓")


@pytest.mark.parametrize("text", ["Ç", "[]{}^~|\\€", "ÄÖÑÜ§¿äöñüà", "\n\r\f"])
def test_gsm_characters_keep_gsm_7(text: str) -> None:
    assert count_segments(text).encoding == "GSM-7"


@pytest.mark.parametrize("text", ["ç", "`", "’", "\t", "\u200b", "e\u0301"])
def test_other_characters_force_ucs_2(text: str) -> None:
    assert count_segments(text).encoding == "UCS-2"
