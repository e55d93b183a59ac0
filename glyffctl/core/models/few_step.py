"""A few-step student beside its model: what it is, and its file.

`few-step.safetensors` lies beside the `model.safetensors` that it belongs to, and holds only what differs from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glyffctl.core.diffusion.schedule import Schedule
from glyffctl.core.errors import ModelError, UsageError
from glyffctl.core.io.bundled import model_label, pretrained
from glyffctl.core.io.tensors import load_digested, save_tensors
from glyffctl.core.models.files import FEW_STEP_FILE, FEW_STEP_KIND
from glyffctl.core.models.recipe import PASSES, PLACES
from glyffctl.core.models.weights import SkipInit
from glyffctl.core.networks.network import Network
from glyffctl.core.networks.student import MergedStudent, Student
from glyffctl.version import __version__

_LEVELS = "levels"  # the tensor beside the weights
_FACTORS = ("left.", "right.")  # names of the factors of low rank begin so
_SCALE = ":scale"
_MOST = 127
_FINEST = (20.0, 12.0, 8.0, 4.0, 1.6, 0.3, 0.1)  # σ of pictures of 128×128, after the noisiest level
_SIZE = 128


def finest_levels(schedule: Schedule, size: int) -> Tensor:
    """The levels of `max(PASSES)` passes: (9,) float64, from the noisiest of `schedule` down to 0.

    They lie where the guesses of a picture of 128×128 move most, by half of their way above σ = 15, by a tenth below 2
    (measured with the bundled model), and at the end, where lines get sharp. A shape n times as wide survives n times
    the noise: smaller pictures take smaller levels.
    """
    top = float(schedule.sigmas[-1])
    scale = min(size / _SIZE, top / (2 * _FINEST[0]))
    return torch.tensor([top, *(level * scale for level in _FINEST), 0.0], dtype=torch.float64)


@dataclass(frozen=True, eq=False, kw_only=True)
class FewStep:
    """A student that draws in a few passes.

    Attributes:
        student: the network.
        levels: (9,) float64, descending to 0: those of 8 passes, see `PLACES`.
        passes: unless asked otherwise; 0 leaves to the whole model what does not ask for passes.
        guidance: the least and the largest γ that it has learned.
        images: jumps that it was shown in training.
        identity: a digest of its numbers, where it was read from a file.
    """

    student: Student
    levels: Tensor
    passes: int
    guidance: tuple[float, float]
    images: int
    identity: str = ""

    @cached_property
    def network(self) -> MergedStudent:
        """The network to draw with, where the teacher is now."""
        return self.student.to(next(self.student.teacher.parameters()).device).merged()

    def levels_of(self, passes: int) -> Tensor:
        """(passes+1,) float64: the levels of so many passes.

        Raises:
            UsageError: it cannot draw in so many.
        """
        if passes not in PLACES:
            raise UsageError(f"--passes must be one of {', '.join(map(str, PASSES))}, not {passes}")
        return self.levels[list(PLACES[passes])]


def save_few_step(path: Path, few: FewStep, base: str) -> None:
    """Write a student of the model whose identity is `base`, see `pack`."""
    header = {
        "glyffctl": __version__,
        "base": base,
        "rank": few.student.rank,
        "passes": few.passes,
        "guidance": list(few.guidance),
        "images": few.images,
    }
    save_tensors(path, FEW_STEP_KIND, {_LEVELS: few.levels, **pack(few.student.state_dict())}, header)


def pack(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a student as its file holds them: they are differences, of which a few digits are enough.

    The factors L and R of low rank are whole numbers in −127…127 for each row, to be multiplied by the row's scale in
    the tensor `NAME:scale`; the rest is in half precision.
    """
    packed = {}
    for name, tensor in weights.items():
        if name.startswith(_FACTORS):
            scale = tensor.abs().amax(1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / _MOST
            packed[name] = (tensor / scale).round().to(torch.int8)
            packed[name + _SCALE] = scale
        else:
            packed[name] = tensor.half()
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `pack`, but for its rounding; float32.

    Raises:
        KeyError: a scale is missing.
    """
    weights = {name: tensor.float() for name, tensor in packed.items() if not name.endswith(_SCALE)}
    return {
        name: tensor * packed[name + _SCALE] if name.startswith(_FACTORS) else tensor
        for name, tensor in weights.items()
    }


def load_few_step(path: Path, network: Network, base: str) -> FewStep | None:
    """Read the student of the model with this network and identity; None where there is no file.

    Raises:
        ModelError: it is cut short, damaged, of another version, or of another model.
    """
    if not path.exists():
        return None
    try:
        return _load(path, network, base)
    except ModelError as error:
        bundled = path == pretrained(FEW_STEP_FILE)
        what = "install glyffctl again" if bundled else "move it away to draw with the whole model"
        raise ModelError(f"{error}; {what}") from error


def _load(path: Path, network: Network, base: str) -> FewStep:
    label = model_label(path)
    tensors, header, identity = load_digested(path, FEW_STEP_KIND, ModelError)
    if header.get("base") != base:
        raise ModelError(f"{label} belongs to another model than the one beside it")
    levels = tensors.pop(_LEVELS, None)
    try:
        rank, passes, images = (_whole(header[name]) for name in ("rank", "passes", "images"))
        low, high = (float(end) for end in header["guidance"])
        with SkipInit():
            student = Student(network, max(1, rank), draw=False)
        student.load_state_dict(unpack(tensors))
    except (KeyError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise ModelError(f"cannot use {label}: its numbers do not fit its model") from error
    if not all(bool(tensor.isfinite().all()) for tensor in student.state_dict().values()):
        raise ModelError(f"cannot use {label}: it holds numbers that are not finite")
    if (
        levels is None
        or (levels.dtype, levels.ndim) != (torch.float64, 1)
        or len(levels) != max(PASSES) + 1
        or not bool((levels.diff() < 0).all() and levels[-1] == 0 and levels.isfinite().all())
        or passes not in (0, *PASSES)
        or not 1 <= low <= high
    ):
        raise ModelError(f"cannot use {label}: its levels, passes or guidance make no sense")
    student.eval().requires_grad_(False)
    return FewStep(
        student=student, levels=levels, passes=passes, guidance=(low, high), images=images, identity=identity
    )


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(f"not a whole number: {value!r}")
    return value
