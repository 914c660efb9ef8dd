"""What each relation is worth at this size: the paper's ablation, every row trained on for the same number of steps.

Rows build on one another as in the paper: none, then R2PE, CSAM, and MCAM at three strengths. Without any relation the
references are further frames of the video, which is also how Phantom takes them. In the row "alone" every reference
stands for itself, blind to all others.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from transformers import PreTrainedTokenizerFast

from engine.model.layout import Relations
from engine.nano.dataset import ShardStore
from engine.nano.evaluation import Sampling, load_pipeline, measure_binding, weights_digest
from engine.nano.export import export, write_card
from engine.nano.flow_matching import RelationsPlan
from engine.nano.relations_training import train_relations


@dataclass(frozen=True, slots=True)
class Variant:
    """A row: the relations at work, and whether subjects' references are grouped at all."""

    relations: Relations
    grouped: bool = True


_NONE = Relations(positions=False, self_attention=False, cross_attention=False)

VARIANTS: dict[str, Variant] = {
    "none": Variant(_NONE),
    "+R2PE": Variant(dataclasses.replace(_NONE, positions=True)),
    "+CSAM": Variant(Relations(cross_attention=False)),
    "+MCAM 0.1": Variant(Relations(strength=0.1)),
    "+MCAM 0.5": Variant(Relations(strength=0.5)),
    "+MCAM 1.0": Variant(Relations(strength=1.0)),
    "alone": Variant(dataclasses.replace(_NONE, self_attention=True), grouped=False),
}
"""The rows by name; "+CSAM" is also MCAM of strength 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationPlan:
    """The budget of every row, and what it is measured on. Localised attention is left out: it needs groups."""

    training: RelationsPlan = dataclasses.field(
        default_factory=lambda: RelationsPlan(
            steps=400, learning_rate=2e-3, localisation=0.0, first_shards=12, shards=12, checkpoint_every=50
        )
    )
    scenes: int = 20
    seed: int = 1
    subjects: tuple[int, ...] = (2, 3)

    def with_budget(self, *, steps: int | None, batch: int | None) -> AblationPlan:
        """The same plan with other steps or samples a step, where they are given."""
        changes = {name: value for name, value in (("steps", steps), ("batch", batch)) if value is not None}
        return dataclasses.replace(self, training=dataclasses.replace(self.training, seed=self.seed, **changes))


def run_ablation(
    out: Path, start: Path, plan: AblationPlan, resume: bool, log: Callable[..., None] = print
) -> dict[str, Any]:
    """Train every row on from the model `start` in `out/ablation`, measure it, and return the table by row and number
    of subjects. With `resume`, finished rows are kept and an unfinished one goes on from its last checkpoint."""
    folder = out / "ablation"
    tokenizer = PreTrainedTokenizerFast.from_pretrained(start / "tokenizer")
    vae = AutoencoderKLWan.from_pretrained(start / "vae")
    store = ShardStore(folder / "shards", vae, tokenizer)
    table: dict[str, Any] = {}
    for name, variant in VARIANTS.items():
        row = folder / name.removeprefix("+").replace(" ", "-").lower()
        results = row / "results.json"
        if not (resume and results.exists()):
            training = dataclasses.replace(plan.training, relations=variant.relations, grouped=variant.grouped)
            transformer, encoder = train_relations(row, training, store, resume, start, log)
            export(row / "model", tokenizer, encoder, vae, transformer)
            write_card(row / "model", {"name": f"nano, {name}"})
            _write(results, _measured(row / "model", variant, plan))
        table[name] = json.loads(results.read_text(encoding="utf-8"))
        log(f"{name}: " + ", ".join(f"{k} subjects {v['binding_accuracy']:.3f}" for k, v in table[name].items()))
    return {
        "rows": table,
        "steps": plan.training.steps,
        "scenes": plan.scenes,
        "seed": plan.seed,
        "started_from": weights_digest(start),
    }


def _measured(model: Path, variant: Variant, plan: AblationPlan) -> dict[str, dict[str, float]]:
    # Relation guidance needs CSAM, which not every row has.
    sampling = dataclasses.replace(
        Sampling.of_card(model), relations=variant.relations, grouped=variant.grouped, relation_guidance=0.0
    )
    pipeline = load_pipeline(model)
    return {str(count): measure_binding(pipeline, plan.scenes, plan.seed, sampling, count) for count in plan.subjects}


def _write(path: Path, document: dict[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(document), encoding="utf-8")
    os.replace(fresh, path)
