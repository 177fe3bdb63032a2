"""Every setting of smstracker: read from a mapping, checked, and reported all at once.

`load()` returns a frozen `Config` or raises `ConfigError`, which lists every problem by the
setting's name and never repeats a value: a value may be a secret.
"""

import os
import re
import secrets
import socket
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from email.headerregistry import Address
from io import StringIO
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import phonenumbers
from dotenv import dotenv_values
from dotenv.parser import parse_stream
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from mail_addresses import (
    MailAddressError,
    half_width,
    normalize_domain,
    normalize_email,
    refuse_pattern,
)

ROOT = Path(__file__).parent
ENV_FILE = ROOT / ".env"
TWILIO_API = "https://api.twilio.com"
DEMO_PHONE_NUMBER = "+15005550006"
DEMO_KEY_ID = "webhooks_sharedkey_demo"

_ACCOUNT_SID = re.compile(r"AC[0-9a-fA-F]{32}")
_SERVICE_SID = re.compile(r"MG[0-9a-fA-F]{32}")
# An Auth Token; with a curly quote around it, it could not even be sent.
_AUTH_TOKEN = re.compile(r"[!#-&(-_a-~]+")
_UNQUOTED_SHAPE = "the token alone, without blanks, quotes and accents"
# Of a shared webhook key.
KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
# E.164, a short code, or an alphanumeric sender with at least one letter. Twilio decides which
# other characters a country accepts; "+4915O1234" with a letter O is a typo.
_SENDER = re.compile(
    r"\+[1-9][0-9]{6,14}|[0-9]{3,8}|(?=.*[A-Za-z])(?!\+[0-9])[A-Za-z0-9 &+_-]{1,11}"
)
_HOST_NAME = re.compile(r"\w[\w-]*(\.\w[\w-]*)*\.?")
# A name that ends in a number is read as an address, and 127.1 or 0x7f.1 as another one.
_NUMERIC_NAME = re.compile(r"(.*\.)?(\d+|0[xX][0-9A-Fa-f]*)\.?")
_MAIL_HOST_SHAPE = (
    "only the host name or IP address, such as smtp.example.org; the port belongs into MAIL_PORT"
)
# `"Name" <address>` or `Name <address>`. An @ in a name that is not quoted is a second address.
_NAMED_SENDER = re.compile(r'(?:"((?:[^"\\]|\\.)*)"|((?:[^<>@"]|"[^<>@"]*")*?)) *<([^<>]*)>')
_NO_HEADER_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True}
_BOOLEANS |= {"0": False, "false": False, "no": False, "off": False}

_NAMES = """
BIND_ADDRESS DATABASE_URL DEFAULT_REGION LOOKUPS_PER_SECOND MAIL_DEFAULT_SENDER MAIL_PASSWORD
MAIL_PORT MAIL_SERVER MAIL_USERNAME MAIL_USE_SSL MAIL_USE_TLS PORT PUBLIC_BASE_URL
RECEIPT_WINDOW_HOURS REFUSED_CALLBACKS_DAYS REFUSED_CALLBACKS_KEPT SECRET_KEY SEND_LIMIT_PER_DAY
SEND_LIMIT_PER_MINUTE SIGN_IN_ALLOW SIMULATOR_PORT TRUSTED_PROXIES TWILIO_ACCOUNT_SID
TWILIO_API_BASE_URL TWILIO_AUTH_TOKEN TWILIO_AUTH_TOKEN_FORMER TWILIO_AUTH_TOKEN_SECONDARY
TWILIO_EDGE TWILIO_MESSAGING_SERVICE_SID TWILIO_PHONE_NUMBER TWILIO_REGION
TWILIO_SUBACCOUNT_TOKENS TWILIO_WEBHOOK_KEYS WEB_CONCURRENCY WEB_THREADS
"""
SETTINGS = frozenset(_NAMES.split())
# Of the contract, but not read yet. Nobody shall rely on what they promise, such as privacy.
OFTEN_SET = frozenset({"HEARTBEAT_URL", "METRICS_TOKEN", "SENTRY_DSN"})
RESERVED = OFTEN_SET | {
    *("ALERT_EMAIL", "ALERT_WEBHOOK_SECRET", "ALERT_WEBHOOK_URL", "KEEP_MESSAGE_DAYS"),
    *("KEEP_TEXT_DAYS", "REDACT_AT_TWILIO", "SEND_PER_SECOND", "TEAM_LOG"),
}
# In `.env` every name is meant for us; the environment also has names of other programs.
FILE_SIMILARITY, ENVIRONMENT_SIMILARITY = 0.85, 0.8
MIN_GUESS_LENGTH = 7
# Only a long name may have two typos: MAIL_HOST is no MAIL_PORT.
LONG_NAME_LENGTH = 12
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
    if f"{family}_{word}" not in SETTINGS
}
# Other programs read these too, so in the environment only a typo of a letter counts.
_SHARED_NAMES = (
    frozenset(name for name in SETTINGS if name.startswith(("MAIL_", "WEB_"))) | OFTEN_SET
)
_SHARED_NAMES |= {
    "SECRET_KEY",
    "DATABASE_URL",
    "BIND_ADDRESS",
    "DEFAULT_REGION",
    "PORT",
    "TEAM_LOG",
}
# Settings of a real installation only: a demo that has one has lost its credentials.
REAL_SETTINGS = (
    "TWILIO_ACCOUNT_SID",
    "TWILIO_AUTH_TOKEN",
    "TWILIO_PHONE_NUMBER",
    "TWILIO_MESSAGING_SERVICE_SID",
    "TWILIO_AUTH_TOKEN_SECONDARY",
    "TWILIO_AUTH_TOKEN_FORMER",
    "TWILIO_SUBACCOUNT_TOKENS",
    "TWILIO_WEBHOOK_KEYS",
    "TWILIO_API_BASE_URL",
    "MAIL_SERVER",
    "SIGN_IN_ALLOW",
)
OTHER_SECRETS = (
    "TWILIO_AUTH_TOKEN",
    "TWILIO_AUTH_TOKEN_SECONDARY",
    "TWILIO_AUTH_TOKEN_FORMER",
    "MAIL_PASSWORD",
)
MIN_SECRET_KEY_LENGTH = 32
MIN_DISTINCT_CHARACTERS = 8  # different ones, in a secret key
_PLACEHOLDER_KEY = re.compile(
    r"change.?(me|this)|replace|your.?secret|secret.?key|example|openssl|…"
)
_SQLITE_OPTIONS = {"timeout", "detect_types", "check_same_thread", "cached_statements"}
# A placeholder that was not filled in. Instructions end it with an ellipsis.
_PLACEHOLDER_VALUE = re.compile(r".*(…|\.\.\.)|<.*>")
_UNCHECKED_SETTINGS = (
    *("TWILIO_AUTH_TOKEN", "TWILIO_AUTH_TOKEN_SECONDARY", "TWILIO_AUTH_TOKEN_FORMER"),
    *("TWILIO_SUBACCOUNT_TOKENS", "TWILIO_WEBHOOK_KEYS"),
    *("MAIL_SERVER", "MAIL_USERNAME", "MAIL_PASSWORD"),
)
_EDGE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

T = TypeVar("T")


class ConfigError(ValueError):
    """The settings are not valid; `problems` has one sentence for each fault."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__(
            "smstracker cannot start:\n" + "\n".join(f"  - {problem}" for problem in problems)
        )


@dataclass(frozen=True, slots=True)
class MailConfig:
    """The settings of mail; `server` is None when no SMTP server is set."""

    server: str | None
    port: int
    username: str | None
    password: str | None = field(repr=False)
    use_tls: bool
    use_ssl: bool
    default_sender: str


@dataclass(frozen=True, slots=True)
class Config:
    """The checked settings. Secrets stay out of its repr."""

    demo: bool
    instance: Path
    port: int
    bind_address: str
    web_concurrency: int
    web_threads: int
    trusted_proxies: int
    public_base_url: str
    secret_key: str = field(repr=False)
    database_url: str = field(repr=False)
    twilio_account_sid: str = field(repr=False)
    twilio_auth_token: str = field(repr=False)
    twilio_auth_token_secondary: str | None = field(repr=False)
    twilio_auth_token_former: str | None = field(repr=False)
    twilio_subaccount_tokens: dict[str, str] = field(repr=False)
    twilio_webhook_keys: dict[str, str] = field(repr=False)
    twilio_phone_numbers: tuple[str, ...] = field(repr=False)
    twilio_messaging_service_sid: str | None = field(repr=False)
    twilio_api_base_url: str
    twilio_edge: str | None
    twilio_region: str | None
    simulator_port: int
    mail: MailConfig
    sign_in_allow: tuple[str, ...] | None = field(repr=False)
    default_region: str
    receipt_window_hours: int
    lookups_per_second: int
    refused_callbacks_kept: int
    refused_callbacks_days: int
    send_limit_per_minute: int
    send_limit_per_day: int

    @property
    def auth_tokens(self) -> tuple[str, ...]:
        """The tokens that a status callback may be signed with, the primary one first."""
        secondary = self.twilio_auth_token_secondary
        return (self.twilio_auth_token, secondary) if secondary else (self.twilio_auth_token,)

    @property
    def listen(self) -> str:
        """Where the server listens, as host:port."""
        is_ipv6 = ":" in self.bind_address
        return (
            f"[{self.bind_address}]:{self.port}" if is_ipv6 else f"{self.bind_address}:{self.port}"
        )

    @property
    def is_https(self) -> bool:
        return self.public_base_url.startswith("https://")

    @property
    def is_sqlite(self) -> bool:
        return self.database_url.startswith("sqlite")


class _Reader:
    """Reads settings from a mapping and collects their problems."""

    def __init__(self, env: Mapping[str, str | None]) -> None:
        self.env = {name: value.strip() for name, value in env.items() if value and value.strip()}
        self.problems: list[str] = []

    def problem(self, name: str, reason: str) -> None:
        self.problems.append(f"{name}: {reason}")

    def text(self, name: str) -> str | None:
        return self.env.get(name)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        raw = self.env.get(name)
        if raw is None:
            return default
        if raw.isdecimal() and len(raw) < 12 and low <= int(raw) <= high:
            return int(raw)
        self.problem(name, f"must be a whole number from {low} to {high}")
        return default

    def flag(self, name: str) -> bool:
        raw = self.env.get(name, "false").lower()
        if raw not in _BOOLEANS:
            self.problem(name, "must be true or false")
        return _BOOLEANS.get(raw, False)

    def words(self, name: str) -> tuple[str, ...]:
        return tuple(word.strip() for word in self.env.get(name, "").split(",") if word.strip())

    def matching(self, name: str, pattern: re.Pattern[str], shape: str) -> str | None:
        raw = self.env.get(name)
        if raw is not None and not pattern.fullmatch(raw):
            self.problem(name, f"must be {shape}")
        return raw

    def token(self, name: str) -> str | None:
        return self.matching(name, _AUTH_TOKEN, _UNQUOTED_SHAPE)

    def parsed(self, name: str, default: T, parse: Callable[[str], T | None], shape: str) -> T:
        raw = self.env.get(name)
        if raw is None:
            return default
        value = parse(raw)
        if value is None:
            self.problem(name, f"must be {shape}")
            return default
        return value


def load(env: Mapping[str, str | None] | None = None, *, instance: Path | None = None) -> Config:
    """Read the settings of `env`, or of `.env` overlaid by the process environment.

    `instance` is the folder of everything that is generated: the SQLite file and the secrets of
    demo mode. Raises `ConfigError`.
    """
    file: dict[str, str | None] = {}
    problems: list[str] = []
    if env is None:
        file, problems = read_env_file(ENV_FILE)
        env = {**file, **os.environ, **_find_values_expanded_by_flask(file)}
    reader = _Reader(env)
    reader.problems += [*problems, *_find_unread_names(file, env)]
    demo = not (reader.text("TWILIO_ACCOUNT_SID") or reader.text("TWILIO_AUTH_TOKEN"))
    config = _build(reader, demo, instance or ROOT / "instance")
    if reader.problems:
        raise ConfigError(reader.problems)
    return config


def read_env_file(path: Path) -> tuple[dict[str, str | None], list[str]]:
    """Return the names and values of a `.env` file, and its problems."""
    if not path.exists():
        return {}, []
    make_private(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        return {}, [f"{path.name}: is not UTF-8 text; save it as UTF-8"]
    except OSError as error:
        return {}, [f"{path.name}: cannot be read ({error.strerror})"]
    if "\0" in text:
        return {}, [f"{path.name}: is not UTF-8 text; save it as UTF-8"]
    broken = [
        f"{path.name}: line {binding.original.line} is not NAME=value"
        for binding in parse_stream(StringIO(text))
        if binding.error or (binding.key is not None and binding.value is None)
    ]
    if broken:
        return {}, broken
    # A value is taken as written: a password may well contain ${x}.
    return dict(dotenv_values(stream=StringIO(text), interpolate=False)), []


def _find_values_expanded_by_flask(file: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the values that Flask's command put into the environment with ${…} replaced."""
    has_loaded = "FLASK_RUN_FROM_CLI" in os.environ and not os.environ.get("FLASK_SKIP_DOTENV")
    return {name: value for name, value in file.items() if has_loaded and "${" in (value or "")}


def make_private(path: Path, mode: int = 0o600) -> None:
    """Close a file or folder of ours to other users. `flask doctor` reports where this failed."""
    with suppress(OSError):
        status = path.stat()
        # Never a folder where a file is expected, as in a mistaken DATABASE_URL.
        has_expected_type = (
            stat.S_ISDIR(status.st_mode) if mode & 0o100 else stat.S_ISREG(status.st_mode)
        )
        if has_expected_type and status.st_mode & 0o077 and status.st_uid == os.geteuid():
            path.chmod(mode)


def _find_unread_names(
    file: Mapping[str, str | None], env: Mapping[str, str | None]
) -> Iterator[str]:
    """Report each name that is meant for us, or seems to be, and that nothing reads."""
    unset = {name for name in SETTINGS | RESERVED if not (env.get(name) or "").strip()}
    for name in sorted(env):
        if name in SETTINGS or not (env[name] or "").strip():
            continue
        setting = (
            _guess_from_file(name, unset) if name in file else _guess_from_environment(name, unset)
        )
        if setting in RESERVED:
            yield f"{name}: is not read in this version; remove it"
        elif setting and _normalize_name(name).endswith("_FILE"):
            yield f"{name}: is not read in this version; set {setting} instead"
        elif setting:
            yield f"{name}: unknown; is {setting} meant?"
        elif (
            name in file
            and _normalize_name(name).startswith(_OUR_PREFIXES)
            and not _normalize_name(name).startswith(_OTHER_TWILIO_PREFIXES)
        ):
            yield f"{name}: unknown, so nothing reads it; .env.example lists the settings"


def _guess_from_file(name: str, unset: set[str]) -> str | None:
    """Return the setting that a name in `.env` means: misspelt, of a file, or another program's."""
    normalized = _normalize_name(name).removesuffix("_FILE")
    if normalized in SETTINGS | RESERVED:
        return normalized
    if _OTHER_NAMES.get(normalized) in unset:
        return _OTHER_NAMES[normalized]
    if len(normalized) < MIN_GUESS_LENGTH:
        return None
    candidates = get_close_matches(normalized, SETTINGS | RESERVED, 3, FILE_SIMILARITY)
    similar = next(
        (setting for setting in candidates if not _has_other_word(normalized, setting)), None
    )
    guess = (
        similar
        or _find_same_stem(normalized, SETTINGS | RESERVED)
        or _find_with_extra_word(normalized, unset)
    )
    return None if guess is None or _has_more_words(normalized, guess) else guess


def _guess_from_environment(name: str, unset: set[str]) -> str | None:
    """Return the unset setting that a name in the environment misspells or gives as a file."""
    exact, normalized = name.removesuffix("_FILE"), _normalize_name(name).removesuffix("_FILE")
    if exact in SETTINGS | RESERVED:
        is_ours = exact in unset if exact in SETTINGS & _SHARED_NAMES else exact not in OFTEN_SET
        return exact if is_ours else None
    if len(normalized) < MIN_GUESS_LENGTH or normalized in _OTHER_NAMES:
        return None
    if normalized in unset:
        return normalized
    similar = get_close_matches(normalized, unset, 3, ENVIRONMENT_SIMILARITY)
    same_stem = _find_same_stem(normalized, unset - _SHARED_NAMES)
    guess = same_stem or next(
        (setting for setting in similar if _is_typo(normalized, setting)), None
    )
    return None if guess is None or _has_more_words(normalized, guess) else guess


def _normalize_name(name: str) -> str:
    normalized = re.sub(r"[^A-Z0-9]+", "_", name.upper())
    return re.sub(
        r"^SMSTRACKER_(?=[A-Z0-9]+_)", "", normalized
    )  # SMSTRACKER_PORT is docker compose's


def _find_same_stem(name: str, settings: Iterable[str]) -> str | None:
    """Return the setting that differs only by underscores, plurals and the order of its words."""
    return next(
        (
            setting
            for setting in sorted(settings)
            if _strip_plurals(setting) == _strip_plurals(name)
            or sorted(setting.split("_")) == sorted(name.split("_"))
        ),
        None,
    )


def _strip_plurals(name: str) -> str:
    singular = re.sub(r"IES(_|$)", r"Y\1", name)
    return re.sub(r"S(_|$)", r"\1", singular).replace("_", "")


def _find_with_extra_word(name: str, unset: set[str]) -> str | None:
    """Return the setting with one more word, such as TWILIO_AUTH_TOKEN for TWILIO_TOKEN."""
    name_words = name.split("_")
    for setting in sorted(SETTINGS, key=len):
        setting_words = setting.split("_")
        shorter = [
            setting_words[:index] + setting_words[index + 1 :]
            for index in range(len(setting_words))
        ]
        is_likely = setting in unset or name_words[0] == setting_words[0]
        if len(name_words) > 1 and is_likely and name_words in shorter:
            return setting
    return None


def _has_more_words(name: str, setting: str) -> bool:
    """Recognise names such as SECRET_KEY_BASE, which belongs to another program."""
    setting_words, name_words = setting.split("_"), name.split("_")
    return len(name_words) > len(setting_words) and set(setting_words) <= set(name_words)


def _has_other_word(name: str, setting: str) -> bool:
    """Recognise names such as DATABASE_USER, whose last word is no typo of DATABASE_URL's."""
    pairs = zip(name.split("_"), setting.split("_"), strict=False)
    return any(
        len(setting_word) <= 4 and _count_edits(name_word, setting_word) > 1
        for name_word, setting_word in pairs
    )


def _is_typo(name: str, setting: str) -> bool:
    """Check that a typo in a word or two turns the setting into the name.

    Another word in its place, as in DATABASE_SSL or EMAIL_PORT, is another program's name.
    """
    name_words, setting_words = name.split("_"), setting.split("_")
    if len(name_words) != len(setting_words) or name[0] != setting[0]:
        return False
    if setting in _SHARED_NAMES and not _lacks_or_swaps_letters(name, setting):
        return False
    edit_counts = [
        _count_edits(name_word, setting_word)
        for name_word, setting_word in zip(name_words, setting_words, strict=True)
    ]
    max_edits = 2 if len(setting) >= LONG_NAME_LENGTH else 1
    is_near = all(
        count <= len(word) // 3 for count, word in zip(edit_counts, setting_words, strict=True)
    )
    return is_near and sum(edit_counts) <= max_edits and not name.startswith(setting)


def _lacks_or_swaps_letters(name: str, setting: str) -> bool:
    """Exclude other letters: they may make another word, such as DATABASE_URI, or a plural."""
    return not Counter(name) - Counter(setting)


def _count_edits(word: str, other: str) -> int:
    """Count the letters that were left out, added, changed or swapped with the next."""
    last_row: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(word):
        row_before_last, last_row, row = last_row, row, [i + 1]
        for j, other_letter in enumerate(other):
            row.append(min(last_row[j + 1] + 1, row[j] + 1, last_row[j] + (letter != other_letter)))
            if i and j and letter == other[j - 1] and word[i - 1] == other_letter:
                row[-1] = min(row[-1], row_before_last[j - 1] + 1)
    return row[-1]


def _build(reader: _Reader, demo: bool, instance: Path) -> Config:
    port = reader.number("PORT", 8000, 1, 65535)
    simulator_port = reader.number("SIMULATOR_PORT", port + 1 if port < 65535 else 65534, 1, 65535)
    if demo and simulator_port == port:
        reader.problem("SIMULATOR_PORT", "must be another port than PORT")
    if demo:
        _refuse_real_settings(reader)
    twilio = _read_demo_twilio(reader, instance) if demo else _read_twilio(reader)
    api_base_url = f"http://127.0.0.1:{simulator_port}" if demo else _read_api_base_url(reader)
    database_url = _read_database_url(reader, demo, instance)
    edge = reader.matching("TWILIO_EDGE", _EDGE, "an edge of Twilio's such as dublin")
    region = reader.matching("TWILIO_REGION", _EDGE, "a region of Twilio's such as ie1")
    _refuse_ineffective_settings(reader, demo)
    return Config(
        demo=demo,
        instance=instance,
        port=port,
        bind_address=reader.parsed(
            "BIND_ADDRESS", "127.0.0.1", _parse_bind_address, "an IP address of this machine"
        ),
        web_concurrency=reader.number(
            "WEB_CONCURRENCY", 1 if demo or database_url.startswith("sqlite") else 2, 1, 64
        ),
        web_threads=reader.number("WEB_THREADS", 32, 2, 2048),
        trusted_proxies=reader.number("TRUSTED_PROXIES", 0, 0, 5),
        public_base_url=_read_public_base_url(reader, demo, port),
        secret_key=_read_secret_key(reader, demo, instance),
        database_url=database_url,
        twilio_account_sid=twilio[0],
        twilio_auth_token=twilio[1],
        twilio_auth_token_secondary=twilio[2],
        twilio_auth_token_former=reader.token("TWILIO_AUTH_TOKEN_FORMER"),
        twilio_subaccount_tokens=_read_subaccount_tokens(reader),
        twilio_webhook_keys=_read_demo_webhook_keys(reader, instance)
        if demo
        else _read_webhook_keys(reader),
        twilio_phone_numbers=_read_phone_numbers(reader, demo),
        twilio_messaging_service_sid=reader.matching(
            "TWILIO_MESSAGING_SERVICE_SID", _SERVICE_SID, "MG followed by 32 hexadecimal digits"
        ),
        twilio_api_base_url=api_base_url,
        twilio_edge=None if demo else edge,
        twilio_region=None if demo else region,
        simulator_port=simulator_port,
        mail=_read_mail(reader),
        sign_in_allow=_read_sign_in_allow(reader, demo),
        default_region=reader.parsed(
            "DEFAULT_REGION",
            "US",
            _parse_region,
            "a two-letter region such as US, or GB for the United Kingdom",
        ),
        receipt_window_hours=reader.number("RECEIPT_WINDOW_HOURS", 72, 1, 24 * 90),
        lookups_per_second=reader.number("LOOKUPS_PER_SECOND", 10, 1, 1000),
        refused_callbacks_kept=reader.number("REFUSED_CALLBACKS_KEPT", 10_000, 1, 1_000_000),
        refused_callbacks_days=reader.number("REFUSED_CALLBACKS_DAYS", 14, 1, 3650),
        send_limit_per_minute=reader.number("SEND_LIMIT_PER_MINUTE", 30, 1, 1_000_000),
        send_limit_per_day=reader.number("SEND_LIMIT_PER_DAY", 1000, 1, 100_000_000),
    )


def _refuse_ineffective_settings(reader: _Reader, demo: bool) -> None:
    """Refuse settings without effect: a placeholder, or a setting that another one overrides."""
    for name in _UNCHECKED_SETTINGS:
        if any(_PLACEHOLDER_VALUE.fullmatch(part) for part in reader.words(name)):
            reader.problem(name, "still holds a placeholder; set the real value")
    if demo:
        return
    for name in ("TWILIO_EDGE", "TWILIO_REGION"):
        # A configured address is never rewritten.
        if reader.text(name) and reader.text("TWILIO_API_BASE_URL"):
            reader.problem(name, "does nothing beside TWILIO_API_BASE_URL; remove one of them")
    for name in ("MAIL_USERNAME", "MAIL_PASSWORD"):
        if reader.text(name) and not reader.text("MAIL_SERVER"):
            reader.problem("MAIL_SERVER", f"required, because {name} is set")
            break


def _parse_host(raw: str) -> str | None:
    """Return a host name or an IP address; None for 192.168.1.256, which is neither."""
    try:
        ip_address(raw)
    except ValueError:
        is_name = _HOST_NAME.fullmatch(raw) and not _NUMERIC_NAME.fullmatch(raw)
        return raw if is_name else None
    return raw


def _parse_bind_address(raw: str) -> str | None:
    """Return an IP address or a name that resolves here. The server checks that it is free."""
    if _parse_host(raw) is None:
        return None
    try:
        socket.getaddrinfo(raw, None)
    except (OSError, UnicodeError):
        return None
    return raw


def _read_twilio(reader: _Reader) -> tuple[str, str, str | None]:
    for name, other in (
        ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"),
        ("TWILIO_AUTH_TOKEN", "TWILIO_ACCOUNT_SID"),
    ):
        if not reader.text(name):
            reader.problem(name, f"required, because {other} is set")
    shape = "AC followed by 32 hexadecimal digits"
    if (reader.text("TWILIO_ACCOUNT_SID") or "").startswith("SK"):
        shape += ": with an API key (SK…), callbacks cannot be verified"
    sid = reader.matching("TWILIO_ACCOUNT_SID", _ACCOUNT_SID, shape)
    if not (reader.words("TWILIO_PHONE_NUMBER") or reader.text("TWILIO_MESSAGING_SERVICE_SID")):
        reader.problem(
            "TWILIO_PHONE_NUMBER", "set this or TWILIO_MESSAGING_SERVICE_SID: there is no sender"
        )
    token = reader.token("TWILIO_AUTH_TOKEN")
    return sid or "", token or "", reader.token("TWILIO_AUTH_TOKEN_SECONDARY")


def _refuse_real_settings(reader: _Reader) -> None:
    """Refuse demo mode, which admits everybody, where a real installation lost its credentials."""
    names = (name + suffix for name in REAL_SETTINGS for suffix in ("", "_FILE"))
    signs = [f"{name} is set" for name in names if reader.text(name)]
    base = _parse_base_url(reader.text("PUBLIC_BASE_URL") or "")
    if base and not is_loopback(urlsplit(base).hostname or ""):
        signs.append("PUBLIC_BASE_URL is not this machine")
    if signs:
        reader.problem("TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN", describe_live_signs(*signs))


def describe_live_signs(*signs: str) -> str:
    """Return why demo mode does not start."""
    text = f"{', '.join(signs[:-1])} and {signs[-1]}" if signs[1:] else signs[0]
    return (
        f"not set, but this looks like a real installation: {text}. Set both, or try the demo "
        "without these settings and with a database of its own"
    )


def _read_demo_twilio(reader: _Reader, instance: Path) -> tuple[str, str, str | None]:
    if reader.problems:
        return "", "", None
    account = "AC" + _read_or_generate(instance, "demo-account-sid")
    token = _read_or_generate(instance, "demo-auth-token")
    return account, token, _read_or_generate(instance, "demo-auth-token-secondary")


def _read_subaccount_tokens(reader: _Reader) -> dict[str, str]:
    name = "TWILIO_SUBACCOUNT_TOKENS"
    tokens: dict[str, str] = {}
    for pair in reader.words(name):
        account, _, token = (part.strip() for part in pair.partition(":"))
        if not _ACCOUNT_SID.fullmatch(account) or not token:
            reader.problem(name, "must be a comma list of account SID:token, such as AC…:…")
            break
        if account == reader.text("TWILIO_ACCOUNT_SID"):
            reader.problem(name, "names TWILIO_ACCOUNT_SID, whose token is TWILIO_AUTH_TOKEN")
            break
        if not _AUTH_TOKEN.fullmatch(token):
            reader.problem(name, f"must have after each SID {_UNQUOTED_SHAPE}")
            break
        tokens[account] = token
    return tokens


def _read_webhook_keys(reader: _Reader) -> dict[str, str]:
    name = "TWILIO_WEBHOOK_KEYS"
    keys: dict[str, str] = {}
    for pair in reader.words(name):
        key_id, _, secret = (part.strip() for part in pair.partition(":"))
        if not KEY_ID.fullmatch(key_id) or not secret:
            reader.problem(name, "must be a comma list of key id:secret")
            break
        if key_id in keys:
            reader.problem(name, "names the same key id twice")
            break
        keys[key_id] = secret
    return keys


def _read_demo_webhook_keys(reader: _Reader, instance: Path) -> dict[str, str]:
    return {} if reader.problems else {DEMO_KEY_ID: _read_or_generate(instance, "demo-webhook-key")}


def _read_phone_numbers(reader: _Reader, demo: bool) -> tuple[str, ...]:
    numbers = reader.words("TWILIO_PHONE_NUMBER")
    if not all(_SENDER.fullmatch(number) for number in numbers):
        reader.problem(
            "TWILIO_PHONE_NUMBER",
            "must be a number like +15005550006 (several are separated by commas), "
            "a short code or an alphanumeric sender",
        )
    return numbers or ((DEMO_PHONE_NUMBER,) if demo else ())


def _read_public_base_url(reader: _Reader, demo: bool, port: int) -> str:
    name = "PUBLIC_BASE_URL"
    raw = reader.text(name)
    if raw is None:
        if not demo:
            reader.problem(name, "required: the https address at which Twilio reaches this app")
        return f"http://127.0.0.1:{port}"
    base = _parse_base_url(raw)
    if base is None:
        reader.problem(name, "must be like https://sms.example.org, with no path, query or user")
    elif not _is_https_or_loopback(base):
        reader.problem(name, "must begin with https:// unless it is a loopback address")
    return base or ""


def _read_api_base_url(reader: _Reader) -> str:
    name = "TWILIO_API_BASE_URL"
    base = reader.parsed(
        name, TWILIO_API, _parse_base_url, "an address such as https://api.example.org"
    )
    if not _is_https_or_loopback(base):
        reader.problem(name, "must begin with https:// unless it is a loopback address")
    return base


def _parse_base_url(raw: str) -> str | None:
    """Return `raw` as scheme://host[:port]; None if it is anything else or more."""
    try:
        parts = urlsplit(raw)
        port = parts.port
    except ValueError:
        return None
    extra = parts.path.rstrip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not parts.hostname or extra or port == 0:
        return None
    if not re.fullmatch(r"[A-Za-z0-9.\-:\[\]]+", parts.netloc) or not _parse_host(parts.hostname):
        return None
    return f"{parts.scheme}://{parts.netloc}"


def _is_https_or_loopback(base: str) -> bool:
    return base.startswith("https://") or is_loopback(urlsplit(base).hostname or "")


def is_loopback(host: str) -> bool:
    """Check that a host name or address can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _read_database_url(reader: _Reader, demo: bool, instance: Path) -> str:
    name = "DATABASE_URL"
    raw = reader.text(name)
    if raw is None:
        if not reader.problems:
            _make_instance(instance)
        file = "demo.sqlite" if demo else "smstracker.sqlite"
        return f"sqlite:///{instance / file}"
    raw = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", raw)
    try:
        url = make_url(raw)
    except (ArgumentError, ValueError):
        reader.problem(name, "is not a database URL")
        return raw
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        if sqlite_path(url) is None:
            reader.problem(name, "must name a file: what is kept in memory is lost")
        elif url.host:
            reader.problem(name, "must begin with three slashes, or four for a path from the root")
        elif "uri" not in url.query and url.query.keys() - _SQLITE_OPTIONS:
            reader.problem(name, "has an option that SQLite does not know")
    elif url.drivername != "postgresql+psycopg":
        reader.problem(name, "must begin with sqlite:/// or postgresql://")
    elif any(_NUMERIC_NAME.fullmatch(host) and not _parse_host(host) for host in _find_hosts(url)):
        reader.problem(name, "has a host that is neither a name nor an IP address")
    return raw


def _find_hosts(url: URL) -> list[str]:
    """Return the hosts of a PostgreSQL URL, without ports."""
    query = url.query.get("host", ())
    query_hosts = [query] if isinstance(query, str) else list(query)
    hosts = [host for text in (url.host or "", *query_hosts) for host in text.split(",")]
    return [
        re.sub(r":[0-9]*$", "", host) if host.count(":") == 1 else host for host in hosts if host
    ]


def sqlite_path(url: URL) -> Path | None:
    """Return the file of a SQLite URL; None for memory or a temporary file."""
    path, _, query = (url.database or "").removeprefix("file:").partition("?")
    options = [*url.query.items(), *(tuple(pair.split("=", 1)) for pair in query.split("&"))]
    in_memory = ("mode", "memory") in options or ("vfs", "memdb") in options
    if not path.strip("/ ") or path == ":memory:" or in_memory:
        return None
    return Path(unquote(path) if path != url.database else path)


def _make_instance(instance: Path) -> None:
    instance.mkdir(mode=0o700, parents=True, exist_ok=True)
    make_private(instance, 0o700)


def _read_secret_key(reader: _Reader, demo: bool, instance: Path) -> str:
    name = "SECRET_KEY"
    raw = reader.text(name)
    if raw and not demo:
        weakness = _describe_weakness(raw, [reader.text(other) for other in OTHER_SECRETS])
        if weakness:
            reader.problem(name, f"{weakness}; make one with: openssl rand -hex 32")
    if raw:
        return raw
    if demo:
        return "" if reader.problems else _read_or_generate(instance, "secret-key")
    reader.problem(name, "required; make one with: openssl rand -hex 32")
    return ""


def _describe_weakness(key: str, other_secrets: list[str | None]) -> str | None:
    """Return why the key that signs sessions could be guessed; None if it could not."""
    if len(key) < MIN_SECRET_KEY_LENGTH:
        return f"must have at least {MIN_SECRET_KEY_LENGTH} characters"
    if key in other_secrets:
        return "must not be the same as another secret"
    steps = [ord(after) - ord(before) for before, after in pairwise(key)]
    is_regular = key in (key + key)[1:-1] or max(map(steps.count, (0, 1, -1))) > len(steps) // 2
    if (
        len(set(key)) < MIN_DISTINCT_CHARACTERS
        or is_regular
        or _PLACEHOLDER_KEY.search(key.lower())
    ):
        return "is easily guessed"
    return None


def _read_or_generate(instance: Path, name: str) -> str:
    """Return a random 32-digit hexadecimal string, generated once and kept in `instance`."""
    path = instance / name
    _make_instance(instance)
    try:
        # Linking a finished file is atomic: two processes that start at once use the same one.
        draft_path = instance / f".{name}.{secrets.token_hex(8)}"
        if not path.exists():
            draft_path.touch(mode=0o600)
            draft_path.write_text(secrets.token_hex(16))
            os.link(draft_path, path)
    except FileExistsError:
        pass
    finally:
        draft_path.unlink(missing_ok=True)
    return path.read_text().strip()


def _read_mail(reader: _Reader) -> MailConfig:
    server = reader.parsed("MAIL_SERVER", None, _parse_host, _MAIL_HOST_SHAPE)
    tls, ssl = reader.flag("MAIL_USE_TLS"), reader.flag("MAIL_USE_SSL")
    username, password = reader.text("MAIL_USERNAME"), reader.text("MAIL_PASSWORD")
    sender = _read_sender(reader)
    if tls and ssl:
        reader.problem("MAIL_USE_TLS", "set this or MAIL_USE_SSL, not both")
    if server and not sender:
        reader.problem("MAIL_DEFAULT_SENDER", "required, because MAIL_SERVER is set")
    if bool(username) != bool(password):
        missing = "MAIL_PASSWORD" if username else "MAIL_USERNAME"
        reader.problem(missing, "MAIL_USERNAME and MAIL_PASSWORD go together")
    if server and password and not (tls or ssl or is_loopback(server)):
        reader.problem(
            "MAIL_PASSWORD", "would travel in the clear: set MAIL_USE_TLS or MAIL_USE_SSL"
        )
    port = reader.number("MAIL_PORT", 465 if ssl else 587 if tls else 25, 1, 65535)
    default_sender = sender or "smstracker@localhost"
    return MailConfig(server, port, username, password, tls, ssl, default_sender)


def _read_sender(reader: _Reader) -> str | None:
    """Return MAIL_DEFAULT_SENDER for a header: a quoted name if needed, the domain as A-label."""
    raw = reader.text("MAIL_DEFAULT_SENDER")
    if raw is None:
        return None
    match = None if _NO_HEADER_TEXT.search(raw) else _NAMED_SENDER.fullmatch(raw)
    quoted, plain, address = match.groups() if match else (None, None, raw)
    name = re.sub(r"\\(.)", r"\1", quoted) if quoted else plain or ""
    try:
        spelling = normalize_email(address)
    except MailAddressError:
        reader.problem(
            "MAIL_DEFAULT_SENDER",
            'must be one address, such as smstracker@example.org or "SMS Team" '
            "<smstracker@example.org>; quote a name that has an @",
        )
        return raw
    return str(Address(name, addr_spec=spelling))


def _read_sign_in_allow(reader: _Reader, demo: bool) -> tuple[str, ...] | None:
    """Return addresses and @domains in their one spelling; None, demo mode's default, for all."""
    entries: list[str] = []
    for number, entry in enumerate(reader.words("SIGN_IN_ALLOW"), start=1):
        try:
            entries.append(_normalize_entry(entry))
        except MailAddressError:
            problem = (
                f"must be a comma list of addresses and @domains; entry {number} is neither: for a "
                "whole domain write @example.org, and each subdomain as an entry of its own"
            )
            reader.problem("SIGN_IN_ALLOW", problem)
    return None if demo and not entries else tuple(entries)


def _normalize_entry(entry: str) -> str:
    entry = half_width(entry)
    refuse_pattern(entry)
    return "@" + normalize_domain(entry[1:]) if entry.startswith("@") else normalize_email(entry)


def _parse_region(raw: str) -> str | None:
    return raw.upper() if raw.upper() in phonenumbers.SUPPORTED_REGIONS else None
