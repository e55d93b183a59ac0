"""The optimizer: AdamW, or Muon for matrices and AdamW for the rest.

The kernels of convolutions count as matrices of out × (k·k·in). Muon's steps are scaled to the root mean square of
AdamW's, and take the same learning rate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from glyffctl.core.models.config import OptimizerName
from glyffctl.core.training.muon import Muon


class Optimizer:
    """AdamW, or Muon and AdamW together, behind one interface."""

    def __init__(
        self,
        name: OptimizerName,
        network: nn.Module,
        is_matrix: Callable[[str, Tensor], bool],
        *,
        learning_rate: float,
        weight_decay: float,
        betas: tuple[float, float],
    ) -> None:
        """Take the parameters of `network` where they are: move it and set its memory order before.

        Args:
            name: "adamw", or "muon" for matrices.
            network: what to train; what takes no gradients keeps its values.
            is_matrix: which parameters, by name, Muon may take, see `NetworkConfig`.
            learning_rate: of both.
            weight_decay: of matrices.
            betas: of AdamW.
        """
        learned = {key: p for key, p in network.named_parameters() if p.requires_grad}
        matrices = [p for key, p in learned.items() if name == "muon" and is_matrix(key, p)]
        self._views = {p: nn.Parameter(_as_matrix(p.detach())) for p in matrices}
        rest = [p for p in learned.values() if p not in self._views]
        self._adamw = torch.optim.AdamW(
            [
                # Norms, biases and the null token are no directions to shrink.
                {"params": [p for p in rest if p.ndim > 1], "weight_decay": weight_decay},
                {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=learning_rate,
            betas=betas,
            fused=True,
            capturable=next(network.parameters()).device.type == "cuda",
        )
        self._muon = Muon(list(self._views.values()), weight_decay=weight_decay)

    def zero_grad(self) -> None:
        """Clear the gradients."""
        for parameter, view in self._views.items():
            parameter.grad = view.grad = None
        self._adamw.zero_grad(set_to_none=True)

    def step(self, learning_rate: float | Tensor, dtype: torch.dtype | None = None) -> None:
        """Update the parameters by their gradients.

        Args:
            learning_rate: of both optimizers; a tensor () on the device is read there.
            dtype: of Muon's iteration; None is that of the weights.
        """
        for parameter, view in self._views.items():
            # One order of memory, always: momentum takes on the gradient's, and sums of bfloat16 depend on it.
            view.grad = None if parameter.grad is None else _as_matrix(parameter.grad).contiguous()
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        self._adamw.step()
        self._muon.step(learning_rate, dtype)

    def state_of(self, parameter: nn.Parameter) -> dict[str, Any]:
        """The optimizer state of a parameter; empty before the first step."""
        view = self._views.get(parameter)
        return self._adamw.state.get(parameter, {}) if view is None else self._muon.state.get(view, {})

    def restore(self, parameter: nn.Parameter, state: dict[str, Tensor]) -> None:
        """Set the state of a parameter, as `state_of` returned it.

        Raises:
            ValueError: it is not that.
        """
        view = self._views.get(parameter)
        owner = parameter if view is None else view
        expected = {"step", "exp_avg", "exp_avg_sq"} if view is None else {"momentum_buffer"}
        shapes = {key: torch.Size() if key == "step" else owner.shape for key in expected}
        if state and {key: value.shape for key, value in state.items()} != shapes:
            raise ValueError("other moments than this optimizer keeps")
        # What is there is overwritten in place, for a captured step goes on with these very tensors. New tensors take
        # the memory order of the weights, which files do not keep: the fused AdamW walks through memory linearly.
        moments = (self._adamw if view is None else self._muon).state.setdefault(owner, {})
        for moment in moments.values():
            moment.zero_()
        for key, value in state.items():
            if key not in moments:
                like = owner if value.shape == owner.shape else torch.zeros((), device=owner.device)
                moments[key] = torch.empty_like(like)
            moments[key].copy_(value)


def _as_matrix(x: Tensor) -> Tensor:
    """A kernel (out, in, k, k) as (out, k·k·in): the same memory if it is in channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x
