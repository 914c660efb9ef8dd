"""The paper-doll world: equal seeds give equal scenes, words name what they should, references look as the studio's."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from engine.nano.belongings import score_background, score_belongings
from engine.nano.dataset import training_scene
from engine.nano.evaluation import evaluation_scene, looked_at, score_clip
from engine.nano.fidelity import psnr
from engine.nano.recognition import pairs_of_shoes
from engine.nano.vae_training import TRAINING_SEEDS
from engine.nano.world.camera import Camera, draw_camera
from engine.nano.world.parts import ELSEWHERE, PLACES, garments_differ, people_differ
from engine.nano.world.pictures import letterbox
from engine.nano.world.prompt import write_prompt
from engine.nano.world.scene import (
    HEIGHT,
    WIDTH,
    Structure,
    WorldScene,
    draw_scene,
    draw_structure,
    elsewhere,
    model_references,
    reference_pictures,
    render_clip,
    who_is_where,
)

PAIR = Structure(background=True, thing=True, groups=(3, 2))


def test_equal_seeds_draw_equal_scenes_and_others_do_not() -> None:
    first, again, other = draw_scene(5, PAIR), draw_scene(5, PAIR), draw_scene(6, PAIR)
    assert first == again
    assert np.array_equal(render_clip(first, 3), render_clip(again, 3))
    assert np.array_equal(model_references(first), model_references(again))
    assert not np.array_equal(render_clip(first, 1), render_clip(other, 1))


def test_a_clip_has_its_shape_and_moves() -> None:
    clip = render_clip(draw_scene(3, PAIR), 9)
    assert clip.shape == (9, HEIGHT, WIDTH, 3)
    assert clip.dtype == np.uint8
    assert not np.array_equal(clip[0], clip[8])


def test_a_later_start_is_the_same_clip_further_on() -> None:
    scene = draw_scene(3, PAIR)
    assert np.array_equal(render_clip(scene, 6)[4:], render_clip(scene, 2, first=4))


@pytest.mark.parametrize("seed", range(8))
def test_every_reference_is_named_by_its_span(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(seed, draw_structure(rng, 1 + seed % 3))
    prompt = write_prompt(scene, rng)
    assert len(prompt.spans) == len(reference_pictures(scene))
    named = [prompt.text[start:end] for start, end in prompt.spans]
    free = scene.structure.num_free
    kinds = iter(named[free:])
    for member in scene.members:
        assert next(kinds).split()[0] not in ("a", "an", "the")
        for _ in range(member.num_references - 1):
            assert next(kinds).split()[-1] in {
                member.look.garment.shape, "outfit", "top", "garment", "hat", "cap", "beanie",
            }  # fmt: skip
    for start, end in prompt.spans:
        assert 0 <= start < end <= len(prompt.text)
        assert prompt.text[start - 1] == " "
        assert prompt.text[end] in " ,."


def test_a_wordy_prompt_names_every_reference_among_many_other_words() -> None:
    rng = np.random.default_rng(1)
    lengths: list[tuple[int, int]] = []
    for seed in range(60):
        scene = draw_scene(seed, draw_structure(rng, 1 + seed % 3))
        prompt = write_prompt(scene, rng, wordy=True)
        assert len(prompt.spans) == len(reference_pictures(scene))
        for start, end in prompt.spans:
            assert start == 0 or prompt.text[start - 1] == " "
            assert prompt.text[end] in " ,."
        assert prompt.text[0].isupper()
        assert prompt.text.endswith(".")
        lengths.append((len(write_prompt(scene, rng).text), len(prompt.text)))
    plain, wordy = np.mean(lengths, axis=0)
    assert wordy > 1.5 * plain


@pytest.mark.parametrize("wordy", [False, True])
def test_spans_of_different_references_never_overlap(wordy: bool) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        prompt = write_prompt(draw_scene(seed, draw_structure(rng, 3)), rng, wordy=wordy)
        taken = sorted(prompt.spans)
        assert all(left[1] <= right[0] for left, right in pairwise(taken))


def test_neither_order_nor_words_tell_where_somebody_stands() -> None:
    scenes = [draw_scene(seed, Structure(background=False, thing=False, groups=(2, 2))) for seed in range(200)]
    first_is_left = np.mean([scene.members[0].motion.x < scene.members[1].motion.x for scene in scenes])
    assert 0.35 < first_is_left < 0.65
    rng = np.random.default_rng(0)
    prompts = [write_prompt(scene, rng) for scene in scenes]
    said_first = np.mean([prompt.spans[0] < prompt.spans[2] for prompt in prompts])
    assert 0.35 < said_first < 0.65


def test_people_and_garments_of_a_scene_can_be_told_apart() -> None:
    for seed in range(10):
        looks = [
            member.look
            for member in draw_scene(seed, Structure(background=False, thing=False, groups=(2, 2, 2))).members
        ]
        for i, first in enumerate(looks):
            for second in looks[i + 1 :]:
                assert people_differ(first.person, second.person)
                assert garments_differ(first.garment, second.garment)


def test_cut_out_references_are_on_pure_white_and_cropped_to_their_box() -> None:
    scene = draw_scene(1, Structure(background=False, thing=True, groups=(3,)))
    thing, face, garment, hat = reference_pictures(scene)
    for picture in (thing, garment, hat):
        inked = (picture != 255).any(axis=2)
        assert all(edge.any() for edge in (inked[0], inked[-1], inked[:, 0], inked[:, -1]))
        assert (~inked).mean() > 0.05
    # A face keeps its surroundings: hardly a white pixel in its corners.
    assert (face[:3, :3] != 255).any()


def test_the_face_picture_does_not_show_the_garment_of_the_clip() -> None:
    scene = draw_scene(2, Structure(background=False, thing=False, groups=(2,)))
    member = scene.members[0]
    dressed = dataclasses.replace(member.look, garment=draw_scene(3, scene.structure).members[0].look.garment)
    other = dataclasses.replace(scene, members=(dataclasses.replace(member, look=dressed),))
    assert np.array_equal(reference_pictures(scene)[0], reference_pictures(other)[0])


def test_letterboxing_keeps_the_shape_and_centres_on_white() -> None:
    boxed = letterbox(np.zeros((50, 10, 3), np.uint8), 128, 96)
    assert boxed.shape == (96, 128, 3)
    dark = np.flatnonzero((boxed == 0).all(axis=(0, 2)))
    assert len(dark) == 19
    assert abs(dark[0] - (127 - dark[-1])) <= 1


def test_a_crowd_leaves_a_place_for_an_object() -> None:
    crowded = Structure(background=False, thing=True, groups=(2,) * 6)
    for seed in range(60):
        assert render_clip(draw_scene(seed, crowded), 1).shape == (1, HEIGHT, WIDTH, 3)


def test_hats_objects_and_backgrounds_are_told_from_others() -> None:
    true, other = [], []
    for number in range(3):
        scene = evaluation_scene(1, number, 2, full=True)
        stranger = evaluation_scene(2, number, 2, full=True)
        true.append(score_belongings(looked_at(render_clip(scene, 5)), scene))
        hats = [member.look.hat for member in scene.members[::-1]]
        looks = [dataclasses.replace(m.look, hat=hat) for m, hat in zip(scene.members, hats, strict=True)]
        members = tuple(dataclasses.replace(m, look=k) for m, k in zip(scene.members, looks, strict=True))
        wrong = dataclasses.replace(scene, members=members, thing=stranger.thing, place=stranger.place)
        other.append(score_belongings(looked_at(render_clip(wrong, 5)), scene))
    assert min(min(found.hat, found.thing, found.background) for found in true) == 1
    assert np.mean([found.hat for found in other]) < 0.2
    assert np.mean([found.thing for found in other]) < 0.7
    assert np.mean([found.background for found in other]) < 0.7


def test_a_place_without_a_name_is_told_from_others_and_has_a_picture_and_a_word() -> None:
    true, other = [], []
    for number in range(4):
        scene, stranger = (elsewhere(evaluation_scene(seed, number, 2)) for seed in (1, 2))
        assert len(model_references(scene)) == 1 + 4  # its picture first
        prompt = write_prompt(scene, np.random.default_rng(number))
        assert ELSEWHERE not in prompt.text
        start, end = prompt.spans[0]
        assert prompt.text[start:end].split()[-1] in (*PLACES, "place")
        for found, shown in ((true, scene), (other, dataclasses.replace(scene, place=stranger.place))):
            rng = np.random.default_rng(number)
            found.append(score_background(looked_at(render_clip(shown, 5)), scene, rng))
    assert np.mean(true) == 1
    assert np.mean(other) < 0.6


def test_training_goes_to_places_without_a_name_where_a_picture_shows_them() -> None:
    shown = Structure(background=True, thing=False, groups=(2,))
    kinds = [training_scene(seed, shown).place.kind for seed in range(100)]
    assert 30 <= kinds.count(ELSEWHERE) <= 50
    unseen = Structure(background=False, thing=False, groups=(2,))
    assert not any(training_scene(seed, unseen).place.kind == ELSEWHERE for seed in range(100))


def test_who_is_where_follows_the_figures() -> None:
    scene = draw_scene(4, Structure(background=False, thing=False, groups=(2, 2)))
    owners = who_is_where(scene, 3)
    assert owners.shape == (3, 6, 8)
    for index, member in enumerate(scene.members):
        columns = np.unique(np.argwhere(owners[0] == index)[:, 1])
        assert all(abs(16 * column + 8 - member.motion.x) <= 16 for column in columns)
        assert (owners == index).sum(axis=(1, 2)).min() >= 4
    assert (owners[:, 0] == -1).all()
    scene = draw_scene(4, Structure(background=True, thing=True, groups=(2, 2)))
    owners = who_is_where(scene, 3)
    at = np.argwhere(owners[0] == 1).mean(axis=0) * 16 + 8
    assert abs(at[1] - scene.thing_at[0]) <= 12
    assert 64 <= at[0] <= 96
    assert set(np.unique(owners)) == {-1, 1, 2, 3}


def test_objects_stand_beside_people() -> None:
    reached = 0
    for seed in range(30):
        scene = draw_scene(seed, Structure(background=False, thing=True, groups=(2,) * (1 + seed % 3)))
        x = scene.thing_at[0]
        reached += x < 64
        assert min(abs(x - member.motion.x) for member in scene.members) >= 10
        assert -3 <= x <= WIDTH + 3
    assert 5 < reached < 25


def test_psnr_is_that_of_the_textbook() -> None:
    black = np.zeros((2, 4, 4, 3), np.uint8)
    assert psnr(black, black) == float("inf")
    assert psnr(black + 255, black) == pytest.approx(0)
    assert psnr(black + 51, black) == pytest.approx(10 * np.log10(25))


def _with_rotated_garments(scene: WorldScene) -> WorldScene:
    garments = [member.look.garment for member in scene.members]
    members = tuple(
        dataclasses.replace(member, look=dataclasses.replace(member.look, garment=garment))
        for member, garment in zip(scene.members, garments[1:] + garments[:1], strict=True)
    )
    return dataclasses.replace(scene, members=members)


def test_the_measurement_passes_true_clips_and_fails_swapped_and_empty_ones() -> None:
    true, swapped, empty = [], [], []
    for number in range(3):
        scene = evaluation_scene(1, number, 2)
        assert scene.seed >= TRAINING_SEEDS
        clip = render_clip(scene, 5)
        true.append(score_clip(clip, scene))
        swapped.append(score_clip(render_clip(_with_rotated_garments(scene), 5), scene))
        empty.append(score_clip(np.full_like(clip, 128), scene))
    assert np.mean([score.binding for score in true]) > 0.95
    assert np.mean([score.face for score in true]) > 0.95
    assert np.mean([score.binding for score in swapped]) < 0.05
    assert np.mean([score.face for score in swapped]) > 0.95
    assert np.mean([score.binding for score in empty]) < 0.7
    assert np.mean([score.face for score in empty]) < 0.5


def test_figures_that_come_out_twice_are_surplus() -> None:
    scenes = [evaluation_scene(1, number, 2) for number in range(6)]
    clips = [render_clip(scene, 5) for scene in scenes]
    alone = [score_clip(clip, scene) for clip, scene in zip(clips, scenes, strict=True)]
    twice = [score_clip(np.concatenate([clip, clip], axis=2), scene) for clip, scene in zip(clips, scenes, strict=True)]
    assert np.mean([score.surplus for score in alone]) < 0.1
    assert np.mean([score.surplus for score in twice]) > 0.9
    assert np.mean([score.binding for score in twice]) > 0.95  # which is why they are counted
    assert pairs_of_shoes(np.full((96, 128, 3), 128, np.uint8)) == 0


def test_a_camera_stays_on_the_stage_and_keeps_its_shape() -> None:
    rng = np.random.default_rng(0)
    kinds = set[str]()
    for _ in range(40):
        camera = draw_camera(rng)
        kinds.add(camera.kind)
        for seconds in (0.0, 1.0, 2.5):
            x0, y0, x1, y1 = camera.window(seconds, 128, 96)
            assert (x1 - x0) / (y1 - y0) == pytest.approx(128 / 96)
            assert min(x0, y0) >= 0
            assert x1 <= 128 + 1e-9
            assert y1 <= 96 + 1e-9
    assert kinds == {"still", "pan", "zoom"}
    pan = Camera(kind="pan", phase=0.0)
    assert pan.window(0, 128, 96)[0] != pan.window(1, 128, 96)[0]


def test_owners_follow_the_camera() -> None:
    scene = draw_scene(4, Structure(background=False, thing=False, groups=(2, 2)))
    near = dataclasses.replace(scene, camera=Camera(kind="zoom", phase=np.pi / 2))
    far = dataclasses.replace(scene, camera=Camera(kind="still", phase=0.0))
    assert (who_is_where(near, 1) >= 0).sum() >= (who_is_where(far, 1) >= 0).sum()


def test_whoever_turns_looks_aside_and_back() -> None:
    scene = draw_scene(2, Structure(background=False, thing=False, groups=(2,)))
    turning = dataclasses.replace(scene.members[0].motion, kind="turn", phase=0.0)
    members = (dataclasses.replace(scene.members[0], motion=turning),)
    clip = render_clip(dataclasses.replace(scene, members=members, camera=Camera(kind="still", phase=0.0)), 31)
    # Half a period of 2.5 s is 15 frames: everything is as it was, and in between it was not.
    assert np.array_equal(clip[0], clip[15])
    assert not np.array_equal(clip[0], clip[7])
    assert not np.array_equal(clip[7], clip[22])


def test_some_people_stand_so_close_that_they_hide_each_other() -> None:
    scenes = [draw_scene(seed, Structure(background=False, thing=False, groups=(2, 2))) for seed in range(60)]
    gaps = [abs(scene.members[0].motion.x - scene.members[1].motion.x) for scene in scenes]
    assert 0.1 < np.mean([gap < 29 for gap in gaps]) < 0.5
    assert min(gaps) >= 22
