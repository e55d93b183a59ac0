"""Tables of the structure of characters."""

import gzip
from pathlib import Path

import pytest

from glyffctl.core.data.structure import read_structure
from glyffctl.core.errors import DataError


def test_structure_is_read_plain_and_packed(tmp_path: Path) -> None:
    text = "# a comment\nU+9502\t锂\t⿰钅里\nU+82B1\t花\t⿱艹化\tX\nU+4E00\t一\t一\nbroken\n"
    (tmp_path / "ids.txt").write_text(text, encoding="utf-8")
    (tmp_path / "ids.txt.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("ids.txt", "ids.txt.gz"):
        table = read_structure(tmp_path / name)
        assert table == {"锂": "⿰", "花": "⿱", "一": ""}


@pytest.mark.parametrize(
    "content", [b"", b"no table\n", b"\x1f\x8bbroken", b"\xff\xfe\x00\x01", "U+4E00\t一\t一\n".encode()]
)
def test_a_file_that_is_no_table_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ids"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"ids.*give a file of lines"):
        read_structure(path)
