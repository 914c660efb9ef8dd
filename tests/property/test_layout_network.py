"""Grouped attention with bias on reference rows is the dense form, for every cast and every shape."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bench.published_form import use_published_form
from engine.model.layout import Relations
from tests.unit.tiny_network import tiny_inputs, tiny_transformer

GROUPED, DENSE = tiny_transformer(num_layers=1), tiny_transformer(num_layers=1)
use_published_form(DENSE)

RELATIONS = st.builds(
    Relations,
    positions=st.booleans(),
    self_attention=st.booleans(),
    cross_attention=st.booleans(),
    strength=st.floats(0, 2, width=32),
    unpooling=st.sampled_from(["published", "corrected"]),
)


@settings(max_examples=40, deadline=None)
@given(
    num_free=st.integers(0, 3),
    groups=st.lists(st.integers(1, 4), max_size=3).map(tuple),
    frames=st.integers(1, 4),
    height=st.integers(1, 9),
    width=st.integers(1, 19),
    batch=st.integers(1, 2),
    relations=RELATIONS,
)
def test_two_routes_same_numbers(
    num_free: int,
    groups: tuple[int, ...],
    frames: int,
    height: int,
    width: int,
    batch: int,
    relations: Relations,
) -> None:
    inputs = tiny_inputs(num_free, groups, frames=frames, height=height, width=width, batch=batch)
    sample = inputs.run(GROUPED, relations)
    assert sample.shape == inputs.video.shape
    torch.testing.assert_close(sample, inputs.run(DENSE, relations), atol=2e-5, rtol=1e-5)
