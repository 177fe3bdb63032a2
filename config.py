"""Every setting of smstracker, one declaration each. What parses them is `smstracker/settings/`.

`load()` returns a frozen `Config` or raises `ConfigError`, which lists every problem by the
setting's name and never repeats a value: a value may be a secret.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from smstracker.settings import addresses, alert_settings, privacy, twilio
from smstracker.settings.cross_checks import refuse_ineffective_settings, refuse_real_settings
from smstracker.settings.database_url import read_database_url, read_web_concurrency
from smstracker.settings.files import (
    ENV_FILE,
    ROOT,
    find_values_expanded_by_flask,
    read_env_file,
    read_text,
)
from smstracker.settings.mail import MAIL_SETTINGS, MailConfig, read_mail, read_sign_in_allow
from smstracker.settings.monitoring import read_metrics_token, read_sentry_dsn
from smstracker.settings.reader import (
    ConfigError,
    Reader,
    optional_whole_number,
    read_settings,
    setting,
    setting_names,
    whole_number,
)
from smstracker.settings.region import read_region
from smstracker.settings.secret_key import read_secret_key
from smstracker.settings.unread_names import find_unread_names
from smstracker.settings.value_comments import cut_comments
from smstracker.settings.value_files import read_value_files

__all__ = ["ENV_FILE", "ROOT", "SETTINGS", "Config", "ConfigError", "load"]


@dataclass(frozen=True, slots=True)
class Config:
    """The checked settings, in the order in which they are read and their problems are listed.

    A setting is named as its field, in capitals: PORT is `port`.
    """

    demo: bool
    instance: Path
    value_files: tuple[Path, ...]  # of the settings that are given as files
    port: int = setting(addresses.read_port)
    simulator_port: int = setting(addresses.read_simulator_port)
    twilio_account_sid: str = setting(
        twilio.read_account_sid, secret=True, after=refuse_real_settings
    )
    twilio_auth_token: str = setting(twilio.read_auth_token, secret=True)
    twilio_auth_token_secondary: str | None = setting(twilio.read_secondary_token, secret=True)
    twilio_api_base_url: str = setting(addresses.read_api_base_url)
    database_url: str = setting(read_database_url, secret=True)
    twilio_edge: str | None = setting(twilio.read_edge)
    twilio_region: str | None = setting(twilio.read_region)
    bind_address: str = setting(addresses.read_bind_address, after=refuse_ineffective_settings)
    web_concurrency: int = setting(read_web_concurrency)
    web_threads: int = setting(whole_number(32, 2, 2048))
    trusted_proxies: int = setting(whole_number(0, 0, 5))
    public_base_url: str = setting(addresses.read_public_base_url)
    secret_key: str = setting(read_secret_key, secret=True)
    twilio_auth_token_former: str | None = setting(twilio.read_former_token, secret=True)
    twilio_subaccount_tokens: dict[str, str] = setting(twilio.read_subaccount_tokens, secret=True)
    twilio_webhook_keys: dict[str, str] = setting(twilio.read_webhook_keys, secret=True)
    twilio_phone_numbers: tuple[str, ...] = setting(
        twilio.read_phone_numbers, "TWILIO_PHONE_NUMBER", secret=True
    )
    twilio_messaging_service_sid: str | None = setting(twilio.read_service_sid, secret=True)
    mail: MailConfig = setting(read_mail, MAIL_SETTINGS)
    sign_in_allow: tuple[str, ...] | None = setting(read_sign_in_allow, secret=True)
    default_region: str = setting(read_region)
    receipt_window_hours: int = setting(whole_number(72, 1, 24 * 90))
    send_per_second: int | None = setting(optional_whole_number(1, 10_000))
    lookups_per_second: int = setting(whole_number(10, 1, 1000))
    refused_callbacks_kept: int = setting(whole_number(10_000, 1, 1_000_000))
    refused_callbacks_days: int = setting(whole_number(14, 1, 3650))
    audit_days: int = setting(whole_number(365, 1, 3650))
    keep_text_days: int | None = setting(privacy.read_keep_text_days)
    keep_message_days: int | None = setting(privacy.read_keep_message_days)
    redact_at_twilio: bool = setting(privacy.read_redact_at_twilio)
    send_limit_per_minute: int = setting(whole_number(30, 1, 1_000_000))
    send_limit_per_day: int = setting(whole_number(1000, 1, 100_000_000))
    metrics_token: str | None = setting(read_metrics_token, secret=True)
    sentry_dsn: str | None = setting(read_sentry_dsn, secret=True)
    alert_email: tuple[str, ...] = setting(alert_settings.read_alert_email, secret=True)
    alert_webhook_url: str | None = setting(alert_settings.read_webhook_url, secret=True)
    alert_webhook_secret: str | None = setting(alert_settings.read_webhook_secret, secret=True)
    heartbeat_url: str | None = setting(alert_settings.read_heartbeat_url, secret=True)

    @property
    def auth_tokens(self) -> tuple[str, ...]:
        """The tokens that a status callback may be signed with, the primary one first."""
        secondary = self.twilio_auth_token_secondary
        return (self.twilio_auth_token, secondary) if secondary else (self.twilio_auth_token,)

    @property
    def listen(self) -> str:
        """Where the server listens, as host:port."""
        host = f"[{self.bind_address}]" if ":" in self.bind_address else self.bind_address
        return f"{host}:{self.port}"

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
    file_text = ""
    if env is None:
        file, problems = read_env_file(ENV_FILE)
        if problems:  # what else is set or missing is not known
            raise ConfigError(problems)
        env = {**file, **os.environ, **find_values_expanded_by_flask(file)}
        file_text = read_text(ENV_FILE)
    cut = cut_comments(file, env, SETTINGS)
    value_files = read_value_files(env, SETTINGS)
    reader = Reader({**env, **cut}, instance or ROOT / "instance", file_text, value_files)
    reader.problems += [f"{name}: its value has a comment; put it on its own line" for name in cut]
    reader.problems += find_unread_names(file, {**env, **value_files.values}, SETTINGS)
    values: dict[str, object] = read_settings(Config, reader)
    if reader.problems:
        raise ConfigError(reader.problems)
    facts = {"demo": reader.demo, "instance": reader.instance, "value_files": value_files.paths}
    return Config(**facts, **values)  # type: ignore[arg-type]
