"""What comes with the program: that it is whole, small, opens by our own code, and knows what words mean."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F

from glyffctl.core.codecs.pixels import to_pixels, to_unit
from glyffctl.core.evaluation.classifier import load_classifier, predict
from glyffctl.core.evaluation.edges import measure_edges
from glyffctl.core.io.bundled import BUNDLED, UPSCALER_FILE, pretrained
from glyffctl.core.io.picture import read_picture
from glyffctl.core.models.checkpoint import MODEL_FILE, load_model
from glyffctl.core.models.config import as_dict, parse, read_preset
from glyffctl.core.models.upscaler import Upscaler, enlarge_smoothly, reduced
from glyffctl.core.text.encoder import TextEncoder
from glyffctl.core.text.loading import load_encoder
from glyffctl.workflows.events import finish


def weight(path: Path) -> int:
    """Bytes of a file or of all files in a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return load_encoder(BUNDLED)


def test_it_is_small() -> None:
    assert weight(pretrained("encoder")) <= 12e6
    assert weight(pretrained("encoder")) + weight(pretrained(MODEL_FILE)) <= 40e6
    assert weight(pretrained(UPSCALER_FILE)) <= 6e6
    assert weight(pretrained(MODEL_FILE).parent) <= 60e6


def test_to_load_a_model_draws_no_random_numbers() -> None:
    """A script that sets torch's seed gets the same numbers whether it loads a model or not."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for file in (MODEL_FILE, UPSCALER_FILE):
        load_model(pretrained(file))
    load_classifier()
    assert torch.equal(torch.get_rng_state(), before)


def test_the_encoder_is_a_t5_encoder_and_keeps_its_name_everywhere(
    encoder: TextEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    config = transformers.AutoConfig.from_pretrained(pretrained("encoder"))
    assert config.architectures == ["T5EncoderModel"]
    monkeypatch.chdir(tmp_path)
    Path(BUNDLED).mkdir()  # a folder that happens to have its name is not it
    again = load_encoder(BUNDLED)
    assert (again.name, again.fingerprint, again.width) == (BUNDLED, encoder.fingerprint, encoder.width)


@pytest.mark.parametrize(
    ("word", "near", "far"),
    [
        ("lithium", "a metallic element", "to weep"),
        ("gold", "silver", "a kind of fish"),
        ("sparrow", "a small bird", "a metal tool"),
        ("to weep", "to cry, to shed tears", "iron ore"),
        ("Thunderstorm", "heavy rain", "cloth, silk"),
        ("robot", "machine", "grass"),
    ],
)
def test_the_encoder_knows_english(encoder: TextEncoder, word: str, near: str, far: str) -> None:
    batch = encoder.encode([word, near, far])
    mean = (batch.tokens * batch.mask[..., None]).sum(1) / batch.mask.sum(1, keepdim=True)
    to_near, to_far = F.cosine_similarity(mean[:1], mean[1:])
    assert to_near > to_far + 0.1


def test_the_model_is_one_that_train_made_with_the_preset_and_reads_our_encoder(encoder: TextEncoder) -> None:
    model = load_model(pretrained(MODEL_FILE))
    trained = model.origin.encoder
    assert (trained.name, trained.fingerprint) == (BUNDLED, encoder.fingerprint)
    settings, preset = as_dict(model.origin.config), as_dict(parse(read_preset("gpu")))
    data_decides = {"size": 128, "text_width": encoder.width}
    assert settings["network"] == preset["network"] | data_decides
    assert settings["diffusion"] == preset["diffusion"]
    had, has = settings["training"], preset["training"]
    assert {name for name in has if had[name] != has[name]} <= {"epochs", "minutes", "compile"}
    assert model.images > 1_000_000 and model.epochs == pytest.approx(72, abs=1)
    assert all(bool(p.isfinite().all()) for p in model.network.parameters())
    assert torch.get_default_dtype() == next(model.network.parameters()).dtype


@pytest.mark.thorough
def test_the_upscaler_draws_edges_as_crisp_as_the_font(noto_sans: Path) -> None:
    """Characters that were held out of its training or not: on 64 held-out ones its error is 1/30 of bicubic's."""
    font = ImageFont.truetype(noto_sans, 440)
    pages = []
    for character in "永龍體鬱":
        page = Image.new("L", (512, 512), 255)
        ImageDraw.Draw(page).text((256, 256), character, fill=0, font=font, anchor="mm")
        pages.append(torch.from_numpy(np.array(page)))
    real = torch.stack(pages)
    small = reduced(to_unit(real)[:, None], 4)
    upscaler = Upscaler.of(load_model(pretrained(UPSCALER_FILE)), torch.device("cpu"), 2, "fp32")
    drawn = finish(upscaler.enlarge(to_pixels(small)[:, 0], torch.arange(4), 512))
    smooth = to_pixels(enlarge_smoothly(small, 4))[:, 0]
    error, before = ((to_unit(each) - to_unit(real)).square().mean() for each in (drawn, smooth))
    assert float(error) < float(before) / 8
    edges, true = measure_edges(drawn, real), measure_edges(real, real)
    assert float(edges.grey.mean()) < 1.5 * float(true.grey.mean())
    assert float(edges.width.mean()) == pytest.approx(float(true.width.mean()), rel=0.01)


@pytest.mark.thorough
def test_one_line_in_an_empty_folder_draws_what_was_asked(tmp_path: Path) -> None:
    """The README's line, by a user without network or settings: each glyph has its radical (measured: 16 of the 16)."""
    prompts = {"gold": [167], "lithium": [167], "a kind of fish": [195], "to speak": [149, 30]}
    command = [
        sys.executable,
        "-m",
        "glyffctl",
        "sample",
        *prompts,
        "--count",
        "4",
        "--steps",
        "12",
        "--out",
        "pictures",
    ]
    away = {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(command, cwd=tmp_path, env=away, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0 and "came with the program" in done.stderr, done.stderr
    files = sorted((tmp_path / "pictures").iterdir())
    assert len(files) == 16
    classifier, _ = load_classifier()
    pictures = torch.stack([torch.from_numpy(read_picture(file, 128)) for file in files])
    found = predict(classifier, [pictures]).radical.reshape(4, 4)
    right = sum(
        radical in answers for row, answers in zip(found.tolist(), prompts.values(), strict=True) for radical in row
    )
    assert right >= 15, found.tolist()
