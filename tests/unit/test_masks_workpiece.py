"""Gestures become masks: the built-in cutter, edges at full size, brush, holes, feather, earlier masks."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from engine.masks import refine
from engine.masks.cutter import BoolArray, Guess, Prompts, SoftArray
from engine.masks.gestures import Box, Click, Gesture, Gestures, Stroke
from engine.masks.grabcut import GrabCut
from engine.masks.refine import Edges, feathered, fill_holes, paint
from engine.masks.workpiece import VIEW_PX, Workpiece, reduced
from engine.pictures import MaskArray, RgbArray

GREEN, RED, BLUE = (20, 160, 40), (200, 30, 30), (30, 40, 200)


def drawn(width: int, height: int, *things: tuple[tuple[int, int, int, int], tuple[int, int, int]]) -> RgbArray:
    """Green, with rectangles (x0, y0, x1, y1) in colours."""
    rgb = np.empty((height, width, 3), dtype=np.uint8)
    rgb[:] = GREEN
    for (x0, y0, x1, y1), colour in things:
        rgb[y0:y1, x0:x1] = colour
    return rgb


def area(width: int, height: int, *boxes: tuple[int, int, int, int]) -> BoolArray:
    mask = np.zeros((height, width), dtype=np.bool_)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def on_table(rgb: RgbArray, earlier: MaskArray | None = None) -> Workpiece:
    piece = Workpiece("a" * 64, rgb, rgb.shape[1], rgb.shape[0], GrabCut())
    piece.prepare()
    piece.begin_from("", earlier)
    return piece


def cut(piece: Workpiece, *steps: Gesture, fill: bool = False) -> BoolArray:
    return piece.view_mask("", Gestures(steps=steps, fill_holes=fill))


def off_by_more_than(pixels: int, mask: BoolArray, wanted: BoolArray) -> bool:
    """Whether any pixel differs that is further than `pixels` from the wanted edge."""
    kernel = np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)
    surely = cv2.erode(wanted.astype(np.uint8), kernel, borderValue=1) > 0
    perhaps = cv2.dilate(wanted.astype(np.uint8), kernel) > 0
    return bool((surely & ~mask).any() or (mask & ~perhaps).any())


SCENES = {
    "small": (300, 200, (90, 60, 180, 130)),
    "1.5 megapixels": (1500, 1000, (333, 201, 977, 888)),
    "three to one": (1800, 600, (700, 100, 1201, 433)),
    "at the edge": (800, 1200, (300, 400, 800, 1200)),
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("by", ["click", "box"])
def test_a_red_rectangle_on_green_is_cut_to_the_pixel(scene: str, by: str) -> None:
    width, height, (x0, y0, x1, y1) = SCENES[scene]
    piece = on_table(drawn(width, height, ((x0, y0, x1, y1), RED)))
    step = Click(x0 + 9, y0 + 9, True) if by == "click" else Box(x0 - 20, y0 - 25, x1 + 15, y1 + 10)
    assert not off_by_more_than(1, cut(piece, step), area(width, height, (x0, y0, x1, y1)))


def test_clicks_add_and_leave_out() -> None:
    left, right, ground = (100, 100, 300, 300), (500, 200, 700, 350), area(800, 450)
    piece = on_table(drawn(800, 450, (left, RED), (right, BLUE)))
    one = Click(200, 200, True)
    assert not off_by_more_than(1, cut(piece, one), area(800, 450, left))
    two = Click(600, 300, True)
    assert not off_by_more_than(1, cut(piece, one, two), area(800, 450, left, right))
    without = Click(150, 250, False)
    assert not off_by_more_than(1, cut(piece, one, two, without), area(800, 450, right))
    assert np.array_equal(cut(piece, without), ground)
    assert np.array_equal(cut(piece, one), cut(on_table(piece.view), one))  # undone is as if never done


def test_boxes_add_up_and_clicks_go_to_the_last() -> None:
    left, right = (100, 100, 300, 300), (500, 200, 700, 350)
    piece = on_table(drawn(800, 450, (left, RED), (right, RED)))
    both = (Box(80, 80, 330, 320), Box(480, 180, 720, 370))
    assert not off_by_more_than(1, cut(piece, *both), area(800, 450, left, right))
    assert not off_by_more_than(1, cut(piece, *both, Click(600, 300, False)), area(800, 450, left))


def test_the_brush_mends_and_later_clicks_leave_its_work_alone() -> None:
    thing, other = (100, 100, 300, 300), (500, 100, 700, 300)
    piece = on_table(drawn(800, 450, (thing, RED), (other, BLUE)))
    click, added = Click(200, 200, True), Stroke(((350.0, 400.0), (450.0, 400.0)), 20, True)
    erased = Stroke(((200.0, 120.0),), 15, False)
    mask = cut(piece, click, added, erased)
    assert mask[400, 350:450].all()
    assert mask[385:415, 400].all()
    assert not mask[375, 400]
    assert not mask[120, 190:210].any()
    later = cut(piece, click, added, erased, Click(600, 200, True))
    assert not off_by_more_than(1, later & area(800, 450, (480, 0, 800, 450)), area(800, 450, other))
    assert np.array_equal(later[:, :480], mask[:, :480])


def test_holes_are_filled_but_for_those_that_are_meant() -> None:
    mask = area(200, 100, (20, 10, 180, 90))
    mask[30:40, 40:60] = False
    mask[50:60, 100:120] = False
    mask[60:70, 140:150] = False
    mask[40:60, 0:30] = False  # open to the outside: no hole
    filled = fill_holes(mask, (), 1.0)
    assert filled[35, 50] and filled[55, 110] and filled[65, 145]  # noqa: PT018
    assert np.array_equal(filled[:, :30], mask[:, :30])
    kept = fill_holes(mask, (Click(220, 110, False), Stroke(((300.0, 130.0),), 4, False)), 0.5)
    assert not kept[55, 110]
    assert not kept[65, 145]
    assert kept[35, 50]


def test_a_feather_goes_inwards_only() -> None:
    mask = area(200, 100, (50, 20, 150, 100))
    soft = feathered(mask, 10)
    assert np.array_equal(soft > 0, mask)
    assert np.all(np.diff(soft[60, 50:62].astype(int)) >= 0)
    assert soft[60, 50] < 20
    assert soft[60, 62] == 255
    assert soft[99, 100] == 255  # the picture's edge is no edge of the thing
    assert np.array_equal(feathered(mask, 0), mask * np.uint8(255))
    assert feathered(np.ones((9, 9), np.bool_), 5).min() == 255


def test_strokes_are_as_wide_as_they_say_at_every_size() -> None:
    stroke = Stroke(((100.0, 100.0), (300.0, 100.0)), 25, True)
    for scale in (1.0, 0.5, 0.25):
        mask = paint(np.zeros((round(200 * scale), round(400 * scale)), np.bool_), stroke, scale)
        rows = np.flatnonzero(mask[:, round(200 * scale)])
        assert abs(rows[0] / scale - 75) <= 1.5 / scale
        assert abs((rows[-1] + 1) / scale - 125) <= 1.5 / scale
        columns = np.flatnonzero(mask[round(100 * scale)])
        assert abs(columns[0] / scale - 75) <= 2 / scale


def test_an_earlier_mask_is_where_one_goes_on_from() -> None:
    left, right = (100, 100, 300, 300), (500, 200, 700, 350)
    rgb = drawn(800, 450, (left, RED), (right, BLUE))
    earlier = area(800, 450, left)
    earlier[150:160, 150:160] = False  # mended by hand
    piece = on_table(rgb, earlier * np.uint8(255))
    assert np.array_equal(cut(piece), earlier)
    added = cut(piece, Click(600, 300, True))
    assert np.array_equal(added[:, :450], earlier[:, :450])
    assert not off_by_more_than(1, added[:, 450:], area(800, 450, right)[:, 450:])
    full = piece.full_mask("", Gestures(steps=(Click(600, 300, True),)), rgb, earlier * np.uint8(255))
    assert np.array_equal(full > 0, added)


def test_a_picture_of_24_megapixels_is_cut_at_its_own_size() -> None:
    width, height, thing = 6000, 4000, (1501, 1003, 4002, 3007)
    rgb = drawn(width, height, (thing, RED))
    piece = on_table(rgb)
    assert max(piece.view.shape) == VIEW_PX
    gestures = Gestures(steps=(Click(2000, 2000, True), Stroke(((4500.0, 3500.0),), 100, True)), feather=2)
    view = piece.view_mask("", gestures)
    assert view.shape == piece.view.shape[:2]
    full = piece.full_mask("", gestures, rgb, None)
    assert full.shape == (height, width)
    dab = (np.hypot(*(np.mgrid[0:4000, 0:6000] + 0.5 - np.array((3500, 4500))[:, None, None])) < 100) * np.uint8(1)
    assert not off_by_more_than(2, full > 0, area(width, height, thing) | (dab > 0))
    assert full[2000, 1506] < 255 == full[2000, 1520]


def test_small_and_thin_pictures_work() -> None:
    for width, height in ((1, 1), (3, 500), (16, 16), (2, 2)):
        piece = on_table(drawn(width, height, ((0, 0, max(width // 2, 1), height), RED)))
        mask = cut(piece, Click(0, 0, True), Box(0, 0, width, height), Stroke(((0.5, 0.5),), 1, False))
        assert mask.shape == (height, width)


def test_steps_are_not_worked_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    piece = on_table(drawn(300, 200, ((90, 60, 180, 130), RED)))
    steps = (Click(100, 80, True), Click(20, 20, False), Click(150, 100, True))
    masks = [cut(piece, *steps[:count]) for count in range(4)]

    def never(*_: object) -> Guess:
        raise AssertionError("worked out again")

    monkeypatch.setattr(GrabCut, "mask", never)
    assert all(np.array_equal(cut(piece, *steps[:count]), masks[count]) for count in (2, 0, 3, 1))


def test_an_even_picture_and_a_full_box_are_no_fault() -> None:
    piece = on_table(drawn(300, 200))
    assert cut(piece, Click(100, 100, True)).all()
    assert cut(piece, Box(0, 0, 300, 200)).shape == (200, 300)


def test_edges_follow_the_picture_not_the_rough_mask() -> None:
    rgb = drawn(1000, 600, ((203, 107, 711, 499), RED))
    rough = cv2.resize(
        area(1000, 600, (203, 107, 711, 499)).astype(np.float32), (125, 75), interpolation=cv2.INTER_AREA
    )
    rough = (rough > 0.9).astype(np.float32)  # a little too small all around
    assert not off_by_more_than(2, Edges(rgb, rough.shape).enlarge(rough), area(1000, 600, (203, 107, 711, 499)))


def guided(soft: SoftArray, rgb: RgbArray) -> tuple[BoolArray, BoolArray]:
    """The mask by the guided filter's formula, the whole picture at once, in float64; and where it is a near thing."""
    height, width = rgb.shape[:2]
    small = cv2.resize(rgb, soft.shape[::-1], interpolation=cv2.INTER_AREA) / 255
    rough = soft.astype(np.float64)

    def mean(values: Any) -> Any:
        planes = values.reshape(*soft.shape, -1)
        means = [cv2.blur(planes[:, :, i], (7, 7), borderType=cv2.BORDER_REPLICATE) for i in range(planes.shape[2])]
        return np.stack(means, axis=2).reshape(values.shape)

    colour, kept = mean(small), mean(rough)
    spread = mean(small[..., None] * small[..., None, :]) - colour[..., None] * colour[..., None, :] + 4e-4 * np.eye(3)
    common = mean(small * rough[..., None]) - colour * kept[..., None]
    factors = np.linalg.solve(spread, common[..., None])[..., 0]
    terms = mean(np.concatenate([factors, (kept - (factors * colour).sum(axis=2))[..., None]], axis=2))
    large = cv2.resize(terms, (width, height), interpolation=cv2.INTER_LINEAR)
    value = (large[:, :, :3] * (rgb / 255)).sum(axis=2) + large[:, :, 3]
    square = np.ones((5, 5), np.uint8)
    near = cv2.dilate(soft, square) > cv2.erode(soft, square) + 0.25
    rows, columns = (
        ((np.arange(large) + 0.5) * size / large).astype(int)
        for large, size in zip((height, width), soft.shape, strict=True)
    )
    near = near[rows[:, None], columns]
    value = np.where(near, value, cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR))
    close = (np.abs(value - 0.5) < 1e-3).astype(np.uint8)
    return cv2.medianBlur((value > 0.5).astype(np.uint8), 3) > 0, cv2.dilate(close, square) > 0


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("size", [(1024, 683), (700, 700), (333, 901), (3000, 40)])
def test_edges_are_those_of_the_whole_formula(kind: str, size: tuple[int, int]) -> None:
    width, height = size
    noise = np.random.default_rng(3).integers(0, 60, (height, width, 3), dtype=np.uint8)
    rows, columns = np.mgrid[0:height, 0:width]
    away = np.hypot((rows - 0.45 * height) / height, (columns - 0.6 * width) / width)
    rgb = noise + np.where((away < 0.3)[..., None], (170, 60, 30), (20, 90, 160)).astype(np.uint8)
    rough = cv2.resize(1 / (1 + np.exp((away - 0.31) * 80)), reduced(rgb, 256).shape[1::-1]).astype(np.float32)
    soft = rough if kind == "soft" else (rough > 0.5).astype(np.float32)
    wanted, close = guided(soft, rgb)
    mask = Edges(rgb, soft.shape).enlarge(soft)
    assert not ((mask != wanted) & ~close).any()
    assert (mask != wanted).mean() < 1e-4
    assert (mask != (cv2.resize(soft, size) > 0.5)).any()  # the edge was moved


def test_a_click_does_not_look_at_the_picture_again(monkeypatch: pytest.MonkeyPatch) -> None:
    piece = on_table(drawn(900, 600, ((90, 60, 180, 130), RED), ((300, 200, 500, 400), BLUE)))
    wanted = cut(on_table(piece.view), Click(100, 80, True), Click(400, 300, True))

    def never(*_: object) -> None:
        raise AssertionError("looked at again")

    monkeypatch.setattr(refine, "_colours", never)
    with pytest.raises(AssertionError, match="looked at again"):
        on_table(piece.view)
    one = cut(piece, Click(100, 80, True))
    two = cut(piece, Click(100, 80, True), Click(400, 300, True))
    assert not np.array_equal(one, two)
    assert np.array_equal(two, wanted)


def test_a_rough_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(75, 126\), not \(75, 125\)"):
        Edges(drawn(1000, 600), (75, 125)).enlarge(np.zeros((75, 126), np.float32))


def test_the_cutter_repeats_itself() -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    cutter = GrabCut()
    prepared = cutter.prepare("a" * 64, reduced(rgb, 256), (120, 160))
    prompts = Prompts(clicks=(Click(40, 40, True),), box=Box(20, 20, 100, 100))
    assert np.array_equal(cutter.mask(prepared, prompts, None).soft, cutter.mask(prepared, prompts, None).soft)
