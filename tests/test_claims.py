"""The numbers of each claim, on real glyphs where it is about glyphs; and both verdicts where both are possible."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from glyffctl.core.codecs.pixels import to_unit
from glyffctl.core.data.fonts import draw_glyphs, read_faces
from glyffctl.core.diffusion.schedule import SCHEDULES, cosine, linear
from glyffctl.core.estimates import share
from glyffctl.core.theory import claims
from glyffctl.core.theory.information import Information, information
from glyffctl.core.theory.sampler_error import COMPARED, fewest_steps, spectrum, thin_spectrum, wasserstein_error
from glyffctl.figures.claim_text import claim_text
from glyffctl.workflows.prepare import PrepareOptions
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
    assert claims.glyph_count(21_230).verdict == "holds"
    assert claims.glyph_count(5_000).verdict == "does not hold"
    assert claims.pictures_seen(20_509).verdict == "holds"
    assert claims.pictures_seen(20_509).numbers["pictures"] == 2_050_900
    assert claims.pictures_seen(64).verdict == "does not hold"


def test_a_grey_glyph_of_the_default_size_is_16384_numbers(glyphs: Tensor) -> None:
    assert glyphs.shape[-1] == PrepareOptions().size
    assert glyphs[0].numel() == 16_384


def test_the_reference_has_a_hundred_million_parameters() -> None:
    claim = claims.parameters()
    assert 131_000_000 < claim.numbers["reference"] < 139_000_000
    assert claim.verdict == "does not hold" and claim.numbers["order"] == 8
    assert claim.numbers["cpu"] < claim.numbers["reference"]


def test_a_trace_of_brightness_survives_linear_and_not_cosine(glyphs: Tensor) -> None:
    found = claims.pure_noise(glyphs, "linear", draws=600)
    assert found.verdict == "does not hold" and found.numbers["draws"] == 600
    mean, shift = float(glyphs.mean()), found.estimates["brightness"]
    assert shift.value == pytest.approx(linear().brightness_left(mean, 128), abs=4 / 600**0.5)
    assert found.numbers["z"] == pytest.approx(shift.value * 600**0.5)
    assert claims.pure_noise(glyphs, "cosine", draws=600).verdict == "holds"


def test_grey_pictures_leave_no_trace() -> None:
    assert claims.pure_noise(torch.zeros(50, 1, 128, 128), "linear", draws=300).verdict == "holds"


def test_the_cosine_schedule_is_more_even_in_detail_and_less_in_identity(glyphs: Tensor) -> None:
    known = information(glyphs.double(), draws=64)
    claim = claims.evenness(known, spectrum(glyphs))
    assert claim.verdict == "holds with a correction"
    assert claim.numbers["glyphs"] == pytest.approx(len(glyphs))
    assert claim.numbers["detail, cosine"] > claim.numbers["detail, linear"]
    line, cos = known.evenness(linear())[0], known.evenness(cosine())[0]
    assert (claim.estimates["identity, linear"], claim.estimates["identity, cosine"]) == (line, cos)
    assert cos.high < line.low  # not by chance
    assert "identity" in claim_text(claim).correction


def test_where_both_agree_the_claim_simply_holds() -> None:
    """Pictures of one number: their identity is as fine a detail as there is."""
    points = torch.linspace(-1, 1, 64, dtype=torch.float64)[:, None]
    assert claims.evenness(information(points, draws=64), spectrum(points)).verdict == "holds"


def test_noise_and_score(glyphs: Tensor) -> None:
    claim = claims.score_factor(glyphs[:40, :, ::4, ::4])
    assert claim.verdict == "holds with a correction"
    alpha_bar = linear().alpha_bar()
    for t in claims.FACTOR_TIMES:
        assert claim.numbers[f"factor, t = {t}"] == pytest.approx(-float((1 - alpha_bar[t - 1]) ** -0.5))


def test_one_jump() -> None:
    claim = claims.one_jump(draws=4000, until=60)
    assert claim.verdict == "holds"
    for name in ("mean", "variance"):
        figure = claim.estimates[name]
        # The interval is ±1.96 standard errors: the expected value is within 4 of them.
        assert figure.count == 4000
        assert abs(figure.value - claim.numbers[f"expected {name}"]) < 2 * (figure.high - figure.low) / 1.96


def test_shrinking() -> None:
    claim = claims.shrinking(draws=3000)
    assert claim.verdict == "holds with a correction"
    assert claim.estimates["with the factor"].value == pytest.approx(1, rel=0.1)
    assert claim.estimates["without"].value == pytest.approx(1 + 1000 * (1e-4 + 0.02) / 2, rel=0.1)


def test_steps(glyphs: Tensor) -> None:
    variances = thin_spectrum(spectrum(glyphs[:, :, ::8, ::8]), 16)
    claim = claims.few_steps(variances)
    assert claim.verdict == "holds with a correction"
    threshold = wasserstein_error("ddpm", variances, linear(), 120)
    assert claim.numbers["ddpm with many steps"] == threshold
    for name in COMPARED:
        few = fewest_steps(name, variances, linear(), threshold)
        assert wasserstein_error(name, variances, linear(), few) <= threshold * 1.000001
        assert few == 1 or wasserstein_error(name, variances, linear(), few - 1) > threshold
        assert claim.numbers[f"steps, {name}"] == few
        assert claim.numbers[f"passes, {name}"] == (2 * few - 1 if name in ("heun", "dpmpp-sde") else few)
        assert claim.numbers[f"error, {name}"] == wasserstein_error(name, variances, linear(), 5)
    assert fewest_steps("ddpm", variances, linear(), threshold) == 120
    assert min(COMPARED, key=lambda name: claim.numbers[f"passes, {name}"]) == "dpmpp-2m"


def test_the_score_grows_where_the_density_vanishes() -> None:
    claim = claims.score_far_away(eps(60, 2, seed=1))
    assert claim.verdict == "does not hold"
    assert claim.numbers["score, 5"] < claim.numbers["score, 10"] < claim.numbers["score, 20"]
    assert claim.numbers["log density, 5"] > claim.numbers["log density, 10"] > claim.numbers["log density, 20"]


def test_claims_about_a_model_depend_on_what_it_drew() -> None:
    all_of_them, some, none = share(64, 64), share(20, 64), share(1, 64)
    assert claims.one_step(all_of_them, all_of_them, none).verdict == "holds"
    assert claims.one_step(all_of_them, none, none).verdict == "holds with a correction"
    assert claims.one_step(some, some, some).verdict == "does not hold"
    assert claims.one_step(all_of_them, none, none).estimates["from T"] == all_of_them
    assert claims.gold(all_of_them).verdict == "holds"
    assert claims.gold(share(63, 64)).verdict == "does not hold"
    real = torch.linspace(0.1, 0.6, 500)
    assert claims.novelty(torch.full((112,), 0.3), real).verdict == "holds"
    assert claims.novelty(torch.full((20,), 0.3), real).verdict == "does not hold"  # too few to decide
    copied = torch.cat([torch.full((100,), 0.3), torch.zeros(12)])
    assert claims.novelty(copied, real).verdict == "does not hold"
    assert claims.novelty(copied, real).estimates["copies"] == share(12, 112)


def test_every_claim_has_words_with_its_numbers(glyphs: Tensor) -> None:
    none, every = share(1, 64), share(64, 64)
    points = torch.linspace(-1, 1, 64, dtype=torch.float64)[:, None]
    measured = [
        claims.glyph_count(5_000),
        claims.pictures_seen(64),
        claims.parameters(),
        *(claims.pure_noise(glyphs[:50], name, draws=50) for name in SCHEDULES),
        claims.evenness(information(points, draws=16), spectrum(points)),
        claims.score_factor(glyphs[:20, :, ::8, ::8]),
        claims.score_far_away(eps(60, 2, seed=1)),
        claims.one_jump(draws=500, until=20),
        claims.shrinking(draws=200),
        claims.few_steps(thin_spectrum(spectrum(glyphs[:20, :, ::8, ::8]), 4)),
        claims.one_step(every, none, none),
        claims.gold(none),
        claims.novelty(torch.full((20,), 0.05), torch.linspace(0.1, 0.6, 500)),
    ]
    for claim in measured:
        text = claim_text(claim, "somewhere")
        assert text.says and re.search(r"\d", text.found) and "nan" not in text.found
        assert bool(text.correction) == (claim.verdict != "holds"), claim.name
    assert "5,000 somewhere" in claim_text(measured[0], "somewhere").found
    assert "64 of 64 (94–100 %)" in claim_text(claims.one_step(every, none, none)).found


def test_a_claim_is_not_upheld_by_a_wide_interval() -> None:
    """Two draws cannot tell the schedules apart; then the claim about identity does not count as shown."""
    points = torch.linspace(-1, 1, 8, dtype=torch.float64)[:, None]
    sigmas = torch.logspace(-2, 5, 160, dtype=torch.float64)
    random = torch.rand(160, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vague = Information(sigmas, random.sort(0, descending=True).values * 3, 3.0)
    assert claims.evenness(vague, spectrum(points)).verdict != "holds"
