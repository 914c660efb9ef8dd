"""MCAM's bias against its formula, and the processors against plain arithmetic."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

from engine.model.attention import Binding, apply_rotary, mcam_bias
from engine.model.layout import SequenceLayout, Unpooling, pooling_cells, rotary_table

HEADS, HEAD_DIM, WORDS = 2, 6, 3


def formula(query: torch.Tensor, key: torch.Tensor, rows: torch.Tensor, layout: SequenceLayout) -> torch.Tensor:
    """`r · |mean of the cell's queries · k_l| / √head_dim · row[l]` of one picture: `[heads, tokens, words]`."""
    height, width = layout.height, layout.width
    padded = -(-width // 8) * 8
    cells: dict[tuple[int, int, int], torch.Tensor] = {}
    for head, y, x in product(range(HEADS), range(height), range(width)):
        cell = (head, y // 8, x // 8)
        # 64 always: places outside the picture count as zeros.
        cells[cell] = cells.get(cell, torch.zeros(HEAD_DIM)) + query[y * width + x, head] / 64
    bias = torch.empty(HEADS, height * width, WORDS)
    for head, token, word in product(range(HEADS), range(height * width), range(WORDS)):
        pooled = cells[head, token // padded // 8, token % padded // 8]
        score = torch.dot(pooled, key[word, head]).abs() / HEAD_DIM**0.5
        bias[head, token, word] = 0.5 * score * rows[word]
    return bias


@pytest.mark.parametrize(("height", "width"), [(3, 5), (9, 10), (8, 16)])
def test_bias_is_the_published_formula(height: int, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    layout = SequenceLayout(frames=1, height=height, width=width, num_free=1, groups=(2,))
    queries = torch.randn(2, 3, height * width, HEADS, HEAD_DIM, generator=generator)
    key = torch.randn(2, WORDS, HEADS, HEAD_DIM, generator=generator)
    rows = torch.randn(2, 3, WORDS, generator=generator)
    binding = Binding(rows, pooling_cells(height, width), 0.5)
    bias = mcam_bias(queries, key, binding, 0, layout)
    assert bias.shape == (2, 3, HEADS, height * width, WORDS)
    for sample, picture in product(range(2), range(3)):
        expected = formula(queries[sample, picture], key[sample], rows[sample, picture], layout)
        torch.testing.assert_close(bias[sample, picture], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("unpooling", ["published", "corrected"])
def test_a_chunk_of_references_takes_its_own_rows(unpooling: Unpooling) -> None:
    generator = torch.Generator().manual_seed(0)
    layout = SequenceLayout(frames=1, height=4, width=9, groups=(4,))
    queries = torch.randn(1, 4, 36, HEADS, HEAD_DIM, generator=generator)
    key = torch.randn(1, WORDS, HEADS, HEAD_DIM, generator=generator)
    binding = Binding(torch.randn(1, 4, WORDS, generator=generator), pooling_cells(4, 9, unpooling), 1.0)
    whole = mcam_bias(queries, key, binding, 0, layout)
    torch.testing.assert_close(mcam_bias(queries[:, 2:], key, binding, 2, layout), whole[:, 2:])


def test_bias_comes_in_the_dtype_of_the_queries() -> None:
    layout = SequenceLayout(frames=1, height=2, width=2, groups=(1,))
    binding = Binding(torch.ones(1, 1, WORDS), pooling_cells(2, 2), 0.5)
    queries = torch.randn(1, 1, 4, HEADS, HEAD_DIM, dtype=torch.bfloat16)
    key = torch.randn(1, WORDS, HEADS, HEAD_DIM, dtype=torch.bfloat16)
    assert mcam_bias(queries, key, binding, 0, layout).dtype == torch.bfloat16


def test_rotation_is_a_complex_product_and_keeps_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    positions = torch.randint(0, 50, (7, 3), generator=generator)
    states = torch.randn(2, 7, HEADS, 24, generator=generator)
    table = rotary_table(positions, 24)
    rotated = apply_rotary(states, table)
    expected = torch.view_as_complex(states.unflatten(-1, (-1, 2))) * torch.complex(
        table[0][..., 0::2].contiguous(), table[1][..., 0::2].contiguous()
    )
    torch.testing.assert_close(rotated, torch.view_as_real(expected).flatten(-2))
    torch.testing.assert_close(rotated.norm(dim=-1), states.norm(dim=-1))


@pytest.mark.parametrize("head_dim", [12, 16, 24, 128])
def test_tables_of_a_video_are_those_of_diffusers(head_dim: int) -> None:
    layout = SequenceLayout(frames=3, height=4, width=5)
    cos, sin = rotary_table(layout.positions(), head_dim)
    theirs = WanRotaryPosEmbed(head_dim, (1, 2, 2), 64)(torch.empty(1, 4, 3, 8, 10))
    torch.testing.assert_close(cos, theirs[0].float(), atol=1e-7, rtol=0)
    torch.testing.assert_close(sin, theirs[1].float(), atol=1e-7, rtol=0)
