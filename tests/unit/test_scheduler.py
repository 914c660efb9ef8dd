"""The published grid, exact, and the solver on problems whose answer is known."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch

from engine.model.scheduler import LumosXScheduler, published_grid


def exact_sigmas(steps: int, shift: int) -> list[Fraction]:
    u = [1 - Fraction(n, steps) for n in range(steps)]
    return [shift * value / (1 + (shift - 1) * value) for value in u]


@pytest.mark.parametrize(("steps", "shift"), [(1, 8), (4, 8), (50, 8), (200, 8), (50, 3), (30, 1)])
def test_sigmas_are_the_formula(steps: int, shift: int) -> None:
    scheduler = LumosXScheduler()
    scheduler.set_timesteps(steps, shift=float(shift))
    expected = [float(value) for value in exact_sigmas(steps, shift)] + [0.0]
    assert scheduler.sigmas.dtype == torch.float32
    assert scheduler.sigmas.tolist() == pytest.approx(expected, abs=1e-7)
    assert scheduler.sigmas[0].item() == 1.0
    assert scheduler.sigmas[-1].item() == 0.0


def test_timesteps_of_the_published_run() -> None:
    scheduler = LumosXScheduler()
    scheduler.set_timesteps(50)
    assert scheduler.timesteps[:3].tolist() == [1000, 997, 994]
    assert scheduler.timesteps[-1].item() == 140
    assert scheduler.timesteps.tolist() == [int(1000 * value) for value in exact_sigmas(50, 8)]


def test_configured_shift_holds_unless_a_run_overrides_it() -> None:
    scheduler = LumosXScheduler(flow_shift=3.0)
    scheduler.set_timesteps(10)
    assert torch.equal(scheduler.sigmas, torch.from_numpy(published_grid(10, 3.0)[0]))
    scheduler.set_timesteps(10, shift=5.0)
    assert torch.equal(scheduler.sigmas, torch.from_numpy(published_grid(10, 5.0)[0]))
    scheduler.set_timesteps(10)
    assert torch.equal(scheduler.sigmas, torch.from_numpy(published_grid(10, 3.0)[0]))


def test_a_run_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one step"):
        LumosXScheduler().set_timesteps(0)


def sample(scheduler: LumosXScheduler, steps: int, noise: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """Integrate the straight path from `noise` to `clean`, whose velocity is known everywhere."""
    scheduler.set_timesteps(steps)
    latents = noise
    for timestep in scheduler.timesteps:
        latents = scheduler.step(noise - clean, timestep, latents, return_dict=False)[0]
    return latents


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 14, 15, 50, 200])
def test_a_straight_path_is_followed_to_its_end(steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    noise, clean = torch.randn(2, 1, 4, 2, 3, 3, generator=generator)
    torch.testing.assert_close(sample(LumosXScheduler(), steps, noise, clean), clean, atol=1e-5, rtol=0)


def test_long_runs_with_coinciding_timesteps_still_take_every_step() -> None:
    scheduler = LumosXScheduler()
    scheduler.set_timesteps(200)
    assert len(set(scheduler.timesteps.tolist())) < 200
    latents = torch.zeros(1)
    for index, timestep in enumerate(scheduler.timesteps):
        latents = scheduler.step(torch.ones(1), timestep, latents, return_dict=False)[0]
        assert scheduler.step_index == index + 1
        # With a constant velocity of one the latents tell how far along the path they are.
        assert latents.item() == pytest.approx(scheduler.sigmas[index + 1].item() - 1, abs=1e-5)


def test_a_second_run_does_not_remember_the_first() -> None:
    scheduler = LumosXScheduler()
    noise, clean, other = torch.randn(3, 1, 2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    alone = sample(LumosXScheduler(), 7, noise, clean)
    sample(scheduler, 7, other, noise)
    scheduler.set_timesteps(9)
    scheduler.step(other, scheduler.timesteps[0], noise)  # a run that was broken off
    assert torch.equal(sample(scheduler, 7, noise, clean), alone)


def test_half_precision_velocities_do_not_round_the_latents() -> None:
    scheduler = LumosXScheduler()
    scheduler.set_timesteps(4)
    latents = torch.randn(1, 2, 1, 2, 2)
    assert scheduler.step(latents.clone(), scheduler.timesteps[0], latents).prev_sample.dtype == torch.float32


def test_it_is_saved_and_loaded_with_its_shift(tmp_path: Path) -> None:
    LumosXScheduler(flow_shift=3.0).save_pretrained(tmp_path)
    loaded = LumosXScheduler.from_pretrained(tmp_path)
    assert type(loaded) is LumosXScheduler
    assert loaded.config.flow_shift == 3.0
    assert loaded.config.prediction_type == "flow_prediction"
    loaded.set_timesteps(10)
    assert torch.equal(loaded.sigmas, torch.from_numpy(published_grid(10, 3.0)[0]))
