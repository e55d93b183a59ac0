"""The workbench of `noise-demo` in a browser: its numbers are those of core, and it answers to all hands."""

from __future__ import annotations

import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from torch import Tensor

from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import SCHEDULES, make_schedule
from glyffctl.core.noise import Stream, normal
from glyffctl.core.theory.oracle import FiniteData, score
from glyffctl.core.theory.planar import energy_distance
from glyffctl.figures.page import Section, page
from glyffctl.figures.workbench_html import workbench
from glyffctl.figures.workbench_still import NAMES, STEPS, fresh_samples, ink, walks
from tests.browsing import touch, wait
from tests.test_workbench import scene

pytestmark = pytest.mark.browser

SEED = 2**40 + 2**32 - 3  # whose samples pass from one word to the next
CLOSE: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    own = scene("karras", SEED)
    picture = BytesIO()
    Image.new("L", (300, 100), 200).save(picture, "PNG")
    made = workbench(ink(own), "<b>", "karras", SEED)
    section = Section("workbench", "A", "B.", "C.", "D.", picture.getvalue(), "image/png", 300, 13.0, workbench=made)
    file: Path = tmp_path_factory.mktemp("page") / "index.html"
    file.write_text(page("Title", ["About."], [section]), "utf-8")
    return file.as_uri()


def settle(driver: webdriver.Chrome) -> None:
    """Until all walks have ended and were measured."""
    wait(driver, lambda d: d.execute_script("return document.getElementById('bench').dataset.settled") == "yes")


def visit(driver: webdriver.Chrome, address: str) -> None:
    driver.get(address)
    settle(driver)


@pytest.fixture(scope="module")
def still(browser: webdriver.Chrome, address: str) -> webdriver.Chrome:
    """The page for tests that only compute with its functions."""
    visit(browser, address)
    return browser


@pytest.fixture
def bench(browser: webdriver.Chrome, address: str) -> Iterator[webdriver.Chrome]:
    visit(browser, address)
    yield browser
    assert browser.get_log("browser") == []


def choose(driver: webdriver.Chrome, **values: Any) -> None:
    for name, value in values.items():
        driver.execute_script(
            "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
            "field.dispatchEvent(new Event('input'));",
            f"bench-{name.replace('_', '-')}",
            str(value),
        )
    settle(driver)


def numbers(driver: webdriver.Chrome, script: str, *values: Any) -> Tensor:
    """What a script returns, as a tensor (N, 2) where it is [x, y, x, y, …]; tensors in `values` become such arrays."""
    plain = [v.flatten().tolist() if isinstance(v, Tensor) else v for v in values]
    found = torch.tensor(driver.execute_script(f"const b = window.workbench; {script}", *plain), dtype=torch.float64)
    return found.reshape(-1, 2)


def points_of(driver: webdriver.Chrome, shape: str) -> tuple[Tensor, Tensor]:
    points = numbers(driver, "return [...b.SHAPES[arguments[0]]().points];", shape)
    labels = driver.execute_script("return [...window.workbench.SHAPES[arguments[0]]().labels];", shape)
    return points, torch.tensor(labels)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_those_of_core(still: webdriver.Chrome, name: str) -> None:
    found = numbers(still, "return [...b.SCHEDULES[arguments[0]]];", name).flatten()
    torch.testing.assert_close(found, make_schedule(name).sigmas, **CLOSE)
    for steps in (1, 3, 16, 20, 160, 999, 1000):  # at 16 and 160 levels lie half way between two of the table
        levels = torch.tensor(still.execute_script(
            "const b = window.workbench; return [...b.levelsOf(b.SCHEDULES[arguments[0]], arguments[1])];", name, steps
        ), dtype=torch.float64)  # fmt: skip
        torch.testing.assert_close(levels, make_schedule(name).steps(steps), **CLOSE)


@pytest.mark.parametrize("seed", [0, SEED])
def test_random_numbers_are_those_of_core(still: webdriver.Chrome, seed: int) -> None:
    for stream in (Stream.EPS, Stream.STEP + 99):
        found = numbers(still, "return [...b.normals(BigInt(arguments[0]), 9, arguments[1])];", str(seed), int(stream))
        torch.testing.assert_close(found, normal(0, seed + torch.arange(9), (2,), stream, torch.float64), **CLOSE)


@pytest.mark.parametrize("shape", ["ink", "points", "spiral", "moons", "classes"])
def test_denoiser_score_and_guidance_are_exact(still: webdriver.Chrome, shape: str) -> None:
    points, labels = points_of(still, shape)
    assert 400 < len(points) <= 500 and 0.5 < float(points.square().mean()) < 1.5
    own = points[labels == labels.max()]
    z = torch.randn(40, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 1.5
    for sigma in (0.02, 0.3, 2.0, 160.0):
        x, level = z * (1 + sigma**2) ** 0.5, torch.full((40,), sigma, dtype=torch.float64)
        everything, one = FiniteData(points)(x, level), FiniteData(own)(x, level)
        found = numbers(still, "return [...b.exact(arguments[0])(arguments[1], arguments[2])];", points, x, sigma)
        torch.testing.assert_close(found, everything, **CLOSE)
        found = numbers(
            still,
            "return [...b.guided(b.exact(arguments[0]), b.exact(arguments[1]), 3.5)"
            "(Float64Array.from(arguments[2]), arguments[3])];",
            points, own, x, sigma,
        )  # fmt: skip
        torch.testing.assert_close(found, everything + 3.5 * (one - everything), **CLOSE)
        found = numbers(
            still,
            "return [...b.score(b.exact(arguments[0]), Float64Array.from(arguments[1]), arguments[2])];",
            points, z, sigma,
        )  # fmt: skip
        torch.testing.assert_close(found, score(everything, x, level) * (1 + sigma**2) ** 0.5, **CLOSE)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("schedule", "steps"), [("karras", 12), ("linear", 30), ("cosine", 7), ("linear", 1)])
def test_samplers_go_where_those_of_core_go(still: webdriver.Chrome, name: str, schedule: str, steps: int) -> None:
    points, _ = points_of(still, "spiral")
    sigmas, generator = make_schedule(schedule).steps(steps), torch.Generator().manual_seed(2)
    noise = torch.randn(SAMPLERS[name].draws * steps + 1, 20, 1, 1, 2, generator=generator, dtype=torch.float64)
    data, start = FiniteData(points[:, None, None]), noise[-1] * sigmas[0]
    expected = torch.cat([step.x for step in SAMPLERS[name](data, start, sigmas, lambda i: noise[i])])
    found = numbers(
        still,
        "const [name, points, x, sigmas, noise] = arguments, all = [];"
        "const draw = (i) => Float64Array.from(noise.slice(40 * i, 40 * i + 40));"
        "const steps = b.SOLVERS[name].run(b.exact(points), Float64Array.from(x), sigmas, draw);"
        "for (const step of steps) all.push(...step.x);"
        "return all;",
        name, points, start, sigmas, noise,
    )  # fmt: skip
    torch.testing.assert_close(found, expected.flatten(1), **CLOSE)


@pytest.mark.parametrize("pair", [("ddim", "ddpm"), ("heun", "langevin"), ("dpmpp-2m", "ddim")])
def test_what_the_page_draws_and_measures_is_what_core_does(bench: webdriver.Chrome, pair: tuple[str, str]) -> None:
    own = scene("karras", SEED)
    data = ink(own)
    choose(bench, first_solver=pair[0], second_solver=pair[1], data="ink")
    torch.testing.assert_close(numbers(bench, "return [...b.SHAPES.ink().points];"), data)
    for place, name in enumerate(pair):
        expected = walks(data, own, name)
        found = numbers(bench, "return b.runs[arguments[0]].paths.flatMap((each) => [...each]);", place)
        torch.testing.assert_close(found.reshape(STEPS + 1, -1, 2), expected, **CLOSE)
        distance = bench.execute_script("return window.workbench.runs[arguments[0]].distance;", place)
        assert distance == pytest.approx(energy_distance(data, expected[-1]), abs=1e-6)
        shown = bench.find_element(By.ID, f"bench-{['first', 'second'][place]}-distance").text
        assert shown == f"{distance:.4f}".replace("-", "−")
    fresh = [energy_distance(data, sample) for sample in fresh_samples(data, SEED)]
    beside = bench.find_element(By.ID, "bench-first-control").text
    assert f"{min(fresh):.4f} to {max(fresh):.4f}".replace("-", "−") in beside


def test_guidance_is_for_one_of_two_classes(bench: webdriver.Chrome) -> None:
    towards, strength = (bench.find_element(By.ID, f"bench-{name}") for name in ("towards", "strength"))
    assert not towards.is_enabled() and not strength.is_enabled()
    choose(bench, data="classes")
    assert towards.is_enabled() and not strength.is_enabled()
    choose(bench, towards=1, first_solver="dpmpp-2m", steps=8)
    assert strength.is_enabled()
    points, labels = points_of(bench, "classes")
    ends = "return [...b.runs[0].paths.at(-1)];"

    def own() -> float:
        """The share of ends that are nearer to the class than to the other."""
        from_classes = [torch.cdist(numbers(bench, ends), points[labels == k]).min(1).values for k in (0, 1)]
        return float((from_classes[1] < from_classes[0]).double().mean())

    def distance() -> float:
        return float(bench.execute_script("return window.workbench.runs[0].distance;"))

    assert own() > 0.9 and distance() < 0.02
    choose(bench, strength=0)
    assert 0.3 < own() < 0.7
    choose(bench, strength=4)
    assert own() > 0.98 and distance() > 0.03  # farther than the data go
    choose(bench, data="moons", towards="all")
    assert not strength.is_enabled()


def test_time_is_moved_by_keys_and_buttons_and_plays(bench: webdriver.Chrome) -> None:
    def t() -> int:
        return int(bench.execute_script("return window.workbench.setting.t;"))

    slider = bench.find_element(By.ID, "bench-time")
    slider.send_keys(Keys.END)
    assert t() == 1000
    wait(bench, lambda d: "t = 1000 · σ = 160 · ᾱ = 0.0000391" in d.find_element(By.ID, "bench-level").text)
    slider.send_keys(Keys.ARROW_LEFT)
    assert t() == 999
    bench.find_element(By.ID, "bench-back").send_keys(Keys.SPACE)
    assert t() == 1000 - 1000 // STEPS
    bench.find_element(By.ID, "bench-on").send_keys(Keys.ENTER)
    assert t() == 1000
    form = bench.find_element(By.ID, "bench-form")
    form.send_keys(Keys.SPACE)
    assert form.get_attribute("aria-pressed") == "true"
    wait(bench, lambda _: t() < 900)
    form.send_keys(Keys.SPACE)
    stopped = t()
    time.sleep(0.3)
    assert t() == stopped > 0 and form.get_attribute("aria-pressed") == "false"
    choose(bench, speed=2)
    form.click()
    wait(bench, lambda _: t() == 0 and form.get_attribute("aria-pressed") == "false")
    wait(bench, lambda d: "SNR = ∞" in d.find_element(By.ID, "bench-level").text)


INKED = """const panel = document.getElementById(arguments[0]), pen = panel.getContext('2d'), all = [];
for (const value of new Uint32Array(pen.getImageData(0, 0, panel.width, panel.height).data.buffer)) all.push(value);
return all.reduce((sum, value) => (Math.imul(sum, 31) + value) | 0, 7);"""
"""A digest of the pixels of a panel."""


def test_panels_show_what_changes(bench: webdriver.Chrome) -> None:
    def seen() -> list[int]:
        bench.execute_script("window.workbench.paint();")
        return [bench.execute_script(INKED, f"bench-{name}") for name in ("forward", "first", "second")]

    before = seen()
    for change in ({"time": 300}, {"schedule": "linear"}, {"data": "spiral"}):
        choose(bench, **change)
        after = seen()
        assert all(a != b for a, b in zip(before, after, strict=True)), change
        before = after
    choose(bench, steps=3)
    assert [a == b for a, b in zip(before, seen(), strict=True)] == [True, False, False]
    bench.find_element(By.ID, "bench-noise").click()
    settle(bench)
    assert bench.execute_script("return String(window.workbench.setting.seed);") == str(SEED + 500)
    # On a dark screen the paper is dark; on paper it is white.
    before = seen()
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    background = "return getComputedStyle(document.getElementById('bench')).backgroundColor;"
    try:
        bench.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
        wait(bench, lambda d: d.execute_script(background) == "rgb(20, 20, 20)")
        wait(bench, lambda _: seen()[0] != before[0])
        night = seen()
        assert all(a != b for a, b in zip(before, night, strict=True))
        bench.execute_script("window.dispatchEvent(new Event('beforeprint'));")
        assert bench.execute_script(background) == "rgb(255, 255, 255)" and seen() == before
        bench.execute_script("window.dispatchEvent(new Event('afterprint'));")
        assert seen() == night
    finally:
        bench.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def count(driver: webdriver.Chrome) -> int:
    return int(
        driver.execute_script("return document.getElementById('bench-summary').textContent.match(/(\\d+) points/)[1];")
    )


def test_data_are_drawn_with_a_mouse_and_with_keys(bench: webdriver.Chrome) -> None:
    choose(bench, data="drawn")
    panel, hint = bench.find_element(By.ID, "bench-forward"), bench.find_element(By.ID, "bench-hint")
    assert count(bench) == 0 and hint.is_displayed()
    assert bench.execute_script("return window.workbench.runs.every((run) => run === null);")
    ActionChains(bench).move_to_element_with_offset(panel, -60, 0).click_and_hold().move_by_offset(
        120, 0
    ).release().perform()
    settle(bench)
    drawn = count(bench)
    assert 30 < drawn <= 500 and not hint.is_displayed()
    bench.find_element(By.ID, "bench-second-class").click()
    panel.send_keys(Keys.ARROW_UP, Keys.ARROW_UP, Keys.SPACE)
    settle(bench)
    assert count(bench) == drawn + 6 and bench.find_element(By.ID, "bench-towards").is_enabled()
    ends = numbers(bench, "return [...b.runs[0].paths.at(-1)];")
    assert float(ends[:, 1].abs().max()) < 1.5 and 0.5 < float(ends[:, 0].abs().max()) < 2
    for _ in range(90):
        panel.send_keys(Keys.SPACE)
    assert count(bench) == 500  # the first ones went
    bench.find_element(By.ID, "bench-erase").click()
    settle(bench)
    assert count(bench) == 0 and hint.is_displayed()
    choose(bench, data="points")
    assert not hint.is_displayed() and count(bench) == 500


def test_a_phone_has_room_and_fingers_draw(phone: webdriver.Chrome, address: str) -> None:
    visit(phone, address)
    assert phone.execute_script("return document.documentElement.scrollWidth;") <= 390
    small = phone.execute_script(
        "return [...document.querySelectorAll('#bench button, #bench select, #bench input[type=range]')]"
        ".filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 44).map((e) => e.id);"
    )
    assert small == []
    choose(phone, data="drawn")
    panel = phone.find_element(By.ID, "bench-forward")
    phone.execute_script("arguments[0].scrollIntoView();", panel)
    box = phone.execute_script("const b = arguments[0].getBoundingClientRect(); return [b.x, b.y, b.width];", panel)
    x, y, side = box
    before = phone.execute_script("return window.scrollY;")
    touch(phone, *([(x + side * (0.2 + 0.03 * k), y + side * (0.3 + 0.01 * k))] for k in range(20)))
    settle(phone)
    assert count(phone) > 30 and phone.execute_script("return window.scrollY;") == before
    assert phone.get_log("browser") == []


def test_the_policy_holds_and_the_still_gives_way(bench: webdriver.Chrome) -> None:
    assert not bench.find_element(By.CSS_SELECTOR, "#figure-1 img").is_displayed()
    assert bench.find_element(By.CSS_SELECTOR, "#bench-data option").text == "ink of <b>"
    bench.execute_script(
        "const s = document.createElement('script'); s.append('window.hit = 1'); document.body.append(s);"
    )
    assert bench.execute_script("return window.hit ?? null") is None
    assert bench.get_log("browser")  # which says so


def test_what_moves_is_said_once(bench: webdriver.Chrome) -> None:
    for name in ("forward", "first", "second"):
        panel = bench.find_element(By.ID, f"bench-{name}")
        assert panel.aria_role in ("img", "image") and panel.accessible_name
    level, slider, dissolve = (bench.find_element(By.ID, f"bench-{name}") for name in ("level", "time", "dissolve"))
    assert level.aria_role == bench.find_element(By.ID, "bench-first-distance").aria_role == "status"
    dissolve.send_keys(Keys.SPACE)
    wait(bench, lambda _: level.get_attribute("aria-live") == "off")
    dissolve.send_keys(Keys.SPACE)
    wait(bench, lambda _: level.get_attribute("aria-live") == "polite")
    assert slider.get_attribute("aria-valuetext") == level.text
    slider.send_keys(Keys.ARROW_RIGHT)
    wait(bench, lambda _: level.get_attribute("aria-live") == "off")  # the slider says it itself
    # What is written anew without being another number would be spoken again.
    writes = bench.execute_async_script(
        "const done = arguments[0], said = document.getElementById('bench-first-distance'); let count = 0;"
        "const observer = new MutationObserver((seen) => { count += seen.length; });"
        "observer.observe(said, { childList: true, characterData: true, subtree: true });"
        "for (let k = 0; k < 5; k++) document.getElementById('bench-time').dispatchEvent(new Event('input'));"
        "requestAnimationFrame(() => requestAnimationFrame(() => done(count)));"
    )
    assert writes == 0
    choose(bench, data="drawn")
    assert bench.find_element(By.ID, "bench-forward").aria_role == "application"


def test_a_frame_leaves_time(bench: webdriver.Chrome) -> None:
    """The field of the score, 500 points and 200 paths: the least of many, for other programs run beside."""
    choose(bench, data="spiral")
    least = bench.execute_script(
        "let least = Infinity; for (let t = 1000; t > 0; t -= 50) {"
        " workbench.setting.t = t; const begin = performance.now(); workbench.paint();"
        " least = Math.min(least, performance.now() - begin); } return least;"
    )
    assert least < 1000 / 60 / 2
