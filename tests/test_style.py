"""The look of figures: letters for everything, the same bytes twice, nothing half-written."""

from __future__ import annotations

import pytest

from glyffctl.core.errors import FontError, OutputError
from glyffctl.core.io.images import read_settings
from glyffctl.figures.style import new_figure, save_figure, style


def labelled(text: str):
    figure = new_figure(3, 2)
    figure.subplots().set_title(text)
    return figure


def test_a_figure_has_letters_for_greek_and_han_and_says_how_it_was_made(tmp_path):
    for name in ("one.png", "two.png"):
        with style():
            save_figure(tmp_path / name, labelled(r"锂, σ and $\bar\alpha_t$: ∇ log q"), {"char": "锂"})
    assert read_settings(tmp_path / "one.png") == {"char": "锂"}
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_letter_that_no_font_holds_is_an_error_and_not_an_empty_box(tmp_path):
    with style(), pytest.raises(UserWarning, match="missing from"):
        save_figure(tmp_path / "tofu.png", labelled("\U0001f9ff"))
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_used_is_told(tmp_path):
    (tmp_path / "no.ttf").write_bytes(b"no font")
    with pytest.raises(FontError, match=r"no\.ttf"), style(tmp_path / "no.ttf"):
        pass
    with style(), pytest.raises(OutputError, match="it is a folder"):
        save_figure(tmp_path, labelled("a"))
