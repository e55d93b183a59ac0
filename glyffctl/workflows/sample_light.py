"""Drawing for `sample` without PyTorch: what a few-step student draws on a CPU, where onnxruntime is installed.

PyTorch takes longer to import than four passes for a picture. Whatever is unusual, or wrong with a file, is left to it.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from glyffctl.core.io.bundled import BUNDLED
from glyffctl.core.io.cores import usable_cores
from glyffctl.core.io.images import Array
from glyffctl.core.light.model import Declined, LightModel, load_light
from glyffctl.core.light.student import load_student, to_pixels
from glyffctl.core.light.text import LightEncoder, load_light_encoder, no_texts
from glyffctl.core.models.files import EXPORT_FILE, FEW_STEP_FILE, MODEL_FILE, history
from glyffctl.core.models.recipe import FEW_STEP, Recipe
from glyffctl.workflows.events import Event, Progress
from glyffctl.workflows.sample_options import SampleOptions

RUNTIME = "onnxruntime"
_MOST = 64  # pictures: for more, the second that PyTorch takes to import is soon won back where bfloat16 is fast
_GPU_FILES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")  # of NVIDIA, of Windows' Linux, of AMD


def may_draw_light(options: SampleOptions) -> bool:
    """Whether these options ask for nothing that only PyTorch can do, as far as can be told without the model."""
    return (
        (options.device == "cpu" or (options.device == "auto" and not _has_gpu()))
        and options.runtime in (None, RUNTIME)
        and options.precision in ("auto", "fp32")
        and options.encoder in (None, BUNDLED)
        and not options.negative.strip()
        and options.lead is None
        and options.away is None
        and options.source is None
        and (options.count * len(options.prompts) <= _MOST or options.runtime == RUNTIME)
        and (options.recipe is None or options.recipe.sampler == FEW_STEP)
        and find_spec(RUNTIME) is not None
    )


def _has_gpu() -> bool:
    """Whether PyTorch may find a CUDA GPU: asked where it is loaded anyway, else guessed."""
    if "torch" in sys.modules:
        return bool(sys.modules["torch"].cuda.is_available())
    windows = Path(os.environ.get("SYSTEMROOT", "")) / "System32" / "nvcuda.dll"
    return any(Path(file).exists() for file in _GPU_FILES) or windows.exists()


def light_artist(options: SampleOptions, path: Path, threads: int | None) -> LightArtist | None:
    """Load a model to draw with onnxruntime; None where it has no student, or PyTorch has to look at it.

    Args:
        options: for which `may_draw_light` holds.
        path: the model: its file or its run folder.
        threads: to draw with; None are as many as there are cores.
    """
    folder = path if path.is_dir() else path.parent
    model, student = folder / MODEL_FILE, folder / FEW_STEP_FILE
    if path not in (folder, model) or not student.is_file() or (folder / EXPORT_FILE).exists():
        return None
    try:
        return LightArtist(options, load_light(model, student), threads or _threads())
    except Declined:
        return None


class LightArtist:
    """A few-step student in onnxruntime, see `sample.Artist`."""

    runtime, device, precision = RUNTIME, "cpu", "fp32"
    guiding = sourcing = None

    def __init__(self, options: SampleOptions, model: LightModel, threads: int) -> None:
        """Load the text encoder, if there is text, and make the network ready.

        Raises:
            Declined: the student cannot draw that, or something is wrong with a file.
        """
        self._options = options
        self._model = model
        self.size, self.identity = model.sizes.size, model.identity
        self.history = history(model.images, model.epochs)
        self.encoder = model.encoder.name
        self.recipe = self._recipe()
        self._levels = model.levels_of(self.recipe.steps)
        has_text = any(text.strip() for text in options.prompts)
        self._encoder = load_light_encoder(model) if has_text else None
        self.threads, self.batch = threads, options.batch
        self._student = load_student(model, threads)

    def _recipe(self) -> Recipe:
        """As `models.choose_recipe` chooses it, where the student is in its choice."""
        options, (low, high) = self._options, self._model.guidance
        if options.recipe is None and not self._model.passes:
            raise Declined
        recipe = options.recipe or Recipe(sampler=FEW_STEP, steps=self._model.passes)
        if options.guidance is not None:
            recipe = replace(recipe, guidance=options.guidance)
        if not low <= recipe.guidance <= high:
            raise Declined
        return recipe

    @contextmanager
    def with_threads(self, count: int | None) -> Iterator[None]:  # noqa: ARG002
        """See `sample.Artist`; the network was made for them."""
        yield

    def load_encoder(self) -> Generator[Event, None, LightEncoder | None]:
        """See `sample.Artist`."""
        if self._encoder is not None:
            yield Progress("Loading the text encoder", 1, 1)
        return self._encoder

    def draw(self) -> Generator[Event, None, tuple[Array, list[Array]]]:
        """See `sample.Artist`."""
        options, steps = self._options, self.recipe.steps
        prompt = np.arange(len(options.prompts)).repeat(options.count)
        seeds = np.tile(options.seed + np.arange(options.count), len(options.prompts))
        if self._encoder is None:
            texts = no_texts(len(options.prompts), self._model.text_width)
        else:
            texts = self._encoder.encode(options.prompts)
        pictures: list[Array] = []
        frames: list[list[Array]] = [[] for _ in range(steps)]
        for first in range(0, len(prompt), options.batch):
            rows = slice(first, first + options.batch)
            x = np.empty(0)
            passes = self._student.draw(texts, prompt[rows], seeds[rows], self._levels, self.recipe.guidance)
            for i, x in enumerate(passes):
                if options.gif:
                    # The DDPM view of x has the scale of a picture at every noise level.
                    frames[i].append(to_pixels(x / math.sqrt(1 + float(self._levels[i + 1]) ** 2)))
                yield Progress("Drawing", first + len(x) * (i + 1) / steps, len(prompt), "pictures")
            pictures.append(to_pixels(x))
        return np.concatenate(pictures), [np.concatenate(parts) for parts in frames] if options.gif else []


def _threads() -> int:
    """Threads to draw with: OMP_NUM_THREADS limits them as it limits PyTorch's."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(usable_cores(), int(limit))) if limit.isdecimal() else usable_cores()
