"""Few-step students that learned nothing: small random differences, to compare two ways of drawing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from glyffctl.core.diffusion.schedule import make_schedule
from glyffctl.core.io.bundled import pretrained
from glyffctl.core.models.checkpoint import Origin, load_model, save_model, trained_model
from glyffctl.core.models.config import CodecConfig, Config, DiffusionConfig
from glyffctl.core.models.few_step import FewStep, finest_levels, save_few_step
from glyffctl.core.models.files import EncoderInfo
from glyffctl.core.networks.network import build_network
from glyffctl.core.networks.student import Student
from glyffctl.core.networks.unet import UNetConfig


def make_student(folder: Path, rank: int = 4, passes: int = 4) -> Path:
    """The bundled model in `folder`, with a student beside it whose pictures are nearly those of the model."""
    shutil.copy(pretrained("model.safetensors"), folder)
    _add_student(folder, rank, 0.002, passes)
    return folder


def make_toy(folder: Path, **sizes: Any) -> Path:
    """A small random model in `folder` with a student. `sizes` are those of `UNetConfig`."""
    network = UNetConfig(
        **{
            "size": 16,
            "text_width": 8,
            "patch": 2,
            "channels": (8, 16),
            "attention": (1,),
            "head_width": 8,
            "context_width": 8,
            **sizes,
        }
    )
    config = Config(
        network=network,
        codec=CodecConfig(size=network.size),
        diffusion=DiffusionConfig(prediction="x0", schedule="karras"),
    )
    torch.manual_seed(0)
    built = build_network(network)
    for parameter in built.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1  # some are 0 at first, and would hide others
    origin = Origin(config, EncoderInfo("bundled", "", 64), "")
    save_model(
        folder / "model.safetensors", trained_model(built, make_schedule("karras"), origin, images=7, epochs=1.5)
    )
    _add_student(folder, 2, 0.05, passes=4)
    return folder


def _add_student(folder: Path, rank: int, spread: float, passes: int) -> None:
    model = load_model(folder)
    torch.manual_seed(1)
    student = Student(model.network, rank)
    for parameter in student.parameters():
        parameter.data += torch.randn_like(parameter) * spread
    few = FewStep(
        student=student,
        levels=finest_levels(model.schedule, model.codec.size),
        passes=passes,
        guidance=(1.0, 8.0),
        images=1,
    )
    save_few_step(folder / "few-step.safetensors", few, model.identity)
