"""Tables of people in short: a row is a line, with | between its cells."""

from smstracker.batches.columns import Columns, match_columns
from smstracker.batches.row_check import CheckedRow, RowChecker
from smstracker.batches.table import Row, Table
from smstracker.sms.text_fields import TextTemplate

US, SENDER = "US", "+15550006666"
NUMBER = "+15558675310"


def table_of(*lines: str) -> Table:
    rows = ((number, line.split("|")) for number, line in enumerate(lines, start=1))
    return Table(Row(number, cells) for number, cells in rows if any(cells))


def match(*lines: str, text: str = "", region: str = US, phone: str | None = None) -> Columns:
    return match_columns(table_of(*lines), TextTemplate(text), region, phone)[0]


def phone_column(*lines: str, region: str = US, phone: str | None = None) -> str:
    columns = match(*lines, region=region, phone=phone)
    return columns.names[columns.phone]


def check(*lines: str, text: str = "Hello", region: str = US) -> list[CheckedRow]:
    template = TextTemplate(text)
    columns, rows = match_columns(table_of(*lines), template, region)
    return list(map(RowChecker(columns, template, SENDER, region).check, rows))


def problems(*lines: str, text: str = "Hello", region: str = US) -> list[str | None]:
    return [checked.problem for checked in check(*lines, text=text, region=region)]
