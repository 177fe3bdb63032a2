"""Where people see why the nightly backup fails, or does not run."""

from smstracker.command_name import COMMAND, IS_SERVICE

_JOURNAL = "journalctl -u smstracker-backup -n 20"
if IS_SERVICE:
    FIND_FAILURE = f"{_JOURNAL} says why; then systemctl start smstracker-backup"
    FIND_TIMER = f"see systemctl status smstracker-backup.timer, and {_JOURNAL}"
    START_TIMER = "systemctl enable --now smstracker-backup.timer"
else:
    FIND_FAILURE = f"run {COMMAND} backup PATH by hand: it says why"
    FIND_TIMER = f"run {COMMAND} backup PATH by hand, then see why its timer did not"
    START_TIMER = f"run {COMMAND} backup each night, by the timer in deploy/systemd"
