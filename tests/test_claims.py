"""Each claim's number, on real glyphs where it is about glyphs; and verdicts both ways where they can go both ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from glyffctl.core.data.dataset import to_unit
from glyffctl.core.data.fonts import draw_glyphs, read_faces
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.diffusion.schedule import cosine, linear
from glyffctl.core.estimates import share
from glyffctl.core.theory import claims
from glyffctl.core.theory.information import Information, information
from glyffctl.core.theory.solvers import error, spectrum, thinned
from tests.toys import eps


def real(noto_sans: Path, count: int, size: int) -> Tensor:
    """(count, 1, size, size) in [−1, 1]: real glyphs, from all over the block."""
    face = read_faces(noto_sans)[2]
    codepoints = range(0x4E00, 0x4E00 + 37 * count, 37)
    drawn = [torch.from_numpy(p.copy()) for _, p in draw_glyphs(face, codepoints, size) if p is not None]
    return to_unit(torch.stack(drawn))[:, None]


@pytest.fixture(scope="module")
def glyphs(noto_sans: Path) -> Tensor:
    return real(noto_sans, 150, 128)


def test_counts() -> None:
    assert claims.glyph_count(21_230, "somewhere").verdict == "holds"
    assert claims.glyph_count(5_000, "somewhere").verdict == "does not hold"
    assert claims.samples_seen(20_509).verdict == "holds"
    assert "2.05 million" in claims.samples_seen(20_509).found
    assert claims.samples_seen(64).verdict == "does not hold"


def test_numbers_in_a_glyph(glyphs: Tensor) -> None:
    assert claims.numbers_in_a_glyph(glyphs[0, 0]).verdict == "holds"
    assert "16,384" in claims.numbers_in_a_glyph(glyphs[0, 0]).found
    assert claims.numbers_in_a_glyph(glyphs[0, 0, :32, :32]).verdict == "does not hold"


def test_the_reference_has_a_hundred_million_parameters() -> None:
    claim = claims.parameters()
    count = int(re.match(r"[\d,]+", claim.found)[0].replace(",", ""))  # type: ignore[index]
    assert 131_000_000 < count < 139_000_000
    assert claim.verdict == "does not hold" and "10⁸" in claim.correction


def test_a_trace_of_brightness_survives_linear_and_not_cosine(glyphs: Tensor) -> None:
    found = claims.pure_noise(glyphs, "linear", draws=600)
    assert found.verdict == "does not hold"
    shift = float(re.search(r"off by (−?[\d.]+)", found.found)[1])  # type: ignore[index]
    mean = float(glyphs.mean())
    assert shift == pytest.approx(linear().brightness_left(mean, 128), abs=4 / 600**0.5)
    assert claims.pure_noise(glyphs, "cosine", draws=600).verdict == "holds"


def test_grey_pictures_leave_no_trace() -> None:
    assert claims.pure_noise(torch.zeros(50, 1, 128, 128), "linear", draws=300).verdict == "holds"


def test_the_cosine_schedule_is_more_even_in_detail_and_less_in_identity(glyphs: Tensor) -> None:
    known = information(glyphs.double(), draws=64)
    claim = claims.evenness(known, spectrum(glyphs))
    assert claim.verdict == "holds with a correction" and "identity" in claim.correction
    line, cos = known.evenness(linear())[0], known.evenness(cosine())[0]
    assert cos.high < line.low  # not by chance


def test_where_both_agree_the_claim_simply_holds() -> None:
    """Pictures of one number: their identity is as fine a detail as there is."""
    points = torch.linspace(-1, 1, 64, dtype=torch.float64)[:, None]
    assert claims.evenness(information(points, draws=64), spectrum(points)).verdict == "holds"


def test_noise_and_score(glyphs: Tensor) -> None:
    claim = claims.score_factor(glyphs[:40, :, ::4, ::4])
    assert claim.verdict == "holds with a correction"
    assert "−100.0 at t = 1," in claim.found and "−1.00 at T" in claim.found


def test_one_jump() -> None:
    claim = claims.one_jump(draws=4000, until=60)
    assert claim.verdict == "holds"
    assert "4,000 draws" in claim.found


def test_shrinking() -> None:
    claim = claims.shrinking(draws=3000)
    assert claim.verdict == "holds with a correction"
    grown = float(re.search(r"and ([\d.]+) ±", claim.found)[1])  # type: ignore[index]
    assert grown == pytest.approx(1 + 1000 * (1e-4 + 0.02) / 2, rel=0.1)


def test_steps(glyphs: Tensor) -> None:
    variances = thinned(spectrum(glyphs[:, :, ::8, ::8]), 16)
    claim = claims.solvers(variances)
    assert claim.verdict == "holds with a correction" and "of ddpm; dpmpp-2m" in claim.correction
    mark = error("ddpm", variances, linear(), 120)
    for name in SAMPLERS:
        few = claims.fewest_steps(name, variances, linear(), mark)
        assert error(name, variances, linear(), few) <= mark * 1.000001
        assert few == 1 or error(name, variances, linear(), few - 1) > mark
        assert f"{name} {few}" in claim.found
    assert claims.fewest_steps("ddpm", variances, linear(), mark) == 120


def test_the_score_grows_where_the_density_vanishes() -> None:
    claim = claims.score_far_away(eps(60, 2, seed=1))
    assert claim.verdict == "does not hold"


def test_the_worked_examples_are_right_and_what_needs_a_model_says_so() -> None:
    assert claims.worked_examples().verdict == "holds" and "4 of 4" in claims.worked_examples().found
    others = list(claims.elsewhere())
    assert {claim.verdict for claim in others} == {"not measured here"}
    assert all("glyffctl" in claim.found for claim in others)


def test_claims_about_a_model_go_by_what_it_drew() -> None:
    all_of_them, some, none = share(64, 64), share(20, 64), share(1, 64)
    assert claims.one_step(all_of_them, all_of_them, none).verdict == "holds"
    assert claims.one_step(all_of_them, none, none).verdict == "holds with a correction"
    assert claims.one_step(some, some, some).verdict == "does not hold"
    assert "64 of 64 (94% to 100%)" in claims.one_step(all_of_them, none, none).found
    assert claims.gold(all_of_them).verdict == "holds"
    assert claims.gold(share(63, 64)).verdict == "does not hold"
    real = torch.linspace(0.1, 0.6, 500)
    assert claims.newness(torch.full((112,), 0.3), real).verdict == "holds"
    assert claims.newness(torch.full((20,), 0.3), real).verdict == "does not hold"  # too few to tell
    copied = torch.cat([torch.full((100,), 0.3), torch.zeros(12)])
    assert claims.newness(copied, real).verdict == "does not hold"
    assert claims.newness(copied, real).found.startswith("12 of 112 ")


def test_what_was_measured_is_not_said_to_be_missing() -> None:
    left = {claim.name: claim.found for claim in claims.elsewhere({"one step", "gold"})}
    assert set(left) == {"clusters", "new"} and "prepare" in left["new"]
    assert "--model" in {claim.name: claim.found for claim in claims.elsewhere()}["new"]


def test_a_claim_is_not_upheld_by_a_wide_interval() -> None:
    """Two draws cannot tell the schedules apart; then the claim about identity does not count as shown."""
    points = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    sigmas = torch.logspace(-2, 5, 160, dtype=torch.float64)
    random = torch.rand(160, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vague = Information(sigmas, random.sort(0, descending=True).values * 3, 3.0)
    assert claims.evenness(vague, spectrum(points)).verdict != "holds"
