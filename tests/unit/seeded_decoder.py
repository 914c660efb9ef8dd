"""Weights of the small decoder drawn from a seed, under their published names, so that nobody has to store them."""

from __future__ import annotations

from math import prod
from pathlib import Path

import torch
from safetensors.torch import save_file

from engine.model.small_decoder import SmallDecoder, published_names

State = dict[str, torch.Tensor]


def seeded_state(seed: int = 5) -> State:
    """float32 on the CPU: in the order of the published names normal numbers, of a matrix 0.7 / √(inputs of an output),
    of a bias 0.1; 0.5 is added to the last bias, so that colours lie about the middle."""
    generator = torch.Generator().manual_seed(seed)
    ours = SmallDecoder().state_dict()
    shapes = {published: ours[name].shape for name, published in published_names().items()}
    state: State = {}
    for name in sorted(shapes):
        shape = shapes[name]
        scale = 0.7 / prod(shape[1:]) ** 0.5 if len(shape) > 1 else 0.1
        state[name] = scale * torch.randn(shape, generator=generator)
    state["decoder.22.bias"] += 0.5
    return state


def seeded_decoder(seed: int = 5) -> SmallDecoder:
    """A decoder of the published size with these weights."""
    decoder, state = SmallDecoder(), seeded_state(seed)
    decoder.load_state_dict({name: state[published] for name, published in published_names().items()})
    return decoder


def write_published(path: Path, state: State) -> None:
    """A file as it is published: half precision, and the encoder beside the decoder."""
    whole = {"encoder.0.weight": torch.zeros(64, 3, 3, 3), **state}
    halves = {name: value.half() for name, value in whole.items()}
    if path.suffix == ".safetensors":
        save_file(halves, path)
    else:
        torch.save(halves, path)
