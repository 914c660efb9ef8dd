"""`bench network` at tiny size: what it measures is what it says it measures."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportPrivateUsage=false

from __future__ import annotations

import json

import psutil
import pytest
import torch

from engine.bench import network
from engine.bench.network import NetworkSize, measure_network, report
from engine.bench.published_form import BiasedCrossAttnProcessor, MaskedSelfAttnProcessor
from engine.cli.commands import bench
from engine.cli.parser import parse
from engine.model.attention import RelationalSelfAttnProcessor
from tests.patience import wait_until
from tests.unit.tiny_network import CONFIG

SIZE = NetworkSize(config={**CONFIG, "num_layers": 5}, grid=(2, 3, 4), words=12, casts=((), (2, 1)))


def test_figures_are_those_of_all_casts() -> None:
    said: list[str] = []
    plain, cast = measure_network(repeats=2, layers=2, size=SIZE, state=said.append)
    assert (plain.references, plain.tokens, cast.references, cast.tokens) == (0, 24, 3, 60)
    for row in (plain, cast):
        assert (row.layers, row.layers_timed, row.repeats) == (5, 2, 2)
        assert min(row.ours_s, row.dense_s, row.wan_same_tokens_s) > 0
        assert row.peak_bytes > 10 * 2**20
    assert any("3 references, 2 of 5 blocks: round 2 of 2" in line for line in said)


def test_more_layers_than_there_are_is_all_of_them() -> None:
    assert {row.layers_timed for row in measure_network(repeats=1, layers=30, size=SIZE)} == {5}


@pytest.mark.parametrize("wrong", [{"layers": 0}, {"repeats": 0}])
def test_nothing_cannot_be_timed(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        measure_network(size=SIZE, **wrong)


def test_the_three_networks_share_their_weights_in_the_dtypes_of_loading() -> None:
    ours, dense, wan = network._models(SIZE)
    name = "blocks.4.attn1.to_q.weight"
    weight = ours.get_parameter(name)
    assert weight.dtype == torch.bfloat16
    assert weight.data_ptr() == dense.get_parameter(name).data_ptr() == wan.get_parameter(name).data_ptr()
    assert ours.condition_embedder.time_proj.weight.dtype == torch.float32
    assert ours.blocks[0].scale_shift_table.dtype == wan.blocks[0].scale_shift_table.dtype == torch.float32
    assert isinstance(ours.blocks[4].attn1.processor, RelationalSelfAttnProcessor)
    assert isinstance(dense.blocks[4].attn1.processor, MaskedSelfAttnProcessor)
    assert isinstance(dense.blocks[4].attn2.processor, BiasedCrossAttnProcessor)


def test_all_three_forms_run_the_same_tokens_and_ours_agrees_with_the_published_form() -> None:
    forms = network._forms(network._models(SIZE), (2, 1), SIZE)
    with torch.no_grad():
        samples = {name: form.run().sample.float() for name, form in forms.items()}  # type: ignore[attr-defined]
    assert samples["ours"].shape == samples["dense"].shape == (1, 4, 2, 6, 8)
    assert samples["wan"].shape == (1, 4, 5, 6, 8)
    assert ((samples["ours"] - samples["dense"]).norm() / samples["dense"].norm()).item() < 0.02


class Clock:
    """A clock that goes on only where work is done, whatever else the machine does."""

    now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s


class SlowBlock(torch.nn.Module):
    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        self.clock.now_s += 0.02
        return states


class SlowNetwork(torch.nn.Module):
    """0.05 s around five blocks of 0.02 s."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.blocks = torch.nn.ModuleList(SlowBlock(clock) for _ in range(5))

    def forward(self) -> None:
        self.clock.now_s += 0.05
        for block in self.blocks:
            block(torch.zeros(1))


@pytest.mark.parametrize("layers", [2, 5])
def test_seconds_of_some_blocks_are_scaled_to_all(layers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(network, "time", clock)
    model = SlowNetwork(clock)
    assert network._pass_seconds(network._Form(model, model), layers, 5) == pytest.approx(0.15)
    assert len(model.blocks) == 5


def test_peak_memory_sees_what_is_taken_and_given_back_in_between() -> None:
    before = psutil.Process().memory_info().rss
    with network._PeakMemory() as memory:
        taken = torch.ones(16 * 2**20)
        wait_until(lambda: memory.peak_bytes >= before + 48 * 2**20, "what was taken")
        del taken


def test_the_command_ends_in_one_json_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(network, "NetworkSize", lambda: SIZE)
    assert bench.run(parse(["bench", "network", "--repeats", "1", "--layers", "3"])) == 0
    output = capsys.readouterr()
    document = json.loads(output.out.splitlines()[-1])
    assert [row["references"] for row in document["network"]] == [0, 3]
    assert {"tokens", "ours_s", "dense_s", "wan_same_tokens_s", "peak_bytes"} <= set(document["network"][0])
    assert document["network"][0]["layers_timed"] == 3
    assert "5 blocks, of which 3 were timed" in output.out
    assert "round 1 of 1" in output.err


def test_by_default_it_is_the_published_network() -> None:
    args = parse(["bench", "network"])
    assert (args.repeats, args.layers) == (5, 2)
    size = NetworkSize()
    assert (size.grid, size.words, size.config) == ((3, 30, 26), 512, {})
    assert [sum(cast) for cast in size.casts] == [0, 4, 8]
    assert sorted(size.casts[-1]) == [2, 3, 3]


def test_the_table_has_a_line_for_every_cast() -> None:
    figures = measure_network(repeats=1, layers=1, size=SIZE)
    lines = report(figures).splitlines()
    assert len(lines) == 2 + len(figures) + 1
    assert json.loads(lines[-1])["network"][1]["tokens"] == 60
