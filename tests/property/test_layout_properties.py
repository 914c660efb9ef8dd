"""What holds for every layout, whatever the cast."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bench.published_form import csam_mask
from engine.model.layout import SequenceLayout, binding_rows, pooling_cells

LAYOUTS = st.builds(
    SequenceLayout,
    frames=st.integers(1, 5),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    num_free=st.integers(0, 4),
    groups=st.lists(st.integers(1, 5), max_size=4).map(tuple),
)


@given(LAYOUTS)
def test_query_ranges_are_a_partition_of_the_sequence(layout: SequenceLayout) -> None:
    queries = [query for query, _ in layout.attention_ranges()]
    assert queries[0][0] == 0
    assert queries[-1][1] == layout.num_tokens
    assert all(end == start for (_, end), (start, _) in pairwise(queries))
    assert all(start < end for start, end in queries)
    assert layout.num_tokens == (layout.frames + layout.num_references) * layout.picture_tokens


@given(LAYOUTS)
def test_nothing_but_video_sees_video_and_seeing_is_mutual_among_references(layout: SequenceLayout) -> None:
    mask = csam_mask(layout)
    video = layout.video_tokens
    assert bool(mask[:video].all())
    assert not bool(mask[video:, :video].any())
    references = mask[video:, video:]
    assert torch.equal(references, references.T)
    assert bool(references.diagonal().all())
    sizes = [1] * layout.num_free + list(layout.groups)
    assert int(references.sum()) == sum((size * layout.picture_tokens) ** 2 for size in sizes)


@given(LAYOUTS, st.booleans())
def test_no_two_tokens_share_a_position(layout: SequenceLayout, relational: bool) -> None:
    positions = layout.positions(relational=relational)
    assert positions.shape == (layout.num_tokens, 3)
    assert positions.dtype == torch.int64
    assert len({tuple(position) for position in positions.tolist()}) == layout.num_tokens
    assert bool((positions >= 0).all())


@given(LAYOUTS)
def test_every_subject_takes_one_frame_behind_the_free_pictures(layout: SequenceLayout) -> None:
    times = layout.positions()[:, 0]
    for index, (start, end) in enumerate(layout.group_ranges()):
        assert set(times[start:end].tolist()) == {layout.frames + layout.num_free + index}


@given(LAYOUTS, st.integers(0, 2**31))
def test_pushes_and_pulls_of_subjects_balance(layout: SequenceLayout, seed: int) -> None:
    masks = torch.rand(layout.num_references, 6, generator=torch.Generator().manual_seed(seed)) < 0.4
    rows = binding_rows(masks, layout.num_free, layout.groups)
    assert rows.shape == masks.shape
    assert torch.equal(rows[: layout.num_free], masks[: layout.num_free].float())
    per_subject = [part[0] for part in rows[layout.num_free :].split(list(layout.groups))]
    if len(per_subject) > 1:
        assert torch.allclose(torch.stack(per_subject).sum(dim=0), torch.zeros(6), atol=1e-6)
    assert bool((rows.abs() <= 1 + 1e-6).all())


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(1, 40))
def test_cells_exist_and_unpoolings_agree_on_whole_widths(height: int, width: int) -> None:
    count = -(-height // 8) * -(-width // 8)
    published, corrected = pooling_cells(height, width, "published"), pooling_cells(height, width, "corrected")
    for cells in (published, corrected):
        assert cells.shape == (height * width,)
        assert int(cells.min()) == 0
        assert int(cells.max()) < count
    if width % 8 == 0:
        assert torch.equal(published, corrected)
