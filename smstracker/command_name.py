"""The name by which people call the command, for all texts that tell them to run it."""

import os

# Set by deploy/systemd/run-with-secrets, where the command is not Flask's.
COMMAND = os.environ.get("SMSTRACKER_COMMAND", "flask")
SERVICE_COMMAND = "smstracker"
IS_SERVICE = COMMAND == SERVICE_COMMAND

# Where people find the worker: the installed service has a unit and a journal for it.
if IS_SERVICE:
    START_WORKER = (
        "run systemctl start smstracker-worker, and see in journalctl -u smstracker-worker -n 30 "
        "why it ended"
    )
    RESTART_WORKER = (
        "look for worker_waits in journalctl -u smstracker-worker, then run systemctl restart "
        "smstracker-worker"
    )
else:
    START_WORKER = f"start {COMMAND} worker, and keep it running"
    RESTART_WORKER = f"see the log of {COMMAND} worker at worker_waits, and start it anew"
