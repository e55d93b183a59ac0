"""The page of `glyffctl studio`, driven as a person would, with the bundled model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from glyffctl.core.io.bundled import BUNDLED
from glyffctl.core.io.images import read_settings
from glyffctl.core.models.checkpoint import TrainedModel
from glyffctl.studio.options import StudioOptions
from glyffctl.workflows.umap import UmapReport
from tests import browsing
from tests.browsing import chromium, press, text, touch
from tests.studios import Served, serving

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def served(
    mapped: tuple[UmapReport, Path], map_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    with serving(StudioOptions(model=Path(BUNDLED), data=map_data), tmp_path_factory.mktemp("studio")) as studio:
        yield studio


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    with chromium(local=True) as driver:
        driver.set_window_size(1400, 1039)  # of which the page has 900
        yield driver


@pytest.fixture(scope="module")
def phone() -> Iterator[webdriver.Chrome]:
    with chromium(phone=True, local=True) as driver:
        yield driver


def wait(driver: webdriver.Chrome, until: Callable[[webdriver.Chrome], object]) -> None:
    """Wait as long as the longest drawing may take on a busy machine."""
    browsing.wait(driver, until, 400)


def wait_for_file(driver: webdriver.Chrome, folder: Path, name: str) -> None:
    """Wait until the browser has saved a file of that name."""
    wait(driver, lambda _: list(folder.glob(name)))


def visit(driver: webdriver.Chrome, served: Served) -> None:
    driver.get_log("browser")  # what an earlier page had to say
    driver.get(served.address)
    wait(driver, lambda d: d.execute_script("return document.body.dataset.ready") == "yes")


def sheets(driver: webdriver.Chrome) -> int:
    """How many sheets were drawn to their end."""
    return int(driver.execute_script("return document.body.dataset.sheets ?? 0"))


def draw(driver: webdriver.Chrome, words: str) -> None:
    """Type words, and wait for their sheet."""
    field, before = driver.find_element(By.ID, "prompt"), sheets(driver)
    field.clear()
    field.send_keys(words, Keys.ENTER)
    wait(driver, lambda d: sheets(d) == before + 1)


def slide(driver: webdriver.Chrome, name: str, to: int | float) -> None:
    """Move a slider, as a drag does."""
    driver.execute_script(
        "const slider = document.getElementById(arguments[0]);"
        "slider.value = arguments[1]; slider.dispatchEvent(new Event('input', { bubbles: true }));",
        name,
        to,
    )


def tiles(driver: webdriver.Chrome) -> np.ndarray[Any, Any]:
    """(16, 128, 128): what the tiles show."""
    shown = driver.execute_script(
        "return [...document.querySelectorAll('#sheet canvas')].map((canvas) => {"
        "  const pen = new OffscreenCanvas(128, 128).getContext('2d', { willReadFrequently: true });"
        "  pen.drawImage(canvas, 0, 0);"
        "  return [...pen.getImageData(0, 0, 128, 128).data].filter((_, k) => k % 4 === 0);"
        "});"
    )
    return np.array(shown, np.uint8).reshape(16, 128, 128)


def open_glyph(driver: webdriver.Chrome, number: int) -> None:
    driver.find_elements(By.CSS_SELECTOR, "#sheet button")[number].click()
    wait(driver, lambda d: len(d.find_elements(By.CSS_SELECTOR, "#neighbours li")) == 8)
    wait(driver, lambda d: d.find_element(By.ID, "map").is_displayed())


def test_words_steps_guidance_and_noise(served: Served, browser: webdriver.Chrome) -> None:
    visit(browser, served)
    assert browser.execute_script("return innerWidth") == 1400
    assert browser.switch_to.active_element.get_attribute("id") == "prompt"
    browser.find_element(By.CSS_SELECTOR, "#examples button").click()
    wait(browser, lambda d: sheets(d) == 1)
    assert browser.find_element(By.ID, "prompt").get_attribute("value") == "lithium"
    assert "8 passes, guidance 4" in text(browser, "status")
    first = tiles(browser)
    assert ((first < 128).mean((1, 2)) > 0.05).all() and not browser.find_element(By.ID, "examples").is_displayed()
    # Sliders draw anew, with the same noise.
    slide(browser, "steps", 1)
    wait(browser, lambda d: sheets(d) == 2 and "2 passes" in text(d, "status"))
    slide(browser, "guidance", 1.5)
    wait(browser, lambda d: sheets(d) == 3 and "guidance 1.5" in text(d, "status"))
    # While the noise is held, other words have it; otherwise the next sheet has other noise.
    assert "seeds 0–15" in text(browser, "title")
    draw(browser, "water")
    assert "“water”, seeds 0–15" in text(browser, "title")
    browser.find_element(By.ID, "hold").click()
    draw(browser, "water")
    assert "“water”, seeds 16–31" in text(browser, "title")
    # And back to the first.
    for _ in range(4):
        press(browser, "back")
    assert np.array_equal(tiles(browser), first) and "lithium" in text(browser, "title")
    assert not browser.find_element(By.ID, "back").is_enabled()
    press(browser, "forth")
    assert browser.get_log("browser") == []


def test_a_drawing_is_seen_as_it_forms_and_can_be_stopped(served: Served, browser: webdriver.Chrome) -> None:
    visit(browser, served)
    draw(browser, "fish")
    finished = tiles(browser)
    slide(browser, "steps", 7)  # 80 steps of the whole model, drawn at once
    wait(browser, lambda d: 0.02 < d.execute_script("return document.getElementById('progress').value") < 0.9)
    forming = tiles(browser)
    assert not np.array_equal(forming, finished) and ((forming > 64) & (forming < 192)).mean() > 0.2  # noise is grey
    assert text(browser, "draw") == "Stop"
    assert not browser.find_elements(By.CSS_SELECTOR, "#sheet button")[0].is_enabled()
    press(browser, "draw")
    wait(browser, lambda d: text(d, "status") == "stopped" and text(d, "draw") == "Draw")
    assert np.array_equal(tiles(browser), finished)  # what was not drawn to its end goes
    wait(browser, lambda _: not served.studio._drawings)
    assert sheets(browser) == 1 and browser.get_log("browser") == []


def test_a_glyph_is_looked_at_varied_kept_enlarged_and_saved(
    served: Served, browser: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What begins with a picture is drawn by the whole model, here in few steps.
    monkeypatch.setattr(TrainedModel, "full_recipe", replace(served.studio.painter.loaded.model.full_recipe, steps=2))
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path), "eventsEnabled": False}
    )
    visit(browser, served)
    draw(browser, "a kind of fish")
    glyph = tiles(browser)[4]
    open_glyph(browser, 4)
    assert text(browser, "name") == "“a kind of fish”" and "seed 4" in text(browser, "how")
    assert text(browser, "stepSaid") == "step 8 of 8"
    assert "fish" in text(browser, "neighbours") or "carp" in text(browser, "neighbours")
    red = browser.execute_script(
        "const map = document.getElementById('map'); let red = 0;"
        "const data = map.getContext('2d').getImageData(0, 0, map.width, map.height).data;"
        "for (let i = 0; i < data.length; i += 4) red += data[i] > 190 && data[i + 1] < 60; return red;"
    )
    assert red > 100  # the ring
    slide(browser, "step", 0)
    assert text(browser, "stepSaid") == "step 1 of 8"
    press(browser, "play")
    wait(browser, lambda d: text(d, "stepSaid") == "step 8 of 8")
    # What is saved is the glyph.
    for ending in ("png", "svg", "gif"):
        browser.find_element(By.CSS_SELECTOR, f"[data-save={ending}]").click()
        wait_for_file(browser, tmp_path, f"*.{ending}")
    (saved,) = tmp_path.glob("*.png")
    with Image.open(saved) as picture:
        assert np.array_equal(np.array(picture), glyph)
    assert read_settings(saved)["prompts"] == ["a kind of fish"]
    press(browser, "enlarge")
    wait(browser, lambda d: "512×512" in text(d, "largeSaid"))
    browser.find_element(By.CSS_SELECTOR, "[data-large=png]").click()
    wait_for_file(browser, tmp_path, "*-large.png")
    press(browser, "collect")
    wait(browser, lambda d: text(d, "collect") == "Collected")
    # Variations are like it; a half that is kept is its own.
    before = sheets(browser)
    press(browser, "vary")
    wait(browser, lambda d: sheets(d) == before + 1)
    varied = tiles(browser).astype(float)
    assert all(not np.array_equal(one, glyph) and np.corrcoef(one.ravel(), glyph.ravel())[0, 1] > 0.5 for one in varied)
    browser.find_element(By.CSS_SELECTOR, "[data-keep=left]").click()
    wait(browser, lambda d: sheets(d) == before + 2)
    assert all(np.array_equal(one[:, :64], glyph[:, :64]) for one in tiles(browser))
    open_glyph(browser, 0)
    assert "its left half kept" in text(browser, "lineage")
    press(browser, "collect")
    wait(browser, lambda d: len(d.find_elements(By.CSS_SELECTOR, "#collected li")) == 2)
    field = browser.find_element(By.ID, "fontName")
    field.clear()
    field.send_keys("Fishes", Keys.ENTER)
    wait_for_file(browser, tmp_path, "Fishes.ttf")
    wait(browser, lambda d: text(d, "fontSaid") == "2 glyphs")
    assert {0xE000, 0xE001} <= TTFont(tmp_path / "Fishes.ttf").getBestCmap().keys()
    # The collection outlives the page.
    visit(browser, served)
    assert len(browser.find_elements(By.CSS_SELECTOR, "#collected li")) == 2
    assert browser.get_log("browser") == []


def test_two_windows_and_one_that_is_closed(served: Served, browser: webdriver.Chrome) -> None:
    visit(browser, served)
    first = browser.current_window_handle
    browser.switch_to.new_window("window")
    visit(browser, served)
    slide(browser, "steps", 7)
    browser.find_element(By.ID, "prompt").send_keys("gold", Keys.ENTER)
    wait(browser, lambda d: d.execute_script("return document.getElementById('progress').value") > 0)
    second = browser.current_window_handle
    browser.switch_to.window(first)
    draw(browser, "water")  # while the other one goes on
    wait(browser, lambda _: len(served.studio._drawings) == 1)
    browser.switch_to.window(second)
    browser.close()
    browser.switch_to.window(first)
    wait(browser, lambda _: not served.studio._drawings)
    taken = served.studio.painter.steps
    time.sleep(1)
    assert served.studio.painter.steps <= taken + 1
    assert browser.get_log("browser") == []


def test_hostile_words_are_words(served: Served, browser: webdriver.Chrome) -> None:
    visit(browser, served)
    slide(browser, "steps", 0)
    words = "<img src=x onerror=window.hit=1>"
    draw(browser, words)
    open_glyph(browser, 0)
    assert text(browser, "name") == f"“{words}”"
    assert browser.execute_script("return window.hit") is None and not browser.find_elements(By.TAG_NAME, "img")
    browser.execute_script(
        "const s = document.createElement('script'); s.append('window.hit = 2'); document.body.append(s);"
    )
    assert browser.execute_script("return window.hit") is None  # the policy holds, too
    browser.get(served.address.partition("?")[0])
    assert "with its token" in browser.find_element(By.TAG_NAME, "body").text


def test_on_paper_there_are_glyphs_in_black_on_white(served: Served, browser: webdriver.Chrome) -> None:
    visit(browser, served)
    draw(browser, "gold")
    open_glyph(browser, 1)
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    ground = "return getComputedStyle(document.body).backgroundColor"
    try:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
        assert browser.execute_script(ground) == "rgb(25, 24, 23)"
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark | {"media": "print"})
        assert browser.execute_script(ground) == "rgb(255, 255, 255)"
        for name, shown in (("prompt", False), ("vary", False), ("collect", False), ("sheet", True), ("picture", True)):
            assert browser.find_element(By.ID, name).is_displayed() == shown, name
        # A narrow page has the chosen glyph over the sheet; on paper it lies beneath.
        assert browser.execute_script("return getComputedStyle(document.getElementById('glyph')).position") == "static"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    picture, place = browser.find_element(By.ID, "picture"), browser.find_element(By.ID, "map")
    assert picture.aria_role in ("img", "image") and picture.accessible_name == "“gold”"
    assert place.aria_role in ("img", "image") and place.accessible_name


def test_on_a_phone_the_glyph_lies_over_the_sheet(served: Served, phone: webdriver.Chrome) -> None:
    visit(phone, served)
    assert phone.execute_script("return [innerWidth, innerHeight]") == [390, 844]
    slide(phone, "steps", 1)
    draw(phone, "bamboo")
    fits = "return document.documentElement.scrollWidth <= innerWidth"
    assert phone.execute_script(fits)
    box = phone.find_elements(By.CSS_SELECTOR, "#sheet button")[5].rect
    assert box["width"] > 80
    touch(phone, [(box["x"] + 40, box["y"] + 40)])
    wait(phone, lambda d: len(d.find_elements(By.CSS_SELECTOR, "#neighbours li")) == 8)
    panel = phone.find_element(By.ID, "glyph").rect
    assert (panel["width"], panel["height"]) == (390, 844) and phone.execute_script(fits)
    assert phone.execute_script("return document.getElementById('glyph').scrollWidth") <= 390
    low = phone.execute_script(
        "return [...document.querySelectorAll('#glyph button')].filter((b) => b.offsetHeight)"
        ".filter((b) => b.offsetHeight < 44).length"
    )
    assert low == 0  # fingers find every button
    press(phone, "close")
    assert not phone.find_element(By.ID, "glyph").is_displayed()
    assert phone.get_log("browser") == []


def test_the_page_says_when_the_studio_has_ended(tmp_path: Path, browser: webdriver.Chrome, tiny_run: Path) -> None:
    with serving(StudioOptions(model=tiny_run), tmp_path) as studio:
        visit(browser, studio)
        browser.find_element(By.ID, "prompt").send_keys("gold", Keys.ENTER)
        wait(browser, lambda d: sheets(d) == 1)
        browser.find_elements(By.CSS_SELECTOR, "#sheet button")[0].click()
        wait(browser, lambda d: "glyffctl studio --data" in text(d, "around"))
    browser.find_element(By.ID, "prompt").send_keys(Keys.ENTER)
    wait(browser, lambda d: "has ended" in text(d, "status"))
