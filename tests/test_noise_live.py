"""The live figures of `noise-demo`: their numbers are those of `core`, and they move by keyboard, mouse and finger."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from torch import Tensor

from glyffctl.core.device import CPU
from glyffctl.core.diffusion.schedule import SCHEDULES, make_schedule
from glyffctl.core.theory.forward import betas, jump
from glyffctl.core.theory.planar import mixture_density, mixture_score
from glyffctl.figures.live import recorded_drawings
from glyffctl.workflows import noise_guided, noise_model
from glyffctl.workflows.events import Progress, finish
from glyffctl.workflows.noise_data import make_scene
from glyffctl.workflows.noise_demo import NoiseDemoOptions, noise_demo
from tests.browsing import touch, visit, wait
from tests.stages import make_latent
from tests.test_noise_demo import Data, drawn, written

pytestmark = pytest.mark.browser

FIGURES = (
    *("process", "first-step", "schedules", "density", "score", "factor", "pure-noise", "loop", "walks"),
    *("drawing", "same-noise", "smooth"),
)
STEPS = 6


@dataclass(frozen=True)
class Page:
    file: Path
    data: Data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, noto_sans: Path, tiny_run: Path) -> Page:
    folder, glyphs = tmp_path_factory.mktemp("live"), drawn(noto_sans, 32)
    data = Data(written(folder / "data", glyphs), glyphs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise_model, "SMOOTH", 4)
        patch.setattr(noise_guided, "STEPS", STEPS)
        options = NoiseDemoOptions(data=data.folder, model=tiny_run, figures=FIGURES, out=folder / "out")
        return Page(finish(noise_demo(options)).page, data)


@pytest.fixture
def open_page(browser: webdriver.Chrome, page: Page) -> webdriver.Chrome:
    visit(browser, page.file)
    return browser


def look_at_all(driver: webdriver.Chrome) -> None:
    for name in FIGURES:
        figure(driver, name)


def compute(driver: webdriver.Chrome, parts: tuple[str, ...], expression: str, *arguments: Any) -> Any:
    """What the page's own functions answer, in JSON."""
    folder = files("glyffctl.figures") / "demo_page"
    source = "\n".join((folder / f"{part}.js").read_text(encoding="utf-8") for part in ("values", *parts))
    script = f"const done = arguments[arguments.length - 1]; {source}\n(async () => done({expression}))();"
    return driver.execute_async_script(script, *arguments)


def figure(driver: webdriver.Chrome, name: str) -> WebElement:
    """A live figure, looked at if it was not yet: figures are built as they come near."""
    root = driver.find_element(By.CSS_SELECTOR, f"#{name} .live")
    if root.get_attribute("data-ready") != "yes":
        driver.execute_script("arguments[0].closest('figure').scrollIntoView()", root)
        wait(driver, lambda _: root.get_attribute("data-ready") == "yes")
    return root


def said(driver: webdriver.Chrome, name: str) -> str:
    return figure(driver, name).find_element(By.CSS_SELECTOR, ".said").text.replace("\u00a0", " ")


def move(driver: webdriver.Chrome, name: str, value: int, which: str = ".bar > input") -> None:
    driver.execute_script(
        "const [root, which, value] = arguments, range = root.querySelector(which);"
        "range.value = value; range.dispatchEvent(new Event('input'));",
        *(figure(driver, name), which, value),
    )


def greys(driver: webdriver.Chrome, name: str, panel: int) -> Tensor:
    found = driver.execute_script(
        "const c = arguments[0].querySelectorAll('canvas')[arguments[1]];"
        "const {data} = c.getContext('2d').getImageData(0, 0, c.width, c.height);"
        "return Array.from({length: data.length / 4}, (_, i) => data[4 * i]);",
        *(figure(driver, name), panel),
    )
    return torch.tensor(found, dtype=torch.float64)


def test_levels_are_those_of_the_schedules(open_page: webdriver.Chrome) -> None:
    for name in SCHEDULES:
        found = compute(open_page, (), "[1, 7, 500, 1000].map((t) => levelAt(arguments[0], t))", name)
        schedule = make_schedule(name)
        for each in found:
            sigma = float(schedule.sigmas[each["t"] - 1])
            assert each["sigma"] == sigma
            assert each["alphaBar"] == pytest.approx(float(schedule.alpha_bar()[each["t"] - 1]), rel=1e-12)
            assert each["snr"] == pytest.approx(sigma**-2, rel=1e-12)
            assert each["signal"] ** 2 + each["noise"] ** 2 == pytest.approx(1, rel=1e-12)
    assert compute(open_page, (), "levelAt('linear', 0)")["alphaBar"] == 1


def test_noise_is_standard_normal_and_the_same_for_a_seed(open_page: webdriver.Chrome) -> None:
    values = torch.tensor(compute(open_page, (), "[...normals(40001, 3)]"), dtype=torch.float64)
    assert values.tolist() == compute(open_page, (), "[...normals(40001, 3)]")
    assert abs(float(values.mean())) < 4 / 200 and abs(float(values.var()) - 1) < 4 * 2**0.5 / 200
    for end, share in ((1.0, 0.841345), (2.0, 0.977250), (-1.5, 0.066807)):
        assert abs(float((values < end).double().mean()) - share) < 4 * (share * (1 - share)) ** 0.5 / 200
    other = torch.tensor(compute(open_page, (), "[...normals(40001, 4)]"), dtype=torch.float64)
    assert abs(float(torch.corrcoef(torch.stack([values, other]))[0, 1])) < 4 / 200
    assert abs(float(torch.corrcoef(torch.stack([values[:-1], values[1:]]))[0, 1])) < 4 / 200


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "0"),
        ("1/0", "∞"),
        ("0.98765", "0.988"),
        ("-12.345", "−12.3"),
        ("4.0423e-5", "4.04×10⁻⁵"),
        ("25600", "2.56×10⁴"),
    ],
)
def test_numbers_are_written_in_three_digits(open_page: webdriver.Chrome, value: str, text: str) -> None:
    assert compute(open_page, (), f"short({value})") == text


def test_density_and_score_are_those_of_core(open_page: webdriver.Chrome) -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(37, 2, generator=generator, dtype=torch.float64)
    points[5] = points[:, 0].abs().max() * torch.tensor([1.0, -1.0])  # on a node, and at the end of the data
    flat, places = points.flatten().tolist(), torch.tensor([[0.3, -0.2], [2.5, 2.5], [-2.9, 1.0]], dtype=torch.float64)
    line = torch.linspace(-2.9, 2.9, 21, dtype=torch.float64)
    for alpha_bar in (0.9999, 0.999, 0.99, 0.98, 0.97, 0.96, 0.95, 0.9, 0.8, 0.3, 0.01):
        level = f"Math.sqrt({alpha_bar}), 1 - {alpha_bar}"
        grid, scores = compute(
            open_page, ("mixture",),
            f"[[...densityOf(Float64Array.from(arguments[0]))({level}, 2.9, 21)],"
            f" arguments[1].map(([x, y]) => scoreAt(Float64Array.from(arguments[0]), {level}, x, y))]",
            flat, places.tolist(),
        )  # fmt: skip
        expected = mixture_density(points, line, alpha_bar).flip(0)  # rows of the picture go down
        close(torch.tensor(grid).reshape(21, 21), expected, 1e-6 * float(expected.max()))
        close(torch.tensor(scores, dtype=torch.float64), mixture_score(points, places, alpha_bar), 1e-6)


def test_density_and_score_leave_time_for_a_frame(open_page: webdriver.Chrome) -> None:
    """Both of 1,250 points, in processor time, since other programs run beside."""
    points, tries = (torch.randn(2500, generator=torch.Generator().manual_seed(0)) * 0.9).tolist(), 8
    levels = (0.999, 0.99, 0.97, 0.9, 0.5, 0.01)
    script = f"""(() => {{
      const points = Float64Array.from(arguments[0]), density = densityOf(points);
      for (let k = 0; k < {tries}; k++) for (const alphaBar of {list(levels)}) {{
        density(Math.sqrt(alphaBar), 1 - alphaBar, 2.9, 121);
        for (let n = 0; n < 121; n++) {{
          scoreAt(points, Math.sqrt(alphaBar), 1 - alphaBar, n % 11 / 2 - 2.5, n / 22 - 2.5);
        }}
      }}
    }})()"""
    open_page.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
    before = processor_time(open_page)
    compute(open_page, ("mixture",), script, points)
    each = (processor_time(open_page) - before) / (tries * len(levels))
    assert 1e-4 < each < 1 / 60


def processor_time(driver: webdriver.Chrome) -> float:
    """Seconds that the main thread of the page has worked."""
    found = driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
    return next(float(metric["value"]) for metric in found if metric["name"] == "TaskDuration")


def test_a_glyph_under_noise_is_the_jump_to_t(open_page: webdriver.Chrome, page: Page) -> None:
    scene = make_scene(page.data.glyphs, None, None, "linear", 0)[0]
    eps = torch.tensor(compute(open_page, (), "[...normals(32 * 32, 0)]"), dtype=torch.float64).reshape(32, 32)
    for name, t in (("linear", 300), ("cosine", 700), ("karras", 1)):
        pick(open_page, "process", name)
        move(open_page, "process", t)
        alpha_bar = float(make_schedule(name).alpha_bar()[t - 1])
        expected = jump(scene.glyph[0].double(), alpha_bar, eps)
        close(greys(open_page, "process", 2).reshape(32, 32), as_grey(expected), 1)
        close(greys(open_page, "process", 0).reshape(32, 32), as_grey(scene.glyph[0] * alpha_bar**0.5), 1)
        assert said(open_page, "process").startswith(f"t = {t} · σ = ")
    before = greys(open_page, "process", 1)
    figure(open_page, "process").find_element(By.XPATH, ".//button[text()='new noise']").click()
    assert float((greys(open_page, "process", 1) - before).abs().max()) > 0


def as_grey(x: Tensor) -> Tensor:
    return ((x.clamp(-1, 1) + 1) * 127.5).round().double()


def pick(driver: webdriver.Chrome, name: str, choice: str) -> None:
    figure(driver, name).find_element(By.XPATH, f".//label[span[text()='{choice}']]/input").click()


def test_the_strips_say_the_level_of_each_schedule(open_page: webdriver.Chrome) -> None:
    move(open_page, "schedules", 250)
    remarks = [
        each.text.replace("\u00a0", " ")
        for each in figure(open_page, "schedules").find_elements(By.CSS_SELECTOR, ".remark")
    ]
    for name, remark in zip(SCHEDULES, remarks, strict=False):
        sigma = float(make_schedule(name).sigmas[249])
        assert remark.startswith(f"σ = {float(f'{sigma:.3g}'):g} · ᾱ = ")


def test_without_the_factor_of_a_step_the_cloud_grows(open_page: webdriver.Chrome) -> None:
    for name in SCHEDULES:
        pick(open_page, "first-step", name)
        move(open_page, "first-step", 1000)
        kept, grown = (float(words.rsplit(": ", 1)[1]) for words in remarks(open_page, "first-step"))
        assert kept == pytest.approx(1, abs=0.2)
        assert grown == pytest.approx(1 + float(betas(make_schedule(name)).sum()), rel=0.2)


def test_the_factor_between_noise_and_score_is_that_of_the_level(open_page: webdriver.Chrome) -> None:
    for name in SCHEDULES:
        pick(open_page, "factor", name)
        move(open_page, "factor", 100)
        factor = (1 - float(make_schedule(name).alpha_bar()[99])) ** -0.5
        assert remarks(open_page, "factor")[2].startswith(f"{factor:.3g} times")


def test_brightness_ends_where_the_schedule_leaves_it(open_page: webdriver.Chrome, page: Page) -> None:
    scene = make_scene(page.data.glyphs, None, None, "linear", 0)[0]
    mean = float(scene.glyphs.double().mean()) * 32
    for name in SCHEDULES:
        pick(open_page, "pure-noise", name)
        move(open_page, "pure-noise", 1000)
        expected = mean * float(make_schedule(name).alpha_bar()[-1]) ** 0.5
        remark = remarks(open_page, "pure-noise")[0].split("the mean, ")[1].split()[0]
        found = float(
            remark.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")).replace("×10", "e").replace("−", "-")
        )
        assert found == pytest.approx(expected, rel=0.01)


def remarks(driver: webdriver.Chrome, name: str) -> list[str]:
    found = figure(driver, name).find_elements(By.CSS_SELECTOR, ".remark")
    return [each.text.replace("\u00a0", " ") for each in found]


def test_guesses_are_those_of_the_exact_denoiser(open_page: webdriver.Chrome, page: Page) -> None:
    scene = make_scene(page.data.glyphs, None, None, "linear", 0)[0]
    eps = scene.noise(scene.glyph.double())
    times = torch.linspace(1, 1000, 25).round().long()
    for name, k in (("linear", 20), ("karras", 3), ("cosine", 24)):
        pick(open_page, "loop", name)
        move(open_page, "loop", k)
        sigma = make_schedule(name).sigmas[times[k] - 1][None]
        x0 = scene.data(scene.glyph.double()[None] + sigma * eps, sigma)[0, 0]
        close(greys(open_page, "loop", 3).reshape(32, 32), as_grey(x0), 1)
        noise = eps[0] + (scene.glyph[0] - x0) / sigma
        close(greys(open_page, "loop", 4).reshape(32, 32), as_grey(noise / 3), 1)
        error = float((noise - eps[0]).square().mean().sqrt())
        remark = figure(open_page, "loop").find_elements(By.CSS_SELECTOR, ".remark")[5].text
        assert remark.startswith(f"off by {'< 0.001' if error < 0.0005 else f'{error:.3f}'}")


def test_a_drawing_is_computed_from_its_noise_and_guesses(open_page: webdriver.Chrome, tiny_run: Path) -> None:
    model = finish(noise_model.load_prompted_model(tiny_run, None, "gold", 5, CPU))
    seeds = torch.tensor([5, 5])
    found = finish(noise_guided.record(model, 3.0, ("gold", "water"), seeds, Progress("drawing", 0, 1, "pictures")))
    content = recorded_drawings(found.noise[0], found.levels, list(found.guesses.unbind(1)))
    made = compute(
        open_page, ("pictures", "drawing"),
        "(await drawings(arguments[0])(1)).map((s) => [[...s.z], [...s.guess], [...s.eps]])", content,
    )  # fmt: skip
    sigmas = torch.tensor([sigma for _, sigma in found.levels])
    z, guesses, eps = torch.tensor(made).unbind(1)
    scaled = found.x[:, 1].flatten(1) / (1 + sigmas[:, None] ** 2).sqrt()
    close(z, scaled, 0.02)
    close(guesses[:-1], found.guesses[:, 1].flatten(1), 2 / 127)
    noise = (found.x[:-1, 1].flatten(1) - found.guesses[:, 1].flatten(1)) / sigmas[:-1, None]
    close(eps[:-1], noise, 0.5)
    assert float((eps[:-1] - noise).square().mean().sqrt()) < 0.1
    assert found.levels[0][0] == len(model.drawer.schedule.sigmas) and found.levels[-1] == (0, 0.0)


def test_a_drawing_in_latents_is_shown_decoded(
    browser: webdriver.Chrome, noto_sans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise_guided, "STEPS", 3)
    monkeypatch.setattr(noise_guided, "STRENGTHS", (1, 4))
    (tmp_path / "latent").mkdir()
    run = make_latent(tmp_path / "latent")
    data, figures = written(tmp_path / "data", drawn(noto_sans, 32)), ("drawing", "same-noise")
    report = finish(noise_demo(NoiseDemoOptions(data=data, model=run, figures=figures, out=tmp_path / "out")))
    visit(browser, report.page)
    for name in figures:
        figure(browser, name)
    assert browser.get_log("browser") == []
    model = finish(noise_model.load_prompted_model(run, None, "gold", 0, CPU))
    bar = Progress("drawing", 0, 1, "pictures")
    made = finish(noise_guided.record(model, 4.0, ("gold",), torch.tensor([0]), bar))
    expected = noise_guided.seen(model.drawer, made)
    assert [row.shape for row in expected] == [(4, 32, 32)] * 3
    for step in (0, 1, 3):
        move(browser, "drawing", step)
        for panel, row in enumerate(expected):  # 16 greys
            close(greys(browser, "drawing", panel), row[step].flatten(), 9)
    assert torch.equal(greys(browser, "drawing", 0), greys(browser, "drawing", 1))  # at the end nothing is guessed
    move(browser, "same-noise", 1)
    close(greys(browser, "same-noise", 0), expected[1][1].flatten(), 9)
    pick(browser, "same-noise", "the noise it predicts")
    close(greys(browser, "same-noise", 0), expected[2][1].flatten(), 9)


def test_guidance_and_time_move_the_drawing(open_page: webdriver.Chrome) -> None:
    move(open_page, "drawing", 1)
    assert said(open_page, "drawing").startswith("t = ") and "SNR" in said(open_page, "drawing")
    before = greys(open_page, "drawing", 1)
    move(open_page, "drawing", 7, ".settings input")
    wait(open_page, lambda d: float((greys(d, "drawing", 1) - before).abs().max()) > 0)
    assert figure(open_page, "drawing").find_element(By.CSS_SELECTOR, ".settings output").text == "γ = 8"
    assert len(figure(open_page, "same-noise").find_elements(By.TAG_NAME, "canvas")) == 8
    noisy = greys(open_page, "same-noise", 0)
    pick(open_page, "same-noise", "x at this step")
    move(open_page, "same-noise", 0)
    first, second = greys(open_page, "same-noise", 0), greys(open_page, "same-noise", 5)
    assert torch.equal(first, second) and not torch.equal(first, noisy)  # all begin with the same noise


def test_the_keyboard_plays_steps_and_slides(open_page: webdriver.Chrome) -> None:
    move(open_page, "density", 500)
    bar = figure(open_page, "density").find_element(By.CSS_SELECTOR, ".bar > input")
    bar.send_keys(Keys.ARROW_RIGHT)
    assert said(open_page, "density").startswith("t = 501 ")
    bar.send_keys(",", ",", ",")
    assert said(open_page, "density").startswith("t = 498 ")
    bar.send_keys(".")
    assert bar.get_attribute("aria-valuetext").replace("\u00a0", " ") == said(open_page, "density")
    assert said(open_page, "density").startswith("t = 499 ")
    bar.send_keys(Keys.SPACE)
    wait(open_page, lambda d: not said(d, "density").startswith("t = 499 "))
    play = figure(open_page, "density").find_elements(By.TAG_NAME, "button")[1]
    assert play.get_attribute("aria-label") == "stop"
    bar.send_keys(Keys.SPACE)
    assert play.get_attribute("aria-label") == "play"
    now = said(open_page, "density")
    assert said(open_page, "density") == now
    bar.send_keys(Keys.END)
    assert said(open_page, "density").startswith("t = 1,000 ")


def test_playing_ends_at_the_end(open_page: webdriver.Chrome) -> None:
    root = figure(open_page, "smooth")
    open_page.execute_script("arguments[0].value = 4", root.find_element(By.TAG_NAME, "select"))
    play = root.find_elements(By.TAG_NAME, "button")[1]
    play.click()
    wait(open_page, lambda d: not said(d, "smooth").startswith("t = 0 "))
    wait(open_page, lambda d: said(d, "smooth").startswith("t = 0 "))
    wait(open_page, lambda _: play.get_attribute("aria-label") == "play")


def test_every_live_figure_can_be_named_and_folds_its_still_away(open_page: webdriver.Chrome, page: Page) -> None:
    for name in FIGURES:
        root = figure(open_page, name)
        assert root.is_displayed() and root.get_attribute("aria-label")
        for field in root.find_elements(By.CSS_SELECTOR, "input, select, button"):
            assert field.accessible_name, (name, field.get_attribute("outerHTML"))
        image = open_page.find_element(By.CSS_SELECTOR, f"#{name} .still img")
        assert not image.is_displayed() and image.get_attribute("alt")
        open_page.find_element(By.CSS_SELECTOR, f"#{name} figure > button").click()
        assert image.is_displayed()
    assert open_page.get_log("browser") == []
    assert 'class="still"' in page.file.read_text(encoding="utf-8")  # without scripts nothing is folded


def test_every_picture_is_named_and_described_by_its_numbers(open_page: webdriver.Chrome) -> None:
    for name in FIGURES:
        panels = figure(open_page, name).find_elements(By.CSS_SELECTOR, ".panel")
        assert panels
        for panel in panels:
            canvas, remark = panel.find_element(By.TAG_NAME, "canvas"), panel.find_element(By.CLASS_NAME, "remark")
            assert canvas.aria_role in ("img", "image") and canvas.accessible_name, name
            assert canvas.get_attribute("aria-describedby") == remark.get_attribute("id")
    marks = open_page.find_elements(By.CSS_SELECTOR, ".legend canvas")
    assert marks and all(mark.get_attribute("aria-hidden") == "true" for mark in marks)


def test_the_step_is_said_where_playing_stops_and_not_in_every_frame(open_page: webdriver.Chrome) -> None:
    move(open_page, "process", 300)
    root = figure(open_page, "process")
    play, output = root.find_elements(By.TAG_NAME, "button")[1], root.find_element(By.CLASS_NAME, "said")
    assert output.aria_role == "status"
    play.send_keys(Keys.ENTER)
    wait(open_page, lambda _: output.get_attribute("aria-live") == "off")
    play.send_keys(Keys.ENTER)
    assert output.get_attribute("aria-live") == "polite"
    root.find_element(By.CSS_SELECTOR, ".bar > input").send_keys(Keys.ARROW_RIGHT)
    assert output.get_attribute("aria-live") == "off"  # the slider says it itself


def test_tab_goes_through_a_figure_in_the_order_that_is_seen(open_page: webdriver.Chrome) -> None:
    move(open_page, "density", 500)
    open_page.execute_script("arguments[0].focus()", figure(open_page, "density").find_element(By.TAG_NAME, "button"))
    seen = []
    for _ in range(7):
        field = open_page.switch_to.active_element
        seen.append(field.accessible_name)
        field.send_keys(Keys.TAB)
        ring = open_page.execute_script(
            "const style = getComputedStyle(document.activeElement);"
            "return [style.outlineStyle, parseFloat(style.outlineWidth)]"
        )
        assert ring[0] == "solid" and ring[1] >= 2, seen
    still = "Show all at once, as a still picture"
    assert seen == ["one step back", "play", "one step on", "step t", "speed", common_schedule(open_page), still]


def common_schedule(driver: webdriver.Chrome) -> str:
    """The radio button that is chosen: the one that Tab reaches."""
    chosen: str = figure(driver, "density").find_element(By.CSS_SELECTOR, "input:checked").get_attribute("value") or ""
    return chosen


def test_on_paper_there_are_the_still_pictures(open_page: webdriver.Chrome) -> None:
    look_at_all(open_page)
    open_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        for name in FIGURES:
            assert not figure(open_page, name).is_displayed()
            assert open_page.find_element(By.CSS_SELECTOR, f"#{name} .still img").is_displayed()
    finally:
        open_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_words_are_explained_where_they_are(open_page: webdriver.Chrome) -> None:
    word = open_page.find_element(By.CSS_SELECTOR, "#density .term")
    open_page.execute_script("arguments[0].focus()", word)
    tip = open_page.find_element(By.CSS_SELECTOR, ".tip")
    meaning = open_page.find_element(By.ID, word.get_attribute("aria-describedby") or "").text
    assert tip.is_displayed() and tip.text == meaning
    word.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()


def test_on_a_phone_fingers_move_it_and_nothing_is_too_wide(phone: webdriver.Chrome, page: Page) -> None:
    visit(phone, page.file)
    look_at_all(phone)
    assert phone.execute_script("return document.documentElement.scrollWidth") <= 390
    move(phone, "process", 400)
    canvas = figure(phone, "process").find_elements(By.TAG_NAME, "canvas")[2]
    phone.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    box = phone.execute_script(
        "const r = arguments[0].getBoundingClientRect(); return [r.x, r.y, r.width, r.height]", canvas
    )
    x, y = box[0] + box[2] / 2, box[1] + box[3] / 2
    touch(phone, [(x, y)], [(x - 5, y)], [(x - 0.2 * box[2], y)])
    wait(phone, lambda d: said(d, "process").startswith("t = 200 "))
    for field in phone.find_elements(By.CSS_SELECTOR, ".live button, .live select"):
        assert field.size["height"] >= 40 or not field.is_displayed()
    word = phone.find_element(By.CSS_SELECTOR, "#score .term")
    phone.execute_script("arguments[0].scrollIntoView({block: 'center'})", word)
    box = phone.execute_script("const r = arguments[0].getBoundingClientRect(); return [r.x + 3, r.y + 5]", word)
    touch(phone, [(box[0], box[1])])
    wait(phone, lambda d: d.find_element(By.CSS_SELECTOR, ".tip").is_displayed())
    assert (
        phone.execute_script("const r = document.querySelector('.tip').getBoundingClientRect(); return r.right") <= 390
    )
    assert phone.get_log("browser") == []


def close(found: Tensor, expected: Tensor, within: float) -> None:
    assert found.shape == expected.shape
    assert float((found.double() - expected.double()).abs().max()) <= within
