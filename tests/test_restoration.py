"""`evaluate` of a codec and of an upscaler: how held-out glyphs come back."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console
from torch.nn import functional as F

from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.split import held_out
from glyffctl.core.errors import DataError, GlyffError, UsageError
from glyffctl.core.evaluation.reconstruction import reconstruction_rows, squared_error, wrong_side
from glyffctl.core.models.codec_file import load_codec
from glyffctl.display.restoration_table import show_restoration
from glyffctl.workflows.events import finish
from glyffctl.workflows.prepare import PrepareOptions, prepare
from glyffctl.workflows.restoration import RestorationOptions, restoration, restores
from tests.command_line import app
from tests.conftest import cautions, crashed, follow
from tests.stages import make_codec, make_upscaler


@pytest.fixture(scope="module")
def large_data(noto_face: Path, unihan: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("large") / "data"
    finish(prepare(PrepareOptions(fonts=(noto_face,), definitions=unihan, size=128, ranges="U+9491-94D0", out=out)))
    return out


@pytest.fixture(scope="module")
def upscaler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_upscaler(tmp_path_factory.mktemp("upscaler"))


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("codec")
    make_codec(folder)
    return folder


def test_what_is_there_is_right_and_what_is_shifted_is_wrong() -> None:
    real = torch.full((2, 64, 64), 255, dtype=torch.uint8)
    real[:, 16:48, 16:48] = 0
    shifted = real.roll(1, 2)
    assert wrong_side(shifted, real).tolist() == [2 * 32 / 64**2] * 2
    torch.testing.assert_close(squared_error(shifted, real), torch.full((2,), 4 * 2 * 32 / 64**2))
    soft = F.avg_pool2d(real.float(), 5, stride=1, padding=2, count_include_pad=False).round().to(torch.uint8)
    rows = {row.name: row.of for row in reconstruction_rows({"same": real, "soft": soft}, real)}
    for name in ("wrong side of grey", "squared error", "wrong at corners"):
        assert rows[name]["same"].value == 0 and rows[name].keys() == {"same", "soft"}
    for name in ("grey pixels", "grey along an edge"):
        assert rows[name]["soft"].value > rows[name]["real"].value == 0
    assert rows["stroke width"]["real"].value == rows["stroke width"]["same"].value > 10


def test_an_upscaler_stands_beside_interpolation_and_real_glyphs(
    upscaler: Path, large_data: Path, tmp_path: Path
) -> None:
    """What enlarges nearly as interpolation does has nearly its figures; real edges are sharper than both."""
    report = finish(restoration(RestorationOptions(model=upscaler, data=large_data, out=tmp_path / "x.json")))
    rows = {row.name: row.of for row in report.figures}
    assert rows["grey along an edge"].keys() == {"upscaler", "bicubic", "real"}
    soft = rows["grey along an edge"]
    assert soft["real"].value < 0.7 * soft["bicubic"].value
    held = int(held_out(open_glyphs(large_data), 0.05).sum())
    assert report.data["held_out"] == held > 1 and soft["real"].count == held
    written = json.loads((tmp_path / "x.json").read_text(encoding="utf-8"))
    assert written["model"]["kind"] == "upscaler" and written["model"]["recipe"]["steps"] == 3
    assert {row["name"]: row["of"]["upscaler"]["value"] for row in written["figures"]} == {
        name: of["upscaler"].value for name, of in rows.items()
    }
    again = finish(restoration(RestorationOptions(model=upscaler, data=large_data, out=tmp_path / "y.json", seed=0)))
    assert again.figures == report.figures


def test_a_codec_is_measured_by_what_comes_back(codec: Path, map_data: Path, tmp_path: Path) -> None:
    options = RestorationOptions(model=codec, data=map_data, out=tmp_path / "x.json", pictures=20)
    events, report = follow(restoration(options))
    assert cautions(events) == ["training-data-unknown"]
    rows = {row.name: row.of for row in report.figures}
    glyphs = open_glyphs(map_data)
    held = held_out(glyphs, 0.05).nonzero().flatten()
    assert len(held) <= 20, "all of them are measured"
    real = glyphs.images(held)[:, 0]
    learned = load_codec(codec)
    again = learned.decode(learned.encode(real))
    assert rows["wrong side of grey"]["codec"].value == pytest.approx(float(wrong_side(again, real).double().mean()))
    assert rows["stroke width"].keys() == {"codec", "real"}


def test_a_name_that_is_no_utf8(codec: Path, map_data: Path, tmp_path: Path) -> None:
    """What safetensors cannot open is refused; where the figures go may be called anything."""
    out = tmp_path / os.fsdecode(b"\xff\xfe.json")
    report = finish(restoration(RestorationOptions(model=codec, data=map_data, out=out, pictures=2)))
    assert json.loads(report.out.read_text(encoding="utf-8"))["out"] == f"{tmp_path}/??.json"


def test_the_table_fits_into_80_columns(upscaler: Path, large_data: Path, tmp_path: Path) -> None:
    report = finish(restoration(RestorationOptions(model=upscaler, data=large_data, out=tmp_path / "x.json")))
    console = Console(width=80, record=True, highlight=False)
    show_restoration(report, console)
    lines = console.export_text().splitlines()
    assert all(f"{name} " in " ".join(lines) for name in ("upscaler", "bicubic", "real"))
    words = " ".join(lines).split()
    for row in report.figures:
        assert set(row.name.split()) <= set(words) and set(f"{row.note}.".split()) <= set(words), "nothing is cut off"


def test_from_the_command_line(upscaler: Path, codec: Path, large_data: Path, map_data: Path, tmp_path: Path) -> None:
    def evaluate(*typed: object) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["evaluate", *map(str, typed), "--out", str(tmp_path / "x.json")])
        assert not crashed(done.output)
        return done.exit_code, " ".join(done.output.split())

    code, told = evaluate("--model", codec, "--data", map_data)
    assert code == 0 and "wrong side of grey" in told and str(tmp_path / "x.json") in told
    code, told = evaluate("--model", upscaler / "model.safetensors", "--data", large_data, "--json")
    assert code == 0 and '"bicubic"' in told
    for typed, words in (
        (("--model", codec, "--data", map_data, "--seed", 1), "takes no --seed; leave it out"),
        (("--model", upscaler, "--data", large_data, "--steps", 5, "--count", 2), "no --steps; leave them out"),
        (("--model", upscaler, "--data", map_data), "--size 128"),
    ):
        code, told = evaluate(*typed)
        assert code != 0 and words in told, told


def test_what_cannot_be_measured_is_one_line(upscaler: Path, codec: Path, map_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="json"):
        finish(restoration(RestorationOptions(model=codec, data=map_data, out=tmp_path / "x.txt")))
    with pytest.raises(UsageError, match="pictures"):
        RestorationOptions(model=codec, pictures=0)
    with pytest.raises(DataError, match="prepare"):
        finish(restoration(RestorationOptions(model=upscaler, data=tmp_path / "nowhere", out=tmp_path / "x.json")))
    broken = tmp_path / "codec.safetensors"
    broken.write_bytes((codec / "codec.safetensors").read_bytes()[:1000])
    assert restores(broken) and restores(upscaler) and not restores(map_data) and not restores(None)
    with pytest.raises(GlyffError) as caught:
        finish(restoration(RestorationOptions(model=broken, data=map_data, out=tmp_path / "x.json")))
    assert "\n" not in str(caught.value)
