"""Puts trained parts together as a pipeline folder with its card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from transformers import PreTrainedTokenizerFast, UMT5EncoderModel

from engine.model.pipeline import LumosXPipeline
from engine.model.preview import FILE_NAME
from engine.model.scheduler import LumosXScheduler
from engine.model.transformer import LumosXTransformer3DModel
from engine.nano.tokenizer import TEXT_TOKENS
from engine.weights.installed import MAGNITUDES_NAME

DEFAULTS: dict[str, object] = {
    "width": 128,
    "height": 96,
    "num_frames": 25,
    "fps": 12,
    "num_inference_steps": 20,
    "guidance_scale": 1.0,
    "relation_guidance": 1.5,
    "shift": 3.0,
    "negative_prompt": "",
}
"""Settings that suit nano best, as measured."""


def export(
    folder: Path,
    tokenizer: PreTrainedTokenizerFast,
    text_encoder: UMT5EncoderModel,
    vae: AutoencoderKLWan,
    transformer: LumosXTransformer3DModel,
) -> LumosXPipeline:
    """Write the pipeline to `folder` in float32 and return it."""
    pipeline = LumosXPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder.eval(),
        vae=vae.eval(),
        transformer=transformer.eval(),
        scheduler=LumosXScheduler(flow_shift=float(str(DEFAULTS["shift"]))),
        text_tokens=TEXT_TOKENS,
    )
    pipeline.save_pretrained(folder)
    _forget_origin(folder / "vae" / "config.json")
    return pipeline


def _forget_origin(config: Path) -> None:
    """Remove the path that diffusers notes of a component that was loaded: it is one of this machine."""
    values = json.loads(config.read_text(encoding="utf-8"))
    values.pop("_name_or_path", None)
    config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_card(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write `card.json`: `facts`, the default settings and the digest of every file of the model folder but
    the map of previews, which no clip depends on, and the figures of a step cache, which name these very digests."""
    files = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("card.json", "README.md", FILE_NAME, MAGNITUDES_NAME)
    }
    _write(folder, {**facts, "defaults": DEFAULTS, "files": files})


def record_results(folder: Path, results: Mapping[str, Any], name: str = "results") -> None:
    """Put the results of a measurement of this very model on its card."""
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    _write(folder, {**card, name: dict(results)})


def _write(folder: Path, card: Mapping[str, Any]) -> None:
    (folder / "card.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
