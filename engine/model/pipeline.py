"""`LumosXPipeline`: prompt and reference pictures in, frames out.

Each stage is a method of its own, because whoever runs a render keeps the results of the first two (embeddings and
reference latents depend on neither seed nor step) and lets their networks go. Knows nothing of scenes, files or users.
"""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.loaders.lora_pipeline import WanLoraLoaderMixin
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

from engine.model.decoding import decode_parts
from engine.model.layout import PUBLISHED, Relations
from engine.model.precision import quick_products
from engine.model.scheduler import LumosXScheduler
from engine.model.step_cache import Branch, StepCache, looks_first
from engine.model.transformer import LumosXTransformer3DModel
from engine.spans import clean_prompt

StepCallback = Callable[[int, torch.Tensor, torch.Tensor], None]
"""Called after every step with its index, the latents `[B, C, T, h, w]` and the current estimate of the clean ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """Everything the network is told about one scene.

    `context`, `negative_context`: `[1, words, text_dim]`, zero-padded; `reference_latents`: `[1, C, N, h, w]`,
    normalised, or None; `groups`: sizes of the subject groups; `text_masks`: bool `[N, words]` of the positive prompt,
    used in both passes.
    """

    context: torch.Tensor
    negative_context: torch.Tensor
    reference_latents: torch.Tensor | None = None
    groups: tuple[int, ...] = ()
    text_masks: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class SamplerState:
    """All that a run needs to go on after `steps_done` (at least one) steps exactly as if it had not been broken off:
    the latents `[B, C, T, h, w]` and what the solver remembers of the last step, both float32."""

    steps_done: int
    latents: torch.Tensor
    memory: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Pass:
    """One pass of a step: what it is told, and by how much its difference from the first one leads away from it."""

    name: str
    context: torch.Tensor
    relations: Relations
    weight: float


@dataclass(frozen=True, slots=True)
class Step:
    """One finished sampling step: index, latents after it, an estimate of what they are without noise, and the state
    from which a later run goes on."""

    index: int
    latents: torch.Tensor
    clean: torch.Tensor
    state: SamplerState


class LumosXPipeline(DiffusionPipeline, WanLoraLoaderMixin):
    """Components of LumosX in diffusers' folder layout. `text_tokens` is the prompt's fixed length (512 published)."""

    model_cpu_offload_seq = "text_encoder->transformer->vae"
    _optional_components: ClassVar[list[str]] = ["text_encoder"]

    tokenizer: PreTrainedTokenizerBase
    text_encoder: UMT5EncoderModel
    vae: AutoencoderKLWan
    transformer: LumosXTransformer3DModel
    scheduler: LumosXScheduler

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder: UMT5EncoderModel | None,
        vae: AutoencoderKLWan | None,
        transformer: LumosXTransformer3DModel | None,
        scheduler: LumosXScheduler | None,
        text_tokens: int = 512,
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer, text_encoder=text_encoder, vae=vae, transformer=transformer, scheduler=scheduler
        )
        self.register_to_config(text_tokens=text_tokens)

    @property
    def temporal_scale(self) -> int:
        """Frames of video per latent frame after the first."""
        return int(self.vae.config.scale_factor_temporal)

    @property
    def spatial_scale(self) -> int:
        """Pixels per latent cell along one side."""
        return int(self.vae.config.scale_factor_spatial)

    def latent_shape(self, width: int, height: int, num_frames: int) -> tuple[int, int, int, int]:
        """`(C, T, h, w)` of a clip's latents; `ValueError` unless the size fits the VAE and frames are 4n + 1."""
        if (num_frames - 1) % self.temporal_scale or width % self.spatial_scale or height % self.spatial_scale:
            raise ValueError(f"{width}x{height} with {num_frames} frames does not fit this model's latents")
        frames = (num_frames - 1) // self.temporal_scale + 1
        channels = int(self.transformer.config.in_channels)
        return channels, frames, height // self.spatial_scale, width // self.spatial_scale

    @torch.no_grad()
    def encode_prompt(self, prompt: str) -> torch.Tensor:
        """Embed a prompt: `[1, text_tokens, text_dim]`, cleaned, cut to `text_tokens`, zero behind its last token."""
        text_tokens = int(self.config.text_tokens)
        tokens = self.tokenizer(
            clean_prompt(prompt).text,
            max_length=text_tokens,
            truncation=True,
            padding="max_length",
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        device = self._execution_device
        ids, mask = tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
        length = int(mask.sum())
        # Positions behind the text are zeroed anyway: the encoder need not compute them.
        with quick_products(device, self.text_encoder.dtype):
            hidden = self.text_encoder(ids[:, :length], attention_mask=mask[:, :length]).last_hidden_state
        return torch.nn.functional.pad(hidden, (0, 0, 0, text_tokens - length))

    @torch.no_grad()
    def encode_references(self, pictures: np.ndarray) -> torch.Tensor:
        """Encode prepared pictures uint8 `[N, H, W, 3]`, each alone: normalised latents `[1, C, N, h, w]` float32."""
        # Offloading goes from the text encoder to the network: the VAE does not push the encoder out by itself.
        self.maybe_free_model_hooks()
        latents = [self._encode(torch.tensor(picture).permute(2, 0, 1)[None, :, None]) for picture in pictures]
        self.maybe_free_model_hooks()
        return torch.cat(latents, dim=2)

    def _encode(self, video: torch.Tensor) -> torch.Tensor:
        """uint8 `[1, 3, F, H, W]` → normalised posterior mean `[1, C, T, h, w]` float32."""
        device = self._execution_device
        pixels = video.to(device, torch.float32) / 127.5 - 1
        latent = self.vae.encode(pixels.to(self.vae.dtype)).latent_dist.mode().float()
        mean, std = self._latent_statistics(latent.device)
        return (latent - mean) / std

    def _latent_statistics(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        mean = torch.tensor(self.vae.config.latents_mean, device=device)[None, :, None, None, None]
        std = torch.tensor(self.vae.config.latents_std, device=device)[None, :, None, None, None]
        return mean, std

    @torch.no_grad()
    def sample(
        self,
        noise: torch.Tensor,
        conditioning: Conditioning,
        *,
        num_inference_steps: int,
        guidance_scale: float,
        shift: float,
        relations: Relations = PUBLISHED,
        start: SamplerState | None = None,
        step_cache: StepCache | None = None,
        guided_share: float = 1.0,
        relation_guidance: float = 0.0,
    ) -> Generator[Step]:
        """Turn standard normal `noise` `[B, C, T, h, w]`, a row per seed, into clean latents, step by step.

        Guidance takes two passes, references in both; with `guidance_scale` 1 only one. Relation guidance leads every
        step away from what the network would paint if all pictures saw one another and the video (without CSAM), by
        `relation_guidance` times the difference, in one pass more: who wears what is held harder. It is ours, not of
        the paper; 0 is the published sampler. Whoever stops asking for steps ends the run. `start`: the state of an
        earlier run with the same arguments; only the steps after it are taken.

        Drafts: a `step_cache` takes over from the step before what need not be worked out again; guidance is at work in
        the first `guided_share` of the steps only.
        """
        device = self._execution_device
        dtype = self._compute_dtype()
        done = 0 if start is None else start.steps_done
        latents = (noise if start is None else start.latents).to(device, torch.float32)
        references, masks = conditioning.reference_latents, conditioning.text_masks
        passes = self._passes(conditioning, relations, guidance_scale, relation_guidance)
        arguments = {
            "reference_latents": None if references is None else references.to(device, dtype),
            "groups": conditioning.groups,
            "text_masks": None if masks is None else masks.to(device),
            "return_dict": False,
        }
        self.scheduler.set_timesteps(num_inference_steps, device=device, shift=shift)
        if start is not None:
            self.scheduler.go_on(done, start.memory.to(device, torch.float32))
        guided_steps = math.ceil(guided_share * num_inference_steps)
        plain = self.transformer.cache_context
        try:
            if step_cache is not None and done < num_inference_steps and looks_first(self.transformer):
                first = self.scheduler.timesteps[done : done + 1]
                self._velocity(latents, first, passes[:1], arguments, plain)
            around = (
                nullcontext(plain)
                if step_cache is None
                else step_cache.around(self.transformer, num_inference_steps, done)
            )
            # Step caches and offload hooks must not carry a run, least of all one broken off, into the next.
            with around as branch:
                for step, timestep in enumerate(self.scheduler.timesteps[done:], done):
                    taken = passes if step < guided_steps else passes[:1]
                    velocity = self._velocity(latents, timestep[None], taken, arguments, branch)
                    clean = latents - self.scheduler.sigmas[step].to(device) * velocity
                    latents = self.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
                    yield Step(step, latents, clean, SamplerState(step + 1, latents, self.scheduler.memory))
        finally:
            self.maybe_free_model_hooks()

    def _passes(
        self, conditioning: Conditioning, relations: Relations, guidance_scale: float, relation_guidance: float
    ) -> list[_Pass]:
        """The passes of a guided step; a step without guidance has only the first."""
        device, dtype = self._execution_device, self._compute_dtype()
        context = conditioning.context.to(device, dtype)
        passes = [_Pass("cond", context, relations, 1)]
        if guidance_scale != 1:
            negative = conditioning.negative_context.to(device, dtype)
            passes.append(_Pass("uncond", negative, relations, guidance_scale - 1))
        if relation_guidance and conditioning.reference_latents is not None and relations.self_attention:
            passes.append(_Pass("unrelated", context, replace(relations, self_attention=False), relation_guidance))
        return passes

    def denoise(
        self, noise: torch.Tensor, conditioning: Conditioning, *, on_step: StepCallback | None = None, **options: Any
    ) -> torch.Tensor:
        """Run `sample` (its options) to the end: clean float32 latents. Whatever `on_step` raises ends the run."""
        latents = noise
        with closing(self.sample(noise, conditioning, **options)) as steps:
            for step in steps:
                latents = step.latents
                if on_step is not None:
                    on_step(step.index, step.latents, step.clean)
        return latents

    def _velocity(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        passes: list[_Pass],
        arguments: dict[str, Any],
        branch: Branch,
    ) -> torch.Tensor:
        """The velocity of one step, float32: that of the first pass, led away from the others by their weights.

        Each pass is made within the `branch` of its name.
        """
        velocities: list[torch.Tensor] = []
        device = self._execution_device
        for one in passes:
            with branch(one.name), quick_products(device, one.context.dtype):
                velocity = self.transformer(
                    latents.to(one.context.dtype), timestep, one.context, relations=one.relations, **arguments
                )[0]
            velocities.append(velocity.float())
        own = guided = velocities[0]
        for one, other in zip(passes[1:], velocities[1:], strict=True):
            guided = guided + one.weight * (own - other)
        return guided

    def _compute_dtype(self) -> torch.dtype:
        """The dtype the network computes in: that of its patch embedding, which no quantiser touches."""
        return self.transformer.patch_embedding.weight.dtype

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents `[B, C, T, h, w]` → video float32 `[B, 3, F, H, W]` in [-1, 1]."""
        return torch.cat(list(self._decoded(latents)), dim=2)

    def _decoded(self, latents: torch.Tensor) -> Generator[torch.Tensor]:
        """What `decode` gives, in parts along the frames, each as soon as it is ready."""
        device = self._execution_device
        mean, std = self._latent_statistics(device)
        latents = latents.to(device, torch.float32) * std + mean
        try:
            with closing(decode_parts(self.vae, latents.to(self.vae.dtype))) as parts:
                for part in parts:
                    yield part.float().clamp(-1, 1)
        finally:
            self.maybe_free_model_hooks()

    def frames(self, latents: torch.Tensor) -> Generator[np.ndarray]:
        """The frames of one clip's latents `[1, C, T, h, w]`: uint8 `[H, W, 3]`, values truncated as published.

        They come as they are decoded, one latent frame at a time; whoever stops asking ends the decoding.
        """
        with closing(self._decoded(latents)) as parts:
            for part in parts:
                for frame in part[0].unbind(1):
                    yield ((frame + 1) * 127.5).to(torch.uint8).permute(1, 2, 0).cpu().numpy()

    def __call__(
        self,
        prompt: str,
        pictures: np.ndarray | None = None,
        groups: tuple[int, ...] = (),
        text_masks: np.ndarray | None = None,
        *,
        negative_prompt: str = "",
        width: int = 832,
        height: int = 480,
        num_frames: int = 81,
        num_inference_steps: int = 50,
        guidance_scale: float = 6.0,
        shift: float = 8.0,
        seeds: tuple[int, ...] = (0,),
        relations: Relations = PUBLISHED,
        on_step: StepCallback | None = None,
    ) -> list[np.ndarray]:
        """All stages in a row: one array of frames uint8 `[F, H, W, 3]` per seed.

        `pictures` are prepared references uint8 `[N, height, width, 3]` in model order, `groups` the sizes of the
        subject groups among them, `text_masks` bool `[N, text_tokens]`.
        """
        conditioning = Conditioning(
            context=self.encode_prompt(prompt),
            negative_context=self.encode_prompt(negative_prompt),
            reference_latents=None if pictures is None or len(pictures) == 0 else self.encode_references(pictures),
            groups=groups,
            text_masks=None if text_masks is None else torch.from_numpy(text_masks),
        )
        noise = draw_noise(self.latent_shape(width, height, num_frames), seeds)
        latents = self.denoise(
            noise,
            conditioning,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            shift=shift,
            relations=relations,
            on_step=on_step,
        )
        return [np.stack(list(self.frames(row[None]))) for row in latents]


def draw_noise(shape: tuple[int, ...], seeds: tuple[int, ...]) -> torch.Tensor:
    """Standard normal noise float32 `[len(seeds), C, T, h, w]`, drawn on the CPU row by row, so that a seed means the
    same on every device and in every batch."""
    return torch.stack([torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds])
