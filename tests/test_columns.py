"""Columns of a metadata file that glyffctl gives no meaning, and how they colour a map."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from glyffctl.core.atlas.groups import Groups, Scale, by_values
from glyffctl.core.data.columns import MOST_COLUMNS, metadata_columns
from glyffctl.core.errors import DataError


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    full = [{"file_name": f"{k}.png", "text": "x", "radical": 3, **row} for k, row in enumerate(rows)]
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, full)), encoding="utf-8")
    return folder


def test_further_columns_are_read_for_the_rows_that_are_asked_for(tmp_path: Path) -> None:
    folder = written(
        tmp_path, {"style": "bold", "year": 1990}, {"style": " ", "ready": True}, {"year": 2.5, "tags": ["a"]}, {}
    )
    columns = metadata_columns(folder, torch.arange(4))
    assert columns == {
        "style": ["bold", None, None, None], "year": [1990.0, None, 2.5, None], "ready": [None, "yes", None, None],
    }  # fmt: skip
    assert metadata_columns(folder, torch.tensor([2, 3])) == {"year": [2.5, None]}
    (folder / "metadata.jsonl").unlink()
    assert metadata_columns(folder, torch.arange(4)) == {}
    (folder / "metadata.csv").write_text("file_name,text,ink\n0.png,x,0.5\n1.png,y,\n", encoding="utf-8")
    assert metadata_columns(folder, torch.arange(2)) == {"ink": ["0.5", None]}


def test_hostile_columns_are_bounded(tmp_path: Path) -> None:
    many = {f"column {k}": k for k in range(500)}
    columns = metadata_columns(written(tmp_path, {"long": "x" * 5000, **many}, {"late": 1}), torch.arange(2))
    assert len(columns) == MOST_COLUMNS
    assert len(str(columns["long"][0])) == 100
    (tmp_path / "metadata.jsonl").write_text("no json", encoding="utf-8")
    with pytest.raises(DataError, match="line 1"):
        metadata_columns(tmp_path, torch.arange(1))


def test_numbers_are_a_scale_and_few_numbers_are_groups() -> None:
    scale = by_values("n", [float(k) for k in range(101)])
    assert isinstance(scale, Scale) and scale.missing == 0
    assert scale.ends == ("≤ 1", "≥ 99") and scale.values.tolist()[:2] == [0, 0]
    assert scale.values[50] == pytest.approx(0.5) and bool((scale.values.diff() >= 0).all())
    partly = by_values("n", ["1.5", None, *(f"{k}e3" for k in range(20))])  # as CSV has them
    assert isinstance(partly, Scale) and partly.missing == 1 and bool(partly.values[1].isnan())
    few = by_values("n", [1.0, 2, 2, None])
    assert isinstance(few, Groups) and few.labels == ["2", "1"] and few.of.tolist() == [1, 0, 0, -1]
    outlier = by_values("n", [float(k % 12) for k in range(1000)] + [1e9])
    assert isinstance(outlier, Scale) and outlier.ends == ("0", "≥ 11")  # it does not take all the colours
    written_codes = by_values("n", list(range(0x4E00, 0x4E40)), lambda code: f"U+{round(code):04X}")
    assert isinstance(written_codes, Scale) and written_codes.ends == ("≤ U+4E01", "≥ U+4E3E")


def test_texts_are_groups_unless_they_tell_nothing() -> None:
    groups = by_values("style", ["bold", "thin", "bold", None])
    assert isinstance(groups, Groups) and groups.labels == ["bold", "thin"] and groups.others == 1
    assert by_values("id", ["a", "b", "c"]) is None
    assert by_values("none", [None, None]) is None
    mixed = by_values("mixed", [1.0, "a", "a", 1.0])
    assert isinstance(mixed, Groups) and mixed.counts == [2, 2]
    assert by_values("inf", ["inf", "nan", "1"]) is None
