"""Two million glyphs: what prepare, training and the map hold in memory does not follow the size of the data."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from glyffctl.core.data import dataset_writer, imagefolder, shards
from glyffctl.core.data.character import Character, Font
from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.dataset_writer import GlyphWriter, PictureWriter, Writer
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.font_workers import font_workers
from glyffctl.workflows import umap
from glyffctl.workflows.embed import EmbedOptions, embed
from glyffctl.workflows.events import finish
from glyffctl.workflows.prepare_drawing import read_fonts
from glyffctl.workflows.umap import UmapOptions, visualize
from tests.conftest import Workshop, follow, of_kind
from tests.test_processes import ENVIRONMENT

MB = 2**20
LIMIT = 2048  # MB
SIZE = 8
CHARACTERS = [Character(0x4E00 + i, chr(0x4E00 + i), f"meaning {i}", i % 214 + 1) for i in range(50)]


def write(folder: Path, count: int, writer: type[Writer] = GlyphWriter, size: int = SIZE) -> Path:
    """`count` glyphs of 50 characters with random pixels, each font having each character once."""
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (200, size, size), dtype=np.uint8)
    folder.mkdir()
    drawer = writer(folder, size)
    for i in range(count):
        font = i // len(CHARACTERS)
        drawer.add(CHARACTERS[i % len(CHARACTERS)], Font(f"{font}.ttf", 0, f"Font {font}"), pictures[i % 200])
    drawer.finish({})
    return folder


def traced(work: Callable[[], Any]) -> int:
    """Bytes that Python and numpy held at once, at most."""
    tracemalloc.start()
    try:
        kept = work()
        peak = tracemalloc.get_traced_memory()[1]
        del kept
        return peak
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("writer", [GlyphWriter, PictureWriter])
@pytest.mark.thorough
def test_a_writer_holds_no_more_for_eight_times_as_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: type[Writer]
) -> None:
    """But for its tables: a row for each shard and font."""
    monkeypatch.setattr(dataset_writer, "SHARD_ROWS", 256)
    write(tmp_path / "warm", 300, writer)
    few, many = (traced(partial(write, tmp_path / str(n), n, writer)) for n in (500, 4000))
    print(f"{writer.__name__}: {few / 1e3:.0f} kB for 500 glyphs, {many / 1e3:.0f} kB for 4,000")
    assert many < few + 3500 * 40


@pytest.mark.thorough
def test_an_image_folder_is_opened_in_a_few_bytes_for_each_picture(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    peaks = []
    for count in (1000, 8000):
        row = json.dumps(
            {"file_name": "a.png", "text": "a meaning of many words", "font": "A", "alternate_captions": ["b", "c"]}
        )
        (tmp_path / "metadata.jsonl").write_text((row + "\n") * count)
        peaks.append(traced(lambda: open_glyphs(tmp_path)))
    each = (peaks[1] - peaks[0]) / 7000
    print(f"{each:.0f} bytes for each picture")  # its row alone, kept, would be a thousand
    assert each < 100


def test_pictures_beyond_those_kept_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "data", 100, PictureWriter)
    index = torch.tensor([5, 99, 5, 0, 50, 7, 7])
    kept = open_glyphs(folder).images(index)
    monkeypatch.setattr(imagefolder, "CACHE_BYTES", 3 * SIZE**2)
    glyphs = open_glyphs(folder)
    for _ in range(3):
        assert torch.equal(glyphs.images(index), kept)
    pictures = glyphs.pixels
    assert isinstance(pictures, imagefolder.PictureReader)
    assert len(pictures.pixels) == pictures.used == 3


MEASURED = """
import ctypes
import gc
import sys
from dataclasses import replace
from pathlib import Path
import torch
from glyffctl.core.models.config import fit_to_data, merge, read_preset, read_toml
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.data.embeddings import load_embeddings
from glyffctl.core.training.trainer import Trainer

def held(what):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))

glyphs = open_glyphs(Path(sys.argv[1]))
cached = load_embeddings(Path(sys.argv[2]), glyphs.captions)
sections = merge(read_preset("cpu"), read_toml(Path(sys.argv[3])))
config = fit_to_data(sections, glyphs.size, cached.width)
trainer = Trainer(config, glyphs, cached, torch.device("cpu"))
trainer.step(0.0)
gc.collect()
ctypes.CDLL(None).malloc_trim(0)  # what was freed may be kept, or not
print(held("VmHWM"), held("RssAnon"))
"""


def trained(data: Path, embeddings: Path, toml: Path) -> list[int]:
    """Bytes in memory at most, and not mapped in the end, after a step of training on `data`.

    The least of three processes: an allocator keeps some 8 MB more or not, whatever the data.
    """
    command = [sys.executable, "-c", MEASURED, str(data), str(embeddings), str(toml)]
    lines = [
        subprocess.run(command, check=True, capture_output=True, text=True, env=ENVIRONMENT, timeout=300).stdout
        for _ in range(3)
    ]
    return [min(numbers) for numbers in zip(*([int(number) for number in line.split()] for line in lines), strict=True)]


@pytest.mark.slow
@pytest.mark.thorough
def test_training_takes_a_hundred_bytes_for_a_glyph_and_none_of_its_picture(tmp_path: Path, workshop: Workshop) -> None:
    """Two million in 0.2 GB. What there is for each: its character, its font, and two orders to visit it in."""
    counts = (10_000, 80_000)
    few, many = (write(tmp_path / str(count), count) for count in counts)
    finish(embed(EmbedOptions(data=few, encoder=str(workshop.encoder))))
    toml = tmp_path / "tiny.toml"
    toml.write_text(workshop.config.read_text().replace("patch = 4", "patch = 2"))
    a, b = trained(few, few, toml), trained(many, few, toml)
    each = [(y - x) / (counts[1] - counts[0]) for x, y in zip(a, b, strict=True)]
    print(f"{each[0]:.0f} bytes for each glyph at most, {each[1]:.0f} in the end")
    assert max(each) < 150


def test_pages_that_were_read_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are mapped, and a mapping grows with all that is read through it, unless it is told not to."""
    glyphs = open_glyphs(write(tmp_path / "data", 1500, size=128))  # 24 MB
    index = torch.arange(len(glyphs))
    monkeypatch.setattr(shards, "_RELEASE_EVERY", len(glyphs) + 1)
    before = mapped()
    first = torch.cat([glyphs.images(part) for part in index.split(50)])
    held = mapped() - before
    monkeypatch.setattr(shards, "_RELEASE_EVERY", 50)
    assert torch.equal(torch.cat([glyphs.images(part) for part in index.split(50)]), first)
    left = mapped() - before
    print(f"{held / MB:.0f} MB mapped by reading all, {left / MB:.0f} MB when pages are given back")
    assert held > 20 * MB and left < 5 * MB


def mapped() -> int:
    """Bytes of files that are in this process's memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssFile"))


def linked(folder: Path, fonts: list[Path], count: int) -> Path:
    """`count` fonts with names of their own that take no room, on the same disk at least."""
    folder.mkdir()
    for number in range(count):
        font = fonts[number % len(fonts)]
        place = folder / f"{font.stem}-{number:03d}{font.suffix}"
        try:
            os.link(font, place)
        except OSError:
            shutil.copy(font, place)
    return folder


@pytest.mark.slow
@pytest.mark.thorough
def test_prepare_holds_little_for_each_font(tmp_path: Path, noto_sans: Path) -> None:
    """A collection of ten faces that cover 44,810 characters each: as sets, four megabytes."""
    characters = {code: Character(code, chr(code), "", None) for code in range(0x4E00, 0x9F00)}
    fonts = sorted(linked(tmp_path / "fonts", [noto_sans], 5).iterdir())
    held = []
    with font_workers() as workers:
        for count in (1, 5):
            tracemalloc.start()
            jobs, _ = finish(read_fonts(workers.read(fonts[:count]), count, characters, "best"))
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
            tracemalloc.stop()
            assert [len(codepoints) for _, codepoints in jobs] == [len(characters)] * count
    each = (held[1] - held[0]) / 4
    print(f"{each / 1e3:.0f} kB for each font")
    assert each < 4 * len(characters) + 50_000


@pytest.mark.thorough
def test_reading_a_collection_holds_one_face_at_a_time(noto_sans: Path) -> None:
    """250 MB more if each waits for the collector."""
    script = "import gc, sys; from pathlib import Path; from glyffctl.core.data.fonts import read_faces; gc.disable()"
    script += "; read_faces(Path(sys.argv[1])); print(Path('/proc/self/status').read_text())"
    command = [sys.executable, "-c", script, str(noto_sans)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    peak = int(done.stdout.split("VmHWM:")[1].split()[0]) / 1024
    print(f"{peak:.0f} MB for ten faces")
    assert peak < 130


def test_a_sample_is_drawn_from_all_and_always_the_same(tmp_path: Path) -> None:
    glyphs = open_glyphs(write(tmp_path / "data", 1000))
    some, again = glyphs.sample(300), glyphs.sample(300)
    assert len(some) == 300 and some.fingerprint() == again.fingerprint() != glyphs.fingerprint()
    assert torch.equal(some.font_of, again.font_of)
    assert len(some.font_of.unique()) == 20  # all of the fonts
    assert glyphs.sample(1000) is glyphs
    where = same_pictures(glyphs, some)
    assert where == sorted(set(where))


def same_pictures(glyphs: GlyphSet, some: GlyphSet) -> list[int]:
    """The glyph of which each of `some` is, told by its character and font; their pictures are equal."""
    place = {
        pair: row for row, pair in enumerate(zip(glyphs.character_of.tolist(), glyphs.font_of.tolist(), strict=True))
    }
    rows = [place[pair] for pair in zip(some.character_of.tolist(), some.font_of.tolist(), strict=True)]
    assert torch.equal(some.images(torch.arange(len(some))), glyphs.images(torch.tensor(rows)))
    return rows


@pytest.mark.slow
def test_the_map_of_too_many_shows_some_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(umap, "MOST", 100)
    events, report = follow(visualize(UmapOptions(data=write(tmp_path / "data", 400), out=tmp_path)))
    assert report.glyphs == 100
    assert [event.facts for event in of_kind(events, "glyphs-subsampled")] == [{"shown": 100, "total": 400}]
    assert "drawn at random from 400 glyphs" in (tmp_path / "umap.html").read_text()


class Watched:
    """A command, and how much memory it took: MB, at most, looked at four times a second."""

    def __init__(self, *arguments: str | Path, cwd: Path) -> None:
        self.own = self.own_not_mapped = self.largest_child = self.all = 0.0
        command = [sys.executable, "-m", "glyffctl", *map(str, arguments)]
        begun = time.monotonic()
        log = cwd / "log.txt"
        with log.open("w") as file:
            job = subprocess.Popen(command, stdout=file, stderr=file, cwd=cwd)
            while job.poll() is None:
                self._look(psutil.Process(job.pid))
                time.sleep(0.25)
        self.seconds = time.monotonic() - begun
        assert job.returncode == 0, log.read_text()
        print(f"{arguments[0]}: {self.own:.0f} MB, {self.own_not_mapped:.0f} of them not mapped; "
              f"{self.largest_child:.0f} in a worker, {self.all:.0f} in all; {self.seconds:.0f} s")  # fmt: skip

    def _look(self, process: psutil.Process) -> None:
        try:
            own, children = process.memory_full_info(), process.children(recursive=True)
            anonymous = Path(f"/proc/{process.pid}/status").read_text().split("RssAnon:")[1].split()[0]
            shares = [child.memory_full_info() for child in children]
        except (psutil.Error, OSError, IndexError):
            return  # one of them has just ended
        self.own = max(self.own, own.rss / MB)
        self.own_not_mapped = max(self.own_not_mapped, int(anonymous) / 1024)
        self.largest_child = max([self.largest_child, *(share.rss / MB for share in shares)])
        self.all = max(self.all, (own.pss + sum(share.pss for share in shares)) / MB)


@pytest.mark.slow
def test_two_million_glyphs(tmp_path: Path, noto_folder: Path, workshop: Workshop) -> None:
    """96 fonts of 21,230 characters: drawn, embedded, trained on, stopped and gone on with, and drawn from."""
    real = [
        noto_folder / f"Noto{style}CJK-{weight}.ttc" for style in ("Sans", "Serif") for weight in ("Regular", "Bold")
    ]
    fonts = linked(tmp_path / "fonts", real, 96)
    data, run = tmp_path / "data", tmp_path / "run"
    prepared = Watched("prepare", fonts, "--size", "16", "--out", data, cwd=tmp_path)
    glyphs = open_glyphs(data)
    assert len(glyphs) > 2_000_000
    embedded = Watched("embed", "--data", data, "--encoder", workshop.encoder, cwd=tmp_path)
    training: list[str | Path] = ["train", "--data", data, "--config", workshop.config, "--gpus", "0", "--out", run]
    started = Watched(*training, "--images", "20000", "--checkpoint-every", "10000", cwd=tmp_path)
    resumed = Watched(*training, "--images", "24000", "--checkpoint-every", "10000", cwd=tmp_path)
    assert "resuming at 20,000 pictures" in (tmp_path / "log.txt").read_text()
    sampled = Watched("sample", "fish", "--model", run, "--steps", "2", "--out", tmp_path / "fish.png", cwd=tmp_path)
    for watched in (prepared, embedded, started, resumed, sampled):
        assert watched.own < LIMIT and watched.all < LIMIT
    assert prepared.largest_child < 250
