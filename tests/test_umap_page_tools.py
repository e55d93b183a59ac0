"""The tools of the map's page: names of regions, neighbours, any group, a drawing step by step, lasso, files, links."""

import csv
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Polygon
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from glyffctl.core.atlas.density import density
from glyffctl.core.atlas.groups import Groups, Scale, by_values, group, radical_label
from glyffctl.core.atlas.layout import FILE_NAME, KIND
from glyffctl.core.atlas.neighbors import nearest, project
from glyffctl.core.atlas.regions import Region
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.errors import DataError
from glyffctl.core.io.tensors import load_tensors
from glyffctl.figures.map_html import MapLabels, save_map_page
from glyffctl.figures.map_scene import Colouring, MapScene, MarkedPicture, Trail
from glyffctl.workflows.events import finish
from glyffctl.workflows.umap import UmapReport
from tests.browsing import card, fly, look_for, press, text, touch, visit, wait
from tests.conftest import page_data

pytestmark = pytest.mark.browser

Places = np.ndarray[Any, Any]
WIDE, HIGH = 1200, 800
STEPS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where files that the page saves arrive."""
    return tmp_path_factory.mktemp("saved")


@pytest.fixture(scope="module")
def browser(browser: webdriver.Chrome, folder: Path) -> webdriver.Chrome:
    """A window whose inside has 1200×800 pixels, and a mouse."""
    size = {"width": WIDE, "height": HIGH, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    return browser


def radicals(count: int) -> Groups:
    """Sixteen radicals that glyphs do not have, of unequal numbers."""
    kinds = [1 + int(16 * (k / count) ** 0.5) for k in range(count)]
    found = group("radical", kinds, {kind: radical_label(kind) for kind in set(kinds)})
    assert found is not None
    return found


@pytest.fixture(scope="module")
def page(
    mapped: tuple[UmapReport, Path], map_data: Path, map_glyphs: GlyphSet, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The map of `map_data` with a drawn picture, two drawings step by step, a column of texts and one of numbers."""
    tensors, _ = load_tensors(map_data / FILE_NAME, KIND, DataError)
    points, count = tensors["points"], len(map_glyphs)
    pictures = map_glyphs.images(torch.arange(count))[:, 0]
    field = density(points)
    radical, style = radicals(count), by_values("style", [f"={k % 12}+1" for k in range(count)])
    assert isinstance(style, Groups)
    grade = Scale(torch.arange(count) / count, ("first", "last"))
    grade.values[0] = torch.nan
    colourings = [Colouring("Kangxi radical", radical), Colouring("style", style), Colouring("grade", grade)]
    trails = [
        Trail(name, points[rows], pictures[rows], tensors["near"][rows])
        for name, rows in (("fish", torch.arange(STEPS)), ("gold", torch.arange(STEPS) + 300))
    ]
    scene = MapScene(
        "tools", ["notes"], points, pictures, field, colourings[0], tensors["near"], "so many numbers",
        [Region("艸 grass", 0.5, 0.5, 200), Region("beneath it", 0.501, 0.5, 100), Region("elsewhere", 0.8, 0.4, 50)],
        [MarkedPicture(float(points[7, 0]), float(points[7, 1]), pictures[7], "drawn", tensors["near"][7])], trails,
    )  # fmt: skip
    path = tmp_path_factory.mktemp("page") / "umap.html"
    save_map_page(path, scene, MapLabels(map_glyphs, colourings))
    return path


@pytest.fixture(scope="module")
def places(page: Path) -> Places:
    """(N, 2): places of the glyphs, 0 to 1."""
    import base64

    raw = np.frombuffer(base64.b64decode(page_data(page)["places"]), "<u2")
    return raw.reshape(-1, 2) / 65535


def at(place: Any, middle: Any = (0.5, 0.5)) -> tuple[float, float]:
    """Where in the window a place of the map is, with `middle` in its middle."""
    scale = HIGH * 0.98
    return float((place[0] - middle[0]) * scale + WIDE / 2), float(HIGH / 2 - (place[1] - middle[1]) * scale)


def around(place: Any) -> str:
    """The link to a map with `place` in the middle."""
    return f"x={place[0]}&y={place[1]}&zoom=1"


def start(driver: webdriver.Chrome, page: Path, link: str = "x=0.5&y=0.5&zoom=1") -> None:
    """Open the page by a link, at first one to the whole map in the middle of the window."""
    driver.get("about:blank")
    driver.get_log("browser")
    driver.get(f"{page.absolute().as_uri()}#{link}")
    wait(driver, lambda d: d.execute_script("return document.body.dataset.ready") == "yes")


def mouse(driver: webdriver.Chrome, way: list[tuple[float, float]], shift: bool = False) -> None:
    """Press the button at the first place, and let it go at the last."""
    for k, (x, y) in enumerate([*way, way[-1]]):
        kind = "mousePressed" if k == 0 else "mouseReleased" if k == len(way) else "mouseMoved"
        button = {"button": "none" if kind == "mouseMoved" else "left", "buttons": int(k < len(way)), "clickCount": 1}
        event = {"type": kind, "x": x, "y": y, "modifiers": 8 * shift, **button}
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)


def saved(folder: Path, name: str) -> Path:
    """A file that the page has saved; it is moved away, so that the next has its name."""
    until = time.monotonic() + 30
    while not (folder / name).exists():
        assert time.monotonic() < until
        time.sleep(0.05)
    return (folder / name).rename(folder / f"{time.monotonic_ns()}-{name}")


def link(driver: webdriver.Chrome) -> str:
    """The link to what is seen, once it is written."""
    time.sleep(0.1)
    wait(driver, lambda d: d.execute_script("return document.body.dataset.link") is not None)
    found: str = driver.execute_script("return location.hash.slice(1)")
    return found


def test_names_have_room_and_can_be_hidden(page: Path, browser: webdriver.Chrome) -> None:
    start(browser, page)
    wait(browser, lambda d: d.execute_script("return document.body.dataset.named") == "2")  # one is beneath another
    with_names = browser.get_screenshot_as_png()
    press(browser, "names")
    time.sleep(0.3)
    grey = [
        np.asarray(Image.open(io.BytesIO(png)).convert("L"), int)
        for png in (with_names, browser.get_screenshot_as_png())
    ]
    changed = np.argwhere(np.abs(grey[0] - grey[1])[100:700, 400:800] > 100)
    assert len(changed) > 50
    assert np.abs(changed.mean(0) - [300, 200]).max() < 25  # where the map's middle is
    assert "names=0" in link(browser)


@pytest.mark.parametrize("likeness", ["pixels", "map"])
def test_neighbours_are_the_nearest(
    page: Path, places: Places, map_glyphs: GlyphSet, browser: webdriver.Chrome, likeness: str
) -> None:
    row = 120
    characters = [map_glyphs.characters[k].character for k in map_glyphs.character_of.tolist()]
    start(browser, page, f"glyph={row}&alike={likeness}")
    listed = browser.execute_script("return [...document.querySelectorAll('#alikes span')].map((s) => s.textContent)")
    if likeness == "pixels":
        _, points = finish(project(map_glyphs))
        expected = finish(nearest(points, 13)).rows[row, 1:].tolist()
        assert "so many numbers" in text(browser, "saying")
        assert [characters[k] for k in expected] == listed
    else:
        apart = np.hypot(*(places - places[row]).T)
        apart[row] = np.inf
        assert sorted(listed) == sorted(characters[k] for k in apart.argsort()[:12])
    # One leads to the next, whose own neighbours are then listed.
    browser.find_elements("css selector", "#alikes button")[0].click()
    wait(browser, lambda d: text(d, "whose") == listed[0])
    press(browser, "unpick")
    assert not browser.find_element("id", "near").is_displayed()
    assert browser.get_log("browser") == []


def test_a_click_lists_the_neighbours_of_a_glyph_and_of_what_was_drawn(
    page: Path, places: Places, map_glyphs: GlyphSet, browser: webdriver.Chrome
) -> None:
    start(browser, page, around(places[7]))
    mouse(browser, [(WIDE / 2, HIGH / 2)])  # the drawn picture lies on this one
    wait(browser, lambda d: text(d, "whose") == "what the model drew")
    far = int(np.abs(places - [0.5, 0.5]).max(1).argmax())
    start(browser, page, f"x={places[far][0]}&y={places[far][1]}&zoom=40")
    mouse(browser, [(WIDE / 2, HIGH / 2)])
    wait(browser, lambda d: text(d, "whose") == map_glyphs.characters[int(map_glyphs.character_of[far])].character)
    assert f"glyph={far}" in link(browser)


def test_any_group_gets_a_colour(page: Path, places: Places, browser: webdriver.Chrome) -> None:
    start(browser, page)
    radical = radicals(len(places))
    rows = "return [...document.querySelectorAll('#groups button span')].map((s) => s.textContent)"
    assert browser.execute_script(rows) == [*radical.labels[:9], "all others"]
    rare = radical.labels[-1]
    field = browser.find_element("id", "more")
    for typed in (rare, rare[0], rare.split(" ")[1]):  # its label, its character, its name
        field.send_keys(typed, Keys.ENTER)
        wait(browser, lambda d: text(d, "count").endswith(f"glyphs: {rare}"))
        press(browser, "clear")
    shown = browser.execute_script(rows)
    assert shown == [*radical.labels[:8], rare, "all others"]
    field.send_keys("no such thing", Keys.ENTER)
    assert "no such thing" in text(browser, "count")
    again = link(browser)
    start(browser, page, again)
    assert browser.execute_script(rows) == shown
    assert browser.get_log("browser") == []


def test_columns_colour_the_map(page: Path, browser: webdriver.Chrome) -> None:
    start(browser, page, "by=grade")
    assert (text(browser, "low"), text(browser, "high")) == ("first", "last")
    assert text(browser, "missing").startswith("1 without")
    assert not browser.find_element("id", "more").is_displayed()
    start(browser, page, "by=style&show=%3D3%2B1")
    assert text(browser, "count").endswith("glyphs: =3+1")
    assert browser.find_element("css selector", "#groups [aria-pressed=true] span").text == "=3+1"


def test_a_drawing_is_seen_step_by_step(page: Path, places: Places, browser: webdriver.Chrome) -> None:
    start(browser, page)
    assert text(browser, "when") == f"step {STEPS} of {STEPS}"
    start(browser, page, f"step=1&{around(places[300])}")
    mouse(browser, [(WIDE / 2, HIGH / 2)])
    wait(browser, lambda d: text(d, "code") == f"guess after step 1 of {STEPS}")
    assert text(browser, "meaning") == "gold"
    field = browser.find_element("id", "step")
    field.send_keys(Keys.END)
    wait(browser, lambda d: text(d, "when") == f"step {STEPS} of {STEPS}")
    field.send_keys(Keys.HOME)
    wait(browser, lambda d: text(d, "when") == f"step 1 of {STEPS}")
    field.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    wait(browser, lambda d: text(d, "when") == f"step 3 of {STEPS}")
    assert "step=3" in link(browser)
    press(browser, "play")
    wait(browser, lambda d: text(d, "when") == f"step {STEPS} of {STEPS}")
    wait(browser, lambda d: d.find_element("id", "play").get_attribute("aria-label") == "Play")  # and it stops there
    press(browser, "play")  # from the beginning again
    wait(browser, lambda d: text(d, "when") != f"step {STEPS} of {STEPS}")
    press(browser, "play")
    stopped = text(browser, "when")
    time.sleep(0.5)
    assert text(browser, "when") == stopped
    assert browser.get_log("browser") == []


def inside(places: Places, middle: Any, way: list[tuple[float, float]]) -> set[int]:
    """Rows of the glyphs inside a line on the screen."""
    screen = np.array([at(place, middle) for place in places])
    return set(np.flatnonzero(Polygon(way).contains_points(screen)).tolist())


def codes(map_glyphs: GlyphSet, rows: set[int]) -> list[str]:
    return [f"U+{map_glyphs.characters[int(map_glyphs.character_of[row])].codepoint:04X}" for row in sorted(rows)]


def test_what_is_drawn_around_is_listed_and_saved(
    page: Path, places: Places, map_glyphs: GlyphSet, browser: webdriver.Chrome, folder: Path
) -> None:
    middle = np.median(places, axis=0)
    start(browser, page, around(middle))
    turn = np.linspace(0, 2 * np.pi, 50, endpoint=False)
    line = [(WIDE / 2 + 130 * float(np.cos(t)), HIGH / 2 + 90 * float(np.sin(t))) for t in turn]
    press(browser, "lasso")
    mouse(browser, line)
    expected = inside(places, middle, line)
    assert 10 < len(expected) < len(places) - 10
    wait(browser, lambda d: text(d, "count") == f"{len(expected)} of {len(places)} glyphs inside")
    press(browser, "csv")
    rows = list(csv.DictReader(io.StringIO(saved(folder, "glyphs.csv").read_text(encoding="utf-8-sig"))))
    assert [row["codepoint"] for row in rows] == codes(map_glyphs, expected)
    first = map_glyphs.characters[int(map_glyphs.character_of[min(expected)])]
    assert rows[0]["character"] == first.character and rows[0]["definition"] == first.definition
    assert rows[0]["style"].startswith("'=")  # no formula
    assert abs(float(rows[0]["x"]) - places[min(expected)][0]) < 1e-4
    press(browser, "png")
    with Image.open(saved(folder, "glyphs.png")) as image:
        assert image.width // 36 == int(np.ceil(np.sqrt(len(expected))))  # cells of 32 and gaps of 4
        corner = np.asarray(image.convert("L"))[4:36, 4:36].astype(float)
    real = map_glyphs.images(torch.tensor([min(expected)]))[0, 0].double().numpy()
    assert np.corrcoef(corner.ravel(), real.ravel())[0, 1] > 0.99
    # The link leads back to it; and the next drag moves the map again.
    again = link(browser)
    mouse(browser, [(600, 700), (560, 700)])
    assert "x=" in link(browser)
    start(browser, page, again)
    assert text(browser, "count") == f"{len(expected)} of {len(places)} glyphs inside"
    press(browser, "clear")
    assert "in=" not in link(browser)
    assert browser.get_log("browser") == []


def test_a_box_with_shift_and_what_stops_a_lasso(page: Path, places: Places, browser: webdriver.Chrome) -> None:
    middle = np.median(places, axis=0)
    start(browser, page, around(middle))
    left, top = WIDE / 2 - 90, HIGH / 2 - 90
    mouse(browser, [(left, top), (left + 60, top + 30), (left + 180, top + 120)], shift=True)
    expected = inside(places, middle, [(left, top), (left + 180, top), (left + 180, top + 120), (left, top + 120)])
    wait(browser, lambda d: text(d, "count") == f"{len(expected)} of {len(places)} glyphs inside")
    press(browser, "lasso")
    browser.execute_script("document.getElementById('map').focus()")
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)  # the lasso alone: what was chosen stays
    assert browser.find_element("id", "lasso").get_attribute("aria-pressed") == "false"
    assert text(browser, "count").endswith("inside")
    press(browser, "lasso")
    mouse(browser, [(5, 600)])  # a click draws nothing
    assert browser.find_element("id", "lasso").get_attribute("aria-pressed") == "false"
    assert browser.get_log("browser") == []


def test_a_link_restores_all_that_was_chosen(page: Path, browser: webdriver.Chrome) -> None:
    start(browser, page)
    look_for(browser, "fish")
    many = text(browser, "count")
    press(browser, "thick")
    press(browser, "theme")
    browser.execute_script("document.getElementById('in').click()")
    kept = link(browser)
    assert {part.split("=")[0] for part in kept.split("&")} == {"theme", "density", "q", "x", "y", "zoom"}
    start(browser, page, kept)
    assert text(browser, "count") == many
    assert browser.find_element("id", "thick").is_selected()
    assert browser.execute_script("return document.documentElement.dataset.theme") == "dark"
    assert link(browser) == kept  # the same view, to the last digit
    browser.execute_script("location.hash = 'q=gold'")
    wait(browser, lambda d: text(d, "count") != many and "glyphs" in text(d, "count"))
    press(browser, "link")
    wait(browser, lambda d: "shown" in d.find_element("id", "said").get_attribute("class"))
    visit(browser, page)
    assert link(browser) == ""  # of what is as it was at first, nothing is written


HOSTILE = [
    "x=NaN&y=Infinity&zoom=-1", "x=1e999&y=2&zoom=3", "zoom=0&x=0&y=0", "glyph=-1", "glyph=1e99", "glyph=99999999",
    "in=1+2+3", "in=" + "+".join(["9"] * 5000), "in=a+b+c+d+e+f", "by=__proto__", "by=constructor", "show=__proto__",
    "add=__proto__&add=toString", "theme=%22%3E%3Cscript%3Ewindow.hit=1%3C/script%3E", "step=1e9", "step=-5",
    "q=%3Cimg%20src=x%20onerror=window.hit=1%3E", "q=" + "a" * 20000, "alike=%22%5D", "%E0%A4%A", "&&&===", "%00",
]  # fmt: skip


def test_hostile_links_do_nothing(page: Path, browser: webdriver.Chrome) -> None:
    for bad in HOSTILE:
        start(browser, page, bad)
        assert browser.execute_script("return window.hit") is None, bad
        browser.execute_script("document.getElementById('all').click()")
        look_for(browser, "fish")  # the page still works
        assert int(browser.execute_script("return document.body.dataset.found")) > 5, bad
        assert browser.get_log("browser") == [], bad


def brightness(driver: webdriver.Chrome) -> float:
    time.sleep(0.4)
    with Image.open(io.BytesIO(driver.get_screenshot_as_png())) as image:
        return float(np.median(np.asarray(image.convert("L"))))


def test_the_page_is_dark_where_the_system_is(page: Path, browser: webdriver.Chrome) -> None:
    def system(scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    start(browser, page)
    assert brightness(browser) > 245
    system("dark")
    assert brightness(browser) < 40
    press(browser, "theme")  # what was asked for counts more
    assert brightness(browser) > 245
    system("light")
    assert "theme=light" in link(browser)
    press(browser, "theme")
    assert brightness(browser) < 40
    assert browser.get_log("browser") == []


def test_on_paper_the_map_is_light_and_has_no_tools(page: Path, browser: webdriver.Chrome) -> None:
    """What WebGL painted for the last frame is what would be printed: the light map lies above it as a copy."""
    seen = (
        "const lines = document.getElementById('lines');"
        "const dot = lines.getContext('2d').getImageData(2, lines.height - 2, 1, 1).data;"
        "return [document.documentElement.dataset.theme, lines.checkVisibility(), [...dot]];"
    )
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    try:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
        visit(browser, page)
        theme, before, _ = browser.execute_script(seen)
        assert theme == "dark"
        browser.execute_script("window.dispatchEvent(new Event('beforeprint'));")
        assert browser.execute_script(seen) == ["light", True, [255, 255, 255, 255]]
        for _ in range(3):  # frames that come before the paper keep the copy
            browser.execute_async_script(
                "dispatchEvent(new Event('resize')); requestAnimationFrame(() => requestAnimationFrame(arguments[0]));"
            )
            assert browser.execute_script(seen) == ["light", True, [255, 255, 255, 255]]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark | {"media": "print"})
        for name, shown in (("tools", False), ("search", False), ("groups", True), ("title", True)):
            assert browser.find_element(By.ID, name).is_displayed() == shown, name
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark | {"media": ""})
        browser.execute_script("window.dispatchEvent(new Event('afterprint'));")
        assert browser.execute_script(seen)[:2] == ["dark", before]
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_all_tools_work_with_fingers(page: Path, places: Places, phone: webdriver.Chrome) -> None:
    start(phone, page, "")
    assert phone.execute_script("return [document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    fly(phone, "锂")
    touch(phone, [(195, 422)])
    wait(phone, lambda d: card(d) == "锂")
    press(phone, "neighbours")
    wait(phone, lambda d: text(d, "whose") == "锂")
    boxes: dict[str, list[float]] = json.loads(
        phone.execute_script(
            "return JSON.stringify(Object.fromEntries(['find', 'near', 'trace', 'tools', 'fold'].map((id) => {"
            "const b = document.getElementById(id).getBoundingClientRect(); "
            "return [id, [b.left, b.top, b.right, b.bottom]]; })))"
        )
    )
    for name, (left, top, right, bottom) in boxes.items():
        assert left >= 0 and top >= 0 and right <= 390 and bottom <= 844, name
        for other, box in boxes.items():
            apart = box[0] >= right or box[2] <= left or box[1] >= bottom or box[3] <= top
            assert name == other or apart, (name, other)
    phone.find_elements("css selector", "#alikes button")[1].click()
    wait(phone, lambda d: text(d, "whose") != "锂")
    press(phone, "unpick")
    press(phone, "clear")
    press(phone, "all")
    press(phone, "lasso")
    touch(phone, [(60, 180)], [(380, 180)], [(380, 640)], [(10, 640)], [(10, 180)])
    wait(phone, lambda d: text(d, "count").endswith("inside"))
    assert phone.find_element("id", "list").get_attribute("aria-expanded") == "false"  # it would hide the map
    assert int(text(phone, "count").split(" ")[0]) > len(places) // 2
    assert phone.get_log("browser") == []
