"""Weights in eight bits: near the exact network, as small as planned, and the last resort of a plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import MachineError
from engine.memory.eight_bit import EightBitLinear, read_eight_bit
from engine.memory.plan import Budget, Way, Work, all_plans, make_plan, smallest_budget
from engine.memory.profiles import in_words
from engine.memory.sizes import PUBLISHED, read_sizes
from engine.model.transformer import LumosXTransformer3DModel
from engine.pictures import PictureStore
from engine.runtime import Engine
from tests.unit.test_runtime import frames_of, render
from tests.unit.tiny_network import tiny_inputs, tiny_transformer
from tests.unit.tiny_pipeline import tiny_pipeline
from tests.unit.tiny_studio import tiny_request

GB = 10**9
FULL = Work(width=832, height=480, num_frames=81, references=8)


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return ((value.float() - expected.float()).norm() / expected.float().norm()).item()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("network")
    tiny_transformer().save_pretrained(place)
    return place


def test_the_network_is_near_the_exact_one(folder: Path) -> None:
    for inputs in (tiny_inputs(1, (2, 1)), tiny_inputs(0, ())):
        expected = inputs.run(tiny_transformer())
        assert 0 < relative_error(inputs.run(read_eight_bit(folder, torch.float32)), expected) < 0.02


def test_chunks_and_streaming_change_nothing_about_it(folder: Path) -> None:
    inputs = tiny_inputs(1, (2, 1))
    model = read_eight_bit(folder, torch.float32)
    expected = inputs.run(model)
    model.chunk_tokens = 16
    assert torch.equal(inputs.run(model), expected)
    model.enable_group_offload(onload_device=torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1)
    assert torch.equal(inputs.run(model), expected)


def test_only_the_matrices_of_blocks_are_rounded_and_the_rest_is_as_it_is_loaded(folder: Path) -> None:
    plain = LumosXTransformer3DModel.from_pretrained(folder, dtype=torch.bfloat16).state_dict()
    ours = read_eight_bit(folder, torch.bfloat16).state_dict()
    rounded = {name for name, value in ours.items() if value.dtype == torch.int8}
    assert len(rounded) == 2 * (4 + 4 + 2)
    assert all(name.startswith("blocks.") for name in rounded)
    for name in plain.keys() - rounded:
        assert ours[name].dtype == plain[name].dtype, name
        assert torch.equal(ours[name], plain[name]), name
    assert ours.keys() - plain.keys() == {name.replace(".weight", ".scale") for name in rounded}


def test_a_row_of_zeros_and_a_large_value_are_kept() -> None:
    layer = EightBitLinear(3, 2, bias=False)
    layer.take(torch.tensor([[0.0, 0.0, 0.0], [127e6, -1e6, 0.4e6]]))
    assert layer(torch.eye(3)).T.tolist() == [[0.0, 0.0, 0.0], [127e6, -1e6, 0.0]]


def test_files_without_a_parameter_are_refused(tmp_path: Path, folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(FileNotFoundError):
        read_eight_bit(tmp_path, torch.float32)
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    del tensors["blocks.1.ffn.net.2.weight"]
    save_file(tensors, tmp_path / file.name)
    with pytest.raises(ValueError, match=r"no blocks\.1\.ffn\.net\.2\.weight"):
        read_eight_bit(tmp_path, torch.float32)


@pytest.mark.parametrize(("dtype", "value_bytes"), [(torch.float32, 4), (torch.bfloat16, 2)])
def test_its_size_is_the_planned_one(tmp_path: Path, dtype: torch.dtype, value_bytes: int) -> None:
    tiny_pipeline().save_pretrained(tmp_path)
    sizes = read_sizes(tmp_path, value_bytes).in_eight_bits()
    model = read_eight_bit(tmp_path / "transformer", dtype)

    def taken(part: torch.nn.Module) -> int:
        return sum(value.nbytes for value in part.state_dict().values())

    assert sizes.network_bytes == taken(model)
    assert sizes.block_bytes == taken(model.blocks[0])


def test_it_is_the_last_resort_of_a_plan_and_makes_the_impossible_possible() -> None:
    plans = list(all_plans(PUBLISHED, FULL, card=False))
    nothing = Budget(ram_bytes=0)
    least = smallest_budget(plans, nothing)
    least_exact = smallest_budget([plan for plan in plans if not plan.way.eight_bit], nothing)
    assert least.ram_bytes < least_exact.ram_bytes - GB
    assert not make_plan(PUBLISHED, FULL, least_exact).way.eight_bit
    leanest = make_plan(PUBLISHED, FULL, least)
    assert leanest.way.eight_bit
    assert any("eight bits" in line for line in in_words(leanest))
    with pytest.raises(MachineError):
        make_plan(PUBLISHED, FULL, Budget(ram_bytes=least.ram_bytes - 1))


def test_a_whole_render_in_eight_bits_is_near_the_exact_one(
    tiny_model: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PictureStore(tmp_path / "pictures")
    request = tiny_request(store)
    render(request, store, tmp_path / "exact.mp4")
    engine = Engine()
    plan = engine._plan

    monkeypatch.setattr(engine, "_plan", lambda requests: replace(plan(requests), way=Way(eight_bit=True)))
    render(request, store, tmp_path / "lean.mp4", engine)
    exact, lean = (frames_of(tmp_path / f"{name}.mp4").astype(int) for name in ("exact", "lean"))
    assert 0 < np.abs(lean - exact).mean() < 3
