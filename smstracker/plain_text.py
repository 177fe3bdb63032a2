"""Plain characters for costly ones: the one table, which compose.js gets with the page. Pure."""

# The same text to a reader's eye: quotes, dashes, dots and blanks. All of GSM-7.
LOOK_ALIKE = (
    dict.fromkeys("\u2018\u2019\u201a\u201b\u2032`\u00b4\u02bc", "'")
    | dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"')
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-")
    | dict.fromkeys("\u00a0\u2002\u2003\u2007\u2009\u200a\u202f\u3000\t", " ")
    | {"\u2026": "...", "\u2022": "*", "\u2044": "/", "\u2039": "<", "\u203a": ">"}
    # Joiners (\u200c, \u200d) stay: they shape letters and hold emoji together.
    | dict.fromkeys("\u00ad\u200b\u2060\ufeff", "")
)
# Another spelling, so it is offered letter by letter and never replaced with all the rest.
SPELLING = dict(
    zip(
        "áâãçêëíîïóôõúûÿýÁÂÃÀÈÊËÍÎÏÌÓÔÕÒÚÛÙŸÝčďěňřšťžůąćęłńśźżőűşğıășț",
        "aaaceeiiiooouuyyAAAAEEEIIIIOOOOUUUYYcdenrstzuacelnszzousgiast",
        strict=True,
    )
)
PLAIN = {"lookAlike": LOOK_ALIKE, "spelling": SPELLING}
_TRANSLATION = str.maketrans(LOOK_ALIKE)


def plain(text: str) -> str:
    """`text` with plain characters that look alike; spelling and emoji stay as they are."""
    return text.translate(_TRANSLATION)
