"""The page of `glyffctl visualize-umap` in a real browser."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from glyffctl.core.atlas.density import density
from glyffctl.core.atlas.groups import by_radical
from glyffctl.core.atlas.layout import MapSettings
from glyffctl.core.data.caption_table import CaptionTable
from glyffctl.core.data.character import Character, Font
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.definitions import read_definitions
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.io.images import read_settings
from glyffctl.figures.map_html import MapLabels, save_map_page
from glyffctl.figures.map_scene import Colouring, MapScene
from glyffctl.workflows.events import finish
from glyffctl.workflows.umap import UmapOptions, UmapReport, visualize
from tests.browsing import card, fly, look_for, outside, press, text, visit, wait
from tests.conftest import page_data

pytestmark = pytest.mark.browser


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


def test_the_legend_is_folded_on_a_phone_and_answers_to_the_keyboard(
    mapped: tuple[UmapReport, Path], phone: webdriver.Chrome, browser: webdriver.Chrome
) -> None:
    for driver, open_first in ((phone, False), (browser, True)):
        visit(driver, mapped[1] / "umap.html")
        button, legend = driver.find_element(By.ID, "fold"), driver.find_element(By.ID, "legend")
        assert button.get_attribute("aria-controls") == "legend"
        for press_it, is_open in (
            (lambda: None, open_first),
            (button.click, not open_first),
            (lambda button=button: button.send_keys(Keys.ENTER), open_first),
            (lambda button=button: button.send_keys(Keys.SPACE), not open_first),
            (button.click, open_first),
        ):
            press_it()
            assert button.get_attribute("aria-expanded") == str(is_open).lower()
            assert legend.is_displayed() is is_open
    # Folded, it leaves the map alone: nothing but the map lies over most of the screen.
    covered = phone.execute_script(
        "let panels = 0, all = 0; for (let x = 5; x < innerWidth; x += 10) for (let y = 5; y < innerHeight; y += 10) {"
        " all++; if (document.elementFromPoint(x, y).id !== 'map') panels++; } return panels / all;"
    )
    assert covered < 0.3
    press(phone, "fold")
    phone.find_element(By.ID, "by").send_keys(Keys.ESCAPE)  # what lies over the map goes first
    assert phone.find_element(By.ID, "fold").get_attribute("aria-expanded") == "false"
    # And it does what it did: one group alone.
    press(phone, "fold")
    phone.find_element(By.CSS_SELECTOR, "#groups button").click()
    assert " glyphs: " in text(phone, "count")
    assert phone.get_log("browser") == [] and browser.get_log("browser") == []


def test_a_card_never_has_an_empty_box(mapped: tuple[UmapReport, Path], browser: webdriver.Chrome) -> None:
    # Sheets that take their time, as they do on a phone: the card is asked for before the first is decoded.
    slow = browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {
            "source": "const decode = window.createImageBitmap;"
            "window.createImageBitmap = (...all) =>"
            " new Promise((done) => setTimeout(done, 1500)).then(() => decode(...all));"
        },
    )
    try:
        browser.get((mapped[1] / "umap.html").absolute().as_uri())
        look = """
            const map = document.getElementById('map'), box = document.getElementById('glyph');
            for (let x = 0; x < innerWidth; x += 8) for (let y = 0; y < innerHeight; y += 8) {
              if (document.getElementById('popup').classList.contains('shown')) break;
              map.dispatchEvent(new PointerEvent('pointermove', { pointerId: 1, clientX: x, clientY: y }));
            }
            const ready = document.body.dataset.ready ?? 'no';
            const words = document.getElementById('meaning').offsetHeight > 0;
            if (!box.offsetWidth) return [ready, words, false, false];
            const pixels = box.getContext('2d').getImageData(0, 0, 192, 192).data;
            return [ready, words, true, pixels.some((value, k) => k % 4 === 0 && value < 128 && pixels[k + 3] === 255)];
        """
        ready, words, box, _ = browser.execute_script(look)
        assert (ready, words, box) == ("no", True, False)
        until = time.monotonic() + 60
        while not box and time.monotonic() < until:
            _, words, box, ink = browser.execute_script(look)
            assert words and (ink or not box)
        assert box and ink  # and the picture comes to the card that is open
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", slow)
    assert browser.get_log("browser") == []


@pytest.fixture(scope="module")
def all_characters(unihan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of all characters with a definition, with their real definitions and radicals, laid out at random."""
    characters = [
        Character(codepoint, chr(codepoint), entry.definition, entry.radical)
        for codepoint, entry in sorted(read_definitions(unihan).items())
    ]
    count = len(characters)
    assert count > 20_000
    random = torch.Generator().manual_seed(0)
    glyphs = GlyphSet(
        size=8, fonts=[Font("a.otf", 0, "A")], characters=characters, captions=[c.definition for c in characters],
        caption_table=CaptionTable(torch.arange(count), torch.arange(count + 1)),
        character_of=torch.arange(count), font_of=torch.zeros(count, dtype=torch.long),
        pixels=lambda index: torch.zeros(len(index), 8, 8, dtype=torch.uint8), identity="",
    )  # fmt: skip
    points = torch.randn(count, 2, generator=random)
    thumbnails = torch.randint(0, 256, (count, 8, 8), dtype=torch.uint8, generator=random)
    radicals = by_radical(glyphs)
    assert radicals is not None
    colouring = Colouring("Radical", radicals)
    near = torch.arange(count)[:, None] + 1
    scene = MapScene(
        "all characters", [], points, thumbnails, density(points), colouring, near.clamp(max=count - 1).int(), "pixels"
    )
    path = tmp_path_factory.mktemp("map") / "all.html"
    save_map_page(path, scene, MapLabels(glyphs, [colouring]))
    return path


def test_what_one_looks_for_comes_first(all_characters: Path, browser: webdriver.Chrome) -> None:
    visit(browser, all_characters)
    first = {
        "water": "水", "fish": "魚", "gold": "金", "tree": "木", "wood": "木", "fire": "火", "woman": "女",
        "horse": "馬", "hand": "手", "sun": "日", "moon": "月", "mouth": "口", "bird": "鳥", "mountain": "山",
        "dog": "犬", "dragon": "龍", "house": "房", "love": "愛", "king": "王", "face": "面",
        "Water!": "水", "a fish": "魚", "the sun": "日", "水": "水", "鱼": "鱼", "⽔": "水", "水 water": "水",
        "U+6C34": "水", "6c34": "水", "u+06C34": "水", "0x6c34": "水", "U+20000": "𠀀",
        "85": "水", "#195": "魚", "radical 167": "金", "Kangxi radical 187": "馬",
    }  # fmt: skip
    assert {query: look_for(browser, query)[0] for query in first} == first
    for query, other in (
        ("fish", "鱼"),
        ("horse", "马"),
        ("gold", "钅"),
        ("tree", "树"),
        ("red", "紅"),
        ("river", "河"),
    ):
        assert other in look_for(browser, query)[:10], query
    characters = page_data(all_characters)["characters"]
    for query in ("fish", "horse", "tree"):  # whole words before beginnings of others, and none is left out
        look_for(browser, query)
        total = int(text(browser, "count").split(" ")[0].replace(",", ""))
        assert total >= sum(re.search(rf"\b{query}", c[2].lower()) is not None for c in characters)
    look_for(browser, "radical 195")
    assert int(text(browser, "count").split(" ")[0]) >= sum(c[3] == "魚 fish" for c in characters) > 300
    assert look_for(browser, "xyzzy") == [] and text(browser, "count") == "nothing found"
    assert look_for(browser, "U+FFFF") == [] and look_for(browser, "?!") == []
    assert browser.get_log("browser") == []


def test_results_fit_the_window_and_are_cleared(
    mapped: tuple[UmapReport, Path], phone: webdriver.Chrome, browser: webdriver.Chrome
) -> None:
    for driver in (browser, phone):
        visit(driver, mapped[1] / "umap.html")
        assert not driver.find_element(By.ID, "actions").is_displayed()
        everything = text(driver, "count")
        fly(driver, "锂")
        many = len(look_for(driver, "fish")) and int(driver.execute_script("return document.body.dataset.found"))
        assert many > 10
        for _ in range(4):
            press(driver, "in")
        wait(driver, lambda d: sum(outside(d).values()) > 0)  # so close to lithium, some fish are elsewhere
        press(driver, "fit")
        wait(driver, lambda d: d.execute_script("return document.body.dataset.fitted") == "yes")
        wait(driver, lambda d: outside(d) == {})
        # They fill the room: a little nearer, and some are out of it.
        for _ in range(3):
            press(driver, "in")
        wait(driver, lambda d: sum(outside(d).values()) > 0)
        press(driver, "clear")
        assert text(driver, "count") == everything
        assert driver.find_element(By.ID, "search").get_attribute("value") == ""
        assert not driver.find_elements(By.CSS_SELECTOR, "#results button") and outside(driver) == {}
        assert not driver.find_element(By.ID, "actions").is_displayed()
        look_for(driver, "fish")
        driver.find_element(By.ID, "search").send_keys(Keys.ESCAPE)
        assert text(driver, "count") == everything
        assert driver.get_log("browser") == []


def test_results_outside_the_window_are_counted_on_their_side(
    mapped: tuple[UmapReport, Path], browser: webdriver.Chrome
) -> None:
    visit(browser, mapped[1] / "umap.html")
    fly(browser, "锂")
    canvas = browser.find_element(By.ID, "map")
    wait(browser, lambda d: outside(d) == {})
    # It is in the middle. Dragged out at one side, it is beyond that side; an arrow key moves the view by 80 pixels.
    for key, back, times, side in (
        (Keys.ARROW_RIGHT, Keys.ARROW_LEFT, 8, "left"), (Keys.ARROW_LEFT, Keys.ARROW_RIGHT, 8, "right"),
        (Keys.ARROW_DOWN, Keys.ARROW_UP, 6, "above"), (Keys.ARROW_UP, Keys.ARROW_DOWN, 6, "below"),
    ):  # fmt: skip
        browser.execute_script("document.getElementById('map').focus()")
        canvas.send_keys(key * times)
        wait(browser, lambda d, side=side: outside(d) == {side: 1})
        wait(browser, lambda d: card(d) == "")  # its card is not left behind
        canvas.send_keys(back * times)
        wait(browser, lambda d: outside(d) == {})
    canvas.send_keys(Keys.ARROW_RIGHT * 8)
    wait(browser, lambda d: outside(d) == {"left": 1})
    browser.find_element(By.CSS_SELECTOR, "#outside button:not([hidden])").click()  # it leads there
    wait(browser, lambda d: outside(d) == {})
    # All of many are counted: those in the window and those outside are all there are.
    many = len(look_for(browser, "fish")) and int(browser.execute_script("return document.body.dataset.found"))
    near = int(browser.execute_script("return document.body.dataset.inView"))
    wait(browser, lambda d: sum(outside(d).values()) == many - near)
    assert browser.get_log("browser") == []


def test_the_page_names_no_other_place(mapped: tuple[UmapReport, Path]) -> None:
    page = (mapped[1] / "umap.html").read_text(encoding="utf-8")
    assert "http://" not in page and "https://" not in page and "@import" not in page
    assert "innerHTML" not in page and "eval(" not in page and "document.write" not in page
    assert "default-src &#x27;none&#x27;" in page
