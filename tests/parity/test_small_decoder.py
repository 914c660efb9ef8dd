"""The small decoder against numbers of its published code; see the README beside them."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.unit.seeded_decoder import seeded_decoder, seeded_state

CASE = Path(__file__).parent / "small_decoder" / "case.safetensors"
TOLERANCE = 1e-5


def test_every_frame_is_that_of_the_published_code() -> None:
    case = load_file(CASE)
    total = sum(float(value.double().abs().sum()) for value in seeded_state().values())
    assert abs(total - float(case["weights_sum"])) < 1e-6 * total
    frames = torch.stack(list(seeded_decoder().decode(case["latents"])))
    torch.testing.assert_close(frames, case["frames"], atol=TOLERANCE, rtol=0)


def test_the_last_frames_alone_are_the_same_ones() -> None:
    case = load_file(CASE)
    frames = torch.stack(list(seeded_decoder().decode(case["latents"], every=False)))
    torch.testing.assert_close(frames, case["frames"][::4], atol=TOLERANCE, rtol=0)
