"""Further columns of a metadata file: what it says about each picture besides the names that glyffctl knows."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from glyffctl.core.data.imagefolder import MetadataRow, metadata_file
from glyffctl.core.data.manifest import OLD_CAPTIONS_KEY
from glyffctl.core.errors import DataError
from glyffctl.core.io.names import LONGEST_NAME
from glyffctl.core.io.tables import csv_records, json_records, read_lines

MOST_COLUMNS = 24
_KNOWN = frozenset((*MetadataRow._fields, "caption", OLD_CAPTIONS_KEY))

Value = str | float | None


def metadata_columns(folder: Path, rows: Tensor) -> dict[str, list[Value]]:
    """Read the columns of a metadata file that glyffctl gives no meaning, the first `MOST_COLUMNS` of them.

    Args:
        folder: a data folder that `open_glyphs` has opened; one without a metadata file has no such columns.
        rows: (N,) int64, the rows to read, ascending.

    Returns:
        For each column N values: a number, a text, or None where the row has neither. Truth values are texts; lists and
        objects are left out.

    Raises:
        DataError: the file cannot be read.
    """
    path = metadata_file(folder)
    if path is None:
        return {}
    wanted = {row: k for k, row in enumerate(rows.tolist())}
    columns: dict[str, list[Value]] = {}
    records = (csv_records if path.suffix == ".csv" else json_records)(read_lines(path, DataError), path, DataError)
    for row, (_, fields) in enumerate(records):
        if row not in wanted:
            continue
        for name, field in fields.items():
            if name in _KNOWN or (value := _value(field)) is None:
                continue
            if name not in columns and len(columns) == MOST_COLUMNS:
                continue
            columns.setdefault(name, [None] * len(rows))[wanted[row]] = value
    return columns


def _value(field: object) -> Value:
    if isinstance(field, bool):
        return "yes" if field else "no"
    if isinstance(field, int | float):
        return float(field)  # of a bounded number of digits, see `parse_json`
    text = field.strip() if isinstance(field, str) else ""
    return text[:LONGEST_NAME] or None
