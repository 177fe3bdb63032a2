"""Settings that are given as files: NAME_FILE instead of NAME."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from config import SETTINGS, ConfigError, load
from smstracker import create_app
from smstracker.doctor.machine_checks import check_machine
from smstracker.settings import value_files
from tests.live_settings import LIVE

TOKEN = LIVE["TWILIO_AUTH_TOKEN"]
WITHOUT_TOKEN = {name: value for name, value in LIVE.items() if name != "TWILIO_AUTH_TOKEN"}


def problems(tmp_path: Path, **changed: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(WITHOUT_TOKEN | changed, instance=tmp_path / "instance")
    return "\n".join(caught.value.problems)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_all_settings_may_be_files(tmp_path: Path, ending: str) -> None:
    for name, value in LIVE.items():
        (tmp_path / name).write_bytes(f"{value}{ending}".encode())
    names = {f"{name}_FILE": str(tmp_path / name) for name in LIVE}
    by_files = load(names, instance=tmp_path)
    by_values = load(LIVE, instance=tmp_path)
    assert not by_files.demo
    for name in by_files.__slots__:
        assert name == "value_files" or getattr(by_files, name) == getattr(by_values, name)


def test_only_one_line_break_is_no_part_of_the_value(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(" two words #1 \n\n")
    mail = {"MAIL_SERVER": "localhost", "MAIL_DEFAULT_SENDER": "a@b.example", "MAIL_USERNAME": "u"}
    config = load(LIVE | mail | {"MAIL_PASSWORD_FILE": str(path)}, instance=tmp_path)
    assert config.mail.password == " two words #1 \n"


def test_path_is_relative_to_the_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_files, "ROOT", tmp_path)
    (tmp_path / "token").write_text(TOKEN)
    config = load(WITHOUT_TOKEN | {"TWILIO_AUTH_TOKEN_FILE": "token"}, instance=tmp_path)
    assert config.twilio_auth_token == TOKEN


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_setting_and_its_file_stop_the_start(tmp_path: Path, name: str) -> None:
    path = tmp_path / "value"
    path.write_text("secret-in-file")
    found = problems(tmp_path, **{name: "secret-value", f"{name}_FILE": str(path)})
    assert f"{name}_FILE: set this or {name}, not both" in found
    assert "secret" not in found


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b" \t\n", "the file is empty"),
        (b"secret-\xff\xfe", "the file is not UTF-8 text"),
        (b"secret-\0", "the file is not UTF-8 text"),
        (b"secret-" * 10_000, "the file is larger than 64 KB"),
    ],
)
def test_file_that_holds_no_value_is_named_by_the_setting(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    found = problems(tmp_path, TWILIO_AUTH_TOKEN_FILE=str(path))
    assert found == f"TWILIO_AUTH_TOKEN_FILE: {reason}"


def test_file_that_cannot_be_read_is_the_one_problem_of_its_setting(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    files = {f"{name}_FILE": gone for name in LIVE}
    with pytest.raises(ConfigError) as caught:
        load(files | {"PORT": "nonsense"}, instance=tmp_path / "instance")
    reason = "the file cannot be read (No such file or directory)"
    assert set(caught.value.problems) == {
        "PORT: must be a whole number from 1 to 65535",
        *(f"{name}: {reason}" for name in files),
    }
    assert not (tmp_path / "instance").exists()


def test_folder_and_pipe_are_no_files(tmp_path: Path) -> None:
    """Docker makes a folder where the file of a mount is missing."""
    reason = "TWILIO_AUTH_TOKEN_FILE: must name a file, and this is something else"
    os.mkfifo(tmp_path / "pipe")
    assert reason in problems(tmp_path, TWILIO_AUTH_TOKEN_FILE=str(tmp_path / "pipe"))
    found = problems(tmp_path, TWILIO_AUTH_TOKEN_FILE=str(tmp_path))
    assert reason in found or "Is a directory" in found


def test_misspelt_name_of_a_file_stops_the_start(tmp_path: Path) -> None:
    found = problems(tmp_path, TWILIO_AUTH_TOKNE_FILE=str(tmp_path))
    assert "TWILIO_AUTH_TOKNE_FILE: unknown; is TWILIO_AUTH_TOKEN_FILE meant?" in found


@pytest.mark.parametrize(
    ("folder_mode", "mode", "verdict"),
    [
        (0o755, 0o600, "ok"),
        (0o755, 0o640, "ok"),
        (0o755, 0o644, "warning"),
        (0o750, 0o644, "ok"),  # nobody else gets into the folder
    ],
)
def test_doctor_warns_of_a_secret_that_everybody_can_read(
    tmp_path: Path, folder_mode: int, mode: int, verdict: str
) -> None:
    # Not in a folder of pytest, which is closed to others.
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(folder_mode)
    path = folder / "token"
    path.write_text(TOKEN)
    path.chmod(mode)
    settings = load(WITHOUT_TOKEN | {"TWILIO_AUTH_TOKEN_FILE": str(path)}, instance=tmp_path / "i")
    with create_app(settings).app_context():
        [check] = [check for check in check_machine() if check.check == "permissions"]
    shutil.rmtree(folder)
    assert check.verdict == verdict
    assert ("token can be read by other users" in check.detail) == (verdict == "warning")
