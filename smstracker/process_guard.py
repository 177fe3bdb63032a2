"""End a group of processes once their supervisor is gone, killed or not.

Run by path, not as a module of the package: it outlives everything else and needs nothing of it.
It belongs to the group itself. Standard input is a pipe that only the supervisor can write to, and
that nobody ever does: its end means that the supervisor has ended.
"""

import os
import signal
import sys
import time

STOPPING = 3.0  # seconds until what does not stop is killed


def main() -> None:
    sys.stdin.buffer.read()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    time.sleep(STOPPING)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
