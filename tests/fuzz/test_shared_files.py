"""Shared files from strangers: the bytes of the zip, and whatever a zip can hold under any name."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from engine.errors import InputError
from engine.pictures import PictureStore
from engine.shared_file import FORMAT, LABEL_NAME
from engine.sources import load_source
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Target
from tests.fuzz.test_folders import SEEDS, entries, made, raw


def zipped(tree: dict[str, str], *, label: bool, packed: bool = True) -> bytes:
    """A folder that is written down as a JSON object, as a zip; with a label of ours whose digests are right."""
    members = {name: raw(content) for name, content in tree.items()}
    if label:
        digests = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
        members[LABEL_NAME] = json.dumps({"format": FORMAT, "version": 1, "digests": digests}).encode()
    stream = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", kind) as archive:
        warnings.simplefilter("ignore")  # of names that are there already
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, kind)
    return stream.getvalue()


def read(data: bytes, folder: Path) -> None:
    """The file as it comes."""
    path = folder / "stranger.lumosx"
    path.write_bytes(data)
    try:
        source = load_source(str(path), PictureStore(folder / "pictures"))
        source.title.encode()
        source.scene.problems()
    finally:
        path.unlink()


def read_tree(data: bytes, folder: Path) -> None:
    """A whole zip with a label that is right, of members with any names and contents."""
    tree = dict(entries(data))
    try:
        file = zipped(tree, label=len(data) % 3 > 0, packed=len(data) % 2 == 0)
    except (ValueError, UnicodeError):  # a name that no zip can hold
        raise InputError("This can be no zip.") from None
    read(file, folder)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # nobody pulls the plug here
    (tmp_path / "trial" / "inside").mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "trial" / "inside"))


def test_shared_files(fuzz: Fuzz) -> None:
    trees = [tree for tree in SEEDS if not any(char >= "\udc80" for name in tree for char in name)]
    seeds = [zipped(tree, label=label, packed=label) for tree in trees for label in (False, True)]
    fuzz(Target("shared file", read, seeds), st.binary(max_size=200).map(lambda tail: seeds[0][:-22] + tail))


def test_zips_of_anything(fuzz: Fuzz) -> None:
    trees: list[dict[str, Any]] = [*SEEDS, {f"top/{name}": content for name, content in SEEDS[0].items()}]
    trees.append({"scene.json": base64.b64encode(b"[" * 5000).decode(), LABEL_NAME: "{}"})
    fuzz(Target("zip of anything", read_tree, [json.dumps(tree).encode() for tree in trees], "json"), made)
