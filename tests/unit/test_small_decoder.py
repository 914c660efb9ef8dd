"""The small decoder: how many pictures it makes, of which size, and that nothing of one clip gets into another."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.model.small_decoder import SmallDecoder, published_names
from tests.unit.seeded_decoder import seeded_state


@pytest.fixture(scope="module")
def tiny() -> SmallDecoder:
    torch.manual_seed(0)
    return SmallDecoder(latent_channels=4, widths=(8, 6, 4, 4))


def latents(frames: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(1, 4, frames, 3, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_first_latent_frame_is_one_frame_and_the_others_four(tiny: SmallDecoder, count: int) -> None:
    frames = list(tiny.decode(latents(count)))
    assert len(frames) == 4 * (count - 1) + 1
    assert {frame.shape for frame in frames} == {(3, 24, 40)}
    lasts = list(tiny.decode(latents(count), every=False))
    assert len(lasts) == count
    torch.testing.assert_close(torch.stack(lasts), torch.stack(frames[::4]))


def test_pictures_are_half_the_clips_size_and_one_for_each_latent_frame(tiny: SmallDecoder) -> None:
    pictures = list(tiny.pictures(latents(3)))
    assert [(picture.shape, picture.dtype) for picture in pictures] == [((12, 20, 3), np.dtype(np.uint8))] * 3
    frame = list(tiny.decode(latents(3)))[8]
    means = frame.reshape(3, 12, 2, 20, 2).mean(dim=(2, 4)).permute(1, 2, 0).numpy()
    np.testing.assert_allclose(pictures[2] / 255, means, atol=0.5 / 255 + 1e-6)


def test_the_same_latents_give_the_same_pictures_whatever_came_before(tiny: SmallDecoder) -> None:
    first = list(tiny.pictures(latents(3)))
    broken_off = tiny.pictures(latents(3, seed=2))
    next(broken_off)
    again = list(tiny.pictures(latents(3)))
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    others = list(tiny.pictures(latents(3, seed=2)))
    assert not np.array_equal(first[2], others[2])


def test_a_frame_sees_what_came_before_it_and_nothing_that_comes_after(tiny: SmallDecoder) -> None:
    whole, changed = latents(3), latents(3)
    changed[:, :, 1] += 1
    before, after = list(tiny.decode(whole)), list(tiny.decode(changed))
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])
    assert not torch.equal(before[8], after[8])


def test_latents_of_half_precision_are_worked_on_in_the_decoders_own(tiny: SmallDecoder) -> None:
    (frame,) = tiny.decode(latents(1).half())
    assert frame.dtype == torch.float32


def test_every_parameter_has_a_published_name_of_its_own() -> None:
    names = published_names()
    assert set(names) == set(SmallDecoder().state_dict())
    assert len(set(names.values())) == len(names) == 64
    assert names["stages.1.blocks.2.third.bias"] == "decoder.11.conv.4.bias"
    # With the encoder's 1,470,928 it is the published file's 11,315,539.
    assert sum(value.numel() for value in seeded_state().values()) == 9_844_611
