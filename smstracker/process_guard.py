"""End its own process group once the supervisor has ended, also if that was killed.

Runs by path, not as a module of the package, so it imports nothing of it. Standard input is a pipe
that only the supervisor holds open and never writes to: end of file means that it has ended.
"""

import os
import signal
import sys
import time

STOP_SECONDS = 3.0  # until processes that do not stop are killed


def main() -> None:
    sys.stdin.buffer.read()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
