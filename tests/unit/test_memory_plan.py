"""Sizes are those of the real parts, and profiles are budgets."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportArgumentType=false

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from transformers import UMT5Config, UMT5EncoderModel

from engine.engines import resolve_settings
from engine.errors import InputError, MachineError, WeightsError
from engine.memory.plan import Budget, Way, Work, all_plans, make_plan, predict, tokens_of
from engine.memory.profiles import PROFILES, budget_of, in_words, plan_for, sizes_of
from engine.memory.sizes import EXACT, PUBLISHED, read_sizes
from engine.model.transformer import LumosXTransformer3DModel
from engine.models import compute_dtype
from engine.weights.original import network_config_from_original, umt5_config_from_original, vae_config_from_original
from tests.unit.tiny_pipeline import tiny_pipeline

GB = 10**9
FULL = Work(width=832, height=480, num_frames=81, references=8)


def network_bytes(model: torch.nn.Module) -> int:
    return sum(
        value.numel() * (2 if EXACT.isdisjoint(name.split(".")) else 4) for name, value in model.named_parameters()
    )


def test_the_published_sizes_are_those_of_the_published_configuration() -> None:
    with torch.device("meta"):
        network = LumosXTransformer3DModel(**network_config_from_original({}))
        text = UMT5EncoderModel(UMT5Config(**umt5_config_from_original({})))
        vae = AutoencoderKLWan(**vae_config_from_original({}))
    assert PUBLISHED.network_bytes == network_bytes(network)
    assert PUBLISHED.block_bytes == network_bytes(network.blocks[0])
    assert PUBLISHED.blocks == len(network.blocks)
    assert PUBLISHED.text_encoder_bytes == 2 * sum(value.numel() for value in text.parameters())
    assert PUBLISHED.text_matrix_bytes == 2 * max(value.numel() for value in text.encoder.block[0].parameters())
    assert PUBLISHED.text_table_bytes == 2 * text.shared.weight.numel()
    assert PUBLISHED.vae_bytes == 4 * sum(value.numel() for value in vae.parameters())


def test_sizes_are_read_from_the_heads_of_files(tmp_path: Path) -> None:
    pipeline = tiny_pipeline()
    pipeline.save_pretrained(tmp_path)
    sizes = read_sizes(tmp_path, 2)
    assert sizes.network_bytes == network_bytes(pipeline.transformer)
    assert sizes.block_bytes == network_bytes(pipeline.transformer.blocks[0])
    assert (sizes.blocks, sizes.width, sizes.ffn_width) == (2, 48, 64)
    assert sizes.text_encoder_bytes == 2 * sum(value.numel() for value in pipeline.text_encoder.parameters())
    assert sizes.vae_bytes == 4 * sum(value.numel() for value in pipeline.vae.parameters())
    assert tokens_of(sizes, Work(width=32, height=16, num_frames=5, references=3)) == 5 * 2
    for file in (tmp_path / "vae").glob("*.safetensors"):
        file.write_bytes(b"\xff" * 20)
    with pytest.raises(WeightsError, match="weights verify"):
        read_sizes(tmp_path, 2)


def test_exact_parts_are_those_that_loading_leaves_exact() -> None:
    assert set(LumosXTransformer3DModel._keep_in_fp32_modules) - {"rope"} == EXACT


def test_a_large_card_holds_everything_and_a_small_one_streams() -> None:
    large = make_plan(PUBLISHED, FULL, Budget(ram_bytes=64 * GB, card_bytes=80 * GB))
    assert large.way == Way(text_on_card=True)
    assert large.step_bytes == 0
    small = make_plan(PUBLISHED, FULL, Budget(ram_bytes=12 * GB, card_bytes=6 * GB))
    assert small.way.stream_text
    assert small.way.tiled
    tiny = make_plan(PUBLISHED, FULL, Budget(ram_bytes=12 * GB, card_bytes=int(3.8 * GB)))
    assert tiny.way.network == "streamed"
    assert tiny.step_bytes == 2 * PUBLISHED.network_bytes
    assert tiny.cost > small.cost > large.cost


def test_the_full_clip_on_a_computer_with_8_gb_and_no_card() -> None:
    plan = make_plan(PUBLISHED, FULL, Budget(ram_bytes=8 * GB))
    assert plan.way.network == "resident"
    assert plan.way.stream_text
    assert plan.card_bytes == 0
    assert plan.ram_bytes < 8 * GB


def test_each_saving_saves_what_it_is_for() -> None:
    whole = predict(PUBLISHED, FULL, Way(), card=False)
    peaks = {peak.stage: peak.ram_bytes for peak in whole.peaks}
    changes = {
        "prompt": Way(stream_text=True),
        "denoise": Way(chunk_tokens=2048),
        "decode": Way(tiled=True),
    }
    for stage, way in changes.items():
        leaner = {peak.stage: peak.ram_bytes for peak in predict(PUBLISHED, FULL, way, card=False).peaks}
        assert leaner[stage] < peaks[stage]
        assert all(leaner[other] <= peaks[other] for other in peaks)
    let_go = predict(PUBLISHED, FULL, Way(let_go=True), card=False).peaks[-1]
    assert let_go.ram_bytes == peaks["decode"] - PUBLISHED.network_bytes


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_plans_the_built_in_model(profile: str) -> None:
    settings = resolve_settings("nano", profile=profile)
    for free in (Budget(ram_bytes=8 * GB), Budget(ram_bytes=8 * GB, card_bytes=2 * GB)):
        plan = plan_for(settings, 6, free)
        assert plan.fits(free)
        assert all(line.endswith(".") for line in in_words(plan))


def test_profiles_limit_the_card_or_the_memory_it_shares() -> None:
    both = Budget(ram_bytes=30 * GB, card_bytes=24 * GB)
    limited = budget_of("8gb", both)
    assert limited.ram_bytes == 30 * GB
    assert 7 * GB < (limited.card_bytes or 0) < 8.6 * GB
    assert budget_of("8gb", Budget(ram_bytes=30 * GB)) == Budget(ram_bytes=8 * 2**30)
    assert budget_of("8gb", Budget(ram_bytes=GB)) == Budget(ram_bytes=GB)
    assert budget_of("auto", both) == both
    with pytest.raises(InputError, match="choose one of auto"):
        plan_for(resolve_settings("nano", profile="huge"), 0, both)


def test_a_placement_by_name_is_kept_or_refused() -> None:
    settings = resolve_settings("lumosx", profile="streamed")
    assert plan_for(settings, 8, Budget(ram_bytes=64 * GB, card_bytes=80 * GB)).way.network == "streamed"
    with pytest.raises(MachineError, match="graphics memory"):
        plan_for(dataclasses.replace(settings, profile="resident"), 8, Budget(ram_bytes=64 * GB, card_bytes=3 * GB))


def test_plans_before_there_are_files_have_the_published_sizes() -> None:
    assert sizes_of("lumosx") is PUBLISHED
    assert sizes_of("nano").value_bytes == 4
    assert len(list(all_plans(PUBLISHED, FULL, card=True))) == 72


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((9, 0), torch.bfloat16)]
)
def test_cards_without_bfloat16_compute_in_float16(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert compute_dtype(torch.device("cuda"), builtin=False) == dtype
    assert compute_dtype(torch.device("cuda"), builtin=True) == torch.float32
    assert {compute_dtype(torch.device(kind), builtin=False) for kind in ("cpu", "mps")} == {torch.bfloat16}
