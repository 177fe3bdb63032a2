"""Names of a browser and its operating system, for the sign-in mail. Pure.

The User-Agent header is untrusted text, so the mail quotes none of it, only names from here.
"""

# The first mark in the header decides, as most browsers also claim to be others.
BROWSER_MARKS = {
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
SYSTEM_MARKS = {
    "Android": "Android",
    "iPhone": "iPhone",
    "iPad": "iPad",
    "CrOS": "ChromeOS",
    "Windows": "Windows",
    "Macintosh": "macOS",
    "Linux": "Linux",
}


def name_browser(user_agent: str) -> str:
    """A name such as "Firefox on Linux", or "an unknown browser"."""
    marks = BROWSER_MARKS.items()
    browser = next((name for mark, name in marks if mark in user_agent), "an unknown browser")
    system = next((name for mark, name in SYSTEM_MARKS.items() if mark in user_agent), None)
    return f"{browser} on {system}" if system else browser
