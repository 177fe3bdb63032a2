"""The filters of the log as links and as chips that can be removed."""

from dataclasses import dataclass

from smstracker.messages.describe import short_code_reason
from smstracker.messages.filter_conditions import NO_CODE, SearchFilters
from smstracker.sms.messaging_service import is_messaging_service
from smstracker.sms.numbering_plan import format_international
from smstracker.sms.status import SOURCE_NAMES
from smstracker.web import time_range
from smstracker.web.time_range import TimeRange

ARGUMENTS = (
    *("state", "error", "sender", "source", *time_range.ARGUMENTS, "text", "recipient", "id"),
    "batch",
)


class FilterError(ValueError):
    """A filter that cannot be applied; its text says why; `field` is that of the form at fault."""

    def __init__(self, reason: str, field: str = "") -> None:
        super().__init__(reason)
        self.field = field


@dataclass(frozen=True, slots=True)
class LogFilters:
    """The filters of a log page; `arguments` are those of its URL, `batch_name` is for people."""

    search_filters: SearchFilters
    period: TimeRange
    arguments: dict[str, str]
    batch_name: str | None = None

    def link(self, **changes: str | None) -> dict[str, str]:
        """The arguments of a URL with `changes`; None removes one."""
        arguments = self.arguments | changes
        return {name: value for name, value in arguments.items() if value}

    @property
    def chips(self) -> list[tuple[str, dict[str, str]]]:
        """Each filter but the state: its words, and the arguments without it."""
        filters, chips = self.search_filters, []
        if filters.text:
            chips.append((f"Text contains “{filters.text}”", self._without("text")))
        if filters.id_or_sid:
            chips.append((f"Id or SID {filters.id_or_sid}", self._without("id")))
        if filters.digits:
            number = f"a number ending in {filters.digits}"
            if filters.is_full:
                number = format_international(f"+{filters.digits}")
            chips.append((f"To {number}", self._without("recipient")))
        if filters.error_code == NO_CODE:
            chips.append(("Without an error code", self._without("error")))
        elif filters.error_code:
            reason = short_code_reason(filters.error_code) or ""
            words = f" ({reason})" if reason and filters.error_code not in reason else ""
            chips.append((f"Error {filters.error_code}{words}", self._without("error")))
        if filters.sender:
            is_service = is_messaging_service(filters.sender)
            name = "Messaging Service" if is_service else format_international(filters.sender)
            chips.append((f"From {name}", self._without("sender")))
        if filters.source:
            chips.append((f"Known by {SOURCE_NAMES[filters.source]}", self._without("source")))
        if self.batch_name is not None:
            chips.append((f"Batch {self.batch_name}", self._without("batch")))
        if self.period.name:
            chips.append((self.period.words, self._without(*time_range.ARGUMENTS)))
        return chips

    def _without(self, *names: str) -> dict[str, str]:
        return self.link(**dict.fromkeys(names))
