"""Read the answer to a heartbeat: some services answer 200 although they took nothing.

Healthchecks answers `OK (not found)` or `OK (rate limited)` (https://healthchecks.io/docs/http_api),
Uptime Kuma `{"ok": false, "msg": …}`.
"""

import json
import re

MAX_BYTES = 1000  # that are read
NOT_TAKEN = "it answers that it did not take it"
_REASONS = {
    "not found": "it answers that it knows no such check",
    "rate limited": "it answers that it is fetched too often",
}


def find_rejection(answer: bytes) -> str | None:
    """Why a service did not take a heartbeat, by its answer of 2xx; None if it does not say so."""
    text = answer.decode(errors="replace").strip()
    if qualified := re.fullmatch(r"OK \((.*)\)", text, re.IGNORECASE):
        return _REASONS.get(qualified[1].lower(), NOT_TAKEN)
    try:
        values = json.loads(text)
    except ValueError:
        return None
    verdicts = [values.get(name) for name in ("ok", "success")] if isinstance(values, dict) else []
    return NOT_TAKEN if False in verdicts else None
