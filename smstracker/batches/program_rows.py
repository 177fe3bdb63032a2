"""Rows of a program, stored as JSON: a line with all names, then a line for each row.

Nothing is guessed as for files of people: a text stays as it is, and the first row is row 1.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import islice
from pathlib import Path

from smstracker.batches.columns import Columns
from smstracker.batches.table import Row
from smstracker.batches.uploads import PackedFile, pack_file
from smstracker.sms.text_fields import TextTemplate, field_key

TO = "to"


def pack_rows(names: Sequence[str], rows: Iterable[Mapping[str, str]]) -> PackedFile:
    """Pack rows of texts by name. TO is among the names, and no field of the text is twice.

    The digest is that of the rows alone: whoever repeats a request may order the names anew.
    """
    lines = [json.dumps(row, sort_keys=True) for row in rows]
    content = "\n".join([json.dumps(list(names)), *lines]).encode()
    return replace(pack_file([content]), digest=sha256("\n".join(lines).encode()).hexdigest())


def holds_program_rows(path: Path) -> bool:
    """Whether a file of a program is of this kind; older versions stored CSV."""
    with path.open("rb") as file:
        return file.read(1) == b"["


def read_program_rows(path: Path, template: TextTemplate) -> tuple[Columns, Iterator[Row]]:
    """Open a file that `pack_rows` has made for a text with these fields."""
    with path.open("rb") as file:
        names = json.loads(file.readline())
    keys = enumerate(map(field_key, names))
    fields = {key: position for position, key in keys if key in template.fields}
    return Columns(names, names.index(TO), fields, first_row=1), _read_rows(path, names)


def _read_rows(path: Path, names: Sequence[str]) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(islice(file, 1, None), start=1):
            row = json.loads(line)
            cells = [row.get(name, "") for name in names]
            while cells and not cells[-1]:
                cells.pop()
            yield Row(number, cells)
