"""Our denoiser and its text encoder as ONNX graphs: pictures without Python, or without PyTorch.

Graphs with free batch size and text length, float32 in and out; what depends on σ alone is computed in float64, as in
`denoiser`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser, PredictionType
from glyffctl.core.errors import ModelError, UsageError, first_line
from glyffctl.core.networks.network import Network
from glyffctl.core.text.encoder import PretrainedEncoder

_LARGEST = 2_000_000_000  # bytes that fit into one file of ONNX, which is a protocol buffer


class DenoiserGraph(nn.Module):
    """D(x, σ) for text as the encoder gives it."""

    inputs = ("x", "sigma", "tokens", "mask")
    output = "x0"

    def __init__(self, network: Network, prediction: PredictionType) -> None:
        super().__init__()
        self.network = network
        self.prediction = prediction

    def forward(self, x: Tensor, sigma: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """x and the result (B, C, H, W); sigma (B,); tokens (B, L, D); mask (B, L), all False: no caption."""
        denoiser = Denoiser(self.network, self.prediction)
        return denoiser(x, sigma, self.network.encode(Condition(tokens, mask)))


class EncoderGraph(nn.Module):
    """A text encoder's last hidden state, zeros at the padding."""

    inputs = ("ids", "mask")
    output = "tokens"

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids (B, L) int64, mask (B, L) bool with a token in each row; the result is (B, L, D)."""
        hidden: Tensor = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return hidden.masked_fill(~mask[..., None], 0.0)


def export_denoiser(path: Path, network: Network, prediction: PredictionType) -> None:
    """Write D(x, σ, text) to `path`.

    Raises:
        ModelError: it cannot be written as ONNX.
    """
    config = network.config
    mask = torch.arange(5)[None] < torch.tensor([0, 2, 5])[:, None]
    example = (
        torch.randn(3, config.in_channels, config.size, config.size),
        torch.tensor([0.1, 1.0, 10.0]),
        torch.randn(3, 5, config.text_width),
        mask,
    )
    dynamic = ({0: "batch"}, {0: "batch"}, {0: "batch", 1: "length"}, {0: "batch", 1: "length"})
    _export(path, DenoiserGraph(network, prediction), example, dynamic)


def export_encoder(path: Path, encoder: PretrainedEncoder) -> None:
    """Write a text encoder to `path`.

    Raises:
        ModelError: it cannot be written as ONNX.
    """
    mask = torch.arange(5)[None] < torch.tensor([1, 2, 5])[:, None]
    both = {0: "batch", 1: "length"}
    with encoder.plain_attention() as model:
        _export(path, EncoderGraph(model), (torch.ones(3, 5, dtype=torch.long), mask), (both, both))


def _export(path: Path, graph: Any, example: tuple[Tensor, ...], dynamic: tuple[dict[int, str], ...]) -> None:
    weights = sum(parameter.numel() * parameter.element_size() for parameter in graph.parameters())
    try:
        with _quiet(), torch.no_grad():
            program: Any = torch.onnx.export(
                graph.eval(),
                example,
                dynamo=True,
                input_names=list(graph.inputs),
                output_names=[graph.output],
                dynamic_shapes=dynamic,
                verbose=False,
            )
            program.save(path, external_data=weights > _LARGEST)
    except OSError:
        raise
    except Exception as error:  # the exporter has a type of its own for each of its steps, in every version others
        cause = first_line(error.__cause__ or error)
        raise ModelError(f"PyTorch's exporter could not turn this network into {path.name}: {cause}") from error


def session(path: Path) -> Callable[[dict[str, Tensor]], Tensor]:
    """What runs a graph in onnxruntime, on the CPU."""
    import onnxruntime  # noqa: PLC0415

    running = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, Tensor]) -> Tensor:
        return torch.from_numpy(running.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})[0])

    return run


def check_packages() -> None:
    """See that what writing and trying ONNX needs is there.

    Raises:
        UsageError: a package is not installed.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                __import__(package)
        except ImportError:
            raise UsageError(f'`format` onnx needs the package {package}: pip install "glyffctl[onnx]"') from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's log lines and warnings about itself off the terminal; errors still are exceptions."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
