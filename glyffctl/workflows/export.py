"""`glyffctl export`: write a model for other programs, with its text encoder and a page on how to draw with it."""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

from glyffctl.core.codecs.pixels import Pixels
from glyffctl.core.errors import EmbeddingError, ModelError, OutputError, UsageError
from glyffctl.core.interop.diffusers_codec import difference as autoencoder_difference
from glyffctl.core.interop.diffusers_codec import write_autoencoder
from glyffctl.core.interop.diffusers_export import (
    as_unet,
    compare,
    scheduler_config,
    text_weights,
    unet_config,
    unet_weights,
)
from glyffctl.core.interop.exported import TEXT_FILE, load_exported
from glyffctl.core.interop.onnx_export import DenoiserGraph, check_packages, export_denoiser, export_encoder, session
from glyffctl.core.io.atomic import atomic_folder, check_writable
from glyffctl.core.io.bundled import model_name
from glyffctl.core.io.diffusers_files import NETWORK, UNET_WEIGHTS
from glyffctl.core.io.names import check_name
from glyffctl.core.models.checkpoint import EXPORT_FILE, TrainedModel
from glyffctl.core.models.codec_file import is_codec, load_codec
from glyffctl.core.text.encoder import PretrainedEncoder
from glyffctl.version import __version__
from glyffctl.workflows.events import Caution, Event, Note, Progress
from glyffctl.workflows.export_pages import autoencoder_page, diffusers_page, onnx_page
from glyffctl.workflows.find_model import find_model
from glyffctl.workflows.models import load_drawing_model, load_text_encoder

Format = Literal["diffusers", "onnx"]
_TOLERANCE = 1e-3  # relative to the network's largest output; rounding gives a hundredth of it

_EXAMPLES = ("lithium", "a kind of fish", "")


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options of `export`.

    Attributes:
        model: as in `sample`.
        format: "diffusers" or "onnx".
        encoder: where the model's text encoder is now; None is where it was in training.
        out: the folder to create; None is model-FORMAT.
    """

    model: Path | None = None
    format: Format = "onnx"
    encoder: str | None = None
    out: Path | None = None


@dataclass(frozen=True)
class ExportReport:
    """Result of `export`.

    Attributes:
        out: the folder.
        files: the files in it.
        model: the model that was exported.
        difference: largest difference between outputs of the export and of the model, relative to the largest output;
            None if the export could not be run here.
    """

    out: Path
    files: list[Path]
    model: Path
    difference: float | None


def export(options: ExportOptions) -> Generator[Event, None, ExportReport]:
    """Write a model for other programs.

    Raises:
        GlyffError: the model, its encoder or the output cannot be used, or a package is missing.
    """
    out = options.out or Path(f"model-{options.format}")
    _check_output(out)
    if options.format == "onnx":
        check_packages()
    path, why = yield from find_model(options.model)
    if is_codec(path):
        return (yield from _export_codec(options, out, path))
    model = load_drawing_model(path)
    yield Note(
        f"model: {model_name(path)}{why}, {model.history}", "model-chosen", {"model": path, "history": model.history}
    )
    if not isinstance(model.codec, Pixels):
        raise ModelError(
            f"only models of plain pixels can be exported; this one has the codec {model.origin.config.codec.kind}"
        )
    if options.format == "diffusers":
        unet_config(as_unet(model.network))  # raise errors before slow work
    encoder = yield from load_text_encoder(model, options.encoder, with_transformers=True)
    if not isinstance(encoder, PretrainedEncoder):
        raise EmbeddingError(f"the text encoder {encoder.name} is not a transformers model and cannot be exported")
    with atomic_folder(out) as folder:
        write = _write_diffusers if options.format == "diffusers" else _write_onnx
        difference = yield from write(folder, model, encoder)
        about = json.dumps(_about(model, encoder, options.format), indent=1, ensure_ascii=False)
        (folder / EXPORT_FILE).write_text(about + "\n", encoding="utf-8")
        if options.format == "diffusers":
            _check_loads(folder, model)
        files = sorted(out / file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return ExportReport(out, files, model_name(path), difference)


def _export_codec(options: ExportOptions, out: Path, path: Path) -> Generator[Event, None, ExportReport]:
    """Write a codec as an AutoencoderKL."""
    if options.format != "diffusers":
        raise UsageError(f"{path} is a codec, which is written for diffusers alone; use `format` diffusers")
    codec = load_codec(path)
    with atomic_folder(out) as folder:
        write_autoencoder(folder, codec)
        (folder / "README.md").write_text(autoencoder_page(codec.size), encoding="utf-8")
        about = {"glyffctl": __version__, "format": options.format, "weights": codec.identity}
        (folder / EXPORT_FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        found = autoencoder_difference(codec, folder)
        if found is None:
            yield Caution("diffusers is not installed here, so the export was not tested", "export-untested")
        else:
            _check(found)
        files = sorted(out / file.name for file in folder.iterdir())
    return ExportReport(out, files, path, found)


def _check_output(out: Path) -> None:
    """Raise an error unless `out` is new, empty, or an earlier export."""
    if out.is_dir() and any(out.iterdir()) and not (out / EXPORT_FILE).is_file():
        raise OutputError(f"{out} holds other files; name a new folder with --out")
    check_writable(out)
    check_name(out, OutputError)


def _about(model: TrainedModel, encoder: PretrainedEncoder, format: Format) -> dict[str, Any]:
    """What a program needs to draw with the model, and where the model comes from."""
    origin = model.origin
    return {
        "glyffctl": __version__,
        "format": format,
        "weights": model.identity,
        "images": model.images,
        "config": origin.as_dict()["config"],
        "picture": {"size": model.codec.size, "black": -1, "white": 1},
        "text": {
            "width": model.text_width,
            "max_tokens": encoder.max_tokens,
            "fingerprint": encoder.fingerprint,
        },
        "schedule": {"name": origin.config.diffusion.schedule, "sigmas": model.schedule.sigmas.tolist()},
        "sampling": {**model.full_recipe.as_plain(), "clip": model.codec.limit},
    }


def _write_diffusers(
    folder: Path, model: TrainedModel, encoder: PretrainedEncoder
) -> Generator[Event, None, float | None]:
    network = as_unet(model.network)
    held = {name: tensor.contiguous() for name, tensor in unet_weights(network).items()}
    config = {"_class_name": NETWORK, **unet_config(network)}
    _write_json(folder / "unet" / "config.json", config)
    save_file(held, folder / "unet" / UNET_WEIGHTS, {"format": "pt"})
    scheduler = {"_class_name": "DPMSolverMultistepScheduler", **scheduler_config(model.schedule, model.prediction)}
    _write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    save_file({name: t.contiguous() for name, t in text_weights(network).items()}, folder / TEXT_FILE)
    kind = encoder.save_model(folder / "text_encoder")
    encoder.save_tokenizer(folder / "tokenizer")
    page = diffusers_page(network.config, model.full_recipe, kind, encoder.max_tokens)
    (folder / "README.md").write_text(page, encoding="utf-8")
    try:
        difference = compare(network, unet_config(network), folder / "unet" / UNET_WEIGHTS)
    except UsageError:
        yield Caution("diffusers is not installed here, so the export was not tested", "export-untested")
        return None
    _check(difference)
    return difference


def _check_loads(folder: Path, model: TrainedModel) -> None:
    """Check that the export loads as the same network."""
    ours, held = model.network.state_dict(), load_exported(folder).network.state_dict()
    if ours.keys() != held.keys() or not all(torch.equal(held[name], tensor) for name, tensor in ours.items()):
        raise ModelError("the export loads as other weights: this is a bug in glyffctl; please report it")


def _write_onnx(folder: Path, model: TrainedModel, encoder: PretrainedEncoder) -> Generator[Event, None, float | None]:
    yield Progress("Exporting", 0, 3, note="text encoder")
    export_encoder(folder / "text_encoder.onnx", encoder)
    encoder.save_tokenizer(folder / "tokenizer")
    if not (folder / "tokenizer" / "tokenizer.json").is_file():
        yield Caution(
            "the tokenizer has no tokenizer.json: load it with transformers, not with tokenizers",
            "tokenizer-not-portable",
        )
    yield Progress("Exporting", 1, 3, note="denoiser")
    export_denoiser(folder / "denoiser.onnx", model.network, model.prediction)
    (folder / "README.md").write_text(onnx_page(one_pass=model.network.one_pass), encoding="utf-8")
    yield Progress("Exporting", 2, 3, note="testing")
    difference = _difference(folder, model, encoder)
    _check(difference)
    yield Progress("Exporting", 3, 3)
    return difference


@torch.no_grad()
def _difference(folder: Path, model: TrainedModel, encoder: PretrainedEncoder) -> float:
    """The largest difference of D(x, σ) between graphs and model, from text to picture, relative to its size."""
    ids = encoder.tokenize([text for text in _EXAMPLES if text])
    length = max(map(len, ids))
    rows = torch.tensor([row + [0] * (length - len(row)) for row in ids])
    mask = torch.arange(length) < torch.tensor([[len(row)] for row in ids])
    tokens = session(folder / "text_encoder.onnx")({"ids": rows, "mask": mask})
    empty = torch.zeros(1, length, model.text_width)
    tokens, mask = torch.cat([tokens, empty]), torch.cat([mask, torch.zeros(1, length, dtype=torch.bool)])
    encoded = encoder.encode(list(_EXAMPLES))
    denoiser, graph = session(folder / "denoiser.onnx"), DenoiserGraph(model.network, model.prediction)
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for sigma in model.schedule.steps(5)[:-1].float().tolist():
        x = (1 + sigma**2) ** 0.5 * torch.randn(len(mask), *model.codec.shape, generator=generator)
        level = torch.full((len(mask),), sigma)
        expected: Tensor = graph(x, level, encoded.tokens, encoded.mask)
        found = denoiser({"x": x, "sigma": level, "tokens": tokens, "mask": mask})
        worst = max(worst, float((found - expected).abs().max() / expected.abs().max().clamp(min=1)))
    return worst


def _check(difference: float) -> None:
    if not difference < _TOLERANCE:
        raise ModelError(
            f"the export computes other outputs than the model, by {difference:.1e}, and was deleted: the versions of "
            "PyTorch, onnx and diffusers here may not fit together; try others"
        )


def _write_json(path: Path, plain: dict[str, Any]) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
