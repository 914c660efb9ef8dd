"""The loss that teaches nano its relations: flow matching on the video's tokens, and attention that is localised.

x_sigma = (1 − sigma)·clean + sigma·noise; the network learns the velocity noise − clean on the video's tokens.
References are never noised and share the video's timestep. In one sample of ten the prompt is dropped and the
references stay, which is what guidance subtracts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import UMT5EncoderModel

from engine.model.layout import PUBLISHED, Relations
from engine.model.precision import mixed_precision
from engine.nano.copies import SharedReferences
from engine.nano.dataset import Shard
from engine.nano.world.scene import Structure

OBJECT_WEIGHT, BACKGROUND_WEIGHT = 3.0, 0.6
"""How much errors of the velocity count where an object is and where nobody is, see `emphasis`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationsPlan:
    """How long and how fast to train. A new shard joins every `shard_every` steps until there are `shards`.

    `copies`: how often a clip is taken with other noise, while all copies have at most `copied_frames` latent frames.
    `pairs`: how often scenes of two are taken for one of three. `localisation`: the weight of `localisation_loss`.
    `relations` are at work; unless `grouped`, every reference stands alone, as if it belonged to nobody. `guided`: how
    much relation guidance the velocity that is learned already contains, see `unrelated_velocity`.
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
    pairs: float = 2.0
    dropped_prompts: float = 0.1
    uneven: float = 0.6
    localisation: float = 0.3
    relations: Relations = PUBLISHED
    grouped: bool = True
    guided: float = 0.0
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

    def to(self, device: torch.device) -> Batch:
        """The same scenes on another device."""
        tensors = {name: getattr(self, name).to(device) for name in self.__slots__ if name != "structure"}
        return Batch(structure=self.structure, **tensors)


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
    mask = torch.arange(longest, device=tokens.device)[None] < lengths[:, None]
    hidden = encoder(tokens[:, :longest], attention_mask=mask.long()).last_hidden_state * mask[..., None]
    return torch.nn.functional.pad(hidden, (0, 0, 0, tokens.shape[1] - longest))


@dataclass(frozen=True, slots=True)
class Learner:
    """The network that learns, and the text encoder that learns with it."""

    network: SharedReferences
    encoder: UMT5EncoderModel

    def velocity(
        self, noisy: torch.Tensor, sigma: torch.Tensor, batch: Batch, plan: RelationsPlan, relations: Relations
    ) -> torch.Tensor:
        """Velocities of `noisy` copies `[B, K, C, T, h, w]` of a batch's clips, of that shape."""
        with mixed_precision(noisy.device):
            return self.network.velocity(
                noisy,
                sigma * 1000,
                embed(self.encoder, batch.tokens, batch.lengths),
                reference_latents=batch.references,
                groups=batch.structure.groups if plan.grouped else (),
                text_masks=batch.masks,
                relations=relations,
            )


@torch.no_grad()
def unrelated_velocity(
    average: Learner, noisy: torch.Tensor, sigma: torch.Tensor, batch: Batch, plan: RelationsPlan
) -> torch.Tensor:
    """What relation guidance leads away from: velocities of `noisy` copies by the averaged weights without CSAM.

    A network that learns v + w·(own − unrelated) gives in one pass what takes two with guidance of w / (1 − w), and can
    be guided once more on top of it; Model-guidance (arXiv 2502.12154) does so with the prompt's.
    """
    copies = noisy.shape[1]
    # Without segments references see the video, so that copies cannot share them.
    shared = {name: getattr(batch, name) for name in ("references", "tokens", "lengths", "masks")}
    apart = dataclasses.replace(batch, **{name: part.repeat_interleave(copies, 0) for name, part in shared.items()})
    relations = dataclasses.replace(plan.relations, self_attention=False)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):  # quickest forwards on any device
        velocity = average.velocity(
            noisy.flatten(0, 1)[:, None], sigma.repeat_interleave(copies), apart, plan, relations
        )
    return velocity.view_as(noisy).float()


def velocity_loss(
    learner: Learner,
    batch: Batch,
    plan: RelationsPlan,
    generator: torch.Generator,
    average: Learner,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean squared error of the video's velocity and `localisation_loss`, summed; beside it `[3, B]` every scene's
    sigma and both errors.

    Short clips are taken several times, with other noise at the same sigma, see `engine.nano.copies`; that needs
    references which do not see the video. Some scenes show a part of themselves through less noise, see `uneven_noise`;
    that part has no loss. All chance comes from `generator`, on the CPU, so that a seed means the same everywhere.
    """
    size, channels, frames = batch.video.shape[:3]
    copies = max(1, min(plan.copies, plan.copied_frames // frames)) if plan.relations.self_attention else 1
    u = (torch.rand(size, generator=generator) + torch.arange(size)) / size
    sigma = plan.shift * u / (1 + (plan.shift - 1) * u)
    noise = torch.randn((size, copies, channels, *batch.video.shape[2:]), generator=generator)
    dropped = torch.rand(size, generator=generator) < plan.dropped_prompts
    tokens, lengths = batch.tokens.clone(), batch.lengths.clone()
    tokens[dropped] = 0
    tokens[dropped, 0] = 1
    lengths[dropped] = 1
    weight, counted = uneven_noise(sigma, batch.video.shape[-2:], plan.uneven, generator)
    counted = counted * emphasis(batch.owners, batch.structure, batch.video.shape[2:])
    device = learner.network.device
    batch = dataclasses.replace(batch, tokens=tokens, lengths=lengths).to(device)
    sigma, noise, weight, counted = (part.to(device) for part in (sigma, noise, weight, counted))
    clean = batch.video[:, None]
    noisy, wanted = (1 - weight) * clean + weight * noise, noise - clean
    predicted = learner.velocity(noisy, sigma, batch, plan, plan.relations).float()
    if plan.guided:
        away = predicted.detach() - unrelated_velocity(average, noisy, sigma, batch, plan)
        wanted = wanted + plan.guided * away
    squares = (predicted - wanted).square() * counted
    errors = squares.flatten(1).mean(1) / counted.flatten(1).mean(1)
    astray = localisation_loss(learner.network.shares(), batch.owners, batch.structure.background)
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
        return torch.zeros(len(owners), device=owners.device)
    owned = (owners >= 0).float()
    owners = owners - first
    total = torch.zeros(len(owners), device=owners.device)
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
