"""Drawn pictures that are kept for the next evaluation."""

from pathlib import Path

import pytest
import torch

from glyffctl.core.errors import DataError
from glyffctl.core.io.tensors import save_tensors
from glyffctl.workflows.drawings import load_drawings, save_drawings, texts_digest


def test_they_are_taken_again_only_if_all_is_the_same(tmp_path: Path) -> None:
    file = tmp_path / "drawn.safetensors"
    pictures = {"prompted": torch.arange(32, dtype=torch.uint8).view(2, 4, 4)}
    made = {"model": "a", "steps": 20, "texts": texts_digest(["fish", "gold"])}
    assert load_drawings(file, made) == (None, [])
    save_drawings(file, pictures, made)
    found, other = load_drawings(file, made)
    assert found is not None and torch.equal(found["prompted"], pictures["prompted"]) and other == []
    assert load_drawings(file, made | {"model": "b", "steps": 10}) == (None, ["model", "steps"])
    assert load_drawings(file, made | {"texts": texts_digest(["fishgold"])}) == (None, ["texts"])
    assert load_drawings(file, made | {"seed": 0}) == (None, ["seed"])


def test_what_holds_something_else_is_refused(tmp_path: Path) -> None:
    model, text = tmp_path / "model.safetensors", tmp_path / "text.safetensors"
    save_tensors(model, "glyffctl-model/1", {"a": torch.zeros(1)}, {})
    text.write_text("not tensors", encoding="utf-8")
    before = model.read_bytes()
    for file in (model, text, tmp_path):
        with pytest.raises(DataError, match="--drawings"):
            load_drawings(file, {})
    assert model.read_bytes() == before
