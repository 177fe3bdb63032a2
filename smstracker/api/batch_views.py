"""Batches for programs: rows as JSON, and how far they are."""

import uuid

from flask import abort, jsonify, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from smstracker.api.batch_request import queue_batch
from smstracker.api.guard import current_caller, sending_caller
from smstracker.api.request_parts import check_arguments, read_json, read_key
from smstracker.api.views import bp as bp
from smstracker.batches.progress import read_progress
from smstracker.clock import utcnow
from smstracker.extensions import db, settings
from smstracker.models import Batch, BatchRow
from smstracker.sms.batch_states import BatchState
from smstracker.sms.status import State
from smstracker.web.large_bodies import takes_upload
from smstracker.web.problem_details import NOT_FOUND, ProblemError
from smstracker.web.urls import external_url

MAX_PROBLEMS = 10
WAITS = "Nothing is sent yet. A person starts it on its page."
MAX_JSON_BYTES = 8 * 1024 * 1024  # parsed, it takes many times that of memory


@bp.post("/batches")
@takes_upload.with_value(False)
def send_batch() -> ResponseReturnValue:
    """Save a batch to be checked, once for each Idempotency-Key."""
    check_arguments()
    if (request.content_length or 0) > MAX_JSON_BYTES:
        abort(413)
    batch, is_new = queue_batch(sending_caller(), read_key(), read_json())
    location = url_for("api.batch", public_id=batch.public_id)
    headers = {"Location": location} | ({} if is_new else {"Idempotent-Replayed": "true"})
    return jsonify(_describe(batch)), 202 if is_new else 200, headers


@bp.get("/batches/<uuid:public_id>")
def batch(public_id: uuid.UUID) -> ResponseReturnValue:
    check_arguments()
    query = Batch.select_owned(current_caller().owner_id).where(Batch.public_id == public_id)
    batch = db.session.scalar(query, execution_options={"populate_existing": True})
    if batch is None:
        raise ProblemError(NOT_FOUND, "This user has no batch with that id.")
    return jsonify(_describe(batch))


def _describe(batch: Batch) -> dict[str, object]:
    """A batch; `counts` is None until it is started."""
    return {
        "id": str(batch.public_id),
        "name": batch.name,
        "state": batch.state,
        "url": external_url("batches.batch", public_id=str(batch.public_id)),
        "problem": batch.problem or batch.check_delay or _waits(batch),
        "rows": batch.row_count,
        "valid_rows": batch.good_count,
        "segments": batch.segments,
        "row_problems": _read_problems(batch),
        "counts": _count(batch) if batch.is_started else None,
        "created_at": batch.created_at.isoformat(),
        "started_at": batch.started_at.isoformat() if batch.started_at else None,
        "ended_at": batch.ended_at.isoformat() if batch.ended_at else None,
        "simulated": settings().demo,
    }


def _waits(batch: Batch) -> str | None:
    return WAITS if batch.state == BatchState.READY else None


def _count(batch: Batch) -> dict[str, int]:
    progress = read_progress(batch, utcnow())
    states = {
        state.value.replace("-", "_"): progress.states[state]
        for state in State
        if state is not State.CANCELLED  # these are among those that are not sent
    }
    return {"waiting_here": progress.waiting_here, "not_sent": progress.not_sent, **states}


def _read_problems(batch: Batch) -> list[dict[str, object]]:
    """The first rows that cannot be sent, by their number: the first one is row 1.

    Those of a file count its headings as a row.
    """
    heading_row = batch.report.get("heading_row")
    offset = heading_row if isinstance(heading_row, int) else 0
    columns = (BatchRow.number, BatchRow.problem)
    query = select(*columns).where(BatchRow.batch_id == batch.id, BatchRow.problem.is_not(None))
    rows = db.session.execute(query.order_by(BatchRow.number).limit(MAX_PROBLEMS))
    return [{"row": number - offset, "problem": problem} for number, problem in rows]
