"""What users of diffusers' Wan rely on, continued: files and adapters, read and written by the relational network."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false, reportPrivateImportUsage=false, reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from engine.model.pipeline import LumosXPipeline
from engine.model.transformer import LumosXTransformer3DModel
from tests.unit.test_ecosystem import INPUTS, assert_same, inputs_in, relative_error
from tests.unit.tiny_network import tiny_transformer
from tests.unit.tiny_pipeline import tiny_pipeline


def test_save_and_load(tmp_path: Path) -> None:
    model = tiny_transformer()
    model.save_pretrained(tmp_path)
    loaded = LumosXTransformer3DModel.from_pretrained(tmp_path)
    assert loaded.config.num_layers == 2
    assert torch.equal(INPUTS.run(loaded), INPUTS.run(model))


def test_save_and_load_in_shards(tmp_path: Path) -> None:
    model = tiny_transformer()
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_same(INPUTS.run(LumosXTransformer3DModel.from_pretrained(tmp_path)), INPUTS.run(model))


def test_files_are_interchangeable_with_wan(tmp_path: Path) -> None:
    tiny_transformer().save_pretrained(tmp_path / "ours")
    wan = WanTransformer3DModel.from_pretrained(tmp_path / "ours")
    wan.save_pretrained(tmp_path / "theirs")
    loaded = LumosXTransformer3DModel.from_pretrained(tmp_path / "theirs")
    assert torch.equal(INPUTS.run(loaded), INPUTS.run(tiny_transformer()))


# diffusers' names and Wan's own, longest first.
ORIGINAL_NAMES = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    ".attn1.": ".self_attn.",
    ".attn2.": ".cross_attn.",
    ".to_out.0": ".o",
    ".to_q": ".q",
    ".to_k": ".k",
    ".to_v": ".v",
    ".ffn.net.0.proj": ".ffn.0",
    ".ffn.net.2": ".ffn.2",
    ".norm2.": ".norm3.",
    "proj_out": "head.head",
}


def original_name(name: str) -> str:
    if name == "scale_shift_table":
        return "head.modulation"
    for ours, theirs in ORIGINAL_NAMES.items():
        name = name.replace(ours, theirs)
    return name.replace("scale_shift_table", "modulation")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.05)])
def test_a_single_file_with_wans_own_names(tmp_path: Path, dtype: torch.dtype, tolerance: float) -> None:
    model = tiny_transformer()
    model.save_config(tmp_path)
    state = {original_name(name): value.clone() for name, value in model.state_dict().items()}
    assert "blocks.1.cross_attn.norm_k.weight" in state
    save_file(state, tmp_path / "wan.safetensors")
    loaded = LumosXTransformer3DModel.from_single_file(
        tmp_path / "wan.safetensors", config=str(tmp_path), local_files_only=True, dtype=dtype
    ).eval()
    assert type(loaded) is LumosXTransformer3DModel
    assert relative_error(inputs_in(dtype).run(loaded), INPUTS.run(model)) <= tolerance


# LoRA -----------------------------------------------------------------------------------------------------------------


def lora_layers(pipeline: LumosXPipeline) -> dict[str, torch.Tensor]:
    """A LoRA that changes something, trained by nobody."""
    config = LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj"])
    pipeline.transformer.add_adapter(config, adapter_name="made")
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in pipeline.transformer.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return get_peft_model_state_dict(pipeline.transformer, adapter_name="made")


def test_a_lora_is_saved_loaded_weighted_fused_and_unloaded(tmp_path: Path) -> None:
    maker = tiny_pipeline()
    base = INPUTS.run(maker.transformer)
    LumosXPipeline.save_lora_weights(tmp_path, transformer_lora_layers=lora_layers(maker))
    adapted = INPUTS.run(maker.transformer)
    assert relative_error(adapted, base) > 0.01

    pipeline = tiny_pipeline()
    pipeline.load_lora_weights(tmp_path, adapter_name="style")
    assert torch.equal(INPUTS.run(pipeline.transformer), adapted)
    pipeline.set_adapters("style", 0.5)
    assert 0.001 < relative_error(INPUTS.run(pipeline.transformer), base) < relative_error(adapted, base)
    pipeline.set_adapters("style", 0.0)
    torch.testing.assert_close(INPUTS.run(pipeline.transformer), base, atol=1e-6, rtol=1e-5)
    pipeline.set_adapters("style", 1.0)
    pipeline.fuse_lora()
    torch.testing.assert_close(INPUTS.run(pipeline.transformer), adapted, atol=1e-4, rtol=1e-4)
    pipeline.unfuse_lora()
    pipeline.unload_lora_weights()
    torch.testing.assert_close(INPUTS.run(pipeline.transformer), base, atol=1e-5, rtol=1e-5)


def test_a_lora_in_wans_own_names_is_understood(tmp_path: Path) -> None:
    pipeline = tiny_pipeline()
    base = INPUTS.run(pipeline.transformer)
    generator = torch.Generator().manual_seed(2)
    state: dict[str, torch.Tensor] = {}
    for block in range(2):
        for part in ("self_attn", "cross_attn"):
            for layer in ("q", "k", "v", "o"):
                name = f"diffusion_model.blocks.{block}.{part}.{layer}"
                state[f"{name}.lora_A.weight"] = torch.randn(2, 48, generator=generator)
                state[f"{name}.lora_B.weight"] = 0.1 * torch.randn(48, 2, generator=generator)
    save_file(state, tmp_path / "style.safetensors")
    pipeline.load_lora_weights(tmp_path / "style.safetensors", adapter_name="style")
    assert relative_error(INPUTS.run(pipeline.transformer), base) > 0.01
    pipeline.unload_lora_weights()
    assert torch.equal(INPUTS.run(pipeline.transformer), base)
