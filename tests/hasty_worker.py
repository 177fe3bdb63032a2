"""The server's worker with limits so short that a test need not wait for them."""

from smstracker import web_worker
from smstracker.web_worker import Worker

__all__ = ["Worker"]

web_worker.IDLE = 60.0  # an idle connection that ends sooner has another cause
web_worker.READING = web_worker.STALLED = 1.0
web_worker.WRITING = 2.0
web_worker.CLOSING = 0.3
