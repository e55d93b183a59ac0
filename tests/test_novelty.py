"""The nearest real glyph: copies are found wherever they are, other glyphs are not taken for copies."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.evaluation.novelty import Nearest, characters_of, compare_candidates, find_candidates
from glyffctl.workflows.events import finish
from glyffctl.workflows.prepare import PrepareOptions, prepare


@pytest.fixture(scope="module")
def two_fonts(tmp_path_factory: pytest.TempPathFactory, noto_folder: Path, unihan: Path) -> GlyphSet:
    """Some 950 characters in Regular and Bold, 己 已 巳 and copies in the compatibility block among them."""
    fonts = tuple(noto_folder / f"NotoSansCJK-{weight}.ttc" for weight in ("Regular", "Bold"))
    out = tmp_path_factory.mktemp("novelty") / "data"
    ranges = "U+5D00-5EFF,U+9F00-9FA5,U+F900-F980,U+8C48,U+66F4,U+8ECA"
    finish(prepare(PrepareOptions(fonts=fonts, definitions=unihan, size=64, ranges=ranges, out=out)))
    return open_glyphs(out)


def _nearest(pictures: Tensor, glyphs: GlyphSet, character: Tensor | None = None) -> Nearest:
    return finish(compare_candidates(pictures, glyphs, finish(find_candidates(pictures, glyphs, character))))


def test_progress_is_a_share(two_fonts: GlyphSet):
    pictures = two_fonts.images(torch.arange(40))[:, 0]
    search = list(find_candidates(pictures, two_fonts))
    assert search == sorted(search) and search[-1] == 1
    assert list(compare_candidates(pictures, two_fonts, finish(find_candidates(pictures, two_fonts)))) == [0, 0.8]


def _moved(pictures: Tensor, right: int, down: int) -> Tensor:
    return F.pad(pictures, (right, -right, down, -down), value=255)


def test_a_copy_is_found_even_if_shifted(two_fonts: GlyphSet):
    index = torch.arange(5, len(two_fonts), 97)
    pictures = two_fonts.images(index)[:, 0]
    for right, down in ((0, 0), (2, -2), (-1, 2)):
        nearest = _nearest(_moved(pictures, right, down), two_fonts)
        assert float(nearest.distance.max()) < 1e-3
        # The same drawing can be there twice, as another code point.
        same = two_fonts.images(nearest.glyph)[:, 0] == pictures
        assert bool(same.flatten(1).all(1).all())


def test_a_shift_beyond_reach_is_another_picture(two_fonts: GlyphSet):
    pictures = two_fonts.images(torch.arange(0, 400, 41))[:, 0]
    assert float(_nearest(_moved(pictures, 12, 0), two_fonts).distance.min()) > 0.05


def test_the_answer_is_that_of_comparing_everything(two_fonts: GlyphSet):
    """Against all glyphs, at all shifts, with a blur by convolution: no glyph was lost by looking coarsely first."""
    light = (255 - (255 - two_fonts.images(torch.arange(0, 18, 3))[:, 0].float()) * 0.7).to(torch.uint8)
    pictures = torch.cat([light, two_fonts.images(torch.arange(24, 30))[:, 0].transpose(1, 2)])
    nearest = _nearest(pictures, two_fonts)
    line = torch.tensor([1.0, 4, 6, 4, 1], dtype=torch.float64) / 16

    def blurred(x: Tensor) -> Tensor:
        return F.conv2d(1 - x[:, None].double() / 255, torch.outer(line, line)[None, None], padding=2)[:, 0]

    def standard(x: Tensor) -> Tensor:
        x = x.flatten(1)
        return (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)

    bank = standard(blurred(two_fonts.images(torch.arange(len(two_fonts)))[:, 0]))
    best = torch.full((len(pictures),), -1.0, dtype=torch.float64)
    for right in range(-2, 3):
        for down in range(-2, 3):
            moved = standard(F.pad(blurred(pictures), (right, -right, down, -down)))
            best = torch.maximum(best, (moved @ bank.T / 64**2).amax(1))
    assert torch.allclose(nearest.distance.double(), 1 - best, atol=1e-4)
    assert float(nearest.distance[:6].max()) < 0.01 < float(nearest.distance[6:].min())


def test_a_different_glyph_is_no_copy(two_fonts: GlyphSet):
    """己 and 已 are near each other and yet apart; 己 and its own bold are nearer than most others."""
    number = characters_of(two_fonts)
    index = torch.arange(0, len(two_fonts), 29)
    pictures = two_fonts.images(index)[:, 0]
    apart = _nearest(pictures, two_fonts, number[index])
    assert bool((number[apart.glyph] != number[index]).all())
    assert float(apart.distance.median()) > 0.2
    assert float(apart.distance.min()) > 0.005


def test_the_same_character_in_another_weight_is_recognised(two_fonts: GlyphSet):
    """Bold glyphs, looked for among all: without themselves the regular one of the same character is the nearest."""
    number = characters_of(two_fonts)
    bold = (two_fonts.font_of == [f.name for f in two_fonts.fonts].index("Noto Sans CJK SC Bold")).nonzero().flatten()
    regular = _without_bold(two_fonts)
    pick = bold[torch.arange(0, len(bold), 31)]
    nearest = _nearest(two_fonts.images(pick)[:, 0], regular)
    found = characters_of(regular)[nearest.glyph] == number[pick]
    assert float(found.float().mean()) > 0.9


def _without_bold(glyphs: GlyphSet) -> GlyphSet:
    from dataclasses import replace

    keep = (glyphs.font_of == [f.name for f in glyphs.fonts].index("Noto Sans CJK SC")).nonzero().flatten()
    return replace(
        glyphs,
        character_of=glyphs.character_of[keep],
        font_of=glyphs.font_of[keep],
        pixels=lambda index: glyphs.pixels(keep[index]),
    )


def test_compatibility_copies_are_the_same_character(two_fonts: GlyphSet):
    number = characters_of(two_fonts)
    of = {c.character: int(number[two_fonts.character_of == i][0]) for i, c in enumerate(two_fonts.characters)}
    assert of["\uf900"] == of["\u8c48"]
    assert len({of["己"], of["已"], of["巳"]}) == 3


def test_a_blank_page_is_near_to_nothing(two_fonts: GlyphSet):
    blank = torch.full((1, 128, 128), 255, dtype=torch.uint8)
    assert float(_nearest(blank, two_fonts).distance) == pytest.approx(1)
