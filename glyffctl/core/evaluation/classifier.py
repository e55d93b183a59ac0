"""The classifier: a small network that predicts the Kangxi radical of a glyph.

It is independent of the model that it evaluates: it is trained on the pixels of real fonts, without text. Its
prediction measures whether a prompt was followed; the 128 activations before its last layer are the features in which
distributions of glyphs are compared (`metrics`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glyffctl.core.data.radical_names import RADICALS
from glyffctl.core.errors import ModelError
from glyffctl.core.io.bundled import pretrained
from glyffctl.core.io.tensors import load_tensors, save_tensors

SIZE = 64
"""Height and width of the classifier's input, in pixels; other pictures are resized."""
FEATURES = 128
CLASSIFIER_KIND = "glyffctl-judge/1"
_WIDTHS = (64, 128, 192)
_DROPOUT = 0.2
_BATCH = 256  # pictures


class _Block(nn.Module):
    """A residual block of two convolutions (He et al. 2016, figure 2)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm_first = nn.BatchNorm2d(out_channels)
        self.second = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.norm_second = nn.BatchNorm2d(out_channels)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.around = nn.Sequential(nn.AvgPool2d(stride), nn.Conv2d(in_channels, out_channels, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm_second(self.second(F.relu(self.norm_first(self.first(x)))))
        return F.relu(self.around(x) + inner)


class RadicalClassifier(nn.Module):
    """A residual network of 0.95 million parameters."""

    def __init__(self) -> None:
        super().__init__()
        low, middle, high = _WIDTHS
        self.body = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4, 24, 3, 1, 1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, low, 3, 2, 1, bias=False),
            nn.BatchNorm2d(low),
            nn.ReLU(),
            _Block(low, low),
            _Block(low, middle, 2),
            _Block(middle, high, 2),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(high, FEATURES),
            nn.BatchNorm1d(FEATURES),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURES, RADICALS)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, ink: Tensor) -> tuple[Tensor, Tensor]:
        """Compute features (B, 128), not negative, and logits (B, 214) of ink (B, 1, 64, 64) in 0…1, 1 is black."""
        features = self.body(ink.contiguous(memory_format=torch.channels_last))
        return features, self.head(F.dropout(features, _DROPOUT, self.training))


class Prediction(NamedTuple):
    """The classifier's features and predictions for N pictures."""

    features: Tensor  # (N, 128) float32
    radical: Tensor  # (N,) int64, 1…214


def to_ink(pictures: Tensor) -> Tensor:
    """Ink (N, 1, 64, 64) float32 in 0…1 of pictures (N, H, W) or (N, 1, H, W) uint8, 255 is paper."""
    ink = 1 - pictures.reshape(len(pictures), 1, *pictures.shape[-2:]).float() / 255
    if ink.shape[-2:] != (SIZE, SIZE):
        ink = F.interpolate(ink, (SIZE, SIZE), mode="bilinear", antialias=True)
    return ink


@torch.no_grad()
def predict(classifier: RadicalClassifier, batches: Iterable[Tensor]) -> Prediction:
    """Classify batches of pictures (N, 1, H, W) or (N, H, W) uint8, 255 is paper."""
    classifier.eval()
    device = classifier.head.weight.device
    features, radicals = [torch.empty(0, FEATURES)], [torch.empty(0, dtype=torch.int64)]
    for pictures in batches:
        for part in pictures.split(_BATCH):
            batch_features, logits = classifier(to_ink(part.to(device)))
            features.append(batch_features.float().cpu())
            radicals.append(logits.argmax(1).cpu() + 1)
    return Prediction(torch.cat(features), torch.cat(radicals))


def save_classifier(path: Path, classifier: RadicalClassifier, header: dict[str, Any]) -> None:
    """Write a classifier in 16 bits, about 2 MB.

    Args:
        path: the file to write.
        classifier: the network.
        header: JSON data about the training, kept in the file.

    Raises:
        OutputError: the path cannot be written.
    """
    weights = {
        name: tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in classifier.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    save_tensors(path, CLASSIFIER_KIND, weights, header)


def load_classifier(path: Path | None = None) -> tuple[RadicalClassifier, dict[str, Any]]:
    """Load a classifier in evaluation mode, and its header.

    Args:
        path: a file of `save_classifier`; None is the bundled classifier.

    Raises:
        ModelError: the file does not exist, is damaged, or is of another kind.
    """
    if path is None:
        path = pretrained("classifier.safetensors")
    weights, header = load_tensors(path, CLASSIFIER_KIND, ModelError)
    with torch.random.fork_rng(devices=[]):  # the weights that it draws at random are overwritten
        classifier = RadicalClassifier()
    counters = {name: t for name, t in classifier.state_dict().items() if name.endswith("num_batches_tracked")}
    try:
        classifier.load_state_dict(counters | {name: tensor.float() for name, tensor in weights.items()})
    except RuntimeError as error:
        raise ModelError(f"cannot use {path}: its weights are not those of a classifier of this version") from error
    return classifier.eval().requires_grad_(False), header
