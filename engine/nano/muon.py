"""Muon with AdamW for the rest: momentum whose matrices are made orthogonal before every step.

For the few thousand updates that two CPU cores allow this learns far more per update than AdamW alone. The method is
K. Jordan's (2024), with updates scaled to AdamW's size (Moonshot AI, 2025), so that both share one learning rate.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from engine.model.precision import quick_dtype

PLAIN_SHARE = 0.3
"""What AdamW's parameters get of the learning rate; they bear less than orthogonal updates do."""


def orthogonal(matrix: torch.Tensor, iterations: int = 5) -> torch.Tensor:
    """The nearest matrix with equal singular values, roughly, by a quintic Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix.shape[0] <= matrix.shape[1]
    x = (matrix if wide else matrix.T).to(quick_dtype(matrix.device))
    x = x / (x.norm() + 1e-7)
    for _ in range(iterations):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.T).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Parameters with two or more dimensions (convolutions flattened) by Muon; the rest and `plain` by AdamW."""

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        lr: float,
        plain: Iterable[torch.nn.Parameter] = (),
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.98),
        weight_decay: float = 0.01,
    ) -> None:
        excluded = {id(parameter) for parameter in plain}
        every = list(parameters)
        matrices = [
            p for p in every if _as_matrix(p).ndim == 2 and min(_as_matrix(p).shape) > 1 and id(p) not in excluded
        ]
        chosen = {id(p) for p in matrices}
        groups = [
            {"params": matrices, "matrix": True},
            {"params": [p for p in every if id(p) not in chosen], "matrix": False},
        ]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update of all parameters that have a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                if group["matrix"]:
                    self._step_matrix(parameter, group["lr"], group["momentum"])
                else:
                    self._step_plain(parameter, PLAIN_SHARE * group["lr"], group["betas"])

    def _step_matrix(self, parameter: torch.Tensor, lr: float, momentum: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        gradient = parameter.grad
        assert gradient is not None
        state["momentum"].lerp_(gradient, 1 - momentum)
        update = _as_matrix(gradient.lerp(state["momentum"], momentum))
        scale = 0.2 * max(update.shape) ** 0.5
        parameter.add_(orthogonal(update).view_as(parameter), alpha=-lr * scale)

    def _step_plain(self, parameter: torch.Tensor, lr: float, betas: tuple[float, float]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        gradient = parameter.grad
        assert gradient is not None
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - betas[0])
        state["square"].lerp_(gradient.square(), 1 - betas[1])
        count = float(state["step"])
        mean = state["mean"] / (1 - betas[0] ** count)
        spread = (state["square"] / (1 - betas[1] ** count)).sqrt_().add_(1e-8)
        parameter.addcdiv_(mean, spread, value=-lr)


def _as_matrix(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.flatten(1) if tensor.ndim > 1 else tensor
