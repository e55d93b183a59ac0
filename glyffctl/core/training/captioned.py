"""What objectives do that read captions: which caption a sample has, and batches of captions of like length."""

from __future__ import annotations

import torch
from torch import Tensor

from glyffctl.core.models.config import Config
from glyffctl.core.noise import Stream, uniform
from glyffctl.core.training.objective import Objective, TrainingData

_SHORTEST = 16  # tokens, of the captions of a batch on a GPU; others are padded to twice, four times … as many
_SORTED_STEPS, _SORTED_SAMPLES = 8, 1 << 14  # at most, that are sorted together by the length of their captions


class CaptionedObjective(Objective):
    """An objective whose samples have captions, or none in a share `diffusion.caption_dropout` of them."""

    def __init__(self, config: Config, data: TrainingData, device: torch.device, dtype: torch.dtype) -> None:
        """See `Objective`."""
        super().__init__(config, data, device, dtype)
        self._tokens = data.embeddings.lengths.cpu()  # of each caption
        longest = int(self._tokens.max())
        # Compiling takes longer than padding costs: there one length is enough.
        self.lengths = (max(1, longest),) if config.training.compile else _paddings(longest)
        self._window: tuple[int, Tensor] | None = None

    def captions(self, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Glyph, caption and whether the caption is used (B,) of the samples `number` (B,)."""
        seed = self.config.training.seed
        index = self.sample_glyphs(number)
        share = uniform(seed, number, Stream.CAPTION)
        caption = self.data.glyphs.caption_table.pick(self.data.glyphs.character_of[index], share)
        return index, caption, uniform(seed, number, Stream.DROP) >= self.config.diffusion.caption_dropout

    def padding(self, caption: Tensor, keep: Tensor | None = None) -> int:
        """The length that the captions (B,), or those of them in `keep`, are padded to on this device."""
        tokens = self._tokens[caption] if keep is None else self._tokens[caption] * keep
        longest = int(tokens.max())
        if self.device.type == "cpu":
            return max(1, longest)
        # On a GPU every length costs a graph, or a wait for the compiler.
        return next(length for length in self.lengths if length >= longest)

    def numbers(self, step: int) -> Tensor:
        """(B,) int64: the global samples of the optimizer step number `step` (from 0).

        Samples of eight steps are sorted by the length of their captions, in classes of up to 16, 32, 64… tokens, and
        keep their order in a class. Most batches then need no padding for the few long captions that there are, which
        come in another one of the eight each time.
        """
        batch = self.config.training.batch
        steps = max(1, min(_SORTED_STEPS, _SORTED_SAMPLES // batch))
        window, place = divmod(step, steps)
        if self._window is None or self._window[0] != window:
            number = torch.arange(window * steps * batch, (window + 1) * steps * batch)
            _, caption, keep = self.captions(number)
            class_ = torch.bucketize(self._tokens[caption] * keep, torch.tensor(_paddings(int(self._tokens.max()))))
            self._window = window, number[class_.argsort(stable=True)]
        place = (place + window) % steps
        return self._window[1][place * batch : (place + 1) * batch]


def _paddings(longest: int) -> tuple[int, ...]:
    """Lengths that captions are padded to, in increasing order; kernels for attention like multiples of 8."""
    paddings, length = list[int](), _SHORTEST
    while length < longest:
        paddings.append(length)
        length *= 2
    return (*paddings, -(-max(1, longest) // 8) * 8)
