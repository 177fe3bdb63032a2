"""The commands under `flask`."""

from smstracker.commands.callbacks import callbacks
from smstracker.commands.messages import messages
from smstracker.commands.users import users

__all__ = ["callbacks", "messages", "users"]
