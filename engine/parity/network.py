"""Recorded passes of the network, its conversion from distributed checkpoints, and whole guided sampling loops."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from engine.model.layout import Relations
from engine.model.scheduler import LumosXScheduler
from engine.model.transformer import LumosXTransformer3DModel
from engine.parity.folder import Judge, RecordedFolder, Tensors, read_json, read_tensors
from engine.weights.checkpoints import read_network_state
from engine.weights.original import network_config_from_original, to_diffusers_network

NETWORK_TOLERANCE = 5e-5
LOOP_TOLERANCE = 2e-4


def build_network(config: Mapping[str, Any], state: Tensors) -> LumosXTransformer3DModel:
    """A float32 network from original constructor arguments and original key names."""
    model = LumosXTransformer3DModel(**network_config_from_original(config))
    model.load_state_dict(to_diffusers_network({name: value.float() for name, value in state.items()}))
    return model.eval()


def relations_of(config: Mapping[str, Any]) -> Relations:
    """The published ablation switches as `Relations`."""
    return Relations(
        positions=config.get("RoPE_shift", True),
        self_attention=config.get("self_mask_bool", True),
        cross_attention=config.get("cross_mask_bool", True),
        strength=config.get("ratio", 0.5),
    )


def merged_config(case: Mapping[str, Any]) -> dict[str, Any]:
    return {**case["config"], **case.get("overrides", {})}


def group_sizes(conditions: list[dict[str, Any]]) -> tuple[int, ...]:
    """Sizes of the subject groups of recorded conditions, which list free ones first and then group after group."""
    numbers = [condition["group"] for condition in conditions if condition["group"] is not None]
    return tuple(numbers.count(number) for number in sorted(set(numbers)))


def padded(context: torch.Tensor, text_len: int) -> torch.Tensor:
    """`[words, dim]` → `[1, text_len, dim]`, zeros behind."""
    return F.pad(context[:text_len], (0, 0, 0, text_len - min(len(context), text_len)))[None]


def conditions_of(case: Mapping[str, Any], tensors: Tensors) -> dict[str, Any]:
    """The network's arguments that describe references."""
    latents = tensors.get("cond_latents")
    return {
        "reference_latents": None if latents is None or not len(latents) else latents.permute(2, 1, 0, 3, 4),
        "groups": group_sizes(case["conditions"]),
        "text_masks": tensors.get("text_masks"),
        "relations": relations_of(merged_config(case)),
    }


def weights_file(folder: Path) -> Path:
    """The weights in a folder of recorded weights, in whichever form."""
    for name in ("model.safetensors", "model.pt", "model.pth"):
        if (folder / name).is_file():
            return folder / name
    return folder


def run_passes(folder: RecordedFolder) -> Iterator[tuple[str, Judge]]:
    """`dit/cases`: one forward pass each."""
    for path in folder.files("dit/cases/*.json"):
        case = read_json(path)
        state = read_network_state(weights_file(folder.path("dit", "weights", case["weights"])))
        yield _one_pass(folder, path, build_network(merged_config(case), state))


def _one_pass(folder: RecordedFolder, path: Path, model: LumosXTransformer3DModel) -> tuple[str, Judge]:
    case, tensors = read_json(path), read_tensors(path.with_suffix(".safetensors"))
    name = folder.relative(path)
    with torch.no_grad():
        out = model(
            tensors["x"],
            torch.tensor([case["timestep"]]),
            padded(tensors["context"], case["text_len"]),
            **conditions_of(case, tensors),
        ).sample
    folder.write_tensors(f"{name}.safetensors", {"out": out})
    judge = Judge(name, tensors)
    recorded = tensors.get("out")
    judge.compare("out", out, NETWORK_TOLERANCE, recorded=None if recorded is None else recorded[:, :, : out.shape[2]])
    return name, judge


def run_conversion(folder: RecordedFolder) -> Iterator[tuple[str, Judge]]:
    """`dcp/`: the distributed checkpoint, read and compared bit for bit, and one pass with its EMA weights."""
    root = folder.path("dcp")
    if not root.is_dir():
        return
    expected_path = root / "ema.safetensors"
    expected = read_tensors(expected_path) if expected_path.is_file() else {}
    sources = [
        path for path in (root / "LumosX_models", root / "LumosX_models_separate", root / "ema.pt") if path.exists()
    ]
    judge = Judge("dcp/converted", {})
    states: list[Tensors] = []
    for source in sources:
        states.append(read_network_state(source))
        _compare_states(judge, source.name, states[-1], expected or states[0])
    if not states:
        return
    folder.write_tensors("dcp/converted.safetensors", states[0])
    yield "dcp/converted", judge
    for path in folder.files("dcp/*.json"):
        case = read_json(path)
        if "latent_shape" in case:
            yield _one_pass(folder, path, build_network(merged_config(case), states[0]))


def _compare_states(judge: Judge, source: str, state: Tensors, expected: Tensors) -> None:
    names = sorted(state)
    if names != sorted(expected):
        judge.compare_exactly(f"{source}: names", names, sorted(expected))
        return
    different = [name for name in names if not torch.equal(state[name].float(), expected[name].float())]
    judge.compare_exactly(f"{source}: {len(names)} tensors", different, [])


def run_loops(folder: RecordedFolder) -> Iterator[tuple[str, Judge]]:
    """`e2e/`: noise to clean latents with guidance."""
    for path in folder.files("e2e/*.json"):
        case, tensors = read_json(path), read_tensors(path.with_suffix(".safetensors"))
        state = read_network_state(weights_file(folder.path("dit", "weights", case["weights"])))
        model = build_network(merged_config(case), state)
        final = sample(model, case, tensors, conditions_of(case, tensors))
        name = folder.relative(path)
        folder.write_tensors(f"{name}.safetensors", {"final": final})
        judge = Judge(name, tensors)
        judge.compare("final", final, LOOP_TOLERANCE)
        yield name, judge


@torch.no_grad()
def sample(
    model: LumosXTransformer3DModel, case: Mapping[str, Any], tensors: Tensors, conditions: Mapping[str, Any]
) -> torch.Tensor:
    """The recorded loop: `z` → final latents, both passes with the same conditions and masks."""
    contexts = [padded(tensors[name], merged_config(case)["text_len"]) for name in ("context", "context_null")]
    scheduler = LumosXScheduler(flow_shift=case["shift"])
    scheduler.set_timesteps(case["steps"])
    latents = tensors["z"]
    for timestep in scheduler.timesteps:
        positive, negative = (model(latents, timestep[None], context, **conditions).sample for context in contexts)
        guided = negative + case["guidance"] * (positive - negative)
        latents = scheduler.step(guided, timestep, latents, return_dict=False)[0]
    return latents
