"""Fonts at arm's length: whatever a font does to a worker, the program goes on and names the file."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

from glyffctl.core.data import font_workers
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.font_workers import CHUNK, _result
from glyffctl.core.data.fonts import draw_glyphs, read_faces
from glyffctl.core.errors import FontError
from glyffctl.workflows.events import Caution
from glyffctl.workflows.prepare import PrepareOptions, prepare
from tests.conftest import follow
from tests.fontmaker import make_font

SEED = 7


def test_workers_draw_what_one_process_draws_and_in_its_order(noto_sans: Path) -> None:
    with font_workers.font_workers() as workers:
        ((file, faces),) = workers.read([noto_sans])
        assert file == noto_sans and not isinstance(faces, FontError)
        assert faces == read_faces(noto_sans)
        codepoints = [0x3000, *range(0x4E00, 0x4E00 + 2 * CHUNK)]  # an ideographic space first
        drawn = list(workers.draw([(faces[2], codepoints), (faces[0], codepoints[:3])], 32))
    plain = [*draw_glyphs(faces[2], codepoints, 32), *draw_glyphs(faces[0], codepoints[:3], 32)]
    assert [each.codepoint for each in drawn] == [codepoint for codepoint, _ in plain]
    assert drawn[0].picture is None and drawn[0].failure is None
    for each, (_, picture) in zip(drawn, plain, strict=True):
        assert (each.picture is None) == (picture is None)
        assert picture is None or np.array_equal(np.asarray(each.picture), picture)


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("work", "arguments", "says"),
    [
        (os.abort, (), "ended with code -6"),
        (time.sleep, (60,), "took longer than"),
        (bytearray, (font_workers.MEMORY,), "needs more than 4 GB"),
    ],
)
def test_a_worker_that_dies_hangs_or_swells_is_told_and_replaced(
    work: Callable[..., Any], arguments: tuple[int], says: str
) -> None:
    with font_workers.font_workers() as workers:
        task: Future[Any] = workers._pool.schedule(work, arguments, timeout=5)
        with pytest.raises(FontError, match=says):
            _result(task, Path("bad.ttf"), "draw with")
        assert _result(workers._pool.schedule(abs, (-3,)), Path("good.ttf"), "read") == 3


@pytest.mark.hostile
def test_only_the_glyph_that_cannot_be_drawn_is_lost(tmp_path: Path) -> None:
    """U+4E01 is made of itself."""
    path = make_font(tmp_path / "odd.ttf", {c: (0, 0, 100 * (c - 0x4DFF), 500) for c in range(0x4E00, 0x4E05)})
    with TTFont(path) as font:
        pen = TTGlyphPen(font["glyf"])
        pen.addComponent("u04E01", (1, 0, 0, 1, 0, 0))
        glyph = font["glyf"]["u04E01"] = pen.glyph()
        glyph.xMin = glyph.yMin = glyph.xMax = glyph.yMax = 0
        font.recalcBBoxes = False
        font.save(path)
    with font_workers.font_workers() as workers:
        ((_, faces),) = workers.read([path])
        assert not isinstance(faces, FontError)
        drawn = list(workers.draw([(faces[0], range(0x4E00, 0x4E05))], 32))
    assert [each.picture is None for each in drawn] == [False, True, False, False, False]
    assert "U+4E01" in str(drawn[1].failure) and "odd.ttf" in str(drawn[1].failure)


def test_what_fonttools_logs_stays_off_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    path = make_font(tmp_path / "old.ttf", {0x4E00: (0, 0, 500, 500)})
    with TTFont(path, recalcTimestamp=False) as font:
        font["head"].created = 1000
        font.save(path)
    with TTFont(path) as font:
        assert font["head"].created
    assert "timestamp" in caplog.text  # it does say something
    caplog.clear()
    with font_workers.font_workers() as workers:
        ((_, faces),) = workers.read([path])
        assert not isinstance(faces, FontError)
        assert [each.picture is not None for each in workers.draw([(faces[0], [0x4E00])], 32)] == [True]
    read_faces(path)
    shown = "".join(capfd.readouterr())  # a worker of an earlier test may end late, and say so here
    assert caplog.text == "" and "timestamp" not in shown and "old.ttf" not in shown


def test_no_worker_is_left(noto_sans: Path) -> None:
    with pytest.raises(ZeroDivisionError), font_workers.font_workers() as workers:
        list(workers.read([noto_sans]))
        raise ZeroDivisionError
    children = psutil.Process().children(recursive=True)
    assert not [child for child in children if any("spawn_main" in word for word in child.cmdline())]


def mutants(folder: Path, noto_sans: Path, count: int) -> None:
    """Fonts cut out of Noto Sans, each damaged in its own way: bytes flipped, filled, taken out, cut off."""
    folder.mkdir()
    whole = folder / "whole.otf"
    with TTFont(noto_sans, fontNumber=2) as font:
        subsetter = Subsetter(Options(notdef_outline=True))
        subsetter.populate(unicodes=range(0x4E00, 0x4E20))
        subsetter.subset(font)
        font.save(whole)
    data = whole.read_bytes()
    dice = random.Random(SEED)
    for number in range(count):
        raw = bytearray(data)
        for _ in range(dice.choice((1, 3, 30, 300))):
            at = dice.randrange(len(raw))
            kind = dice.randrange(4)
            if kind == 0:
                raw[at] ^= 1 << dice.randrange(8)
            elif kind == 1:
                raw[at : at + 4] = b"\\xff\\xff\\xff\\xff"
            elif kind == 2:
                raw[at] = dice.randrange(256)
            elif number % 5 == 0:
                del raw[at : at + dice.randrange(1, 40)]
        (folder / f"mutant-{number:04}.otf").write_bytes(raw)


@pytest.mark.hostile
@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_fonts_do_not_take_the_program_down(tmp_path: Path, noto_sans: Path, unihan: Path, count: int) -> None:
    mutants(tmp_path / "fonts", noto_sans, count)
    options = PrepareOptions((tmp_path / "fonts",), unihan, size=32, ranges="U+4E00-4E1F", out=tmp_path / "data")
    begun = time.monotonic()
    events, report = follow(prepare(options))
    fonts = [event.facts["font"] for event in events if isinstance(event, Caution)]
    named = {Path(str(font)).name for font in fonts}
    print(f"{count} damaged fonts in {time.monotonic() - begun:.0f} s: {len(named)} named, {report.glyphs} glyphs")
    assert 0 < len(named) < count and "whole.otf" not in named
    assert report.glyphs == len(open_glyphs(options.out)) >= 20
