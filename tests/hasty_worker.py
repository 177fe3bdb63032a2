"""The server's worker with limits so short that a test need not wait for them."""

from smstracker.web import gunicorn_worker
from smstracker.web.gunicorn_worker import DeadlineWorker

__all__ = ["DeadlineWorker"]

gunicorn_worker.IDLE = 60.0  # an idle connection that ends sooner has another cause
gunicorn_worker.READING = gunicorn_worker.STALLED = 1.0
gunicorn_worker.WRITING = 2.0
gunicorn_worker.CLOSING = 0.3
