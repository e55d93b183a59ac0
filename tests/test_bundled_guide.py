"""The classifier of noisy glyphs that comes with the program, and what was measured of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from glyffctl.core.codecs.pixels import to_unit
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.radicals import labels
from glyffctl.core.data.split import held_out
from glyffctl.core.diffusion.classifier_guidance import NoisyClassifier
from glyffctl.core.evaluation.classifier import load_classifier, predict
from glyffctl.core.io.bundled import GUIDE_FILE, pretrained
from glyffctl.core.io.images import read_png
from glyffctl.core.models.checkpoint import load_model
from glyffctl.core.noise import Stream, normal
from glyffctl.figures.classifier_accuracy import FILE_NAME, NoisyAccuracy
from glyffctl.workflows.events import finish
from glyffctl.workflows.prepare import PrepareOptions, prepare
from tests.command_line import app


def test_it_is_small_and_in_16_bits() -> None:
    assert pretrained(GUIDE_FILE).stat().st_size < 3e6
    model = load_model(pretrained(GUIDE_FILE))
    assert model.network.classifies and model.stored == torch.float16


def test_what_was_measured_is_whole_and_falls_with_noise() -> None:
    plain = json.loads(pretrained(FILE_NAME).read_text(encoding="utf-8"))
    known = NoisyAccuracy.read()
    assert len(plain["noisy"]) == len(plain["clean"]) == len(known.sigma)
    assert known.sigma == sorted(known.sigma)
    noisy, clean = ([each.value for each in found] for found in (known.noisy, known.clean))
    assert noisy[-1] < 0.5 * noisy[0] and clean[-1] < 0.5 * clean[0]
    middle = known.sigma.index(4.0)
    assert noisy[middle] > 2 * clean[middle]


@pytest.mark.thorough
def test_the_measurement_is_found_again(noto_sans: Path, unihan: Path, tmp_path: Path) -> None:
    """On other glyphs of the same font that it did not learn from either."""
    data = tmp_path / "data"
    finish(prepare(PrepareOptions(fonts=(noto_sans,), definitions=unihan, ranges="4E00-5DFF", out=data)))
    glyphs = open_glyphs(data)
    known = labels(glyphs)
    index = (held_out(glyphs, 0.05) & (known > 0)).nonzero().flatten()[:96]
    x0 = to_unit(glyphs.images(index))
    eps = normal(7, index, tuple(x0.shape[1:]), Stream.EPS)
    classifier, measured = NoisyClassifier(load_model(pretrained(GUIDE_FILE)).network), NoisyAccuracy.read()
    for sigma in (0.2, 4.0, 40.0):
        with torch.no_grad():
            level = torch.full((len(index),), sigma, dtype=torch.float64)
            found = classifier.log_probabilities(x0 + sigma * eps, level).argmax(1) + 1
        share = float((found == known[index]).double().mean())
        assert share == pytest.approx(measured.noisy[measured.sigma.index(sigma)].value, abs=0.15)


@pytest.mark.thorough
def test_it_leads_the_bundled_model_to_a_radical(tmp_path: Path) -> None:
    """The judge of `evaluate`, which leads nobody, finds the radical more often than without a lead."""

    def found(*typed: str) -> int:
        out = tmp_path / "pictures"
        job = ["sample", *typed, "--count", "8", "--steps", "12", "--interval", "1", "100", "--out", str(out)]
        done = CliRunner().invoke(app, job)
        assert done.exit_code == 0, done.output
        pictures = [torch.from_numpy(np.array(read_png(file))) for file in sorted(out.glob("*.png"))]
        for file in out.glob("*.png"):
            file.unlink()
        return int((predict(load_classifier()[0], [torch.stack(pictures)]).radical == 75).sum())

    assert found("--radical", "木", "--classifier-scale", "10") > found("", "--guidance", "1") + 1
