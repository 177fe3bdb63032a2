"""The folders that the app writes to, and the space that is left there."""

from pathlib import Path

from smstracker.extensions import db, settings
from smstracker.settings.database_url import sqlite_path


def written_folders() -> list[Path]:
    """The existing folders that the app writes to."""
    path = sqlite_path(db.engine.url) if settings().is_sqlite else None
    folders = [path.parent] if path else []
    return [folder for folder in [*folders, settings().instance] if folder.is_dir()]
