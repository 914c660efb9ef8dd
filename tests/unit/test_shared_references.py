"""Several seeds of one scene in one pass: every clip is the one it would be alone, and references are computed once."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.model.layout import Relations, SequenceLayout
from engine.model.transformer import LumosXTransformer3DModel
from tests.unit.tiny_network import Inputs, tiny_inputs, tiny_transformer

SEEDS = 3
TOLERANCE = 2e-5


def shared_inputs(num_free: int = 1, groups: tuple[int, ...] = (2, 1)) -> Inputs:
    """Three videos, one text, one time, one set of references."""
    inputs = tiny_inputs(num_free, groups, batch=SEEDS)
    return inputs.changed(timestep=torch.tensor([500]), text=inputs.text[:1])


def row(inputs: Inputs, number: int) -> Inputs:
    return inputs.changed(video=inputs.video[number : number + 1])


@pytest.mark.parametrize(("num_free", "groups"), [(1, (2, 1)), (0, (1,)), (2, ()), (0, (3, 2))])
@pytest.mark.parametrize("chunk_tokens", [0, 50])
def test_each_seed_is_what_it_is_alone(num_free: int, groups: tuple[int, ...], chunk_tokens: int) -> None:
    model, inputs = tiny_transformer(), shared_inputs(num_free, groups)
    model.chunk_tokens = chunk_tokens
    together = inputs.run(model)
    for number in range(SEEDS):
        torch.testing.assert_close(
            together[number : number + 1], row(inputs, number).run(model), atol=TOLERANCE, rtol=1e-5
        )


@pytest.mark.parametrize(
    "relations",
    [Relations(positions=False), Relations(self_attention=False), Relations(cross_attention=False)],
)
def test_without_a_relation_it_is_still_so(relations: Relations) -> None:
    model, inputs = tiny_transformer(), shared_inputs()
    together = inputs.run(model, relations)
    for number in range(SEEDS):
        torch.testing.assert_close(
            together[number : number + 1], row(inputs, number).run(model, relations), atol=TOLERANCE, rtol=1e-5
        )


def operations(model: LumosXTransformer3DModel, inputs: Inputs) -> int:
    counter = FlopCounterMode(display=False)
    with counter:
        inputs.run(model)
    return int(counter.get_total_flops())


def test_references_are_computed_once() -> None:
    model, inputs = tiny_transformer(), shared_inputs()
    assert inputs.references is not None
    alone = operations(model, row(inputs, 0))
    # Handed over as a batch of references, each row's own, nothing can be shared.
    apart = operations(model, inputs.changed(references=inputs.references.expand(SEEDS, -1, -1, -1, -1)))
    assert apart > 0.99 * SEEDS * alone
    assert operations(model, inputs) < 0.75 * apart


def test_positions_and_sight_of_copies() -> None:
    one = SequenceLayout(frames=2, height=2, width=3, num_free=1, groups=(2,))
    two = dataclasses.replace(one, copies=2)
    tokens = one.copy_tokens
    positions = two.positions()
    assert len(positions) == two.num_tokens == one.num_tokens + tokens
    assert torch.equal(positions[:tokens], positions[tokens : 2 * tokens])
    assert torch.equal(positions[tokens:], one.positions())
    sight = torch.zeros(two.num_tokens, two.num_tokens, dtype=torch.bool)
    for (start, end), (first, last) in two.attention_ranges():
        assert not sight[start:end, first:last].any()
        sight[start:end, first:last] = True
    assert not sight[:tokens, tokens : 2 * tokens].any()  # no video sees another
    assert sight[:tokens, :tokens].all()
    assert sight[: 2 * tokens, 2 * tokens :].all()
    assert not sight[2 * tokens :, : 2 * tokens].any()
    with pytest.raises(ValueError, match="a layout needs"):
        dataclasses.replace(one, copies=0)
