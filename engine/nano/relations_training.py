"""Training of nano's relational transformer together with its text encoder: networks, batches and the loop."""

# The averaging of many tensors at once has no public name.
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from types import MethodType
from typing import cast

import numpy as np
import torch
from accelerate import Accelerator
from safetensors.torch import load_model
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import UMT5Config, UMT5EncoderModel

from engine.model.precision import quick_dtype
from engine.model.transformer import LumosXTransformer3DModel
from engine.nano.copies import SharedReferences
from engine.nano.dataset import CYCLE, ShardStore
from engine.nano.flow_matching import Batch, Learner, RelationsPlan, take, velocity_loss
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

FIRST_LOCALISED = 2
"""The first block whose attention is localised; the ones before find out what belongs to what."""


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
        shard = store.shard(available - 1 if newest else int(rng.choice(available, p=shares(available, plan.pairs))))
        yield take(shard, rng, plan.batch)


def shares(available: int, pairs: float) -> np.ndarray:
    """How often each of the first `available` shards is used, those of two people `pairs` times as often as others."""
    twos = np.array([len(CYCLE[number % len(CYCLE)][0].groups) == 2 for number in range(available)])
    weights = np.where(twos, pairs, 1.0)
    return weights / weights.sum()


def train_relations(
    out: Path,
    plan: RelationsPlan,
    store: ShardStore,
    resume: bool,
    start: Path | None = None,
    log: Callable[..., None] = print,
) -> tuple[LumosXTransformer3DModel, UMT5EncoderModel]:
    """Train on the scenes of `store`, checkpoint under `out` and return the averaged transformer and text encoder.

    A new run starts from the model folder `start` instead of from random weights, if one is given. Training runs on the
    graphics card if there is one.
    """
    torch.manual_seed(plan.seed)
    device = Accelerator().device
    run = RunFolder(out, "relations", asdict(plan))
    transformer, encoder = new_transformer().to(device), new_text_encoder(len(store.tokenizer)).to(device)
    if start is not None:
        load_model(transformer, start / "transformer" / "diffusion_pytorch_model.safetensors")
        load_model(encoder, start / "text_encoder" / "model.safetensors")
    average_transformer, average_encoder = copy.deepcopy(transformer), copy.deepcopy(encoder)
    parameters = [*transformer.parameters(), *encoder.parameters()]
    averaged: list[torch.Tensor] = [*average_transformer.parameters(), *average_encoder.parameters()]
    plain = [*encoder.shared.parameters(), *transformer.proj_out.parameters()]
    optimizer = Muon(parameters, lr=plan.learning_rate, plain=plain)
    models = {
        "transformer": transformer,
        "text_encoder": encoder,
        "average_transformer": average_transformer,
        "average_text_encoder": average_encoder,
    }
    step = run.start(resume, models, optimizer)
    learner, averages = _learner(transformer, encoder), _learner(average_transformer, average_encoder)
    if plan.localisation:
        learner.network.watch(FIRST_LOCALISED)
    store.vae.to(device)
    started, recent = time.monotonic(), []
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)
    for batch in batches(store, plan, step):
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * rate(step, plan.steps)
        optimizer.zero_grad(set_to_none=True)
        with _fastest_attention(device):
            loss, errors = velocity_loss(learner, batch, plan, generator, averages)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(
                averaged, cast(list[torch.Tensor], parameters), 1 - min(plan.averaging, (step + 1) / (step + 10))
            )
        recent.append(errors.cpu())
        if step % 50 == 0:
            log(f"relations step {step}/{plan.steps} {_summary(recent)} {time.monotonic() - started:.0f} s", flush=True)
            recent = []
        if step % plan.checkpoint_every == 0 or step == plan.steps:
            run.save(step, models, optimizer)
    store.vae.cpu()
    return average_transformer.cpu(), average_encoder.cpu()


def _learner(transformer: LumosXTransformer3DModel, encoder: UMT5EncoderModel) -> Learner:
    keep_norms_in_half(transformer)
    return Learner(SharedReferences(transformer), encoder)


def _fastest_attention(device: torch.device) -> AbstractContextManager[object]:
    """On a processor PyTorch's fused attention is slow backwards in bfloat16, and plain products are several times
    faster at these sizes; in float32 it is the fused one that is faster, 1.3 times over a whole update."""
    if device.type != "cpu":
        return nullcontext()
    if quick_dtype(device) == torch.bfloat16:
        return sdpa_kernel(SDPBackend.MATH)
    return sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH], set_priority=True)


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
