"""What holds for every memory plan, whatever the clip and the machine."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import MachineError
from engine.memory.plan import Budget, MemoryPlan, Way, Work, all_plans, leaner, make_plan, predict, smallest_budget
from engine.memory.sizes import PUBLISHED, ModelSizes

GB = 10**9
WORKS = st.builds(
    Work,
    width=st.integers(1, 128).map(lambda n: 16 * n),
    height=st.integers(1, 128).map(lambda n: 16 * n),
    num_frames=st.integers(0, 40).map(lambda n: 4 * n + 1),
    references=st.integers(0, 12),
    steps=st.integers(1, 60),
    passes=st.sampled_from([1, 2]),
    unrelated=st.sampled_from([0, 0.5, 1]),
    copies=st.integers(1, 4),
    kept_streams=st.integers(0, 6),
)
SIZES = st.sampled_from([PUBLISHED, dataclasses.replace(PUBLISHED, value_bytes=4, width=160, ffn_width=512)])
MEMORY = st.integers(0, 40 * GB)
BUDGETS = st.builds(Budget, ram_bytes=MEMORY, card_bytes=st.none() | MEMORY)


def planned(sizes: ModelSizes, work: Work, budget: Budget) -> MemoryPlan | None:
    try:
        return make_plan(sizes, work, budget)
    except MachineError:
        return None


@given(SIZES, WORKS, BUDGETS)
def test_no_stage_of_a_plan_exceeds_its_budget(sizes: ModelSizes, work: Work, budget: Budget) -> None:
    plan = planned(sizes, work, budget)
    if plan is not None:
        assert [peak.stage for peak in plan.peaks] == ["prompt", "references", "denoise", "decode"]
        assert all(peak.ram_bytes <= budget.ram_bytes for peak in plan.peaks)
        assert all(peak.card_bytes <= (budget.card_bytes or 0) for peak in plan.peaks)


@given(SIZES, WORKS, BUDGETS, MEMORY, MEMORY)
def test_more_memory_is_never_slower_and_never_refused(
    sizes: ModelSizes, work: Work, budget: Budget, ram: int, card: int
) -> None:
    more = Budget(
        ram_bytes=budget.ram_bytes + ram,
        card_bytes=None if budget.card_bytes is None else budget.card_bytes + card,
    )
    plan, richer = planned(sizes, work, budget), planned(sizes, work, more)
    if plan is not None:
        assert richer is not None
        assert richer.cost <= plan.cost


@given(SIZES, WORKS, BUDGETS)
def test_a_refusal_names_a_budget_that_works_and_nothing_less_does(
    sizes: ModelSizes, work: Work, budget: Budget
) -> None:
    if planned(sizes, work, budget) is not None:
        return
    plans = list(all_plans(sizes, work, card=budget.card_bytes is not None))
    least = smallest_budget(plans, budget)
    assert make_plan(sizes, work, least).fits(least)
    for part in ("ram_bytes", "card_bytes"):
        need, had = getattr(least, part), getattr(budget, part)
        if had is not None and need > had:
            assert planned(sizes, work, dataclasses.replace(least, **{part: need - 1})) is None


@given(WORKS, st.booleans(), st.sampled_from(["prompt", "references", "denoise", "decode"]))
def test_stepping_down_always_takes_less_and_comes_to_an_end(work: Work, card: bool, stage: str) -> None:
    def taken(way: Way) -> dict[str, int]:
        peaks = predict(PUBLISHED, work, way, card=card).peaks
        return {peak.stage: peak.card_bytes if card else peak.ram_bytes for peak in peaks}

    way, steps = Way(text_on_card=card), 0
    while (then := leaner(PUBLISHED, work, way, stage, card=card)) is not None:
        assert taken(then)[stage] < taken(way)[stage]
        assert all(taken(then)[each] <= taken(way)[each] for each in taken(way))
        way, steps = then, steps + 1
    assert steps < 72


@given(WORKS, st.booleans())
def test_a_larger_clip_never_takes_less(work: Work, card: bool) -> None:
    longer = dataclasses.replace(work, num_frames=work.num_frames + 4, references=work.references + 1)
    for plan, larger in zip(
        all_plans(PUBLISHED, work, card=card), all_plans(PUBLISHED, longer, card=card), strict=True
    ):
        assert plan.way == larger.way
        assert plan.ram_bytes <= larger.ram_bytes
        assert plan.card_bytes <= larger.card_bytes


@pytest.mark.parametrize("card", [None, 2 * GB])
def test_the_refusal_is_a_sentence_that_says_what_to_change(card: int | None) -> None:
    work = Work(width=832, height=480, num_frames=81, references=8)
    with pytest.raises(MachineError, match=r"needs at least .* free .*: close other programs, or choose fewer frames"):
        make_plan(PUBLISHED, work, Budget(ram_bytes=2 * GB, card_bytes=card))
