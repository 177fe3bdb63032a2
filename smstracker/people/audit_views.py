"""The page of the audit log, for administrators."""

from flask import Blueprint, abort, render_template, request
from flask.typing import ResponseReturnValue

from smstracker.clock import utcnow
from smstracker.extensions import db, settings
from smstracker.models import AuditEntry
from smstracker.models.audit_log import WORDS, AuditAction
from smstracker.web.guards import require_administrator
from smstracker.web.row_ids import parse_row_id

PAGE_SIZE = 100

bp = Blueprint("audit", __name__, url_prefix="/audit")
bp.before_request(require_administrator)


@bp.get("")
def entries() -> ResponseReturnValue:
    """The newest entries, or those before an id; of one action, or of all."""
    before, action = parse_row_id(request.args.get("before")), request.args.get("action") or None
    if action is not None and action not in WORDS:
        abort(404)
    query = AuditEntry.select_newest(AuditAction(action) if action else None)
    query = query if before is None else query.where(AuditEntry.id < before)
    page = db.session.scalars(query.limit(PAGE_SIZE + 1)).all()
    return render_template(
        "people/audit.html",
        entries=page[:PAGE_SIZE],
        next_before=page[PAGE_SIZE - 1].id if len(page) > PAGE_SIZE else None,
        before=before,
        action=action,
        words=WORDS,
        days=settings().audit_days,
        now=utcnow(),
    )
