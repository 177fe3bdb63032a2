"""Names that seem to be meant for us and that nothing reads: misspelt, or another program's."""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from smstracker.settings.value_files import SUFFIX, file_names

# Of the contract, but not read yet. Nobody shall rely on what they promise, such as privacy.
RESERVED = frozenset({"TEAM_LOG"})
# In `.env` no name that begins so is another program's.
_OUR_PREFIXES = ("TWILIO_", "MAIL_", "MAILER_", "SMTP_", "EMAIL_", "SIGN_IN_")
# But these are of Twilio's own tools and other products, which may share the file.
_OTHER_TWILIO_PREFIXES = ("TWILIO_API_KEY", "TWILIO_API_SECRET", "TWILIO_VERIFY_", "TWILIO_TEST_")
OTHER_NAMES = tomllib.loads(Path(__file__).with_name("other_names.toml").read_text("utf-8"))
# Other programs read these too, so in the environment only a typo of a letter counts.
_SHARED_PREFIXES = ("MAIL_", "WEB_")
_SHARED_NAMES = {
    *("SECRET_KEY", "DATABASE_URL", "BIND_ADDRESS", "DEFAULT_REGION", "PORT", "TEAM_LOG"),
    *("SIMULATOR_PORT", "METRICS_TOKEN", "SENTRY_DSN", "HEARTBEAT_URL"),
}
MIN_GUESS_LENGTH = 8
MIN_SIMILARITY = 0.85


def find_unread_names(
    file: Mapping[str, str | None], env: Mapping[str, str | None], settings: frozenset[str]
) -> Iterator[str]:
    """Report each name that is meant for us, or seems to be, and that nothing reads."""
    unset = RESERVED | {name for name in settings if not (env.get(name) or "").strip()}
    read_names = settings | file_names(settings)
    for name in sorted(env):
        if name in read_names or not (env[name] or "").strip():
            continue
        guess = _guess_from_file if name in file else _guess_from_environment
        normalized = _normalize_name(name)
        setting = guess(normalized.removesuffix(SUFFIX), settings, unset)
        meant = f"{setting}{SUFFIX}" if normalized.endswith(SUFFIX) else setting
        if setting in RESERVED:
            yield f"{name}: is not read in this version; remove it"
        elif setting and not name.isascii():
            yield f"{meant}: its name has a foreign or hidden character; type it anew"
        elif setting:
            yield f"{name}: unknown; is {meant} meant?"
        elif (
            name in file
            and normalized.startswith(_OUR_PREFIXES)
            and not normalized.startswith(_OTHER_TWILIO_PREFIXES)
        ):
            yield f"{name}: unknown, so nothing reads it; .env.example lists the settings"


def _normalize_name(name: str) -> str:
    # Pasted names may begin with a character that cannot be seen.
    normalized = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    # SMSTRACKER_PORT is docker compose's.
    return re.sub(r"^SMSTRACKER_(?=[A-Z0-9]+_)", "", normalized)


def _guess_from_file(name: str, settings: frozenset[str], unset: frozenset[str]) -> str | None:
    """Return the setting that a name in `.env` means: misspelt, or another program's."""
    if name in settings | RESERVED:
        return name
    other = _find_other_name(name)
    return other if other in unset else _find_similar(name, settings | RESERVED)


def _guess_from_environment(
    name: str, settings: frozenset[str], unset: frozenset[str]
) -> str | None:
    """Return the unset setting that a name in the environment misspells."""
    if name in unset and len(name) >= MIN_GUESS_LENGTH:
        return name
    if _find_other_name(name):
        return None
    return _find_similar(name, filter(lambda setting: _may_be_misspelt(name, setting), unset))


def _find_other_name(name: str) -> str | None:
    matches = (setting for setting, names in OTHER_NAMES.items() if re.fullmatch(names, name))
    return next(matches, None)


def _is_shared(setting: str) -> bool:
    return setting.startswith(_SHARED_PREFIXES) or setting in _SHARED_NAMES


def _may_be_misspelt(name: str, setting: str) -> bool:
    """Exclude what may be another program's: other letters make another word, or a plural."""
    has_same_shape = name[:1] == setting[0] and name.count("_") == setting.count("_")
    return not _is_shared(setting) or (
        has_same_shape and _count_differences(name, setting) in ((0, 0), (0, 1))
    )


def _count_differences(name: str, setting: str) -> tuple[int, int]:
    """Count the letters that a name has beyond a setting's, and those that it lacks."""
    added = (Counter(name) - Counter(setting)).total()
    return added, len(setting) - len(name) + added


def _find_similar(name: str, settings: Iterable[str]) -> str | None:
    """Return the setting with the same letters, or with almost the same in almost their order."""
    if len(name) < MIN_GUESS_LENGTH:
        return None
    near = []
    for setting in sorted(settings):
        added, missing = _count_differences(name, setting)
        if added == missing == 0:
            return setting
        if added <= 1 and missing <= 3:
            near.append(setting)
    return next(iter(get_close_matches(name, near, 1, MIN_SIMILARITY)), None)
