"""Files that the user of the service may not touch: who that is, and what to do."""

import os
import pwd
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import time_machine
from flask import Flask

from smstracker.backups.backup_file import BackupError, new_file, private_part
from smstracker.clock import DAY, utcnow
from smstracker.commands.backup import _check_readable
from smstracker.doctor.privacy_checks import check_privacy

NOBODY = 65534
FILE_NAMES = ("backup", "of Monday; true")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may enter and only its owner may write, seen by somebody else."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        (path / "hidden").mkdir()
        for file_name in FILE_NAMES:
            (path / file_name).touch(mode=0)
        path.chmod(0o555)
        (path / "hidden").chmod(0)
        user = os.geteuid()
        os.seteuid(user or NOBODY)
        yield path
        os.seteuid(user)
        path.chmod(0o755)
        (path / "hidden").chmod(0o755)


@pytest.mark.parametrize("name", ["backup", "hidden/backup"])
def test_backup_that_cannot_be_read_is_given_to_the_user(folder: Path, name: str) -> None:
    user = pwd.getpwuid(os.geteuid())
    with pytest.raises(BackupError) as caught:
        _check_readable(folder / name)
    assert str(caught.value) == (
        f"The user {user.pw_name} cannot read {folder}/{name}. Restore a copy of its own: "
        f"install -o {user.pw_name} -m 600 {folder}/{name} {user.pw_dir}"
    )


def test_command_that_gives_a_backup_takes_any_name(folder: Path) -> None:
    with pytest.raises(BackupError) as caught:
        _check_readable(folder / "of Monday; true")
    _, command = str(caught.value).split("Restore a copy of its own: ")
    assert shlex.split(command)[5] == str(folder / "of Monday; true")


@pytest.mark.parametrize("name", ["new", "hidden/new"])
def test_backup_that_cannot_be_written_names_a_folder_that_can(folder: Path, name: str) -> None:
    user = pwd.getpwuid(os.geteuid())
    with pytest.raises(BackupError) as caught, new_file(folder / name):
        pass
    assert str(caught.value).endswith(
        "cannot be written: Permission denied. Name a folder in which the user "
        f"{user.pw_name} may write, such as {user.pw_dir}."
    )


def test_backup_that_is_not_there_is_told_as_that(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="is not there, or is no file"):
        _check_readable(tmp_path / "none")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_doctor_names_what_a_killed_restore_has_left(app: Flask) -> None:
    database = Path(app.config["SETTINGS"].database_url.removeprefix("sqlite:///"))
    with private_part(database) as part:
        left = part.rename(f"{part}-killed")  # as if nobody had deleted it
    with app.app_context():
        assert list(check_privacy()) == []
        with time_machine.travel(utcnow() + 2 * DAY):
            [result] = check_privacy()
    assert result.detail.startswith(f"{left} is left of a backup or restore that was killed")
    assert result.fix == "delete it"
