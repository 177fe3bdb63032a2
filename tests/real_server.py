"""The real server as a process, with two threads."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flask import Flask

from config import ROOT
from smstracker import create_app
from tests.clients import Client
from tests.live_settings import live_environment, settings
from tests.serving import close, free_port

THREADS = 2


@contextmanager
def running(path: Path, *options: str) -> Iterator[tuple[Flask, subprocess.Popen[bytes]]]:
    """The server as a process with these options of gunicorn's."""
    port = free_port()
    reached = {
        "PUBLIC_BASE_URL": f"http://127.0.0.1:{port}",
        "DATABASE_URL": f"sqlite:///{path}",
    }
    env = live_environment(
        PORT=str(port),
        WEB_CONCURRENCY="1",
        WEB_THREADS=str(THREADS),
        SIGN_IN_ALLOW="@example.org",
        **reached,
    )
    command = [sys.executable, "-m", "gunicorn", "-c", "python:smstracker.server"]
    command += ["--worker-class", "tests.short_deadlines.DeadlineWorker", *options, "wsgi:app"]
    app = create_app(settings(**reached))
    app.test_client_class = Client
    process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if answers(port):
                break
            time.sleep(0.1)
        yield app, process
    finally:
        process.terminate()
        process.wait(60)
        close(app)


def port_of(app: Flask) -> int:
    return int(app.config["SETTINGS"].public_base_url.rpartition(":")[2])


def answers(port: int, seconds: float = 1.0) -> bool:
    try:
        url = f"http://127.0.0.1:{port}/healthz"
        with urllib.request.urlopen(url, timeout=seconds) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def connect(app: Flask, request: bytes) -> socket.socket:
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.settimeout(10)
    peer.connect(("127.0.0.1", port_of(app)))
    peer.sendall(request)
    return peer
