"""LoRA files: what they change in the video network, and the changed weights.

Read are the spellings in use for Wan: diffusers' and PEFT's (`transformer.blocks.0.attn1.to_q.lora_A.weight`), the
original names (`diffusion_model.blocks.0.self_attn.q.lora_down.weight`) and those of kohya's programs
(`lora_unet_blocks_0_self_attn_q.lora_down.weight`), each with or without `alpha`, and whole differences (`diff`,
`diff_b`, `diff_m`). Whatever else a file holds makes it another kind of file, or one for another network: a
`WeightsError` that names it, told from the head of the file, before anything is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path
from typing import Any, NoReturn, cast

import torch

from engine.errors import WeightsError
from engine.weights.checkpoints import Safetensors, open_safetensors
from engine.weights.loras import StoredLora
from engine.weights.original import NETWORK, network_config_from_original
from engine.weights.refusals import shown, size_in_words, unreadable

MAX_TENSORS = 20_000
"""More than any LoRA for a network of a few hundred matrices has."""
_PREFIXES = ("transformer.", "diffusion_model.", "model.diffusion_model.", "lora_unet_", "")
_KINDS = {
    ".lora_A.weight": "down",
    ".lora_A.default.weight": "down",
    ".lora_down.weight": "down",
    ".lora.down.weight": "down",
    ".lora_B.weight": "up",
    ".lora_B.default.weight": "up",
    ".lora_up.weight": "up",
    ".lora.up.weight": "up",
    ".lora_B.bias": "up_bias",
    ".lora_B.default.bias": "up_bias",
    ".alpha": "alpha",
    ".diff": "diff",
    ".diff_b": "diff_b",
    ".diff_m": "diff_m",
}
_OTHER_KINDS = ("lokr_", "hada_", "oft_", "boft_", "glora", "dora_scale", "magnitude_vector", "lora_mid", "vera_")
_SETTINGS = "lora_adapter_metadata"
"""Under this name diffusers keeps how a LoRA was made in the head of its file."""

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Product:
    """`scale · up @ down`, added to one matrix; `alpha` names the tensor that divided by the rank is the scale."""

    down: str
    up: str
    alpha: str | None
    scale: float


@dataclass(frozen=True, slots=True)
class _Plain:
    """Values added as they are, or by the scale of the product that they belong to."""

    stored: str
    like: _Product | None


@dataclass(frozen=True, slots=True)
class Lora:
    """An opened LoRA that fits a network. `parts`: what it adds to each of the network's parameters."""

    title: str
    file: Safetensors
    parts: Mapping[str, tuple[_Product | _Plain, ...]]

    def add_to(self, total: torch.Tensor, name: str, strength: float) -> None:
        """Add to `total`, float32 in the shape of the parameter `name`, what belongs there. Raises `WeightsError` for a
        damaged file and for values that are no numbers."""
        for part in self.parts.get(name, ()):
            if isinstance(part, _Product):
                down, up = (self._read(stored).flatten(1) for stored in (part.down, part.up))
                scale = strength * self._scale(part)
                # No sum can become larger; looking at all of them would take as long as adding them.
                self._check_numbers(down.abs().amax() * up.abs().amax() * (down.shape[0] * scale))
                total.view(up.shape[0], -1).addmm_(up, down, alpha=scale)
            else:
                value = self._read(part.stored)
                scale = strength if part.like is None else strength * self._scale(part.like)
                self._check_numbers(value * scale)
                total.add_(value, alpha=scale)

    def _check_numbers(self, values: torch.Tensor) -> None:
        if not bool(values.isfinite().all()):
            raise WeightsError(f"The LoRA “{self.title}” holds values that are no numbers: get the file anew.")

    def _read(self, stored: str) -> torch.Tensor:
        return self.file.read(stored).float()

    def _scale(self, part: _Product) -> float:
        if part.alpha is None:
            return part.scale
        return float(self._read(part.alpha).item()) / self.file.tensors[part.down].shape[0]


class LoraMerge:
    """LoRAs with their strengths, to be added to a network's weights while these are read. Without any it changes
    nothing."""

    def __init__(self, loras: Sequence[tuple[Lora, float]]) -> None:
        self._loras = tuple(loras)
        self.names = frozenset(name for lora, _ in self._loras for name in lora.parts)

    def merged(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """The parameter `name` with everything added, summed in float32; `value` itself where nothing is."""
        if name not in self.names:
            return value
        total = value.detach().to(torch.float32, copy=True).contiguous()
        for lora, strength in self._loras:
            lora.add_to(total, name, strength)
        return total

    def into(self, network: torch.nn.Module) -> None:
        """Replace the weights of a network on the CPU by the merged ones, each in the dtype it has."""
        for name, parameter in network.named_parameters():
            if name in self.names:
                # Not written in place: the values may lie in the mapped file.
                parameter.data = self.merged(name, parameter).to(parameter.dtype)


def network_shapes(folder: Path) -> Shapes:
    """Shapes of a network's parameters by their names in diffusers, from the heads of its files.

    Raises `WeightsError` if there are none, or one is damaged.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise unreadable(folder)
    return {name: info.shape for file in files for name, info in open_safetensors(file).tensors.items()}


def published_shapes() -> Shapes:
    """Shapes of the published network's parameters, for whoever does not have its files yet."""
    from engine.model.transformer import LumosXTransformer3DModel

    with torch.device("meta"):
        network = LumosXTransformer3DModel(**network_config_from_original({}))
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def open_merge(chosen: Sequence[tuple[StoredLora, float]], folder: Path) -> LoraMerge:
    """LoRAs with their strengths, made ready for the network in `folder`. Nothing but heads of files is read.

    Raises `WeightsError` as `open_lora` and `network_shapes` do.
    """
    shapes = network_shapes(folder) if chosen else {}
    return LoraMerge([(open_lora(one.path, one.name, shapes), strength) for one, strength in chosen])


def open_lora(path: Path, title: str, network: Shapes) -> Lora:
    """Open a LoRA and see that all of it fits the network. Nothing but the file's head is read.

    Raises `WeightsError` for a file that is damaged, of another kind, or made for another network.
    """
    return _Reader(path, title, network).read()


class _Reader:
    """Puts the stored tensors of one file to the parameters that they change."""

    def __init__(self, path: Path, title: str, network: Shapes) -> None:
        self._title = title
        self._network = network
        self._file = open_safetensors(path)
        self._spelled = _spellings(network)
        self._found: dict[str, dict[str, str]] = {}
        """By parameter or module, by kind: the stored name."""

    def read(self) -> Lora:
        if len(self._file.tensors) > MAX_TENSORS:
            self._refuse(next(iter(self._file.tensors)))
        for stored, info in self._file.tensors.items():
            if not info.dtype.is_floating_point:
                raise WeightsError(
                    f"The LoRA “{self._title}” is quantised ({shown(stored)} holds {info.dtype} values): use one "
                    "in 16 or 32 bits."
                )
            self._place(stored)
        parts: dict[str, tuple[_Product | _Plain, ...]] = {}
        for target, kinds in self._found.items():
            for name, part in self._parts_of(target, kinds):
                parts[name] = (*parts.get(name, ()), part)
        if not parts:
            raise WeightsError(f"The LoRA “{self._title}” changes nothing: this file is empty, get another one.")
        return Lora(self._title, self._file, parts)

    def _place(self, stored: str) -> None:
        suffix = next((one for one in _KINDS if stored.endswith(one)), None)
        if suffix is None or any(word in stored for word in _OTHER_KINDS):
            self._refuse_kind(stored)
        kind, spelled = _KINDS[suffix], stored.removesuffix(suffix)
        if kind == "diff_m":  # Wan's table of shifts and scales
            kind, spelled = "diff", spelled + ("_modulation" if spelled.startswith("lora_unet_") else ".modulation")
        rests = [spelled.removeprefix(prefix) for prefix in _PREFIXES if spelled.startswith(prefix)]
        target = next((self._spelled[rest] for rest in rests if rest in self._spelled), None)
        if target is None:
            self._refuse(stored)
        kinds = self._found.setdefault(target, {})
        if kind in kinds:
            raise WeightsError(
                f"The LoRA “{self._title}” changes the same weight twice ({shown(kinds[kind])} and "
                f"{shown(stored)}): get the file anew."
            )
        kinds[kind] = stored

    def _parts_of(self, target: str, kinds: Mapping[str, str]) -> Iterator[tuple[str, _Product | _Plain]]:
        product: _Product | None = None
        if not kinds.keys().isdisjoint(("down", "up", "alpha", "up_bias")):
            product = self._product(target, kinds)
            yield f"{target}.weight", product
        if "diff" in kinds:
            name = target if target in self._network else f"{target}.weight"
            yield name, _Plain(self._fitting(kinds["diff"], name), None)
        if "diff_b" in kinds:
            yield f"{target}.bias", _Plain(self._fitting(kinds["diff_b"], f"{target}.bias"), None)
        if "up_bias" in kinds:
            yield f"{target}.bias", _Plain(self._fitting(kinds["up_bias"], f"{target}.bias"), product)

    def _product(self, target: str, kinds: Mapping[str, str]) -> _Product:
        some = next(iter(kinds.values()))
        wanted = self._network.get(f"{target}.weight", ())
        if len(wanted) < 2:
            self._refuse(some)
        if "down" not in kinds or "up" not in kinds:
            raise WeightsError(
                f"The LoRA “{self._title}” is incomplete, it has only one half of {shown(some)}: get the file anew."
            )
        down, up = (self._file.tensors[kinds[kind]].shape for kind in ("down", "up"))
        rank = down[0] if down else 0
        if not rank or up[:1] != wanted[:1] or prod(up[1:]) != rank or prod(down[1:]) != prod(wanted[1:]):
            self._refuse_shape(kinds["down"], (*up[:1], *down[1:]), wanted)
        alpha = kinds.get("alpha")
        if alpha is not None and prod(self._file.tensors[alpha].shape) != 1:
            self._refuse_shape(alpha, self._file.tensors[alpha].shape, ())
        return _Product(kinds["down"], kinds["up"], alpha, self._scale(target, rank))

    def _fitting(self, stored: str, name: str) -> str:
        if name not in self._network:
            self._refuse(stored)
        shape = self._file.tensors[stored].shape
        if shape != self._network[name]:
            self._refuse_shape(stored, shape, self._network[name])
        return stored

    def _scale(self, target: str, rank: int) -> float:
        """The scale that the head of the file gives, 1 where it says nothing."""
        text = self._file.texts.get(_SETTINGS)
        if text is None:
            return 1.0
        try:
            made = cast("dict[str, Any]", json.loads(text))
            known = {name.removeprefix("transformer."): value for name, value in made.items()}
            if known.get("use_dora"):
                self._refuse_kind(f"{_SETTINGS}: use_dora")
            alpha = float(known.get("lora_alpha") or rank)
            for ending, own in cast("dict[str, Any]", known.get("alpha_pattern") or {}).items():
                if re.fullmatch(rf"(?:.*\.)?{re.escape(ending)}", target):
                    alpha = float(own)
            return alpha / (sqrt(rank) if known.get("use_rslora") else rank)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise WeightsError(
                f"The LoRA “{self._title}” says in its head how strong it is, but that cannot be read: get the file "
                "anew."
            ) from error

    def _refuse(self, stored: str) -> NoReturn:
        raise WeightsError(
            f"The LoRA “{self._title}” was made for another network (it changes {shown(stored)}): use one for "
            "Wan 2.1 1.3B, text to video."
        )

    def _refuse_kind(self, stored: str) -> NoReturn:
        raise WeightsError(
            f"“{self._title}” is no LoRA of a kind that can be used here (it holds {shown(stored)}): use an "
            "ordinary LoRA, not a LoKr, LoHa, DoRA or a whole model."
        )

    def _refuse_shape(self, stored: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> NoReturn:
        raise WeightsError(
            f"The LoRA “{self._title}” was made for a network of another size ({shown(stored)} changes a weight of "
            f"{size_in_words(found)}, here it is {size_in_words(wanted)}): use one for Wan 2.1 1.3B, text to video."
        )


def _spellings(network: Shapes) -> dict[str, str]:
    """Module or parameter of the network by each of its names: in diffusers, in the original, and both with lines
    instead of dots."""
    spelled: dict[str, str] = {}
    for name in network:
        ending = next((one for one in (".weight", ".bias") if name.endswith(one)), "")
        target = name.removesuffix(ending)
        for one in (target, NETWORK.original_name(name).removesuffix(ending)):
            spelled[one] = target
            spelled[one.replace(".", "_")] = target
    return spelled
