"""The objective of a few-step student: in one pass, what its teacher's solver reaches in several.

The teacher draws captions of the data, with guidance drawn at random, from pure noise through all of the student's
levels, with steps between them. The student learns every jump that one of its numbers of passes makes. This is
progressive distillation (Salimans and Ho 2022, arXiv 2202.00512; Meng et al. 2023, arXiv 2210.03142) with the teacher's
own solution as the target of all lengths at once, so that no student learns from a student.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from glyffctl.core.data.subset import evenly_spaced
from glyffctl.core.device import send
from glyffctl.core.diffusion.condition import Condition
from glyffctl.core.diffusion.denoiser import Denoiser
from glyffctl.core.diffusion.flow_map import FlowMap, guess_of_jump, jumps
from glyffctl.core.diffusion.guidance import clamp, guide
from glyffctl.core.diffusion.samplers import SAMPLERS
from glyffctl.core.errors import TrainingError
from glyffctl.core.models.checkpoint import Origin, TrainedModel
from glyffctl.core.models.config import Config, FewStepConfig
from glyffctl.core.models.few_step import FewStep, finest_levels
from glyffctl.core.models.recipe import PLACES
from glyffctl.core.networks.network import Network
from glyffctl.core.networks.student import Student
from glyffctl.core.noise import Stream, normal, uniform
from glyffctl.core.training.objective import OBJECTIVES, Batch, Objective, TrainingData

_SOLVER = SAMPLERS["dpmpp-2m"]
_LAST = 0.02  # the level that the teacher's steps into 0 are spaced towards: below it nothing of a picture changes
_GROUPS = 16  # of trajectories, as many as a batch each, that steps take from in turn
_TURNS = 16  # of each group: in how many batches a trajectory is
_AT_ONCE = 32  # pictures that the teacher draws together on a CPU
_VALIDATED = 32  # pictures


JUMPS = sorted({jump for places in PLACES.values() for jump in pairwise(places)})
"""From which level of a student to which, by place, the jumps of all numbers of passes lead."""


def jump_shares(passes: int) -> Tensor:
    """(len(JUMPS),): how often each jump is drawn: half of all are jumps of so many passes, where that is not 0."""
    own = torch.tensor([passes != 0 and jump in pairwise(PLACES[passes]) for jump in JUMPS])
    shares = torch.ones(len(JUMPS), dtype=torch.float64)
    if passes:
        shares[own] = (~own).sum().clamp(min=1) / own.sum()
    return shares / shares.sum()


def jump_weights(levels: Tensor) -> Tensor:
    """(len(JUMPS),): of the losses of jumps between `levels` (9,).

    Jumps as long as a half or a whole of the way weigh less: no network of this size makes them without error, and
    theirs would drown those of the others. Those from little noise weigh more: there only the edges of strokes are left
    to find, few pixels, but without them strokes are grey.
    """
    start, end = torch.tensor(JUMPS).unbind(1)
    noisy = levels[PLACES[4][1]]  # 8 for pictures of 128×128
    return (2 / (end - start)).clamp(max=1) * (1 + noisy / levels[start]).sqrt()


def teacher_levels(levels: Tensor, substeps: int) -> tuple[Tensor, list[int]]:
    """Levels of the teacher's solver between `levels` (n+1,), which end in 0, and after which steps those are reached.

    `substeps` to each jump, evenly in ln σ; twice as many to the last, as if it ended at `_LAST`: there lines become
    sharp, and a step without guidance costs half.
    """
    ends = torch.cat([levels[:-1], levels.new_tensor([min(_LAST, float(levels[-2]) / 2)])]).log()
    counts = [substeps] * (len(levels) - 2) + [2 * substeps]
    parts = [
        ends[i] + (ends[i + 1] - ends[i]) * torch.arange(count, dtype=torch.float64) / count
        for i, count in enumerate(counts)
    ]
    steps = list(accumulate(counts))
    return torch.cat([torch.cat(parts).exp(), levels.new_zeros(1)]), [step - 1 for step in steps]


@torch.no_grad()
def trajectory(
    teacher: Denoiser,
    condition: Condition,
    seeds: Tensor,
    guidance: Tensor,
    levels: Tensor,
    config: FewStepConfig,
    shape: tuple[int, ...],
    limit: float | None,
) -> Tensor:
    """(B, n+1, *shape): where the teacher's guided flow is at each of `levels` (n+1,).

    Args:
        teacher: a denoiser.
        condition: B rows.
        seeds: (B,) int64 of the noise that each starts from.
        guidance: (B,) γ of each.
        levels: descending to 0.
        config: steps between levels, and where guidance acts.
        shape: (C, H, W).
        limit: guesses of x0 are held in ±limit; None leaves them as they are.
    """
    away = Condition.none(1, condition.tokens.shape[-1]).to(seeds.device).rows(torch.zeros_like(seeds))
    scale = guidance.to(condition.tokens.dtype).to(seeds.device).reshape(-1, 1, 1, 1)
    denoise = guide(teacher, condition, away, scale, (config.guided_from, math.inf))
    if limit is not None:
        denoise = clamp(denoise, limit)
    x = normal(0, seeds, shape, Stream.EPS) * math.sqrt(1 + float(levels[0]) ** 2)
    sigmas, kept = teacher_levels(levels, config.substeps)
    steps = _SOLVER(denoise, x, sigmas, lambda _: x)
    return torch.stack([x, *(step.x for step in steps if step.i in kept)], dim=1)


def soft_error(guess: Tensor, target: Tensor, softness: float) -> Tensor:
    """(B,): the mean over pixels of √(d² + c²) − c, which far from 0 is |d| (Song and Dhariwal 2024, arXiv 2310.14189).

    Where a student cannot tell black from white, the square would make it answer grey.
    """
    difference = (guess - target).float()
    return ((difference**2 + softness**2).sqrt() - softness).flatten(1).mean(1)


class Distillation(Objective):
    """Jumps of a student against the flow of its teacher.

    A batch takes one jump, drawn at random, from each of as many trajectories. `_TURNS` batches share them, but not one
    after the other: they take turns with those of `_GROUPS` − 1 others, for steps in a row on the same glyphs would
    teach these, to be forgotten with the next.

    Attributes:
        teacher: the model whose flow is learned.
        levels: (n+1,) float64, descending to 0: the levels of most passes.
    """

    validated = "passes"
    new = False
    taught = True
    shared = False

    def __init__(self, config: Config, data: TrainingData, device: torch.device, dtype: torch.dtype) -> None:
        """Build a student that answers as its teacher, or as the student of the same rank that it has.

        The arguments are those of `Objective`.

        Raises:
            TrainingError: no teacher, or one that cannot have students; or nothing to train on.
        """
        super().__init__(config, data, device, dtype)
        if data.teacher is None:
            raise TrainingError("a few-step student learns from a model: name it with --from")
        self.teacher = data.teacher
        network = self.teacher.network.to(device, dtype)
        if not network.shift_width:
            raise TrainingError("this kind of network cannot be made a few-step student")
        self.codec = config.codec.build()
        self.levels = finest_levels(self.teacher.schedule, config.codec.size)
        torch.manual_seed(config.training.seed)
        self.network = Student(network, config.few_step.rank).to(device)
        before = self.teacher.few_step
        if before is not None and before.student.rank == config.few_step.rank:  # what it has learned already
            self.network.load_state_dict(before.student.state_dict())
            self.images_before = before.images
        self._shares = jump_shares(config.few_step.passes).cumsum(0)
        self._weights = jump_weights(self.levels)
        self._tokens = data.embeddings.lengths.cpu()
        self.lengths = (max(1, int(self._tokens.max())),)
        self._drawn: dict[tuple[int, ...], Tensor] = {}
        self._reference: Tensor | None = None  # the teacher's trajectories of validation

    @classmethod
    def check(cls, config: Config) -> None:
        """See `Objective`."""
        super().check(config)
        if config.codec.learned:
            raise TrainingError("students of latent models are not made: the levels of their jumps are those of pixels")

    @staticmethod
    def held_numbers(config: Config, glyphs: int) -> int:  # noqa: ARG004
        """Those of the trajectories that take turns."""
        return _GROUPS * config.training.batch * (max(PLACES) + 1) * math.prod(config.codec.build().shape)

    def _trajectories(self, number: Tensor, caption: Tensor, keep: Tensor, guidance: Tensor) -> Tensor:
        """(B, n+1, C, H, W) on the device, of the trajectories `number` (B,), kept for their next turn."""
        key = tuple(number.tolist())
        if key not in self._drawn:
            captions, used, seeds = (send(values, self.device) for values in (caption, keep, number))
            # A GPU waits for Python to launch a pass, however small. What it can train on at once, it can draw at once.
            at_once = _AT_ONCE if self.device.type == "cpu" else len(number)
            parts = [
                self._flow(captions[rows], used[rows], seeds[rows], guidance[rows])
                for rows in torch.arange(len(number)).split(at_once)
            ]
            if len(self._drawn) == _GROUPS:  # all of those before have had their turns
                self._drawn.pop(next(iter(self._drawn)))
            self._drawn[key] = torch.cat(parts)
        return self._drawn[key]

    def _flow(self, caption: Tensor, keep: Tensor | None, seeds: Tensor, guidance: Tensor) -> Tensor:
        """`trajectory` of captions on the device; guidance (B,) is on the CPU."""
        condition = self.data.embeddings.batch(caption, keep=keep, dtype=self.dtype)
        teacher = Denoiser(self.teacher.network, self.teacher.prediction, self.autocast)
        return trajectory(
            teacher, condition, seeds, guidance, self.levels, self.config.few_step, self.codec.shape, self.codec.limit
        )

    def batch(self, number: Tensor) -> Batch:
        """Caption, whether it is used, γ, and of a jump its levels, start, end and weight; of the samples `number`."""
        few, seed, size = self.config.few_step, self.config.training.seed, self.config.training.batch
        step, row = number // size, number % size
        turn, group = step // _GROUPS, step % _GROUPS
        trajectory_number = ((turn // _TURNS) * _GROUPS + group) * size + row
        glyph = self.sample_glyphs(trajectory_number)
        caption = self.data.glyphs.caption_table.pick(
            self.data.glyphs.character_of[glyph], uniform(seed, trajectory_number, Stream.CAPTION)
        )
        keep = uniform(seed, trajectory_number, Stream.DROP) >= self.config.diffusion.caption_dropout
        low, high = math.log(few.guidance_low), math.log(few.guidance_high)
        guidance = (low + (high - low) * uniform(seed, trajectory_number, Stream.GUIDANCE)).exp()
        states = self._trajectories(trajectory_number, caption, keep, guidance)
        jump = torch.searchsorted(self._shares, uniform(seed, number, Stream.JUMP), right=True)
        jump = jump.clamp(max=len(JUMPS) - 1)  # the sum of the shares may be 1 less a rounding
        places = torch.tensor(JUMPS)[jump].unbind(1)
        sample = torch.arange(len(number), device=states.device)
        start, end = (states[sample, place.to(states.device)] for place in places)
        sigma, target = (self.levels[place] for place in places)
        weight = self._weights[jump].to(self.dtype)
        length = self.lengths[0] if self.device.type != "cpu" else max(1, int((self._tokens[caption] * keep).max()))
        return Batch((caption, keep, guidance, sigma, target, start, end, weight), length)

    def forward(
        self,
        caption: Tensor,
        keep: Tensor,
        guidance: Tensor,
        sigma: Tensor,
        target: Tensor,
        start: Tensor,
        end: Tensor,
        weight: Tensor,
        *,
        length: int,
        autocast: torch.dtype | None,
    ) -> Tensor:
        """(B,): how far the student's jump ends from the teacher's, in guesses of x0, weighted."""
        condition = self.data.embeddings.batch(caption, length=length, keep=keep, dtype=self.dtype)
        flow = FlowMap(self.network, self.teacher.prediction, autocast)
        guess = flow(start, sigma, target, guidance, self.network.encode(condition))
        return weight * soft_error(guess, guess_of_jump(start, end, sigma, target), self.config.few_step.softness)

    def validate(self, network: Network, autocast: torch.dtype | None) -> Generator[float, None, dict[float, float]]:
        """The mean squared difference between pictures of `network` and of its teacher, by number of passes.

        Held-out captions with the same noise every time, guided by the geometric mean of the range of γ. Empty where
        nothing is held out. Yields how much is done, from 0 to 1.
        """
        few = self.config.few_step
        held = evenly_spaced(self.validation_index, _VALIDATED)
        caption = send(self.data.glyphs.caption_of[held], self.device)
        guidance = math.sqrt(few.guidance_low * few.guidance_high)
        if len(held) and self._reference is None:
            seeds = send(held, self.device)
            self._reference = self._flow(caption, None, seeds, torch.full((len(held),), guidance))
        errors = dict[float, float]()
        for number, (passes, places) in enumerate(PLACES.items() if self._reference is not None else ()):
            yield number / len(PLACES)
            assert self._reference is not None
            context = network.encode(self.data.embeddings.batch(caption, dtype=self.dtype))
            flow = FlowMap(network, self.teacher.prediction, autocast)
            x = self._reference[:, 0]
            with torch.no_grad():
                for step in jumps(flow, x, self.levels[list(places)], guidance, context, self.codec.limit):
                    x = step.x
            errors[float(passes)] = float((x - self._reference[:, -1]).square().mean())
        return errors

    def model(self, network: Network, origin: Origin, images: int, epochs: float) -> TrainedModel:  # noqa: ARG002
        """The teacher with its student."""
        few = self.config.few_step
        assert isinstance(network, Student)
        student = FewStep(
            student=network,
            levels=self.levels,
            passes=few.passes,
            guidance=(few.guidance_low, few.guidance_high),
            images=images,
        )
        return replace(self.teacher, few_step=student)


OBJECTIVES["few-step"] = Distillation
