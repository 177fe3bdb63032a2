"""JSON that means the same to everybody: no repeated names, no NaN, bounded depth. Pure."""

import json
from collections.abc import Iterable

MAX_DEPTH = 20
TOO_DEEP = f"It is nested more than {MAX_DEPTH} levels deep."


class JsonError(ValueError):
    """The text is not strict JSON; the message says why in a sentence."""


def parse_object(content: bytes) -> dict[str, object]:
    """Parse the JSON object in UTF-8 that is the whole content. Raises JsonError."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        advice = "Write the JSON in UTF-8, as for “application/json; charset=utf-8”."
        raise JsonError(f"Byte {error.start} is not valid UTF-8. {advice}") from error
    try:
        value = json.loads(text, object_pairs_hook=_to_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise JsonError(f"It is not valid JSON at {place}: {error.msg}.") from error
    except JsonError:
        raise
    except ValueError as error:  # thousands of digits
        raise JsonError("It has a number with too many digits.") from error
    except RecursionError as error:
        raise JsonError(TOO_DEEP) from error
    if not isinstance(value, dict):
        raise JsonError("It has to be an object: {…}.")
    if _is_too_deep(value):
        raise JsonError(TOO_DEEP)
    return value


def _is_too_deep(value: object, levels: int = MAX_DEPTH) -> bool:
    if not isinstance(value, dict | list):
        return False
    children = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_too_deep(child, levels - 1) for child in children)


def _to_object(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, value in pairs:
        if name in result:
            raise JsonError(f"It has the name “{name[:40]}” twice.")
        result[name] = value
    return result


def _refuse_constant(name: str) -> object:
    raise JsonError(f"{name} is not JSON.")
