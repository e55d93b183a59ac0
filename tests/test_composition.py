"""Parts of glyphs: their sequences, and prediction them in pictures."""

from pathlib import Path

import pytest
import torch

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.evaluation.classifier import load_classifier
from glyffctl.core.evaluation.composition import (
    Discriminant,
    Parts,
    PartsClassifier,
    PartsPrediction,
    accepted_parts,
    count_partly_accepted,
    find_thresholds,
    parts_of,
    train_parts_classifier,
)
from glyffctl.workflows.events import finish
from glyffctl.workflows.prepare import PrepareOptions, prepare


@pytest.mark.parametrize(
    ("sequence", "parts"),
    [
        ("⿰讠兑", ("⿰", "讠", "兑")),
        ("⿱⿰木木示[GTJ]", ("⿱", "⿰木木", "示")),
        ("⿰氵⿳亠口冖", ("⿰", "氵", "⿳亠口冖")),
        ("⿰⿲一丨一口[G]", ("⿰", "⿲一丨一", "口")),
        ("⿰𠂤阝", ("⿰", "𠂤", "阝")),
        ("⿴囗玉", None),
        ("金", None),
        ("", None),
        ("⿰", None),
        ("⿰氵", None),
        ("⿰氵⿳亠口", None),
        ("⿰氵口口", None),
    ],
)
def test_the_outermost_arrangement(sequence: str, parts: tuple[str, str, str] | None) -> None:
    assert parts_of(sequence) == (Parts(*parts) if parts else None)


def test_a_discriminant_finds_the_nearest_mean_in_the_metric_of_the_scatter() -> None:
    random = torch.Generator().manual_seed(0)
    scale = torch.tensor([1.0, 20.0])
    means = torch.tensor([[0.0, 0.0], [6.0, 0.0]])
    number = torch.arange(2).repeat(500)
    views = means[number] + torch.randn(1000, 2, generator=random) * scale
    sums = torch.zeros(2, 2).index_add_(0, number, views)
    found = Discriminant.from_sums(["a", "b"], sums, torch.tensor([500.0, 500.0]), views.T @ views)
    names, sure = found.predict(torch.tensor([[0.0, 0.0], [6.0, 0.0], [3.0, 0.0], [1.0, 40.0]]))
    assert names[:2] == ["a", "b"] and names[3] == "a"
    assert sure[2] < 0.2 < sure[3] < sure[0]


def test_the_limit_keeps_its_precision() -> None:
    parts = [Parts("⿰", "a", str(i)) for i in range(40)]
    less = torch.linspace(1, 0.01, 40)
    sure = torch.stack([torch.full((40,), 2.0), less], 1)
    truth: list[Parts | None] = [*parts[:30], *[Parts("⿰", "a", "?")] * 10]
    found = find_thresholds(PartsPrediction([*parts], sure), truth)
    # 30 right ones and one wrong one are 96.8 %, two wrong ones 93.8 %.
    assert found.both == {"⿰": pytest.approx(float(less[30]))}
    assert found.each == {("⿰", 0): 2.0, ("⿰", 1): found.both["⿰"]}
    assert len(accepted_parts(PartsPrediction([*parts], sure), found)) == 31
    assert count_partly_accepted(PartsPrediction([*parts], sure), found) == 40
    assert count_partly_accepted(PartsPrediction([*parts], sure - 1), found) == 0
    nothing = PartsPrediction([None, Parts("⿱", "a", "b")], torch.tensor([[-1.0, -1.0], [9.0, 9.0]]))
    assert accepted_parts(nothing, found) == [] and count_partly_accepted(nothing, found) == 0
    # A few that happen to be right are no proof.
    assert find_thresholds(PartsPrediction([*parts[:9]], sure[:9]), truth[:9]) == ({}, {})
    assert find_thresholds(PartsPrediction([*parts], sure), [None] * 40) == ({}, {})
    assert find_thresholds(PartsPrediction([*parts], sure), [Parts("⿱", "a", str(i)) for i in range(40)]) == ({}, {})
    assert find_thresholds(PartsPrediction([], torch.empty(0, 2)), []) == ({}, {})


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory, noto_face: Path, unihan: Path) -> GlyphSet:
    """Characters of a left and a right part, four with each, and some of upper and lower parts, at 64×64."""
    out = tmp_path_factory.mktemp("pairs") / "data"
    ranges = ",".join(f"U+{ord(c):X}" for c in "".join(TABLE))
    finish(prepare(PrepareOptions(fonts=(noto_face,), definitions=unihan, size=64, ranges=ranges, out=out)))
    return open_glyphs(out)


_COLUMNS = {"氵": "沽沐河洋汗泡汲沙", "扌": "括拈捉扛抓拘抱技", "木": "枯林柯样杆枸极杉", "女": "姑妹奴娥好如妈姐"}
_ROWS = {"艹": "苦芒芳芹花芽茶草", "宀": "安宋完守字官定宝", "⺮": "笑竹等答策算筆笛"}
TABLE = {
    character: Parts(operator, part, f"{character}")
    for operator, table in (("⿰", _COLUMNS), ("⿱", _ROWS))
    for part, characters in table.items()
    for character in characters
}


@pytest.mark.thorough
def test_the_left_part_of_glyphs_that_were_not_learned_from(pairs: GlyphSet) -> None:
    """Right and lower parts are too rare here to be learned, so each is given one of two names."""
    classifier, _ = load_classifier(None)
    character = [pairs.characters[i].character for i in pairs.character_of.tolist()]
    truth = [Parts(TABLE[c].operator, TABLE[c].first, "x" if i % 2 else "y") for i, c in enumerate(character)]
    index = torch.arange(len(pairs))
    out = index % 4 == 0
    training = train_parts_classifier(classifier, pairs, index[~out], [truth[i] for i in index[~out].tolist()])
    # Nothing is neither ⿰ nor ⿱ here, so arrangements cannot be learned. With one of another kind they can.
    assert finish(training) is None
    some: list[Parts | None] = [None if i % 5 == 0 else truth[i] for i in index[~out].tolist()]
    parts_classifier = finish(train_parts_classifier(classifier, pairs, index[~out], some))
    assert isinstance(parts_classifier, PartsClassifier)
    prediction = parts_classifier.predict(pairs.images(index[out]))
    right = [
        parts is not None and parts[:2] == truth[i][:2]
        for parts, i in zip(prediction.parts, index[out].tolist(), strict=True)
        if parts is not None
    ]
    assert len(right) >= 6 and sum(right) / len(right) > 0.8
    assert (
        (prediction.confidence >= 0).all(1) == torch.tensor([parts is not None for parts in prediction.parts])
    ).all()
