"""Small models with random weights, as diffusers writes them, and diffusers' own schedulers for them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from tests.stand_ins import make_t5
from tests.toys import in_double

WIDTH = 64
SMALL = {
    "sample_size": 16,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (32, 32),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 8,
}
# The glyffuser's, as its notebook has it, with a quarter or less of each width.
AUTHOR = SMALL | {
    "sample_size": 32,
    "layers_per_block": 2,
    "block_out_channels": (32, 64, 128, 128),
    "down_block_types": ("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    "addition_embed_type": "text",
    "encoder_hid_dim": WIDTH,
    "encoder_hid_dim_type": "text_proj",
}


def make_unet(folder: Path, config: dict[str, Any]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        UNet2DConditionModel(**config).save_pretrained(folder)


def write_json(path: Path, plain: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain))


def edit_json(path: Path, **values: object) -> None:
    write_json(path, json.loads(path.read_text()) | values)


def make_pipeline(
    folder: Path,
    config: dict[str, Any] = SMALL,
    scheduler: str = "DPMSolverMultistepScheduler",
    pipeline: str = "SomePipeline",
    **settings: object,
) -> Path:
    """Write a pipeline with random weights; what its scheduler's JSON does not say is left to the scheduler."""
    make_unet(folder / "unet", config)
    write_json(folder / "scheduler/scheduler_config.json", {"_class_name": scheduler, **settings})
    parts = {"scheduler": ["diffusers", scheduler], "unet": ["diffusers", "UNet2DConditionModel"]}
    write_json(folder / "model_index.json", {"_class_name": pipeline, "_diffusers_version": "0.28.0", **parts})
    return folder


def add_encoder(folder: Path, width: int = WIDTH) -> None:
    """Give a pipeline a text encoder, in the two folders that diffusers puts it in."""
    make_t5(folder / "text_encoder", width)
    (folder / "tokenizer").mkdir()
    for file in (folder / "text_encoder").glob("tokenizer*"):
        file.rename(folder / "tokenizer" / file.name)
    edit_json(
        folder / "model_index.json",
        text_encoder=["transformers", "T5EncoderModel"],
        tokenizer=["transformers", "T5TokenizerFast"],
    )


CLASSES = {"DDPMScheduler": "ddpm", "DDIMScheduler": "ddim", "DPMSolverMultistepScheduler": "dpmsolver_multistep"}
WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def scheduler_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """diffusers' own scheduler for a pipeline, in float64."""
    plain = json.loads((folder / "scheduler/scheduler_config.json").read_text())
    name = plain.pop("_class_name")
    return getattr(in_double(monkeypatch, CLASSES[name]), name)(**plain)


def only_pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "unet/diffusion_pytorch_model.bin")
