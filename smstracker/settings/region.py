"""The region of phone numbers that are typed without a country code."""

from smstracker.settings.reader import parsed


def _parse_region(raw: str) -> str | None:
    import phonenumbers  # loaded with the first number: most commands read none

    return raw.upper() if raw.upper() in phonenumbers.SUPPORTED_REGIONS else None


read_region = parsed(
    "US", _parse_region, "a two-letter region such as US, or GB for the United Kingdom"
)
