"""Training of nano's relational transformer together with its text encoder, by flow matching.

x_sigma = (1 − sigma)·clean + sigma·noise; the network learns the velocity noise − clean on the video's tokens.
References are never noised and share the video's timestep. In one sample of ten the prompt is dropped and the
references stay, which is what guidance subtracts.
"""

# The averaging of many tensors at once has no public name.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MethodType
from typing import cast

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors.torch import load_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from engine.model.transformer import LumosXTransformer3DModel
from engine.nano.copies import SharedReferences
from engine.nano.dataset import CYCLE, Shard, ShardStore
from engine.nano.muon import Muon
from engine.nano.run_folder import RunFolder
from engine.nano.world.scene import Structure

TEXT_DIM = 128
TRANSFORMER_CONFIG: dict[str, object] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 5,
    "attention_head_dim": 32,
    "in_channels": 12,
    "out_channels": 12,
    "text_dim": TEXT_DIM,
    "freq_dim": 128,
    "ffn_dim": 512,
    "num_layers": 6,
}

FIRST_LOCALISED = 2
"""The first block whose attention is localised; the ones before find out what belongs to what."""

OBJECT_WEIGHT, BACKGROUND_WEIGHT = 3.0, 0.6
"""How much errors of the velocity count where an object is and where nobody is, see `emphasis`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationsPlan:
    """How long and how fast to train. A new shard joins every `shard_every` steps until there are `shards`.

    `copies`: how often a clip is taken with other noise, while all copies have at most `copied_frames` latent frames.
    `localisation`: the weight of `localisation_loss`.
    """

    steps: int = 5400
    batch: int = 10
    copies: int = 3
    copied_frames: int = 8
    learning_rate: float = 5e-3
    first_shards: int = 14
    shards: int = 96
    shard_every: int = 100
    shift: float = 3.0
    dropped_prompts: float = 0.1
    uneven: float = 0.6
    localisation: float = 0.3
    averaging: float = 0.995
    seed: int = 0
    checkpoint_every: int = 100


@dataclass(frozen=True, slots=True)
class Batch:
    """Scenes of one structure: latents float32, `tokens` int64 `[B, L]`, `lengths` `[B]`, `masks` `[B, N, 128]`,
    `owners` int64 `[B, patches]`."""

    structure: Structure
    video: torch.Tensor
    references: torch.Tensor
    tokens: torch.Tensor
    lengths: torch.Tensor
    masks: torch.Tensor
    owners: torch.Tensor


def new_text_encoder(vocabulary: int) -> UMT5EncoderModel:
    """An untrained text encoder of nano's shape."""
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=TEXT_DIM,
        d_kv=32,
        d_ff=256,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return UMT5EncoderModel(config)


def new_transformer() -> LumosXTransformer3DModel:
    """An untrained relational transformer of nano's shape; its last layer starts at zero."""
    transformer = LumosXTransformer3DModel(**TRANSFORMER_CONFIG)  # pyright: ignore[reportArgumentType]
    torch.nn.init.zeros_(transformer.proj_out.weight)
    torch.nn.init.zeros_(transformer.proj_out.bias)
    return transformer


def keep_norms_in_half(transformer: torch.nn.Module) -> None:
    """Let the norms of queries and keys take their weight in the dtype of their input: a mixture has no fast kernel."""

    def forward(self: torch.nn.RMSNorm, x: torch.Tensor) -> torch.Tensor:
        given = cast("torch.Tensor | None", self.weight)  # None where a norm has no weight
        weight = None if given is None else given.to(x.dtype)
        return torch.nn.functional.rms_norm(x, self.normalized_shape, weight, self.eps)

    for module in transformer.modules():
        if isinstance(module, torch.nn.RMSNorm):
            module.forward = MethodType(forward, module)


def batches(store: ShardStore, plan: RelationsPlan, first: int) -> Iterator[Batch]:
    """The batch of every step from `first` on; it follows from the plan's seed and the step alone."""
    for step in range(first, plan.steps):
        rng = np.random.default_rng([plan.seed, step, 11])
        available = min(plan.shards, plan.first_shards + step // plan.shard_every)
        newest = step % plan.shard_every == 0
        shard = store.shard(available - 1 if newest else int(rng.choice(available, p=shares(available))))
        yield take(shard, rng, plan.batch)


def shares(available: int) -> np.ndarray:
    """How often each of the first `available` shards is used: pairs twice as often, for they teach binding fastest."""
    pairs = np.array([len(CYCLE[number % len(CYCLE)][0].groups) == 2 for number in range(available)])
    weights = np.where(pairs, 2.0, 1.0)
    return weights / weights.sum()


def take(shard: Shard, rng: np.random.Generator, count: int) -> Batch:
    """`count` random scenes of a shard with a random wording each."""
    scenes = torch.from_numpy(rng.permutation(len(shard.video))[:count])
    wording = torch.from_numpy(rng.integers(0, shard.tokens.shape[1], len(scenes)))
    return Batch(
        structure=shard.structure,
        video=shard.video[scenes].float(),
        references=shard.references[scenes].float(),
        tokens=shard.tokens[scenes, wording].long(),
        lengths=shard.lengths[scenes, wording],
        masks=shard.masks[scenes, wording],
        owners=shard.owners[scenes],
    )


def embed(encoder: UMT5EncoderModel, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Embeddings `[B, L, D]` of padded tokens `[B, L]`, zero behind every prompt's end."""
    longest = int(lengths.max())
    mask = torch.arange(longest)[None] < lengths[:, None]
    hidden = encoder(tokens[:, :longest], attention_mask=mask.long()).last_hidden_state * mask[..., None]
    return torch.nn.functional.pad(hidden, (0, 0, 0, tokens.shape[1] - longest))


def velocity_loss(
    network: SharedReferences,
    encoder: UMT5EncoderModel,
    batch: Batch,
    plan: RelationsPlan,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared error of the video's velocity and `localisation_loss`, summed; beside it `[3, B]` every scene's
    sigma and both errors.

    Short clips are taken several times, with other noise at the same sigma, see `engine.nano.copies`. Some scenes show
    a part of themselves through less noise, see `uneven_noise`; that part has no loss.
    """
    size, channels, frames = batch.video.shape[:3]
    copies = max(1, min(plan.copies, plan.copied_frames // frames))
    u = (torch.rand(size, generator=generator) + torch.arange(size)) / size
    sigma = plan.shift * u / (1 + (plan.shift - 1) * u)
    noise = torch.randn((size, copies, channels, *batch.video.shape[2:]), generator=generator)
    dropped = torch.rand(size, generator=generator) < plan.dropped_prompts
    tokens, lengths = batch.tokens.clone(), batch.lengths.clone()
    tokens[dropped] = 0
    tokens[dropped, 0] = 1
    lengths[dropped] = 1
    clean = batch.video[:, None]
    weight, counted = uneven_noise(sigma, batch.video.shape[-2:], plan.uneven, generator)
    counted = counted * emphasis(batch.owners, batch.structure, batch.video.shape[2:])
    with torch.autocast("cpu", torch.bfloat16):
        predicted = network.velocity(
            (1 - weight) * clean + weight * noise,
            sigma * 1000,
            embed(encoder, tokens, lengths),
            reference_latents=batch.references,
            groups=batch.structure.groups,
            text_masks=batch.masks,
        )
    squares = (predicted.float() - (noise - clean)).square() * counted
    errors = squares.flatten(1).mean(1) / counted.flatten(1).mean(1)
    astray = localisation_loss(network.shares(), batch.owners, batch.structure.background)
    loss = errors.mean() + plan.localisation * ((1 - sigma) * astray).mean()
    return loss, torch.stack([sigma, errors.detach(), astray.detach()])


def emphasis(owners: torch.Tensor, structure: Structure, size: Sequence[int]) -> torch.Tensor:
    """Weights of the loss `[B, 1, 1, T, h, w]` for owners `[B, T·h·w / 4]`: `OBJECT_WEIGHT`, 1 for members, and
    `BACKGROUND_WEIGHT` where there is neither. An object covers a twelfth of the canvas and would be learned last."""
    frames, height, width = size
    weights = torch.ones(owners.shape)
    weights[owners < 0] = BACKGROUND_WEIGHT
    if structure.thing:
        weights[owners == structure.num_free - 1] = OBJECT_WEIGHT
    weights = weights.view(-1, 1, 1, frames, height // 2, width // 2)
    return weights.repeat_interleave(2, -2).repeat_interleave(2, -1)


def localisation_loss(shares: list[torch.Tensor], owners: torch.Tensor, background: bool) -> torch.Tensor:
    """How far the patches of a figure or an object are from attending to its own references: `[B]`, cross-entropy in
    nats. Attention paid to the `background`, if there is one, does not count.

    The clips were drawn, so it is known who covers which patch. Velocity alone teaches binding late: it pays only once
    faces and garments are drawn well. FastComposer (arXiv 2305.10431) localises cross-attention in the same way.
    `shares` as from `SharedReferences.shares`; `owners` `[B, patches]`.
    """
    first = int(background)
    if not shares or shares[0].shape[-1] == first:
        return torch.zeros(len(owners))
    owned = (owners >= 0).float()
    owners = owners - first
    total = torch.zeros(len(owners))
    for share in shares:
        counted = share[..., first:]
        share = counted / counted.sum(-1, keepdim=True).clamp(min=1e-4)
        index = owners.clamp(min=0)[:, None, :, None].expand(-1, share.shape[1], -1, 1)
        nats = -share.gather(-1, index)[..., 0].clamp(min=1e-4).log().mean(1)
        total = total + (nats * owned).sum(1) / owned.sum(1).clamp(min=1)
    return total / len(shares)


def uneven_noise(
    sigma: torch.Tensor, size: Sequence[int], share: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise levels and weights of the loss, both `[B, 1, 1, 1, h, w]`.

    Under even noise a face and its garment come into sight together, so that hardly anything rests on knowing which
    belong to each other. In a `share` of scenes a random rectangle, a head perhaps or the whole left side, has less
    noise than its timestep says, and only the rest is learned: what belongs to what has been seen.
    """
    height, width = size
    levels = sigma.view(-1, 1, 1, 1, 1, 1).expand(-1, 1, 1, 1, height, width).clone()
    counted = torch.ones_like(levels)
    for row in range(len(sigma)):
        if float(torch.rand((), generator=generator)) >= share:
            continue
        # Left or right part, three to five eighths of the width; upper half, lower half or both.
        cut = 2 * int(torch.randint(width * 3 // 16, width * 5 // 16 + 1, (), generator=generator))
        columns = (slice(0, cut), slice(cut, width))[int(torch.randint(2, (), generator=generator))]
        halves = (slice(0, height // 2), slice(height // 2, height), slice(0, height))
        rows = halves[int(torch.randint(3, (), generator=generator))]
        less = 0.6 * float(torch.rand((), generator=generator))
        levels[row, ..., rows, columns] *= less
        counted[row, ..., rows, columns] = 0
    return levels, counted


def train_relations(
    out: Path,
    plan: RelationsPlan,
    vae: AutoencoderKLWan,
    tokenizer: PreTrainedTokenizerFast,
    resume: bool,
    start: Path | None = None,
    log: Callable[..., None] = print,
) -> tuple[LumosXTransformer3DModel, UMT5EncoderModel]:
    """Train, checkpoint under `out` and return the averaged transformer and text encoder.

    A new run starts from the model folder `start` instead of from random weights, if one is given.
    """
    torch.manual_seed(plan.seed)
    run = RunFolder(out, "relations", asdict(plan))
    transformer, encoder = new_transformer(), new_text_encoder(len(tokenizer))
    if start is not None:
        load_model(transformer, start / "transformer" / "diffusion_pytorch_model.safetensors")
        load_model(encoder, start / "text_encoder" / "model.safetensors")
    average = {"transformer": copy.deepcopy(transformer), "text_encoder": copy.deepcopy(encoder)}
    parameters = [*transformer.parameters(), *encoder.parameters()]
    averaged: list[torch.Tensor] = [*average["transformer"].parameters(), *average["text_encoder"].parameters()]
    plain = [*encoder.shared.parameters(), *transformer.proj_out.parameters()]
    optimizer = Muon(parameters, lr=plan.learning_rate, plain=plain)
    models = {"transformer": transformer, "text_encoder": encoder}
    models |= {f"average_{name}": model for name, model in average.items()}
    step = run.start(resume, models, optimizer)
    keep_norms_in_half(transformer)
    network = SharedReferences(transformer)
    network.watch(FIRST_LOCALISED)
    store = ShardStore(out / "shards", vae, tokenizer)
    started, recent = time.monotonic(), []
    # PyTorch's fused attention is slow backwards on a CPU; plain products are several times faster at these sizes.
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    for batch in batches(store, plan, step):
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * rate(step, plan.steps)
        optimizer.zero_grad(set_to_none=True)
        with sdpa_kernel(SDPBackend.MATH):
            loss, errors = velocity_loss(network, encoder, batch, plan, generator)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(
                averaged, cast(list[torch.Tensor], parameters), 1 - min(plan.averaging, (step + 1) / (step + 10))
            )
        recent.append(errors)
        if step % 50 == 0:
            log(f"relations step {step}/{plan.steps} {_summary(recent)} {time.monotonic() - started:.0f} s", flush=True)
            recent = []
        if step % plan.checkpoint_every == 0 or step == plan.steps:
            run.save(step, models, optimizer)
    return cast(LumosXTransformer3DModel, average["transformer"]), cast(UMT5EncoderModel, average["text_encoder"])


def rate(step: int, steps: int) -> float:
    """Learning rate at a step as a share of the full one: a short warm-up, then half a cosine down to 2 %."""
    warm = min(1.0, (step + 1) / 100)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def _summary(recent: list[torch.Tensor]) -> str:
    """The mean errors of velocity and localisation, each also at much, some and little noise."""
    sigma, *errors = torch.cat(recent, dim=1)
    texts: list[str] = []
    for name, error in zip(("velocity", "localisation"), errors, strict=True):
        bands = [error[(sigma >= low) & (sigma < high)].mean() for low, high in ((0.9, 1.01), (0.6, 0.9), (0.0, 0.6))]
        texts.append(f"{name} {error.mean():.4f} (" + " ".join(f"{band:.4f}" for band in bands) + ")")
    return " ".join(texts)
