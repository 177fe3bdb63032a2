"""Checks of several settings at once: demo mode beside real settings, settings without effect."""

import re
from urllib.parse import urlsplit

from smstracker.settings.addresses import is_loopback, parse_base_url
from smstracker.settings.placeholders import PLACEHOLDER, is_example, is_placeholder
from smstracker.settings.reader import Reader
from smstracker.settings.twilio import AUTH_TOKENS
from smstracker.settings.value_files import SUFFIX

# Settings of a real installation only: a demo that has one has lost its credentials.
REAL_SETTINGS = (
    *("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"),
    *("TWILIO_PHONE_NUMBER", "TWILIO_MESSAGING_SERVICE_SID"),
    *("TWILIO_AUTH_TOKEN_SECONDARY", "TWILIO_AUTH_TOKEN_FORMER"),
    *("TWILIO_SUBACCOUNT_TOKENS", "TWILIO_WEBHOOK_KEYS", "TWILIO_API_BASE_URL"),
    *("MAIL_SERVER", "SIGN_IN_ALLOW"),
)
_UNCHECKED_SETTINGS = (
    *AUTH_TOKENS,
    *("TWILIO_SUBACCOUNT_TOKENS", "TWILIO_WEBHOOK_KEYS", "MAIL_SERVER"),
)


def refuse_real_settings(reader: Reader) -> None:
    """Refuse demo mode, which admits everybody, where a real installation lost its credentials."""
    if not reader.demo:
        return
    names = [name + suffix for name in REAL_SETTINGS for suffix in (SUFFIX, "")]
    # Read from its file, a setting has a value too.
    signs = [
        f"{name} is set" for name in names if reader.text(name) and not reader.text(name + SUFFIX)
    ]
    reported = " ".join(reader.problems)
    signs += [
        f"{name} has a value in .env"
        for name in names
        if _has_value(reader.file_text, name) and not (reader.text(name) or name in reported)
    ]
    base = parse_base_url(reader.text("PUBLIC_BASE_URL") or "")
    if base and not is_loopback(urlsplit(base).hostname or ""):
        signs.append("PUBLIC_BASE_URL is not this machine")
    if signs:
        text = f"{', '.join(signs[:-1])} and {signs[-1]}" if signs[1:] else signs[0]
        reader.problem(
            "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN",
            f"not set, but this looks like a real installation: {text}. Set both, or try the demo "
            "without these settings and with a database of its own",
        )


def _has_value(file_text: str, name: str) -> bool:
    """Whether a name has a value anywhere in the file but in a comment.

    Also where nothing reads it: behind a prefix, in a line that was joined to another or swallowed
    by an open quote, or hidden by an empty value in the environment.
    """
    lines = re.split(r"\n|\\n", file_text)
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    return re.search(rf"{name}[ \t]*[:=][ \t]*[\"']?[^\s\"'#]", text) is not None


def refuse_ineffective_settings(reader: Reader) -> None:
    """Refuse settings without effect: a placeholder, or a setting that another one overrides."""
    for name in _UNCHECKED_SETTINGS:
        if any(is_placeholder(part) for part in reader.words(name)):
            reader.problem(name, PLACEHOLDER)
    for name in ("MAIL_USERNAME", "MAIL_PASSWORD"):
        if is_example(reader.text(name) or ""):
            reader.problem(name, PLACEHOLDER)
    if reader.demo:
        return
    for name in ("TWILIO_EDGE", "TWILIO_REGION"):
        # A configured address is never rewritten.
        if reader.text(name) and reader.text("TWILIO_API_BASE_URL"):
            reader.problem(name, "does nothing beside TWILIO_API_BASE_URL; remove one of them")
    for name in ("MAIL_USERNAME", "MAIL_PASSWORD"):
        if reader.text(name) and not reader.text("MAIL_SERVER"):
            reader.problem("MAIL_SERVER", f"required, because {name} is set")
            break
