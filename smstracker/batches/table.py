"""A table of people, whatever file it comes from, and why one cannot be read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MAX_FILE_BYTES = 25 * 1024 * 1024
MAX_ROWS = 100_000
MAX_COLUMNS = 100
MAX_ROW_CHARACTERS = 20_000  # far more than any text takes


class TableError(ValueError):
    """The file cannot be read; the message tells who uploaded it what to do."""


class SheetChoiceError(TableError):
    """Several sheets hold something; `names` are theirs."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__("The file has several sheets. Choose the one to send to.")
        self.names = names


class EncodingChoiceError(TableError):
    """The letters are not stored as `name`; `encodings` may be chosen from."""

    def __init__(self, name: str, encodings: Sequence[str]) -> None:
        super().__init__(f"The letters of the file cannot be read as {name}.")
        self.encodings = encodings


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `number` as a spreadsheet counts, cells as text, empty ones at the end left out.

    `merged` are the positions of empty cells that belong to a merged one further up,
    `uncomputed` those of formulas whose result is not in the file. `recipient` is the number that
    the cells were read as before, if the row is sent to again.
    """

    number: int
    cells: Sequence[str]
    merged: frozenset[int] = frozenset()
    uncomputed: frozenset[int] = frozenset()
    recipient: str | None = None

    def cell(self, position: int) -> str:
        """Return the cell at a position; "" beyond the last one."""
        return self.cells[position] if position < len(self.cells) else ""


@dataclass(frozen=True, slots=True)
class Table:
    """The rows that are not empty, read once while they are used; raises TableError meanwhile.

    `notes` tell people how the file was understood; `encoding` is one that had to be guessed.
    """

    rows: Iterator[Row]
    notes: list[str] = field(default_factory=list)
    encoding: str | None = None
