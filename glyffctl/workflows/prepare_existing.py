"""Data that is already in the folder that `prepare` writes to: reuse it, replace it, or refuse."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glyffctl.core.data.manifest import EMBEDDINGS, GLYPHS_FORMAT, IMAGEFOLDER_FORMAT, MANIFEST
from glyffctl.core.errors import DataError, OutputError, UsageError
from glyffctl.core.io.reading import read_json
from glyffctl.workflows.prepare_captions import parse_ranges

if TYPE_CHECKING:
    from glyffctl.core.data.dataset import GlyphSet


def replaceable_manifest(out: Path) -> dict[str, Any] | None:
    """The manifest of the data folder at `out`; None if there is none, or it is empty.

    Raises:
        OutputError: `out` is a file, or holds anything that `prepare` did not make.
    """
    if not out.exists():
        return None
    if not out.is_dir():
        raise OutputError(f"cannot write {out}: it is a file; name a folder with --out")
    if not any(out.iterdir()):
        return None
    try:
        manifest = read_json(out / MANIFEST, OutputError)
    except OutputError:
        manifest = {}
    if manifest.get("format") not in (GLYPHS_FORMAT, IMAGEFOLDER_FORMAT):
        raise OutputError(f"{out} holds something that `prepare` did not make; name another folder with --out")
    ours = re.compile(
        r"(manifest\.json|.+\.jsonl|glyphs-\d+\.safetensors|(embeddings|umap)\..*|images|\.DS_Store|Thumbs\.db)"
    )
    foreign = sorted(entry.name for entry in out.iterdir() if not ours.fullmatch(entry.name))
    if foreign:
        raise OutputError(
            f"{out} would be replaced, but holds {foreign[0]}, which `prepare` did not make; "
            "move it away or name another folder with --out"
        )
    return manifest


def open_existing(out: Path, previous: Mapping[str, Any], record: Mapping[str, Any]) -> GlyphSet:
    """The data in `out`, if it was made with the settings in `record`.

    Args:
        out: the data folder.
        previous: its manifest.
        record: the entries of the manifest that new data would have.

    Raises:
        OutputError: it was made with other settings, or is damaged.
    """
    from glyffctl.core.data.folder import open_glyphs  # noqa: PLC0415 (imports torch, which new data does not need)

    count = previous.get("count")
    held = f"{out} holds {f'{count:,} ' if isinstance(count, int) else ''}glyphs"
    advice = "add --overwrite to replace them, or name another folder with --out"
    if "made_by" not in previous:
        raise OutputError(f"{held} made by an earlier version of glyffctl, with settings not on record; {advice}")
    others = _differences(previous, record)
    if others:
        raise OutputError(f"{held} made with other settings ({', '.join(others)}); {advice}")
    try:
        return open_glyphs(out)
    except DataError as error:
        raise OutputError(f"{held} made with these settings, but cannot be used: {error}") from error


def _differences(previous: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """The settings that differ, by the names of their options."""
    names = {"made_by": "another version of glyffctl", "font_files": "fonts", "size": "--size"}
    others = [
        names.get(name, name) for name, value in record.items() if name != "options" and previous.get(name) != value
    ]
    before = previous.get("options")
    if not isinstance(before, dict):
        return [*others, "options"]
    for name, value in record["options"].items():
        there = before.get(name)
        if there != value and not (name == "range" and _same_ranges(there, value)):
            others.append("--alternate-captions" if name == "alternate_captions" else f"--{name.replace('_', '-')}")
    return others


def _same_ranges(there: object, wanted: str | None) -> bool:
    """Whether two values of --range mean the same."""
    try:
        return isinstance(there, str) and wanted is not None and parse_ranges(there) == parse_ranges(wanted)
    except UsageError:
        return False


def keep_embeddings(out: Path, previous: dict[str, Any] | None, folder: Path, digest: str) -> bool:
    """Copy cached embeddings into the folder that replaces `out`, if they belong to the same captions."""
    if previous is None or previous.get("captions_sha256") != digest or not (out / EMBEDDINGS).is_file():
        return False
    shutil.copy2(out / EMBEDDINGS, folder / EMBEDDINGS)
    return True
