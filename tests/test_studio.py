"""`glyffctl studio`, asked as its page asks it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fontTools.ttLib import TTFont
from PIL import Image

from glyffctl.core.errors import UsageError
from glyffctl.core.io.images import read_png, read_settings
from glyffctl.core.models.recipe import Recipe
from glyffctl.studio import gallery, options, serve
from glyffctl.studio.gallery import Gallery, Glyph, tiled, untiled
from glyffctl.studio.options import StudioOptions
from glyffctl.studio.page import policy, studio_page
from glyffctl.workflows.events import finish
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions, options_from_picture
from tests.conftest import Workshop, crashed
from tests.studios import Served, Window, serving

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def served(tiny_run: Path, workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(StudioOptions(model=tiny_run, data=workshop.data), tmp_path_factory.mktemp("studio")) as studio:
        yield studio


@pytest.fixture
def window(served: Served) -> Window:
    return Window(served.port)


def pictures(said: dict[str, Any], size: int = 32) -> np.ndarray[Any, Any]:
    return untiled(base64.b64decode(said["sheet"]), size)


def saved(window: Window, path: str, file: Path) -> Path:
    status, content = window.ask(path)
    assert status == 200, content
    file.write_bytes(content)
    return file


def test_a_sheet_forms_step_by_step_and_is_what_sample_draws(window: Window, tiny_run: Path, tmp_path: Path) -> None:
    said = window.draw("gold", seed=7)
    assert said[0]["steps"] == 3 and said[0]["recipe"].startswith("3 steps of dpmpp-2m, guidance 2")
    assert [line["step"] for line in said[1:-1]] == [1, 2, 3]
    assert len(said[-1]["done"]) == 16
    forming = [pictures(line) for line in said[1:]]
    assert not np.array_equal(forming[0], forming[1]) and np.array_equal(forming[-2], forming[-1])
    recipe = Recipe(steps=3, guidance=2)
    finish(sample(SampleOptions(prompts=("gold",), model=tiny_run, recipe=recipe, seed=7, out=tmp_path / "glyphs")))
    for k, picture in enumerate(forming[-1]):
        assert np.array_equal(picture, np.array(read_png(tmp_path / "glyphs" / f"gold-{7 + k}.png")))


def test_the_noise_is_held_while_words_change(window: Window) -> None:
    first, other, again = (pictures(window.draw(words, seed=3)[-1]) for words in ("gold", "water", "gold"))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(pictures(window.draw("gold", seed=4)[-1])[0], first[1])


def test_what_is_saved_is_redrawn_by_sample(window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = window.draw("to speak", seed=2)
    name = said[-1]["done"][5]
    known = window.get(f"/glyph/{name}")
    assert (known["prompt"], known["seed"], known["steps"], known["lineage"]) == ("to speak", 7, 3, [])
    assert re.fullmatch(r"to-speak-7-\d+", known["file"])
    file = saved(window, f"/glyph/{name}/save.png", tmp_path / f"{known['file']}.png")
    assert np.array_equal(np.array(read_png(file)), pictures(said[-1])[5])
    finish(sample(options_from_picture(file, out=tmp_path / "again.png")))
    assert (tmp_path / "again.png").read_bytes() == file.read_bytes()
    outline = saved(window, f"/glyph/{name}/save.svg", tmp_path / "glyph.svg")
    assert read_settings(outline) == read_settings(file)
    with Image.open(saved(window, f"/glyph/{name}/save.gif", tmp_path / "glyph.gif")) as animation:
        assert (getattr(animation, "n_frames", 1), animation.size) == (3, (32, 32))
    # The strip of its steps ends with the glyph.
    strip = np.array(read_png(saved(window, f"/glyph/{name}/steps", tmp_path / "strip.png")))
    assert strip.shape == (32, 96) and np.array_equal(strip[:, 64:], pictures(said[-1])[5])


@pytest.mark.parametrize(
    ("keep", "kept"),
    [("left", np.s_[:, :16]), ("right", np.s_[:, 16:]), ("top", np.s_[:16]), ("bottom", np.s_[16:]), (None, None)],
)
def test_a_sheet_that_begins_with_a_glyph(
    window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str | None, kept: Any
) -> None:
    said = window.draw("gold", seed=1)
    name, glyph = said[-1]["done"][2], pictures(said[-1])[2]
    begin = {"glyph": name, "keep": keep, "strength": 0.5 if keep is None else 1}
    drawn = window.draw("water", steps=4, **{"from": begin})
    result = pictures(drawn[-1])
    assert all(not np.array_equal(picture, glyph) for picture in result)
    if keep is not None:
        assert all(np.array_equal(picture[kept], glyph[kept]) for picture in result)
        return
    known = window.get(f"/glyph/{drawn[-1]['done'][3]}")
    assert known["lineage"] == ["“gold”, seed 3: varied by 50%"]
    # Both saved into one folder, `sample` draws it again.
    monkeypatch.chdir(tmp_path)
    saved(window, f"/glyph/{name}/save.png", tmp_path / f"{window.get(f'/glyph/{name}')['file']}.png")
    file = saved(window, f"/glyph/{drawn[-1]['done'][3]}/save.png", tmp_path / f"{known['file']}.png")
    finish(sample(options_from_picture(file, out=tmp_path / "again.png")))
    assert np.array_equal(np.array(read_png(tmp_path / "again.png")), result[3])


def test_neighbours_are_the_nearest_real_glyphs(window: Window, served: Served) -> None:
    around = window.get(f"/glyph/{window.draw()[-1]['done'][0]}/around")
    assert len(around["neighbours"]) == 8 and around["place"] is None
    assert all(one["definition"] and one["codepoint"].startswith("U+4E") for one in around["neighbours"])
    surroundings = served.studio.surroundings
    assert surroundings is not None
    real = surroundings.glyphs.images(torch.tensor([9]))[0, 0].numpy()
    assert surroundings.around(real)["rows"][0] == 9
    assert "visualize-umap --data" in window.get("/about")["data"]["map"]
    assert "visualize-umap --data" in window.refused("/map")


def test_a_glyph_is_enlarged_where_the_upscaler_takes_its_size(window: Window) -> None:
    name = window.draw()[-1]["done"][0]
    status, content = window.ask("/enlarge", {"window": window.name, "glyph": name})
    assert status == 200 and "128×128" in json.loads(content.splitlines()[-1])["error"]
    assert "enlarge it first" in window.refused(f"/glyph/{name}/large.png")


def test_a_font_of_what_was_collected(window: Window, served: Served) -> None:
    for one in window.get("/about")["collected"]:
        window.get("/collect", {"glyph": one["glyph"], "collect": False})
    assert "collect some glyphs" in window.refused("/font", {"format": "ttf", "name": "Mine"})
    names = window.draw("gold")[-1]["done"][:3]
    for name in names:
        served.studio.gallery.find(name).pixels[8:24, 8:24] = 0  # so small a model may draw no ink
        held = window.get("/collect", {"glyph": name, "collect": True})["collected"]
    assert [one["glyph"] for one in held] == names
    window.get("/collect", {"glyph": names[1], "collect": False})
    assert [one["glyph"] for one in Window(window.port).get("/about")["collected"]] == [names[0], names[2]]
    for ending in ("ttf", "otf"):
        status, content = window.ask("/font", {"format": ending, "name": "Mine"})
        assert status == 200, content
        font = TTFont(io.BytesIO(content))
        assert font["name"].getDebugName(1) == "Mine" and {0xE000, 0xE001} <= font.getBestCmap().keys()
        assert 0xE002 not in font.getBestCmap()
    assert "--name" in window.refused("/font", {"format": "ttf", "name": "x" * 100})
    assert "format must be ttf, otf, woff2" in window.refused("/font", {"format": "ufo", "name": "Mine"})  # a folder


def test_a_word_that_the_encoder_does_not_know_is_named(window: Window) -> None:
    assert any("锂" in note for note in window.draw("锂")[0]["notes"])


@pytest.mark.thorough
def test_two_windows_draw_at_once(served: Served) -> None:
    windows = [Window(served.port), Window(served.port)]
    said: dict[str, Any] = {}
    threads = [threading.Thread(target=lambda w=w: said.update({w.name: w.draw("gold", steps=40)})) for w in windows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    sheets = [pictures(said[w.name][-1]) for w in windows]
    assert all(len(said[w.name]) == 42 for w in windows) and np.array_equal(sheets[0], sheets[1])


def test_a_new_drawing_of_a_window_stops_the_one_before(window: Window) -> None:
    connection = window.begin("/draw", window.wish(steps=1000))
    slow = connection.getresponse()
    assert json.loads(slow.readline())["steps"] == 1000
    assert len(window.draw("water")) == 5
    said = [json.loads(line) for line in slow.read().splitlines()]
    assert said[-1] == {"stopped": True} and len(said) < 500
    connection.close()


def test_a_closed_window_stops_its_drawing(served: Served, window: Window) -> None:
    connection = window.begin("/draw", window.wish(steps=1000))
    answer = connection.getresponse()
    answer.readline()
    answer.readline()
    assert window.get("/about")["drawing"] == 1
    answer.close()
    connection.close()
    until = time.monotonic() + 60
    while window.get("/about")["drawing"] and time.monotonic() < until:
        time.sleep(0.05)
    taken = served.studio.painter.steps
    assert window.get("/about")["drawing"] == 0
    time.sleep(0.3)
    assert served.studio.painter.steps <= taken + 1


def test_only_this_machine_is_served(served: Served) -> None:
    with serve.listen(0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
        with pytest.raises(UsageError, match="--port"):
            serve.listen(listening.getsockname()[1])
    assert served.address.startswith("http://127.0.0.1:")


def test_the_page_allows_itself_alone(served: Served) -> None:
    page = studio_page()
    assert "http://" not in page and "https://" not in page and "@import" not in page
    assert "innerHTML" not in page and "eval(" not in page and "document.write" not in page
    assert "{{" not in page and "default-src 'none'" in policy() and "frame-ancestors 'none'" in policy()
    connection = Window(served.port).begin(f"/{served.address.rpartition('/')[2]}")
    answer = connection.getresponse()
    assert answer.read().decode() == page and answer.getheader("content-security-policy") == policy()
    assert answer.getheader("x-frame-options") == "DENY" and answer.getheader("cache-control") == "no-store"
    assert answer.getheader("access-control-allow-origin") is None and answer.getheader("server") is None
    connection.close()


def test_without_its_packages_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "PACKAGES", ("starlette", "no_such_package"))
    with pytest.raises(UsageError, match=r"pip install \"glyffctl\[studio\]\""):
        StudioOptions()


def drawn(number: int, frame: bytes = b"") -> list[Glyph]:
    made, frames = SampleOptions(prompts=("gold",)), [frame]
    pixels = np.full((2, 2), number, np.uint8)
    return [Glyph(f"{number}-{k}", pixels, made, {}, "", (), frames) for k in range(2)]


def test_old_sheets_go_and_collected_glyphs_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "MOST_SHEETS", 3)
    monkeypatch.setattr(gallery, "MOST_FRAME_BYTES", 25)
    monkeypatch.setattr(gallery, "MOST_COLLECTED", 1)
    kept = Gallery()
    for number in range(1, 5):
        kept.add(number, drawn(number, b"0123456789"))
        if number == 1:
            kept.collect("1-1", True)
    assert [len(kept.find(f"{number}-0").frames) for number in (2, 3, 4)] == [0, 1, 1]
    assert kept.find("1-1").pixels[0, 0] == 1 and kept.find("1-1").frames == []
    for name in ("1-0", "4-2", "9-0"):
        with pytest.raises(UsageError, match="draw it again"):
            kept.find(name)
    with pytest.raises(UsageError, match="full"):
        kept.collect("4-0", True)
    kept.collect("1-1", False)
    assert kept.collected == []


def test_tiles_are_cut_as_they_were_laid() -> None:
    made = np.random.default_rng(0).integers(0, 256, (16, 5, 5), dtype=np.uint8)
    assert np.array_equal(untiled(tiled(made), 5), made)


@pytest.mark.thorough
def test_ctrl_c_ends_it_with_one_line(tiny_run: Path, tmp_path: Path) -> None:
    # Whoever runs the tests in the background has SIGINT ignored, and so would this process.
    program = ["env", "--default-signal=INT", sys.executable, "-W", "error", "-m", "glyffctl", "studio"]
    program += ["--model", str(tiny_run)]
    with subprocess.Popen(program, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=_environment()) as process:
        try:
            _stop_in_the_middle(process)
        finally:
            process.kill()
    assert list(tmp_path.iterdir()) == []


def _stop_in_the_middle(process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or "studio: http" not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1], lines
    found = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{32})", lines[-1])
    assert found is not None
    window = Window(int(found[1]), token=found[2])
    connection = window.begin("/draw", window.wish(steps=1000))
    answer = connection.getresponse()
    assert b"step" in answer.readline() and b"sheet" in answer.readline()
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    answer.close()
    connection.close()
    assert process.wait(60) == 130
    assert rest.splitlines() == ["stopped"] and not crashed(rest)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
