"""The privacy pages, for administrators: what is kept, and all that is held of one person.

The number of a person is only in the bodies of requests, never in an address.
"""

from tempfile import TemporaryFile

from flask import Blueprint, abort, redirect, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue
from flask_login import current_user
from flask_wtf import FlaskForm
from wtforms import StringField

from smstracker.clock import utcnow
from smstracker.extensions import db, settings, writing
from smstracker.models import CarrierRemoval
from smstracker.models.audit_log import AuditAction, record_audit
from smstracker.privacy import erasure
from smstracker.privacy.carrier_progress import count_not_asked, is_of_person, read_carrier_progress
from smstracker.privacy.export import write_export
from smstracker.privacy.status_report import build_privacy_report
from smstracker.privacy.typed_texts import count_typed_texts, describe_typed_texts
from smstracker.sms.countries import region_in_a_sentence
from smstracker.sms.phone_numbers import parse_recipient
from smstracker.sms.phone_spelling import PhoneNumberError
from smstracker.web.guards import for_programs, require_administrator

bp = Blueprint("privacy", __name__, url_prefix="/privacy")
bp.before_request(require_administrator)

NOT_CONFIRMED = "Tick the box to confirm. Nothing was erased."


class NumberForm(FlaskForm):  # type: ignore[misc]
    number = StringField("Phone number")


@bp.get("")
def overview() -> ResponseReturnValue:
    return _render_overview(NumberForm())


@bp.post("/person")
def person() -> ResponseReturnValue:
    """Show what is held of a number."""
    form = NumberForm()
    try:
        number = _read_number(form.number.data or "")
    except PhoneNumberError as error:
        form.number.errors = [str(error)]
        return _render_overview(form), 422
    return _render_person(number, settings().redact_at_twilio)


@bp.post("/export")
@for_programs
def export() -> ResponseReturnValue:
    """All that is held of a number, as a ZIP file."""
    records = erasure.read_records(_read_number_again())
    with writing():
        record_audit(AuditAction.EXPORTED_PERSON, actor=current_user.email)
    file = TemporaryFile()  # noqa: SIM115 - the response closes it
    write_export(records, file)
    length = file.tell()
    file.seek(0)
    name = f"person-{utcnow():%Y-%m-%d}.zip"
    response = send_file(file, "application/zip", as_attachment=True, download_name=name)
    response.content_length = length
    return response


@bp.post("/erase")
def erase() -> ResponseReturnValue:
    number, at_twilio = _read_number_again(), "at_twilio" in request.form
    if "confirmed" not in request.form:
        return _render_person(number, at_twilio, NOT_CONFIRMED), 422
    actor = current_user.email
    db.session.rollback()
    result = erasure.erase(number, at_twilio=at_twilio, actor=actor)
    traces, shared = ("1" if note else None for note in (result.has_traces, result.is_shared))
    texts = result.typed_text_count or None
    address = url_for(".receipt", receipt=result.receipt, traces=traces, shared=shared, texts=texts)
    return redirect(address, 303)


@bp.get("/receipts/<receipt>")
def receipt(receipt: str) -> ResponseReturnValue:
    receipts = erasure.read_receipts(receipt) or abort(404)
    row, left_count = receipts[0]
    has_left_rows = erasure.has_left_rows(row)
    connection = db.session.connection()
    is_own = CarrierRemoval.receipt == receipt
    return render_template(
        "privacy/receipt.html",
        erasure=row,
        left_count=left_count - has_left_rows,
        has_left_rows=has_left_rows,
        at_twilio=read_carrier_progress(connection, is_of_person(row)),
        own_left=read_carrier_progress(connection, is_own).left,
        not_asked=count_not_asked(connection, row) if row.at_twilio else 0,
        has_traces="traces" in request.args,
        is_shared="shared" in request.args,
        typed_texts=_describe_texts(request.args.get("texts", 0, type=int)),
        now=utcnow(),
    )


def _read_number(typed: str) -> str:
    """The number in E.164, read as the send form reads it. Raises PhoneNumberError."""
    return parse_recipient(typed, settings().default_region)


def _read_number_again() -> str:
    """The number that our own page has sent along; a 400 for anything else."""
    try:
        return _read_number(request.form.get("number", ""))
    except PhoneNumberError:
        abort(400)


def _describe_texts(count: int) -> str | None:
    return describe_typed_texts(count) if count > 0 else None


def _render_overview(form: NumberForm) -> str:
    return render_template(
        "privacy/overview.html",
        form=form,
        region=region_in_a_sentence(settings().default_region),
        report=build_privacy_report(),
        now=utcnow(),
    )


def _render_person(number: str, at_twilio: bool, problem: str | None = None) -> str:
    records = erasure.read_records(number)
    return render_template(
        "privacy/person.html",
        records=records,
        typed_texts=_describe_texts(count_typed_texts(number) if records.is_empty else 0),
        unfinished=erasure.find_unfinished(number),
        problem=problem,
        at_twilio=at_twilio,
        now=utcnow(),
    )
