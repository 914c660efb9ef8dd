"""`bench memory` at tiny size: fresh processes, real parts, and the last line for machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import UMT5EncoderModel

from engine.bench import memory
from engine.bench.fresh_process import in_fresh_process, peak_bytes
from engine.bench.memory import MemoryFigures, MemorySize, PlanFigures, report
from engine.bench.random_models import random_network, random_vae, write_text_encoder
from engine.cli.commands import bench
from engine.cli.parser import parse
from engine.errors import OutputError
from engine.memory.text_encoder import load_streamed
from tests.unit.tiny_bundle import TEXT_CONFIG
from tests.unit.tiny_network import CONFIG

VAE: dict[str, Any] = {
    "base_dim": 4,
    "z_dim": 4,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [False, True, True],
    "latents_mean": [0.0] * 4,
    "latents_std": [1.0] * 4,
}
SIZE = MemorySize(network=CONFIG, vae=VAE, text_encoder=TEXT_CONFIG, width=32, height=16, casts=((2, 1),))


def allocate(megabytes: int) -> dict[str, int]:
    taken = bytearray(b"x" * (megabytes * 10**6))
    return {"length": len(taken)}


def test_a_fresh_process_tells_its_peak_and_its_result() -> None:
    small, large = (in_fresh_process(f"{__name__}:allocate", megabytes=size) for size in (1, 151))
    assert (small.result, large.result) == ({"length": 10**6}, {"length": 151 * 10**6})
    assert 140e6 < large.peak_bytes - small.peak_bytes < 330e6
    assert small.peak_bytes < peak_bytes()


def test_what_fails_in_a_fresh_process_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="allocate failed with exit code 1"):
        in_fresh_process(f"{__name__}:allocate", wrong=1)


def test_a_random_encoder_is_written_once_and_streams_as_it_computes_whole(tmp_path: Path) -> None:
    said: list[str] = []
    size = write_text_encoder(tmp_path / "encoder", TEXT_CONFIG, said.append)
    (file,) = (tmp_path / "encoder").glob("*.safetensors")
    written = file.stat().st_mtime_ns
    assert write_text_encoder(tmp_path / "encoder", TEXT_CONFIG, said.append) == size
    assert file.stat().st_mtime_ns == written
    assert size == sum(value.numel() * 2 for value in UMT5EncoderModel.from_pretrained(file.parent).parameters())


def test_a_full_disk_is_told_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 10**6})
    monkeypatch.setattr("engine.weights.files.shutil.disk_usage", lambda _: usage)
    with pytest.raises(OutputError, match=r"A text encoder of random weights.*set LUMOSX_HOME") as caught:
        write_text_encoder(tmp_path / "encoder", TEXT_CONFIG, lambda _: None)
    assert caught.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_streamed_encoder_is_the_plain_one_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    write_text_encoder(tmp_path / "encoder", {**TEXT_CONFIG, "encoder_layers": 4}, lambda _: None)
    whole = UMT5EncoderModel.from_pretrained(tmp_path / "encoder", dtype=dtype).eval()
    streamed = load_streamed(tmp_path / "encoder", dtype, torch.device("cpu"))
    ids = torch.randint(0, 40, (1, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = whole(ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        for _ in range(2):
            assert torch.equal(streamed(ids, attention_mask=torch.ones_like(ids)).last_hidden_state, expected)
    assert expected.abs().max() > 0
    held = [name for name, value in streamed.named_parameters() if value.device.type != "meta"]
    assert held == ["encoder.final_layer_norm.weight"]


def test_random_parts_are_loaded_ones() -> None:
    network = random_network(CONFIG)
    assert network.blocks[1].attn1.to_q.weight.dtype == torch.bfloat16  # pyright: ignore[reportAttributeAccessIssue]
    assert network.proj_out.weight.dtype == torch.float32
    assert all(value.device.type == "cpu" for value in network.state_dict().values())
    assert {value.dtype for value in random_vae(VAE).state_dict().values()} == {torch.float32}


def test_the_command_ends_in_one_json_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(memory, "MemorySize", lambda: SIZE)
    assert bench.run(parse(["bench", "memory"])) == 0
    output = capsys.readouterr()
    document = json.loads(output.out.splitlines()[-1])
    assert document["text_encoder_peak_bytes"] > 10**8
    rows = document["plans"]
    assert [(row["engine"], row["stage"], row["references"]) for row in rows] == [
        ("lumosx", "prompt", 0), ("lumosx", "denoise", 3), ("lumosx", "denoise", 3), ("nano", "render", 5),
    ]  # fmt: skip
    assert all(row["profile"] and row["predicted_peak_bytes"] > 0 < row["measured_peak_bytes"] for row in rows)
    assert "the network with 3 references" in output.err


def test_the_table_has_a_line_for_every_plan() -> None:
    row = PlanFigures(
        profile="lean",
        engine="lumosx",
        stage="denoise",
        references=8,
        tokens=100,
        predicted_peak_bytes=1_100_000_000,
        measured_peak_bytes=1_000_000_000,
    )
    lines = report(MemoryFigures(text_encoder_bytes=7, text_encoder_peak_bytes=5, plans=(row, row))).splitlines()
    assert len(lines) == 2 + 2 + 1
    assert "+10%" in lines[2]
