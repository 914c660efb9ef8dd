"""The small decoder of the live picture, read from the published file that the user may have installed."""

from __future__ import annotations

from pathlib import Path

import torch

from engine.errors import WeightsError
from engine.model.small_decoder import SmallDecoder, published_names
from engine.weights.catalogue import entry
from engine.weights.checkpoints import open_checkpoint
from engine.weights.installed import locate_whole, status

NAME = "preview-decoder"


def installed_decoder(device: torch.device) -> SmallDecoder | None:
    """The installed decoder on `device`, in half precision on a CUDA card; None where none was ever installed.

    Raises `WeightsError` if it is damaged or another file.
    """
    if not status(NAME).begun:
        return None
    folder = locate_whole(NAME)
    path = next(path for file in entry(NAME).files if (path := folder / file.name).is_file())
    return on_device(read_decoder(path), device)


def on_device(decoder: SmallDecoder, device: torch.device) -> SmallDecoder:
    """The decoder itself, brought there in the precision in which it works there."""
    decoder.to(device, torch.float16 if device.type == "cuda" else torch.float32)
    if device.type != "mps":
        for parameter in decoder.parameters():
            if parameter.ndim == 4:  # the order of values in which convolutions are quickest
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return decoder


def read_decoder(path: Path) -> SmallDecoder:
    """The decoder in a published file, safetensors or a pickle of tensors alone, in float32 on the CPU. What else the
    file holds (the encoder) is passed over.

    Raises `WeightsError` for a file that cannot be read, that lacks a weight, or has one of another shape.
    """
    with torch.device("meta"):
        decoder = SmallDecoder()
    wanted = decoder.state_dict()
    try:
        checkpoint = open_checkpoint(path)
        state = {
            name: checkpoint.read(published).float()
            for name, published in published_names().items()
            if published in checkpoint.tensors and checkpoint.tensors[published].shape == tuple(wanted[name].shape)
        }
    except WeightsError as error:
        raise _other(path) from error
    if state.keys() != wanted.keys() or not all(bool(value.isfinite().all()) for value in state.values()):
        raise _other(path)
    decoder.load_state_dict(state, assign=True)
    return decoder.eval().requires_grad_(False)


def _other(path: Path) -> WeightsError:
    return WeightsError(
        f"{path} does not hold the small decoder for Wan 2.1: remove it under Models, and take the published file."
    )
