"""The commands under `flask`."""

from smstracker.commands import reconcile
from smstracker.commands.callbacks import callbacks
from smstracker.commands.doctor import doctor
from smstracker.commands.messages import messages
from smstracker.commands.users import users
from smstracker.commands.worker import purge, worker

__all__ = ["COMMANDS", "reconcile"]

COMMANDS = (users, messages, callbacks, worker, purge, doctor)
