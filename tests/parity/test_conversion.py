"""Conversion of the recorded checkpoints: every tensor bit for bit, and the same numbers out of the converted
networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from safetensors.torch import load_file
from transformers import UMT5Config, UMT5EncoderModel

from engine.model.transformer import LumosXTransformer3DModel
from engine.weights.checkpoints import read_network_state
from engine.weights.original import (
    NETWORK,
    TEXT_ENCODER,
    VAE,
    network_config_from_original,
    to_diffusers_network,
    to_diffusers_vae,
    to_transformers_umt5,
    umt5_config_from_original,
    vae_config_from_original,
)

REFERENCE = Path(__file__).resolve().parents[2].parent / "shared" / "reference"

pytestmark = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the recorded numbers of the published code are not here"
)


def _config(path: str) -> dict[str, Any]:
    return json.loads((REFERENCE / path).read_text())


@pytest.mark.parametrize(
    "place",
    [
        "LumosX_models/all",
        "LumosX_models",
        "LumosX_models/all/.metadata",
        "LumosX_models_separate/ema",
        "LumosX_models_separate",
        "ema.pt",
        "ema.safetensors",
    ],
)
def test_every_form_of_the_checkpoint_gives_the_recorded_tensors(place: str) -> None:
    expected = load_file(REFERENCE / "dcp" / "ema.safetensors")
    state = read_network_state(REFERENCE / "dcp" / place)
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert state[name].dtype == value.dtype
        assert torch.equal(state[name], value), name


def test_the_models_own_weights_differ_and_can_be_read_too() -> None:
    both = read_network_state(REFERENCE / "dcp" / "LumosX_models", prefer="model")
    alone = read_network_state(REFERENCE / "dcp" / "LumosX_models_separate" / "model")
    ema = read_network_state(REFERENCE / "dcp" / "LumosX_models")
    assert all(torch.equal(both[name], alone[name]) for name in both)
    assert not all(torch.equal(both[name], ema[name]) for name in both)


def test_network_names_fit_one_to_one() -> None:
    state = read_network_state(REFERENCE / "dcp" / "LumosX_models")
    model = LumosXTransformer3DModel(**network_config_from_original(_config("dcp/config.json")))
    model.load_state_dict(to_diffusers_network(state), strict=True)
    assert {NETWORK.original_name(name) for name in model.state_dict()} == state.keys()


def test_the_published_network_has_825_tensors() -> None:
    with torch.device("meta"):
        names = LumosXTransformer3DModel(**network_config_from_original({})).state_dict().keys()
    original = [NETWORK.original_name(name) for name in names]
    assert len(set(original)) == 825
    assert NETWORK.rename(original, "network.pt") == dict(zip(original, names, strict=True))


def test_text_encoder_gives_the_recorded_embeddings() -> None:
    folder = REFERENCE / "t5" / "t5A"
    state = read_network_state(folder / "model.pth")
    model = UMT5EncoderModel(UMT5Config(**umt5_config_from_original(_config("t5/t5A/config.json")))).eval()
    model.load_state_dict(to_transformers_umt5(state), strict=True)
    assert {TEXT_ENCODER.original_name(n) for n in model.state_dict() if "embed_tokens" not in n} == state.keys()
    cases = load_file(folder / "cases.safetensors")
    indices = sorted(name.split(".")[0] for name in cases if name.endswith(".ids"))
    assert indices
    for index in indices:
        mask = cases[f"{index}.mask"]
        with torch.no_grad():
            hidden = model(cases[f"{index}.ids"].long(), attention_mask=mask.long()).last_hidden_state
        torch.testing.assert_close(hidden[mask.bool()], cases[f"{index}.out"], atol=2e-5, rtol=0)


def test_vae_of_odd_width_gives_the_recorded_video() -> None:
    folder = REFERENCE / "vae" / "vaeA"
    nested = torch.load(folder / "vae.pth", weights_only=True)
    model = AutoencoderKLWan(**vae_config_from_original(_config("vae/vaeA/config.json"))).eval()
    model.load_state_dict(to_diffusers_vae(nested), strict=True)
    assert {VAE.original_name(name) for name in model.state_dict()} == nested["model_state"].keys()
    cases = load_file(folder / "cases.safetensors")
    name = min((name for name in cases if name.endswith(".video")), key=lambda name: cases[name].numel())
    latent = cases[name.replace(".video", ".latent")]
    mean, std = (torch.tensor(model.config[key]).view(-1, 1, 1, 1) for key in ("latents_mean", "latents_std"))
    with torch.no_grad():
        video = model.decode((latent * std + mean)[None], return_dict=False)[0][0].clamp(-1, 1)
    torch.testing.assert_close(video, cases[name], atol=5e-5, rtol=0)
