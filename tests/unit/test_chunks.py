"""What every token has to itself may be computed chunk by chunk: the same clip, bit for bit."""

from __future__ import annotations

import pytest
import torch

from engine.model.attention import apply_rotary, by_tokens
from engine.model.layout import rotary_table
from tests.unit.tiny_network import tiny_inputs, tiny_transformer


@pytest.mark.parametrize("chunk_tokens", [5, 16, 83, 84])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_chunks_never_change_the_result(chunk_tokens: int, dtype: torch.dtype) -> None:
    model = tiny_transformer()
    if dtype == torch.bfloat16:
        model.patch_embedding.to(dtype)
        for block in model.blocks:
            for part in (block.attn1, block.attn2, block.ffn):
                part.to(dtype)
        model.condition_embedder.text_embedder.to(dtype)
    inputs = tiny_inputs()
    inputs = inputs.changed(
        video=inputs.video.to(dtype),
        text=inputs.text.to(dtype),
        references=None if inputs.references is None else inputs.references.to(dtype),
    )
    whole = inputs.run(model)
    model.chunk_tokens = chunk_tokens
    assert torch.equal(inputs.run(model), whole)


def test_training_is_never_chunked() -> None:
    sizes: list[int] = []

    def seen(states: torch.Tensor) -> torch.Tensor:
        sizes.append(states.shape[1])
        return states * 2

    states = torch.arange(14.0).reshape(1, 7, 2)
    assert torch.equal(by_tokens(seen, 3, states), states * 2)
    assert sizes == [7]
    with torch.no_grad():
        assert torch.equal(by_tokens(seen, 3, states), states * 2)
    assert sizes == [7, 2, 2, 3]


def test_rotation_in_chunks_follows_the_positions() -> None:
    positions = torch.stack([torch.arange(9), torch.arange(9) % 3, torch.arange(9) // 3], dim=1)
    table = rotary_table(positions, 24)
    states = torch.randn(2, 9, 2, 24)
    with torch.no_grad():
        assert torch.equal(apply_rotary(states, table, 4), apply_rotary(states, table))
