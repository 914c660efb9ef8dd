"""Means of finished weights: every tensor by its share, a card that says of what, and refusals in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.cli.commands import nano
from engine.cli.parser import parse
from engine.errors import InputError
from engine.nano.evaluation import load_pipeline, weights_digest
from engine.paths import assets_dir

NETWORK = Path("transformer/diffusion_pytorch_model.safetensors")
WORDS = Path("text_encoder/model.safetensors")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The built-in model with everything it learned turned round."""
    folder = tmp_path / "other"
    shutil.copytree(assets_dir() / "nano", folder)
    for name in (NETWORK, WORDS):
        save_file({key: -value for key, value in load_file(folder / name).items()}, folder / name)
    return folder


def mean(*arguments: str | Path) -> int:
    return nano.run(parse(["nano", "mean", *map(str, arguments)]))


def test_a_mean_is_taken_by_shares_and_says_of_what(other: Path, tmp_path: Path) -> None:
    built_in, out = assets_dir() / "nano", tmp_path / "mean"
    assert mean(f"{built_in}=0.75", f"{other}=0.25", "--out", out) == 0
    for name in (NETWORK, WORDS):
        for key, value in load_file(built_in / name).items():
            torch.testing.assert_close(load_file(out / name)[key], 0.5 * value)
    card = json.loads((out / "card.json").read_text(encoding="utf-8"))
    made = [{"weights": weights_digest(built_in), "share": 0.75}, {"weights": weights_digest(other), "share": 0.25}]
    assert card["training"] == {"mean_of": made}
    assert card["earlier_rounds"][-1]["weights"] == weights_digest(built_in)
    assert "results" not in card  # they are those of other weights
    assert not (out / "magnitudes.json").exists()
    assert load_pipeline(out).transformer.num_parameters() > 2e6


def test_what_has_no_mean_is_refused_and_nothing_is_written(other: Path, tmp_path: Path) -> None:
    built_in, out = assets_dir() / "nano", tmp_path / "mean"
    for models, message in [
        ((f"{built_in}=0.5", f"{other}=0.4"), "add up to 1"),
        ((f"{built_in}", f"{other}=1"), "is no model with its share"),
        ((f"{built_in}=x", f"{other}=1"), "is no model with its share"),
        ((f"{tmp_path / 'nowhere'}=0.5", f"{other}=0.5"), "There is no model in"),
    ]:
        with pytest.raises(InputError, match=message):
            mean(*models, "--out", out)
    network = load_file(other / NETWORK)
    save_file({key: value for key, value in network.items() if "blocks.0" not in key}, other / NETWORK)
    with pytest.raises(InputError, match="of another shape"):
        mean(f"{built_in}=0.5", f"{other}=0.5", "--out", out)
    (other / "tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="other words or another VAE"):
        mean(f"{built_in}=0.5", f"{other}=0.5", "--out", out)
    assert not out.exists()
    with pytest.raises(InputError, match="is there already"):
        mean(f"{built_in}=0.5", f"{other}=0.5", "--out", tmp_path)
