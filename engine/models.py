"""The components of one engine, loaded when they are first needed and let go when they are in the way.

The text encoder is by far the largest part of the full model and works once per prompt: it is loaded alone, used and
dropped. Knows folders, devices and precision; not scenes, jobs or clips.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

import psutil
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.utils import logging as diffusers_logging
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5EncoderModel
from transformers.utils import logging as transformers_logging

from engine.engines import engine_info
from engine.errors import MachineError
from engine.memory.eight_bit import read_eight_bit
from engine.memory.giving_back import give_back
from engine.memory.machine import look
from engine.memory.placing import place
from engine.memory.plan import Budget, Way
from engine.memory.text_encoder import load_streamed
from engine.model.backends import Choice, choose_backend
from engine.model.pipeline import LumosXPipeline
from engine.model.preview import LatentColours, latent_colours
from engine.model.scheduler import LumosXScheduler
from engine.model.small_decoder import LATENT_CHANNELS, SmallDecoder
from engine.model.step_cache import FirstBlockCache, MagnitudeCache, StepCache
from engine.model.transformer import LumosXTransformer3DModel
from engine.paths import cache_dir
from engine.prompt_text import clean_prompt
from engine.request import Attention, RenderSettings
from engine.weights import locate, locate_whole, refusals, weights_digest
from engine.weights.lora_file import open_merge
from engine.weights.loras import StoredLora, check_whole
from engine.weights.magnitudes import magnitudes_for
from engine.weights.preview_decoder import installed_decoder

_Component = TypeVar("_Component")
_TITLES = {
    "tokenizer": "the tokenizer",
    "text_encoder": "the text encoder",
    "transformer": "the video network",
    "vae": "the VAE",
}


class EngineModel:
    """One engine's networks on one device, in the way that a memory plan chose."""

    def __init__(
        self, engine: str, way: Way, device: torch.device, loras: Sequence[tuple[StoredLora, float]] = ()
    ) -> None:
        """`loras`: the LoRAs that are added to the network whenever it is read, with their strengths."""
        info = engine_info(engine)
        self.engine = engine
        self.device = device
        self.builtin = info.builtin
        self.text_tokens, self._padded_tokens = info.text_tokens, info.padded_tokens
        self.folder = locate_whole(engine)
        self.digest = weights_digest(engine)
        self.loras = tuple(loras)
        for one, _ in self.loras:
            check_whole(one)
        self._merge = open_merge(self.loras, self.folder / "transformer")
        self.dtype = compute_dtype(device, builtin=info.builtin)
        self.way = way
        self.tokenizer = _load(self.folder, "tokenizer", _read_tokenizer)
        self._pipeline: LumosXPipeline | None = None

    def encode_prompts(self, prompts: list[str]) -> list[torch.Tensor]:
        """Embeddings `[1, tokens, text_dim]` of the prompts, on the CPU: zero behind the last of their own tokens, of
        which there may be `text_tokens`, and filled up to the length that the engine is used to.

        Loads the text encoder and drops it again.
        """
        if not self.builtin:
            # Both together would need the most memory of the whole render.
            self.release()
        encoder = _load(self.folder, "text_encoder", self._read_text_encoder)
        reader = LumosXPipeline(self.tokenizer, encoder, None, None, None)
        try:
            embeddings: list[torch.Tensor] = []
            for prompt in prompts:
                ids = self.tokenizer(clean_prompt(prompt).text, truncation=True, max_length=self.text_tokens)[
                    "input_ids"
                ]
                reader.register_to_config(text_tokens=max(self._padded_tokens, len(ids)))
                embeddings.append(reader.encode_prompt(prompt).cpu())
            return embeddings
        finally:
            del reader, encoder
            give_back(self.device, networks=True)

    def _read_text_encoder(self, folder: Path) -> UMT5EncoderModel:
        if self.way.stream_text and self.dtype == torch.float16:
            # In float16 some of its layers overflow, and a layer cannot be kept apart on its way from the disk. What
            # a card without bfloat16 cannot do, the processor does in the precision of the files.
            return load_streamed(folder, torch.bfloat16, torch.device("cpu"))
        if self.way.stream_text:
            return load_streamed(folder, self.dtype, self.device)
        encoder = UMT5EncoderModel.from_pretrained(folder, dtype=self.dtype)
        if self.way.text_on_card or self.device.type != "cuda":
            torch.nn.Module.to(encoder, self.device)
        return encoder

    def pipeline(self) -> LumosXPipeline:
        """VAE, network and schedule, placed as the profile says; loaded once."""
        if self._pipeline is None:
            self._pipeline = self._new_pipeline(_load(self.folder, "transformer", self._read_network))
        return self._pipeline

    def _read_network(self, folder: Path) -> LumosXTransformer3DModel:
        if self.way.eight_bit:
            return read_eight_bit(folder, self.dtype, self._merge.merged)
        network = LumosXTransformer3DModel.from_pretrained(folder, dtype=self.dtype).eval()
        self._merge.into(network)
        return network

    def _new_pipeline(self, network: LumosXTransformer3DModel | None) -> LumosXPipeline:
        vae = _load(self.folder, "vae", lambda path: AutoencoderKLWan.from_pretrained(path, dtype=torch.float32))
        pipeline = LumosXPipeline(
            self.tokenizer, None, vae.eval(), network, LumosXScheduler(), text_tokens=self.text_tokens
        )
        place(pipeline, self.way, self.device)
        return pipeline

    def attention(self, wish: Attention) -> Choice:
        """What computes this network's attention under a wish."""
        config = _load(self.folder, "transformer", _read_config)
        return choose_backend(wish, self.device, self.dtype, int(config["attention_head_dim"]))

    def colours(self) -> LatentColours | None:
        """How this model's latents are shown before they are decoded; None if nobody has found out."""
        return latent_colours(self.folder, list(self.pipeline().vae.config["latents_mean"]))

    def small_decoder(self) -> SmallDecoder | None:
        """What shows this model's latents sharply before they are decoded, on its device; None where it is not
        installed, or not for these latents. Raises `WeightsError` if it is damaged."""
        if self.builtin or self.pipeline().vae.config["z_dim"] != LATENT_CHANNELS:
            return None
        return installed_decoder(self.device)

    def decoder(self) -> LumosXPipeline:
        """The pipeline when there is nothing left to do but to decode: without its network if the plan lets it go."""
        if not self.way.let_go:
            return self.pipeline()
        pipeline = self._pipeline or self._new_pipeline(None)
        pipeline.register_modules(transformer=None)
        # The next render loads all of it again.
        self._pipeline = None
        give_back(self.device, networks=True)
        return pipeline

    def change_way(self, way: Way) -> None:
        """Work in another way from the next use on."""
        self.release()
        self.way = way

    def release(self) -> None:
        """Let the loaded networks go; the next use loads them again."""
        self._pipeline = None
        give_back(self.device, networks=True)


def load_tokenizer(engine: str) -> PreTrainedTokenizerBase:
    """The tokenizer alone, for whoever only counts and binds words."""
    return _load(locate(engine), "tokenizer", _read_tokenizer)


def step_cache_of(settings: RenderSettings) -> StepCache | None:
    """The step cache that these settings ask for, if any; `WeightsError` where it needs figures that are not there."""
    measured = magnitudes_for(settings)
    if measured is not None:
        return MagnitudeCache(threshold=settings.step_cache, **asdict(measured))
    return FirstBlockCache(settings.step_cache) if settings.step_cache else None


def choose_device(kind: str | None = None) -> torch.device:
    """The fastest device here: CUDA, Apple's, or the CPU; or one of the kind asked for (`MachineError`: none here)."""
    if kind == "mps" and not torch.backends.mps.is_available():
        raise MachineError("There is no Apple GPU here that PyTorch can use: choose another memory profile.")
    if kind is not None:
        return torch.device(kind)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def compute_dtype(device: torch.device, *, builtin: bool) -> torch.dtype:
    """Precision of the networks: float32 for the built-in model, else bfloat16, or float16 on older CUDA cards."""
    if builtin:
        return torch.float32
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] < 8:
        return torch.float16
    return torch.bfloat16


def free_memory(device: torch.device) -> Budget:
    """What a render on `device` may use: what is free, and what this process already has."""
    ram = look(cache_dir()).ram_free_bytes + psutil.Process().memory_info().rss
    if device.type != "cuda":
        return Budget(ram_bytes=ram)
    return Budget(ram_bytes=ram, card_bytes=torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def _read_config(folder: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", LumosXTransformer3DModel.load_config(folder))


def _load(folder: Path, component: str, load: Callable[[Path], _Component]) -> _Component:
    """Load one component of a diffusers folder, damage and lack of memory told in a sentence."""
    # Progress is told by the render itself.
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
    try:
        return load(folder / component)
    except torch.OutOfMemoryError as error:
        raise MachineError(
            f"The card has too little free memory for {_TITLES[component]}: close other programs or choose another "
            "profile."
        ) from error
    except MemoryError as error:
        raise MachineError(
            f"There is too little free memory for {_TITLES[component]}: close other programs."
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, json.JSONDecodeError) as error:
        raise refusals.unreadable(folder / component) from error


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error means that memory ran out, wherever it did: each place says it in its own way."""
    if isinstance(error, MachineError):
        return out_of_memory(error.__cause__)
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    told = str(error).lower() if isinstance(error, RuntimeError) else ""
    return any(words in told for words in ("out of memory", "can't allocate memory", "not enough memory"))
