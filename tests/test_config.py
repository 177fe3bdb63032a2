"""Settings: checked at the start, all problems at once, no value ever shown."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config import Config, ConfigError, load
from smstracker.settings.files import make_private
from smstracker.settings.secret_key import OTHER_SECRETS
from tests.live_settings import LIVE


def problems(tmp_path: Path, **changed: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(LIVE | changed, instance=tmp_path)
    return "\n".join(caught.value.problems)


def test_nothing_set_starts_demo_mode(tmp_path: Path) -> None:
    config = load({}, instance=tmp_path)
    assert config.demo
    assert config.public_base_url == "http://127.0.0.1:8000"
    assert config.twilio_api_base_url == "http://127.0.0.1:8001"
    assert config.sign_in_allow is None
    assert config.is_sqlite


FULL = LIVE | {
    "DATABASE_URL": "sqlite:////srv/sms.sqlite",
    "MAIL_SERVER": "mail.example.org",
    "MAIL_USERNAME": "app@example.org",
    "MAIL_PASSWORD": "s3cret",
    "MAIL_USE_TLS": "on",
    "MAIL_DEFAULT_SENDER": "sms@example.org",
    "TWILIO_WEBHOOK_KEYS": "k1:0123456789abcdef",
    "WEB_THREADS": "16",
}


@pytest.mark.parametrize("name", FULL)
def test_comment_that_became_part_of_a_value_is_the_one_problem(tmp_path: Path, name: str) -> None:
    """As systemd's EnvironmentFile and docker's --env-file pass it on."""
    found = problems(tmp_path, **FULL | {name: f"{FULL[name]}   # what it is for"})
    assert found == f"{name}: its value has a comment; put it on its own line"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "sqlite:////srv/sms.sqlite #ours"),
        ("TWILIO_WEBHOOK_KEYS", "k1:0123456789abcdef\t# key"),
        ("TWILIO_MESSAGING_SERVICE_SID", "# none yet"),
        ("MAIL_PASSWORD", "# to be set"),
    ],
)
def test_other_comment_in_a_value_is_named(tmp_path: Path, name: str, value: str) -> None:
    assert f"{name}: its value has a comment" in problems(tmp_path, **FULL | {name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAIL_PASSWORD", "pass #word"),
        ("MAIL_PASSWORD", "#pass# word"),
        ("MAIL_USERNAME", "team #1"),
        ("MAIL_DEFAULT_SENDER", "SMS Team #1 <sms@example.org>"),
        ("SECRET_KEY", "0123456789-qwertz #asdfgh yxcvbn-98"),
        ("DATABASE_URL", "sqlite:////srv/sms#1.sqlite"),
        ("DATABASE_URL", "postgresql://sms:pa#ss@db/sms"),
    ],
)
def test_hash_within_a_value_is_no_comment(tmp_path: Path, name: str, value: str) -> None:
    load(FULL | {name: value}, instance=tmp_path)


def test_demo_secrets_are_made_once_and_kept_private(tmp_path: Path) -> None:
    first, second = load({}, instance=tmp_path / "i"), load({}, instance=tmp_path / "i")
    assert first.secret_key == second.secret_key
    assert first.auth_tokens == second.auth_tokens
    assert len({first.secret_key, *first.auth_tokens}) == 3
    assert {p.stat().st_mode & 0o077 for p in (tmp_path / "i").iterdir()} == {0}


def test_processes_that_start_at_once_share_the_demo_secrets(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: load({}, instance=tmp_path / "i"), range(16)))
    assert len({config.secret_key for config in found}) == 1


def test_live_settings_are_read(tmp_path: Path) -> None:
    config = load(LIVE | {"SIGN_IN_ALLOW": "Me@Example.org, @Clinic.example"}, instance=tmp_path)
    assert not config.demo
    assert config.sign_in_allow == ("me@example.org", "@clinic.example")
    assert config.twilio_api_base_url == "https://api.twilio.com"
    assert load(LIVE, instance=tmp_path).sign_in_allow == ()


def test_sign_in_list_may_be_typed_in_full_width_signs(tmp_path: Path) -> None:
    config = load(LIVE | {"SIGN_IN_ALLOW": "＠Clinic.example, ａ＠b.example"}, instance=tmp_path)
    assert config.sign_in_allow == ("@clinic.example", "a@b.example")
    for entry in ("＊＠example.org", "@clinic", "a@b"):
        assert "entry 1 is neither" in problems(tmp_path, SIGN_IN_ALLOW=entry)


def test_live_mode_makes_the_folder_of_the_default_database(tmp_path: Path) -> None:
    load(LIVE, instance=tmp_path / "instance")
    assert (tmp_path / "instance").is_dir()


def test_simulator_has_a_port_of_its_own(tmp_path: Path) -> None:
    assert load({"PORT": "65535"}, instance=tmp_path).simulator_port == 65534
    with pytest.raises(ConfigError, match="SIMULATOR_PORT"):
        load({"SIMULATOR_PORT": "8000"}, instance=tmp_path)


def test_demo_is_one_process_because_its_mailbox_is(tmp_path: Path) -> None:
    assert load({"DATABASE_URL": "postgresql://h/d"}, instance=tmp_path).web_concurrency == 1


def test_listening_address_may_be_a_name_of_this_machine(tmp_path: Path) -> None:
    assert load({"BIND_ADDRESS": "localhost"}, instance=tmp_path).listen == "localhost:8000"


def test_listening_address_may_be_ipv6(tmp_path: Path) -> None:
    assert load({}, instance=tmp_path).listen == "127.0.0.1:8000"
    assert load({"BIND_ADDRESS": "::1"}, instance=tmp_path).listen == "[::1]:8000"


def test_blank_settings_count_as_unset(tmp_path: Path) -> None:
    assert load(dict.fromkeys(LIVE, " "), instance=tmp_path).demo


@pytest.mark.parametrize("region", ["UK", "uk", "EN", "United Kingdom"])
def test_region_of_the_united_kingdom_is_named(tmp_path: Path, region: str) -> None:
    assert "such as US, or GB for the United Kingdom" in problems(tmp_path, DEFAULT_REGION=region)


def test_every_problem_is_reported_at_once_without_a_value(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        SECRET_KEY="",
        PUBLIC_BASE_URL="http://visible.example.org",
        TWILIO_ACCOUNT_SID="visible",
        TWILIO_PHONE_NUMBER="",
        PORT="visible",
        MAIL_USE_TLS="visible",
        DEFAULT_REGION="visible",
        DATABASE_URL="mysql://visible",
        SIGN_IN_ALLOW="visible",
    )
    names = {line.partition(":")[0] for line in found.splitlines()}
    assert names == {
        *("SECRET_KEY", "PUBLIC_BASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_PHONE_NUMBER", "PORT"),
        *("MAIL_USE_TLS", "DEFAULT_REGION", "DATABASE_URL", "SIGN_IN_ALLOW"),
    }
    assert "visible" not in found


@pytest.mark.parametrize("missing", sorted(LIVE))
def test_live_mode_without_one_of_its_settings_does_not_start(tmp_path: Path, missing: str) -> None:
    assert missing in problems(tmp_path, **{missing: ""})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWILIO_ACCOUNT_SID", "AC…"),
        ("TWILIO_AUTH_TOKEN", "…"),
        ("TWILIO_SUBACCOUNT_TOKENS", f"AC{'2' * 32}:…"),
        ("MAIL_SERVER", "<your server>"),
    ],
)
def test_placeholder_is_one_problem(tmp_path: Path, name: str, value: str) -> None:
    said = problems(tmp_path, **{name: value}).splitlines()
    lines = [line for line in said if f"{name}: " in line]
    assert lines == [f"{name}: still holds a placeholder; set the real value"]


def test_api_key_is_no_account(tmp_path: Path) -> None:
    said = problems(tmp_path, TWILIO_ACCOUNT_SID="SK" + "1" * 32)
    assert "hexadecimal digits. This is an API key (SK…), which cannot verify callbacks" in said


@pytest.mark.parametrize("tokens", ["AC1:t", "AC" + "2" * 32, "AC" + "1" * 32 + ":t", "nonsense"])
def test_subaccount_tokens_are_pairs_of_other_accounts(tmp_path: Path, tokens: str) -> None:
    assert "TWILIO_SUBACCOUNT_TOKENS" in problems(tmp_path, TWILIO_SUBACCOUNT_TOKENS=tokens)


def test_subaccount_tokens_are_read(tmp_path: Path) -> None:
    one, other = "AC" + "2" * 32, "AC" + "3" * 32
    tokens = f"{one}:the-first, {other}: the-second "
    config = load(LIVE | {"TWILIO_SUBACCOUNT_TOKENS": tokens}, instance=tmp_path)
    assert config.twilio_subaccount_tokens == {one: "the-first", other: "the-second"}


@pytest.mark.parametrize("keys", ["id", "id:", ":secret", "i d:secret", "a:1,a:2", "a:1,nonsense"])
def test_webhook_keys_are_pairs_of_different_ids(tmp_path: Path, keys: str) -> None:
    said = problems(tmp_path, TWILIO_WEBHOOK_KEYS=keys)
    assert "TWILIO_WEBHOOK_KEYS" in said
    assert "secret," not in said


def test_webhook_keys_are_read_and_kept_out_of_sight(tmp_path: Path) -> None:
    keys = {"TWILIO_WEBHOOK_KEYS": "webhooks_sharedkey_1:fi:rst==, k-2: the-second "}
    config = load(LIVE | keys, instance=tmp_path)
    assert config.twilio_webhook_keys == {"webhooks_sharedkey_1": "fi:rst==", "k-2": "the-second"}
    assert "fi:rst" not in repr(config)


def test_demo_makes_its_own_webhook_key_and_takes_no_other(tmp_path: Path) -> None:
    assert list(load({}, instance=tmp_path).twilio_webhook_keys) == ["webhooks_sharedkey_demo"]
    with pytest.raises(ConfigError, match="TWILIO_WEBHOOK_KEYS"):
        load({"TWILIO_WEBHOOK_KEYS": "a:b"}, instance=tmp_path)


def test_a_messaging_service_is_sender_enough(tmp_path: Path) -> None:
    service = {"TWILIO_PHONE_NUMBER": "", "TWILIO_MESSAGING_SERVICE_SID": "MG" + "a" * 32}
    assert load(LIVE | service, instance=tmp_path).twilio_phone_numbers == ()


@pytest.mark.parametrize("sender", ["Shop-1", "Shop_1", "Shop & Co", "Shop+", "+Shop", "A"])
def test_sender_with_characters_that_some_countries_take_is_left_to_twilio(
    tmp_path: Path, sender: str
) -> None:
    senders = load(LIVE | {"TWILIO_PHONE_NUMBER": sender}, instance=tmp_path).twilio_phone_numbers
    assert senders == (sender,)


@pytest.mark.parametrize(
    "base",
    [
        "https://a.example/path",
        "https://u:p@a.example",
        "https://a.example?x=1",
        "a.example",
        "ftp://a.example",
        "https://",
        "https://a b",
        "https://a.example:99999",
        "https://192.168.1.256",
        "https://10.1:8000",
        "https://2130706433",
        "https://a..example",
        "https://[::1",
    ],
)
def test_public_base_url_has_to_be_scheme_and_host(tmp_path: Path, base: str) -> None:
    assert "PUBLIC_BASE_URL: must be like" in problems(tmp_path, PUBLIC_BASE_URL=base)


@pytest.mark.parametrize("base", ["http://127.0.0.1:8000", "http://localhost", "http://[::1]:1"])
def test_loopback_may_be_http(tmp_path: Path, base: str) -> None:
    assert load(LIVE | {"PUBLIC_BASE_URL": base + "/"}, instance=tmp_path).public_base_url == base


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.30",
        "[::1]:5432",
        "db-1",
        "%2Frun%2Fpostgresql",
        "/d?host=/tmp/1",
        "/d?host=a,10.0.0.1",
    ],
)
def test_database_may_be_at_a_name_an_address_or_a_socket(tmp_path: Path, host: str) -> None:
    url = f"postgresql+psycopg://{host}"
    assert load(LIVE | {"DATABASE_URL": url}, instance=tmp_path).database_url == url


@pytest.mark.parametrize("url", ["postgres://u:p@h/d", "postgresql://u:p@h/d"])
def test_postgres_urls_get_the_driver(tmp_path: Path, url: str) -> None:
    config = load(LIVE | {"DATABASE_URL": url}, instance=tmp_path)
    assert config.database_url == "postgresql+psycopg://u:p@h/d"
    assert config.web_concurrency == 2


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"MAIL_SERVER": "mail.example.org"}, "MAIL_DEFAULT_SENDER"),
        ({"MAIL_USE_TLS": "1", "MAIL_USE_SSL": "1"}, "MAIL_USE_TLS"),
        ({"MAIL_USERNAME": "u"}, "MAIL_PASSWORD"),
        ({"MAIL_PASSWORD": "p"}, "MAIL_USERNAME"),
        ({"MAIL_SERVER": "m.example", "MAIL_USERNAME": "u", "MAIL_PASSWORD": "p"}, "in the clear"),
        ({"TWILIO_AUTH_TOKEN": "…"}, "TWILIO_AUTH_TOKEN: still holds a placeholder"),
        *(
            ({"TWILIO_AUTH_TOKEN": text}, "TWILIO_AUTH_TOKEN: still holds a placeholder")
            for text in (
                *("your_auth_token", "your-token", "YourAuthToken", "your_token_here"),
                *("[AuthToken]", "{token}", "auth_token", "the_auth_token", "my_auth_token"),
                *("changeme", "change_this", "REPLACE_ME", "placeholder", "xxx", "XXXXXXXX"),
            )
        ),
        ({"TWILIO_AUTH_TOKEN": "AC" + "1" * 32}, "TWILIO_AUTH_TOKEN: is a SID"),
        ({"TWILIO_AUTH_TOKEN": "sk" + "1" * 32}, "TWILIO_AUTH_TOKEN: is a SID"),
        ({"TWILIO_AUTH_TOKEN_SECONDARY": "none"}, "TWILIO_AUTH_TOKEN_SECONDARY: is too short"),
        ({"TWILIO_WEBHOOK_KEYS": "key:secret"}, "TWILIO_WEBHOOK_KEYS: is too short"),
        ({"TWILIO_AUTH_TOKEN": "${TWILIO_AUTH_TOKEN}"}, "TWILIO_AUTH_TOKEN: is a reference"),
        ({"TWILIO_AUTH_TOKEN_SECONDARY": "$TOKEN"}, "TWILIO_AUTH_TOKEN_SECONDARY: is a reference"),
        ({"TWILIO_AUTH_TOKEN_FORMER": LIVE["TWILIO_AUTH_TOKEN"]}, "_FORMER: is the same as"),
        (
            dict.fromkeys(("TWILIO_AUTH_TOKEN_FORMER", "TWILIO_AUTH_TOKEN_SECONDARY"), "f" * 32),
            "_FORMER: is the same as TWILIO_AUTH_TOKEN_SECONDARY, which is accepted",
        ),
        ({"TWILIO_SUBACCOUNT_TOKENS": f"{'AC' + '2' * 32}:{'AC' + '2' * 32}"}, "_TOKENS: is a SID"),
        ({"TWILIO_WEBHOOK_KEYS": "key-1:key-1"}, "TWILIO_WEBHOOK_KEYS: is the same as its key id"),
        ({"TWILIO_SUBACCOUNT_TOKENS": f"AC{'2' * 32}:your_token"}, "_TOKENS: still"),
        ({"TWILIO_WEBHOOK_KEYS": "KEYID:changeme"}, "TWILIO_WEBHOOK_KEYS: still"),
        ({"MAIL_SERVER": "your-mail-server"}, "MAIL_SERVER: still"),
        ({"MAIL_PASSWORD": "your password"}, "MAIL_PASSWORD: still"),
        ({"TWILIO_AUTH_TOKEN_SECONDARY": "<token>"}, "TWILIO_AUTH_TOKEN_SECONDARY: still"),
        ({"TWILIO_WEBHOOK_KEYS": "KEYID:…"}, "TWILIO_WEBHOOK_KEYS: still"),
        ({"MAIL_PASSWORD": "..."}, "MAIL_PASSWORD: still"),
        ({"MAIL_USERNAME": "u"}, "MAIL_SERVER: required, because MAIL_USERNAME is set"),
        ({"MAIL_PASSWORD": "p"}, "MAIL_SERVER: required, because MAIL_PASSWORD is set"),
        ({"BIND_ADDRESS": "nowhere.invalid"}, "BIND_ADDRESS: must be an IP address of this"),
        ({"BIND_ADDRESS": "127.1"}, "BIND_ADDRESS: must be an IP address of this"),
        ({"BIND_ADDRESS": "0"}, "BIND_ADDRESS: must be an IP address of this"),
        ({"DATABASE_URL": "postgresql://u@10.0.0.300:5432/d"}, "DATABASE_URL: has a host that"),
        ({"DATABASE_URL": "postgresql:///d?host=10.0.0.300:5432"}, "DATABASE_URL: has a host that"),
        ({"TWILIO_API_BASE_URL": "https://10.0.0.300"}, "TWILIO_API_BASE_URL: must be an address"),
        ({"BIND_ADDRESS": "127.0.0.1:8000"}, "BIND_ADDRESS: must be an IP address of this"),
        ({"TWILIO_API_BASE_URL": "http://api.example.org"}, "TWILIO_API_BASE_URL"),
        ({"TWILIO_API_BASE_URL": "nonsense"}, "TWILIO_API_BASE_URL"),
        ({"TWILIO_PHONE_NUMBER": "+1 500"}, "TWILIO_PHONE_NUMBER"),
        ({"TWILIO_PHONE_NUMBER": "+15005O5"}, "TWILIO_PHONE_NUMBER"),
        ({"TWILIO_PHONE_NUMBER": "A-Long_Name&Co"}, "TWILIO_PHONE_NUMBER"),
        ({"TWILIO_PHONE_NUMBER": "12-34"}, "TWILIO_PHONE_NUMBER"),
        ({"TWILIO_PHONE_NUMBER": "Shop!"}, "TWILIO_PHONE_NUMBER"),
        ({"DATABASE_URL": "nonsense"}, "DATABASE_URL"),
        ({"DATABASE_URL": "sqlite://"}, "DATABASE_URL"),
        ({"TWILIO_PHONE_NUMBER": ","}, "TWILIO_PHONE_NUMBER"),
        ({"PORT": "9" * 5000}, "PORT"),
        ({"PORT": "0"}, "PORT: must be a whole number from 1"),
        ({"SIMULATOR_PORT": "0"}, "SIMULATOR_PORT: must be a whole number from 1"),
        ({"MAIL_PORT": "0"}, "MAIL_PORT: must be a whole number from 1"),
        ({"PUBLIC_BASE_URL": "https://a.example:0"}, "PUBLIC_BASE_URL: must be like"),
        ({"RECEIPT_WINDOW_HOURS": "0"}, "RECEIPT_WINDOW_HOURS"),
        ({"SEND_LIMIT_PER_MINUTE": "-1"}, "SEND_LIMIT_PER_MINUTE"),
    ],
)
def test_problem_is_named(tmp_path: Path, changed: dict[str, str], problem: str) -> None:
    assert problem in problems(tmp_path, **changed)


@pytest.mark.parametrize(
    "key",
    [
        "x" * 31,
        "x" * 32,
        "0123456789abcdef" * 4,
        "abcdefghijklmnopqrstuvwxyz012345",
        "please-change-me-before-you-start!",
        "Put-Your-Session-Token-Between-These-1",
        LIVE["TWILIO_AUTH_TOKEN"],
    ],
)
def test_weak_secret_key_is_refused(tmp_path: Path, key: str) -> None:
    said = problems(tmp_path, SECRET_KEY=key)
    assert said.startswith("SECRET_KEY: ")
    assert key not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAIL_SERVER", "your-server.example"),
        ("MAIL_USERNAME", "your-shop@example.org"),
        ("MAIL_USERNAME", "your-team"),
        *(("MAIL_PASSWORD", text) for text in ("themonkey", "Ex4mple-of-mine", "key", "axxx")),
        *(("MAIL_PASSWORD", text) for text in ("wait for it...", "[Xk29!a]", "{a}b", "the-key")),
    ],
)
def test_name_or_password_that_resembles_a_placeholder_is_taken(
    tmp_path: Path, name: str, value: str
) -> None:
    mail = {"MAIL_SERVER": "m.example", "MAIL_DEFAULT_SENDER": "a@example.org"}
    login = {"MAIL_USERNAME": "u", "MAIL_PASSWORD": "p", "MAIL_USE_TLS": "1"}
    config = load(LIVE | mail | login | {name: value}, instance=tmp_path)
    assert getattr(config.mail, name.lower().removeprefix("mail_")) == value


@pytest.mark.parametrize("other", OTHER_SECRETS)
def test_secret_key_that_is_another_secret_too_is_refused(tmp_path: Path, other: str) -> None:
    key = secrets.token_hex(16)
    said = problems(tmp_path, **{"MAIL_USERNAME": "u", other: key, "SECRET_KEY": key})
    assert "SECRET_KEY: must not be the same as another secret" in said


def test_random_secret_keys_are_taken(tmp_path: Path) -> None:
    for key in (secrets.token_hex(16), secrets.token_hex(32), secrets.token_urlsafe(32)):
        assert load(LIVE | {"SECRET_KEY": key}, instance=tmp_path).secret_key == key


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///file:/x?vfs=memdb&uri=true",
        "sqlite+pysqlite:///:memory:",
        "sqlite:///",
    ],
)
def test_database_in_memory_is_refused(tmp_path: Path, url: str) -> None:
    assert problems(tmp_path, DATABASE_URL=url).startswith("DATABASE_URL: must name a file")


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://host/x.sqlite",
        "sqlite:///x.sqlite?colour=red",
        "sqlite:///x.sqlite\n\nPORT=1",
        "postgresql://db/sms\tx",
    ],
)
def test_database_url_that_cannot_be_meant_is_refused(tmp_path: Path, url: str) -> None:
    assert problems(tmp_path, DATABASE_URL=url).startswith("DATABASE_URL: ")


def test_folder_in_the_place_of_a_file_keeps_its_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_private(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o755


def test_folder_of_what_is_generated_is_shut_to_others(tmp_path: Path) -> None:
    instance = tmp_path / "instance"
    instance.mkdir(mode=0o755)
    load({}, instance=instance)
    assert instance.stat().st_mode & 0o777 == 0o700


def test_edge_and_region_are_for_twilios_own_address_alone(tmp_path: Path) -> None:
    edge = {"TWILIO_EDGE": "dublin", "TWILIO_REGION": "ie1"}
    config = load(LIVE | edge, instance=tmp_path)
    assert (config.twilio_edge, config.twilio_region) == ("dublin", "ie1")
    demo = load(edge, instance=tmp_path)
    assert (demo.twilio_edge, demo.twilio_region) == (None, None)
    said = problems(tmp_path, TWILIO_API_BASE_URL="https://api.twilio.com", **edge)
    for name in edge:
        assert f"{name}: does nothing beside TWILIO_API_BASE_URL; remove one of them" in said


def test_secrets_stay_out_of_the_repr(tmp_path: Path) -> None:
    mail = {"MAIL_SERVER": "localhost", "MAIL_DEFAULT_SENDER": "sms@example.org"}
    mail |= {"MAIL_USERNAME": "u", "MAIL_PASSWORD": "pw-x"}
    config: Config = load(LIVE | mail, instance=tmp_path)
    assert "not-to-be-seen: 0123456789-qwertz" not in repr(config)
    assert "pw-x" not in repr(config)


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LIVE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PORT", "8077")
    assert load().port == 8077


@pytest.mark.parametrize(
    "token", ["“0123456789abcdef”", "0123 456789", "0123\u00a0456", "tökén", '"0123"', "'0123'"]
)
@pytest.mark.parametrize(
    ("name", "before"),
    [
        ("TWILIO_AUTH_TOKEN", ""),
        ("TWILIO_AUTH_TOKEN_SECONDARY", ""),
        ("TWILIO_AUTH_TOKEN_FORMER", ""),
        ("TWILIO_SUBACCOUNT_TOKENS", "AC" + "5" * 32 + ":"),
    ],
)
def test_token_that_could_not_be_sent_is_named_and_not_shown(
    tmp_path: Path, name: str, before: str, token: str
) -> None:
    sentence = problems(tmp_path, **{name: before + token})
    assert sentence.startswith(f"{name}: must ")
    assert "without blanks, quotes and accents" in sentence
    assert token not in sentence


@pytest.mark.parametrize("name", ["TWILIO_ACCOUNT_SID", "TWILIO_MESSAGING_SERVICE_SID"])
def test_sid_in_curly_quotes_is_named(tmp_path: Path, name: str) -> None:
    sid = ("AC" if "ACCOUNT" in name else "MG") + "1" * 32
    assert problems(tmp_path, **{name: f"“{sid}”"}).startswith(f"{name}: must be ")


def test_id_of_a_shared_key_in_curly_quotes_is_named(tmp_path: Path) -> None:
    sentence = problems(tmp_path, TWILIO_WEBHOOK_KEYS="“webhooks_sharedkey_1:secret”")
    assert sentence.startswith("TWILIO_WEBHOOK_KEYS: must ")
