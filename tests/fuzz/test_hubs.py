"""What a hub, a mirror or a page in between answers to a download, and archives of models from anywhere."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from huggingface_hub import constants
from hypothesis import strategies as st

from engine.cancel import CancelToken
from engine.weights.catalogue import CatalogueEntry, CatalogueFile
from engine.weights.hub import HuggingFaceHub
from engine.weights.packs import fetch_one
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Target

DETECTOR = bytes(range(256)) * 4
SIBLINGS = [
    {"rfilename": "vae.pth", "size": 9, "blobId": "0" * 40, "lfs": {"size": 9, "sha256": "1" * 64, "pointerSize": 130}},
    {"rfilename": "umt5-xxl/tokenizer.json", "size": 3, "blobId": "2" * 40},
    {"rfilename": "../away", "size": 1, "blobId": "3" * 40},
]
ANSWER = {"id": "a/b", "modelId": "a/b", "sha": "4" * 40, "siblings": SIBLINGS, "tags": [], "private": False}
PACK = CatalogueEntry(
    name="face-detection",
    title="A pack",
    purpose="",
    licence="",
    licence_note="",
    repository="",
    address="http://hub.invalid/",
    archive=CatalogueFile(name="pack.zip", purpose="", approximate_bytes=1),
    files=(
        CatalogueFile(
            name="a.onnx",
            purpose="",
            approximate_bytes=len(DETECTOR),
            sha256=hashlib.sha256(DETECTOR).hexdigest(),
        ),
    ),
)


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Whatever is asked, the last of these bytes is the answer."""
    answers = [b""]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=answers[-1], headers={"Content-Type": "application/json"})

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        monkeypatch.setattr("huggingface_hub.hf_api.get_session", lambda: client)
        yield answers


def test_listings(fuzz: Fuzz, answering: list[bytes]) -> None:
    def read_listing(data: bytes, _folder: Path) -> None:
        answering[-1] = data
        for file in HuggingFaceHub("http://hub.invalid").listing("a/b").files:
            assert not Path(file.path).is_absolute()
            assert ".." not in file.path.split("/")
            assert file.size_bytes >= 0

    page = b"<!doctype html><title>Log in to this network</title>"
    seeds = [json.dumps(ANSWER).encode(), page, b"[]", b"null"]
    fuzz(Target("listing of a hub", read_listing, seeds, "json"), st.binary(max_size=60))


def packed(*members: tuple[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def take_pack(data: bytes, folder: Path) -> None:
    source = folder / "pack.zip"
    source.write_bytes(data)
    out = folder / "models"
    try:
        fetch_one(PACK, out, folder / "downloads", HuggingFaceHub(), source, lambda _: None, CancelToken())
        assert (out / "a.onnx").read_bytes() == DETECTOR
    finally:
        assert not out.exists() or {path.name for path in out.iterdir()} <= {"a.onnx"}
        (out / "a.onnx").unlink(missing_ok=True)


def test_packs(fuzz: Fuzz) -> None:
    whole = packed(("a.onnx", DETECTOR), ("notes.txt", b"x"))
    seeds = [
        whole,
        packed(("deep/a.onnx", DETECTOR), kind=zipfile.ZIP_STORED),
        packed(("../../bait.onnx", DETECTOR)),
        packed(("a.onnx", bytes(len(DETECTOR)))),
        packed(("large", bytes(3_000_000))),
        DETECTOR,
    ]
    letters = st.characters(codec="utf-8", exclude_characters="\0")  # where zipfile ends a name
    names = st.text(letters, min_size=1, max_size=9)
    made = st.builds(packed, st.tuples(names, st.binary(max_size=40)))
    fuzz(Target("pack of models", take_pack, seeds), made)
