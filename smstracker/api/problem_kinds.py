"""The kinds of problems of the API; their codes are part of its contract."""

from smstracker.web.problem_details import Problem

_ADD_ONE = "Add a token on the page Settings, and send it as: Authorization: Bearer smst_…"
_FIX = "Correct the request. Nothing was saved, so the same Idempotency-Key can be used again."

TOKEN_MISSING = Problem("token_missing", 401, "A token is needed", _ADD_ONE)
TOKEN_INVALID = Problem(
    "token_invalid",
    401,
    "The token is not valid",
    "Copy the whole token. It begins with smst_ and has 54 characters.",
)
TOKEN_UNKNOWN = Problem("token_unknown", 401, "There is no such token", _ADD_ONE)
TOKEN_REVOKED = Problem("token_revoked", 401, "The token was revoked", _ADD_ONE)
TOKEN_EXPIRED = Problem("token_expired", 401, "The token has expired", _ADD_ONE)
OWNER_SHUT_OUT = Problem(
    "owner_shut_out",
    401,
    "The owner of the token may not sign in",
    "Ask an administrator to let the owner in again, and add a new token.",
)
READ_ONLY = Problem(
    "token_read_only", 403, "The token may only read", "Use a token that may send messages."
)
SENDER_FORBIDDEN = Problem(
    "sender_not_allowed",
    403,
    "The token may not send from this sender",
    "Use another sender, or a token that allows this one.",
)
BATCH_FORBIDDEN = Problem(
    "batch_not_allowed",
    403,
    "The token may send no batches",
    "Use a token without a limit of messages of its own. The limits of its owner hold for it.",
)
TOO_MANY_DRAFTS = Problem(
    "too_many_batches",
    409,
    "Too many batches are not sent",
    "Send or delete some of them on the page Batches, and repeat the request.",
)
KEY_MISSING = Problem(
    "idempotency_key_missing",
    400,
    "An Idempotency-Key is needed",
    "Send the header Idempotency-Key with a value of your own for each message, such as the id of "
    "an order. Then the request can be repeated, and the message is sent once.",
)
KEY_INVALID = Problem(
    "idempotency_key_invalid",
    400,
    "The Idempotency-Key is not valid",
    "Use 1 to 255 printable ASCII characters without a comma, in one header.",
)
KEY_REUSED = Problem(
    "idempotency_key_reused",
    409,
    "The Idempotency-Key belongs to another message",
    "Use a new key for a new message. Repeat a request with the same key and the same content.",
)
MESSAGE_DELETED = Problem(
    "message_deleted",
    409,
    "The message of this Idempotency-Key was deleted here",
    "To send it as another message, use a new key.",
)
NOT_JSON = Problem(
    "not_json", 415, "The content is not JSON", "Send the header Content-Type: application/json."
)
ENCODED = Problem(
    "content_encoded",
    415,
    "The content is encoded",
    "Send the JSON as it is, without the header Content-Encoding.",
)
INVALID_JSON = Problem("invalid_json", 400, "The JSON cannot be read", _FIX)
INVALID = Problem("invalid_request", 422, "The request is not valid", _FIX)
INVALID_ARGUMENT = Problem(
    "invalid_argument", 422, "An argument is not valid", "Correct the arguments of the address."
)
SEND_LIMIT = Problem(
    "send_limit_reached",
    429,
    "The limit of messages is reached",
    "Repeat the request with the same Idempotency-Key after the seconds in the header Retry-After.",
)
TOO_MANY_WAIT = Problem(
    "too_many_waiting",
    503,
    "Too many requests are waiting",
    "Repeat the request after the seconds in the header Retry-After, or without the wait.",
)
