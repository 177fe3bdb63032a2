"""The name by which people call the command, for all texts that tell them to run it."""

import os

# Set by deploy/systemd/run-with-secrets, where the command is not Flask's.
COMMAND = os.environ.get("SMSTRACKER_COMMAND", "flask")
SERVICE_COMMAND = "smstracker"
IS_SERVICE = COMMAND == SERVICE_COMMAND
