"""Reading checkpoints: every form and wrapping, and one sentence for everything that is damaged, foreign or hostile."""

from __future__ import annotations

import os
import pickle
import resource
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import WeightsError
from engine.weights.checkpoints import open_checkpoint, read_network_state
from tests.unit.tiny_bundle import write_distributed

STATE = {
    "patch_embedding.weight": torch.arange(24, dtype=torch.float32).reshape(6, 2, 2),
    "blocks.0.modulation": torch.arange(6, dtype=torch.float64).reshape(1, 6),
    "norm.weight": torch.arange(5).to(torch.bfloat16),
    "scale": torch.tensor(3.0),
}


def _prefixed(prefix: str, offset: float = 0) -> dict[str, torch.Tensor]:
    return {prefix + name: value + offset for name, value in STATE.items()}


def _same(found: dict[str, torch.Tensor]) -> bool:
    return found.keys() == STATE.keys() and all(
        found[name].dtype == STATE[name].dtype and torch.equal(found[name], STATE[name]) for name in STATE
    )


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        _prefixed("ema.") | _prefixed("model.", 1),
        _prefixed("ema.module."),
        _prefixed("module."),
        _prefixed("model._orig_mod."),
        _prefixed("model.diffusion_model."),
        {"ema": STATE, "model": _prefixed("", 1), "step": 12},
        {"ema": {"state_dict": _prefixed("module.")}},
        {"model_state": STATE},
        {"state_dict": _prefixed("ema.") | _prefixed("optimizer.", 2)},
        {"model": STATE},
    ],
    ids=lambda content: ",".join(list(content)[:1]),
)
def test_every_wrapping_of_a_file(content: dict[str, Any], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "network.pt")
    assert _same(read_network_state(tmp_path / "network.pt"))


def test_files_in_torchs_old_form(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "network.pth", _use_new_zipfile_serialization=False)
    assert _same(read_network_state(tmp_path / "network.pth"))


def test_safetensors_with_prefix(tmp_path: Path) -> None:
    save_file(_prefixed("ema.") | _prefixed("model.", 1), tmp_path / "LumosX_models.safetensors")
    assert _same(read_network_state(tmp_path))


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_tensors_that_are_spread_over_ranks(num_ranks: int, tmp_path: Path) -> None:
    content = _prefixed("ema.") | _prefixed("model.", 1) | {"optimizer.state.0": torch.ones(4)}
    write_distributed(tmp_path / "all", content, num_ranks)
    assert _same(read_network_state(tmp_path))
    assert read_network_state(tmp_path / "all", prefer="model")["scale"] == 4


def test_shapes_are_known_before_anything_is_read(tmp_path: Path) -> None:
    write_distributed(tmp_path / "all", _prefixed("ema."))
    checkpoint = open_checkpoint(tmp_path)
    info = checkpoint.tensors["patch_embedding.weight"]
    assert (info.shape, info.dtype, info.num_bytes) == ((6, 2, 2), torch.float32, 96)
    assert list(checkpoint) == list(STATE)


class _Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_hostile_metadata_is_not_run(tmp_path: Path) -> None:
    write_distributed(tmp_path / "all", STATE)
    (tmp_path / "all" / ".metadata").write_bytes(pickle.dumps(_Bomb(tmp_path / "ran")))
    with pytest.raises(WeightsError, match=r"\.metadata was not read, because it asks for .*mkdir"):
        read_network_state(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_hostile_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"patch_embedding.weight": _Bomb(tmp_path / "ran")}, tmp_path / "network.pt")
    with pytest.raises(WeightsError, match=r"network\.pt was not read, because it asks for .*mkdir"):
        read_network_state(tmp_path / "network.pt")
    assert not (tmp_path / "ran").exists()


def test_metadata_may_not_point_outside_its_folder(tmp_path: Path) -> None:
    write_distributed(tmp_path / "all", STATE)
    metadata = tmp_path / "all" / ".metadata"
    content = pickle.loads(metadata.read_bytes())
    for place in content.storage_data.values():
        place.relative_path = "../" + place.relative_path
    metadata.write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match=r"because it names \.\./__0_0\.distcp, which lies outside"):
        read_network_state(tmp_path)


def test_gaps_between_pieces_are_noticed(tmp_path: Path) -> None:
    write_distributed(tmp_path / "all", STATE)
    metadata = tmp_path / "all" / ".metadata"
    content = pickle.loads(metadata.read_bytes())
    content.state_dict_metadata["patch_embedding.weight"].chunks.pop()
    metadata.write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match=r"\.metadata is damaged .* where it holds patch_embedding\.weight"):
        open_checkpoint(tmp_path)


def test_a_file_of_the_folder_is_missing(tmp_path: Path) -> None:
    write_distributed(tmp_path / "all", STATE)
    (tmp_path / "all" / "__1_0.distcp").unlink()
    with pytest.raises(WeightsError, match=r"__1_0\.distcp is missing: download that file again"):
        open_checkpoint(tmp_path)


def test_a_file_of_the_folder_is_truncated(tmp_path: Path) -> None:
    write_distributed(tmp_path / "all", STATE)
    file = tmp_path / "all" / "__1_0.distcp"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(WeightsError, match=r"__1_0\.distcp is damaged or incomplete: download"):
        open_checkpoint(tmp_path)


def test_a_file_of_the_folder_is_overwritten(tmp_path: Path) -> None:
    write_distributed(tmp_path / "all", STATE)
    file = tmp_path / "all" / "__0_0.distcp"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(WeightsError, match=r"__0_0\.distcp is damaged .* where it holds patch_embedding\.weight"):
        read_network_state(tmp_path)


def test_metadata_asks_for_no_more_memory_than_it_fills(tmp_path: Path) -> None:
    write_distributed(tmp_path / "all", STATE)
    metadata = tmp_path / "all" / ".metadata"
    for greedy in (
        b"r" + (2**31).to_bytes(4, "little"),  # remembers an object as number two billion: a table of 32 GB
        b"\x96" + (2**34).to_bytes(8, "little"),  # an array of 16 GB of which nothing is there
    ):
        metadata.write_bytes(b"\x80\x05N" + greedy + b".")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(WeightsError, match="damaged or incomplete"):
            open_checkpoint(tmp_path)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_a_dtype_is_one(tmp_path: Path) -> None:
    write_distributed(tmp_path / "all", STATE)
    metadata = tmp_path / "all" / ".metadata"
    content = pickle.loads(metadata.read_bytes())
    object.__setattr__(content.state_dict_metadata["patch_embedding.weight"].properties, "dtype", "a word")
    metadata.write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match="damaged or incomplete"):
        open_checkpoint(tmp_path)


def test_hidden_metadata_was_not_copied(tmp_path: Path) -> None:
    write_distributed(tmp_path / "all", STATE)
    (tmp_path / "all" / ".metadata").unlink()
    with pytest.raises(WeightsError, match=r"all lacks the file \.metadata: .*hidden files included"):
        read_network_state(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps({"a": 1}), pickle.dumps(None)])
def test_metadata_is_something_else(content: bytes, tmp_path: Path) -> None:
    write_distributed(tmp_path / "all", STATE)
    (tmp_path / "all" / ".metadata").write_bytes(content)
    with pytest.raises(WeightsError, match=r"\.metadata is damaged or incomplete: download"):
        read_network_state(tmp_path)


@pytest.mark.parametrize("name", ["network.pt", "network.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.95])
def test_truncated_files(name: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / name
    if path.suffix == ".pt":
        torch.save(STATE, path)
    else:
        save_file(STATE, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsError, match="is damaged or incomplete: download that file again"):
        read_network_state(path)


@pytest.mark.parametrize("content", [{"step": 3}, [1, 2], torch.ones(3), {"ema": {"step": 3}}])
def test_files_without_a_state_dict(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "network.pt")
    with pytest.raises(WeightsError, match="holds no weights that can be used: use the published files"):
        read_network_state(tmp_path / "network.pt")


def test_values_that_are_no_tensors(tmp_path: Path) -> None:
    torch.save(STATE | {"decay": 0.999}, tmp_path / "network.pt")
    with pytest.raises(WeightsError, match="holds decay, which LumosX does not have"):
        read_network_state(tmp_path / "network.pt")


def test_only_an_optimizer(tmp_path: Path) -> None:
    torch.save(_prefixed("optimizer."), tmp_path / "network.pt")
    with pytest.raises(WeightsError, match="holds no weights that can be used"):
        read_network_state(tmp_path / "network.pt")


def test_two_tensors_of_one_name(tmp_path: Path) -> None:
    torch.save(_prefixed("ema.") | {"ema.module.scale": torch.tensor(1.0)}, tmp_path / "network.pt")
    with pytest.raises(WeightsError, match="holds scale twice"):
        read_network_state(tmp_path / "network.pt")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no video network: put the folder LumosX_models or"):
        read_network_state(tmp_path)
    with pytest.raises(WeightsError, match=r"There is no .*nowhere: check the path"):
        read_network_state(tmp_path / "nowhere")
