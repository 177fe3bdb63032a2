"""`.env`: what cannot be read of it is one sentence, and a misspelt name is said so."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from flask.cli import load_dotenv

import config
from config import SETTINGS, Config, ConfigError, load
from smstracker.settings.files import read_env_file
from smstracker.settings.reader import Reader, read_settings
from smstracker.settings.unread_names import OTHER_NAMES, RESERVED
from tests.live_settings import LIVE

Load = Callable[[], str]


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The `.env` that is read, and nothing of ours in the environment."""
    path = tmp_path / ".env"
    monkeypatch.setattr(config, "ENV_FILE", path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    return path


@pytest.fixture
def problems(env_file: Path, tmp_path: Path) -> Load:
    """What loading complains of."""

    def read() -> str:
        try:
            load(instance=tmp_path / "instance")
        except ConfigError as error:
            return "\n".join(error.problems)
        return ""

    return read


REAL = f"TWILIO_ACCOUNT_SID=AC{'1' * 32}\nTWILIO_AUTH_TOKEN={'f0' * 16}\n"


@pytest.mark.parametrize(
    "text",
    [
        REAL,  # but the environment sets both to nothing
        "SECRET=" + REAL.replace("\n", " "),
        "SECRET=" + REAL.replace("\n", "\\n"),
        f"NOTE='it\n{REAL}'\n",
        re.sub("^", "SMS_", REAL.strip(), flags=re.M),
        re.sub("^", "$env:", REAL.strip(), flags=re.M),
    ],
)
def test_real_settings_that_nothing_reads_start_no_demo(
    env_file: Path, problems: Load, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    env_file.write_text(text)
    for name in ("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")
    assert "TWILIO_ACCOUNT_SID has a value in .env" in problems()


def test_real_settings_in_comments_start_a_demo(env_file: Path, problems: Load) -> None:
    env_file.write_text(re.sub("^", " # ", REAL.strip(), flags=re.M) + "\nTWILIO_AUTH_TOKEN=\n")
    assert problems() == ""


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_file_that_is_no_utf8_is_named(env_file: Path, problems: Load, encoding: str) -> None:
    env_file.write_text("MAIL_DEFAULT_SENDER=Empfänger@example.org\n", encoding=encoding)
    assert problems() == ".env: is not UTF-8 text; save it as UTF-8"


def test_file_with_a_byte_order_mark_is_read(env_file: Path, problems: Load) -> None:
    env_file.write_text("PORT=nonsense\n", encoding="utf-8-sig")
    assert problems().startswith("PORT: must be a whole number")


def test_folder_in_its_place_is_named(env_file: Path, problems: Load) -> None:
    env_file.mkdir()
    assert problems() == ".env: cannot be read (Is a directory)"


def test_link_to_a_file_that_is_not_there_starts_no_demo(env_file: Path, problems: Load) -> None:
    env_file.symlink_to("secrets-that-are-not-mounted")
    assert problems() == ".env: cannot be read (No such file or directory)"


def test_file_of_somebody_else_is_named(
    env_file: Path, problems: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text("PORT=8000\n")

    def refuse(*_args: object, **_more: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)  # the tests may run as root
    assert problems() == ".env: cannot be read (Permission denied)"


def test_line_that_is_no_setting_is_named_without_what_it_says(
    env_file: Path, problems: Load
) -> None:
    env_file.write_text("PORT=8000\nSECRET_KEY secret-words\n\nMAIL_SERVER='half\n")
    assert "line 2 is not NAME=value" in problems()
    assert "secret-words" not in problems()


@pytest.mark.parametrize("bad_line", ["\x1a", "PORT 8000", "TWILIO_ACCOUNT_SID=other"])
def test_file_that_cannot_be_used_leads_to_no_claim_about_other_settings(
    env_file: Path, problems: Load, monkeypatch: pytest.MonkeyPatch, bad_line: str
) -> None:
    monkeypatch.setenv("MAIL_USERNAME", "app@example.org")  # the file has its password
    env_file.write_text(f"MAIL_PASSWORD=s3cret\n{REAL}{bad_line}")
    assert re.fullmatch(r"\.env: .*line.*", problems())


def test_comment_in_the_file_is_no_part_of_a_value_unless_it_is_quoted(
    env_file: Path, problems: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text("PORT=8000  # web\nMAIL_PASSWORD='a # b'\nMAIL_USERNAME=app # mail\n")
    assert problems() == ""
    monkeypatch.setenv("PORT", "8000  # web")  # as systemd reads the same file
    assert problems() == "PORT: its value has a comment; put it on its own line"


def test_file_is_shut_to_others(env_file: Path, problems: Load) -> None:
    env_file.write_text("PORT=8000\n")
    env_file.chmod(0o644)
    assert problems() == ""
    assert env_file.stat().st_mode & 0o777 == 0o600


def test_file_for_a_group_keeps_its_rights(env_file: Path, problems: Load) -> None:
    """A service reads a file of root by its group, and must not be shut out by root's command."""
    env_file.write_text("PORT=8000\n")
    env_file.chmod(0o640)
    assert problems() == ""
    assert env_file.stat().st_mode & 0o777 == 0o640


def test_file_with_a_null_byte_is_named(env_file: Path, problems: Load) -> None:
    env_file.write_text("PORT=8000\nMAIL_PASSWORD=a\0b\n")
    assert problems() == ".env: is not UTF-8 text; save it as UTF-8"


def test_file_of_a_foreign_owner_keeps_its_rights(
    env_file: Path, problems: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text("PORT=8000\n")
    env_file.chmod(0o644)
    monkeypatch.setattr(os, "geteuid", lambda: env_file.stat().st_uid + 1)
    assert problems() == ""
    assert env_file.stat().st_mode & 0o777 == 0o644


DOLLARS = "MAIL_PASSWORD='pa${x}ss'\nMAIL_USERNAME=${HOME}\nTWILIO_EDGE=${LATER:-x}\n"


def test_value_in_the_file_is_taken_as_it_is_written(env_file: Path) -> None:
    env_file.write_text(DOLLARS)
    values = {
        "MAIL_PASSWORD": "pa${x}ss",
        "MAIL_USERNAME": "${HOME}",
        "TWILIO_EDGE": "${LATER:-x}",
    }
    assert read_env_file(env_file) == (values, [])


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment of its own, of a process that was started as Flask's command."""
    environment = {"FLASK_RUN_FROM_CLI": "true", "HOME": "/home/x"}
    monkeypatch.setattr(os, "environ", environment)
    return environment


def test_value_that_flask_has_loaded_is_taken_as_it_is_written(
    env_file: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    env_file.write_text(DOLLARS.replace("${LATER:-x}", "dublin"))
    load_dotenv(env_file, load_defaults=False)
    assert environment["MAIL_USERNAME"] == "/home/x"
    mail = load(instance=tmp_path / "instance").mail
    assert (mail.username, mail.password) == ("${HOME}", "pa${x}ss")


def test_environment_wins_over_the_file_in_our_own_command(
    env_file: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    environment |= {"FLASK_SKIP_DOTENV": "1", "MAIL_PASSWORD": "of the process"}
    env_file.write_text("MAIL_PASSWORD='pa${x}ss'\nMAIL_USERNAME=somebody\n")
    assert load(instance=tmp_path / "instance").mail.password == "of the process"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TWILIO_ACCUONT_SID", "TWILIO_ACCOUNT_SID"),
        ("SIGNIN_ALLOW", "SIGN_IN_ALLOW"),
        ("MAIL_SEVER", "MAIL_SERVER"),
        ("twilio_auth_token", "TWILIO_AUTH_TOKEN"),
        ("TWILIO-PHONE-NUMBER", "TWILIO_PHONE_NUMBER"),
        ("PUBLIC_BASEURL", "PUBLIC_BASE_URL"),
        ("Port", "PORT"),
        ("BIND_ADDR", "BIND_ADDRESS"),
        ("TWILIO_TOKEN", "TWILIO_AUTH_TOKEN"),
        ("AUTH_TOKEN", "TWILIO_AUTH_TOKEN"),
        ("MAIL_TLS", "MAIL_USE_TLS"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("MAIL_HOST", "MAIL_SERVER"),
        ("MAIL_FROM", "MAIL_DEFAULT_SENDER"),
        ("MAIL_FROM_ADDRESS", "MAIL_DEFAULT_SENDER"),
        ("MAIL_ENCRYPTION", "MAIL_USE_TLS"),
        ("SMTP_HOST", "MAIL_SERVER"),
        ("EMAIL_HOST_USER", "MAIL_USERNAME"),
        ("SMTP_PASS", "MAIL_PASSWORD"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("SQLALCHEMY_DATABASE_URI", "DATABASE_URL"),
        ("TWILIO_FROM_NUMBER", "TWILIO_PHONE_NUMBER"),
        ("TWILIO_SID", "TWILIO_ACCOUNT_SID"),
        ("FLASK_SECRET_KEY", "SECRET_KEY"),
        ("BASE_URL", "PUBLIC_BASE_URL"),
        ("TWILIO_SENDER_NUMBER", "TWILIO_PHONE_NUMBER"),
        ("TWILIO_FROM_PHONE_NUMBER", "TWILIO_PHONE_NUMBER"),
        ("TWILIO_CALLER_ID", "TWILIO_PHONE_NUMBER"),
        ("TWILIO_SMS_FROM", "TWILIO_PHONE_NUMBER"),
        ("TWILIO_SECONDARY_AUTH_TOKEN", "TWILIO_AUTH_TOKEN_SECONDARY"),
        ("SMSTRACKER_TWILIO_AUTH_TOKEN", "TWILIO_AUTH_TOKEN"),
        ("SMSTRACKER_SECRET_KEY", "SECRET_KEY"),
        ("DEFAULT_COUNTRY", "DEFAULT_REGION"),
        ("PHONENUMBER_DEFAULT_REGION", "DEFAULT_REGION"),
        ("SQLALCHEMY_DATABASE_URL", "DATABASE_URL"),
        ("POSTGRES_URI", "DATABASE_URL"),
        ("POSTGRESQL_URL", "DATABASE_URL"),
        ("DB_HOST", "DATABASE_URL"),
        ("DATABASE_CONNECTION_STRING", "DATABASE_URL"),
        ("SQLITE_URL", "DATABASE_URL"),
        ("ALLOWED_EMAIL_DOMAINS", "SIGN_IN_ALLOW"),
        ("NUM_PROXIES", "TRUSTED_PROXIES"),
        ("TRUST_PROXY", "TRUSTED_PROXIES"),
        ("SMTP_ADDRESS", "MAIL_SERVER"),
        ("FROM_EMAIL", "MAIL_DEFAULT_SENDER"),
        ("SENDER_EMAIL", "MAIL_DEFAULT_SENDER"),
        ("MAILER_EMAIL", "MAIL_DEFAULT_SENDER"),
        ("MAILER_SENDER_EMAIL", "MAIL_DEFAULT_SENDER"),
    ],
)
def test_misspelt_name_in_the_file_is_reported_without_its_value(
    env_file: Path, problems: Load, name: str, meant: str
) -> None:
    env_file.write_text(f"{name}=visible\n")
    assert problems() == f"{name}: unknown; is {meant} meant?"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MAIL_SEVER", "MAIL_SERVER"),
        ("MAIL_PROT", "MAIL_PORT"),
        ("TWILIO_ACCUONT_SID", "TWILIO_ACCOUNT_SID"),
        ("TWILIO_PHONENUMBER", "TWILIO_PHONE_NUMBER"),
        ("Secret_Key", "SECRET_KEY"),
        ("LOOKUP_PER_SECOND", "LOOKUPS_PER_SECOND"),
        ("LOOKUPS_PER_SECNDO", "LOOKUPS_PER_SECOND"),
        ("LOOKUPS_PER_SEC", "LOOKUPS_PER_SECOND"),
        ("TRUSTED_PROXY", "TRUSTED_PROXIES"),
        ("DATABASE_ULR", "DATABASE_URL"),
        ("TWILLIO_ACCOUNT_SID", "TWILIO_ACCOUNT_SID"),
        ("TWILIO_PHONE_NUMBERS", "TWILIO_PHONE_NUMBER"),
        ("TWILIO_SECONDARY_AUTH_TOKEN", "TWILIO_AUTH_TOKEN_SECONDARY"),
        ("LOOK_UPS_PER_SECOND", "LOOKUPS_PER_SECOND"),
    ],
)
def test_misspelt_name_in_the_environment_is_reported(
    tmp_path: Path, name: str, meant: str
) -> None:
    with pytest.raises(ConfigError, match=f"{name}: unknown; is {meant} meant"):
        load({name: "visible"}, instance=tmp_path)


@pytest.mark.parametrize("setting", sorted(SETTINGS - {"PORT"}))
def test_letter_that_is_missing_swapped_or_doubled_is_reported(
    env_file: Path, problems: Load, setting: str
) -> None:
    typos: set[str] = set()
    for i in range(1, len(setting) - 1):
        swapped = setting[:i] + setting[i + 1] + setting[i] + setting[i + 2 :]
        typos |= {setting[:i] + setting[i + 1 :], swapped, setting[: i + 1] + setting[i:]}
    names = sorted(typos - SETTINGS)
    env_file.write_text("".join(f"{name}=x\n" for name in names))
    assert problems().splitlines() == [f"{name}: unknown; is {setting} meant?" for name in names]


def test_other_names_are_of_settings() -> None:
    assert OTHER_NAMES.keys() <= SETTINGS | RESERVED


def test_names_of_other_programs_in_the_environment_are_left_alone(tmp_path: Path) -> None:
    others = "MAIL MAILTO MAIL_HOST MAIL_PATH HOSTNAME PORTS SPORT REPORT port SECRET_KEY_BASE"
    others += " EMULATOR_PORT TWILIO_TOKEN TWILIO_API_KEY WEB_PORT AWS_DEFAULT_REGION SECRETS"
    others += " EMAIL_SERVER EMAIL_PORT EMAIL_USERNAME EMAIL_USE_TLS GMAIL_PASSWORD"
    others += " DATABASE_SSL TEAM_LOGO DATABASE_URI DATABASE_URLS SECRETKEY SECRET_KEYS MAIL_POST"
    others += " SMTP_HOST EMAIL_HOST MAIL_FROM MAIL_SERVERS SMTP_PORT FLASK_SECRET_KEY BASE_URL"
    others += " TWILIO_SID TWILIO_FROM POSTGRES_URL HOST BIND_ADDRESSES KEY_SECRET DATABASE_USER"
    others += " TWILIO_ACCOUNT TWILIO_SUBACCOUNT_SID TWILIO_PHONE_NUM TWILIO_PHONE_NUMBER_2"
    others += " TWILIO_AUTH_TOKEN_PROD SMS_ACCOUNT_SID SMS_LIMIT_PER_DAY SEND_LIMIT_PER_HOUR"
    others += " TWILIO_WEBHOOKS"
    load(dict.fromkeys(others.split(), "x"), instance=tmp_path)


def test_names_of_other_programs_are_left_alone(
    env_file: Path, problems: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = "MAILTO MAIL PORT_8000_TCP SECRET_KEY_BASE SENTRY_ENVIRONMENT TZ COMPOSE_PROJECT_NAME"
    others += " COMPOSE_FILE POSTGRES_USER POSTGRES_PASSWORD POSTGRES_PASSWORD_FILE POSTGRES_DB"
    others += " POSTGRES_PORT PGADMIN_DEFAULT_EMAIL DATABASE_USER DB_PASSWORD AWS_DEFAULT_REGION"
    others += " ACME_EMAIL HTTP_PROXY NO_PROXY SSL_CERT_FILE SMSTRACKER_PORT SMSTRACKER_IMAGE_TAG"
    others += " WEBHOOK_URL WEBHOOK_SECRET N8N_WEBHOOK_URL ADMIN_EMAIL BACKUP_KEEP_DAYS"
    env_file.write_text("".join(f"{name}=x\n" for name in others.split()))
    assert problems() == ""
    monkeypatch.setenv("port", "x")
    monkeypatch.setenv("DATABASE_URI", "x")  # plausible, while ours is set
    monkeypatch.setenv("DATABASE_URL", "sqlite:////tmp/x.sqlite")
    assert problems() == ""


def test_other_name_in_the_file_is_left_alone_beside_the_setting(
    env_file: Path, problems: Load
) -> None:
    env_file.write_text("BIND_ADDRESS=127.0.0.1\nLISTEN=x\nDATABASE_URL=sqlite:////tmp/x.sqlite\n")
    with env_file.open("a") as file:
        file.write("DB_URL=x\n")
    assert problems() == ""


@pytest.mark.parametrize(
    "name",
    [
        "TWILIO_AUTH_TOKEN_OLD",
        "SMTP_USER_NAME",
        "SMTP_HOST_ADDR",
        "SMTP_USER_PWD",
        "SMTP_URL",
        "EMAIL_SERVER_HOST",
        "EMAIL_URL",
        "MAILER_DSN",
        "MAIL_SCHEME",
        "SIGN_IN_DOMAINS",
    ],
)
def test_name_in_the_file_of_a_family_of_ours_is_reported_without_a_guess(
    env_file: Path, problems: Load, name: str
) -> None:
    env_file.write_text(f"{name}=visible\n")
    sentence = f"{name}: unknown, so nothing reads it; .env.example lists the settings"
    assert problems() == sentence


@pytest.mark.parametrize(
    "name",
    [
        "TWILIO_API_KEY",
        "TWILIO_API_KEY_FILE",
        "TWILIO_API_SECRET",
        "TWILIO_VERIFY_SERVICE_SID",
        "TWILIO_TEST_ACCOUNT_SID",
    ],
)
def test_name_of_another_product_of_twilio_may_share_the_file(
    env_file: Path, problems: Load, name: str
) -> None:
    env_file.write_text(f"{name}=visible\n")
    assert problems() == ""


def test_empty_values_are_no_misspellings(env_file: Path, problems: Load) -> None:
    env_file.write_text("MAIL_SEVER=\nSECRET_KEY_FILE=\nTEAM_LOG=\nTWILIO_EDGE=dublin\n")
    assert problems() == ""


@pytest.mark.parametrize("name", [*sorted(RESERVED), "TEAM_LOGS", "TEAM_LOG_FILE"])
def test_name_in_the_file_that_no_version_reads_yet_stops_the_start(
    env_file: Path, problems: Load, name: str
) -> None:
    env_file.write_text(f"{name}=30\n")
    assert problems() == f"{name}: is not read in this version; remove it"


@pytest.mark.parametrize("name", [*sorted(RESERVED), "TEAM_LOG_FILE"])
def test_name_in_the_environment_that_no_version_reads_yet_stops_the_start(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError, match=f"{name}: is not read in this version; remove it"):
        load(LIVE | {name: "30"}, instance=tmp_path)


def test_names_like_our_shared_ones_may_be_of_other_programs(tmp_path: Path) -> None:
    others = {"HEARTBEAT_URLS": "x", "SENTRY_ENVIRONMENT": "x", "METRICS_PORT": "x"}
    load(LIVE | others, instance=tmp_path)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("secret_key_file", "SECRET_KEY_FILE"),
        ("TWILIO_ACCUONT_SID_FILE", "TWILIO_ACCOUNT_SID_FILE"),
        ("SMTP_PASSWORD_FILE", "MAIL_PASSWORD_FILE"),
        ("POSTGRES_URL_FILE", "DATABASE_URL_FILE"),
        ("SMSTRACKER_SIGN_IN_ALLOW_FILE", "SIGN_IN_ALLOW_FILE"),
    ],
)
def test_misspelt_name_of_a_file_in_the_file_stops_the_start(
    env_file: Path, problems: Load, name: str, meant: str
) -> None:
    env_file.write_text(f"{name}=/run/secrets/visible\n")
    assert problems() == f"{name}: unknown; is {meant} meant?"


def test_settings_are_the_names_that_are_read(tmp_path: Path) -> None:
    names: set[str] = set()

    class Spy(dict[str, str]):
        def get(self, name: str, *default: object) -> object:  # type: ignore[override]
            names.add(name)
            return super().get(name, *default)

    mail = {"MAIL_SERVER": "localhost", "MAIL_DEFAULT_SENDER": "a@b.c"}
    for settings in ({}, LIVE | mail):
        reader = Reader(settings, tmp_path)
        reader.env = Spy(reader.env)
        read_settings(Config, reader)
    assert {name for name in names if not name.endswith("_FILE")} == SETTINGS


def test_readme_and_example_list_the_settings() -> None:
    table = (config.ROOT / "README.md").read_text().split("## Settings")[1].split("## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall("`([A-Z_]+)`", " ".join(rows))) == SETTINGS
    lines = (config.ROOT / ".env.example").read_text().splitlines()
    names = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    assert names == SETTINGS


def test_name_with_two_values_stops_the_start(env_file: Path, problems: Load) -> None:
    """Settings of an example file that is appended must not turn an installation into a demo."""
    live = "".join(f"{name}={value}\n" for name, value in LIVE.items())
    emptied = "".join(f"{name}=\n" for name in LIVE)
    env_file.write_text(live + emptied)
    lines = f"lines 1 and {len(LIVE) + 1}"
    assert f".env: {next(iter(LIVE))} has different values in {lines}; keep one" in problems()
    env_file.write_text(live + live)
    assert problems() == ""


@pytest.mark.parametrize("hidden", ["\u200b", "\u2060", "\ufeff"])
def test_name_behind_a_hidden_character_is_no_demo(
    env_file: Path, problems: Load, hidden: str
) -> None:
    env_file.write_text("".join(f"{hidden}{name}={value}\n" for name, value in LIVE.items()))
    assert "TWILIO_ACCOUNT_SID: its name has a foreign or hidden character" in problems()
