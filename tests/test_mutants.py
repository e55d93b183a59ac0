"""Hostile files are told, not believed: thousands of damaged ones through the real commands.

Each mutant is one file of a good set, damaged in one way by dice of its own: the name of a mutant that fails is all
that is needed to make it again. The machinery holds the promise; the files are below it.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from glyffctl.core.data.embeddings import FILE_NAME
from glyffctl.core.io.bundled import pretrained
from glyffctl.workflows.embed import EmbedOptions, embed
from glyffctl.workflows.events import finish
from glyffctl.workflows.prepare import PrepareOptions, prepare
from glyffctl.workflows.train import TrainOptions, train
from tests.command_line import app
from tests.conftest import Workshop
from tests.damage import BYTES, FORGED, PLACES, TENSORS, TEXT, Damage, Dice, inside
from tests.mutants import SEED, Victim, _remove, hold

pytestmark = pytest.mark.hostile

# The files ------------------------------------------------------------------------------------------------------------

MANY = 500


def counts(few: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("count", [few, pytest.param(MANY, marks=pytest.mark.slow)])


FIRST, LAST = 0x4E00, 0x4E20


@pytest.fixture(scope="module")
def font(tmp_path_factory: pytest.TempPathFactory, noto_sans: Path) -> Path:
    """A few glyphs cut out of Noto Sans."""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    path = tmp_path_factory.mktemp("fonts") / "few.otf"
    with TTFont(noto_sans, fontNumber=2) as whole:
        subsetter = Subsetter(Options(notdef_outline=True))
        subsetter.populate(unicodes=range(FIRST, LAST))
        subsetter.subset(whole)
        whole.save(path)
    return path


def _zipped(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return held.getvalue()


@counts(20)
@pytest.mark.usefixtures("font_workers_once")
def test_definitions(tmp_path: Path, font: Path, unihan: Path, count: int) -> None:
    def excerpt(path: Path, properties: str) -> bytes:
        lines = bz2.decompress(path.read_bytes()).decode().splitlines(keepends=True)
        kept = [
            line for line in lines
            if (match := re.match(rf"U\+(\w+)\t({properties})\t", line)) and FIRST <= int(match[1], 16) < LAST
        ]  # fmt: skip
        return "".join(kept).encode()

    readings = excerpt(unihan, "kDefinition|kMandarin")
    sources = excerpt(unihan.with_name("Unihan_IRGSources.txt.bz2"), "kRSUnicode|kTotalStrokes")
    defined = [line.split("\t") for line in excerpt(unihan, "kDefinition").decode().splitlines()]
    rows = [(chr(int(point[2:], 16)), text) for point, _, text in defined]
    names = {"Unihan_Readings.txt": readings, "Unihan_IRGSources.txt": sources}
    files: dict[str, tuple[bytes, dict[str, Damage]]] = {
        "Unihan_Readings.txt": (readings, TEXT),
        "Unihan_IRGSources.txt": (sources, TEXT),
        "Unihan.zip": (
            _zipped(names),
            inside(lambda _: readings, lambda raw: _zipped({**names, "Unihan_Readings.txt": raw})),
        ),
        "readings.gz": (gzip.compress(readings), inside(gzip.decompress, gzip.compress)),
        "readings.bz2": (bz2.compress(readings), inside(bz2.decompress, bz2.compress)),
        "kDefinition.txt": (excerpt(unihan, "kDefinition"), TEXT),
        "table.tsv": ("".join(f"{c}\t{text}\n" for c, text in rows).encode(), TEXT),
        "table.csv": (("character,definition\n" + "".join(f'{c},"{t}"\n' for c, t in rows)).encode(), TEXT),
        "table.jsonl": (
            "".join(json.dumps({"character": c, "definition": text}) + "\n" for c, text in rows).encode(),
            TEXT,
        ),
    }
    victims = []
    for name, (data, kinds) in files.items():
        path, out = tmp_path / name, tmp_path / "out"
        path.write_bytes(data)
        read = tmp_path / "Unihan_Readings.txt" if name == "Unihan_IRGSources.txt" else path
        command: list[str | Path] = ["prepare", font, "--definitions", read, "--size", "16", "--out", out]
        victims.append(Victim(path, command, kinds, sealed=False, made=(out,)))
    hold(victims, count)


@pytest.fixture(scope="module")
def tiny(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings for the smallest run that looks at every picture."""
    path = tmp_path_factory.mktemp("settings") / "tiny.toml"
    text = workshop.config.read_text("utf-8")
    for old, new in (("patch = 4", "patch = 8"), ("images = 96", "images = 72"), ("batch = 8", "batch = 24")):
        text = text.replace(old, new)
    path.write_text(text.replace("checkpoint_every = 32", "checkpoint_every = 100"), "utf-8")
    return path


@pytest.fixture(scope="module")
def trained(workshop: Workshop, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with these settings that has had its budget; tests only read it."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    finish(train(TrainOptions(data=workshop.data, config=tiny, gpus=0, out=out)))
    return out


def _train(data: Path, config: Path, out: Path) -> list[str | Path]:
    return ["train", "--data", data, "--config", config, "--gpus", "0", "--out", out]


def _embed(data: Path, encoder: Path) -> list[str | Path]:
    return ["embed", "--data", data, "--encoder", encoder]


@counts(12)
def test_prepared_data(workshop: Workshop, tmp_path: Path, tiny: Path, count: int) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(workshop.data, data)
    kinds = {"manifest.json": TEXT, "characters.jsonl": TEXT, "glyphs-00000.safetensors": TENSORS}
    hold([Victim(data / name, _train(data, tiny, out), how, True, (out,)) for name, how in kinds.items()], count)


@counts(12)
def test_image_folders(workshop: Workshop, tmp_path: Path, tiny: Path, font: Path, unihan: Path, count: int) -> None:
    """Ours, and anyone's: of those only the manifest is ours to seal."""
    data, plain, out = tmp_path / "data", tmp_path / "plain", tmp_path / "run"
    finish(prepare(PrepareOptions((font,), unihan, size=32, format="imagefolder", out=data)))
    shutil.copytree(data / "images", plain)
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text("utf-8").splitlines()]
    table = "".join(f'{Path(row["file_name"]).name},"{row["text"]}"\n' for row in rows)
    (plain / "metadata.csv").write_text("file_name,text\n" + table, "utf-8")
    third = Path(shutil.copytree(data, tmp_path / "third"))
    for folder in (data, plain):
        finish(embed(EmbedOptions(folder, str(workshop.encoder))))
    picture, other = sorted((data / "images").iterdir())[3], sorted(plain.glob("*.png"))[4]
    ours, theirs = _train(data, tiny, out), _train(plain, tiny, out)
    hold(
        [
            Victim(data / "manifest.json", ours, TEXT, True, (out,)),
            Victim(data / "metadata.jsonl", ours, TEXT, False, (out,)),
            Victim(third / "metadata.jsonl", _embed(third, workshop.encoder), TEXT, False, (third / FILE_NAME,)),
            Victim(picture, ours, BYTES, False, (out,)),
            Victim(plain / "metadata.csv", theirs, TEXT, False, (out,)),
            Victim(other, theirs, BYTES, False, (out,)),
        ],
        count,
    )


@counts(16)
def test_embeddings(workshop: Workshop, tmp_path: Path, tiny: Path, count: int) -> None:
    data, out = tmp_path / "data", tmp_path / "run"
    shutil.copytree(workshop.data, data)
    read = _train(data, tiny, out)
    hold(
        [
            Victim(data / FILE_NAME, read, TENSORS, True, (out,), weight=3),
            Victim(data / FILE_NAME, read, FORGED, False, (out,), places=False),
        ],
        count,
    )


@counts(16)
def test_checkpoints(workshop: Workshop, tiny: Path, trained: Path, tmp_path: Path, count: int) -> None:
    run, sheet = tmp_path / "run", tmp_path / "sheet.png"
    shutil.copytree(trained, run)
    draw: list[str | Path] = ["sample", "", "--model", run, "--steps", "1", "--count", "1", "--out", sheet]
    go_on = _train(workshop.data, tiny, run)
    farther = [*go_on, "--images", "96"]  # one step, with what the file says
    hold(
        [
            Victim(run / "model.safetensors", draw, TENSORS, True, (sheet,), weight=2),
            Victim(run / "model.safetensors", draw, FORGED, False, (sheet,), places=False),
            Victim(run / "state.safetensors", go_on, TENSORS, True, (run,), fresh=trained, weight=2),
            Victim(run / "state.safetensors", farther, FORGED, False, (run,), fresh=trained, places=False),
            Victim(run / "log.jsonl", go_on, TEXT, False, (run,), fresh=trained),
        ],
        count,
    )


@counts(16)
def test_settings(workshop: Workshop, trained: Path, tiny: Path, tmp_path: Path, count: int) -> None:
    run, out, shown = tmp_path / "run", tmp_path / "new", tmp_path / "shown.toml"
    shutil.copytree(trained, run)
    begin = [*_train(workshop.data, shown, out), "--images", "8"]
    done = CliRunner().invoke(app, [str(word) for word in [*begin[:-2], "--show-config", "--config", tiny]])
    shown.write_text(done.stdout, "utf-8")
    hold(
        [
            Victim(shown, begin, TEXT, False, (out,), weight=4, settings=True),
            Victim(run / "config.json", _train(workshop.data, tiny, run), TEXT, False, (run,), fresh=trained),
        ],
        count,
    )


@counts(12)
def test_text_encoders(t5: Path, tmp_path: Path, unihan: Path, font: Path, count: int) -> None:
    encoder, data = tmp_path / "encoder", tmp_path / "data"
    shutil.copytree(t5, encoder)
    finish(prepare(PrepareOptions((font,), unihan, size=16, ranges="U+4E00-4E08", out=data)))
    kinds = {
        name: TENSORS if name.endswith(".safetensors") else TEXT
        for name in sorted(path.name for path in encoder.iterdir())
    }
    hold([Victim(encoder / n, _embed(data, encoder), k, False, (data / FILE_NAME,)) for n, k in kinds.items()], count)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, noto_sans: Path, unihan: Path) -> Path:
    """Data with characters enough that some are held out."""
    out = tmp_path_factory.mktemp("known") / "data"
    finish(prepare(PrepareOptions((noto_sans,), unihan, size=32, ranges="U+4EBA-50FF", out=out)))
    return out


@counts(8)
def test_judges_and_prompts(known: Path, trained: Path, tmp_path: Path, count: int) -> None:
    classifier, prompts, out = (
        tmp_path / "classifier.safetensors",
        tmp_path / "prompts.toml",
        tmp_path / "evaluation.json",
    )
    shutil.copy(pretrained("classifier.safetensors"), classifier)
    prompts.write_text('[prompts]\n"man" = 9\n"ice" = [15, 85]\n"knife" = 18\n', "utf-8")
    evaluate: list[str | Path] = ["evaluate", "--data", known, "--model", trained, "--out", out, "--pictures", "16"]
    evaluate += ["--count", "1", "--steps", "1", "--classifier", classifier, "--prompts", prompts]
    hold(
        [
            Victim(classifier, evaluate, TENSORS, True, (out,), weight=3),
            Victim(classifier, evaluate, FORGED, False, (out,), places=False),
            Victim(prompts, evaluate, TEXT, False, (out,)),
        ],
        count,
    )


@pytest.mark.parametrize("kinds", [("cut short", "a pipe"), pytest.param((*TENSORS, *PLACES), marks=pytest.mark.slow)])
def test_as_a_program_of_its_own(trained: Path, tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """What a person at the terminal sees: one line on stderr, nothing on stdout, nothing written."""
    run, sheet = tmp_path / "run", tmp_path / "sheet.png"
    shutil.copytree(trained, run)
    file = run / "model.safetensors"
    whole = file.read_bytes()
    for kind in kinds:
        if kind in PLACES:
            file.unlink(missing_ok=True)
            PLACES[kind](file)
        else:
            file.write_bytes(TENSORS[kind](whole, Dice(f"{SEED} {kind}")))
        command = [sys.executable, "-m", "glyffctl", "sample", "", "--model", str(run), "--out", str(sheet)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stdout) == (1, ""), kind
        assert done.stderr.startswith("error: ") and str(run) in done.stderr and done.stderr.count("\n") == 1, kind
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
        _remove(file)
