"""What the page of `noise-demo` is made of: chapters, words, sheets of pictures, drawings that it computes again."""

from __future__ import annotations

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from glyffctl.core.io.images import save_gif
from glyffctl.figures.chapters import CHAPTERS, LEADS, chapters_of, in_order
from glyffctl.figures.glossary import TERMS, anchor, glossary, link_terms
from glyffctl.figures.inline import picture_sheet, safe_json, still
from glyffctl.figures.live import CLIP, live_frames, recorded_drawings, scaled_sheet
from glyffctl.figures.page import Section, Source, page
from glyffctl.figures.registry import NAMES
from glyffctl.workflows.noise_guided import differences, mean_difference
from tests.test_noise_demo import Reader


def opened(sheet: dict[str, Any]) -> Tensor:
    """(N, H, W) the pictures of a sheet."""
    with Image.open(BytesIO(base64.b64decode(sheet["image"].split(",")[1]))) as image:
        page = torch.from_numpy(np.array(image.convert("L")))
    width, height = sheet["width"], sheet["height"]
    cells = page.reshape(-1, height, sheet["across"], width).transpose(1, 2).reshape(-1, height, width)
    return cells[: sheet["count"]]


@pytest.mark.parametrize(("count", "height", "width"), [(1, 5, 5), (7, 4, 9), (16, 3, 2)])
def test_pictures_come_back_from_a_sheet(count: int, height: int, width: int) -> None:
    pictures = torch.randint(0, 256, (count, height, width), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert torch.equal(opened(picture_sheet(pictures)), pictures)


def test_numbers_come_back_to_half_a_step_at_any_scale() -> None:
    values = (
        torch.randn(3, 6, 6, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1e-4, 1.0, 50.0])[:, None, None]
    )
    values[1] = 0
    sheet = scaled_sheet(values)
    reach = torch.tensor(sheet["reach"])[:, None, None]
    back = (opened(sheet).float() - 128) / 127 * reach
    assert bool(((back - values).abs() <= reach / 254 * 1.001).all())


def test_guesses_come_back_to_half_a_grey_however_many_there_are() -> None:
    generator = torch.Generator().manual_seed(0)
    guesses = (torch.randn(40, 1, 8, 8, generator=generator) * 0.02).cumsum(0) + torch.randn(8, 8, generator=generator)
    guesses = guesses.clamp(-1, 1)
    guesses[20] = -guesses[19]  # as large a change as there can be
    content = recorded_drawings(torch.zeros(1, 8, 8), [(0, 0.0)] * 41, [guesses])
    (sheet,) = content["sheets"]
    reach = torch.tensor(sheet["reach"])
    back = ((opened(sheet).double() - 128) / 127 * reach[:, None, None]).cumsum(0)
    error = (back - guesses[:, 0]).abs().amax((1, 2))
    assert float(error.max()) <= 1 / 127 + 1e-6
    assert float(error[reach < 1].max()) <= 1 / 255 + 1e-6


def test_an_animation_shows_its_last_picture_on_paper(tmp_path: Path) -> None:
    frames = [Image.new("L", (6, 4), grey) for grey in (0, 119, 255)]
    save_gif(tmp_path / "a.gif", frames, 12)
    with Image.open(BytesIO(still(tmp_path / "a.gif"))) as image:
        assert image.size == (6, 4) and image.convert("L").getcolors() == [(24, 255)]
    live = live_frames(frames, [(3, 2.0), (2, 1.0), (0, 0.0)], "a")
    assert opened(live.content["sheet"])[:, 0, 0].tolist() == [0, 119, 255]
    many = live_frames([frames[0]] * 60 + [frames[2]], [(61 - k, 61.0 - k) for k in range(61)], "a").content
    assert len(many["levels"]) == many["sheet"]["count"] == CLIP and many["levels"][-1] == (1, 1.0)
    assert many["levels"][0] == (61, 61.0) and int(opened(many["sheet"])[-1, 0, 0]) == 255


def test_data_cannot_leave_their_block() -> None:
    text = safe_json({"a": "</script><!-- & ü \u2028"})
    assert not set("<>&") & set(text) and text.isascii()
    assert json.loads(text) == {"a": "</script><!-- & ü \u2028"}


def test_chapters_hold_figures_once_and_order_them() -> None:
    named = [name for chapter in CHAPTERS for name in chapter.leads]
    assert len(named) == len({*named}) and {*named} <= {*NAMES}
    assert [name for name in NAMES if name in LEADS] == named
    assert in_order(["walks", "new", "pixels", "also new"], str) == ("pixels", "also new", "walks", "new")
    found = chapters_of(["unknown", "pixels", "unknown", "score"])
    assert found[0] is None and found[1] is found[2] is CHAPTERS[0] and found[3] is not None
    assert "score" in found[3].leads


def test_words_are_linked_once_and_only_as_words() -> None:
    known = set[str]()
    found = link_terms("noisy noise, noise; denoisers and a denoiser", known)
    assert found.count("<a ") == 2 and found.count(">noise</a>") == 1 and found.count(">denoisers</a>") == 1
    assert link_terms("noise", known) == "noise" and "noise" in known
    assert ">exact denoiser</a>" in link_terms("the exact denoiser", set())
    assert link_terms("&quot;x&quot; foresteps", set()) == "&quot;x&quot; foresteps"


def test_every_word_has_its_meaning_on_the_page() -> None:
    forms = [form for term in TERMS for form in (term.word, *term.forms)]
    assert len(forms) == len({*forms}) and len({anchor(term) for term in TERMS}) == len(TERMS)
    for term in TERMS:
        assert f'<dd id="{anchor(term)}">{term.meaning}</dd>' in glossary() and term.meaning.endswith(".")


def test_how_far_pictures_are_from_each_other() -> None:
    pictures = torch.tensor([0, 255, 255]).to(torch.uint8)[:, None, None].expand(3, 4, 4)
    apart = differences(pictures)
    assert apart.tolist() == [[0, 1, 1], [1, 0, 0], [1, 0, 0]]
    assert mean_difference(apart, ~torch.eye(3, dtype=torch.bool)).startswith("0.667 (")


def test_the_page_escapes_everything() -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    reader = Reader()
    section = Section(evil, evil, evil, evil, f"{evil}\n{evil}", b"", "image/png", 700, 13.0)
    reader.feed(page(evil, [evil], [section], Source(evil, evil, evil, evil)))
    assert reader.scripts == ["application/json", None] and reader.tags.count("img") == 1 and reader.alts == [evil]
    assert reader.links == ["data:image/png;base64,"] and reader.ways == [evil, f"#{evil}"]
