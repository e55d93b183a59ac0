"""The bundled model's few-step student, read with NumPy from the files that `models.checkpoint` reads with PyTorch.

Whatever is unusual or wrong with a file is not for this wing to describe: it declines, and the way through PyTorch
draws or says what to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from glyffctl.core.errors import ModelError
from glyffctl.core.io.arrays import load_arrays
from glyffctl.core.light.unet_graph import UNetSizes
from glyffctl.core.models.files import FEW_STEP_KIND, MODEL_KIND, EncoderInfo, epochs_of
from glyffctl.core.models.recipe import PASSES, PLACES

Array = np.ndarray[Any, np.dtype[Any]]


class Declined(Exception):  # noqa: N818 - no error: another way is taken
    """This wing cannot draw with a model as it is."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LightModel:
    """A model with its few-step student's weights merged in, float32.

    Attributes:
        weights: of the student's network and its jump, by name.
        sizes: of the network.
        text_width: D of the token vectors that it takes.
        encoder: which text encoder it takes.
        levels: (9,) float64, descending to 0: those of 8 passes.
        passes: unless asked otherwise; 0 are none.
        guidance: the least and the largest γ that the student has learned.
        images: pictures that the model was trained on.
        epochs: how often it has seen its data.
        identity: a digest of all numbers that pictures depend on.
    """

    weights: dict[str, Array]
    sizes: UNetSizes
    text_width: int
    encoder: EncoderInfo
    levels: Array
    passes: int
    guidance: tuple[float, float]
    images: int
    epochs: float | None
    identity: str

    def levels_of(self, passes: int) -> Array:
        """(passes+1,) float64: the levels of so many passes.

        Raises:
            Declined: it cannot draw in so many.
        """
        if passes not in PLACES:
            raise Declined
        return self.levels[list(PLACES[passes])]


def load_light(model: Path, student: Path) -> LightModel:
    """Load a model and its student from their files.

    Raises:
        Declined: a file is missing, damaged or not what this wing can draw with.
    """
    try:
        base, few = load_arrays(model, MODEL_KIND, ModelError), load_arrays(student, FEW_STEP_KIND, ModelError)
        return _merge(base.tensors, base.header, few.tensors, few.header, (base.digest, few.digest))
    except (ModelError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as cause:
        raise Declined from cause


def _merge(
    weights: dict[str, Array],
    header: dict[str, Any],
    differences: dict[str, Array],
    few: dict[str, Any],
    digests: tuple[str, str],
) -> LightModel:
    if few["base"] != digests[0]:
        raise Declined
    config = header["config"]
    network, codec = config["network"], config["codec"]
    if (network["kind"], codec["kind"], config["diffusion"]["prediction"]) != ("unet", "pixels", "x0"):
        raise Declined
    if (
        network["text_width"] < 1
        or not network["pooled_text"]
        or not network.get("cross_text", True)  # files from before there was a choice do not say
        or network.get("time", "film") != "film"
        or network["size"] != codec["size"]
        or network["in_channels"] != 1
    ):
        raise Declined
    sizes = UNetSizes(
        size=network["size"],
        in_channels=network["in_channels"],
        patch=network["patch"],
        channels=tuple(network["channels"]),
        blocks=network["blocks"],
        attention=tuple(network["attention"]),
        head_width=network["head_width"],
        context_width=network["context_width"],
    )
    images, encoder = header["images"], EncoderInfo(**header["encoder"])
    levels, low, high = differences["levels"], float(few["guidance"][0]), float(few["guidance"][1])
    if (
        (str(levels.dtype), levels.ndim) != ("float64", 1)
        or len(levels) != max(PASSES) + 1
        or few["passes"] not in (0, *PASSES)
        or not ((np.diff(levels) < 0).all() and levels[-1] == 0 and np.isfinite(levels).all())
        or not 1 <= low <= high
        or type(images) is not int
        or images < 0
        or [type(value) for value in (encoder.name, encoder.fingerprint, encoder.max_tokens)] != [str, str, int]
    ):
        raise Declined
    del weights["schedule.sigmas"]
    merged = {name: value.astype(np.float32) for name, value in differences.items() if name.startswith("embed_jump.")}
    for name, value in weights.items():
        key = name.replace(".", "/")
        if f"whole.{key}" in differences:
            difference = differences[f"whole.{key}"].astype(np.float32)
        else:
            left, right = (_unpacked(differences, f"{side}.{key}") for side in ("left", "right"))
            difference = (left @ right).reshape(value.shape)
        difference += value  # W16 is widened as it is added: no other array of this size is made
        merged[name] = difference
    if not all(np.isfinite(value).all() for value in merged.values()):
        raise Declined
    return LightModel(
        weights=merged,
        sizes=sizes,
        text_width=network["text_width"],
        encoder=encoder,
        levels=levels,
        passes=few["passes"],
        guidance=(low, high),
        images=images,
        epochs=epochs_of(header),
        identity="+".join(digests),
    )


def _unpacked(packed: dict[str, Array], name: str) -> Array:
    """A factor of low rank, see `models.few_step.pack`."""
    return packed[name].astype(np.float32) * packed[f"{name}:scale"]
