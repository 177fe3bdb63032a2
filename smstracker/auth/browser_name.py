"""A browser and its system by name, for the sign-in mail. Pure.

A User-Agent header is a stranger's text, so none of it is quoted: the words come from here.
"""

# The first that is contained counts: most browsers also claim to be others.
BROWSERS = {
    "Edg": "Edge",
    "OPR/": "Opera",
    "SamsungBrowser/": "Samsung Internet",
    "Vivaldi/": "Vivaldi",
    "Firefox/": "Firefox",
    "FxiOS/": "Firefox",
    "CriOS/": "Chrome",
    "Chrome/": "Chrome",
    "Chromium/": "Chrome",
    "Safari/": "Safari",
}
SYSTEMS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "CrOS": "ChromeOS",
    "Windows": "Windows",
    "Macintosh": "macOS",
    "Linux": "Linux",
}


def browser_name(user_agent: str) -> str:
    """Such as "Firefox on Linux", or "an unknown browser"."""
    browser = next((name for part, name in BROWSERS.items() if part in user_agent), None)
    system = next((name for part, name in SYSTEMS.items() if part in user_agent), None)
    named = browser or "an unknown browser"
    return f"{named} on {system}" if system else named
