"""The least a verified callback costs: bare Flask and `RequestValidator`, on the same server."""

import rig
from flask import Flask, abort, request
from twilio.request_validator import RequestValidator

app = Flask(__name__)
validator = RequestValidator(rig.TOKEN)


@app.get("/healthz")
def is_alive() -> str:
    return "ok"


@app.post("/webhooks/twilio/status/<public_id>")
def status(public_id: str) -> tuple[str, int]:
    url = f"{rig.BASE}{request.path}"
    if not validator.validate(url, request.form, request.headers["X-Twilio-Signature"]):
        abort(403)
    return "", 204
