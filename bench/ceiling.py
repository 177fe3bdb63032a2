"""The app with a callback view that verifies the signature, reads the form and stores nothing."""

from flask import abort, g

from config import load
from smstracker import create_app, logs
from smstracker.callback_requests.status_callback import read_callback

logs.configure()
app = create_app(load())


def read_only(public_id: str) -> tuple[str, int]:
    logs.suppress_log_line()
    return ("", 204) if read_callback(g.verified_callback, None) else abort(400)


app.view_functions["webhooks.status_of_message"] = read_only
