"""Strict parsing of untrusted tables in CSV, TSV or JSON lines: no text is lost silently.

Every row is taken as a whole, or parsing stops with an error that names the file, the line, the problem and its remedy.
Fields beyond the header, columns named twice, and rows swallowed by an unclosed quotation mark are errors. Accepted are

- UTF-8 with or without a byte order mark, or UTF-16 with one, as Excel saves "Unicode text".
- Lines that end in LF, CRLF or CR, also mixed; no other character ends a line, such as U+2028.
- CSV as in RFC 4180, with spaces allowed before a quotation mark. Lines without text are skipped. Fields beyond
  the header must be empty; columns without a name are ignored.

Typical calls, which stream a file of any length in little memory:

    for line, fields in csv_records(read_lines(path, DataError), path, DataError): ...
    for line, fields in json_records(read_lines(path, DataError), path, DataError): ...
"""

from __future__ import annotations

import codecs
import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from glyffctl.core.errors import GlyffError
from glyffctl.core.io.atomic import reason
from glyffctl.core.io.reading import LONGEST_LINE, check_file, parse_json, short_repr

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_INVALID = re.compile("[\0\ud800-\udfff]")  # surrogates stand for bytes that could not be decoded
_LINE_END = re.compile(r"\r\n?|\n")
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}


def read_lines(path: Path, error: type[GlyffError], longest: int = LONGEST_LINE) -> Iterator[str]:
    """Read the lines of a text file one by one, with their ends.

    Raises:
        error: it is no regular file, cannot be read, is neither UTF-8 nor UTF-16 with a byte order mark, or a line has
            more than `longest` characters.
    """
    check_file(path, error)
    number = 0
    try:
        with path.open("rb") as binary:
            utf16 = binary.read(2) in _UTF16
        encoding, errors = ("utf-16", "surrogatepass") if utf16 else ("utf-8-sig", "surrogateescape")
        with path.open(encoding=encoding, errors=errors, newline="") as file:
            while line := file.readline(longest + 1):
                number += 1
                if len(line) > longest:
                    raise error(f"cannot read {path}: line {number} has more than {longest:,} characters")
                if bad := _INVALID.search(line):
                    raise _invalid_character(path, error, number, bad[0])
                yield line
    except UnicodeDecodeError:  # UTF-16 that ends within a character
        raise error(f"{path} ends in the middle of a character; get the file again") from None
    except OSError as cause:
        raise error(f"cannot read {path}: {reason(cause)}") from cause


def decode_text(data: bytes, path: Path, error: type[GlyffError]) -> str:
    """Decode a whole text file, with LF as the end of every line; `path` is for messages. See `read_lines`.

    Raises:
        error: it is neither UTF-8 nor UTF-16 with a byte order mark.
    """
    utf16 = data[:2] in _UTF16
    whole = True
    try:
        text = data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError:
        whole = False  # decoded again below, to find the line
        try:
            text = data.decode(*(("utf-16", "surrogatepass") if utf16 else ("utf-8-sig", "surrogateescape")))
        except UnicodeDecodeError:
            raise error(f"{path} ends in the middle of a character; get the file again") from None
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\0" in text or not whole:
        bad = _INVALID.search(text)
        assert bad is not None
        raise _invalid_character(path, error, text.count("\n", 0, bad.start()) + 1, bad[0])
    return text


def _invalid_character(path: Path, error: type[GlyffError], line: int, character: str) -> GlyffError:
    found = "half of a surrogate pair"
    if character == "\0":
        found = "a zero byte"
    elif "\udc80" <= character <= "\udcff":
        found = f"the byte 0x{ord(character) & 0xFF:02X}"
    return error(f"{path}, line {line}: {found} is not UTF-8 text; save the file as UTF-8")


def number_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Number lines from 1; a line may end with the ends of further, empty lines."""
    number = 1
    for line in lines:
        yield number, line
        number += max(1, line.count("\n"))


def csv_rows(
    lines: Iterable[str], path: Path, error: type[GlyffError], delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """Parse CSV into rows, each with the number of the line where it begins; rows without text are skipped.

    Args:
        lines: with their ends, see `number_lines`.
        path: for messages.
        error: the type of error.
        delimiter: a comma, semicolon or tab.

    Raises:
        error: a quotation mark is not closed, or closed within a field; a field contains lines that look like rows;
            a row has more than `LONGEST_LINE` characters.
    """
    begun, held, several = 1, 0, False  # the first line of the row, its characters, whether it has several lines

    def counted() -> Iterator[str]:
        nonlocal begun, held, several
        for number, line in number_lines(lines):
            if not held and not line.strip("\r\n"):
                continue
            several = held > 0
            if not several:
                begun = number
            held += len(line.rstrip("\r\n")) + 1
            if held > LONGEST_LINE:
                raise csv.Error("unexpected end of data")
            yield line

    columns = 0
    reader = csv.reader(counted(), delimiter=delimiter, skipinitialspace=True, strict=True)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as cause:
            where = f"{path}, line {begun}"
            if "field limit" in str(cause) and not several:
                raise error(f"{where}: a field has more than {csv.field_size_limit():,} characters") from None
            if "unexpected end" in str(cause) or "field limit" in str(cause):
                raise error(f"{where}: a quotation mark is opened there and not closed; {_QUOTING_ADVICE}") from None
            if "expected after" in str(cause):
                raise error(f"{where}: a quoted field has a quotation mark inside; {_QUOTING_ADVICE}") from None
            raise error(f"{where}: not CSV ({cause})") from None
        if row is None:
            return
        held = 0
        if not any(row) or not any(map(str.strip, row)):
            continue
        columns = columns or len(row)
        for field in row:
            _, *others = _LINE_END.split(field) if "\n" in field or "\r" in field else [field]
            if columns > 1 and any(other.count(delimiter) + 1 >= columns for other in others):
                taken = "the next line, which looks like a row" if len(others) == 1 else f"{len(others)} more lines"
                found = f"a quotation mark opened there takes in {taken}; is it not closed?"
                raise error(f"{path}, line {begun}: {found} {_QUOTING_ADVICE}")
        yield begun, row


_QUOTING_ADVICE = 'write quotation marks within a text as "a ""word"" like this"'


def column_names(row: Sequence[str], line: int, path: Path, error: type[GlyffError]) -> list[str]:
    """The names in a header, without surrounding spaces; "" for columns without a name, except at the end.

    Raises:
        error: two columns have the same name.
    """
    names = [name.strip() for name in row]
    while names and not names[-1]:
        names.pop()
    counts = Counter(names)
    twice = next((name for name in names if name and counts[name] > 1), None)
    if twice is not None:
        raise error(f"{path}, line {line}: two columns are named {short_repr(twice)}; rename or remove one")
    return names


def fit_row(
    row: list[str], columns: int, line: int, path: Path, error: type[GlyffError], delimiter: str, than: str
) -> list[str]:
    """`row` with exactly `columns` fields; further fields must be empty.

    Args:
        row: the fields.
        columns: their number.
        line: for the message, as `path`, `delimiter` and `than`.
        path: of the table.
        error: the type of error.
        delimiter: of the table.
        than: what has `columns` fields, such as "the header names".

    Raises:
        error: it has fewer fields, or more with text.
    """
    if len(row) < columns:
        fields = f"{len(row)} field{'s' * (len(row) != 1)}"
        raise error(f"{path}, line {line} has {fields}, {than} {columns}: add what is missing, if only a delimiter")
    if len(row) == columns:
        return row
    filled = max((number for number, field in enumerate(row, 1) if field.strip()), default=0)
    if filled > columns:
        what = _DELIMITERS.get(delimiter, delimiter)
        todo = "take tabs out of the text" if delimiter == "\t" else f"put quotation marks around text that has {what}s"
        raise error(f"{path}, line {line} has {filled} fields, {than} {columns}: {todo}")
    return row[:columns]


def csv_records(
    lines: Iterable[str], path: Path, error: type[GlyffError], delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Parse CSV with a header: the number of the line where each row begins, and its fields by column name.

    Every row has all names. A header alone has no rows.

    Raises:
        error: see `csv_rows`, `column_names` and fit_row.
    """
    rows = csv_rows(lines, path, error, delimiter)
    first, header = next(rows, (1, []))
    names = column_names(header, first, path, error)
    for line, row in rows:
        fields = fit_row(row, len(names), line, path, error, delimiter, "the header names")
        yield line, {name: field for name, field in zip(names, fields, strict=True) if name}


def json_records(lines: Iterable[str], path: Path, error: type[GlyffError]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Parse JSON lines: the number of each line and its object.

    Raises:
        error: a line is not one JSON object, or names a key twice.
    """
    for number, line in number_lines(lines):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            value = parse_json(line.strip(), unique=True)
        except JSONDecodeError as cause:
            if line.lstrip().startswith("["):
                raise error(f"{where}: a JSON array begins; write one object a line") from None
            raise error(
                f"{where}, column {cause.colno}: not a whole JSON object ({cause.msg}); write one object a line"
            ) from None
        except ValueError as cause:
            raise error(f"{where}: {cause}") from None
        if isinstance(value, list):
            raise error(f"{where}: it is a JSON array; write one object a line")
        if not isinstance(value, dict):
            raise error(f"{where}: {short_repr(value)} is not a JSON object; write one object a line")
        yield number, value
