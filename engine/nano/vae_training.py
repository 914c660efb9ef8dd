"""Training of nano's autoencoder: first on still pictures, then on short clips.

Batches follow from the seed and the step number alone, so a resumed run sees what an uninterrupted one would have seen.
"""

# A convolution's padding and the averaging of many tensors at once have no public name.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan, WanCausalConv3d, WanResample
from torch.utils.data import DataLoader, Dataset

from engine.model.precision import mixed_precision
from engine.nano.muon import Muon
from engine.nano.run_folder import RunFolder
from engine.nano.world.scene import WorldScene, draw_scene, draw_structure, model_references, render_clip

TRAINING_SEEDS = 1_000_000_000
"""World seeds below this are for training; presets and measurements draw from there on."""

VAE_CONFIG: dict[str, Any] = {
    "base_dim": 24,
    "decoder_base_dim": 24,
    "z_dim": 12,
    "dim_mult": [1, 2, 2],
    "num_res_blocks": 1,
    "attn_scales": [],
    "temperal_downsample": [True, True],
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "is_residual": True,
    "scale_factor_temporal": 4,
    "scale_factor_spatial": 8,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VaePlan:
    """How long and how fast to train. From `still_steps` on, two of three batches are clips."""

    steps: int = 2200
    still_steps: int = 1400
    still_batch: int = 6
    clip_batch: int = 2
    learning_rate: float = 2e-3
    kl_weight: float = 1e-4
    seed: int = 0
    checkpoint_every: int = 200


def new_vae(mean: list[float] | None = None, std: list[float] | None = None) -> AutoencoderKLWan:
    """An untrained autoencoder of nano's shape: 8× smaller in space, 4× in time, 12 channels."""
    channels = int(VAE_CONFIG["z_dim"])
    return AutoencoderKLWan(**VAE_CONFIG, latents_mean=mean or [0.0] * channels, latents_std=std or [1.0] * channels)


def prepare_for_motion(vae: AutoencoderKLWan) -> None:
    """Let clips start where stills left off: convolutions hardly see earlier frames, and frames are repeated.

    After training on stills every earlier tap in time still has its random first value, which would be noise in a clip.
    """
    with torch.no_grad():
        for module in vae.modules():
            if isinstance(module, WanResample) and hasattr(module, "time_conv"):
                module.time_conv.weight.zero_()
                torch.nn.init.zeros_(cast(torch.Tensor, module.time_conv.bias))
                channels = module.dim
                for out in range(module.time_conv.out_channels):
                    module.time_conv.weight[out, out % channels, -1] = 1.0
            elif isinstance(module, WanCausalConv3d) and module.kernel_size == (3, 3, 3):
                module.weight[:, :, :2].mul_(0.1)


@contextmanager
def fast_stills() -> Generator[None]:
    """Within this block a causal convolution of a single frame is the flat convolution that it amounts to."""
    original = WanCausalConv3d.forward

    def forward(self: WanCausalConv3d, x: torch.Tensor, cache_x: torch.Tensor | None = None) -> torch.Tensor:
        if cache_x is None and x.shape[2] == 1 and self.stride == (1, 1, 1):
            flat = F.conv2d(x[:, :, 0], self.weight[:, :, -1], self.bias, padding=self._padding[0])
            return flat[:, :, None]
        return original(self, x, cache_x)

    WanCausalConv3d.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        WanCausalConv3d.forward = original  # type: ignore[method-assign]


class PictureFeed(Dataset[torch.Tensor]):
    """Batch number i: stills or a few short clips, uint8 `[B, T, H, W, 3]`."""

    def __init__(self, plan: VaePlan, first: int) -> None:
        self.plan, self.first = plan, first

    def __len__(self) -> int:
        return self.plan.steps - self.first

    def __getitem__(self, index: int) -> torch.Tensor:
        step = index + self.first
        rng = np.random.default_rng([self.plan.seed, step, 1])
        if step < self.plan.still_steps or step % 3 == 0:
            return torch.from_numpy(_stills(rng, self.plan.still_batch))
        frames = 9 if step % 15 == 1 else 5
        batch = max(1, self.plan.clip_batch * 5 // frames)
        clips = [render_clip(_scene(rng), frames, first=int(rng.integers(0, 20))) for _ in range(batch)]
        return torch.from_numpy(np.stack(clips))


def train_vae(out: Path, plan: VaePlan, resume: bool, log: Callable[..., None] = print) -> AutoencoderKLWan:
    """Train, checkpoint under `out`, return the averaged weights with measured latent statistics."""
    torch.manual_seed(plan.seed)
    run = RunFolder(out, "vae", asdict(plan))
    device = Accelerator().device
    vae, average = new_vae().to(device), new_vae().to(device)
    average.load_state_dict(vae.state_dict())
    optimizer = Muon(vae.parameters(), lr=plan.learning_rate, weight_decay=1e-4)
    step = run.start(resume, {"model": vae, "average": average}, optimizer)
    # With a generator of its own the feed takes nothing from the random state that a checkpoint holds.
    own = torch.Generator()
    feed = DataLoader(PictureFeed(plan, step), batch_size=None, num_workers=1, prefetch_factor=4, generator=own)
    started = time.monotonic()
    seen: dict[str, list[float]] = {"still": [], "clip": []}
    with fast_stills():
        for pixels in feed:
            if step == plan.still_steps:
                prepare_for_motion(vae)
                prepare_for_motion(average)
            for group in optimizer.param_groups:
                group["lr"] = plan.learning_rate * _rate(step, plan.steps)
            loss, error = _loss(vae, pixels.to(device), plan.kl_weight)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
            optimizer.step()
            step += 1
            _average(average, vae, min(0.997, (step + 1) / (step + 10)))
            seen["still" if pixels.shape[1] == 1 else "clip"].append(error)
            if step % 25 == 0:
                means = {k: round(float(np.mean(v[-25:])), 4) for k, v in seen.items() if v}
                log(f"vae step {step}/{plan.steps} error {means} {time.monotonic() - started:.0f} s", flush=True)
            if step % plan.checkpoint_every == 0 or step == plan.steps:
                run.save(step, {"model": vae, "average": average}, optimizer)
    with_statistics(average.cpu(), plan.seed)
    average.save_pretrained(out / "vae")
    return average


def with_statistics(vae: AutoencoderKLWan, seed: int, scenes: int = 48) -> None:
    """Measure mean and spread of every latent channel over clips and references and write them into the config."""
    rng = np.random.default_rng([seed, 2])
    parts: list[torch.Tensor] = []
    with torch.no_grad(), mixed_precision(torch.device("cpu")):
        for _ in range(scenes):
            scene = _scene(rng)
            for pixels in (render_clip(scene, 5)[None], model_references(scene)[:, None]):
                latent = vae.encode(as_video(torch.from_numpy(pixels)), return_dict=False)[0].mode()
                parts.append(latent.float().transpose(0, 1).flatten(1))
    values = torch.cat(parts, dim=1)
    vae.register_to_config(latents_mean=values.mean(1).tolist(), latents_std=values.std(1).tolist())


def as_video(pixels: torch.Tensor) -> torch.Tensor:
    """uint8 `[B, T, H, W, 3]` to float `[B, 3, T, H, W]` in -1..1."""
    return pixels.permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def normalised(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """Latents `[B, C, T, h, w]` with the measured mean and spread taken out."""
    shape = (1, -1, 1, 1, 1)
    mean = torch.tensor(vae.config["latents_mean"]).view(shape)
    return (latents.float() - mean) / torch.tensor(vae.config["latents_std"]).view(shape)


def denormalised(vae: AutoencoderKLWan, latents: torch.Tensor) -> torch.Tensor:
    """The inverse of `normalised`."""
    shape = (1, -1, 1, 1, 1)
    return latents * torch.tensor(vae.config["latents_std"]).view(shape) + torch.tensor(
        vae.config["latents_mean"]
    ).view(shape)


def _loss(vae: AutoencoderKLWan, pixels: torch.Tensor, kl_weight: float) -> tuple[torch.Tensor, float]:
    video = as_video(pixels)
    with mixed_precision(video.device):
        posterior = vae.encode(video, return_dict=False)[0]
        # A little noise keeps the decoder steady against the transformer's small errors.
        latent = posterior.mode() + torch.randn_like(posterior.mean) * posterior.std.clamp(max=0.3)
        decoded = vae.decode(latent, return_dict=False)[0].float()
    difference = decoded - video
    error = difference.abs().mean()
    edges = (difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()) / 2
    kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1 - posterior.logvar.float()).mean()
    flat = difference.transpose(1, 2).flatten(0, 1)
    # Colours over wide areas come first; they would otherwise be the last thing to be learned.
    coarse = F.avg_pool2d(flat, 8).square().mean() + F.avg_pool2d(flat, 4).square().mean()
    return error + 0.5 * edges + difference.square().mean() + 2 * coarse + kl_weight * kl, error.item()


def _rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / 50)
    return warm * (0.04 + 0.96 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def _average(average: torch.nn.Module, model: torch.nn.Module, decay: float) -> None:
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def _scene(rng: np.random.Generator) -> WorldScene:
    structure = draw_structure(rng, int(rng.integers(1, 4)))
    return draw_scene(int(rng.integers(TRAINING_SEEDS)), structure)


def _stills(rng: np.random.Generator, count: int) -> np.ndarray:
    pictures: list[np.ndarray] = []
    while len(pictures) < count:
        scene = _scene(rng)
        pictures.append(render_clip(scene, 1, first=int(rng.integers(0, 24)))[0])
        references = model_references(scene)
        for i in rng.permutation(len(references))[:1]:
            pictures.append(references[int(i)])
    return np.stack(pictures[:count])[:, None]
