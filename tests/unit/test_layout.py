"""R2PE, CSAM and MCAM as plain numbers, checked against the paper's definitions by hand."""

from __future__ import annotations

import pytest
import torch

from engine.model.layout import SequenceLayout, binding_rows, pooling_cells, rotary_table

LAYOUT = SequenceLayout(frames=2, height=2, width=3, num_free=2, groups=(2, 1))


def first_positions(layout: SequenceLayout, *, relational: bool) -> list[list[int]]:
    """The position of the first token of every reference."""
    positions = layout.positions(relational=relational)
    return positions[layout.video_tokens :: layout.picture_tokens].tolist()


def test_a_subjects_pictures_share_a_frame_and_step_along_the_diagonal() -> None:
    assert first_positions(LAYOUT, relational=True) == [[2, 0, 0], [3, 0, 0], [4, 0, 0], [4, 2, 3], [5, 0, 0]]


def test_without_r2pe_every_picture_takes_a_frame_of_its_own() -> None:
    assert first_positions(LAYOUT, relational=False) == [[2 + n, 0, 0] for n in range(5)]


def test_video_tokens_stand_at_their_own_place() -> None:
    expected = [[t, y, x] for t in range(2) for y in range(2) for x in range(3)]
    assert LAYOUT.positions()[: LAYOUT.video_tokens].tolist() == expected


def test_attention_ranges_follow_the_cast() -> None:
    assert LAYOUT.attention_ranges() == (
        ((0, 12), (0, 42)),
        ((12, 18), (12, 18)),
        ((18, 24), (18, 24)),
        ((24, 36), (24, 36)),
        ((36, 42), (36, 42)),
    )
    assert LAYOUT.group_ranges() == ((24, 36), (36, 42))


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 0, "height": 1, "width": 1},
        {"frames": 1, "height": 1, "width": 0},
        {"frames": 1, "height": 1, "width": 1, "num_free": -1},
        {"frames": 1, "height": 1, "width": 1, "groups": (1, 0)},
    ],
)
def test_impossible_layouts_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        SequenceLayout(**wrong)  # pyright: ignore[reportArgumentType]


def mask(*words: int) -> torch.Tensor:
    row = torch.zeros(5, dtype=torch.bool)
    row[list(words)] = True
    return row


def test_a_free_picture_is_drawn_to_its_own_phrase_only() -> None:
    rows = binding_rows(torch.stack([mask(0), mask(1, 2)]), 2, ())
    assert rows.tolist() == [[1, 0, 0, 0, 0], [0, 1, 1, 0, 0]]


def test_one_subject_is_drawn_to_all_its_phrases_and_pushed_from_none() -> None:
    rows = binding_rows(torch.stack([mask(0), mask(3)]), 0, (2,))
    assert rows.tolist() == [[1, 0, 0, 1, 0]] * 2


def test_subjects_push_each_other_and_shared_words_cancel() -> None:
    rows = binding_rows(torch.stack([mask(4), mask(0, 1), mask(2), mask(0, 3)]), 1, (2, 1))
    assert rows.tolist() == [[0, 0, 0, 0, 1], [0, 1, 1, -1, 0], [0, 1, 1, -1, 0], [0, -1, -1, 1, 0]]


def test_three_subjects_push_by_half() -> None:
    rows = binding_rows(torch.stack([mask(0), mask(1), mask(2)]), 0, (1, 1, 1))
    assert rows.tolist() == [[1, -0.5, -0.5, 0, 0], [-0.5, 1, -0.5, 0, 0], [-0.5, -0.5, 1, 0, 0]]


def test_rows_of_a_batch_are_those_of_its_members() -> None:
    masks = torch.rand(3, 4, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    together = binding_rows(masks, 1, (2, 1))
    assert torch.equal(together, torch.stack([binding_rows(one, 1, (2, 1)) for one in masks]))


def test_published_cells_walk_with_the_padded_row_length() -> None:
    height, width, padded = 9, 10, 16
    expected = [(p // padded) // 8 * 2 + (p % padded) // 8 for p in range(height * width)]
    assert pooling_cells(height, width, "published").tolist() == expected


def test_corrected_cells_are_those_under_the_token() -> None:
    height, width = 9, 10
    expected = [(y // 8) * 2 + x // 8 for y in range(height) for x in range(width)]
    assert pooling_cells(height, width, "corrected").tolist() == expected


@pytest.mark.parametrize(("width", "same"), [(8, True), (16, True), (7, False), (9, False), (26, False), (52, False)])
def test_the_two_unpoolings_differ_only_in_widths_that_need_padding(width: int, same: bool) -> None:
    published, corrected = pooling_cells(30, width, "published"), pooling_cells(30, width, "corrected")
    assert torch.equal(published, corrected) is same


def test_rotary_table_has_the_published_split_and_angles() -> None:
    cos, sin = rotary_table(torch.tensor([[3, 5, 7]]), 128)
    assert cos.shape == sin.shape == (1, 1, 1, 128)
    for start, size, position in ((0, 44, 3), (44, 42, 5), (86, 42, 7)):
        for pair in (0, 1, size // 2 - 1):
            angle = torch.tensor(position * 10000.0 ** (-2 * pair / size), dtype=torch.float64)
            for twin in (0, 1):
                assert cos[0, 0, 0, start + 2 * pair + twin].item() == pytest.approx(angle.cos().item(), abs=1e-7)
                assert sin[0, 0, 0, start + 2 * pair + twin].item() == pytest.approx(angle.sin().item(), abs=1e-7)
