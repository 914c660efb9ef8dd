"""Named ways to spread a pipeline over the memory of a machine. Decides by arithmetic; diffusers moves the bytes.

* resident: everything on the device.
* offload: one component at a time on the device (`enable_model_cpu_offload`).
* streamed: the network's blocks pass through the device one by one (`enable_group_offload`).

A profile never changes the clip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from engine.errors import InputError

if TYPE_CHECKING:
    import torch

    from engine.model.pipeline import LumosXPipeline

PROFILES = ("auto", "resident", "offload", "streamed")
RESIDENT_BYTES = 12 * 2**30
OFFLOAD_BYTES = 8 * 2**30
"""Free device memory from which the full model at its default size fits whole, or one component at a time."""


def choose_profile(name: str, device_type: str, free_device_bytes: int | None, *, small: bool) -> str:
    """Resolve "auto" for a device.

    `free_device_bytes`: None where the device shares the computer's memory; `small`: a model that fits anywhere. Raises
    `InputError` for a name that does not exist.
    """
    check_profile(name)
    if name != "auto":
        return name
    if small or device_type != "cuda" or free_device_bytes is None or free_device_bytes >= RESIDENT_BYTES:
        return "resident"
    return "offload" if free_device_bytes >= OFFLOAD_BYTES else "streamed"


def check_profile(name: str) -> None:
    """Raise `InputError` for a profile that does not exist."""
    if name not in PROFILES:
        raise InputError(f"There is no memory profile “{name}”; choose one of {', '.join(PROFILES)}.")


def apply_profile(pipeline: LumosXPipeline, profile: str, device: torch.device) -> None:
    """Place the pipeline's components as a resolved profile says."""
    import torch

    if profile == "resident":
        pipeline.to(device)
    elif profile == "offload":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        # diffusers' own `to` hides its arguments behind a wrapper.
        cast(torch.nn.Module, pipeline.vae).to(device)
        pipeline.transformer.enable_group_offload(
            onload_device=device,
            offload_device=torch.device("cpu"),
            offload_type="block_level",
            num_blocks_per_group=1,
            use_stream=device.type == "cuda",
        )
