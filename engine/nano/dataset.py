"""Scenes ready for training: drawn, encoded by the autoencoder and put into words, in shards of one structure each.

Scenes of a batch must share their structure, so a shard holds one; it is made on demand from its number alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from transformers import PreTrainedTokenizerFast

from engine.model.precision import mixed_precision
from engine.nano.tokenizer import TEXT_TOKENS
from engine.nano.vae_training import as_video, fast_stills, normalised
from engine.nano.world.prompt import WorldPrompt, write_prompt
from engine.nano.world.scene import (
    Structure,
    WorldScene,
    draw_scene,
    elsewhere,
    model_references,
    render_clip,
    who_is_where,
)

SHARD_SCENES = 128
PROMPTS = 4
"""Wordings per scene: two plain ones and two wordy ones."""
PHOTOGRAPHED = 0.5
"""Share of scenes whose reference pictures look photographed, see `engine.nano.world.photography`."""
UNKNOWN_PLACES = 0.4
"""Share of scenes with a picture of their place in which it is none of the places that words know."""


def _structures(text: str) -> tuple[tuple[Structure, int], ...]:
    """Parse lines of "free groups latent_frames", free being letters of b(ackground) and t(hing)."""
    parsed: list[tuple[Structure, int]] = []
    for line in text.split(","):
        free, groups, frames = line.split()
        structure = Structure(background="b" in free, thing="t" in free, groups=tuple(int(g) for g in groups))
        parsed.append((structure, int(frames)))
    return tuple(parsed)


CYCLE = _structures(
    "b 22 7,bt 3 7,b 222 7,bt 22 7,b 33 4,bt 2 7,bt 222 4,bt 32 7,b 22 4,b 3 7,"
    "- 22 7,bt 333 4,b 12 4,b 222 7,bt 23 4,bt 3 4,b 22 7,- 222 4,b 21 7,b 322 4,"
    "bt 22 4,- 33 4,b 2 4,bt 222 7,b 22 2,bt 33 7,b 11 4,b 22 7,- 222 2,bt 22 7"
)
"""Structure and latent frames of shard number i, repeated: mostly two or three subjects with a garment each."""


@dataclass(frozen=True, slots=True)
class Shard:
    """`video` `[S, C, T, h, w]` and `references` `[S, C, N, h, w]` normalised half-precision latents; `tokens` int32
    `[S, P, L]`; `lengths` int32 `[S, P]`; `masks` bool `[S, P, N, L]`; `owners` int64 `[S, T·h·w / 4]`: what covers
    each patch of the video, see `who_is_where`."""

    structure: Structure
    video: torch.Tensor
    references: torch.Tensor
    tokens: torch.Tensor
    lengths: torch.Tensor
    masks: torch.Tensor
    owners: torch.Tensor


class ShardStore:
    """Shards of `scenes` scenes each (`SHARD_SCENES`) on disk and in memory, made when first asked for."""

    def __init__(
        self, folder: Path, vae: AutoencoderKLWan, tokenizer: PreTrainedTokenizerFast, scenes: int | None = None
    ) -> None:
        self.folder, self.vae, self.tokenizer = folder, vae, tokenizer
        self.scenes = SHARD_SCENES if scenes is None else scenes
        self._loaded: dict[int, Shard] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def shard(self, number: int) -> Shard:
        """Shard `number`, whose scenes have the world seeds `number·scenes …`."""
        if number not in self._loaded:
            structure, latent_frames = CYCLE[number % len(CYCLE)]
            path = self.folder / f"{number:05d}.safetensors"
            if not path.exists():
                first = number * self.scenes
                tensors = make_shard(self.vae, self.tokenizer, structure, latent_frames, first, self.scenes)
                save_file(tensors, path.with_suffix(".new"))
                os.replace(path.with_suffix(".new"), path)
            tensors = load_file(path)
            owners = owners_of(structure, latent_frames, number * self.scenes, len(tensors["video"]))
            self._loaded[number] = Shard(structure, **tensors, owners=owners)
        return self._loaded[number]


def make_shard(
    vae: AutoencoderKLWan,
    tokenizer: PreTrainedTokenizerFast,
    structure: Structure,
    latent_frames: int,
    first_seed: int,
    count: int = SHARD_SCENES,
) -> dict[str, torch.Tensor]:
    """Draw, encode and word `count` scenes; the tensors of a `Shard` by name."""
    videos: list[torch.Tensor] = []
    references: list[torch.Tensor] = []
    words: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    for start in range(first_seed, first_seed + count, 8):
        scenes = [training_scene(seed, structure) for seed in range(start, min(start + 8, first_seed + count))]
        clips = torch.from_numpy(np.stack([render_clip(scene, 4 * latent_frames - 3) for scene in scenes]))
        videos.append(encode(vae, clips).half())
        references.append(encode_references(vae, scenes))
        words += [_words(scene, tokenizer) for scene in scenes]
    tokens, lengths, masks = (torch.stack(part) for part in zip(*words, strict=True))
    return {
        "video": torch.cat(videos).contiguous(),
        "references": torch.cat(references).contiguous(),
        "tokens": tokens,
        "lengths": lengths,
        "masks": masks,
    }


def training_scene(seed: int, structure: Structure) -> WorldScene:
    """The scene of a seed and a structure as it is learned from: some of its places have no name."""
    scene = draw_scene(seed, structure)
    unknown = scene.shows_place and np.random.default_rng([seed, 32452843]).random() < UNKNOWN_PLACES
    return elsewhere(scene) if unknown else scene


def encode_references(vae: AutoencoderKLWan, scenes: Sequence[WorldScene]) -> torch.Tensor:
    """Half-precision latents `[S, C, N, h, w]` of scenes of one structure; a share of them has been photographed."""
    photographs = [np.random.default_rng([scene.seed, 7919]).random() < PHOTOGRAPHED for scene in scenes]
    drawn = zip(scenes, photographs, strict=True)
    pictures = np.concatenate([model_references(scene, photographs=bool(choice)) for scene, choice in drawn])
    latents = encode(vae, torch.from_numpy(pictures)[:, None])[:, :, 0].unflatten(0, (len(scenes), -1))
    return latents.transpose(1, 2).half()


def owners_of(structure: Structure, latent_frames: int, first_seed: int, count: int) -> torch.Tensor:
    """What covers each patch of the clips of `count` scenes: int64 `[count, patches]`, see `who_is_where`."""
    scenes = (draw_scene(seed, structure) for seed in range(first_seed, first_seed + count))
    return torch.from_numpy(np.stack([who_is_where(scene, latent_frames).reshape(-1) for scene in scenes]))


def encode(vae: AutoencoderKLWan, pixels: torch.Tensor) -> torch.Tensor:
    """uint8 `[B, T, H, W, 3]` to normalised latents `[B, C, t, h, w]` float32."""
    with torch.no_grad(), mixed_precision(vae.device), fast_stills():
        latents = [
            vae.encode(as_video(part.to(vae.device)), return_dict=False)[0].mode().cpu() for part in pixels.split(16)
        ]
    return normalised(vae, torch.cat(latents))


def _words(scene: WorldScene, tokenizer: PreTrainedTokenizerFast) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng([scene.seed, 15485863])
    rows: list[tuple[torch.Tensor, int, torch.Tensor]] = []
    for number in range(PROMPTS):
        prompt = write_prompt(scene, rng, wordy=number >= PROMPTS // 2)
        # Of either kind one is bound to the very words, one to every occurrence of them, the default proposal.
        rows.append(tokenise(prompt, tokenizer, everywhere=number % 2 == 1))
    tokens, lengths, masks = zip(*rows, strict=True)
    return torch.stack(tokens), torch.tensor(lengths, dtype=torch.int32), torch.stack(masks)


def tokenise(
    prompt: WorldPrompt, tokenizer: PreTrainedTokenizerFast, everywhere: bool, num_tokens: int = TEXT_TOKENS
) -> tuple[torch.Tensor, int, torch.Tensor]:
    """Token ids int32 `[L]`, their number, and the phrase masks bool `[N, L]` of a prompt.

    `everywhere`: mark every occurrence of a phrase's tokens instead of its span.
    """
    encoded = tokenizer(prompt.text, return_offsets_mapping=True, truncation=True, max_length=num_tokens)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    masks = torch.zeros(len(prompt.spans), num_tokens, dtype=torch.bool)
    for row, (start, end) in enumerate(prompt.spans):
        if everywhere:
            phrase = tokenizer(prompt.text[start:end], add_special_tokens=False)["input_ids"]
            for at in range(len(ids) - len(phrase) + 1):
                if ids[at : at + len(phrase)] == phrase:
                    masks[row, at : at + len(phrase)] = True
        else:
            for at, (left, right) in enumerate(offsets):
                if left < end and right > start and right > left:
                    masks[row, at] = True
    tokens = torch.zeros(num_tokens, dtype=torch.int32)
    tokens[: len(ids)] = torch.tensor(ids, dtype=torch.int32)
    return tokens, len(ids), masks
