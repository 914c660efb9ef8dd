"""Training of nano's relational transformer together with its text encoder, by flow matching.

x_sigma = (1 − sigma)·clean + sigma·noise; the network learns the velocity noise − clean on the video's tokens.
References are never noised and share the video's timestep. In one sample of ten the prompt is dropped and the
references stay, which is what guidance subtracts.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MethodType

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from engine.model.transformer import LumosXTransformer3DModel
from engine.nano.dataset import Shard, ShardStore
from engine.nano.muon import Muon
from engine.nano.run_folder import RunFolder

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationsPlan:
    """How long and how fast to train. A new shard joins every `shard_every` steps until there are `shards`."""

    steps: int = 1650
    batch: int = 16
    learning_rate: float = 2e-3
    first_shards: int = 11
    shards: int = 96
    shard_every: int = 80
    shift: float = 3.0
    dropped_prompts: float = 0.1
    averaging: float = 0.998
    seed: int = 0
    checkpoint_every: int = 100


@dataclass(frozen=True, slots=True)
class Batch:
    """Scenes of one structure: latents float32, `tokens` int64 `[B, L]`, `lengths` `[B]`, `masks` `[B, N, 128]`."""

    video: torch.Tensor
    references: torch.Tensor
    groups: tuple[int, ...]
    tokens: torch.Tensor
    lengths: torch.Tensor
    masks: torch.Tensor


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
        weight = None if self.weight is None else self.weight.to(x.dtype)
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
        shard = store.shard(available - 1 if newest else int(rng.integers(available)))
        yield take(shard, rng, plan.batch)


def take(shard: Shard, rng: np.random.Generator, count: int) -> Batch:
    """`count` random scenes of a shard with a random wording each."""
    scenes = torch.from_numpy(rng.permutation(len(shard.video))[:count])
    wording = torch.from_numpy(rng.integers(0, shard.tokens.shape[1], len(scenes)))
    return Batch(
        video=shard.video[scenes].float(),
        references=shard.references[scenes].float(),
        groups=shard.structure.groups,
        tokens=shard.tokens[scenes, wording].long(),
        lengths=shard.lengths[scenes, wording],
        masks=shard.masks[scenes, wording],
    )


def embed(encoder: UMT5EncoderModel, tokens: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Embeddings `[B, L, D]` of padded tokens `[B, L]`, zero behind every prompt's end."""
    longest = int(lengths.max())
    mask = torch.arange(longest)[None] < lengths[:, None]
    hidden = encoder(tokens[:, :longest], attention_mask=mask.long()).last_hidden_state * mask[..., None]
    return torch.nn.functional.pad(hidden, (0, 0, 0, tokens.shape[1] - longest))


def velocity_loss(
    transformer: torch.nn.Module,
    encoder: UMT5EncoderModel,
    batch: Batch,
    plan: RelationsPlan,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared error of the video's velocity: the mean, and beside it `[2, B]` every sample's sigma and error."""
    size = len(batch.video)
    u = (torch.rand(size, generator=generator) + torch.arange(size)) / size
    sigma = plan.shift * u / (1 + (plan.shift - 1) * u)
    noise = torch.randn(batch.video.shape, generator=generator)
    dropped = torch.rand(size, generator=generator) < plan.dropped_prompts
    tokens, lengths = batch.tokens.clone(), batch.lengths.clone()
    tokens[dropped] = 0
    tokens[dropped, 0] = 1
    lengths[dropped] = 1
    weight = sigma.view(-1, 1, 1, 1, 1)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = transformer(
            (1 - weight) * batch.video + weight * noise,
            sigma * 1000,
            embed(encoder, tokens, lengths),
            reference_latents=batch.references,
            groups=batch.groups,
            text_masks=batch.masks,
            return_dict=False,
        )[0]
    errors = (predicted.float() - (noise - batch.video)).square().flatten(1).mean(1)
    return errors.mean(), torch.stack([sigma, errors.detach()])


def train_relations(
    out: Path,
    plan: RelationsPlan,
    vae: AutoencoderKLWan,
    tokenizer: PreTrainedTokenizerFast,
    resume: bool,
    log: Callable[..., None] = print,
) -> tuple[LumosXTransformer3DModel, UMT5EncoderModel]:
    """Train, checkpoint under `out` and return the averaged transformer and text encoder."""
    torch.manual_seed(plan.seed)
    run = RunFolder(out, "relations", asdict(plan))
    transformer, encoder = new_transformer(), new_text_encoder(len(tokenizer))
    average = {"transformer": copy.deepcopy(transformer), "text_encoder": copy.deepcopy(encoder)}
    parameters = [*transformer.parameters(), *encoder.parameters()]
    averaged = [*average["transformer"].parameters(), *average["text_encoder"].parameters()]
    plain = [*encoder.shared.parameters(), *transformer.proj_out.parameters()]
    optimizer = Muon(parameters, lr=plan.learning_rate, plain=plain)
    models = {"transformer": transformer, "text_encoder": encoder}
    models |= {f"average_{name}": model for name, model in average.items()}
    step = run.start(resume, models, optimizer)
    keep_norms_in_half(transformer)
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
            loss, errors = velocity_loss(transformer, encoder, batch, plan, generator)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(averaged, parameters, 1 - min(plan.averaging, (step + 1) / (step + 10)))
        recent.append(errors)
        if step % 50 == 0:
            log(f"relations step {step}/{plan.steps} {_summary(recent)} {time.monotonic() - started:.0f} s", flush=True)
            recent = []
        if step % plan.checkpoint_every == 0 or step == plan.steps:
            run.save(step, models, optimizer)
    return average["transformer"], average["text_encoder"]


def rate(step: int, steps: int) -> float:
    """Learning rate at a step as a share of the full one: a short warm-up, then half a cosine down to 2 %."""
    warm = min(1.0, (step + 1) / 100)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps))))


def _summary(recent: list[torch.Tensor]) -> str:
    """The mean error, and the error at much, some and little noise."""
    sigma, error = torch.cat(recent, dim=1)
    bands = [error[(sigma >= low) & (sigma < high)].mean() for low, high in ((0.9, 1.01), (0.6, 0.9), (0.0, 0.6))]
    return f"error {error.mean():.4f} (" + " ".join(f"{band:.4f}" for band in bands) + ")"
