"""Hostile files are told, not believed: thousands of damaged ones through the real commands.

Each mutant is one file of a good set, damaged in one way by dice of its own: the name of a mutant that fails is all
that is needed to make it again. The machinery holds the promise; the files are below it.
"""

from __future__ import annotations

import bz2
import ctypes
import faulthandler
import gc
import gzip
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from glyffctl.cli import app
from glyffctl.core.data.embeddings import FILE_NAME
from glyffctl.core.data.font_workers import FontWorkers, font_workers
from glyffctl.core.io.bundled import pretrained
from glyffctl.core.models import checkpoint
from glyffctl.workflows import prepare as preparing
from glyffctl.workflows.embed import EmbedOptions, embed
from glyffctl.workflows.events import finish
from glyffctl.workflows.prepare import PrepareOptions, prepare
from glyffctl.workflows.train import TrainOptions, train
from tests.conftest import Workshop, crashed
from tests.damage import BYTES, FORGED, MISSING, PLACES, TENSORS, TEXT, Damage, Dice, inside

pytestmark = pytest.mark.hostile

SEED = 5
SECONDS = 20  # of one mutant; the slowest good file takes two
LONGEST_LINE = 600  # characters of a message
ROOM = 2 << 30  # bytes of address space that a mutant may take beyond what the tests have
GROWTH = 300 << 20  # bytes that the tests may hold more after all mutants than before

# One mutant -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Victim:
    """A file that is damaged, and the command that reads it.

    `sealed` files carry a digest: whatever is done to them has to be refused.
    """

    file: Path
    command: list[str | Path]
    kinds: dict[str, Damage]
    sealed: bool
    made: tuple[Path, ...]
    """What the command makes; taken away after each mutant."""
    weight: int = 1
    places: bool = True
    """Whether a folder, a pipe and the like take its place too."""
    fresh: Path | None = None
    """A folder that the victim's is made from again for each mutant, where the command changes what it reads."""
    settings: bool = False
    """Whether too little memory is an answer: to settings that ask for much, and to no other file."""


@dataclass
class Tally:
    accepted: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    lines: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Hang(BaseException):
    """Past every `except Exception`."""


@contextmanager
def _guarded() -> Iterator[None]:
    """An end to waiting, and to memory."""

    def ring(number: int, frame: object) -> None:
        raise Hang

    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + ROOM, limits[1]))
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(3 * SECONDS, exit=True)  # for what does not come back to Python at all
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def _damage(victim: Victim, name: str, whole: bytes) -> str:
    """Put a mutant in the place of the file; the kind of damage."""
    dice = Dice(name)
    kind = dice.choice([*victim.kinds, *(PLACES if victim.places else ())])
    if kind in PLACES:
        victim.file.unlink()
        PLACES[kind](victim.file)
        return kind
    damaged = whole
    while damaged == whole:
        damaged = victim.kinds[kind](whole, dice)
    victim.file.write_bytes(damaged)
    return kind


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _restore(victim: Victim, whole: bytes) -> None:
    for path in (victim.file, *victim.made):
        _remove(path)
    if victim.fresh is not None:
        shutil.copytree(victim.fresh, victim.file.parent, dirs_exist_ok=True)
    else:
        victim.file.write_bytes(whole)


def _half_written(victim: Victim, refused: bool) -> str:
    """What was left behind that should not be."""
    for folder in {path.parent for path in victim.made}:
        if left := [path.name for path in folder.rglob("*") if path.suffix in (".tmp", ".old")]:
            return f"left {left[0]}"
    for path in victim.made if victim.fresh is None else ():
        if refused and path.exists() and victim.command[0] != "train":
            return f"made {path.name}"
        if path.is_dir() and victim.command[0] == "train":  # a run that was begun is a run that can go on
            checkpoint.load_origin(path)
            checkpoint.load_state(path)
            if (path / checkpoint.MODEL_FILE).exists():
                checkpoint.load_model(path)
    return ""


def _verdict(code: int, stderr: str, exception: BaseException | None) -> str:
    """What is wrong with how the command ended; nothing where it worked or said in one line why not."""
    if exception is not None and not isinstance(exception, SystemExit):
        return f"{type(exception).__name__}: {str(exception)[:300]}"
    if code == 0:
        return ""
    if code not in (1, 2):
        return f"exit code {code}"
    lines = stderr.splitlines()
    told = [line for line in lines if line.startswith("error: ")]
    if crashed(stderr) or len(told) != 1 or lines[-1] != told[0]:
        return f"not one plain line: {stderr[-300:]!r}"
    if len(told[0]) > LONGEST_LINE or not told[0].isprintable():
        return f"no plain line: {told[0][:200]!r}…, {len(told[0])} characters"
    return ""


def torment(victims: list[Victim], count: int) -> Tally:
    """`count` mutants, dealt out among the victims by their weight."""
    tally = Tally()
    dealt = [victim for victim in victims for _ in range(victim.weight)]
    for number in range(count):
        victim = dealt[number % len(dealt)]
        name = f"{SEED} {victim.file.name} {number}"
        whole = victim.file.read_bytes()
        kind = _damage(victim, name, whole)
        which = f"{victim.file.name}: {kind}"
        if keep := os.environ.get("KEEP_MUTANTS"):
            (Path(keep) / "now").write_text(f"{name} ({kind})")
        fault = line = ""
        code = 0
        try:
            with _guarded():
                done = CliRunner().invoke(app, [str(word) for word in victim.command])
            code = done.exit_code
            fault = _verdict(code, done.stderr, done.exception)
            line = done.stderr.splitlines()[-1] if code and done.stderr else ""
            fault = fault or _half_written(victim, code != 0)
        except Hang:
            fault = f"hangs for {SECONDS} s"
        if not fault and code == 0 and victim.sealed and kind != MISSING:
            fault = "accepted, and it carries a digest"
        if not fault and not victim.settings and "not enough memory" in line:
            fault = "a size in it was believed"
        if fault:
            if keep and victim.file.is_file() and not victim.file.is_symlink():
                shutil.copy(victim.file, Path(keep) / name.replace(" ", "-"))
            tally.failures.append(f"mutant {name!r} ({kind}): {fault}")
        elif code:
            tally.refused[which] += 1
            tally.lines.setdefault(which, line)
        else:
            tally.accepted[which] += 1
        _restore(victim, whole)
    return tally


def _memory() -> int:
    """Bytes that are in use, without what the C library keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


def hold(victims: list[Victim], count: int) -> None:
    """The promise, for `count` mutants of these files."""
    for victim in {tuple(victim.command): victim for victim in victims}.values():
        whole = victim.file.read_bytes()
        done = CliRunner().invoke(app, [str(word) for word in victim.command])
        assert done.exit_code == 0, f"{victim.file} does not even work whole: {done.stderr} {done.exception}"
        _restore(victim, whole)
    before = _memory()
    tally = torment(victims, count)
    grown = _memory() - before
    accepted, refused = tally.accepted.total(), tally.refused.total()
    print(f"\n{count} mutants: {accepted} accepted, {refused} refused, {len(tally.failures)} failed, {grown >> 20} MB")
    for which in sorted(tally.accepted | tally.refused):
        print(
            f"  {which}: {tally.accepted[which]} accepted, {tally.refused[which]} refused. {tally.lines.get(which, '')}"
        )
    if tally.failures:
        pytest.fail(f"{len(tally.failures)} of {count}:\n" + "\n".join(tally.failures[:40]), pytrace=False)
    assert accepted + refused == count
    assert refused > count / 10
    assert grown < GROWTH


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


@pytest.fixture
def shared_workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One pool of font workers for all mutants: they are about definitions, and a pool takes a second to start."""
    with font_workers() as workers:

        @contextmanager
        def shared() -> Iterator[FontWorkers]:
            yield workers

        monkeypatch.setattr(preparing, "font_workers", shared)
        yield


def _zipped(files: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return held.getvalue()


@counts(40)
def test_definitions(tmp_path: Path, font: Path, unihan: Path, shared_workers: None, count: int) -> None:
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


@counts(24)
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


@counts(32)
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


@counts(32)
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
