"""Drawn references that look photographed: other light, outline and grain, but the same colours on the same white."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from engine.nano.dataset import PHOTOGRAPHED, encode_references
from engine.nano.vae_training import new_vae
from engine.nano.world.photography import CUT_OUT, FACE, PLACE, Roughness, photographed
from engine.nano.world.scene import Structure, draw_scene, model_references

PAIR = Structure(background=True, thing=True, groups=(3, 2))


def shirt() -> np.ndarray:
    picture = np.full((60, 80, 3), 255, np.uint8)
    picture[10:50, 20:60] = (200, 60, 40)
    return picture


@pytest.mark.parametrize("rough", [FACE, CUT_OUT, PLACE])
def test_the_same_chance_gives_the_same_photograph(rough: Roughness) -> None:
    first, again, other = (photographed(shirt(), np.random.default_rng(seed), rough) for seed in (1, 1, 2))
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_is_cut_out_keeps_its_colour_and_pure_white_around_it() -> None:
    for seed in range(20):
        found = photographed(shirt(), np.random.default_rng(seed), CUT_OUT)
        assert (found[:4] == 255).all()
        assert (found[:, :8] == 255).all()
        ink = (found < 250).any(axis=2)
        assert 400 < ink.sum() < 2200  # of 1,600 pixels: bent, and part of it hidden
        red, green, blue = found[ink].mean(axis=0)
        assert red > 2 * green
        assert red > 2 * blue


def test_without_roughness_only_brightness_and_sharpness_change() -> None:
    nothing = Roughness(bend=0, turn=0, light=0, grain=0, tint=0, torn=0, tight=0, cut=0)
    found = photographed(shirt(), np.random.default_rng(3), nothing)
    ratio = found[20:40, 30:50].reshape(-1, 3).mean(axis=0) / (200, 60, 40)
    assert np.all((ratio > 0.6) & (ratio < 1.5))
    assert (found[:5, :10] > 250).all()


def test_a_photograph_may_be_cut_on_two_sides_but_a_cut_out_never_is() -> None:
    def shapes(rough: Roughness) -> set[tuple[int, ...]]:
        return {photographed(shirt(), np.random.default_rng(seed), rough).shape[:2] for seed in range(30)}

    assert shapes(CUT_OUT) == {(60, 80)}
    assert all(height == 60 or width == 80 for height, width in shapes(PLACE))
    assert {height < 50 for height, _ in shapes(PLACE)} == {width < 66 for _, width in shapes(PLACE)} == {True, False}


def test_a_whole_scene_can_be_photographed_and_stays_in_its_order() -> None:
    for seed in range(6):
        scene = draw_scene(seed, PAIR)
        drawn, rough = model_references(scene), model_references(scene, photographs=True)
        assert rough.shape == drawn.shape
        assert not np.array_equal(rough, drawn)
        # Every photograph is nearer to its own drawing than to the other person's.
        small = [np.stack([picture[::8, ::8] for picture in pictures]).astype(float) for pictures in (drawn, rough)]
        for own, other in ((2, 5), (5, 2)):
            apart = [float(np.abs(small[1][own] - small[0][index]).mean()) for index in (own, other)]
            assert apart[0] < apart[1]


def test_half_of_the_scenes_to_train_on_are_photographed() -> None:
    torch.manual_seed(0)
    vae = new_vae()
    structure = dataclasses.replace(PAIR, thing=False, background=False, groups=(2,))
    scenes = [draw_scene(seed, structure) for seed in range(24)]
    latents = encode_references(vae, scenes).float()
    drawn = [np.asarray(model_references(scene)) for scene in scenes]
    assert latents.shape[:1] + latents.shape[2:3] == (24, 2)
    plain = torch.cat([encode_plainly(vae, pictures) for pictures in drawn])
    changed = int(((latents - plain).abs().flatten(1).amax(1) > 0.05).sum())
    assert 24 * PHOTOGRAPHED - 8 <= changed <= 24 * PHOTOGRAPHED + 8


def encode_plainly(vae: object, pictures: np.ndarray) -> torch.Tensor:
    from engine.nano.dataset import encode

    latents = encode(vae, torch.from_numpy(pictures)[:, None])[:, :, 0]  # pyright: ignore[reportArgumentType]
    return latents.transpose(0, 1)[None]
