"""Diagnosis of folders that are no data folders: what they hold, and what to do."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from PIL import Image

from glyffctl.core.errors import DataError
from glyffctl.core.io.atomic import reason
from glyffctl.core.io.reading import short_repr

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_TABLES = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".xlsx", ".parquet")
_FONTS = (".ttf", ".otf", ".ttc", ".otc", ".woff", ".woff2")
_PACKED = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_MODELS = ("model.safetensors", "state.safetensors", "model_index.json")
_ROW = 'one object a line, {"file_name": "…", "text": "…"}'
_MOST = 200_000  # entries of folders to inspect
_FEW = 3


def diagnose_folder(path: Path) -> str:
    """Explain in one line what is at `path`, which has neither a manifest nor a supported metadata file."""
    if not path.exists():
        return f"there is no data folder {path}; run `glyffctl prepare` first"
    if not path.is_dir():
        return f"{path} is a file; name the folder of the data, {path.parent}"
    try:
        with os.scandir(path) as entries:
            here = sorted(entry.name for entry in islice(entries, _MOST))
    except OSError as error:
        return f"cannot read {path}: {reason(error)}"
    return (
        _metadata_below(path)
        or _other_metadata(path, here)
        or _other_data_set(path, here)
        or _no_metadata(path, here)
        or _no_pictures(path, here)
    )


def check_one_metadata_file(metadata: Path) -> None:
    """Check that no folder below that of `metadata` has a metadata file, which `datasets` would read, too.

    Raises:
        DataError: one does.
    """
    folder = metadata.parent
    other = next((file for file in _below(folder) if file.parent != folder), None)
    if other is not None:
        raise DataError(
            f"{folder} holds {metadata.name} and {other.relative_to(folder)}; put all rows into one of them, or name "
            f"{other.parent} instead"
        )


def _below(folder: Path) -> Iterator[Path]:
    """Metadata files in `folder` and below, up to a limit; `datasets` skips hidden folders."""
    seen, waiting = 0, [folder]
    while waiting and seen < _MOST:
        place, inner = waiting.pop(), []
        try:
            with os.scandir(place) as entries:  # one at a time: a list of two million names would take 200 MB
                for entry in entries:
                    seen += 1
                    if entry.name in _METADATA and entry.is_file():
                        yield place / entry.name
                    elif entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "__")):
                        inner.append(place / entry.name)
        except OSError:
            continue
        waiting += sorted(inner, reverse=True)


def _metadata_below(folder: Path) -> str | None:
    below = [file for file in islice(_below(folder), _FEW + 1) if file.parent != folder]
    if not below:
        return None
    if len(below) == 1:
        place = below[0].parent.relative_to(folder)
        return f"{folder} holds no metadata file itself, but {place} has a {below[0].name}: name {below[0].parent}"
    places = ", ".join(str(file.parent.relative_to(folder)) for file in below[:_FEW])
    return f"{folder} holds no metadata file itself, but the folders in it do: {places}; name one of them"


def _other_metadata(folder: Path, here: list[str]) -> str | None:
    """A table that is likely the metadata, with another name or in another format."""
    if "metadata.parquet" in here:
        return f"{folder} holds metadata.parquet, which is not supported; write it as metadata.jsonl, {_ROW}"
    for name in here:
        ending = Path(name).suffix.lower()
        if Path(name).stem.lower() != "metadata" or ending not in _TABLES:
            continue
        if name in _METADATA:
            return f"cannot read {folder / name}: it is not a file"
        if ending in (".jsonl", ".csv"):
            return f"{folder} holds {name}; rename it {name.lower()}"
        return f"{folder} holds {name}; write it as metadata.jsonl, {_ROW}"
    return None


def _other_data_set(folder: Path, here: list[str]) -> str | None:
    """Data of other programs."""
    saved = {"dataset_info.json", "state.json", "dataset_dict.json"} & {*here}
    arrow = [name for name in here if name.endswith(".arrow")]
    if arrow or "dataset_dict.json" in saved or len(saved) == 2:
        return (
            f"{folder} holds a data set of `datasets`, from save_to_disk; write its pictures as files, with "
            f"a metadata.jsonl, {_ROW}"
        )
    if any(name in here for name in _MODELS):
        return f"{folder} is a model folder, not data; name a folder that `glyffctl prepare` made, or pictures"
    tables = [name for name in here if name.endswith(".parquet")]
    packed = [name for name in here if name.endswith(_PACKED)]
    if tables and not packed:
        what = f"{folder} holds {tables[0]}, which is not supported"
        return f"{what}; write pictures as files, with a metadata.jsonl, {_ROW}"
    if packed and len(packed) == len([name for name in here if not name.startswith(".")]):
        return f"{folder} holds {packed[0]}; unpack it"
    return None


def _no_metadata(folder: Path, here: list[str]) -> str | None:
    """Pictures with captions elsewhere, or without."""
    Image.init()  # registers the endings of all formats of Pillow
    endings = Image.registered_extensions()
    pictures = [name for name in here if Path(name).suffix.lower() in endings]
    want = f"write a metadata.jsonl, {_ROW}"
    if pictures:
        captions = {Path(name).stem: name for name in here if name.lower().endswith((".txt", ".caption"))}
        beside = [(name, captions[stem]) for name in pictures if (stem := Path(name).stem) in captions]
        if beside:
            example = f"{short_repr(beside[0][0])[1:-1]} and {short_repr(beside[0][1])[1:-1]}"
            return f"{folder} holds pictures with their captions in files beside them ({example}); {want}"
        tables = [name for name in here if Path(name).suffix.lower() in _TABLES]
        if tables:
            what = short_repr(tables[0])[1:-1]
            return (
                f"{folder} holds pictures and no metadata file; if {what} has their captions, write it as "
                f"metadata.jsonl, {_ROW}"
            )
        return f"{folder} holds pictures and no captions; {want}"
    counts: Counter[str] = Counter()
    for place in here:
        try:
            with os.scandir(folder / place) as entries:
                names = (entry.name for entry in islice(entries, _MOST // len(here)))
                counts[place] = sum(Path(name).suffix.lower() in endings for name in names)
        except OSError:  # a file, or no permission
            continue
    places = [place for place, count in counts.items() if count]
    if places:
        named = ", ".join(short_repr(place)[1:-1] for place in places[:_FEW])
        return f"{folder} holds pictures in folders ({named}) and no captions; {want}, the folder in its file_name"
    return None


def _no_pictures(folder: Path, here: list[str]) -> str:
    if any(name.lower().endswith(_FONTS) for name in here):
        return f"{folder} holds fonts; run `glyffctl prepare {folder}` first, and name the folder that it makes"
    if not here:
        return f"{folder} is empty; run `glyffctl prepare` first"
    return (
        f"{folder} holds no manifest.json, metadata.jsonl or metadata.csv, nor pictures; run `glyffctl prepare` first, "
        "or name a folder of pictures with captions"
    )
