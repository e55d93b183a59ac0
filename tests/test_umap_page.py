"""The page of `glyffctl visualize-umap` in a real browser."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from glyffctl.core.dataset import open_glyphs
from glyffctl.core.groups import by_radical
from glyffctl.core.images import read_settings
from glyffctl.core.layout import MapSettings
from glyffctl.workflows.events import finish
from glyffctl.workflows.umap import UmapOptions, UmapReport, visualize
from tests.conftest import page_data


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    """Chromium without a screen and without a network (install chromium and chromium-driver)."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,800",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:9",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    ):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


def visit(browser: webdriver.Chrome, path: Path) -> None:
    browser.get(path.absolute().as_uri())
    wait(browser, lambda d: d.execute_script("return document.body.dataset.ready") == "yes")


def wait(browser: webdriver.Chrome, until: Any) -> Any:
    return WebDriverWait(browser, 60, poll_frequency=0.05).until(until)


def text(browser: webdriver.Chrome, name: str) -> str:
    found: str = browser.find_element(By.ID, name).text
    return found


def test_the_page_finds_and_shows(mapped: tuple[UmapReport, Path], browser: webdriver.Chrome) -> None:
    visit(browser, mapped[1] / "umap.html")
    count = mapped[0].glyphs
    assert f"{count:,} glyphs" in text(browser, "count")
    field = browser.find_element(By.ID, "search")
    field.send_keys("lithium")
    wait(browser, lambda d: text(d, "count") == f"1 of {count} glyphs")
    assert "锂" in text(browser, "results")
    field.send_keys(Keys.ENTER)
    wait(browser, lambda d: "shown" in d.find_element(By.ID, "popup").get_attribute("class"))
    browser.execute_script("document.getElementById('map').focus()")
    canvas = browser.find_element(By.ID, "map")
    ActionChains(browser).move_to_element_with_offset(canvas, 300, 250).perform()
    wait(browser, lambda d: text(d, "name") != "锂")  # away from it, and
    ActionChains(browser).move_to_element(canvas).perform()
    wait(browser, lambda d: text(d, "name") == "锂")  # back: what was flown to is in the middle of the window
    assert text(browser, "code") == "U+9502"
    assert "lithium" in text(browser, "meaning")
    assert "金 gold" in text(browser, "kind")
    # The popup's picture is the glyph: as much ink in the same places as in the thumbnail of the data.
    seen = browser.execute_script(
        "return [...document.getElementById('glyph').getContext('2d').getImageData(0, 0, 192, 192).data]"
    )
    picture = np.array(seen, dtype=float).reshape(192, 192, 4)[:, :, 0].reshape(32, 6, 32, 6).mean((1, 3))
    content = page_data(mapped[1] / "umap.html")
    row = next(k for k, c in enumerate(content["characters"]) if c[0] == "锂")
    glyphs = open_glyphs(Path(read_settings(mapped[1] / "umap.png")["data"]))
    real = glyphs.images((glyphs.character_of == row).nonzero()[0])[0, 0].double().numpy()
    assert np.corrcoef(picture.ravel(), real.ravel())[0, 1] > 0.97
    for query, hits in (("锂", 1), ("U+9502", 1), ("9502", 1), ("LITHIUM element", 1), ("ithium", 0)):
        field.clear()
        field.send_keys(query)
        expected = f"{hits} of {count} glyphs" if hits else "nothing found"
        wait(browser, lambda d, expected=expected: text(d, "count") == expected)
    field.send_keys(Keys.ESCAPE)
    group_ = browser.find_elements(By.CSS_SELECTOR, "#groups button")[0]
    group_.click()
    radical = by_radical(open_glyphs(Path(read_settings(mapped[1] / "umap.png")["data"])))
    assert radical is not None
    assert text(browser, "count") == f"{radical.counts[0]} of {count} glyphs: {radical.labels[0]}"
    assert browser.get_log("browser") == []


def test_what_is_found_is_in_view_even_while_the_view_still_flies_elsewhere(
    mapped: tuple[UmapReport, Path], browser: webdriver.Chrome
) -> None:
    visit(browser, mapped[1] / "umap.html")
    field = browser.find_element(By.ID, "search")
    others = [c[0] for c in page_data(mapped[1] / "umap.html")["characters"] if c[0] != "锂"]
    for other in (others[0], others[len(others) // 2], others[-1]):
        field.clear()
        field.send_keys("锂")
        wait(browser, lambda d: "锂" in text(d, "results"))
        browser.execute_script(
            "document.querySelector('#results button').click();"
            "const field = document.getElementById('search');"
            "setTimeout(() => { field.value = arguments[0]; field.dispatchEvent(new Event('input')); }, 150);".replace(
                "arguments[0]", json.dumps(other)
            )
        )
        wait(browser, lambda d, other=other: other in text(d, "results"))
        time.sleep(0.6)  # longer than a flight
        assert browser.execute_script("return document.body.dataset.inView") == "1"
        assert "shown" not in browser.find_element(By.ID, "popup").get_attribute("class")
    assert browser.get_log("browser") == []


def test_points_and_density_are_on_the_screen(mapped: tuple[UmapReport, Path], browser: webdriver.Chrome) -> None:
    visit(browser, mapped[1] / "umap.html")

    def marks() -> float:
        time.sleep(0.5)
        screen = np.frombuffer(browser.get_screenshot_as_png(), np.uint8)
        from io import BytesIO

        with Image.open(BytesIO(screen.tobytes())) as image:
            middle = np.asarray(image.convert("RGB"))[:, 360:900].astype(int)
        return float((middle.min(2) < 240).mean())

    dots = marks()
    assert 0.002 < dots < 0.3
    browser.execute_script("document.getElementById('thick').click()")
    assert marks() > 1.5 * dots
    browser.execute_script("document.getElementById('thick').click()")
    assert marks() == pytest.approx(dots, rel=0.02)


HOSTILE = [
    "</script><script>window.hit=1</script>",
    "<script>window.hit=1</script>",
    "<img src=x onerror=window.hit=1>",
    "<svg onload=window.hit=1>",
    "<svg><script>window.hit=1</script></svg>",
    '"><img src=x onerror="window.hit=1">',
    "'><img src=x onerror='window.hit=1'>",
    "javascript:window.hit=1",
    '<a href="javascript:window.hit=1">x</a>',
    "<iframe srcdoc='<script>parent.hit=1</script>'></iframe>",
    "<body onload=window.hit=1>",
    "<!--<script>window.hit=1</script>-->",
    "<!--",
    "-->",
    "<![CDATA[<script>window.hit=1</script>]]>",
    "</title><script>window.hit=1</script>",
    "</style><script>window.hit=1</script>",
    "</textarea><script>window.hit=1</script>",
    "<style>@import 'http://example.com/x';</style>",
    '<meta http-equiv="refresh" content="0;url=javascript:window.hit=1">',
    '<base href="http://example.com/">',
    "\\u003cscript\\u003ewindow.hit=1\\u003c/script\\u003e",
    "&lt;script&gt;window.hit=1&lt;/script&gt;",
    "{{data}}{{script}}${window.hit=1}",
    "{{constructor.constructor('window.hit=1')()}}",
    '"};window.hit=1;//',
    "'};window.hit=1;//",
    "\u2028window.hit=1;\u2029",
    "\x00<script>window.hit=1</script>\x1b[31m",
    "`${window.hit=1}`",
    "\u202e<script>window.hit=1</script>",
    "\uffff no character <script>window.hit=1</script>",
    "__proto__ constructor toString",
    "%3Cscript%3Ewindow.hit=1%3C/script%3E",
]


def test_hostile_words_do_nothing(browser: webdriver.Chrome, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rows = []
    random = np.random.RandomState(0)
    for k, words in enumerate(HOSTILE):
        Image.fromarray(random.randint(0, 256, (16, 16), dtype=np.uint8)).save(folder / f"{k}.png")
        rows.append({"file_name": f"{k}.png", "text": words, "font": HOSTILE[k % 7], "character": words[:40]})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    finish(visualize(UmapOptions(data=folder, out=tmp_path, settings=MapSettings(neighbors=5))))
    visit(browser, tmp_path / "umap.html")
    field = browser.find_element(By.ID, "search")
    for query in ("window", "script", "x"):
        field.clear()
        field.send_keys(query)
        field.send_keys(Keys.ENTER)
        wait(browser, lambda d: " of 34 glyphs" in text(d, "count"))
    for _ in range(3):  # and every popup and every name of a group is shown
        field.send_keys(Keys.ENTER)
        time.sleep(0.7)
    browser.execute_script("document.getElementById('all').click()")
    shown = browser.execute_script(
        "const map = document.getElementById('map'), shown = new Set();"
        "for (let x = 0; x < innerWidth; x += 16) for (let y = 0; y < innerHeight; y += 16) {"
        "  map.dispatchEvent(new PointerEvent('pointermove', { pointerId: 1, clientX: x, clientY: y }));"
        "  shown.add(document.getElementById('meaning').textContent.toWellFormed());"
        "}"
        "return [...shown];"
    )
    assert len(set(shown) & set(HOSTILE)) > 25
    browser.find_elements(By.CSS_SELECTOR, "#groups button")[0].click()
    assert browser.execute_script("return window.hit") is None
    assert browser.execute_script("return document.scripts.length") == 1  # the data block is gone, the program is left
    assert not browser.find_elements(By.CSS_SELECTOR, "img, iframe, svg, base, a")
    assert browser.get_log("browser") == []
    # The page's own policy holds: what is put in by force does not run either.
    browser.execute_script(
        "const s = document.createElement('script'); s.append('window.hit = 2'); document.body.append(s);"
    )
    assert browser.execute_script("return window.hit") is None


def test_the_page_names_no_other_place(mapped: tuple[UmapReport, Path]) -> None:
    page = (mapped[1] / "umap.html").read_text(encoding="utf-8")
    assert "http://" not in page and "https://" not in page and "@import" not in page
    assert "innerHTML" not in page and "eval(" not in page and "document.write" not in page
    assert "default-src &#x27;none&#x27;" in page
