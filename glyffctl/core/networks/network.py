"""What a network is to the rest of the program, and the table of them.

A network in a file of its own adds itself to `NETWORKS`, and `networks/__init__.py` imports that file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from glyffctl.core.diffusion.condition import Condition


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The sizes of a network: bools, ints, floats, strings and tuples of ints, set in the section [network].

    Attributes:
        size: height and width of what is diffused; the codec decides it. 0 is not known yet.
        in_channels: channels of what is diffused; the codec decides it.
        text_width: numbers of a token vector; the text encoder decides it.

    `__post_init__` raises UsageError for sizes that cannot be built.
    """

    size: int = 0
    in_channels: int = 1
    text_width: int = 512

    def is_matrix(self, name: str, parameter: Tensor) -> bool:  # noqa: ARG002
        """Whether Muon may orthogonalise the updates of a parameter: those of maps from features to features.

        Layers from or to pixels, and tables of embeddings, are better left to AdamW.
        """
        return parameter.ndim > 1

    def inner(self, levels: int) -> tuple[str, ...]:  # noqa: ARG002
        """How the names of the parameters of the `levels` coarsest grids begin, with those that embed text and σ.

        They decide what is drawn, the others how its strokes look. Empty where a network has no such levels.
        """
        return ()

    def cautions(self, prediction: str) -> list[str]:  # noqa: ARG002
        """What is known to go wrong with such a network that predicts `prediction`, a line each."""
        return []


class Network(nn.Module):
    """F(z, σ, condition), see `denoiser`; subclasses have a `config` and a `forward`.

    Where the model computes in bfloat16, `forward` runs under autocast; z is float32 even then, and `encode` runs in
    float32. To be exported as ONNX, compiled (`training.compile`) and captured as a CUDA graph, both have to be
    traceable: no branches on values of tensors.
    """

    config: NetworkConfig
    enlarges: bool = False
    """It is conditioned on a small picture, `Condition.picture`, in place of text."""
    one_pass: bool = False
    """It answers with a picture at once, at the highest noise level, and knows no other."""
    classifies: bool = False
    """It is no denoiser: `forward` returns logits, see `classifier`."""
    compares: bool = False
    """It is no denoiser: it says how well pictures and texts fit each other, see `contrastive`."""
    shift_width: int = 0
    """Numbers of what `shifted` takes; 0 is a network that cannot be shifted, and so has no students."""

    def shifted(self, context: Any, shift: Tensor) -> Any:
        """`context` with `shift` (B, shift_width), which is added to the embedding of σ.

        For inputs other than σ and a condition, such as the level to jump to (`student`).
        """
        raise NotImplementedError

    def encode(self, condition: Condition) -> Any:
        """Return `condition` as `forward` takes it: B rows, as in z. Called once for a prompt, `forward` at every step.

        A row whose mask is all False has no caption, and zeros as tokens.
        """
        return condition

    def numbers_a_row(self) -> int | None:
        """Numbers, at most, that a pass without gradients holds at once for each row of z; None is not known.

        Where this is known, as many pictures are drawn at once as there is memory for.
        """
        return None

    def forward(self, z: Tensor, sigma: Tensor, context: Any) -> Tensor:
        """F: z and the result (B, in_channels, size, size), context from `encode`.

        sigma is (B,) float64, on the CPU or where z is.
        """
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class NetworkKind:
    """A kind of network: its sizes and how it is built from them."""

    config: type[Any]
    build: type[Network]


AnyNetwork = TypeVar("AnyNetwork", bound=nn.Module)
AnyLayer = TypeVar("AnyLayer", nn.Conv2d, nn.Linear)

NETWORKS: dict[str, NetworkKind] = {}
"""Networks of denoisers that read text, by the name that `kind` has in the section [network]."""

UPSCALERS: dict[str, NetworkKind] = {}
"""Those of denoisers that enlarge pictures, see `upscaler`; by the same name."""

AUTOENCODERS: dict[str, NetworkKind] = {}
"""Those of autoencoders, see `autoencoder`; by the same name."""

GENERATORS: dict[str, NetworkKind] = {}
"""Those that draw in one pass, see `generator`; by the same name."""

CLASSIFIERS: dict[str, NetworkKind] = {}
"""Those of classifiers of noisy pictures, see `classifier`; by the same name."""

COMPARERS: dict[str, NetworkKind] = {}
"""Those that compare pictures with texts, see `contrastive`; by the same name."""


def network_kinds() -> dict[str, NetworkKind]:
    """All kinds of networks that can be trained."""
    return NETWORKS | UPSCALERS | AUTOENCODERS | GENERATORS | CLASSIFIERS | COMPARERS


def build_network(config: NetworkConfig) -> Network:
    """A network of these sizes, with random weights."""
    return next(kind.build(config) for kind in network_kinds().values() if kind.config is type(config))


def kind_of(config: NetworkConfig) -> str:
    """The name of the kind of network that has such a config."""
    return next(name for name, kind in network_kinds().items() if kind.config is type(config))


def channels_last(network: AnyNetwork) -> AnyNetwork:
    """`network` with its kernels in the memory order that convolutions are fastest in, on CPU and GPU."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def zeroed(layer: AnyLayer) -> AnyLayer:
    """`layer` with all its weights 0: a branch that ends in it starts at nothing, and the whole as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def parameter_count(network: nn.Module) -> int:
    """The number of trained numbers in `network`."""
    return sum(parameter.numel() for parameter in network.parameters())
