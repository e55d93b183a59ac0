"""Fonts at arm's length: whatever a font does to a worker, the program goes on and names the file."""

from __future__ import annotations

import errno
import os
import random
import signal
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTCollection, TTFont

from glyffctl.core.data import font_workers
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.font_workers import CHUNK, _result
from glyffctl.core.data.fonts import draw_glyphs, read_faces
from glyffctl.core.errors import FontError, GlyffError
from glyffctl.core.io.cores import usable_cores
from glyffctl.workflows.events import Caution
from glyffctl.workflows.prepare import PrepareOptions, prepare
from tests.conftest import follow
from tests.fontmaker import Box, make_font

SEED = 7


def test_workers_draw_what_one_process_draws_and_in_its_order(noto_sans: Path) -> None:
    with font_workers.font_workers() as workers:
        ((file, faces),) = workers.read([noto_sans])
        assert file == noto_sans and not isinstance(faces, FontError)
        assert faces == read_faces(noto_sans)
        codepoints = [0x3000, *range(0x4E00, 0x4E00 + 2 * CHUNK)]  # an ideographic space first
        drawn = list(workers.draw([(faces[2], codepoints), (faces[0], codepoints[:3])], 32))
    plain = [*draw_glyphs(faces[2], codepoints, 32), *draw_glyphs(faces[0], codepoints[:3], 32)]
    assert [chunk.face for chunk in drawn] == [*[faces[2]] * (len(drawn) - 1), faces[0]]
    assert [each for chunk in drawn for each in chunk.codepoints] == [codepoint for codepoint, _ in plain]
    assert drawn[0].outcomes[0] is None
    pictures = [picture for _, picture in plain if picture is not None]
    assert np.array_equal(np.concatenate([chunk.kept for chunk in drawn]), pictures)
    sums = [None if picture is None else zlib.crc32(picture.data) for _, picture in plain]
    assert [each for chunk in drawn for each in chunk.outcomes] == sums


def _row_and_count(row: int, pictures: np.ndarray[Any, Any]) -> tuple[int, int]:
    return row, len(pictures)


def _no_space(row: int, pictures: np.ndarray[Any, Any]) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.thorough
def test_workers_keep_pictures_at_their_rows_and_say_when_they_cannot(tmp_path: Path) -> None:
    boxes: dict[int, Box | None] = {0x4E00 + i: (0, 0, 500, 500 + i) for i in range(CHUNK)}
    path = make_font(tmp_path / "boxes.ttf", {0x3000: None, **boxes})
    with font_workers.font_workers() as workers:
        ((_, faces),) = workers.read([path])
        assert not isinstance(faces, FontError)
        jobs = [(faces[0], [0x3000, *boxes]), (faces[0], [0x4E00])]
        kept = [chunk.kept for chunk in workers.draw(jobs, 32, keep=_row_and_count)]
        assert kept == [(0, CHUNK - 1), (CHUNK, 1), (CHUNK + 1, 1)]
        with pytest.raises(OSError, match="No space left"):
            list(workers.draw(jobs, 32, keep=_no_space))


def test_parts_come_back_in_their_order() -> None:
    with font_workers.font_workers() as workers:
        assert list(workers.map(sorted, [[3, 1], [], [2, 0, 1]])) == [[1, 3], [], [0, 1, 2]]
        with pytest.raises(GlyffError, match="worker"):
            list(workers.map(os._exit, [3]))


def test_a_font_of_many_faces_fails_as_a_whole_with_its_first_error(tmp_path: Path) -> None:
    """The faces are read by several workers; the tables of two are missing, each in its own way."""
    collection = TTCollection()
    for face in range(7):
        path = make_font(tmp_path / f"{face}.ttf", {0x4E00: (0, 0, 100 * (face + 1), 500)}, name=f"Face {face}")
        collection.fonts.append(TTFont(path))
    collection.save(tmp_path / "good.ttc")
    del collection.fonts[3]["glyf"], collection.fonts[3]["loca"], collection.fonts[5]["cmap"]
    collection.save(tmp_path / "damaged.ttc")
    with pytest.raises(FontError) as alone:
        read_faces(tmp_path / "damaged.ttc")
    with font_workers.font_workers() as workers:
        (_, found), (_, faces) = workers.read([tmp_path / "damaged.ttc", tmp_path / "good.ttc"])
    assert isinstance(found, FontError) and str(found) == str(alone.value) and "cmap" not in str(found)
    assert faces == read_faces(tmp_path / "good.ttc") and len(faces) == 7


def worker_processes() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):  # it has ended
            found += [child] if any("spawn_main" in word for word in child.cmdline()) else []
    return found


def test_a_worker_that_ends_while_it_starts_says_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One is deep in a library and hears no signal; another, which replaces one that crashed, has only begun."""
    monkeypatch.setattr(font_workers, "usable_cores", lambda: 2)
    with font_workers.font_workers() as workers:
        assert list(workers.map(abs, [-1, -2])) == [1, 2]
        before = {process.pid: process.cpu_times().user for process in worker_processes()}
        workers._pool.schedule(sum, (range(10**10),))
        while not (busy := [p for p in worker_processes() if p.cpu_times().user > before.get(p.pid, 0) + 0.4]):
            time.sleep(0.02)
        idle = [process for process in worker_processes() if process not in busy]
        assert len(busy) == len(idle) == 1
        idle[0].kill()
        while not {process.pid for process in worker_processes()} - before.keys():
            time.sleep(0.01)
    assert capfd.readouterr().err == ""


@pytest.mark.thorough
def test_workers_do_not_hear_of_ctrl_c_while_they_start(capfd: pytest.CaptureFixture[str]) -> None:
    """A terminal sends it to all processes of a command at once."""
    for delay in (0, 0.05, 0.15):
        with font_workers.font_workers() as workers:
            workers.start()
            time.sleep(delay)
            for process in worker_processes():
                process.send_signal(signal.SIGINT)
            assert list(workers.map(abs, [-3])) == [3]
    assert capfd.readouterr().err == ""


def test_cores_are_those_that_this_process_may_use(tmp_path: Path) -> None:
    here = len(os.sched_getaffinity(0))
    assert usable_cores(tmp_path) == here
    (tmp_path / "cpu").mkdir()
    for quota, cores in ((-1, here), (50_000, 1), (100_000 * here + 1, here)):
        (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
        assert usable_cores(tmp_path) == cores
    for text, cores in (("max 100000\n", here), ("50000 100000\n", 1), ("damaged", here)):
        (tmp_path / "cpu.max").write_text(text)
        assert usable_cores(tmp_path) == cores


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
    [chunk] = drawn
    assert [isinstance(each, int) for each in chunk.outcomes] == [True, False, True, True, True]
    assert "U+4E01" in str(chunk.outcomes[1]) and "odd.ttf" in str(chunk.outcomes[1]) and len(chunk.kept) == 4


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
        assert [len(chunk.kept) for chunk in workers.draw([(faces[0], [0x4E00])], 32)] == [1]
    read_faces(path)
    assert caplog.text == "" and "".join(capfd.readouterr()) == ""


def test_no_worker_is_left(noto_sans: Path) -> None:
    with pytest.raises(ZeroDivisionError), font_workers.font_workers() as workers:
        list(workers.read([noto_sans]))
        raise ZeroDivisionError
    assert not worker_processes()


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
