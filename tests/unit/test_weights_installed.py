"""Installed weights: the built-in model and a converted one are found whole, and every damage is named with its
repair."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from engine import weights
from engine.errors import InputError, OutputError, WeightsError
from engine.weights import checked, installed
from engine.weights.catalogue import entries, entry
from engine.weights.files import record_file
from engine.weights.records import ComponentRecord, ConversionRecord, write_conversion


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def nano(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the built-in model with its card."""
    folder = tmp_path / "assets" / "nano"
    contents = {"transformer/weights.safetensors": b"a" * 5000, "vae/weights.safetensors": b"b" * 3000}
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    (folder / "card.json").write_text(json.dumps({"files": digests}))
    monkeypatch.setattr(installed, "assets_dir", lambda: folder.parent)
    return folder


@pytest.fixture
def lumosx(home: Path) -> Path:
    """A stand-in for a converted model with its record."""
    folder = home / "models" / "lumosx"
    components: dict[str, ComponentRecord] = {}
    for name in ("transformer", "vae"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model.safetensors").write_bytes(name.encode() * 100)
        record = record_file(folder / name / "model.safetensors")
        components[name] = {"source": "", "files": {f"{name}/model.safetensors": record}}
    (folder / "model_index.json").write_text("{}")
    components["model_index.json"] = {
        "source": "",
        "files": {"model_index.json": record_file(folder / "model_index.json")},
    }
    write_conversion(folder, ConversionRecord(complete=True, components=components))
    return folder


def test_the_catalogue_names_licences_and_files() -> None:
    assert [one.name for one in entries()] == [
        "nano",
        "lumosx",
        "segment-anything",
        "face-detection",
        "preview-decoder",
    ]
    assert [one.name for one in entries() if one.licence != "Apache-2.0"] == ["face-detection", "preview-decoder"]
    assert [one.name for one in entries() if one.non_commercial] == ["face-detection"]
    published = entry("lumosx")
    assert published.repository == "Alibaba-DAMO-Academy/LumosX"
    assert any(file.covers("LumosX_models/all/.metadata") for file in published.files)
    assert not any(file.covers("README.md") or file.covers("vae.pth.old") for file in published.files)
    with pytest.raises(InputError, match="choose one of nano, lumosx, segment-anything, face-detection, preview-dec"):
        entry("wan")


def test_nano_is_found_and_read_only_once(nano: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights.locate("nano") == nano
    read: list[Path] = []

    def recorded(path: Path, *_: object) -> object:
        read.append(path)
        return record_file(path)

    monkeypatch.setattr(checked, "record_file", recorded)
    assert weights.locate("nano") == nano
    assert read == []
    file = nano / "vae" / "weights.safetensors"
    file.write_bytes(file.read_bytes())
    stamp = file.stat()
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1_000_000_000))
    assert weights.locate("nano") == nano
    assert read == [file]


def test_damaged_nano_names_the_file_and_the_repair(nano: Path) -> None:
    weights.locate("nano")
    (nano / "vae" / "weights.safetensors").write_bytes(b"c" * 2999)
    with pytest.raises(WeightsError, match=r"vae.weights\.safetensors is damaged: restore the folder assets/nano"):
        weights.locate("nano")
    with pytest.raises(WeightsError, match="is damaged"):
        weights.verify("nano")
    (nano / "vae" / "weights.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"weights\.safetensors is missing: restore the folder assets/nano"):
        weights.locate("nano")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"files": {}}', '{"files": {"a": "b"}}', '{"files": 3}'])
def test_a_damaged_card(content: str, nano: Path) -> None:
    (nano / "card.json").write_text(content)
    with pytest.raises(WeightsError, match="restore the folder assets/nano"):
        weights.locate("nano")


def test_a_home_that_cannot_be_written_does_not_matter(nano: Path, home: Path) -> None:
    home.write_text("a file where the folder should be")
    assert weights.locate("nano") == nano


def test_a_damaged_cache_does_not_matter(nano: Path, home: Path) -> None:
    weights.locate("nano")
    (home / "cache" / "weights-verified.json").write_text("[")
    assert weights.locate("nano") == nano


def test_lumosx_is_not_there() -> None:
    with pytest.raises(WeightsError, match=r"not installed: run `python3 launcher\.py weights download lumosx`"):
        weights.locate("lumosx")
    assert "not installed" in weights.status("lumosx").problem


def test_unknown_engine() -> None:
    for ask in (weights.locate, weights.weights_digest, weights.verify, weights.remove):
        with pytest.raises(InputError, match="There are no weights “sora”"):
            ask("sora")


def test_lumosx_is_found_verified_and_named(lumosx: Path) -> None:
    assert weights.locate("lumosx") == lumosx
    read: list[int] = []
    assert weights.verify("lumosx", read.append) == 3
    assert sum(read) == 1100 + 300 + 2
    assert weights.status("lumosx").problem == ""


def test_damage_of_lumosx(lumosx: Path) -> None:
    file = lumosx / "vae" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"x")
    assert weights.locate("lumosx") == lumosx  # a look at sizes, which are right
    with pytest.raises(WeightsError, match=r"vae.model\.safetensors is damaged: .*weights download lumosx"):
        weights.verify("lumosx")
    file.write_bytes(content[:-1])
    with pytest.raises(WeightsError, match=r"vae.model\.safetensors is damaged"):
        weights.locate("lumosx")
    file.unlink()
    with pytest.raises(WeightsError, match=r"vae.model\.safetensors is missing"):
        weights.locate("lumosx")


def test_damage_is_found_by_whoever_loads_and_known_from_then_on(lumosx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert weights.locate_whole("lumosx") == lumosx
    read: list[Path] = []

    def recorded(path: Path, *_: Any) -> object:
        read.append(path)
        return record_file(path)

    monkeypatch.setattr(checked, "record_file", recorded)
    assert weights.locate_whole("lumosx") == lumosx
    assert read == []  # nothing has changed
    file = lumosx / "vae" / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + b"x")
    _touch(file)
    with pytest.raises(WeightsError, match=r"vae.model\.safetensors is damaged: press Repair"):
        weights.locate_whole("lumosx")
    assert read == [file]
    assert "is damaged" in weights.status("lumosx").problem
    with pytest.raises(WeightsError, match="is damaged"):
        weights.locate("lumosx")
    file.write_bytes(content)
    _touch(file, 2)
    assert weights.locate_whole("lumosx") == lumosx
    assert weights.status("lumosx").problem == ""


def _touch(file: Path, seconds: int = 1) -> None:
    """Another time of change, also where the clock of the disk is coarse."""
    stamp = file.stat()
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + seconds * 1_000_000_000))


def test_an_interrupted_conversion_is_not_used(lumosx: Path) -> None:
    write_conversion(lumosx, ConversionRecord(complete=False, components={}))
    with pytest.raises(WeightsError, match="was interrupted"):
        weights.locate("lumosx")
    (lumosx / "conversion.json").write_text("{")
    with pytest.raises(WeightsError, match=r"conversion\.json is missing or damaged"):
        weights.locate("lumosx")


def test_the_digest_follows_the_weights(nano: Path, lumosx: Path) -> None:
    first = weights.weights_digest("nano")
    assert len(first) == 64
    assert first == weights.weights_digest("nano") != weights.weights_digest("lumosx")
    card = json.loads((nano / "card.json").read_text())
    card["files"]["vae/weights.safetensors"] = "0" * 64
    (nano / "card.json").write_text(json.dumps(card))
    assert weights.weights_digest("nano") != first


def test_removing(lumosx: Path, home: Path) -> None:
    downloads = home / "models" / "downloads" / "lumosx"
    downloads.mkdir(parents=True)
    (downloads / "vae.pth").write_bytes(bytes(500))
    (weights.model_folder("lumosx") / "magnitudes.json").write_text("{}")  # what `weights calibrate` leaves there
    assert weights.remove("lumosx") > 1900
    assert not lumosx.exists()
    assert not downloads.exists()
    with pytest.raises(WeightsError, match="nothing to remove"):
        weights.remove("lumosx")


def test_a_foreign_file_among_ours_is_not_removed(lumosx: Path) -> None:
    (lumosx / "lora.safetensors").write_bytes(b"mine")
    with pytest.raises(OutputError, match=r"lora\.safetensors was not written by this program"):
        weights.remove("lumosx")
    assert weights.locate("lumosx") == lumosx


def test_only_what_is_ours_is_removed(home: Path) -> None:
    folder = home / "models" / "lumosx"
    folder.mkdir(parents=True)
    (folder / "diary.txt").write_text("mine")
    with pytest.raises(OutputError, match="was not written by this program"):
        weights.remove("lumosx")
    assert (folder / "diary.txt").exists()
    with pytest.raises(InputError, match="comes with the program and cannot be removed"):
        weights.remove("nano")
