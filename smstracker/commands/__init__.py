"""The commands under `flask`."""

from smstracker.commands.callbacks import callbacks
from smstracker.commands.doctor import doctor
from smstracker.commands.message_status import messages
from smstracker.commands.user_accounts import users
from smstracker.commands.worker import purge, worker

COMMANDS = (users, messages, callbacks, worker, purge, doctor)
