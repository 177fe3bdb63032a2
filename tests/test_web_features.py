"""Styles and scripts use what the current and the previous version of each engine have."""

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

import smstracker

STATIC = Path(smstracker.__file__).parent / "static"

# The versions before the current ones of November 2026; Safari 26 comes after 18.
PREVIOUS = {"Chromium": 155, "Firefox": 152, "Safari": 18}

# What all three have had since 2020 or longer.
OLD_NAMES = """
@media @supports
::after ::before :empty :first-child :first-of-type :focus :focus-within :hover :last-child :not
:root :target
calc() inset() linear-gradient() minmax() repeat() rgb() var()
em fr px rem s vh vw
max-width min-height min-width pointer
align-items align-self background background-attachment background-image background-repeat
background-size border border-bottom border-color border-inline-start border-left border-radius
border-top bottom box-shadow break-inside clip-path color color-scheme column-gap columns content
cursor direction display fill flex flex-basis flex-direction flex-wrap font-family font-size
font-variant-numeric font-weight gap grid-area grid-column grid-row grid-template
grid-template-columns height justify-content left letter-spacing line-height list-style margin
margin-bottom margin-inline-end margin-inline-start margin-left margin-right margin-top max-height
opacity outline outline-offset overflow overflow-wrap overflow-x padding padding-inline-start
padding-top position scroll-margin-top stroke stroke-width text-align text-decoration
text-decoration-color text-decoration-thickness text-indent text-overflow text-underline-offset top
transform user-select vertical-align visibility white-space width z-index
"""
# The first version of Chromium, Firefox and Safari.
STYLES: Mapping[str, tuple[int, int, float]] = {
    "::-webkit-datetime-edit-*": (0, 0, 15),  # within @supports that only WebKit fulfils
    "-webkit-nbsp-mode": (0, 0, 3),  # the same
    ":focus-visible": (86, 85, 15.4),
    ":has": (105, 121, 15.4),
    ":is": (88, 78, 14),
    ":where": (88, 78, 14),
    "-webkit-text-fill-color": (1, 49, 3),
    "block-size": (57, 41, 12.1),
    "color-mix()": (111, 113, 16.2),
    "content-visibility": (85, 125, 18),
    "forced-colors": (89, 81, 16),
    "inset": (87, 66, 14.1),
    "inset-inline": (87, 63, 14.1),
    "inset-inline-start": (87, 63, 14.1),
    "lh": (109, 120, 16.4),
    "light-dark()": (123, 120, 17.5),
    "margin-block": (87, 66, 14.1),
    "margin-inline": (87, 66, 14.1),
    "oklch()": (131, 133, 18),  # from currentColor
    "padding-block": (87, 66, 14.1),
    "padding-inline": (87, 66, 14.1),
    "print-color-adjust": (136, 97, 15.4),
    "scripting": (120, 113, 17),
    "scroll-margin-block": (69, 68, 15),
    "text-wrap": (114, 121, 17.4),
}
# What an engine may lack, and what happens then.
HARMLESS_STYLES = {
    "::details-content": "the figures are not printed unless they are open",
    "field-sizing": "a text area does not grow",
    "forced-color-adjust": "Safari has no forced colours",
}
SCRIPTS: Mapping[str, tuple[int, int, float]] = {
    r"\?\?=|\|\|=": (85, 79, 14),
    r"\.replaceAll\(": (85, 77, 13.1),
    r"\.replaceChildren\(": (86, 78, 14),
    r"\.toggleAttribute\(": (69, 63, 12),
    r"\.showModal\(": (37, 98, 15.4),
    r"Object\.hasOwn\(": (93, 92, 15.4),
    r"Object\.fromEntries\(": (73, 63, 12.1),
    r"\bBroadcastChannel\b": (54, 38, 15.4),
    r"navigator\.locks": (69, 96, 15.4),
    r"\.at\(": (92, 90, 15.4),
    r"AbortSignal\.timeout\(": (103, 100, 16),
    r"\p\{M\}": (64, 78, 11.1),
}
# What an engine lacked in its previous version, or has in a secure context only.
TOO_YOUNG = (
    r"\b(Temporal|URLPattern|CloseWatcher|cookieStore|scheduler|trustedTypes)\b",
    r"\b(requestIdleCallback|startViewTransition|crypto\.randomUUID)\b",
    r"\b(Iterator|RegExp\.escape|Promise\.try|getOrInsert|Math\.sumPrecise)\b",
    r"\b(showPopover|togglePopover|moveBefore|setHTML)\(",
    r"\bimport\b[^;]*\bwith\b|\b(using|await using) [a-z]",
)


def read_styles() -> str:
    text = (STATIC / "app.css").read_text()
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def read_scripts() -> dict[str, str]:
    """The scripts by their names, without comments."""
    scripts = {path.name: path.read_text() for path in STATIC.glob("*.js")}
    return {name: re.sub(r"(?m)(^|\s)//.*$", "", text) for name, text in scripts.items()}


def style_names() -> set[str]:
    """What the styles use: rules, conditions, selectors, properties, functions and units."""
    styles = read_styles()
    heads = [head.strip() for head in re.findall(r"[^{};]+(?=\{)", styles)]
    conditions = " ".join(head for head in heads if head.startswith("@"))
    selectors = " ".join(head for head in heads if not head.startswith("@"))
    bodies = re.findall(r"[^{}]+(?=\})", styles)
    names = set(re.findall(r"@[a-z-]+", conditions))
    names |= set(re.findall(r"\(([a-z-]+):", conditions))
    names |= set(re.findall(r"::?[a-z-]+", selectors))
    names |= set(re.findall(r"[{;]\s*(-?[a-z][a-z-]*)\s*:", styles))
    names |= {f"{name}()" for name in re.findall(r"(?<![:\w-])([a-z][a-z-]+)\(", " ".join(bodies))}
    names |= set(re.findall(r"(?<![\w#-])[\d.]*\d([a-z]+)\b", styles))
    return {re.sub(r"^(::-webkit-datetime-edit-).*", r"\1*", name) for name in names}


def test_styles_use_what_two_versions_of_each_engine_have() -> None:
    known = {*OLD_NAMES.split(), *STYLES, *HARMLESS_STYLES}
    names = style_names()
    assert sorted(names - known) == [], "Name the versions that brought it."
    assert sorted({*STYLES, *HARMLESS_STYLES} - names) == []


@pytest.mark.parametrize("table", [STYLES, SCRIPTS])
def test_what_is_used_is_old_enough(table: Mapping[str, tuple[float, ...]]) -> None:
    previous = PREVIOUS.values()
    young = [
        name
        for name, versions in table.items()
        if any(since > version for since, version in zip(versions, previous, strict=True))
    ]
    assert young == []


@pytest.mark.parametrize("pattern", TOO_YOUNG)
def test_scripts_use_nothing_too_young(pattern: str) -> None:
    assert [name for name, text in read_scripts().items() if re.search(pattern, text)] == []


def test_lines_are_never_wrapped_prettily() -> None:
    """WebKit crashes of `pretty` where line breaks are kept."""
    assert not re.search(r"text-wrap[a-z-]*:\s*pretty", read_styles())
