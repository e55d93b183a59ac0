"""Equal networks: ours and diffusers' UNet2DConditionModel, with the same sizes and the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from glyffctl.core.models.config import parse, read_preset
from glyffctl.core.networks.network import channels_last
from glyffctl.core.networks.unet import UNet, UNetConfig
from tests.bench.measure import Row, alternate, device
from tests.test_unet import captions, in_diffusers, pictures, shaken


def rows(repeats: int) -> Iterator[Row]:
    """Forward, and forward and backward; on a GPU in bfloat16 and compiled, both of them."""
    cuda = device().type == "cuda"
    for preset, batch in (("cpu", 32), ("glyffuser", 32 if cuda else 1)):
        # diffusers knows no pooled text, and no count of groups but its own.
        network = unet_config(preset)
        config = replace(network, pooled_text=False, channels=in_groups(network.channels))
        for precision in ("bf16",) if cuda else ("fp32", "bf16"):
            for compiled in (False, True) if cuda else (False,):
                yield from _compare(preset, config, batch, precision, compiled, repeats)
        if not cuda:
            yield Row(group="networks", name=f"network of the `{preset}` preset, on a GPU", ours=None, asked=1.5)


def unet_config(preset: str) -> UNetConfig:
    """The sizes of a preset's network, which is a U-Net."""
    config = parse(read_preset(preset)).network
    assert isinstance(config, UNetConfig)
    return replace(config, size=128)


def in_groups(channels: tuple[int, ...]) -> tuple[int, ...]:
    """The next widths that diffusers can normalise in its 32 groups."""
    return tuple(-(-width // 32) * 32 for width in channels)


def _compare(
    preset: str, config: UNetConfig, batch: int, precision: str, compiled: bool, repeats: int
) -> Iterator[Row]:
    network = channels_last(shaken(UNet(config)).to(device()))
    other = in_diffusers(network).to(device())
    z, sigma = pictures(config, batch)
    z, label = z.to(device()), (sigma.log() / 4).float().to(device())
    text = captions(config, batch, 8)
    text = text.to(device())
    with torch.no_grad():
        context = network.encode(text)

    def ours() -> Tensor:
        return network(z, sigma, context)

    def theirs() -> Tensor:
        answer: Tensor = other(
            F.pixel_unshuffle(z, config.patch),
            1000 * label,
            encoder_hidden_states=context.tokens,
            encoder_attention_mask=context.mask[:, 0, 0],
        ).sample
        return F.pixel_shuffle(answer, config.patch)

    with torch.no_grad():
        difference = float((ours() - theirs()).abs().max() / ours().abs().max())
    if difference > 1e-3:
        raise RuntimeError(f"the networks do not agree: {difference}")
    if compiled:
        network.compile()
        other.compile()

    def run(call: Callable[[], Tensor], module: Any, *, backward: bool) -> None:
        with torch.set_grad_enabled(backward), torch.autocast(device().type, torch.bfloat16, precision == "bf16"):
            answer = call()
        if backward:
            answer.float().square().mean().backward()
            module.zero_grad(set_to_none=True)

    for backward in (False, True):
        times = alternate(
            {
                "ours": lambda b=backward: run(ours, network, backward=b),  # type: ignore[misc]
                "theirs": lambda b=backward: run(theirs, other, backward=b),  # type: ignore[misc]
            },
            repeats,
        )
        passes = "forward and backward" if backward else "forward"
        how = f"{device().type}, {precision}{', compiled' if compiled else ''}"
        yield Row(
            group="networks",
            name=f"network of the `{preset}` preset, {batch} pictures, {passes}, {how}",
            ours=times["ours"],
            theirs=times["theirs"],
            instead="diffusers, same weights",
            asked=1.5 if device().type == "cuda" else 1.3,
            figures={"largest relative difference": difference},
        )
