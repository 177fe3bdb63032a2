"""Names that seem to be meant for us and that nothing reads: misspelt, or another program's."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from smstracker.settings import spelling

# Of the contract, but not read yet. Nobody shall rely on what they promise, such as privacy.
OFTEN_SET = frozenset({"HEARTBEAT_URL", "METRICS_TOKEN", "SENTRY_DSN"})
RESERVED = OFTEN_SET | {
    *("ALERT_EMAIL", "ALERT_WEBHOOK_SECRET", "ALERT_WEBHOOK_URL", "KEEP_MESSAGE_DAYS"),
    *("KEEP_TEXT_DAYS", "REDACT_AT_TWILIO", "SEND_PER_SECOND", "TEAM_LOG"),
}
# In `.env` every name is meant for us; the environment also has names of other programs.
FILE_SIMILARITY, ENVIRONMENT_SIMILARITY = 0.85, 0.8
MIN_GUESS_LENGTH = 7
# In `.env` no name that begins so is another program's.
_OUR_PREFIXES = ("TWILIO_", "MAIL_", "MAILER_", "SMTP_", "EMAIL_", "SIGN_IN_")
# But these are of Twilio's own tools and other products, which may share the file.
_OTHER_TWILIO_PREFIXES = ("TWILIO_API_KEY", "TWILIO_API_SECRET", "TWILIO_VERIFY_", "TWILIO_TEST_")
# Other programs' names for our settings: wrong in `.env`, legitimate in the environment.
_MAIL_WORDS = {
    "MAIL_SERVER": "HOST HOSTNAME SERVER SMTP SMTP_HOST SMTP_SERVER RELAY",
    "MAIL_PORT": "PORT SMTP_PORT",
    "MAIL_USERNAME": "USER USERNAME LOGIN HOST_USER SMTP_USER",
    "MAIL_PASSWORD": "PASS PASSWD PASSWORD HOST_PASSWORD SMTP_PASSWORD",
    "MAIL_USE_TLS": "TLS STARTTLS USE_TLS USE_STARTTLS ENCRYPTION",
    "MAIL_USE_SSL": "SSL USE_SSL SECURE",
    "MAIL_DEFAULT_SENDER": "FROM FROM_ADDRESS FROM_EMAIL FROM_NAME SENDER DEFAULT_FROM",
}
_DATABASES = "DATABASE DB PG POSTGRES POSTGRESQL SQLITE SQLALCHEMY SQLALCHEMY_DATABASE"
_OTHER_WORDS = {
    "BIND_ADDRESS": "BIND BIND_HOST HOST LISTEN LISTEN_ADDRESS",
    "DEFAULT_REGION": "DEFAULT_COUNTRY DEFAULT_COUNTRY_CODE PHONE_REGION PHONENUMBER_REGION "
    "PHONE_DEFAULT_REGION PHONENUMBER_DEFAULT_REGION",
    "MAIL_DEFAULT_SENDER": "DEFAULT_FROM_EMAIL DEFAULT_MAIL_SENDER FROM_EMAIL SENDER_EMAIL "
    "MAILER_EMAIL MAILER_SENDER_EMAIL",
    "MAIL_SERVER": "SMTP_ADDRESS",
    "PUBLIC_BASE_URL": "BASE_URL PUBLIC_URL SITE_URL APP_URL EXTERNAL_URL",
    "SECRET_KEY": "FLASK_SECRET_KEY APP_SECRET APP_SECRET_KEY SESSION_SECRET",
    "SIGN_IN_ALLOW": "ALLOWED_EMAILS ALLOWED_DOMAINS ALLOWED_EMAIL_DOMAINS ALLOWED_USERS",
    "TRUSTED_PROXIES": "NUM_PROXIES PROXY_COUNT TRUST_PROXY TRUST_PROXIES TRUSTED_PROXY_COUNT",
    "TWILIO_ACCOUNT_SID": "TWILIO_SID",
    "TWILIO_MESSAGING_SERVICE_SID": "TWILIO_SERVICE_SID TWILIO_MESSAGING_SID",
    "TWILIO_PHONE_NUMBER": "TWILIO_FROM TWILIO_FROM_NUMBER TWILIO_NUMBER TWILIO_SENDER "
    "TWILIO_SMS_FROM TWILIO_SENDER_NUMBER TWILIO_SENDER_ID TWILIO_FROM_PHONE_NUMBER "
    "TWILIO_CALLER_ID",
}
_OTHER_NAMES = {name: setting for setting, names in _OTHER_WORDS.items() for name in names.split()}
_OTHER_NAMES |= {
    f"{family}_{word}": setting
    for families, settings in (
        ("MAIL EMAIL SMTP MAILER", _MAIL_WORDS),
        (_DATABASES, {"DATABASE_URL": "URL URI DSN HOST CONNECTION_STRING"}),
    )
    for setting, words in settings.items()
    for word in words.split()
    for family in families.split()
}
# Other programs read these too, so in the environment only a typo of a letter counts.
_SHARED_NAMES = OFTEN_SET | {
    *("SECRET_KEY", "DATABASE_URL", "BIND_ADDRESS", "DEFAULT_REGION", "PORT", "TEAM_LOG")
}


def find_unread_names(
    file: Mapping[str, str | None], env: Mapping[str, str | None], settings: frozenset[str]
) -> Iterator[str]:
    """Report each name that is meant for us, or seems to be, and that nothing reads."""
    unset = {name for name in settings | RESERVED if not (env.get(name) or "").strip()}
    for name in sorted(env):
        if name in settings or not (env[name] or "").strip():
            continue
        guess = _guess_from_file if name in file else _guess_from_environment
        setting, normalized = guess(name, settings, unset), _normalize_name(name)
        if setting in RESERVED:
            yield f"{name}: is not read in this version; remove it"
        elif setting and normalized.endswith("_FILE"):
            yield f"{name}: is not read in this version; set {setting} instead"
        elif setting and not name.isascii():
            yield f"{setting}: its name has a foreign or hidden character; type it anew"
        elif setting:
            yield f"{name}: unknown; is {setting} meant?"
        elif (
            name in file
            and normalized.startswith(_OUR_PREFIXES)
            and not normalized.startswith(_OTHER_TWILIO_PREFIXES)
        ):
            yield f"{name}: unknown, so nothing reads it; .env.example lists the settings"


def _guess_from_file(name: str, settings: frozenset[str], unset: set[str]) -> str | None:
    """Return the setting that a name in `.env` means: misspelt, of a file, or another program's."""
    normalized = _normalize_name(name).removesuffix("_FILE")
    if normalized in settings | RESERVED:
        return normalized
    if _OTHER_NAMES.get(normalized) in unset:
        return _OTHER_NAMES[normalized]
    if len(normalized) < MIN_GUESS_LENGTH:
        return None
    candidates = get_close_matches(normalized, settings | RESERVED, 3, FILE_SIMILARITY)
    similar = [n for n in candidates if not spelling.has_other_word(normalized, n)]
    guess = (
        next(iter(similar), None)
        or spelling.find_same_stem(normalized, settings | RESERVED)
        or _find_with_extra_word(normalized, settings, unset)
    )
    return None if guess is None or spelling.has_more_words(normalized, guess) else guess


def _guess_from_environment(name: str, settings: frozenset[str], unset: set[str]) -> str | None:
    """Return the unset setting that a name in the environment misspells or gives as a file."""
    exact, normalized = name.removesuffix("_FILE"), _normalize_name(name).removesuffix("_FILE")
    if exact in settings | RESERVED:
        is_shared = exact in settings and _is_shared(exact)
        is_ours = exact in unset if is_shared else exact not in OFTEN_SET
        return exact if is_ours else None
    is_other_name = normalized in _OTHER_NAMES and normalized not in settings
    if is_other_name or len(normalized) < MIN_GUESS_LENGTH:
        return None
    if normalized in unset:
        return normalized
    similar = get_close_matches(normalized, unset, 3, ENVIRONMENT_SIMILARITY)
    same_stem = spelling.find_same_stem(normalized, {n for n in unset if not _is_shared(n)})
    guess = same_stem or next((n for n in similar if _is_typo(normalized, n)), None)
    return None if guess is None or spelling.has_more_words(normalized, guess) else guess


def _is_typo(name: str, setting: str) -> bool:
    lacks_or_swaps = not _is_shared(setting) or spelling.lacks_or_swaps_letters(name, setting)
    return lacks_or_swaps and spelling.is_typo(name, setting)


def _is_shared(setting: str) -> bool:
    return setting.startswith(("MAIL_", "WEB_")) or setting in _SHARED_NAMES


def _normalize_name(name: str) -> str:
    # Pasted names may begin with a character that cannot be seen.
    normalized = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    # SMSTRACKER_PORT is docker compose's.
    return re.sub(r"^SMSTRACKER_(?=[A-Z0-9]+_)", "", normalized)


def _find_with_extra_word(name: str, settings: frozenset[str], unset: set[str]) -> str | None:
    """Return the setting with one more word, such as TWILIO_AUTH_TOKEN for TWILIO_TOKEN."""
    name_words = name.split("_")
    for setting in sorted(settings, key=len):
        setting_words = setting.split("_")
        shorter = [setting_words[:i] + setting_words[i + 1 :] for i in range(len(setting_words))]
        is_likely = setting in unset or name_words[0] == setting_words[0]
        if len(name_words) > 1 and is_likely and name_words in shorter:
            return setting
    return None
