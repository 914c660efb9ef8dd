"""The bounds of the soak tests: what grows is found, what jumps once is not mistaken for it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.soak.figures import Sample, complaints, is_half, slope, summary

FLAT = Sample(memory_kb=200_000, open_files=20, threads=9, temporary=0, half=0, home_kb=800)


def test_a_level_process_with_noise_and_one_late_jump_passes() -> None:
    rng = random.Random(1)
    samples = [
        replace(FLAT, memory_kb=200_000 + rng.randrange(900) + (4000 if n > 150 else 0), open_files=20 + n % 3)
        for n in range(200)
    ]
    assert complaints(samples) == []


@pytest.mark.parametrize(("name", "step"), [("memory_kb", 120), ("open_files", 1), ("threads", 1), ("home_kb", 3)])
def test_what_grows_every_round_is_found(name: str, step: int) -> None:
    samples = [replace(FLAT, **{name: getattr(FLAT, name) + step * n}) for n in range(200)]
    assert any(name in text for text in complaints(samples))
    assert summary(samples)[f"{name}_per_round"] == step


def test_what_grows_every_tenth_round_is_found() -> None:
    assert "open_files" in complaints([replace(FLAT, open_files=20 + n // 10) for n in range(200)])[0]


@pytest.mark.parametrize("name", ["temporary", "half"])
def test_what_is_left_at_the_end_is_found(name: str) -> None:
    assert len(complaints([FLAT] * 9 + [replace(FLAT, **{name: 1})])) == 1
    assert complaints([replace(FLAT, **{name: 1}), FLAT, FLAT]) == []


def test_the_line_through_the_samples() -> None:
    assert slope([]) == slope([3]) == 0
    assert slope([0, 2, 4, 6, 8, 10]) == 2


def test_names_of_files_that_are_not_whole() -> None:
    assert [is_half(Path(name)) for name in (".x.part", "studio.12.part", ".lumosx-1-ab.mp4", "clip.mp4", ".keep")] == [
        True, True, True, False, False,
    ]  # fmt: skip
