"""The commands under `flask`."""

from smstracker.commands import reconcile
from smstracker.commands.messages import messages
from smstracker.commands.users import users
from smstracker.commands.worker import purge, worker

__all__ = ["COMMANDS", "reconcile"]

COMMANDS = (users, messages, worker, purge)
