"""Model files from strangers: safetensors, checkpoints, distributed checkpoints, and the records beside them."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import save

from engine.engines import resolve_settings
from engine.parity.folder import read_json, read_tensors
from engine.parity.runner import run_folder
from engine.weights.bundle import Bundle, text_encoder_config, vae_config
from engine.weights.catalogue import entry
from engine.weights.checkpoints import open_checkpoint
from engine.weights.download import _recorded_revision
from engine.weights.installed import locate, status, verify, weights_digest
from engine.weights.lora_file import open_lora
from engine.weights.loras import loras
from engine.weights.magnitudes import magnitudes_for
from engine.weights.original import network_config_from_original
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Target
from tests.fuzz.test_json import damaged
from tests.unit.tiny_bundle import NETWORK_CONFIG, write_distributed
from tests.unit.tiny_lora import RANK, SPELLINGS, TARGETS, TINY, products, texts_of

STATE = {"patch.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3), "head.bias": torch.ones(4)}


def torch_file(content: object, *, zipped: bool = True) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, _use_new_zipfile_serialization=zipped)
    return stream.getvalue()


class _Harmful:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("raise SystemExit('it ran')",)


TORCH_FILES = [
    torch_file(STATE),
    torch_file(STATE, zipped=False),
    torch_file({"model_state": STATE, "epoch": 3}),
    torch_file({f"ema.{name}": value.bfloat16() for name, value in STATE.items()}),
    pickle.dumps(_Harmful()),
    pickle.dumps({"a": [1, 2.5, None]}),
    torch_file([1, 2]),
]
SAFETENSORS = [save(STATE), save({f"ema.{name}": value for name, value in STATE.items()}), save({"a": torch.zeros(0)})]


def safetensors(header: Any, body: bytes) -> bytes:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + body


made_safetensors = st.builds(
    safetensors,
    st.dictionaries(
        st.text(max_size=5),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(["F32", "F16", "BF16", "F8_E4M3", "I64", "U16", "F4", "C64", "x", 3]),
                "shape": st.lists(st.sampled_from([0, 1, 2, 3, -1, 2**32, 2**63]), max_size=4),
                "data_offsets": st.lists(st.sampled_from([0, 4, 8, 24, 40, 2**40]), max_size=3),
            }
        ),
        max_size=4,
    ),
    st.binary(max_size=40),
)
opcodes = st.lists(
    st.one_of(
        st.sampled_from(
            [b"}", b"]", b")", b"(", b"t", b"u", b"s", b"R", b"b", b"Q", b"N", b"K\x05", b"q\0", b"h\0", b"\x81", b"0",
             b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n", b"cbuiltins\neval\n", b"X\3\0\0\0abc",
             b"ccollections\nOrderedDict\n", b"J\xff\xff\xff\x7f", b"\x8a\x08aaaaaaaa", b"X\xff\xff\xff\x7fabc", b"\x85", b"\x86"]  # noqa: E501
        ),
        st.binary(max_size=3),
    ),
    max_size=30,
).map(lambda parts: b"\x80\x02" + b"".join(parts) + b".")  # fmt: skip
made_torch = opcodes.map(lambda data: data)


def read_checkpoint(ending: str, data: bytes, folder: Path) -> None:
    path = folder / f"LumosX_models{ending}"
    path.write_bytes(data)
    checkpoint = open_checkpoint(path)
    for name, info in checkpoint.tensors.items():
        assert tuple(checkpoint.read(name).shape) == info.shape
    for describe in (text_encoder_config, vae_config):
        describe(checkpoint)


def read_lora(data: bytes, folder: Path) -> None:
    path = folder / "style.safetensors"
    path.write_bytes(data)
    lora = open_lora(path, "style", TINY)
    for name in lora.parts:
        total = torch.zeros(TINY[name])
        lora.add_to(total, name, 0.5)
        assert bool(total.isfinite().all())


def read_lora_record(data: bytes, folder: Path) -> None:
    """The record beside a LoRA of the user's: whatever it says, no other file is meant."""
    own = folder / "models" / "loras"
    own.mkdir(parents=True, exist_ok=True)
    (own / "a.safetensors").write_bytes(b"a")
    (own / "a.json").write_bytes(data)
    assert all(one.path.parent == own for one in loras())


def read_metadata(pieces: bytes, data: bytes, folder: Path) -> None:
    (folder / ".metadata").write_bytes(data)
    (folder / "__0_0.distcp").write_bytes(pieces)
    checkpoint = open_checkpoint(folder)
    for name, info in checkpoint.tensors.items():
        assert tuple(checkpoint.read(name).shape) == info.shape


def read_pieces(metadata: bytes, data: bytes, folder: Path) -> None:
    read_metadata(data, metadata, folder)


def distributed(folder: Path) -> tuple[bytes, bytes]:
    write_distributed(folder, {f"ema.{name}": value for name, value in STATE.items()}, num_ranks=1)
    return (folder / ".metadata").read_bytes(), (folder / "__0_0.distcp").read_bytes()


def read_network_config(data: bytes, folder: Path) -> None:
    path = folder / "config.json"
    path.write_bytes(data)
    bundle = Bundle(parts={}, config=path)
    network_config_from_original(bundle.network_config())


def read_installed(name: str, engine: str, data: bytes, folder: Path) -> None:
    """The record or card in a model's folder: who wrote it may have been anybody."""
    path = folder / "models" / engine / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    assert isinstance(status(engine).problem, str)
    weights_digest(engine)
    locate(engine)
    verify(engine)


def read_figures(data: bytes, folder: Path) -> None:
    """What a step cache has to know of the model in a folder, read before a render."""
    path = folder / "models" / "nano"
    path.mkdir(parents=True, exist_ok=True)
    (path / "card.json").write_text(json.dumps(CARD), encoding="utf-8")
    (path / "magnitudes.json").write_bytes(data)
    magnitudes_for(resolve_settings("nano", step_cache=0.1, step_cache_kind="magnitude"))


def read_download(data: bytes, folder: Path) -> None:
    (folder / "download.json").write_bytes(data)
    assert isinstance(_recorded_revision(VAE_ALONE, folder), str)


def read_case(data: bytes, folder: Path) -> None:
    case = folder / "case.json"
    case.write_bytes(data)
    read_json(case)


def read_recorded_tensors(data: bytes, folder: Path) -> None:
    path = folder / "case.safetensors"
    path.write_bytes(data)
    read_tensors(path)


def run_cases(data: bytes, folder: Path) -> None:
    """A folder of recorded cases whose JSON is a stranger's: each case fails or runs, and the others go on."""
    for kind in ("layout", "text", "sampler", "images"):
        path = folder / kind / "case.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        (folder / kind / "cases.json").write_bytes(data)
    list(run_folder(folder))


LORA_RECORD = {"name": "a", "digest": "0" * 64, "size_bytes": 1, "engines": ["nano"]}
RECORD = {
    "schema_version": 1,
    "complete": True,
    "revision": "0" * 40,
    "components": {"vae": {"source": "x", "files": {"vae/a.bin": {"size_bytes": 3, "sha256": "0" * 64}}}},
}
DOWNLOAD = {
    "complete": ["vae.pth"],
    "revision": "0" * 40,
    "files": {"vae.pth": {"size_bytes": 3, "mtime_ns": 1, "digest": "0" * 64}},
}
VAE_ALONE = replace(entry("lumosx"), files=tuple(file for file in entry("lumosx").files if file.name == "vae.pth"))
CARD = {"files": {"vae/config.json": "0" * 64}}
FIGURES = {
    "weights": hashlib.sha256(f"vae/config.json {'0' * 64}\n".encode()).hexdigest(),
    "runs": [{"cond": [1.0, 0.9], "uncond": [1.0, 0.8], "unrelated": [1.0, 0.7]}],
}


def encoded(content: object) -> list[bytes]:
    return [json.dumps(content).encode()]


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_checkpoints(ending: str, fuzz: Fuzz) -> None:
    seeds, made = (SAFETENSORS, made_safetensors) if ending == ".safetensors" else (TORCH_FILES, made_torch)
    fuzz(
        Target(f"checkpoint {ending}", partial(read_checkpoint, ending), seeds), st.one_of(made, st.binary(max_size=50))
    )


def test_loras(fuzz: Fuzz) -> None:
    small = products(TARGETS[:2])
    seeds = [save(spell(small)) for spell in SPELLINGS.values()]
    seeds.append(save(SPELLINGS["diffusers"](small), texts_of(r=RANK, lora_alpha=2, alpha_pattern={"to_q": 4})))
    fuzz(Target("LoRA", read_lora, seeds), made_safetensors)


def test_distributed_checkpoints(fuzz: Fuzz, tmp_path: Path) -> None:
    metadata, pieces = distributed(tmp_path / "seed")
    fuzz(Target("distributed metadata", partial(read_metadata, pieces), [metadata]), made_torch)


def test_distributed_pieces(fuzz: Fuzz, tmp_path: Path) -> None:
    metadata, pieces = distributed(tmp_path / "seed")
    fuzz(Target("distributed pieces", partial(read_pieces, metadata), [pieces]), made_torch)


@pytest.mark.parametrize(
    ("name", "parse", "seed"),
    [
        ("network config", read_network_config, NETWORK_CONFIG),
        ("conversion record", partial(read_installed, "conversion.json", "lumosx"), RECORD),
        ("card of a model", partial(read_installed, "card.json", "nano"), CARD),
        ("figures of a step cache", read_figures, FIGURES),
        ("record of a LoRA", read_lora_record, LORA_RECORD),
        ("download record", read_download, DOWNLOAD),
        ("recorded JSON", read_case, RECORD),
        ("recorded cases", run_cases, {"caption": "a man", "phrases": ["man"], "groups": [[1, 2]], "width": 64}),
    ],
)
def test_records(name: str, parse: Any, seed: Any, fuzz: Fuzz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = tmp_path / "trial" / "inside"
    monkeypatch.setenv("LUMOSX_HOME", str(inside))
    monkeypatch.setattr("engine.weights.installed.assets_dir", lambda: inside / "models")
    fuzz(Target(name, parse, encoded(seed), "json"), damaged(st.just(seed)))


def test_recorded_tensors(fuzz: Fuzz) -> None:
    fuzz(Target("recorded tensors", read_recorded_tensors, SAFETENSORS), made_safetensors)
