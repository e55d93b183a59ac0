"""The page of `glyffctl noise-demo` in a browser: on a desk, and on a telephone."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium import webdriver

from glyffctl.figures.page import LEGIBLE, Section, Source, page

pytestmark = pytest.mark.browser

WIDTH, LETTERS = 700, 13.0
"""CSS pixels across the test's figure, and of its smallest letters at that width."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with a figure full of letters, and an animation without any."""
    about = ["One line. " * 20]
    sections = [
        Section("chart", "A chart", "See.", "A chart.", "1.\n2.", picture(1050, 700), "image/png", WIDTH, LETTERS),
        Section("clip", "A clip", "See.", "A clip.", "3.", picture(300, 300), "image/png", 300, float("inf")),
    ]
    file: Path = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(page("Title", about, sections, Source("After ", "this", "https://example.org", ".")), "utf-8")
    return file.as_uri()


def picture(width: int, height: int) -> bytes:
    file = BytesIO()
    Image.new("L", (width, height), 200).save(file, "PNG")
    return file.getvalue()


def look(browser: webdriver.Chrome, address: str, width: int, height: int) -> list[dict[str, Any]]:
    """What is on a screen of that size: the width of each figure and of its frame, and if it says it scrolls."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(address)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    found: list[dict[str, Any]] = browser.execute_script(
        """return [...document.querySelectorAll("figure")].map(figure => {
            const frame = figure.querySelector(".frame"), image = figure.querySelector("img");
            frame.scrollLeft = 1e6;
            return {
                width: image.getBoundingClientRect().width, frame: frame.clientWidth, moved: frame.scrollLeft,
                ratio: image.getBoundingClientRect().width / image.getBoundingClientRect().height,
                hint: figure.querySelector(".hint").checkVisibility(),
            };
        })"""
    )
    return found


@pytest.mark.parametrize(("width", "height"), [(320, 640), (390, 844), (600, 900)])
def test_on_a_narrow_screen_letters_keep_their_size_and_the_figure_scrolls(
    browser: webdriver.Chrome, address: str, width: int, height: int
) -> None:
    chart, clip = look(browser, address, width, height)
    capital = 0.729 * LETTERS * chart["width"] / WIDTH
    assert LEGIBLE <= capital < LEGIBLE + 0.1
    assert chart["hint"] and chart["moved"] == pytest.approx(chart["width"] - chart["frame"], abs=1)
    assert chart["ratio"] == pytest.approx(1.5, rel=0.01)
    assert not clip["hint"] and clip["moved"] == 0 and clip["width"] == min(300, clip["frame"])


@pytest.mark.parametrize(("width", "height"), [(780, 900), (1280, 900), (2560, 1400)])
def test_with_room_nothing_scrolls_and_nothing_is_blown_up(
    browser: webdriver.Chrome, address: str, width: int, height: int
) -> None:
    chart, clip = look(browser, address, width, height)
    assert chart["width"] == WIDTH and clip["width"] == 300
    assert not chart["hint"] and not clip["hint"] and chart["moved"] == 0
