"""Comments that became part of a value: systemd and `docker run --env-file` cut off none."""

import re
from collections.abc import Iterable, Mapping

# People choose these freely, as `SMS Team #1 <sms@example.org>`.
_FREE_TEXTS = {"MAIL_DEFAULT_SENDER", "MAIL_USERNAME", "MAIL_PASSWORD", "SECRET_KEY"}


def cut_comments(
    file: Mapping[str, str | None], env: Mapping[str, str | None], settings: Iterable[str]
) -> dict[str, str]:
    """Return each setting of `env` whose value holds a comment, with the value before it.

    In `file`, which is `.env`, comments are no part of a value: a # that is left stood in quotes.
    """
    cut: dict[str, str] = {}
    for name in sorted(settings):
        value = env.get(name) or ""
        comment = re.search(r"(^|\s)#\s" if name in _FREE_TEXTS else r"(^|\s)#", value)
        if comment and value != file.get(name):
            cut[name] = value[: comment.start()]
    return cut
