"""What users of diffusers' Wan rely on goes on working with the relational network, each shown on a tiny real one."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false, reportPrivateImportUsage=false, reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import BitsAndBytesConfig, ContextParallelConfig, ParallelConfig, WanTransformer3DModel
from diffusers.hooks import FirstBlockCacheConfig, MagCacheConfig
from diffusers.models.attention_dispatch import attention_backend
from diffusers.quantizers.bitsandbytes import BnB8BitDiffusersQuantizer

from engine.errors import MachineError
from engine.model.transformer import LumosXTransformer3DModel
from tests.unit.tiny_network import CONFIG, Inputs, tiny_inputs, tiny_transformer
from tests.unit.tiny_pipeline import Call, tiny_pipeline

INPUTS = tiny_inputs(1, (2, 1))


def relative_error(value: torch.Tensor, expected: torch.Tensor) -> float:
    return ((value.float() - expected.float()).norm() / expected.float().norm()).item()


def inputs_in(dtype: torch.dtype) -> Inputs:
    assert INPUTS.references is not None
    return INPUTS.changed(
        video=INPUTS.video.to(dtype), text=INPUTS.text.to(dtype), references=INPUTS.references.to(dtype)
    )


def assert_same(value: torch.Tensor, expected: torch.Tensor) -> None:
    """The same weights: weights read in place from a file lie otherwise in memory, and sums may round differently."""
    torch.testing.assert_close(value, expected, atol=1e-5, rtol=1e-6)


# Offloading -----------------------------------------------------------------------------------------------------------


def test_model_offload_through_the_whole_pipeline() -> None:
    expected = Call().run(tiny_pipeline())[0]
    pipeline = tiny_pipeline()
    pipeline.enable_model_cpu_offload(device="cpu")
    assert np.array_equal(Call().run(pipeline)[0], expected)
    assert np.array_equal(Call().run(pipeline)[0], expected)


@pytest.mark.parametrize(
    "options", [{"offload_type": "block_level", "num_blocks_per_group": 1}, {"offload_type": "leaf_level"}]
)
@pytest.mark.parametrize("to_disk", [False, True])
def test_group_offload_is_bit_identical(tmp_path: Path, options: dict[str, Any], to_disk: bool) -> None:
    model = tiny_transformer()
    expected = INPUTS.run(model)
    if to_disk:
        options = {**options, "offload_to_disk_path": str(tmp_path)}
    model.enable_group_offload(onload_device=torch.device("cpu"), **options)
    for _ in range(2):
        if to_disk:
            assert_same(INPUTS.run(model), expected)
        else:
            assert torch.equal(INPUTS.run(model), expected)
    assert bool(list(tmp_path.glob("*.safetensors"))) is to_disk


def test_group_offload_of_the_pipeline() -> None:
    expected = Call().run(tiny_pipeline())[0]
    pipeline = tiny_pipeline()
    pipeline.enable_group_offload(onload_device=torch.device("cpu"), offload_type="leaf_level")
    assert np.array_equal(Call().run(pipeline)[0], expected)


# Smaller weights ------------------------------------------------------------------------------------------------------


def test_weights_stored_in_eight_bit_floats() -> None:
    model = tiny_transformer()
    expected = INPUTS.run(model)
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    stored = {name for name, parameter in model.named_parameters() if parameter.dtype == torch.float8_e4m3fn}
    assert "blocks.0.attn1.to_q.weight" in stored
    assert not any("norm" in name or "condition_embedder" in name or "proj_out" in name for name in stored)
    assert 0 < relative_error(INPUTS.run(model), expected) < 0.1


@pytest.fixture
def int8_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    # bitsandbytes computes on CPUs; only diffusers' check asks for a GPU.
    monkeypatch.setattr(BnB8BitDiffusersQuantizer, "validate_environment", lambda *_args, **_kwargs: None)


def load_int8(folder: Path) -> LumosXTransformer3DModel:
    return LumosXTransformer3DModel.from_pretrained(
        folder,
        quantization_config=BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["condition_embedder"]),
        device_map="cpu",
        dtype=torch.float32,
    ).eval()


@pytest.mark.usefixtures("int8_on_cpu")
def test_weights_in_eight_bit_integers(tmp_path: Path) -> None:
    model = tiny_transformer(attention_head_dim=32, ffn_dim=128)
    expected = INPUTS.run(model)
    model.save_pretrained(tmp_path)
    quantised = load_int8(tmp_path)
    integers = {name for name, parameter in quantised.named_parameters() if parameter.dtype == torch.int8}
    assert len(integers) == 2 * (4 + 4 + 2)
    assert 0 < relative_error(INPUTS.run(quantised), expected) < 0.04


@pytest.mark.usefixtures("int8_on_cpu")
def test_eight_bit_integers_are_saved_loaded_and_streamed(tmp_path: Path) -> None:
    tiny_transformer(attention_head_dim=32, ffn_dim=128).save_pretrained(tmp_path / "whole")
    quantised = load_int8(tmp_path / "whole")
    expected = INPUTS.run(quantised)
    quantised.save_pretrained(tmp_path / "int8")
    loaded = LumosXTransformer3DModel.from_pretrained(tmp_path / "int8", device_map="cpu", dtype=torch.float32).eval()
    torch.testing.assert_close(INPUTS.run(loaded), expected)
    loaded.enable_group_offload(onload_device=torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1)
    torch.testing.assert_close(INPUTS.run(loaded), expected)


# Attention backends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["native", "_native_math"])
def test_attention_backends_agree(backend: str) -> None:
    model = tiny_transformer()
    expected = INPUTS.run(model)
    model.set_attention_backend(backend)
    try:
        torch.testing.assert_close(INPUTS.run(model), expected, atol=2e-5, rtol=1e-5)
    finally:
        model.reset_attention_backend()


def use_model_backend(model: LumosXTransformer3DModel, run: Callable[[], torch.Tensor]) -> torch.Tensor:
    model.set_attention_backend("_native_flash")
    try:
        return run()
    finally:
        model.reset_attention_backend()


def use_process_backend(_model: LumosXTransformer3DModel, run: Callable[[], torch.Tensor]) -> torch.Tensor:
    with attention_backend("_native_flash"):
        return run()


@pytest.mark.parametrize("use", [use_model_backend, use_process_backend])
def test_a_backend_that_takes_no_mask_serves(
    use: Callable[[LumosXTransformer3DModel, Callable[[], torch.Tensor]], torch.Tensor],
) -> None:
    model, inputs = tiny_transformer().to(torch.bfloat16), inputs_in(torch.bfloat16)
    expected = inputs.run(model)
    sample = use(model, lambda: inputs.run(model))
    assert relative_error(sample, expected) < 0.01


# Step caches ----------------------------------------------------------------------------------------------------------


def block_calls(model: LumosXTransformer3DModel) -> list[int]:
    """Grows by one for every computation of the last block's feed-forward."""
    calls: list[int] = []
    model.blocks[-1].ffn.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.fixture
def cached_run() -> Callable[[Any], tuple[np.ndarray, int]]:
    def run(config: Any) -> tuple[np.ndarray, int]:
        pipeline = tiny_pipeline()
        calls = block_calls(pipeline.transformer)
        if config is not None:
            pipeline.transformer.enable_cache(config)
        return Call().run(pipeline)[0], len(calls)

    return run


def test_first_block_cache(cached_run: Callable[[Any], tuple[np.ndarray, int]]) -> None:
    clip, calls = cached_run(None)
    careful, careful_calls = cached_run(FirstBlockCacheConfig(threshold=0.0))
    eager, eager_calls = cached_run(FirstBlockCacheConfig(threshold=1e9))
    assert np.array_equal(careful, clip)
    assert careful_calls == calls
    # Both passes of guidance keep a memory of their own and compute their first step.
    assert eager_calls == 2
    assert not np.array_equal(eager, clip)


def test_mag_cache(cached_run: Callable[[Any], tuple[np.ndarray, int]], capsys: pytest.CaptureFixture[str]) -> None:
    clip, calls = cached_run(None)
    measured, measured_calls = cached_run(MagCacheConfig(calibrate=True, num_inference_steps=3))
    assert np.array_equal(measured, clip)
    assert measured_calls == calls
    ratios = [float(value) for value in capsys.readouterr().out.split("[", 2)[2].split("]")[0].split(",")]
    assert len(ratios) == 3
    careful, _ = cached_run(MagCacheConfig(mag_ratios=ratios, num_inference_steps=3, threshold=0.0))
    assert np.array_equal(careful, clip)
    _, eager_calls = cached_run(
        MagCacheConfig(mag_ratios=ratios, num_inference_steps=3, threshold=1e9, retention_ratio=0.34)
    )
    assert eager_calls == 2


def test_a_cache_can_be_taken_off_again() -> None:
    model = tiny_transformer()
    expected = INPUTS.run(model)
    model.enable_cache(FirstBlockCacheConfig(threshold=1e9))
    with model.cache_context("cond"):
        INPUTS.run(model)
        skipped = INPUTS.changed(timestep=torch.tensor([3])).run(model)
    model.disable_cache()
    again = INPUTS.changed(timestep=torch.tensor([3])).run(model)
    assert torch.equal(INPUTS.run(model), expected)
    assert not torch.equal(skipped, again)


# Speed ----------------------------------------------------------------------------------------------------------------


def test_fused_projections_are_equal() -> None:
    model = tiny_transformer()
    expected = INPUTS.run(model)
    model.fuse_qkv_projections()
    assert model.blocks[0].attn1.fused_projections
    torch.testing.assert_close(INPUTS.run(model), expected, atol=1e-5, rtol=1e-5)
    model.unfuse_qkv_projections()
    assert torch.equal(INPUTS.run(model), expected)


def test_repeated_blocks_are_captured_in_one_graph() -> None:
    model = tiny_transformer()
    expected = INPUTS.run(model)
    # The capture is what depends on our blocks; compiling it to machine code takes a minute.
    model.compile_repeated_blocks(fullgraph=True, backend="eager")
    try:
        torch.testing.assert_close(INPUTS.run(model), expected, atol=1e-5, rtol=1e-5)
        other = tiny_inputs(0, (1, 3))
        torch.testing.assert_close(other.run(model), other.run(tiny_transformer()), atol=1e-5, rtol=1e-5)
    finally:
        torch.compiler.reset()


def test_it_is_split_over_devices_between_blocks_only() -> None:
    assert LumosXTransformer3DModel._no_split_modules == [type(tiny_transformer().blocks[0]).__name__]
    assert LumosXTransformer3DModel._repeated_blocks == LumosXTransformer3DModel._no_split_modules


@pytest.mark.parametrize("form", [lambda config: config, lambda config: ParallelConfig(context_parallel_config=config)])
@pytest.mark.parametrize("plan", [None, WanTransformer3DModel._cp_plan])
def test_one_sequence_over_several_cards_is_refused_with_the_reason(form: Callable[[Any], Any], plan: Any) -> None:
    model = tiny_transformer()
    expected = INPUTS.run(model)
    with pytest.raises(MachineError, match="would see what they must not"):
        model.enable_parallelism(config=form(ContextParallelConfig(ring_degree=2)), cp_plan=plan)
    assert LumosXTransformer3DModel._cp_plan is None
    torch.testing.assert_close(INPUTS.run(model), expected, rtol=0, atol=0)


def test_configuration_is_wans() -> None:
    model = tiny_transformer()
    recorded = {name: value for name, value in model.config.items() if not name.startswith("_")}
    wan = {name: value for name, value in WanTransformer3DModel(**CONFIG).config.items() if not name.startswith("_")}
    assert recorded == wan
