"""The figures of `glyffctl noise-demo` of models that draw in two parts: latents, and a cascade with an upscaler."""

from __future__ import annotations

from collections.abc import Generator

import torch
from torch import Tensor

from glyffctl.core.codecs.latents import Latents
from glyffctl.core.codecs.pixels import to_pixels, to_unit
from glyffctl.core.estimates import mean
from glyffctl.core.evaluation.edges import measure_edges
from glyffctl.core.evaluation.reconstruction import wrong_side
from glyffctl.core.models.upscaler import enlarge_smoothly
from glyffctl.figures.demo_scene import MeasuredFigure
from glyffctl.figures.stages import draw_cascade, draw_latents
from glyffctl.workflows.events import Event, Progress, with_progress
from glyffctl.workflows.noise_data import DemoGlyphs
from glyffctl.workflows.noise_model import ModelFigure, PromptedModel

MOST_CHANNELS = 5
"""Channels of a latent that the figure has room for."""
MEASURED = 32
"""Glyphs that are sent through the codec."""
PART = 5
"""The magnified part has this share of a picture's side."""
MOST_PASSES = 3


def draw_channels(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:
    """Draw the latents of a glyph, and what each of their channels holds."""
    codec = model.drawer.codec
    assert isinstance(codec, Latents)
    pictures = glyphs.pictures[:MEASURED].to(model.drawer.device)
    latents = codec.encode(pictures)
    channels, side, _ = codec.shape
    middle = latents.mean(0, keepdim=True)
    losses: list[Tensor] = []  # of all channels, then without each: (N,) shares of pixels on the wrong side of grey
    without, alone = [], [codec.decode(middle)[0].cpu()]
    for channel in (None, *range(channels)):
        yield Progress("Decoding latents", len(losses), channels + 1, "channels")
        changed, kept = latents.clone(), middle.clone()
        if channel is not None:
            changed[:, channel] = middle[:, channel]
            kept[:, channel] = latents[:1, channel]
            alone.append(codec.decode(kept)[0].cpu())
        decoded = codec.decode(changed)
        losses.append(wrong_side(decoded, pictures).cpu())
        without.append(decoded[0].cpu())
    shown = min(channels, MOST_CHANNELS)
    names = [f"channel {k + 1}" for k in range(shown)]
    shares = [float(each.mean()) for each in losses]
    figure = draw_latents(
        names, glyphs.pictures[0], latents[0, :shown].cpu(), torch.stack(without[: shown + 1]),
        torch.stack(alone[: shown + 1]), ["all of them", *(f"{share:.2%} wrong" for share in shares[1 : shown + 1])],
    )  # fmt: skip
    size, rest = codec.size, "" if shown == channels else f" Shown are the first {shown} channels."
    whole = mean(losses[0])
    lines = [
        f"{size}×{size} = {size**2:,} pixels become {channels} channels at {side}×{side} = {channels * side**2:,} "
        f"numbers, whose standard deviation over {len(pictures)} glyphs is {float(latents.std()):.2f}.{rest}",
        f"From all channels {whole.value:.2%} ({whole.low:.2%} to {whole.high:.2%}) of the pixels of these glyphs come "
        "back on the wrong side of grey; from all channels but one, "
        f"{min(shares[1:], default=shares[0]):.2%} to {max(shares[1:], default=shares[0]):.2%}.",
        "In “without it” a channel is, place by place, its mean over these glyphs; in “it alone” all others are.",
    ]
    return MeasuredFigure(figure, "\n".join(lines))


def draw_sizes(model: PromptedModel, glyphs: DemoGlyphs) -> Generator[Event, None, MeasuredFigure]:  # noqa: ARG001
    """Draw a glyph, enlarge it, and show a part of it at every size and in every pass."""
    upscaler = model.upscaler
    assert upscaler is not None
    text = yield from model.text(model.prompt)
    seeds = torch.tensor([model.seed])
    drawing = model.drawer.draw(model.model.recipe, text, seeds)
    small = yield from with_progress(drawing, Progress("Drawing the cascade", 0, 1, "pictures"))
    seen = upscaler.passes(small[0], model.seed)
    whole = seen.guesses[-1]
    sizes = [small[0]]
    for size in upscaler.sizes:
        if size < upscaler.config.size:
            halved = yield from with_progress(
                upscaler.enlarge(small, seeds, size), Progress("Drawing the cascade", 0, 1, "pictures")
            )
            sizes.append(halved[0])
    sizes.append(whole)
    scale = upscaler.config.scale
    bicubic = to_pixels(enlarge_smoothly(to_unit(small)[:, None], scale))[0, 0]
    side = max(4, small.shape[-1] // PART)
    top, left = _busiest(small[0], side)

    def part(picture: Tensor) -> Tensor:
        times = picture.shape[-1] / small.shape[-1]
        rows, columns = (slice(round(start * times), round((start + side) * times)) for start in (top, left))
        return picture[rows, columns]

    magnified = [(f"{small.shape[-1]}×{small.shape[-1]}", sizes[0]), ("bicubic", bicubic)]
    magnified += [(f"{each.shape[-1]}×{each.shape[-1]}", each) for each in sizes[1:]]
    recipe, count = upscaler.recipe, len(seen.guesses)
    chosen = sorted({*torch.linspace(0, count - 1, min(count, MOST_PASSES)).round().int().tolist()})
    passes = [("what it sees", seen.small), ("its start", seen.start)]
    passes += [(f"pass {k + 1} of {count}", seen.guesses[k]) for k in chosen]
    figure = draw_cascade(
        sizes,
        [(name, part(picture)) for name, picture in magnified],
        [(name, part(picture)) for name, picture in passes],
        (left / small.shape[-1], top / small.shape[-1], side / small.shape[-1]),
    )
    soft, sharp = (measure_edges(each[None], whole[None]).breadth for each in (bicubic, whole))
    lines = [
        f"Prompt “{model.prompt}”, seed {model.seed}; {recipe.summary()}. The upscaler sees the small picture with "
        f"noise of {recipe.noise:g} and starts from the bicubic one with noise of {recipe.start:g}, where black is −1 "
        "and white 1.",
        f"Along an edge {float(soft[0]):.2f} pixels are grey after bicubic interpolation, {float(sharp[0]):.2f} after "
        "the upscaler.",
    ]
    return MeasuredFigure(figure, "\n".join(lines))


def _busiest(picture: Tensor, side: int) -> tuple[int, int]:
    """The upper and left edge of the part of `side` pixels with the most changes between ink and paper."""
    black = (picture < 128).float()
    changes = torch.zeros_like(black)
    changes[1:] += (black[1:] != black[:-1]).float()
    changes[:, 1:] += (black[:, 1:] != black[:, :-1]).float()
    sums = torch.nn.functional.avg_pool2d(changes[None, None], side, stride=1)[0, 0]
    row, column = divmod(int(sums.argmax()), sums.shape[1])
    return row, column


STAGE_FIGURES: dict[str, ModelFigure] = {"latents": draw_channels, "cascade": draw_sizes}
"""As `noise_model.MODEL_FIGURES`; the first needs a latent model, the second an upscaler beside the model."""
