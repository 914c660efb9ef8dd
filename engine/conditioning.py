"""From a request to everything the network is told, with what can be kept between renders kept on disk.

Prompt embeddings and reference latents depend on neither seed nor steps. They are stored under a digest of all they do
depend on; a damaged file is made again, and what was not used for longest goes first when the space is used up.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Generator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save

from engine.cancel import CancelToken
from engine.errors import SceneError
from engine.events import Progress
from engine.files import write_atomically
from engine.model.pipeline import Conditioning
from engine.models import EngineModel
from engine.pictures import PictureStore, model_picture, picture_id, prepare_reference
from engine.request import RenderRequest
from engine.scene import UNBOUND_CODES
from engine.spans import binding_masks, binding_problems

CACHE_LIMIT_BYTES = 2 * 2**30
FORM = 1
"""Grows when the meaning of what is stored changes."""


class TensorCache:
    """Tensors on disk by key; safe to lose at any time."""

    def __init__(self, folder: Path, limit_bytes: int = CACHE_LIMIT_BYTES) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes

    def get(self, key: str) -> torch.Tensor | None:
        """The tensor stored under `key`, None if there is none or its file is damaged."""
        path = self._path(key)
        try:
            tensor = load(path.read_bytes())["value"]
            os.utime(path)
            return tensor
        except FileNotFoundError:
            return None
        except (OSError, KeyError, SafetensorError):
            # Made again by the caller, and then overwritten.
            return None

    def put(self, key: str, tensor: torch.Tensor) -> None:
        """Store a tensor, and forget those unused for longest beyond the limit."""
        write_atomically(self._path(key), save({"value": tensor.contiguous().cpu()}))
        self._trim()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _trim(self) -> None:
        found: list[tuple[float, int, Path]] = []
        for file in self.folder.glob("*.safetensors"):
            with contextlib.suppress(FileNotFoundError):  # another process trims, too
                status = file.stat()
                found.append((status.st_mtime, status.st_size, file))
        total = 0
        for _, size, file in sorted(found, reverse=True):
            total += size
            if total > self.limit_bytes:
                file.unlink(missing_ok=True)


def make_conditioning(
    model: EngineModel,
    request: RenderRequest,
    pictures: PictureStore,
    cache: TensorCache,
    cancel: CancelToken,
) -> Generator[Progress, None, Conditioning]:
    """Embed the prompts, encode the references and mark their words.

    Yields progress of the stages "prompt" and "references", returns the conditioning. Raises `SceneError` if a
    reference's words reach no token (unless the request allows it), `PictureError` for a picture that is not there.
    """
    scene, settings = request.scene, request.settings
    check_bindings(model, request)
    yield Progress(stage="prompt", step=0, num_steps=0, seconds_left=None)
    context, negative = _contexts(model, scene.prompt, settings.negative_prompt, cache, cancel)
    references = scene.references()
    latents: list[torch.Tensor] = []
    for number, reference in enumerate(references):
        cancel.raise_if_cancelled()
        yield Progress(stage="references", step=number, num_steps=len(references), seconds_left=None)
        prepared = prepare_reference(model_picture(reference, pictures), settings.width, settings.height)
        latents.append(_reference_latent(model, prepared, cache))
    masks = torch.from_numpy(binding_masks(scene, model.tokenizer, model.text_tokens))
    # One pass or two: the words of both prompts stand in rows of equal length.
    words = max(context.shape[1], negative.shape[1])
    context, negative = (F.pad(part, (0, 0, 0, words - part.shape[1])) for part in (context, negative))
    return Conditioning(
        context=context,
        negative_context=negative,
        reference_latents=torch.cat(latents, dim=2) if latents else None,
        groups=scene.groups,
        text_masks=masks[:, : context.shape[1]] if latents else None,
    )


def check_bindings(model: EngineModel, request: RenderRequest) -> None:
    """Raise `SceneError` for words that reach no token, as the engine's own tokenizer counts them."""
    problems = binding_problems(request.scene, model.tokenizer, model.text_tokens)
    if request.allow_unbound:
        problems = tuple(problem for problem in problems if problem.code not in UNBOUND_CODES)
    if problems:
        raise SceneError(problems)


def _contexts(
    model: EngineModel, prompt: str, negative_prompt: str, cache: TensorCache, cancel: CancelToken
) -> tuple[torch.Tensor, torch.Tensor]:
    texts = [prompt, negative_prompt]
    keys = [_key(model, "prompt", text, model.text_tokens) for text in texts]
    found = [cache.get(key) for key in keys]
    missing = [index for index, value in enumerate(found) if value is None]
    if missing:
        cancel.raise_if_cancelled()
        for index, value in zip(missing, model.encode_prompts([texts[index] for index in missing]), strict=True):
            found[index] = value
            cache.put(keys[index], value)
    context, negative = found
    assert context is not None
    assert negative is not None
    return context, negative


def _reference_latent(model: EngineModel, prepared: np.ndarray, cache: TensorCache) -> torch.Tensor:
    """Latent `[1, C, 1, h, w]` of one prepared picture."""
    # A tiled VAE does not give quite the same.
    key = _key(model, "reference", picture_id(prepared), int(model.way.tiled))
    latent = cache.get(key)
    if latent is None:
        latent = model.pipeline().encode_references(prepared[None]).cpu()
        cache.put(key, latent)
    return latent


def _key(model: EngineModel, *parts: str | int) -> str:
    text = json.dumps([FORM, model.digest, str(model.dtype), model.device.type, *parts])
    return hashlib.sha256(text.encode()).hexdigest()
