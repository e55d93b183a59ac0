"""A student: a trained network with small differences, and two inputs more: the level to jump to, and guidance."""

from __future__ import annotations

import copy
import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.networks.network import Network, channels_last, zeroed
from glyffctl.core.networks.sinusoid import sinusoid

_END = -1.5  # the label of σ' = 0; those of levels above 0, ¼·ln σ', are greater


class JumpEmbedding(nn.Module):
    """The embedding (B, width) of (σ', γ), which is added to that of σ. It starts at 0."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.codes = width // 4
        self.hidden = nn.Linear(2 * self.codes, width)
        self.out = zeroed(nn.Linear(width, width))

    def forward(self, target: Tensor, guidance: Tensor) -> Tensor:
        """Target and guidance (B,) float64, on any device: Apple's GPUs take them only once they are narrow."""
        level = torch.where(target > 0, target.clamp(min=1e-3).log() / 4, _END)
        # ln γ lies in 0…2: a fortieth of it makes codes that change smoothly over all of the range.
        # In bfloat16, which the weights may be narrowed to, a thousand times a label would be off by a radian.
        dtype, device = torch.promote_types(self.out.weight.dtype, torch.float32), self.out.weight.device
        codes = [sinusoid(label.to(dtype).to(device), self.codes) for label in (level, guidance.log() / 40)]
        shift: Tensor = self.out(nn.functional.silu(self.hidden(torch.cat(codes, dim=1))))
        return shift


class Student(Network):
    """A teacher with a difference W + L·R for each of its matrices, of low rank (Hu et al. 2021, arXiv 2106.09685).

    Vectors have whole differences. All start at 0, with the jump's shift: at first the student is its teacher, whatever
    the jump. The teacher's own weights are not among the parameters: they do not change, and belong to its file.

    Attributes:
        config: of the teacher.
        rank: of the differences; a matrix that takes fewer numbers itself has a whole one.
    """

    def __init__(self, teacher: Network, rank: int, *, draw: bool = True) -> None:
        """Make the differences.

        Args:
            teacher: is shared, not copied: on the device and in the precision to train in, without gradients.
            rank: of the differences.
            draw: draw the factors L at random, from torch's generator; False leaves them at 0, to be overwritten.
        """
        super().__init__()
        self.config, self.rank = teacher.config, rank
        self._teacher = (teacher,)  # in a tuple no module of ours
        self.whole, self.left, self.right = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        for name, weight in teacher.named_parameters():
            key, (rows, columns) = name.replace(".", "/"), (weight.shape[0], weight[0].numel())
            if weight.ndim < 2 or rank * (rows + columns) >= rows * columns:
                self.whole[key] = nn.Parameter(torch.zeros_like(weight))
            else:
                # L is drawn, not R: most of W's gradient lies in as many directions of its few rows as of its many
                # columns. A step of R then moves W as far as a step of W itself would.
                left = torch.linalg.qr(torch.randn(rows, rank))[0] if draw else torch.zeros(rows, rank)
                self.left[key] = nn.Parameter(left.to(weight) * math.sqrt(rows / rank))
                self.right[key] = nn.Parameter(weight.new_zeros(rank, columns))
        self.embed_jump = JumpEmbedding(teacher.shift_width)
        self.embed_jump.to(next(teacher.parameters()))

    @property
    def teacher(self) -> Network:
        """The network that this one differs from."""
        return self._teacher[0]

    def weights(self) -> dict[str, Tensor]:
        """The teacher's parameters with the differences added."""
        merged = {}
        for name, weight in self.teacher.named_parameters():
            key = name.replace(".", "/")
            if key in self.whole:
                merged[name] = weight + self.whole[key]
            else:
                merged[name] = weight + (self.left[key] @ self.right[key]).view(weight.shape)
        return merged

    def encode(self, condition: Condition) -> Any:
        """The text as the teacher encodes it, but with the student's weights."""
        weights = {f"network.{name}": weight for name, weight in self.weights().items()}
        return functional_call(_Encoder(self.teacher), weights, (condition,))

    def forward(  # type: ignore[override]  # it needs more than a denoiser does
        self, z: Tensor, sigma: Tensor, context: Any, target: Tensor, guidance: Tensor
    ) -> Tensor:
        """F of the flow map; see `flow_map.JumpNetwork`."""
        shift = self.embed_jump(target, guidance)
        context = self.teacher.shifted(context, shift)
        return cast("Tensor", functional_call(self.teacher, self.weights(), (z, sigma, context)))

    @torch.no_grad()
    def merged(self) -> MergedStudent:
        """The same network with its differences added once and for all, for drawing."""
        network = copy.deepcopy(self.teacher)
        network.load_state_dict(self.weights(), assign=True)
        merged = MergedStudent(channels_last(network), copy.deepcopy(self.embed_jump))
        return merged.eval().requires_grad_(False)


class MergedStudent(nn.Module):
    """A student whose differences are in its weights.

    Attributes:
        network: the teacher's kind of network.
        embed_jump: of where to jump to and the guidance.
    """

    def __init__(self, network: Network, embed_jump: JumpEmbedding) -> None:
        super().__init__()
        self.network, self.embed_jump = network, embed_jump

    def encode(self, condition: Condition) -> Any:
        """See `Network.encode`."""
        return self.network.encode(condition)

    def forward(self, z: Tensor, sigma: Tensor, context: Any, target: Tensor, guidance: Tensor) -> Tensor:
        """F of the flow map; see `flow_map.JumpNetwork`."""
        shift = self.embed_jump(target, guidance)
        return cast("Tensor", self.network(z, sigma, self.network.shifted(context, shift)))


class _Encoder(nn.Module):
    """`encode` of a network as `functional_call` needs it: as a call."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, condition: Condition) -> Any:
        return self.network.encode(condition)
