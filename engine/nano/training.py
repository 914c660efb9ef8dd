"""All stages of training in their order: tokenizer, autoencoder, relations; then the finished model folder."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from transformers import PreTrainedTokenizerFast

from engine.errors import InputError
from engine.nano.dataset import ShardStore
from engine.nano.evaluation import weights_digest
from engine.nano.export import export, write_card
from engine.nano.preview import write_preview
from engine.nano.relations_training import RelationsPlan, train_relations
from engine.nano.run_folder import has_checkpoint, training_record
from engine.nano.tokenizer import train_tokenizer
from engine.nano.vae_training import VaePlan, train_vae

STAGES = ("tokenizer", "vae", "relations")
LATER_PAIRS = 0.7
"""How often scenes of two are taken for one of three in a run that goes on from finished weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """What may differ from the plans; None keeps the plan's own value. `start`: a model folder to go on from instead of
    random weights, with a schedule of its own. `guided`: see `RelationsPlan`."""

    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    guided: float = 0.0
    seed: int = 0
    start: Path | None = None

    def pace(self) -> dict[str, Any]:
        """What is given of the number of steps and the learning rate."""
        given = {"steps": self.steps, "learning_rate": self.learning_rate}
        return {name: value for name, value in given.items() if value is not None}


def train(out: Path, stage: str, settings: StageSettings, resume: bool) -> None:
    """Run one stage or all of them in `out`; the finished model is `out/model`.

    A run that is there already is continued with `resume` and refused without (`InputError`).
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in STAGES if stage == "all" else (stage,):
        if name == "tokenizer":
            _tokenizer_stage(out, settings, resume)
        elif name == "vae":
            _vae_stage(out, settings, resume)
        else:
            _relations_stage(out, settings, resume)


def _tokenizer_stage(out: Path, settings: StageSettings, resume: bool) -> None:
    if (out / "tokenizer").exists():
        if not resume:
            raise InputError(f"{out} already holds a tokenizer: add --resume, or choose another --out.")
        return
    train_tokenizer(out / "tokenizer", settings.seed)


def _vae_stage(out: Path, settings: StageSettings, resume: bool) -> None:
    plan = dataclasses.replace(VaePlan(seed=settings.seed), **settings.pace())
    if settings.batch is not None:
        plan = dataclasses.replace(plan, still_batch=settings.batch, clip_batch=max(1, settings.batch // 3))
    train_vae(out, plan, resume)


def _relations_stage(out: Path, settings: StageSettings, resume: bool) -> None:
    plan = dataclasses.replace(RelationsPlan(seed=settings.seed, guided=settings.guided), **settings.pace())
    if settings.batch is not None:
        plan = dataclasses.replace(plan, batch=settings.batch)
    if settings.start is not None:  # pairs teach binding fastest; later on, threes are what is left to learn
        plan = dataclasses.replace(plan, pairs=LATER_PAIRS)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(_trained(out, "tokenizer", settings.start))
    vae = AutoencoderKLWan.from_pretrained(_trained(out, "vae", settings.start))
    store = ShardStore(out / "shards", vae, tokenizer)
    transformer, text_encoder = train_relations(out, plan, store, resume, settings.start)
    export(out / "model", tokenizer, text_encoder, vae, transformer)
    write_preview(out / "model", vae)
    write_card(out / "model", _facts(out, settings))


def _trained(out: Path, part: str, start: Path | None) -> Path:
    """The folder of a part trained in `out`, or that of the model to go on from."""
    for folder in (out, start):
        if folder is not None and (folder / part).is_dir():
            return folder / part
    raise InputError(f"{out} has no trained {part} yet: run --stage {part} first, or --stage all.")


def _facts(out: Path, settings: StageSettings) -> dict[str, Any]:
    """What the card says of how a model came about."""
    facts: dict[str, Any] = {
        "name": "nano",
        "licence": "Apache-2.0",
        "data": "Scenes drawn by engine/nano/world from world seeds below 1,000,000,000; nothing else.",
        "hardware": f"{platform.machine()} processor, {os.cpu_count()} cores, no graphics card",
        "training": {
            stage: training_record(out, stage) for stage in ("vae", "relations") if has_checkpoint(out, stage)
        },
    }
    if settings.start is not None:
        before = json.loads((settings.start / "card.json").read_text(encoding="utf-8"))
        rounds = {"training": before.get("training", {}), "weights": weights_digest(settings.start)}
        facts["earlier_rounds"] = [*before.get("earlier_rounds", []), rounds]
    return facts
