"""The published noise schedule on diffusers' DPM-Solver++."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import numpy as np
import torch
from diffusers.configuration_utils import register_to_config
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

# diffusers looks for SchedulerMixin in the module that defines a component's class.
from diffusers.schedulers.scheduling_utils import SchedulerMixin as SchedulerMixin


class LumosXScheduler(DPMSolverMultistepScheduler):
    """DPM-Solver++ (order 2, midpoint) over the published grid: sigma = shift·u / (1 + (shift − 1)·u) with u from 1
    down to, but not including, 0. The first sigma is exactly 1, the last step ends at 0, timesteps are int(1000·sigma).

    diffusers' own flow grid starts at 0.99987 and gives other clips; with this grid the solver is bit-equal to the
    published one.
    """

    @register_to_config
    def __init__(self, num_train_timesteps: int = 1000, flow_shift: float = 8.0) -> None:
        super().__init__(
            num_train_timesteps=num_train_timesteps,
            solver_order=2,
            prediction_type="flow_prediction",
            algorithm_type="dpmsolver++",
            solver_type="midpoint",
            lower_order_final=True,
            use_flow_sigmas=True,
            flow_shift=flow_shift,
            final_sigmas_type="zero",
        )

    def set_timesteps(
        self,
        num_inference_steps: int,
        device: str | torch.device | None = None,
        *,
        shift: float | None = None,
    ) -> None:
        """Prepare a run of `num_inference_steps` steps; `shift` overrides the configured `flow_shift` for this run."""
        if num_inference_steps < 1:
            raise ValueError("a run has at least one step")
        self.num_inference_steps = num_inference_steps
        sigmas, timesteps = published_grid(
            num_inference_steps, self.config.flow_shift if shift is None else shift, self.config.num_train_timesteps
        )
        self.sigmas = torch.from_numpy(sigmas)
        self.timesteps = torch.from_numpy(timesteps).to(device)
        self.model_outputs = [None] * self.config.solver_order
        self.lower_order_nums = 0
        self._step_index = None
        # Neighbouring integer timesteps can coincide in long runs: count steps instead of looking timesteps up.
        self._begin_index = 0

    @property
    def memory(self) -> torch.Tensor:
        """What the solver remembers of the last step besides its number: that step's estimate of the clean latents."""
        return self.model_outputs[-1]

    def go_on(self, steps_done: int, memory: torch.Tensor) -> None:
        """Stand, after `set_timesteps`, where a run of the same grid stood after `steps_done` steps (at least one)."""
        self.model_outputs[-1] = memory
        self.lower_order_nums = min(steps_done, self.config.solver_order)
        self._step_index = steps_done


def published_grid(num_steps: int, shift: float, num_train_timesteps: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Sigmas float32 `[num_steps + 1]` from 1 to 0, and timesteps int64 `[num_steps]`."""
    u = np.linspace(1, 0, num_steps + 1)[:num_steps]
    sigmas = shift * u / (1 + (shift - 1) * u)
    timesteps = (sigmas * num_train_timesteps).astype(np.int64)
    return np.append(sigmas, 0.0).astype(np.float32), timesteps
