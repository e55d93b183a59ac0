"""SVG files of `glyffctl sample`: outlines of what a PNG shows, redrawn byte for byte, harmless whatever the prompt."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageDraw

from glyffctl.core.errors import GlyffError, UsageError
from glyffctl.core.io.images import read_settings
from glyffctl.core.io.svg import Label, Shape, read_svg_settings, save_svg
from glyffctl.core.models.recipe import Recipe
from glyffctl.workflows.events import Progress, finish
from glyffctl.workflows.sample import sample
from glyffctl.workflows.sample_options import SampleOptions, options_from_picture
from glyffctl.workflows.sample_outlines import write_outlines
from tests.command_line import app
from tests.conftest import crashed, follow

FAST = Recipe(steps=3)


def options(run: Path, out: Path | None, *prompts: str, **more: Any) -> SampleOptions:
    return replace(SampleOptions(prompts=prompts or ("gold",), model=run, recipe=FAST, count=4, out=out), **more)


def test_a_sheet_of_outlines_is_made_again_byte_for_byte(tiny_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.svg"
    events, report = follow(sample(options(tiny_run, file, "gold", "to speak", seed=3)))
    assert report.files == [file]
    assert [e.done for e in events if isinstance(e, Progress) and e.task == "Tracing"] == list(range(1, 9))
    text = file.read_text()
    assert text.count("<path") == 8 and ">gold</text>" in text and ">to speak</text>" in text
    assert read_settings(file)["prompts"] == ["gold", "to speak"]
    again = finish(sample(options_from_picture(file)))
    assert again.files == [tmp_path / "x-again.svg"]
    assert again.files[0].read_bytes() == file.read_bytes()


def test_a_folder_of_svgs_each_made_again(tiny_run: Path, tmp_path: Path) -> None:
    report = finish(sample(options(tiny_run, tmp_path / "many", "gold", "fish", count=2, format="svg")))
    assert [file.name for file in report.files] == [f"00{p}-{w}-{k}.svg" for p, w in enumerate(("gold", "fish")) for k in (0, 1)]  # fmt: skip  # noqa: E501
    finish(sample(options_from_picture(report.files[3], out=tmp_path / "one.svg")))
    assert (tmp_path / "one.svg").read_bytes() == report.files[3].read_bytes()
    assert "<title>fish</title>" in report.files[3].read_text()


def test_a_png_is_drawn_again_as_svg_and_back(tiny_run: Path, tmp_path: Path) -> None:
    png = tmp_path / "x.png"
    finish(sample(options(tiny_run, png)))
    (svg,) = finish(sample(options_from_picture(png, format="svg"))).files
    assert svg == tmp_path / "x-again.svg" and read_settings(svg) == read_settings(png)
    finish(sample(options_from_picture(svg, out=tmp_path / "y.png")))
    assert (tmp_path / "y.png").read_bytes() == png.read_bytes()


def test_the_default_name_and_what_contradicts_itself(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert finish(sample(options(tiny_run, None, format="svg"))).files == [Path("gold.svg")]
    assert finish(sample(options(tiny_run, None, format="svg"))).files == [Path("gold-2.svg")]
    with pytest.raises(UsageError, match="contradicts"):
        options(tiny_run, Path("x.png"), format="svg")
    with pytest.raises(UsageError, match="png or svg"):
        options(tiny_run, None, format="eps")
    with pytest.raises(UsageError, match=r"\.png or \.svg"):
        finish(sample(options(tiny_run, Path("x.pdf"))))


def test_files_without_settings_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.svg"
    for content in (b"", b"<svg/>", b'<metadata id="glyffctl">{</metadata>', b'<metadata id="glyffctl">3</metadata>',
                    b'<metadata id="glyffctl">{}</metadata>', b"\xff\xfe\0", b'<metadata id="glyffctl">{"prompts": 3}</metadata>'):  # fmt: skip  # noqa: E501
        file.write_bytes(content)
        with pytest.raises(GlyffError) as caught:
            options_from_picture(file)
        assert "\n" not in str(caught.value)
        result = CliRunner().invoke(app, ["sample", "--again", str(file)])
        assert result.exit_code in (1, 2) and not crashed(result.output)


def test_settings_come_back_whatever_is_in_them(tmp_path: Path) -> None:
    settings = {"prompt": "</metadata><script>&amp;&lt;\"'\\ \u202e 鋰 \x00\x1b ]]> <!--", "n": [1, None, 2.5]}
    save_svg(tmp_path / "x.svg", (10, 10), [Shape("M0 0H5V5Z")], settings, "x")
    assert read_svg_settings(tmp_path / "x.svg") == settings


PAYLOADS = [
    "<script>window.hit=1</script>",
    "</title><script>window.hit=1</script>",
    "</metadata><script>window.hit=1</script><metadata>",
    "</text><script>window.hit=1</script><text>",
    "</svg><script xmlns='http://www.w3.org/1999/xhtml'>window.hit=1</script>",
    "<image href=x onerror=window.hit=1>",
    "<img src=x onerror=window.hit=1>",
    '"><svg onload="window.hit=1">',
    "' onload='window.hit=1",
    '" onload="window.hit=1',
    "<a href='javascript:window.hit=1'>x</a>",
    "<foreignObject><body xmlns='http://www.w3.org/1999/xhtml' onload='window.hit=1'/></foreignObject>",
    "<iframe src='javascript:parent.hit=1'>",
    "<animate onbegin='window.hit=1' attributeName='x' dur='1s'/>",
    "<set attributeName='onmouseover' to='window.hit=1'/>",
    "<use href='data:image/svg+xml,<svg onload=window.hit=1>'/>",
    "<style>*{background:url(http://127.0.0.1:9/x)}</style>",
    "<?xml-stylesheet href='javascript:window.hit=1'?>",
    "<!DOCTYPE x [<!ENTITY a 'b'>]>&a;",
    "<!ENTITY xxe SYSTEM 'file:///etc/passwd'>&xxe;",
    "]]><script>window.hit=1</script><![CDATA[",
    "<![CDATA[<script>window.hit=1</script>]]>",
    "--><script>window.hit=1</script><!--",
    "&lt;script&gt;window.hit=1&lt;/script&gt;",
    "&#60;script&#62;window.hit=1&#60;/script&#62;",
    "{{constructor.constructor('window.hit=1')()}}",
    "\\u003cscript\\u003ewindow.hit=1\\u003c/script\\u003e",
    "\x00<script>window.hit=1</script>\x1b]0;x\x07",
    "\u202e<script>window.hit=1</script>\ufffe\uffff",
    "<script>window.hit=1</script>" + "A" * 3000,
    "<handler xmlns='http://www.w3.org/2001/xml-events' type='application/javascript'>window.hit=1</handler>",
    "\ufeff<?xml version='1.0' encoding='UTF-7'?>+ADw-script+AD4-window.hit=1+ADw-/script+AD4-",
]


def hostile_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Sheets with labels, and single pictures, of hostile prompts."""
    picture = np.array(Image.new("L", (32, 32), 255))
    ImageDraw.Draw(large := Image.fromarray(picture)).rectangle((8, 8, 20, 12), fill=0)
    pictures = np.stack([np.asarray(large)] * 2)
    for k, payload in enumerate(PAYLOADS):
        made = object.__new__(SampleOptions)  # some of them are refused as prompts, which is no protection
        for name, value in {"prompts": (payload, payload), "count": 1, "only": None}.items():
            object.__setattr__(made, name, value)
        single = object.__new__(SampleOptions)
        for name, value in {"prompts": (payload, payload), "count": 1, "only": 1}.items():
            object.__setattr__(single, name, value)
        named = [(made, folder / f"{k}-sheet.svg"), (single, folder / f"{k}-one.svg")]
        list(write_outlines(named, lambda one: {"prompts": list(one.prompts)}, pictures))
        yield from ((payload, file) for _, file in named)


@pytest.mark.hostile
@pytest.mark.browser
def test_no_prompt_runs_in_a_browser(tmp_path: Path) -> None:
    from tests.browsing import chromium

    browser = chromium()
    try:
        for payload, file in hostile_files(tmp_path):
            browser.get(file.absolute().as_uri())
            tags = set(browser.execute_script("return [...document.querySelectorAll('*')].map((e) => e.tagName)"))
            assert tags <= {"svg", "title", "metadata", "path", "text"}, (payload, tags)
            attributes = browser.execute_script(
                "return [...document.querySelectorAll('*')].flatMap((e) => [...e.attributes].map((a) => a.name))"
            )
            assert set(attributes) <= {
                *("xmlns", "width", "height", "viewBox", "id", "d", "transform", "x", "y", "font-family", "font-size")
            }
            assert browser.execute_script("return window.hit === undefined")
            kept = json.loads(browser.execute_script("return document.querySelector('metadata').textContent"))
            assert kept == {"prompts": [payload, payload]}
            # The same within a page of HTML, whose parser knows other rules.
            inline = tmp_path / "inline.html"
            inline.write_bytes(b"<!doctype html><meta charset=utf-8>" + file.read_bytes())
            browser.get(inline.absolute().as_uri())
            assert browser.execute_script("return window.hit === undefined && !document.querySelector('script')")
            assert read_svg_settings(file) == {"prompts": [payload, payload]}
    finally:
        browser.quit()
    assert len(PAYLOADS) >= 30


def test_shapes_and_labels_are_where_a_sheet_has_them(tmp_path: Path) -> None:
    save_svg(tmp_path / "x.svg", (40, 30), [Shape("M0 0H1V1Z", 4, 26)], {}, "a & b", [Label("<", 4, 21)])
    text = (tmp_path / "x.svg").read_text()
    assert 'viewBox="0 0 40 30"' in text and "translate(4 26)" in text and "<title>a &amp; b</title>" in text
    assert re.search(r'<text x="4" y="21"[^>]*>&lt;</text>', text)
