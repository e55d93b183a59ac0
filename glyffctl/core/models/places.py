"""Diagnosis of paths that are not models: what is there, and what to name instead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from glyffctl.core.errors import GlyffError
from glyffctl.core.io.atomic import reason
from glyffctl.core.io.bundled import model_label
from glyffctl.core.io.diffusers_files import NETWORK, PARTS, PICKLED_SUFFIXES, is_pipeline
from glyffctl.core.io.names import by_number
from glyffctl.core.io.reading import read_json, short_repr
from glyffctl.core.models.files import (
    CODEC_FILE,
    CODEC_KIND,
    CONFIG_FILE,
    EXPORT_FILE,
    MODEL_FILE,
    MODEL_KIND,
    STATE_FILE,
    STATE_KIND,
)

_DATA = ("manifest.json", "metadata.jsonl", "metadata.csv")
_NAME_ONE = "name a run folder such as runs/NAME, a model.safetensors of glyffctl, or a model folder of diffusers"
_TRAIN_IN_IT = "train one in its latents with `glyffctl train --preset latent --codec"
_MOST_FOLDERS = 1000  # folders


def describe_non_model(path: Path) -> str | None:
    """Say in one line what an existing file or folder is, if it is no model of ours, and what to do instead.

    Returns:
        None where `path` may be such a model.
    """
    if path.is_dir() and not (path / MODEL_FILE).exists():
        return _in_folder(path)
    file = path / MODEL_FILE if path.is_dir() else path
    return _in_file(file) if file.is_file() else None


def _in_folder(folder: Path) -> str:
    if (folder / CODEC_FILE).exists():
        return f"{folder} holds a codec, not a model; {_TRAIN_IN_IT} {folder}`"
    return _known_folder(folder) or _unknown_folder(folder)


def _known_folder(folder: Path) -> str | None:
    """The kind of a folder, by the names of its files."""
    settings = _settings(folder)
    if (folder / EXPORT_FILE).exists():
        drawable = "; other commands than `train` and `export` take it" if is_pipeline(folder) else ""
        return f"{folder} was exported for other programs{drawable}; name the model that it was made from"
    if is_pipeline(folder) or settings.get("_class_name") == NETWORK:
        return f"{folder} holds a model of diffusers, which cannot be trained or exported here"
    if any((folder / name).exists() for name in _DATA):
        return f"{folder} is a data folder, not a model; {_NAME_ONE}"
    if (folder / STATE_FILE).exists() or settings.keys() >= {"glyffctl", "config"}:
        return (
            f"{folder} holds no model yet: its training has not reached the first checkpoint; continue it with "
            f"`glyffctl train --out {folder}`"
        )
    if "model_type" in settings:
        return f"{folder} holds a transformers model, the kind that `encoder` takes; {_NAME_ONE}"
    return None


def _unknown_folder(folder: Path) -> str:
    if below := sorted(_models_below(folder), key=by_number):
        names = [str(model.relative_to(folder)) for model in below]
        listed = f"there is {names[0]}" if len(names) == 1 else f"there are {', '.join(names[:3])}"
        more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
        what = f"name {below[0]}" if len(names) == 1 else "name one of them"
        return f"{folder} holds no model itself; {listed}{more} in it: {what}"
    try:
        empty = not any(folder.iterdir())
    except OSError as error:
        return f"cannot read {folder}: {reason(error)}"
    if empty:
        return f"{folder} holds no model: it is empty; train one with `glyffctl train --out {folder}`, or name another"
    return f"{folder} holds no model: there is no {MODEL_FILE} in it; {_NAME_ONE}"


def _in_file(file: Path) -> str | None:
    kind = _kind(file)
    if kind:
        return None if kind == MODEL_KIND else _of_ours(file, kind)
    if model_label(file) != str(file):
        return None  # damaged: `load_model` says so
    return _of_others(file) or (_unknown_file(file) if kind == "" or file.suffix != ".safetensors" else None)


def _of_ours(file: Path, kind: str) -> str:
    if kind == STATE_KIND:
        model = file.with_name(MODEL_FILE)
        if not model.exists() and file.with_name(CODEC_FILE).exists():
            return f"{file} is a training state ({kind}) of a codec, not a model; {_TRAIN_IN_IT} {file.parent}`"
        return f"{file} is a training state ({kind}), for resuming a run; its model is {model}"
    if kind == CODEC_KIND:
        return f"{file} is a codec, not a model; {_TRAIN_IN_IT} {file}`"
    if kind.partition("/")[0] == MODEL_KIND.partition("/")[0]:
        return (
            f"cannot use {model_label(file)}: it was written by another version of glyffctl, as {short_repr(kind)} "
            f"where this one reads {MODEL_KIND!r}; use that version, or name another model"
        )
    return f"{file} is not a model but {short_repr(kind)}; {_NAME_ONE}"


def _of_others(file: Path) -> str | None:
    """What a file belongs to, by the files beside it."""
    for folder in (file.parent.parent, file.parent):
        if is_pipeline(folder) and (folder == file.parent or file.parent.name in PARTS):
            return f"{file} belongs to a diffusers model; name its folder, {folder}"
    settings = _settings(file.parent)
    if settings.get("_class_name") == NETWORK:
        return f"{file} belongs to a diffusers model; name its folder, {file.parent}"
    if _kind(file.parent / MODEL_FILE) == MODEL_KIND:
        return f"{file} is not a model; name its folder, {file.parent}"
    if "model_type" in settings and file.name in (CONFIG_FILE, MODEL_FILE):
        return f"{file} belongs to a transformers model, the kind that `encoder` takes; {_NAME_ONE}"
    return None


def _unknown_file(file: Path) -> str:
    if file.suffix in PICKLED_SUFFIXES:
        return f"{file} is not read: weights in formats other than safetensors can run code; {_NAME_ONE}"
    if file.suffix == ".safetensors":
        return f"{file} is a safetensors file that glyffctl did not write; {_NAME_ONE}"
    return f"{file} is not a model; {_NAME_ONE}"


def _kind(file: Path) -> str | None:
    """The kind in the header of a safetensors file of ours, "" for other such files, None for anything else."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length)) if 2 <= length <= _LONGEST_HEADER else None
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(header, dict):
        return None
    metadata = header.get("__metadata__")
    kind = metadata.get("kind", "") if isinstance(metadata, dict) else ""
    return kind if isinstance(kind, str) else ""


_LONGEST_HEADER = 1 << 22  # bytes, as in `tensors`


def _settings(folder: Path) -> dict[str, object]:
    """config.json of a folder; {} where there is none that can be read."""
    try:
        return read_json(folder / CONFIG_FILE, GlyffError) if (folder / CONFIG_FILE).is_file() else {}
    except GlyffError:
        return {}


def _models_below(folder: Path) -> list[Path]:
    """Models one or two levels down: runs in a folder of runs, checkpoints, snapshots of the hub."""
    found = []
    for child in _folders(folder):
        if _is_model(child):
            found.append(child)
        else:
            found += [grandchild for grandchild in _folders(child) if _is_model(grandchild)]
    return found


def _folders(folder: Path) -> list[Path]:
    def there() -> Iterator[Path]:
        try:
            yield from (path for path in folder.iterdir() if path.is_dir())
        except OSError:
            return

    return list(islice(there(), _MOST_FOLDERS))


def _is_model(folder: Path) -> bool:
    try:
        return _kind(folder / MODEL_FILE) == MODEL_KIND or is_pipeline(folder)
    except OSError:  # without permission
        return False
