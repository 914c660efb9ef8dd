"""Recorded cases of the parts around the network: text encoder, VAE, sampler, layout, phrases and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from transformers import AutoTokenizer, PreTrainedTokenizerBase, UMT5Config, UMT5EncoderModel

from engine.model.layout import SequenceLayout, rotary_table
from engine.model.scheduler import LumosXScheduler
from engine.parity.folder import Judge, RecordedFolder, Tensors, read_json, read_tensors, relative_to_maximum
from engine.picture_decoding import decode_picture
from engine.pictures import RgbArray, prepare_reference, read_picture_file
from engine.spans import clean_prompt, phrase_positions, sequence_mask
from engine.weights.checkpoints import read_network_state
from engine.weights.original import (
    to_diffusers_vae,
    to_transformers_umt5,
    umt5_config_from_original,
    vae_config_from_original,
)

ROTARY_TOLERANCE = 2e-5
SAMPLER_TOLERANCE = 1e-5
TEXT_TOLERANCE = 2e-5
ENCODE_TOLERANCE = 1e-5
DECODE_TOLERANCE = 5e-5
HEAD_DIM = 128


def build_text_encoder(folder: Path) -> UMT5EncoderModel:
    """A float32 encoder from `config.json` and `model.pth` (original key names)."""
    config = UMT5Config(**umt5_config_from_original(read_json(folder / "config.json")))
    model = UMT5EncoderModel(config)
    state = {name: value.float() for name, value in read_network_state(folder / "model.pth").items()}
    model.load_state_dict(to_transformers_umt5(state))
    return model.eval()


def build_vae(folder: Path) -> AutoencoderKLWan:
    """A float32 VAE from `config.json` and `vae.pth`."""
    model = AutoencoderKLWan(**vae_config_from_original(read_json(folder / "config.json")))
    state = {name: value.float() for name, value in read_network_state(folder / "vae.pth").items()}
    model.load_state_dict(to_diffusers_vae(state))
    return model.eval()


def load_picture(path: Path) -> RgbArray:
    """A picture file as the project reads it: turned upright, flattened on white, RGB."""
    return decode_picture(read_picture_file(path), path.name)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@torch.no_grad()
def encode_text(model: UMT5EncoderModel, tokenizer: PreTrainedTokenizerBase, text: str, text_len: int) -> torch.Tensor:
    """Embeddings of a prompt's real tokens, the end token included: `[tokens, dim]`."""
    ids = tokenizer(clean_prompt(text).text, max_length=text_len, truncation=True, return_tensors="pt").input_ids
    return model(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]


@torch.no_grad()
def run_text_encoder(folder: RecordedFolder) -> Iterator[tuple[str, Judge]]:
    for path in folder.files("t5/*/cases.json"):
        cases, tensors = read_json(path), read_tensors(path.with_suffix(".safetensors"))
        model = build_text_encoder(path.parent)
        ours: Tensors = {}
        for case in cases["cases"]:
            index = case["index"]
            mask = tensors[f"{index}.mask"]
            hidden = model(tensors[f"{index}.ids"], attention_mask=mask).last_hidden_state
            ours[f"{index}.out"] = hidden[mask.bool()]
        if cases.get("texts"):
            tokenizer = load_tokenizer((path.parent / cases["tokenizer"]).resolve())
            for index, text in enumerate(cases["texts"]):
                ours[f"text.{index}.context"] = encode_text(model, tokenizer, text, cases["text_len"])
        yield _judged(folder, path, ours, tensors, TEXT_TOLERANCE)


@torch.no_grad()
def encode_video(vae: AutoencoderKLWan, video_u8: torch.Tensor) -> torch.Tensor:
    """uint8 `[3, F, H, W]` → normalised posterior mean `[C, T, h, w]`."""
    latent = vae.encode(video_u8[None].float() / 127.5 - 1, return_dict=False)[0].mode()
    mean, std = _statistics(vae)
    return ((latent - mean) / std)[0]


@torch.no_grad()
def decode_latent(vae: AutoencoderKLWan, latent: torch.Tensor) -> torch.Tensor:
    """Normalised `[C, T, h, w]` → video `[3, F, H, W]` clamped to [-1, 1]."""
    mean, std = _statistics(vae)
    return vae.decode(latent[None] * std + mean, return_dict=False)[0][0].clamp(-1, 1)


def _statistics(vae: AutoencoderKLWan) -> tuple[torch.Tensor, torch.Tensor]:
    mean, std = (
        torch.tensor(values)[None, :, None, None, None]
        for values in (vae.config["latents_mean"], vae.config["latents_std"])
    )
    return mean, std


def run_vae(folder: RecordedFolder) -> Iterator[tuple[str, Judge]]:
    for path in folder.files("vae/*/cases.json"):
        cases, tensors = read_json(path), read_tensors(path.with_suffix(".safetensors"))
        vae = build_vae(path.parent)
        name = folder.relative(path)
        judge, ours = Judge(name, tensors), Tensors()
        for case in cases["cases"]:
            key = case["name"]
            if case["op"] == "encode":
                ours[f"{key}.latent"] = encode_video(vae, tensors[f"{key}.video_u8"])
                judge.compare(f"{key}.latent", ours[f"{key}.latent"], ENCODE_TOLERANCE)
            else:
                ours[f"{key}.video"] = decode_latent(vae, tensors[f"{key}.latent"])
                judge.compare(f"{key}.video", ours[f"{key}.video"], DECODE_TOLERANCE)
        folder.write_tensors(f"{name}.safetensors", ours)
        yield name, judge


def run_sampler(folder: RecordedFolder) -> Iterator[tuple[str, Judge]]:
    """The solver on a linear velocity field."""
    for path in folder.files("sampler/cases.json"):
        cases, tensors = read_json(path), read_tensors(path.with_suffix(".safetensors"))
        name = folder.relative(path)
        judge, ours = Judge(name, tensors), Tensors()
        for case in cases["cases"]:
            key = case["name"]
            scheduler = LumosXScheduler(flow_shift=case["shift"])
            scheduler.set_timesteps(case["steps"])
            ours[f"{key}.sigmas"], ours[f"{key}.timesteps"] = scheduler.sigmas, scheduler.timesteps
            latents = tensors["z"]
            for timestep in scheduler.timesteps:
                positive, negative = (
                    _linear_velocity(tensors, which, latents, timestep) for which in ("cond", "uncond")
                )
                guided = negative + case["guidance"] * (positive - negative)
                latents = scheduler.step(guided, timestep, latents, return_dict=False)[0]
            ours[f"{key}.final"] = latents
            judge.compare(f"{key}.sigmas", ours[f"{key}.sigmas"], 0.0)
            judge.compare(f"{key}.timesteps", ours[f"{key}.timesteps"], 0.0)
            judge.compare(f"{key}.final", latents, SAMPLER_TOLERANCE, relative_to_maximum)
        for key, expected in cases.get("integer_timesteps", {}).items():
            steps, shift = key.split("/")
            scheduler = LumosXScheduler(flow_shift=float(shift))
            scheduler.set_timesteps(int(steps))
            judge.compare_exactly(f"timesteps {key}", scheduler.timesteps.tolist(), expected)
        folder.write_tensors(f"{name}.safetensors", ours)
        yield name, judge


def _linear_velocity(tensors: Tensors, which: str, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    matrix, offset = tensors[f"A_{which}"], tensors[f"b_{which}"]
    return torch.einsum("oc,bcthw->bothw", matrix, latents) + offset[:, None, None, None] * (timestep / 1000)


def run_layout(folder: RecordedFolder) -> Iterator[tuple[str, Judge]]:
    """Attention ranges and rotary values at real sizes."""
    for path in folder.files("layout/layout.json"):
        cases, tensors = read_json(path), read_tensors(path.with_name("rope.safetensors"))
        judge, ours, written = Judge("layout/layout", tensors), Tensors(), []
        for case in cases["cases"]:
            layout = SequenceLayout(
                frames=case["T"],
                height=case["H_tokens"],
                width=case["W_tokens"],
                num_free=case["non_human"],
                groups=tuple(case["groups"]),
            )
            pairs = layout.attention_ranges()
            ranges = {
                "q_ranges": [list(query) for query, _ in pairs],
                "k_ranges": [list(key) for _, key in pairs],
            }
            written.append({"name": case["name"], **ranges})
            for key, value in ranges.items():
                judge.compare_exactly(f"{case['name']}.{key}", value, case.get(key))
            for relational, suffix in ((True, ""), (False, "_shift_off")):
                key = f"{case['name']}.rope_cos_sin{suffix}"
                ours[key] = _rotation(layout, tensors[f"{case['name']}.token_index"], relational)
                judge.compare(key, ours[key], ROTARY_TOLERANCE)
        folder.write_tensors("layout/rope.safetensors", ours)
        folder.write_json("layout/layout.json", {"cases": written})
        yield "layout/layout", judge


def _rotation(layout: SequenceLayout, tokens: torch.Tensor, relational: bool) -> torch.Tensor:
    """Cosine and sine of every pair in turn: `[tokens, HEAD_DIM]`."""
    cos, sin = rotary_table(layout.positions(relational=relational)[tokens.long()], HEAD_DIM)
    return torch.stack((cos[0, :, 0, 0::2], sin[0, :, 0, 1::2]), dim=-1).flatten(-2)


def run_phrases(folder: RecordedFolder) -> Iterator[tuple[str, Judge]]:
    """Phrase masks from words, and from raw id sequences."""
    for path in folder.files("text/masks.json"):
        recorded = read_json(path)
        tokenizer = load_tokenizer((path.parent / recorded["tokenizer"]).resolve())
        judge, written = Judge("text/masks", {}), []
        for number, caption in enumerate(recorded["captions"]):
            phrases = [_phrase(tokenizer, caption, entry) for entry in caption["phrases"]]
            written.append({"phrases": phrases})
            for ours, entry in zip(phrases, caption["phrases"], strict=True):
                judge.compare_exactly(f"{number}: {entry['phrase']!r}", ours["positions"], entry.get("positions"))
        folder.write_json("text/masks.json", {"captions": written})
        yield "text/masks", judge
    for path in folder.files("text/sequence_mask.json"):
        judge, masks = Judge("text/sequence_mask", {}), []
        for number, case in enumerate(read_json(path)):
            mask = [int(value) for value in sequence_mask(case["ids"], case["sub"])]
            masks.append({"mask": mask})
            judge.compare_exactly(str(number), mask, case.get("mask"))
        folder.write_json("text/sequence_mask.json", masks)
        yield "text/sequence_mask", judge


def _phrase(tokenizer: PreTrainedTokenizerBase, caption: Mapping[str, Any], entry: Mapping[str, Any]) -> dict[str, Any]:
    positions = phrase_positions(tokenizer, caption["caption"], entry["phrase"], caption["seq_len"])
    return {"phrase": entry["phrase"], "positions": list(positions)}


def run_pictures(folder: RecordedFolder) -> Iterator[tuple[str, Judge]]:
    """PNG files to prepared references, compared on a grid of pixels."""
    for path in folder.files("images/cases.json"):
        recorded, tensors_path = read_json(path), path.with_suffix(".safetensors")
        tensors = read_tensors(tensors_path) if tensors_path.is_file() else {}
        ours: Tensors = {}
        for case in recorded["cases"]:
            height, width = case["size"]
            prepared = prepare_reference(load_picture(path.parent / case["file"]), width, height)
            grid = prepared.transpose(2, 0, 1)[:, case["offset"] :: case["stride"], case["offset"] :: case["stride"]]
            ours[f"{case['key']}.strided_u8"] = torch.from_numpy(np.ascontiguousarray(grid))
        yield _judged(folder, path, ours, tensors, 1.0)


def _judged(
    folder: RecordedFolder, path: Path, ours: Tensors, recorded: Tensors, tolerance: float
) -> tuple[str, Judge]:
    name = folder.relative(path)
    judge = Judge(name, recorded)
    for key, value in ours.items():
        judge.compare(key, value, tolerance)
    folder.write_tensors(f"{name}.safetensors", ours)
    return name, judge
