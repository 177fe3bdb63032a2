"""Which columns of the database may hold a number or a text of a recipient.

Every column with texts, bytes or JSON is declared in PERSONAL, or in HARMLESS with what it holds.
"""

# What `person_records` finds, `batch_rows`, `removal` and `pending` delete.
PERSONAL = {
    "message": {"recipient", "recipient_reversed", "body", "media_urls", "reference"},
    "message_text": {"body"},
    "status_event": {"payload"},
    "recipient_search": {"digits"},
    "batch": {"text", "column_names", "phone_column"},
    "batch_row": {"recipient", "cells", "problem"},
    "batch_file": {"data"},
    "refused_callback": {
        *("target", "sent_host", "forwarded_host", "forwarded_proto", "content_type"),
        *("signature", "signature_settings", "idempotency_token", "body", "status"),
        *("account_sid", "twilio_sid", "diagnosis"),
    },
}
# Our own names, words of Twilio's, keyed hashes, and addresses of the team.
HARMLESS = {
    "message": {
        *("sender", "messaging_service_sid", "account_sid", "twilio_sid", "status"),
        *("status_source", "error_code", "price_unit", "request_hash"),
    },
    "batch": {
        *("name", "sender", "state", "upload_hash", "content_hash", "sheet_name"),
        *("problem", "choices", "field_positions", "report", "quiet_zone"),
        "encoding",
    },
    "saved_text": {"name", "text"},
    "sender_pace": {"sender", "pause_code"},
    "status_event": {
        *("twilio_sid", "status", "error_code", "source", "carrier_done_at"),
        *("idempotency_token", "account_sid", "signed_with", "token_mark"),
    },
    "refused_callback": {"fingerprint", "reason", "setting"},
    "recipient_search": {"handle"},
    "user": {"email", "let_in_by", "shut_out_hash", "appearance", "time_zone"},
    "user_session": {"key_hash", "browser_name"},
    "api_token": {"name", "digest", "allowed_senders"},
    "alert": {"rule", "subject", "counts"},
    "alert_notice": {"channel", "occasion", "failure"},
    "audit_entry": {"action", "actor", "subject", "hour_key"},
    "metric_total": {"name"},
    "sign_in_token": {"email", "token_hash", "code_hash", "browser_hash", "next_path"},
    "rate_limit": {"key"},
    "mail_health": {"server_problem", "refusal"},
    "heartbeat": {"worker", "problem"},
    "scheduled_job": {"name", "failure"},
    "callback_tally": {"process"},
    "feed_cursor": {"name"},
    "insight_failure": {"error_code"},
    "insight_spend": {"currency"},
    "insight_delivery": {"name_of", "name"},
    "insight_coverage": {"name"},
    "tombstone": {"key_hash"},
    "removal_counter": {"name"},
    "remembered_opt_out": {"sender", "number_hash"},
    "erasure": {"receipt", "number_hash"},
    "pending_removal": {"kind", "receipt"},
    "carrier_removal": {"twilio_sid", "account_sid", "action", "problem", "receipt"},
}
