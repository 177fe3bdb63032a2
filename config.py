"""Every setting of smstracker, one declaration each. What parses them is `smstracker/settings/`.

`load()` returns a frozen `Config` or raises `ConfigError`, which lists every problem by the
setting's name and never repeats a value: a value may be a secret.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smstracker.settings import addresses, twilio
from smstracker.settings.cross_checks import refuse_ineffective_settings, refuse_real_settings
from smstracker.settings.database_url import read_database_url, read_web_concurrency
from smstracker.settings.files import ENV_FILE, ROOT, find_values_expanded_by_flask, read_env_file
from smstracker.settings.mail import OTHER_MAIL_SETTINGS, MailConfig, read_mail, read_sign_in_allow
from smstracker.settings.reader import (
    ConfigError,
    Reader,
    read_settings,
    setting,
    setting_names,
    whole_number,
)
from smstracker.settings.region import read_region
from smstracker.settings.secret_key import read_secret_key
from smstracker.settings.unread_names import find_unread_names

__all__ = ["ENV_FILE", "ROOT", "SETTINGS", "Config", "ConfigError", "load"]


@dataclass(frozen=True, slots=True)
class Config:
    """The checked settings, in the order in which they are read and their problems are listed."""

    demo: bool
    instance: Path
    port: int = setting("PORT", addresses.read_port)
    simulator_port: int = setting("SIMULATOR_PORT", addresses.read_simulator_port)
    twilio_account_sid: str = setting(
        "TWILIO_ACCOUNT_SID", twilio.read_account_sid, secret=True, after=refuse_real_settings
    )
    twilio_auth_token: str = setting("TWILIO_AUTH_TOKEN", twilio.read_auth_token, secret=True)
    twilio_auth_token_secondary: str | None = setting(
        "TWILIO_AUTH_TOKEN_SECONDARY", twilio.read_secondary_token, secret=True
    )
    twilio_api_base_url: str = setting("TWILIO_API_BASE_URL", addresses.read_api_base_url)
    database_url: str = setting("DATABASE_URL", read_database_url, secret=True)
    twilio_edge: str | None = setting("TWILIO_EDGE", twilio.read_edge)
    twilio_region: str | None = setting("TWILIO_REGION", twilio.read_region)
    bind_address: str = setting(
        "BIND_ADDRESS", addresses.read_bind_address, after=refuse_ineffective_settings
    )
    web_concurrency: int = setting("WEB_CONCURRENCY", read_web_concurrency)
    web_threads: int = setting("WEB_THREADS", whole_number(32, 2, 2048))
    trusted_proxies: int = setting("TRUSTED_PROXIES", whole_number(0, 0, 5))
    public_base_url: str = setting("PUBLIC_BASE_URL", addresses.read_public_base_url)
    secret_key: str = setting("SECRET_KEY", read_secret_key, secret=True)
    twilio_auth_token_former: str | None = setting(
        "TWILIO_AUTH_TOKEN_FORMER", twilio.read_token, secret=True
    )
    twilio_subaccount_tokens: dict[str, str] = setting(
        "TWILIO_SUBACCOUNT_TOKENS", twilio.read_subaccount_tokens, secret=True
    )
    twilio_webhook_keys: dict[str, str] = setting(
        "TWILIO_WEBHOOK_KEYS", twilio.read_webhook_keys, secret=True
    )
    twilio_phone_numbers: tuple[str, ...] = setting(
        "TWILIO_PHONE_NUMBER", twilio.read_phone_numbers, secret=True
    )
    twilio_messaging_service_sid: str | None = setting(
        "TWILIO_MESSAGING_SERVICE_SID", twilio.read_service_sid, secret=True
    )
    mail: MailConfig = setting("MAIL_SERVER", read_mail, also=OTHER_MAIL_SETTINGS)
    sign_in_allow: tuple[str, ...] | None = setting(
        "SIGN_IN_ALLOW", read_sign_in_allow, secret=True
    )
    default_region: str = setting("DEFAULT_REGION", read_region)
    receipt_window_hours: int = setting("RECEIPT_WINDOW_HOURS", whole_number(72, 1, 24 * 90))
    lookups_per_second: int = setting("LOOKUPS_PER_SECOND", whole_number(10, 1, 1000))
    refused_callbacks_kept: int = setting(
        "REFUSED_CALLBACKS_KEPT", whole_number(10_000, 1, 1_000_000)
    )
    refused_callbacks_days: int = setting("REFUSED_CALLBACKS_DAYS", whole_number(14, 1, 3650))
    send_limit_per_minute: int = setting("SEND_LIMIT_PER_MINUTE", whole_number(30, 1, 1_000_000))
    send_limit_per_day: int = setting("SEND_LIMIT_PER_DAY", whole_number(1000, 1, 100_000_000))

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


SETTINGS = setting_names(Config)


def load(env: Mapping[str, str | None] | None = None, *, instance: Path | None = None) -> Config:
    """Read the settings of `env`, or of `.env` overlaid by the process environment.

    `instance` is the folder of everything that is generated: the SQLite file and the secrets of
    demo mode. Raises `ConfigError`.
    """
    file: dict[str, str | None] = {}
    problems: list[str] = []
    if env is None:
        file, problems = read_env_file(ENV_FILE)
        env = {**file, **os.environ, **find_values_expanded_by_flask(file)}
    reader = Reader(env, instance or ROOT / "instance")
    reader.problems += [*problems, *find_unread_names(file, env, SETTINGS)]
    values: dict[str, object] = read_settings(Config, reader)
    if reader.problems:
        raise ConfigError(reader.problems)
    return Config(demo=reader.demo, instance=reader.instance, **values)  # type: ignore[arg-type]
