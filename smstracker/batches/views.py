"""The pages of batches: upload, check, preview, progress and outcome; one's own, always."""

import uuid
from collections.abc import Callable, Iterator, Mapping

from flask import Blueprint, abort, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from sqlalchemy.exc import IntegrityError
from werkzeug.exceptions import HTTPException

from smstracker.batches import control, outcome_file, resending, uploads
from smstracker.batches.batch_counts import count_batches
from smstracker.batches.control import (
    BatchRefusedError,
    EqualBatchError,
    LongPauseError,
    WrongCountError,
)
from smstracker.batches.encodings import OLD_ENCODINGS
from smstracker.batches.forms import BatchForm, too_large_sentence
from smstracker.batches.preview import describe_reading, read_preview, read_problems
from smstracker.batches.progress import read_progress
from smstracker.batches.table import MAX_FILE_BYTES
from smstracker.batches.uploads import TooManyDraftsError
from smstracker.clock import utcnow
from smstracker.extensions import db, writing
from smstracker.messages.log_export import TooManyExportsError, stream_file
from smstracker.models.api_tokens import ApiToken
from smstracker.models.audit_log import AuditAction, count_audit
from smstracker.models.batches import (
    NAME_LENGTH,
    OVER,
    UNDER_WAY,
    UNSENT,
    Batch,
    BatchState,
    SavedText,
)
from smstracker.system_errors import describe_system_error
from smstracker.web import error_pages, guards
from smstracker.web.form_drafts import redirect_accepted
from smstracker.web.large_bodies import skim_fields, takes_upload
from smstracker.web.row_ids import parse_row_id
from smstracker.web.time_zones import place_names

bp = Blueprint("batches", __name__, url_prefix="/batches")
bp.before_request(guards.require_sign_in)

PAGE_SIZE = 50
MAX_SAVED_TEXTS = 100
CHOOSE_AGAIN = (
    "Choose the file again in a moment and press Check. If it lasts, tell an administrator."
)
MAX_ROW_NUMBER = 2**31  # of the column


@bp.get("")
def overview() -> ResponseReturnValue:
    before = parse_row_id(request.args.get("before"))
    query = Batch.select_owned(current_user.id).order_by(Batch.id.desc())
    if before is not None:
        query = query.where(Batch.id < before)
    batches = db.session.scalars(query.limit(PAGE_SIZE + 1)).all()
    return render_template(
        "batches/batches.html",
        batches=batches[:PAGE_SIZE],
        counts=count_batches(batches[:PAGE_SIZE]),
        older=batches[PAGE_SIZE - 1].id if len(batches) > PAGE_SIZE else None,
        now=utcnow(),
    )


@bp.get("/new")
def new() -> ResponseReturnValue:
    form = BatchForm()
    if public_id := request.args.get("saved", type=uuid.UUID):
        form.body.data = _own_saved_text(public_id).text
    if public_id := request.args.get("like", type=uuid.UUID):
        form.copy_batch(_own_batch(public_id))
    return _form_page(form, 200)


@bp.post("")
@takes_upload
def upload() -> ResponseReturnValue:
    form, owner_id = BatchForm(), current_user.id
    if error := form.file_error:
        notice = f"Nothing was saved: {describe_system_error(error)}. {CHOOSE_AGAIN}"
        return *_form_page(form, 503, notice), error_pages.RETRY_SOON
    if not form.validate():
        return _form_page(form, 422)
    upload = form.upload
    try:
        with writing():
            batch, earlier = uploads.store_form(owner_id, form.key, upload)
    except TooManyDraftsError as error:
        return _form_page(form, 409, str(error))
    if earlier is not None:
        state = "started already" if earlier.is_started else "not started"
        flash(
            f"This form has made another batch before, “{earlier.name}”, which is {state}. "
            "It stays as it is."
        )
    return _show(batch.public_id)


@bp.errorhandler(413)
def too_large(error: HTTPException) -> ResponseReturnValue:
    """The form as it was filled in, without the file."""
    if request.endpoint != f"{bp.name}.{upload.__name__}":
        return error
    form = BatchForm(skim_fields())
    form.file.errors = [too_large_sentence(request.content_length or 0)]
    return _form_page(form, 413)


@bp.get("/<uuid:public_id>")
def batch(public_id: uuid.UUID) -> ResponseReturnValue:
    return _page(_own_batch(public_id), 200)


@bp.post("/<uuid:public_id>/choose")
def choose(public_id: uuid.UUID) -> ResponseReturnValue:
    """Have the file checked again with the sheet or column that the reader chose."""
    batch_id = _own_batch(public_id).id
    with writing():
        uploads.choose(
            Batch.lock(batch_id),
            sheet_name=request.form.get("sheet"),
            phone_column=request.form.get("column"),
        )
    return _show(public_id)


@bp.post("/<uuid:public_id>/read")
def read_again(public_id: uuid.UUID) -> ResponseReturnValue:
    """Have the file read in the way that the reader chose."""
    batch_id, fields = _own_batch(public_id).id, request.form
    with writing():
        uploads.read_again(
            Batch.lock(batch_id),
            encoding=fields.get("encoding"),
            has_heading={"person": False, "headings": True}.get(fields.get("first_row", "")),
            once_per_number={"once": True, "all": False}.get(fields.get("repeats", "")),
        )
    return _show(public_id)


@bp.post("/<uuid:public_id>/start")
def start(public_id: uuid.UUID) -> ResponseReturnValue:
    batch_id, actor = _own_batch(public_id).id, current_user.email
    typed = "".join(c for c in request.form.get("count", "") if c.isdecimal())
    try:
        with writing():
            count = int(typed[:9]) if typed else None
            control.start(batch_id, count, actor, knows_equal="equal" in request.form)
    except WrongCountError as error:
        return _page(_own_batch(public_id), 409, errors={"count": str(error)})
    except EqualBatchError:
        sentence = "Tick the box to send the same texts to the same people again."
        return _page(_own_batch(public_id), 409, errors={"equal": sentence})
    except BatchRefusedError as error:
        return _page(_own_batch(public_id), 409, str(error))
    return _show(public_id)


@bp.post("/<uuid:public_id>/pause")
def pause(public_id: uuid.UUID) -> ResponseReturnValue:
    return _change(public_id, control.pause)


@bp.post("/<uuid:public_id>/resume")
def resume(public_id: uuid.UUID) -> ResponseReturnValue:
    batch_id, actor = _own_batch(public_id).id, current_user.email
    try:
        with writing():
            control.resume(batch_id, actor, knows_pause="pause" in request.form)
    except LongPauseError:
        return redirect(url_for(".batch", public_id=public_id, ask="resume"), 303)
    return _show(public_id)


@bp.post("/<uuid:public_id>/stop")
def stop(public_id: uuid.UUID) -> ResponseReturnValue:
    return _change(public_id, control.stop)


def _change(public_id: uuid.UUID, act: Callable[[int, str], bool]) -> ResponseReturnValue:
    batch_id, actor = _own_batch(public_id).id, current_user.email
    with writing():
        act(batch_id, actor)
    return _show(public_id)


@bp.post("/<uuid:public_id>/discard")
def discard(public_id: uuid.UUID) -> ResponseReturnValue:
    """Delete a batch of which nothing was sent."""
    batch_id = _own_batch(public_id).id
    with writing():
        is_deleted = uploads.discard(Batch.lock(batch_id))
    if not is_deleted:
        return _show(public_id)
    flash("The batch is deleted. Nothing was sent.")
    return redirect(url_for(".overview"), 303)


@bp.post("/<uuid:public_id>/again")
def send_again(public_id: uuid.UUID) -> ResponseReturnValue:
    """Make a batch of the failed messages for which it makes sense; it is confirmed like any."""
    batch_id = _own_batch(public_id).id
    with writing():
        resend = resending.create_resend_batch(Batch.lock(batch_id))
    return _show(resend.public_id if resend else public_id)


@bp.post("/<uuid:public_id>/save-text")
def save_text(public_id: uuid.UUID) -> ResponseReturnValue:
    batch, name = _own_batch(public_id), request.form.get("name", "").strip()[:NAME_LENGTH]
    if name and batch.text:
        row = SavedText(owner_id=batch.owner_id, name=name, text=batch.text, created_at=utcnow())
        try:
            with writing():
                db.session.add(row)
            flash(f"The text is saved as “{name}”.")
        except IntegrityError:
            flash(f"You have a text called “{name}” already. Choose another name.")
    return _show(public_id)


@bp.post("/texts/<uuid:public_id>/delete")
def delete_text(public_id: uuid.UUID) -> ResponseReturnValue:
    text_id = _own_saved_text(public_id).id
    with writing():
        db.session.delete(db.session.get_one(SavedText, text_id))
    flash("The saved text is deleted.")
    return redirect(url_for(".new"), 303)


@bp.get("/<uuid:public_id>/outcome.csv")
@guards.for_programs
def outcome(public_id: uuid.UUID) -> ResponseReturnValue:
    """The uploaded file with the outcome of each row."""
    batch, now = _own_batch(public_id), utcnow()
    return _file(batch, outcome_file.outcome_lines(batch, now), f"outcome-{now:%Y-%m-%d}")


@bp.get("/<uuid:public_id>/problems.csv")
@guards.for_programs
def problems(public_id: uuid.UUID) -> ResponseReturnValue:
    """The rows that cannot be sent."""
    batch = _own_batch(public_id)
    return _file(batch, outcome_file.problem_lines(batch), f"problems-{utcnow():%Y-%m-%d}")


@bp.get("/<uuid:public_id>/warnings.csv")
@guards.for_programs
def warnings(public_id: uuid.UUID) -> ResponseReturnValue:
    """The rows with warnings."""
    batch = _own_batch(public_id)
    return _file(batch, outcome_file.warning_lines(batch), f"warnings-{utcnow():%Y-%m-%d}")


def _file(batch: Batch, lines: Iterator[str], name: str) -> ResponseReturnValue:
    owner_id, email = batch.owner_id, current_user.email
    db.session.expunge(batch)  # the lines are made when the session is over
    with writing():
        count_audit(AuditAction.EXPORTED_LOG, actor=email)
    try:
        return stream_file(owner_id, lines, "csv", f"batch-{name}")
    except TooManyExportsError as error:
        return str(error), 503, {"Retry-After": "60"}


def _own_batch(public_id: uuid.UUID) -> Batch:
    """The signed-in user's batch; a 404 if it is not theirs."""
    query = Batch.select_owned(current_user.id).where(Batch.public_id == public_id)
    return db.session.scalar(query) or abort(404)


def _own_saved_text(public_id: uuid.UUID) -> SavedText:
    query = SavedText.select_owned(current_user.id).where(SavedText.public_id == public_id)
    return db.session.scalar(query) or abort(404)


def _show(public_id: uuid.UUID) -> ResponseReturnValue:
    return redirect_accepted(url_for(".batch", public_id=public_id))


def _parse_row_number(text: str) -> int:
    """The number of a row in the address. Raises ValueError for one that no file has."""
    number = int(text)
    if number not in range(MAX_ROW_NUMBER):
        raise ValueError
    return number


def _form_page(form: BatchForm, code: int, notice: str | None = None) -> tuple[str, int]:
    saved = SavedText.select_owned(current_user.id).limit(MAX_SAVED_TEXTS)
    html = render_template(
        "batches/new_batch.html",
        form=form,
        notice=notice,
        saved_texts=db.session.scalars(saved).all(),
        zones=place_names(),
        max_bytes=MAX_FILE_BYTES,
        too_large_sentence=too_large_sentence,
    )
    return html, code


def _page(
    batch: Batch, code: int, notice: str | None = None, errors: Mapping[str, str] | None = None
) -> ResponseReturnValue:
    """The page of a batch; `errors` are those of its fields, by name."""
    now = utcnow()
    is_ready = batch.state == BatchState.READY
    is_checked = is_ready or batch.state == BatchState.REFUSED
    row_number = request.args.get("row", type=_parse_row_number)
    progress = read_progress(batch, now) if batch.is_started else None
    may_resend = batch.state in OVER and progress and (progress.failures or progress.not_sent)
    question = request.args.get("ask") if batch.state in UNDER_WAY else None
    asks_at = control.find_resume_question(batch)
    asks_to_resume = asks_at is not None and asks_at <= now
    html = render_template(
        "batches/batch.html",
        batch=batch,
        notice=notice,
        errors=errors or {},
        preview=read_preview(batch, row_number, now) if is_ready else None,
        problems=read_problems(batch) if is_checked else (),
        reading=describe_reading(batch) if is_checked else None,
        encodings=OLD_ENCODINGS,
        progress=progress,
        asks_to_stop=question == "stop",
        asks_to_resume=asks_to_resume and question == "resume",
        resume_asks_at=asks_at,
        now=now,
        resend_count=resending.count_resendable(batch, now) if may_resend else 0,
        resend=resending.find_resend(batch),
        is_unsent=batch.state in UNSENT,
        token_name=ApiToken.find_name(batch.token_id),
    )
    return html, code
