"""Names of regions, from IANA's time zone database, which is a dependency already."""

import re
from functools import cache
from importlib.resources import files

# Names that the table lacks, or that most people call differently.
_OTHER_NAMES = {
    "GB": "United Kingdom",
    "XK": "Kosovo",
    "AC": "Ascension Island",
    "TA": "Tristan da Cunha",
}
# One numbering plan: nobody can tell their numbers apart.
_SHARED_PLAN = dict.fromkeys(("US", "CA"), "the United States or Canada")
_WITH_ARTICLE = re.compile(
    r"(United|Netherlands|Philippines|Bahamas|Gambia|Maldives|Comoros|Seychelles|Vatican)\b.*"
    r"|.* (Islands|Republic|Rep\.)"
)


@cache
def region_names() -> dict[str, str]:
    """Return the names of all regions by their two-letter codes."""
    table = files("tzdata").joinpath("zoneinfo/iso3166.tab").read_text("utf-8")
    rows = (line.split("\t", 1) for line in table.splitlines() if not line.startswith("#"))
    return dict(rows) | _OTHER_NAMES


def region_in_a_sentence(region: str) -> str:
    """Return a region as it follows "in" or "of": "Germany", "the United States or Canada"."""
    name = region_names().get(region, region)
    return _SHARED_PLAN.get(region) or (f"the {name}" if _WITH_ARTICLE.fullmatch(name) else name)
