"""`bench gpu` at tiny size, on the processor: what it runs, counts and says. The card's own calls need a card."""

from __future__ import annotations

import json
from importlib import metadata

import pytest
import torch

from engine.bench import gpu
from engine.bench.gpu import FullSize, find_card, matrix_rate, measure_gpu, operations_of_pass, report
from engine.cli.main import main
from engine.errors import MachineError
from tests.unit.tiny_network import CHANNELS, CONFIG

SIZE = FullSize(
    network=CONFIG,
    vae={
        "base_dim": 4,
        "z_dim": CHANNELS,
        "dim_mult": [1, 1, 1, 1],
        "num_res_blocks": 1,
        "latents_mean": [0.0] * CHANNELS,
        "latents_std": [1.0] * CHANNELS,
    },
    width=64,
    height=32,
    frames=9,
    words=12,
    groups=(2, 1),
    matrix=64,
)
CPU = torch.device("cpu")


def test_a_run_has_all_figures() -> None:
    said: list[str] = []
    figures = measure_gpu(CPU, steps=2, size=SIZE, state=said.append)
    assert (figures.steps, figures.way["network"], figures.vram_limit_bytes) == (2, "resident", None)
    assert figures.planned_bytes is None
    assert min(figures.step_s, figures.decode_s, figures.peak_bytes, figures.matrix_operations_per_s) > 0
    assert figures.operations_per_step == 2 * operations_of_pass(SIZE)
    assert figures.floor_s == pytest.approx(figures.operations_per_step / figures.matrix_operations_per_s)
    assert any(line.startswith("step 2 of 2") for line in said)
    *text, last = report(figures).splitlines()
    document = json.loads(last)["gpu"]
    assert document["step_s"] == figures.step_s
    assert document["versions"]["torch"] == metadata.version("torch")
    assert "times the floor" in text[-1]


def test_the_operations_of_the_published_size_are_those_on_paper() -> None:
    """Projections and feed-forward of every token, words' keys and values, and attention along the segments."""
    dim, feed, words, layers = 1536, 8960, 512, 30
    frame, video, pictures = 1560, 21 * 1560, 8 * 1560
    tokens = video + pictures
    linear = 2 * tokens * (6 * dim * dim + 2 * dim * feed) + 2 * words * 2 * dim * dim
    segments = sum((size * frame) ** 2 for size in (3, 3, 2))
    attention = 4 * dim * (video * tokens + segments + tokens * words)
    paper = layers * (linear + attention)
    assert operations_of_pass(FullSize()) == pytest.approx(paper, rel=0.01)


def test_a_product_of_matrices_has_a_rate() -> None:
    assert matrix_rate(CPU, torch.float32, 32, repeats=2) > 1e6


def test_without_a_card_it_says_so_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(MachineError, match="no CUDA card"):
        find_card()
    assert main(["bench", "gpu", "--vram-limit", "6"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("There is no CUDA card")
    assert output.err.count("\n") == 1


def test_a_cap_that_is_too_small_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(gpu, "_steps", run_out)
    with pytest.raises(MachineError, match="cap is too small"):
        measure_gpu(CPU, vram_limit_bytes=2**30, size=SIZE)
