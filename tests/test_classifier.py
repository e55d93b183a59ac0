"""The classifier: learns radicals from pictures, keeps what it knows in a small file, and knows real glyphs."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.radical_names import RADICALS
from glyffctl.core.data.radicals import labels
from glyffctl.core.errors import DataError, ModelError, OutputError
from glyffctl.core.evaluation.classifier import (
    FEATURES,
    SIZE,
    RadicalClassifier,
    load_classifier,
    predict,
    save_classifier,
    to_ink,
)
from glyffctl.core.evaluation.classifier_training import augment, train_classifier, training_split
from glyffctl.core.io.bundled import pretrained
from glyffctl.workflows.classifier import ClassifierOptions, check_predictions, make_classifier
from glyffctl.workflows.events import finish
from glyffctl.workflows.prepare import PrepareOptions, prepare
from tests.conftest import Workshop

CLEARLY_MORE = 0.5  # than a third, which is the share of the commonest radical here


@pytest.fixture(scope="module")
def clear(tmp_path_factory: pytest.TempPathFactory, noto_folder: Path, unihan: Path) -> Path:
    """Four radicals that look different: grass, insect, illness, fish; 752 characters in two fonts."""
    out = tmp_path_factory.mktemp("clear") / "data"
    ranges = "U+8279-83FF,U+866B-8747,U+7592-7678,U+9B5A-9C7B"
    fonts = tuple(noto_folder / f"Noto{style}CJK-Regular.ttc" for style in ("Sans", "Serif"))
    finish(prepare(PrepareOptions(fonts=fonts, definitions=unihan, size=64, ranges=ranges, out=out)))
    return out


@pytest.mark.slow
@pytest.mark.thorough
def test_it_learns_radicals_and_tells_them_in_characters_it_has_not_seen(clear: Path, tmp_path: Path):
    report = finish(make_classifier(ClassifierOptions(data=clear, out=tmp_path / "classifier.safetensors", passes=6)))
    glyphs = open_glyphs(clear, SIZE)
    _, held = training_split(glyphs)
    most = float(labels(glyphs)[held].bincount().max()) / len(held)  # always naming the commonest is this good
    assert most < CLEARLY_MORE < report.accuracy.low
    assert report.accuracy.count == len(held)
    assert list(report.accuracy_of) == ["Noto Sans CJK SC", "Noto Serif CJK SC"]

    classifier, header = load_classifier(report.out)
    # What the header says is what the file does.
    assert (
        float(check_predictions(classifier, glyphs, held).double().mean())
        == report.accuracy.value
        == header["accuracy"]
    )
    assert sum(count for _, count in header["held_out_of_radical"].values()) == len(held)
    assert header["glyphs"] == report.glyphs and header["seed"] == 0
    assert report.out.stat().st_size < 2.5e6


@pytest.mark.thorough
def test_the_same_seed_gives_the_same_classifier(clear: Path):
    glyphs = open_glyphs(clear, SIZE)

    def learn(seed: int) -> list[float]:
        torch.manual_seed(0)
        return [step.loss for step in train_classifier(RadicalClassifier(), glyphs, passes=0.2, seed=seed)]

    first = learn(1)
    assert learn(1) == first
    assert learn(2) != first


def test_every_glyph_is_shown_once_in_a_pass(clear: Path):
    from glyffctl.core.evaluation.classifier_training import _rows

    rows = torch.cat([_rows(3, step, 10, 30) for step in range(6)])
    assert rows[:30].sort().values.tolist() == rows[30:].sort().values.tolist() == list(range(30))
    assert rows[:30].tolist() != rows[30:].tolist()


def test_compatibility_copies_and_unknown_radicals_teach_nothing(clear: Path):
    from dataclasses import replace

    glyphs = open_glyphs(clear, SIZE)
    first, second, third, *rest = glyphs.characters
    changed = replace(
        glyphs,
        characters=[
            first._replace(character="\uf900"),
            second._replace(radical=None),
            third._replace(radical=999),
            *rest,
        ],
    )
    known = labels(changed) > 0
    assert (~known).sum() == sum(int((glyphs.character_of == i).sum()) for i in range(3))


def test_augmentation_keeps_glyphs_recognisable(clear: Path):
    """Ink stays ink: every picture changes, none beyond likeness to itself."""
    ink = to_ink(open_glyphs(clear, SIZE).images(torch.arange(0, 640, 10)))
    hurt = augment(ink, torch.Generator().manual_seed(0))
    assert hurt.shape == ink.shape and 0 <= float(hurt.min()) <= float(hurt.max()) <= 1

    def likeness(a: Tensor, b: Tensor) -> Tensor:
        """Correlation of each pair, after a blur: strokes are moved by pixels."""
        a, b = (F.avg_pool2d(x, 8).flatten(1) for x in (a, b))
        return torch.stack([torch.corrcoef(torch.stack([x, y]))[0, 1] for x, y in zip(a, b, strict=True)])

    own, others = likeness(ink, hurt), likeness(ink, hurt.roll(1, 0))
    assert float(own.max()) < 0.9999
    assert float(own.median()) > 0.7
    assert float((own > others).double().mean()) > 0.8


def test_predict_takes_any_size_and_any_batches():
    torch.manual_seed(0)
    classifier = RadicalClassifier()
    pictures = torch.randint(0, 256, (5, 128, 128), dtype=torch.uint8)
    whole, parts = predict(classifier, [pictures]), predict(classifier, [pictures[:2, None], pictures[2:]])
    assert whole.features.shape == (5, FEATURES) and bool((whole.features >= 0).all())
    assert torch.allclose(whole.features, parts.features, atol=1e-5)
    assert bool(((whole.radical >= 1) & (whole.radical <= RADICALS)).all())
    assert predict(classifier, []).radical.shape == (0,)


def test_to_ink_is_the_area_under_a_pixel():
    picture = torch.full((1, 128, 128), 255, dtype=torch.uint8)
    picture[:, :64] = 0
    ink = to_ink(picture)
    assert ink[0, 0, :30].min() == 1 and ink[0, 0, 34:].max() == 0
    assert torch.equal(to_ink(picture[:, ::2, ::2]), to_ink(picture[:, None, ::2, ::2]))


def test_a_file_that_is_not_a_classifier(tmp_path: Path, tiny_run: Path):
    with pytest.raises(ModelError, match="does not exist"):
        load_classifier(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="glyffctl-model"):
        load_classifier(tiny_run / "model.safetensors")
    path = tmp_path / "classifier.safetensors"
    save_classifier(path, RadicalClassifier(), {})
    broken = bytearray(path.read_bytes())
    broken[-100] ^= 1
    path.write_bytes(broken)
    with pytest.raises(ModelError, match="damaged"):
        load_classifier(path)


def test_nothing_to_learn_from(workshop: Workshop, tmp_path: Path):
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a"}\n', encoding="utf-8")
    from PIL import Image

    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="radical"):
        finish(make_classifier(ClassifierOptions(data=tmp_path, out=tmp_path / "classifier.safetensors")))
    with pytest.raises(OutputError):
        finish(
            make_classifier(ClassifierOptions(data=workshop.data, out=tmp_path / "a.png" / "classifier.safetensors"))
        )


# The classifier that comes with the program ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory, noto_folder: Path, unihan: Path) -> GlyphSet:
    """Some 12,000 defined unified ideographs in Noto Sans."""
    out = tmp_path_factory.mktemp("common") / "data"
    fonts = (noto_folder / "NotoSansCJK-Regular.ttc",)
    finish(prepare(PrepareOptions(fonts=fonts, definitions=unihan, ranges="U+4E00-8FFF", size=64, out=out)))
    return open_glyphs(out)


@pytest.mark.thorough
def test_the_bundled_classifier_knows_held_out_glyphs(common: GlyphSet):
    classifier, header = load_classifier()
    _, held = training_split(common)
    assert len(held) > 500
    assert float(check_predictions(classifier, common, held).double().mean()) >= 0.9
    assert header["accuracy"] >= 0.9 and len(header["fonts"]) >= 4
    assert pretrained("classifier.safetensors").stat().st_size < 2.5e6


@pytest.mark.thorough
def test_the_bundled_classifier_is_not_thrown_off_by_soft_strokes(common: GlyphSet):
    classifier, _ = load_classifier()
    _, held = training_split(common)
    held = held[::3].clone()
    ink = augment(to_ink(common.images(held)), torch.Generator().manual_seed(1))
    found = predict(classifier, [((1 - ink[:, 0]) * 255).round().to(torch.uint8)]).radical
    assert float((found == labels(common)[held]).double().mean()) >= 0.85
