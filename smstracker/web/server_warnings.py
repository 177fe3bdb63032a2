"""Explanations of gunicorn's warnings, without the paths, numbers and tokens that they quote."""

import logging

LISTENING = "the web server cannot listen there: check PORT and BIND_ADDRESS"
# By the beginning of gunicorn's message template; the first match counts.
MEANINGS = {
    "WORKER TIMEOUT": "a web process did not answer in time and is ended, with its requests",
    "Worker (pid:%s) was sent %s! Perhaps": "a web process was killed: is the memory used up?",
    "Worker (pid:%s) was sent": "a web process was ended by a signal; another one is started",
    "Worker (pid:%s) exited": "a web process ended with an error; its last lines say why",
    "Exception in worker process": "a web process failed",
    "Exception during worker exit": "a web process failed while it ended",
    "Unhandled exception in main loop": "the web server failed and ends",
    "Shutting down": "the web server ends after an error",
    "Reason: ": "the web processes cannot start",
    "Invalid request": "a request was refused that is not valid HTTP",
    "Error handling request": "a request failed in the web server",
    "Socket error": "a connection failed while a request was answered",
    "Connection in use": "the port is in use: stop what uses it, or set PORT",
    "Invalid address": "the address is none of this machine: check BIND_ADDRESS",
    "connection to": LISTENING,
    "Can't connect to": LISTENING,
    "WSGI app sent body bytes": "a response that may have no content had some, which was left out",
    "No keepalived connections": "there are more threads than connections: lower WEB_THREADS",
    "USR2 signal ignored": "the web server is being replaced already: USR2 was ignored",
    "Unhandled signal": "the web server got a signal that it does not know",
}


def explain_warning(record: logging.LogRecord) -> str | None:
    """Return why gunicorn warns; None if unknown or if another logger warns."""
    if record.name.partition(".")[0] != "gunicorn":
        return None
    template = str(record.msg)
    return next((MEANINGS[start] for start in MEANINGS if template.startswith(start)), None)
