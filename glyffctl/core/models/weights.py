"""Weights of a file for a network: they have to fit, and to be finite numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from glyffctl.core.errors import ModelError
from glyffctl.core.io.bundled import model_label
from glyffctl.core.networks.network import AnyNetwork, Network, NetworkConfig, build_network, channels_last


def build_without_init(config: NetworkConfig) -> Network:
    """A network whose weights are yet to come, see `load_weights`."""
    with SkipInit():
        return build_network(config)


def load_weights(network: AnyNetwork, weights: dict[str, Tensor], file: Path) -> AnyNetwork:
    """`network` with all its weights, float32, in eval mode and without gradients.

    Raises:
        ModelError: they do not fit, or are not finite numbers; `file` is named as where they came from.
    """
    try:
        network.load_state_dict({name: _in_order(tensor) for name, tensor in weights.items()}, assign=True)
    except RuntimeError as error:
        raise ModelError(f"cannot use {model_label(file)}: its weights do not fit its own settings") from error
    if not all(map(_is_finite, network.state_dict().values())):
        raise ModelError(f"cannot use {model_label(file)}: it holds weights that are not finite numbers")
    return channels_last(network).eval().requires_grad_(False)


def _in_order(tensor: Tensor) -> Tensor:
    """`tensor` in float32 and the memory order of `channels_last`, by one copy instead of two."""
    order = torch.channels_last if tensor.ndim == 4 else torch.preserve_format
    return tensor.to(torch.float32, memory_format=order)


def _is_finite(tensor: Tensor) -> bool:
    """Whether all numbers are: then the least and the largest are, which are NaN if any is.

    A quarter of the time that `isfinite` takes for every number.
    """
    if tensor.numel() == 0:
        return True
    dense = tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor  # the order of memory: else it is copied
    return all(map(math.isfinite, torch.stack(dense.aminmax()).tolist()))


class SkipInit(TorchFunctionMode):
    """Networks built under this skip the random start, for weights that overwrite it; torch's generator stays as it is.

    So they do on torch's meta device; but to draw at random there torch imports its compiler, for most of a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        return func(*args, **kwargs)
