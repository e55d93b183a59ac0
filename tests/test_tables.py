"""Tables are taken whole, or refused with the line: what is read is held against Python's own writers."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glyffctl.core.errors import DataError
from glyffctl.core.io.tables import csv_records, decode_text, json_records, number_lines, read_lines

HERE = Path("table")
FIELDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=12).map(str.strip)


def lines_of(text: str) -> Iterator[str]:
    return iter(io.StringIO(text, newline=""))


@given(st.lists(st.tuples(FIELDS, FIELDS, FIELDS).filter(any)), st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_a_spreadsheet_writes_is_read_as_it_was(rows: list[tuple[str, str, str]], end: str) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator=end).writerows([("a", "b", "c"), *rows])
    read = [tuple(fields.values()) for _, fields in csv_records(lines_of(out.getvalue()), HERE, DataError)]
    assert read == rows


@given(st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=12), max_size=3)))
def test_json_lines_are_read_as_they_were(rows: list[dict[str, str]]) -> None:
    text = "\n".join(json.dumps(row, ensure_ascii=False).replace("\r", "\\r") for row in rows)
    read = list(json_records(lines_of(text), HERE, DataError)) if "\ud800" not in text else []
    assert [fields for _, fields in read] == rows
    assert [line for line, _ in read] == list(range(1, len(rows) + 1))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60),
       st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))  # fmt: skip
def test_a_file_is_read_in_lines_as_it_is_whole(tmp_path_factory: Any, text: str, encoding: str) -> None:
    text = text.removeprefix("\ufeff")
    path = tmp_path_factory.mktemp("lines") / "file"
    path.write_bytes(text.encode(encoding))
    whole = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = list(read_lines(path, DataError))
    assert "".join(lines) == text
    assert decode_text(path.read_bytes(), path, DataError) == whole
    assert [number for number, _ in number_lines(lines)] == list(range(1, len(lines) + 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3\n", "line 3 has 1 field, the header names 2"),
        ("a,b\n1,2\n\n\n3,4,5,,\n", "line 5 has 3 fields, the header names 2: put quotation marks"),
        ("a,b,\n1,2,3\n", "line 2 has 3 fields, the header names 2"),
        ("a,b, a\n1,2,3\n", "line 1: two columns are named 'a'"),
        ('a,b\n1,"2\n3,4\n5,6"\n7,8\n', "line 2: a quotation mark opened there takes in 2 more lines"),
        ('a,b\n1,"2\n3,4\n5,"6\n', "line 2: a quoted field has a quotation mark inside"),
        ('a,b\n1,2\n3,"4\n5,6\n', "line 3: a quotation mark is opened there and not closed"),
        ('a,b\n1,"' + "x\n" * 600_000 + '"\n', "line 2: a quotation mark is opened there and not closed"),
        ("a,b\n1," + "x" * 140_000, "line 2: a field has more than 131,072 characters"),
        ('"a\nb",c\n1,2\n3\n', "line 4 has 1 field"),
    ],
)
def test_csv_that_would_lose_text_is_refused(text: str, message: str) -> None:
    for whole in (text, text.replace("\n", "\r"), text.replace("\n", "\r\n")):
        with pytest.raises(DataError, match=rf"table, {message}"):
            list(csv_records(lines_of(whole), HERE, DataError))


def test_what_loses_no_text_is_read() -> None:
    text = ',a, "b" ,,\n\n,,\n0,1, "two, and\nmore",,\n1,2," 3",\n'
    read = list(csv_records(lines_of(text.replace('"b" ', '"b"')), HERE, DataError))
    assert read == [(4, {"a": "1", "b": "two, and\nmore"}), (6, {"a": "2", "b": " 3"})]
    assert list(csv_records(iter([]), HERE, DataError)) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"one\rtwo\r\nthr\xe9e\n", "line 3: the byte 0xE9 is not UTF-8"),
        (b"one\ntwo\0\n", "line 2: a zero byte"),
        ("one\ntwo".encode("utf-16-be"), "line 1: a zero byte"),
        ("one\ntwo".encode("utf-32"), "line 1: a zero byte"),
        ("one\ntwo".encode("utf-16")[:-1], "ends in the middle of a character"),
        ("one\ntwo \ud800 three".encode("utf-16", "surrogatepass"), "line 2: half of a surrogate pair"),
        ("one\ntwo \ud800 three".encode("utf-8", "surrogatepass"), "line 2: the byte 0xED"),
    ],
)
def test_what_is_not_text_is_named_by_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "table"
    path.write_bytes(data)
    for read in (lambda: list(read_lines(path, DataError)), lambda: decode_text(data, path, DataError)):
        with pytest.raises(DataError, match=rf"table,? {message}"):
            read()
