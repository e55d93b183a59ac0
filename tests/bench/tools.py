"""prepare, embed, the map and start-up, beside a plain loop over the same library; and how they grow with the data."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from glyffctl.core.data.dataset import GlyphSet
from glyffctl.core.data.folder import open_glyphs
from glyffctl.core.io.bundled import pretrained
from tests.bench.measure import Row, glyffctl, instead, processes

FONTS = Path("/usr/share/fonts/opentype/noto")
REGULAR = FONTS / "NotoSansCJK-Regular.ttc"
FOUR = [FONTS / f"Noto{kind}CJK-{weight}.ttc" for kind in ("Sans", "Serif") for weight in ("Regular", "Bold")]
RANGES = {1_000: "U+4E00-5200", 5_000: "U+4E00-62B0", 21_000: "", 85_000: ""}


def rows(repeats: int, data: Path) -> Iterator[Row]:
    """All but growth."""
    yield from _startup(repeats)
    with tempfile.TemporaryDirectory() as folder:
        yield from _against_loops(repeats, data, Path(folder))


def _startup(repeats: int) -> Iterator[Row]:
    times = processes(
        {
            "help": glyffctl("--help"),
            "sample help": glyffctl("sample", "--help"),
            "torch": instead("torch_import"),
            "python": [sys.executable, "-c", "pass"],
        },
        max(repeats, 5),
    )
    for name in ("help", "sample help"):
        yield Row(
            group="tools",
            name=f"`glyffctl {name.replace('help', '--help')}`",
            ours=times[name],
            theirs=times["torch"],
            instead='`python -c "import torch"`',
            note=f"python itself {1000 * times['python'].median:.0f} ms",
        )


def _against_loops(repeats: int, data: Path, folder: Path) -> Iterator[Row]:
    glyphs = open_glyphs(data)
    characters = folder / "characters.txt"
    characters.write_text("".join(c.character for c in glyphs.characters if c.character), encoding="utf-8")
    times = processes(
        {
            "ours": glyffctl("prepare", str(REGULAR), "--out", "{out}/data"),
            "theirs": instead("pillow_loop", str(REGULAR), str(characters), "{out}/x.npy"),
        },
        repeats,
    )
    yield Row(
        group="tools",
        name=f"`prepare`, {len(glyphs):,} glyphs",
        ours=times["ours"],
        theirs=times["theirs"],
        instead="a loop over Pillow, that only draws",
        note="definitions, cleaning and limits on bad fonts included",
    )
    captions = folder / "captions.txt"
    captions.write_text("\n".join(glyphs.captions), encoding="utf-8")
    _without_results(data, folder / "plain")
    times = processes(
        {
            "ours": _on_copy(folder / "plain", "embed"),
            "theirs": instead("transformers_loop", str(pretrained("encoder")), str(captions), "{out}/x.npy"),
        },
        repeats,
    )
    yield Row(
        group="tools",
        name=f"`embed`, {len(glyphs.captions):,} captions, the encoder in the box",
        ours=times["ours"],
        theirs=times["theirs"],
        instead="a loop over transformers, 64 at a time",
    )
    pixels = folder / "pixels.npy"
    np.save(pixels, _pixels(glyphs))
    times = processes(
        {
            "ours": _on_copy(folder / "plain", "visualize-umap", "--out", "{out}"),
            "theirs": instead("umap_fit", str(pixels), "{out}/x.npy"),
        },
        max(1, repeats // 2),
    )
    yield Row(
        group="tools",
        name=f"`visualize-umap`, {len(glyphs):,} glyphs",
        ours=times["ours"],
        theirs=times["theirs"],
        instead="`umap.UMAP(random_state=0).fit_transform`, the layout alone",
        note="picture and page included",
    )


def _on_copy(plain: Path, command: str, *arguments: str) -> list[str]:
    """A command on a fresh data folder, of links: what it left beside the data the last time must not be found."""
    line = " ".join(glyffctl(command, "--data", "{out}/data", *arguments))
    return ["sh", "-c", f"cp -al {plain} {{out}}/data && {line}"]


def _without_results(data: Path, folder: Path) -> None:
    folder.mkdir()
    for path in data.iterdir():
        if path.name not in ("embeddings.safetensors", "umap.safetensors"):
            shutil.copy(path, folder)


def _pixels(glyphs: GlyphSet) -> np.ndarray:
    index = torch.arange(len(glyphs))
    pictures = np.concatenate([glyphs.images(part).numpy() for part in index.split(4096)])
    return pictures.reshape(len(glyphs), -1).astype(np.float32)


def growth(repeats: int) -> Iterator[Row]:
    """Time and memory of `prepare`, `embed` and `visualize-umap` with the number of glyphs."""
    for count, span in RANGES.items():
        fonts = [str(path) for path in (FOUR if count > 50_000 else [REGULAR])]
        with tempfile.TemporaryDirectory() as folder:
            data = str(Path(folder) / "data")
            prepare = glyffctl("prepare", *fonts, *(["--range", span] if span else []), "--out")
            first = processes({"prepare": [*prepare, "{out}/data"]}, repeats)
            processes({"prepare": [*prepare, data]}, 1)
            glyphs = len(open_glyphs(Path(data)))
            after = processes({"embed": glyffctl("embed", "--data", data)}, 1)
            after |= processes({"visualize-umap": glyffctl("visualize-umap", "--data", data, "--out", "{out}")}, 1)
            for name, timing in (first | after).items():
                yield Row(group="growth", name=f"`{name}`, {glyphs:,} glyphs", ours=timing)
