"""Files of models of diffusers: which folder is one, where the weights of its network are, and reading them.

Weights are in one file or in shards with an index, under the plain name or a variant's:

    diffusion_pytorch_model.safetensors
    diffusion_pytorch_model.fp16.safetensors              the variant "fp16"
    diffusion_pytorch_model-00001-of-00004.safetensors …  and diffusion_pytorch_model.safetensors.index.json

safetensors only: loading runs no code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from glyffctl.core.errors import ModelError
from glyffctl.core.io.atomic import reason
from glyffctl.core.io.names import check_inside
from glyffctl.core.io.reading import read_json, short_repr
from glyffctl.core.io.tensor_files import check_tensors

INDEX_FILE = "model_index.json"
PARTS = ("unet", "scheduler", "text_encoder", "tokenizer")
NETWORK = "UNet2DConditionModel"
_STEM = "diffusion_pytorch_model"
UNET_WEIGHTS = f"{_STEM}.safetensors"
"""The file name of a network's weights in diffusers."""
# Versions of diffusers put the name of the variant in different places.
_NAME = re.compile(
    rf"{_STEM}(?:\.(\w+))?(?P<shard>-\d+-of-\d+)?(?:\.(\w+))?\.safetensors(?P<index>\.index(?:\.(\w+))?\.json)?"
)
_VARIANT_ORDER = ("", "fp32", "bf16", "fp16")  # variants that differ only in precision, best first
PICKLED_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
"""File name endings of weights whose loading can run code."""
_FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")


def is_pipeline(folder: Path) -> bool:
    """Whether `folder` is laid out as diffusers does, whatever is in its files."""
    named = any((folder / name).exists() for name in (INDEX_FILE, "unet"))
    return named or any(folder.glob(f"{_STEM}*"))


@dataclass
class _VariantFiles:
    """The files of one variant."""

    whole: str = ""
    index: str = ""
    shards: list[str] = field(default_factory=list)


def _group_by_variant(names: Iterable[str]) -> dict[str, _VariantFiles]:
    held: dict[str, _VariantFiles] = {}
    for name in sorted(names):
        found = _NAME.fullmatch(name)
        if found is None:
            continue
        files = held.setdefault(next((found[i] for i in (1, 3, 5) if found[i]), ""), _VariantFiles())
        if found["shard"]:
            files.shards.append(name)
        elif found["index"]:
            files.index = files.index or name
        else:
            files.whole = name
    return held


def weight_files(names: Iterable[str], where: str) -> list[str]:
    """Select the weights: one file, or an index and its shards.

    Of variants that differ only in precision, the best is taken.

    Args:
        names: the files of one folder.
        where: the name of the folder in messages.

    Returns:
        Names of files; [] where there are no weights.

    Raises:
        ModelError: there are several other variants, or an index is missing.
    """
    held = _group_by_variant(names)
    usable = {variant: files for variant, files in held.items() if files.whole or files.index}
    if not usable:
        for files in held.values():
            first = files.shards[0]
            index = re.sub(r"-\d+-of-\d+", "", first) + ".index.json"
            raise ModelError(f"{where} holds {first} without its index, {index}; get that too")
        return []
    ranked = [variant for variant in _VARIANT_ORDER if variant in usable]
    if not ranked and len(usable) > 1:
        raise ModelError(
            f"{where} holds several kinds of weights, {', '.join(sorted(usable))}, and does not say which to use; "
            f"name the one you want {UNET_WEIGHTS}"
        )
    files = usable[ranked[0] if ranked else next(iter(usable))]
    return [files.whole] if files.whole else [files.index, *files.shards]


def find_weights(folder: Path, *, model: Path) -> Path:
    """Find the file with the weights of a network, or the index of its shards.

    Args:
        folder: where to look.
        model: the folder that messages name.

    Raises:
        ModelError: there is none, or it is ambiguous; the message says what is there instead.
    """
    try:
        names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise ModelError(f"cannot read {folder}: {reason(error)}") from error
    found = weight_files(names, str(folder))
    if found:
        return folder / found[0]
    wanted = f"{model} has no {(folder / UNET_WEIGHTS).relative_to(model)}"
    if pickles := [name for name in names if name.endswith(PICKLED_SUFFIXES)]:
        raise ModelError(
            f"{wanted}, only {pickles[0]}; weights in other formats can run code when they are loaded: where you trust "
            "them, load them with diffusers and save them again with save_pretrained"
        )
    if others := [name for name in names if name.endswith(".safetensors")]:
        raise ModelError(f"{wanted}; if {others[0]} holds the weights of its network, give it that name")
    others = [name for name in names if name != "config.json"]
    there = f"; there is {', '.join(others[:3])}" if others else ""
    raise ModelError(f"{wanted}: the weights of its network are missing{there}")


def shard_names(index: Path) -> list[str]:
    """The files that an index names, relative to its folder.

    Raises:
        ModelError: it is not an index, or names a file outside its folder.
    """
    return sorted(set(_weight_map(index).values()))


def _weight_map(index: Path) -> dict[str, str]:
    """Weight → file."""
    listed = read_json(index, ModelError).get("weight_map")
    if not (isinstance(listed, dict) and listed and all(isinstance(file, str) and file for file in listed.values())):
        raise ModelError(f"cannot use {index}: it does not say which weights are in which file (weight_map)")
    for file in listed.values():
        check_inside(file, index, ModelError)
    return listed


def read_weights(path: Path) -> dict[str, Tensor]:
    """Load all weights, in float32 on the CPU; `path` comes from `find_weights`.

    Raises:
        ModelError: a file is missing, damaged, outside the folder, or holds anything but finite floating-point numbers.
    """
    if path.suffix != ".json":
        return _load_file(path)
    listed = _weight_map(path)
    weights: dict[str, Tensor] = {}
    for file in shard_names(path):
        shard = path.parent / file
        if not shard.exists():
            raise ModelError(
                f"{path.parent} has no {short_repr(file)[1:-1]}, which {path.name} names; get that file too"
            )
        held = _load_file(shard)
        lacking = sorted(name for name, where in listed.items() if where == file and name not in held)
        if lacking:
            raise ModelError(f"cannot use {shard}: it has no {lacking[0][:100]}, which {path.name} says it holds")
        weights |= {name: tensor for name, tensor in held.items() if listed.get(name, file) == file}
    return weights


def _load_file(path: Path) -> dict[str, Tensor]:
    check_tensors(path, ModelError)
    _check_types(path)
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {reason(error)}") from error
    except SafetensorError as error:
        cause = str(error)[:200]
        raise ModelError(f"cannot read {path}: it is cut short or not a safetensors file ({cause})") from error
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"cannot use {path}: it holds weights that are not finite numbers ({name[:100]})")
    return weights


def _check_types(path: Path) -> None:
    """Refuse types that float32 cannot hold: they are parts of quantised weights."""
    with path.open("rb") as file:
        try:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        except (ValueError, RecursionError):
            return  # safetensors reports it
    for name, about in header.items() if isinstance(header, dict) else ():
        kind = about.get("dtype") if isinstance(about, dict) else None
        if name != "__metadata__" and isinstance(kind, str) and kind not in _FLOATS:
            raise ModelError(
                f"cannot use {path}: {name[:100]} is stored as {short_repr(kind)[1:-1]}, as in quantised models, which "
                "are not supported; name the model in float32, float16, bfloat16 or float8"
            )
