"""The mean of trained weights: rounds of training that began with the same weights often give more together than alone.

Averaging the weights of models in one basin is known as model soups (Wortsman et al., arXiv 2203.05482).
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from engine.errors import InputError
from engine.nano.evaluation import weights_digest
from engine.nano.export import write_card
from engine.weights.installed import MAGNITUDES_NAME

_LEARNED = ("transformer/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors")
_SHARED = ("vae/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json")


def write_mean(out: Path, parts: Sequence[tuple[Path, float]]) -> None:
    """Write a model folder whose network and text encoder are the mean of those in `parts`, by their shares.

    Raises `InputError` for shares that do not add up to 1, models that are not of one kind, and an `out` that exists.
    """
    if out.exists():
        raise InputError(f"{out} is there already: choose another --out.")
    if not math.isclose(sum(share for _, share in parts), 1, abs_tol=1e-6):
        raise InputError("The shares of a mean have to add up to 1, as in A=0.7 B=0.3.")
    first = parts[0][0]
    for folder, _ in parts[1:]:
        if any((folder / name).read_bytes() != (first / name).read_bytes() for name in _SHARED):
            raise InputError(f"{folder} and {first} have other words or another VAE: their mean would mean nothing.")
    means = {name: _mean([(folder / name, share) for folder, share in parts]) for name in _LEARNED}
    # What a step cache knows, and what was measured, is of the first model alone.
    shutil.copytree(first, out, ignore=shutil.ignore_patterns(MAGNITUDES_NAME, "README.md", "card.json"))
    for name, tensors in means.items():
        save_file(tensors, out / name, metadata={"format": "pt"})
    card = json.loads((first / "card.json").read_text(encoding="utf-8"))
    facts = {name: card[name] for name in ("name", "licence", "data", "hardware") if name in card}
    made = [{"weights": weights_digest(folder), "share": share} for folder, share in parts]
    rounds = [*card.get("earlier_rounds", []), {"training": card.get("training", {}), "weights": made[0]["weights"]}]
    write_card(out, {**facts, "training": {"mean_of": made}, "earlier_rounds": rounds})


def _mean(files: Sequence[tuple[Path, float]]) -> dict[str, torch.Tensor]:
    """The mean of the tensors in files that hold the same ones, in the dtypes of the first."""
    weighted = [(load_file(file), share) for file, share in files]
    first = weighted[0][0]
    for (file, _), (tensors, _) in zip(files, weighted, strict=True):
        if {name: value.shape for name, value in tensors.items()} != {n: value.shape for n, value in first.items()}:
            raise InputError(f"{file} is a network of another shape.")
    return {
        name: torch.stack([share * tensors[name].float() for tensors, share in weighted]).sum(0).to(value.dtype)
        for name, value in first.items()
    }
