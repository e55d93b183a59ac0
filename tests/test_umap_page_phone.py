"""The page of the map on a phone: taps, fingers, a folded legend."""

import time
from pathlib import Path

import pytest
from selenium import webdriver

from glyffctl.workflows.umap import UmapReport
from tests.browsing import card, fly, outside, touch, visit, wait

pytestmark = pytest.mark.browser


def test_a_tap_shows_the_card_until_the_next_tap_elsewhere(
    mapped: tuple[UmapReport, Path], phone: webdriver.Chrome
) -> None:
    visit(phone, mapped[1] / "umap.html")
    fly(phone, "锂")
    wait(phone, lambda d: card(d) == "锂")
    phone.execute_script("document.getElementById('clear').click()")
    wait(phone, lambda d: card(d) == "")
    middle = (195, 422)
    touch(phone, [middle])
    wait(phone, lambda d: card(d) == "锂")
    time.sleep(1)  # it does not go by itself,
    assert card(phone) == "锂"
    touch(phone, [(200, 700)], [(203, 702)], [(140, 690)], [(110, 700)])  # nor while the map is dragged,
    wait(phone, lambda d: card(d) == "锂")
    touch(phone, [(105, 422)])  # with which the glyph has gone, 90 pixels to the left,
    wait(phone, lambda d: card(d) == "锂")
    touch(phone, [(85, 422), (125, 422)], [(75, 422), (135, 422)], [(65, 422), (145, 422)])  # nor while one zooms in
    wait(phone, lambda d: card(d) == "锂")
    touch(phone, [(5, 422), (205, 422)], [(60, 422), (150, 422)], [(98, 422), (112, 422)])  # and far out.
    wait(phone, lambda d: card(d) == "锂")
    touch(phone, [(60, 780)])  # Beside the map,
    wait(phone, lambda d: card(d) == "")
    fly(phone, "锂")
    wait(phone, lambda d: card(d) == "锂")
    touch(phone, [(380, 20)])  # or on a panel, it goes.
    wait(phone, lambda d: card(d) == "")
    assert phone.get_log("browser") == []


def test_fingers_move_and_zoom_the_map(mapped: tuple[UmapReport, Path], phone: webdriver.Chrome) -> None:
    visit(phone, mapped[1] / "umap.html")
    fly(phone, "锂")
    touch(phone, [(195, 600)], [(150, 600)], [(115, 600)])
    wait(phone, lambda d: outside(d) == {})
    touch(phone, [(195, 600)], [(100, 600)], [(15, 600)])
    touch(phone, [(195, 600)], [(100, 600)], [(15, 600)])  # 440 pixels in all: it was 195 from the side
    wait(phone, lambda d: outside(d) == {"left": 1})
    touch(phone, [(105, 600), (285, 600)], [(150, 600), (240, 600)], [(185, 600), (205, 600)])  # to a ninth
    wait(phone, lambda d: outside(d) == {})
    assert phone.get_log("browser") == []
