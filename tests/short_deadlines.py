"""The server's worker with limits so short that a test need not wait for them."""

from smstracker.web import gunicorn_worker, peer_socket
from smstracker.web.gunicorn_worker import DeadlineWorker

__all__ = ["DeadlineWorker"]

gunicorn_worker.IDLE_SECONDS = 60.0  # an idle connection that ends sooner has another cause
gunicorn_worker.READ_SECONDS = peer_socket.STALL_SECONDS = 1.0
gunicorn_worker.WRITE_SECONDS = 2.0
gunicorn_worker.CLOSE_SECONDS = 0.3
