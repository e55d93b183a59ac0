"""Networks that look at the tokens of a caption, and may take their mean beside σ.

Shapes in comments: B pictures, L text tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.errors import UsageError
from glyffctl.core.networks.network import Network
from glyffctl.core.networks.sinusoid import noise_label


def check_ways_in(*, pooled: bool, cross: bool) -> None:
    """Raise UsageError if a network would see nothing of its text."""
    if not (pooled or cross):
        raise UsageError(
            "network: with pooled_text and cross_text both false the network sees no text; set one of them to true"
        )


class Context(NamedTuple):
    """Text as the network uses it: computed once for a prompt, used at every step."""

    tokens: Tensor  # (B, L, context_width)
    mask: Tensor  # (B, 1, 1, L) bool, True where a token is
    pooled: Tensor | None  # (B, shift_width)


class CaptionedNetwork(Network):
    """What these networks do with a caption and with σ; a subclass calls `take_text` and has a `_forward`.

    Attributes:
        shift_width: numbers of the embedding of σ, which the pooled text has, too.
    """

    embed_text: nn.Sequential | None

    def take_text(self, context_width: int, *, pooled: bool) -> None:
        """Make the layers that captions go through.

        Args:
            context_width: of a token as attention sees it.
            pooled: whether the mean token is added to the embedding of σ.
        """
        # Encoders differ in scale by orders of magnitude; a norm makes any of them fit.
        width, embedding = self.config.text_width, self.shift_width
        self.text_in = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, context_width))
        self.null_token = nn.Parameter(torch.randn(context_width) * 0.02)
        self.embed_text = (
            nn.Sequential(
                nn.LayerNorm(context_width),
                nn.Linear(context_width, embedding),
                nn.SiLU(),
                nn.Linear(embedding, embedding),
            )
            if pooled
            else None
        )

    def encode(self, condition: Condition) -> Context:
        """The text as every pass uses it. A row whose mask is all False has no caption: it gets the null token."""
        text = condition
        width = text.tokens.shape[-1]
        if width != self.config.text_width:
            raise UsageError(
                f"the text vectors are {width} wide, the network takes {self.config.text_width}: "
                "they come from another encoder than the one this model was trained with"
            )
        absent = ~text.mask.any(dim=1)
        first = torch.arange(text.mask.shape[1], device=text.mask.device) == 0
        mask = text.mask | (absent[:, None] & first[None])
        tokens = self.text_in(text.tokens)
        tokens = torch.where(absent[:, None, None], self.null_token.to(tokens.dtype), tokens)
        if self.embed_text is None:
            return Context(tokens, mask[:, None, None, :], None)
        weights = mask.to(tokens.dtype)
        mean = (tokens * weights[:, :, None]).sum(1) / weights.sum(1, keepdim=True)
        return Context(tokens, mask[:, None, None, :], self.embed_text(mean))

    def shifted(self, context: Context, shift: Tensor) -> Context:
        """See `Network.shifted`."""
        return context._replace(pooled=shift if context.pooled is None else context.pooled + shift)

    def forward(self, z: Tensor, sigma: Tensor, context: Context) -> Tensor:
        """z and the result (B, in_channels, size, size); sigma (B,) float64; context from `encode`."""
        return self._forward(z, noise_label(sigma, z), context)

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile all but what is computed on the CPU."""
        self._forward = torch.compile(self._forward, *args, **kwargs)  # type: ignore[method-assign]

    def _forward(self, z: Tensor, label: Tensor, context: Context) -> Tensor:
        """`forward` for noise labels ¼·ln σ (B,) (Karras et al. 2022, table 1)."""
        raise NotImplementedError
