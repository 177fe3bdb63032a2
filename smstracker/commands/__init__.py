"""The commands under `flask`."""

from smstracker.commands.messages import messages
from smstracker.commands.users import users

__all__ = ["messages", "users"]
