"""The components of one engine, loaded when they are first needed and let go when they are in the way.

The text encoder is by far the largest part of the full model and works once per prompt: it is loaded alone, used and
dropped. Knows folders, devices and precision; not scenes, jobs or clips.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.utils import logging as diffusers_logging
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5EncoderModel
from transformers.utils import logging as transformers_logging

from engine.engines import engine_info
from engine.errors import MachineError, WeightsError
from engine.memory.profiles import apply_profile, choose_profile
from engine.model.pipeline import LumosXPipeline
from engine.model.scheduler import LumosXScheduler
from engine.model.transformer import LumosXTransformer3DModel
from engine.prompt_text import clean_prompt
from engine.weights import locate, weights_digest

_Component = TypeVar("_Component")


class EngineModel:
    """One engine's networks on one device under one memory profile."""

    def __init__(self, engine: str, profile: str, device: torch.device) -> None:
        info = engine_info(engine)
        self.engine = engine
        self.device = device
        self.builtin = info.builtin
        self.text_tokens, self._padded_tokens = info.text_tokens, info.padded_tokens
        self.folder = locate(engine)
        self.digest = weights_digest(engine)
        self.dtype = compute_dtype(device, builtin=info.builtin)
        self.profile = choose_profile(profile, device.type, free_device_bytes(device), small=info.builtin)
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
        encoder = _load(
            self.folder, "text_encoder", lambda path: UMT5EncoderModel.from_pretrained(path, dtype=self.dtype)
        )
        reader = LumosXPipeline(self.tokenizer, encoder, None, None, None)
        try:
            if self.profile == "resident":
                reader.to(self.device)
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
            _collect(self.device)

    def pipeline(self) -> LumosXPipeline:
        """VAE, network and schedule, placed as the profile says; loaded once."""
        if self._pipeline is None:
            vae = _load(self.folder, "vae", lambda path: AutoencoderKLWan.from_pretrained(path, dtype=torch.float32))
            network = _load(
                self.folder,
                "transformer",
                lambda path: LumosXTransformer3DModel.from_pretrained(path, dtype=self.dtype),
            )
            pipeline = LumosXPipeline(
                self.tokenizer, None, vae.eval(), network.eval(), LumosXScheduler(), text_tokens=self.text_tokens
            )
            apply_profile(pipeline, self.profile, self.device)
            self._pipeline = pipeline
        return self._pipeline

    def release(self) -> None:
        """Let the loaded networks go; the next use loads them again."""
        self._pipeline = None
        _collect(self.device)


def load_tokenizer(engine: str) -> PreTrainedTokenizerBase:
    """The tokenizer alone, for whoever only counts and binds words."""
    return _load(locate(engine), "tokenizer", _read_tokenizer)


def choose_device() -> torch.device:
    """The fastest device here: CUDA, Apple's, or the CPU."""
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


def free_device_bytes(device: torch.device) -> int | None:
    """Free memory of a card in bytes; None where the device shares the computer's memory."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def _read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder)


def _load(folder: Path, component: str, load: Callable[[Path], _Component]) -> _Component:
    """Load one component of a diffusers folder, damage and lack of memory told in a sentence."""
    # Progress is told by the render itself.
    transformers_logging.disable_progress_bar()
    diffusers_logging.disable_progress_bar()
    try:
        return load(folder / component)
    except torch.OutOfMemoryError as error:
        raise MachineError(
            f"The card has too little free memory for the {component}: close other programs or choose another profile."
        ) from error
    except MemoryError as error:
        raise MachineError(f"There is too little free memory for the {component}: close other programs.") from error
    except (OSError, ValueError, RuntimeError, KeyError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"The model files in {folder / component} cannot be read: run “weights verify” and follow what it says."
        ) from error


def _collect(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
