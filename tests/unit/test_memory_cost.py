"""What a picture costs: more of everything, never less, and about what a measured run shows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.engines import engine_info
from engine.memory.cost import reference_cost
from engine.memory.plan import network_pass_bytes, tokens_of
from engine.memory.profiles import work_of
from engine.memory.sizes import PUBLISHED

SETTINGS = engine_info("lumosx").defaults


def test_no_picture_costs_nothing_but_the_next_one_does() -> None:
    cost = reference_cost(SETTINGS, 0, PUBLISHED)
    assert (cost.time, cost.memory_bytes) == (0.0, 0)
    first = reference_cost(SETTINGS, 1, PUBLISHED)
    assert cost.next_time == pytest.approx(first.time)
    assert cost.next_memory_bytes == first.memory_bytes


@given(count=st.integers(0, 40), frames=st.sampled_from([1, 5, 41, 81, 121]), width=st.sampled_from([256, 480, 832]))
def test_each_picture_costs_and_the_sum_is_that_of_the_parts(count: int, frames: int, width: int) -> None:
    settings = replace(SETTINGS, num_frames=frames, width=width)
    now, more = (reference_cost(settings, number, PUBLISHED) for number in (count, count + 1))
    assert more.time > now.time >= 0
    assert (1 + now.time) * (1 + now.next_time) == pytest.approx(1 + more.time)
    assert now.memory_bytes + now.next_memory_bytes == more.memory_bytes


def test_a_picture_is_as_many_tokens_as_a_frame_of_latents() -> None:
    bare, one = work_of(SETTINGS, 0), work_of(SETTINGS, 1)
    share = tokens_of(PUBLISHED, one) / tokens_of(PUBLISHED, bare) - 1
    cost = reference_cost(SETTINGS, 1, PUBLISHED)
    assert share < cost.time < (1 + share) ** 2 - 1  # between what is linear and what is square in the tokens
    grown = network_pass_bytes(PUBLISHED, one, 0) - network_pass_bytes(PUBLISHED, bare, 0)
    assert cost.memory_bytes == grown > 0


def test_the_built_in_model_has_sizes_of_its_own() -> None:
    cost = reference_cost(engine_info("nano").defaults, 2)
    assert cost.memory_bytes < reference_cost(SETTINGS, 2, PUBLISHED).memory_bytes
