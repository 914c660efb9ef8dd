"""The recorded whole: sample folder, text encoder, VAE, network and sampler together, down to frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.model.pipeline import Conditioning, LumosXPipeline
from engine.model.scheduler import LumosXScheduler
from engine.parity.components import (
    ENCODE_TOLERANCE,
    TEXT_TOLERANCE,
    build_text_encoder,
    build_vae,
    load_picture,
    load_tokenizer,
)
from engine.parity.folder import Judge, RecordedFolder, Tensors, read_json, read_tensors
from engine.parity.network import build_network, group_sizes, merged_config, relations_of
from engine.pictures import prepare_reference
from engine.spans import phrase_positions
from engine.weights.checkpoints import read_network_state

LATENT_TOLERANCE = 3e-4
FRAME_TOLERANCE = 1.0
DIFFERING_FRACTION = 0.005


def run_pipelines(folder: RecordedFolder) -> Iterator[tuple[str, Judge]]:
    for path in folder.files("pipeline/case*.json"):
        case, tensors = read_json(path), read_tensors(path.with_suffix(".safetensors"))
        name = folder.relative(path)
        ours = _run(path.parent, case, tensors["z"])
        folder.write_tensors(f"{name}.safetensors", ours)
        yield name, _judge(name, ours, tensors)


def _run(root: Path, case: dict[str, Any], noise: torch.Tensor) -> Tensors:
    config = (
        {**read_json(root / "config.json"), **case.get("config", {})}
        if (root / "config.json").is_file()
        else case["config"]
    )
    merged = merged_config({"config": config, "overrides": case.get("overrides", {})})
    pipeline = LumosXPipeline(
        load_tokenizer((root / case["tokenizer"]).resolve()),
        build_text_encoder((root / case["t5"]).resolve()),
        build_vae((root / case["vae"]).resolve()),
        build_network(merged, read_network_state(root / case["weights"])),
        LumosXScheduler(),
        text_tokens=merged["text_len"],
    )
    conditions = case["conditions"]
    height, width = case["image_size"]
    pictures = [prepare_reference(load_picture(root / entry["file"]), width, height) for entry in conditions]
    masks = np.zeros((len(conditions), merged["text_len"]), dtype=bool)
    for row, entry in zip(masks, conditions, strict=True):
        row[list(phrase_positions(pipeline.tokenizer, case["prompt"], entry["name"], merged["text_len"]))] = True
    contexts = {
        name: pipeline.encode_prompt(case[key])
        for name, key in (("context", "prompt"), ("context_null", "negative_prompt"))
    }
    references = pipeline.encode_references(np.stack(pictures)) if pictures else None
    final = pipeline.denoise(
        noise,
        Conditioning(
            context=contexts["context"],
            negative_context=contexts["context_null"],
            reference_latents=references,
            groups=group_sizes(conditions),
            text_masks=torch.from_numpy(masks),
        ),
        num_inference_steps=case["steps"],
        guidance_scale=case["guidance"],
        shift=case["shift"],
        relations=relations_of(merged),
    )
    # The recording keeps only the rows of real tokens; behind them the embedding is zero.
    ours = {name: value[0, : int(value[0].abs().sum(-1).nonzero().max()) + 1] for name, value in contexts.items()}
    if references is not None:
        ours["cond_latents"] = references[0].transpose(0, 1)[:, :, None].contiguous()
    frames = torch.from_numpy(np.stack(list(pipeline.frames(final))))
    return {**ours, "text_masks": torch.from_numpy(masks), "final_latent": final, "video_u8": frames}


def _judge(name: str, ours: Tensors, recorded: Tensors) -> Judge:
    judge = Judge(name, recorded)
    tolerances = {
        "context": TEXT_TOLERANCE,
        "context_null": TEXT_TOLERANCE,
        "cond_latents": ENCODE_TOLERANCE,
        "text_masks": 0.0,
        "final_latent": LATENT_TOLERANCE,
        "video_u8": FRAME_TOLERANCE,
    }
    for key, tolerance in tolerances.items():
        if key in ours:
            judge.compare(key, ours[key], tolerance)
    if "video_u8" in recorded:
        judge.compare("video_u8", ours["video_u8"], DIFFERING_FRACTION, _differing_fraction)
    return judge


def _differing_fraction(ours: torch.Tensor, recorded: torch.Tensor) -> float:
    return float("inf") if ours.shape != recorded.shape else (ours != recorded).double().mean().item()
