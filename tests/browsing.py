"""Driving Chromium through the page of the map, with a mouse and with fingers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

PHONE = {"width": 390, "height": 844, "pixelRatio": 2.0, "touch": True, "mobile": True}

Point = tuple[float, float]


def chromium(phone: bool = False, local: bool = False) -> webdriver.Chrome:
    """Chromium without a screen and without a network (install chromium and chromium-driver), or 127.0.0.1 alone."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,800",
        f"--host-resolver-rules=MAP * ~NOTFOUND{', EXCLUDE 127.0.0.1' if local else ''}", "--proxy-server=127.0.0.1:9",
        "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    ):  # fmt: skip
        options.add_argument(argument)
    if phone:
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": PHONE})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


def visit(browser: webdriver.Chrome, path: Path) -> None:
    browser.get_log("browser")  # what an earlier page had to say
    browser.get(path.absolute().as_uri())
    wait(browser, lambda d: d.execute_script("return document.body.dataset.ready") == "yes")


def wait(browser: webdriver.Chrome, until: Any, seconds: float = 60) -> Any:
    return WebDriverWait(browser, seconds, poll_frequency=0.05).until(until)


def text(browser: webdriver.Chrome, name: str) -> str:
    found: str = browser.find_element(By.ID, name).text
    return found


def touch(driver: webdriver.Chrome, *steps: Sequence[Point]) -> None:
    """Put fingers down where the first step says, move them through the others and lift them."""
    for kind, points in [("touchStart", steps[0]), *(("touchMove", step) for step in steps[1:]), ("touchEnd", ())]:
        fingers = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]
        driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})


def look_for(driver: webdriver.Chrome, query: str) -> list[str]:
    """The characters listed for a query, best first; "" beside those without one."""
    driver.execute_script(
        "const field = document.getElementById('search'); field.value = arguments[0];"
        "delete document.body.dataset.found; field.dispatchEvent(new Event('input'));",
        query,
    )
    wait(driver, lambda d: d.execute_script("return document.body.dataset.found") is not None)
    listed: list[str] = driver.execute_script(
        "return [...document.querySelectorAll('#results b')].map((b) => b.textContent)"
    )
    return listed


def fly(driver: webdriver.Chrome, query: str) -> None:
    """To the first result."""
    look_for(driver, query)
    driver.execute_script("delete document.body.dataset.flown; document.querySelector('#results button').click()")
    wait(driver, lambda d: d.execute_script("return document.body.dataset.flown") is not None)


def card(driver: webdriver.Chrome) -> str:
    """The name on the card that is seen; "" where none is."""
    popup = driver.find_element(By.ID, "popup")
    return text(driver, "name") if popup.is_displayed() else ""


def outside(driver: webdriver.Chrome) -> dict[str, int]:
    """How many results the page says lie beyond each side of the window."""
    found: list[tuple[str, str]] = driver.execute_script(
        "return [...document.querySelectorAll('#outside button')].filter((b) => !b.hidden)"
        ".map((b) => [b.title.match(/left|right|above|below/)[0], b.textContent])"
    )
    return {side: int(number.replace(",", "")) for side, number in found}


def press(driver: webdriver.Chrome, name: str) -> None:
    driver.find_element(By.ID, name).click()
