"""LoRAs: what a file changes, the merged weights, and the sentences about all that is wrong with one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.errors import WeightsError
from engine.memory.eight_bit import EightBitLinear, read_eight_bit
from engine.model.transformer import LumosXTransformer3DModel
from engine.weights.lora_file import Lora, LoraMerge, network_shapes, open_lora, published_shapes
from tests.unit.tiny_lora import (
    RANK,
    SPELLINGS,
    TARGETS,
    TINY,
    explicitly,
    original,
    products,
    shapes_of,
    texts_of,
    write,
    write_lora,
)  # fmt: skip
from tests.unit.tiny_network import tiny_inputs, tiny_transformer

DIGEST = "0" * 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("network")
    tiny_transformer().save_pretrained(place)
    return place


def network(folder: Path, dtype: torch.dtype = torch.float32) -> LumosXTransformer3DModel:
    return LumosXTransformer3DModel.from_pretrained(folder, dtype=dtype).eval()


def opened(path: Path) -> Lora:
    return open_lora(path, path.stem, TINY)


def merged_state(folder: Path, *given: tuple[Path, float]) -> dict[str, torch.Tensor]:
    model = network(folder)
    LoraMerge([(opened(path), strength) for path, strength in given]).into(model)
    return model.state_dict()


# -- what a file changes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("strength", [1.0, -0.6])
def test_every_spelling_gives_the_weights_of_the_plain_sum(
    folder: Path, tmp_path: Path, spelling: str, strength: float
) -> None:
    path = write_lora(tmp_path / "a.safetensors", spelling=spelling)
    plain = network(folder).state_dict()
    merged = merged_state(folder, (path, strength))
    for name, expected in explicitly(plain, products(), strength).items():
        torch.testing.assert_close(merged[name], expected, rtol=0, atol=2e-6)
        assert torch.equal(merged[name], plain[name]) == (name.removesuffix(".weight") not in TARGETS)


def test_the_spellings_give_the_same_bits(folder: Path, tmp_path: Path) -> None:
    states = [
        merged_state(folder, (write_lora(tmp_path / f"{spelling}.safetensors", spelling=spelling), 0.8))
        for spelling in SPELLINGS
    ]
    for state in states[1:]:
        assert all(torch.equal(state[name], value) for name, value in states[0].items())


def test_whole_differences_tables_biases_and_the_first_layer(folder: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(4)

    def values(name: str) -> torch.Tensor:
        return torch.randn(TINY[name], generator=generator)

    changed = {
        "blocks.0.attn1.norm_q.weight": "diffusion_model.blocks.0.self_attn.norm_q.diff",
        "blocks.0.norm2.bias": "diffusion_model.blocks.0.norm3.diff_b",
        "blocks.1.scale_shift_table": "diffusion_model.blocks.1.diff_m",
        "scale_shift_table": "diffusion_model.head.modulation.diff",
        "proj_out.bias": "lora_unet_head_head.diff_b",
        "condition_embedder.time_proj.bias": "transformer.condition_embedder.time_proj.diff_b",
    }
    added = {name: values(name) for name in changed}
    shape = TINY["patch_embedding.weight"]
    down, up = torch.randn(2, *shape[1:], generator=generator), torch.randn(shape[0], 2, 1, 1, 1, generator=generator)
    tensors = {changed[name]: value for name, value in added.items()} | {
        "lora_unet_patch_embedding.lora_down.weight": down,
        "lora_unet_patch_embedding.lora_up.weight": up,
        "transformer.blocks.1.attn1.to_v.lora_A.weight": torch.ones(RANK, 48),
        "transformer.blocks.1.attn1.to_v.lora_B.weight": torch.zeros(48, RANK),
        "transformer.blocks.1.attn1.to_v.lora_B.bias": torch.full((48,), 2.0),
        "transformer.blocks.1.attn1.to_v.alpha": torch.tensor([6.0]),
    }
    plain = network(folder).state_dict()
    merged = merged_state(folder, (write(tmp_path / "a.safetensors", tensors), 0.5))
    added["patch_embedding.weight"] = torch.einsum("or,rcdhw->ocdhw", up.flatten(1), down)
    added["blocks.1.attn1.to_v.bias"] = torch.full((48,), 2.0 * 6 / RANK)
    for name, value in plain.items():
        torch.testing.assert_close(merged[name], value + 0.5 * added.get(name, 0), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("made", "scale"),
    [
        ({"r": RANK, "lora_alpha": 6}, 2.0),
        ({"r": RANK, "lora_alpha": 6, "use_rslora": True}, 6 / RANK**0.5),
        ({"lora_alpha": RANK, "alpha_pattern": {".*": 9, "to_q": 9}}, None),
        ({}, 1.0),
    ],
)
def test_how_strong_a_file_says_it_is_counts(
    folder: Path, tmp_path: Path, made: dict[str, Any], scale: float | None
) -> None:
    tensors = SPELLINGS["diffusers"](products())
    merged = merged_state(folder, (write(tmp_path / "a.safetensors", tensors, texts_of(**made)), 1.0))
    plain = network(folder).state_dict()
    for target in TARGETS:
        of_this = scale if scale is not None else 3.0 if target.endswith("to_q") else 1.0
        expected = explicitly(plain, {target: products()[target]}, scale=of_this)[f"{target}.weight"]
        torch.testing.assert_close(merged[f"{target}.weight"], expected, rtol=0, atol=5e-6)


def test_two_are_summed_and_half_precision_is_kept(folder: Path, tmp_path: Path) -> None:
    first, second = products(seed=1), products(TARGETS[:3], seed=2)
    paths = [write_lora(tmp_path / f"{n}.safetensors", one) for n, one in enumerate((first, second))]
    plain = network(folder).state_dict()
    expected = explicitly(explicitly(plain, first, 0.7), second, -0.4)
    merged = merged_state(folder, (paths[0], 0.7), (paths[1], -0.4))
    assert all(torch.allclose(merged[name], expected[name], rtol=0, atol=3e-6) for name in plain)
    half = network(folder, torch.bfloat16)
    kept = {name: value.dtype for name, value in half.state_dict().items()}
    before = {name: value.clone() for name, value in half.state_dict().items()}
    LoraMerge([(opened(paths[0]), 0.7)]).into(half)
    assert {name: value.dtype for name, value in half.state_dict().items()} == kept
    for name, (down, up) in first.items():
        exact = before[f"{name}.weight"].float().add(up @ down, alpha=0.7)
        assert torch.equal(half.state_dict()[f"{name}.weight"], exact.bfloat16())


def test_in_eight_bits_the_sum_is_rounded_once(folder: Path, tmp_path: Path) -> None:
    path = write_lora(tmp_path / "a.safetensors")
    merge = LoraMerge([(opened(path), 0.9)])
    ours = read_eight_bit(folder, torch.float32, merge.merged)
    merged = merged_state(folder, (path, 0.9))
    for name, module in ours.named_modules():
        if isinstance(module, EightBitLinear):
            expected = EightBitLinear(module.in_features, module.out_features, bias=False)
            expected.take(merged[f"{name}.weight"])
            assert torch.equal(module.weight, expected.weight), name
            assert torch.equal(module.scale, expected.scale), name
    # near the exact network with the LoRA, and not the one without
    inputs, exact = tiny_inputs(1, (2, 1)), network(folder)
    without = inputs.run(read_eight_bit(folder, torch.float32))
    merge.into(exact)
    wanted = inputs.run(exact)
    error = ((inputs.run(ours) - wanted).norm() / wanted.norm()).item()
    assert 0 < error < 0.02 < ((without - wanted).norm() / wanted.norm()).item()


def test_the_networks_files_stay_as_they_are(folder: Path, tmp_path: Path) -> None:
    (file,) = folder.glob("*.safetensors")
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    merged_state(folder, (write_lora(tmp_path / "a.safetensors"), 3.0))
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
    assert network_shapes(folder) == TINY


def test_one_for_the_published_network_is_read_in_each_spelling(tmp_path: Path) -> None:
    wide = published_shapes()
    assert wide["blocks.29.ffn.net.2.weight"] == (1536, 8960)
    for name, spell in {
        "a": lambda target: f"diffusion_model.{original(target)}",
        "b": lambda target: f"lora_unet_{original(target).replace('.', '_')}",
        "c": lambda target: f"transformer.{target}",
    }.items():
        tensors: dict[str, torch.Tensor] = {}
        matrices = [one for one, shape in wide.items() if one.endswith(".weight") and len(shape) > 1]
        for one in matrices:
            spelled = spell(one.removesuffix(".weight"))
            tensors[f"{spelled}.lora_down.weight"] = torch.zeros(1, *wide[one][1:], dtype=torch.float16)
            tensors[f"{spelled}.lora_up.weight"] = torch.zeros(wide[one][0], 1, dtype=torch.float16)
        lora = open_lora(write(tmp_path / f"{name}.safetensors", tensors), name, wide)
        assert set(lora.parts) == set(matrices)


# -- what is refused ---------------------------------------------------------------------------------------------------


def tensors_of(spelling: str = "diffusers") -> dict[str, torch.Tensor]:
    return SPELLINGS[spelling](products(TARGETS[:1]))


DOWN, UP = (f"transformer.{TARGETS[0]}.lora_{half}.weight" for half in "AB")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"diffusion_model.blocks.0.cross_attn.k_img.lora_down.weight": torch.ones(1, 48)}, "another network .*k_img"),
        ({"transformer.blocks.7.attn1.to_q.lora_A.weight": torch.ones(1, 48)}, r"another network .*blocks\.7"),
        ({"lora_te_text_model_encoder.lora_down.weight": torch.ones(1, 48)}, "another network .*lora_te"),
        ({DOWN: torch.ones(RANK, 96)}, "another size .*48×96, here it is 48×48"),
        ({UP: torch.ones(96, RANK)}, "another size"),
        ({UP: torch.ones(48, RANK + 1)}, "another size"),
        ({DOWN: torch.ones(0, 48), UP: torch.ones(48, 0)}, "another size"),
        ({UP: torch.tensor(1.0)}, "another size"),
        ({f"transformer.{TARGETS[0]}.alpha": torch.ones(2)}, "another size"),
        ({f"transformer.{TARGETS[0]}.diff_b": torch.ones(5)}, "another size"),
        ({f"transformer.{TARGETS[1]}.alpha": torch.tensor(1.0)}, "only one half"),
        ({f"transformer.{TARGETS[1]}.lora_A.weight": torch.ones(1, 48)}, "only one half"),
        ({"blocks.0.self_attn.q.lora_down.weight": torch.ones(1, 48)}, "the same weight twice"),
        ({"transformer.blocks.0.norm2.lora_A.weight": torch.ones(1, 48)}, "another network"),
        ({"transformer.blocks.0.attn1.norm_q.diff_b": torch.ones(48)}, "another network"),
        ({"diffusion_model.blocks.0.self_attn.q.lokr_w1": torch.ones(2, 2)}, "not a LoKr"),
        ({"transformer.blocks.0.attn1.to_q.dora_scale": torch.ones(48)}, "not a LoKr"),
        ({"transformer.blocks.0.attn1.to_q.lora_magnitude_vector.weight": torch.ones(48)}, "not a LoKr"),
        ({"blocks.0.attn1.to_q.weight": torch.ones(48, 48)}, "a whole model"),
        ({"\x1b[31mred": torch.ones(1)}, "holds �"),
        ({DOWN: torch.ones(RANK, 48, dtype=torch.int8)}, "quantised"),
    ],
)
def test_what_does_not_fit_is_named_from_the_head(tmp_path: Path, changes: dict[str, torch.Tensor], words: str) -> None:
    path = write(tmp_path / "style.safetensors", tensors_of() | changes)
    with pytest.raises(WeightsError, match=words) as told:
        opened(path)
    assert "“style”" in str(told.value)
    assert str(told.value).isprintable()
    assert str(told.value).count(". ") == 0 or "Wan 2.1" in str(told.value)


@pytest.mark.parametrize(
    "text", ["{", "[1]", json.dumps({"lora_alpha": "much"}), json.dumps({"alpha_pattern": 3}), "[" * 100_000]
)
def test_a_head_that_cannot_be_understood_is_refused(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.safetensors", tensors_of(), {"lora_adapter_metadata": text})
    with pytest.raises(WeightsError, match="how strong it is"):
        opened(path)


def test_a_dora_is_refused_and_so_is_an_empty_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", tensors_of(), texts_of(use_dora=True))
    with pytest.raises(WeightsError, match="DoRA"):
        opened(path)
    (tmp_path / "b.safetensors").write_bytes((8).to_bytes(8, "little") + b"{}      ")
    with pytest.raises(WeightsError, match="changes nothing"):
        opened(tmp_path / "b.safetensors")


@pytest.mark.parametrize("changes", [{DOWN: torch.full((RANK, 48), float("nan"))}, {UP: torch.full((48, RANK), 3e38)}])
def test_values_that_are_no_numbers_are_found_when_they_are_added(
    folder: Path, tmp_path: Path, changes: dict[str, torch.Tensor]
) -> None:
    tensors = {DOWN: torch.full((RANK, 48), 10.0), UP: torch.ones(48, RANK)} | changes
    with pytest.raises(WeightsError, match="no numbers"):
        merged_state(folder, (write(tmp_path / "a.safetensors", tensors), 1.0))


def test_shapes_of_a_network_are_those_of_its_files() -> None:
    assert shapes_of(tiny_transformer()) == TINY
