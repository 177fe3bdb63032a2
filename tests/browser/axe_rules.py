"""The rules of axe, and no page that scrolls sideways."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

# To name each element that keeps a rule takes axe longer than all else.
FAULTS_ONLY = {"resultTypes": ["violations"]}
# Targets of 24 pixels are a rule of WCAG 2.2 that axe skips by default.
ALL_RULES = FAULTS_ONLY | {"rules": {"target-size": {"enabled": True}}}
# The rules whose result depends on the colour scheme or the width.
STYLE_RULE_NAMES = ["color-contrast", "target-size", "scrollable-region-focusable"]
RULES_OF_STYLE = FAULTS_ONLY | {"runOnly": STYLE_RULE_NAMES}


def examine(page: Page, where: str, rules: dict[str, object], part: str | None = None) -> None:
    """Find no fault by the rules in a page, or in the part that a selector names."""
    report = Axe().run(page, context=part, options=rules)
    assert report.violations_count == 0, f"{where}\n{report.generate_report()}"
    wide = page.evaluate(
        "document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth"
    )
    assert wide <= 0, f"{where} scrolls sideways by {wide} pixels"
