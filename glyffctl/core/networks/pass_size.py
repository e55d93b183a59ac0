"""What a pass of a U-Net holds at once, by the sizes of the network."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def unet_numbers_a_row(
    side: int, channels: Sequence[int], blocks: int, attention: Collection[int], further: int = 0
) -> int:
    """Numbers, at most, that a pass of a U-Net without gradients holds at once for each row of its input.

    What is kept for the way up, twice, and four times the widest of all other tensors. With what a sampler holds
    (`models.drawer.most_at_once`) that is a bound of the peaks measured on six U-Nets, the presets among them: they
    were 70 to 95 % of it in float32, 50 to 75 % in bfloat16.

    Args:
        side: of the grid of the first level.
        channels: of each level.
        blocks: residual blocks of a level on the way down.
        attention: levels with transformers; the middle, on the grid of the last level, has one in any case.
        further: channels that a residual block's first convolution takes beside its features.
    """
    areas = [(side >> level) ** 2 for level in range(len(channels))]
    last = len(channels) - 1
    kept = channels[0] * areas[0]
    widest = 0
    for level, (width, area) in enumerate(zip(channels, areas, strict=True)):
        kept += blocks * width * area
        if level < last:
            kept += width * areas[level + 1]
        # A block on the way up takes its level's features beside those from below; a feed-forward is 8 times as wide.
        attends = level == last or level in attention
        beside = (channels[min(level + 1, last)] + width + further) * area
        widest = max(widest, beside, 8 * width * area if attends else 0)
    return 2 * kept + 4 * widest
