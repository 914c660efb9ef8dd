"""Every clip says that it was generated, in the words other programs look for, and visibly where that is wished for."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from PIL import Image

from engine.clip import ClipWriter, read_recipe
from engine.pictures import PictureStore
from engine.portable import make_recipe
from engine.provenance import SOURCE_TYPE, xmp
from engine.recipe import Recipe, replace_in_mp4
from engine.visible_mark import VisibleMark
from studio.formats import save_as
from tests.unit.tiny_studio import tiny_request

SIZE = (160, 96)


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    store = PictureStore(tmp_path / "pictures")
    return make_recipe(tiny_request(store), store, "digest")


def write(path: Path, recipe: Recipe, *, mark: bool = False, frames: int = 2) -> Path:
    with ClipWriter(path, width=SIZE[0], height=SIZE[1], fps=8, recipe=recipe, mark=mark) as writer:
        for _ in range(frames):
            writer.write(np.full((SIZE[1], SIZE[0], 3), 120, dtype=np.uint8))
    return path


def packet_in(data: bytes) -> str:
    """The source type that the one XMP packet in a file names."""
    assert data.count(b"<x:xmpmeta") == 1
    start, end = data.index(b"<x:xmpmeta"), data.index(b"</x:xmpmeta>") + len(b"</x:xmpmeta>")
    found = ElementTree.fromstring(data[start:end]).find(
        ".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType"
    )
    assert found is not None
    return found.text or ""


def test_the_packet_is_xml_whatever_the_engine_is_called() -> None:
    root = ElementTree.fromstring(xmp("Made by <A & B>").partition("?>")[2].rpartition("<?xpacket")[0])
    assert "Made by <A & B>" in "".join(root.itertext())


@pytest.mark.parametrize("name", ["clip.mp4", "clip.gif"])
def test_video_and_gif_carry_it_and_still_play_and_open(name: str, recipe: Recipe, tmp_path: Path) -> None:
    path = write(tmp_path / name, recipe)
    assert packet_in(path.read_bytes()) == SOURCE_TYPE
    assert read_recipe(path) == recipe
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 2
    if name.endswith("gif"):
        with Image.open(path) as image:
            assert getattr(image, "n_frames", 0) == 2


def test_a_webm_says_it_in_a_tag(recipe: Recipe, tmp_path: Path) -> None:
    path = write(tmp_path / "clip.webm", recipe)
    with av.open(str(path)) as container:
        assert container.metadata["DIGITALSOURCETYPE"] == SOURCE_TYPE
        assert container.metadata["COMMENT"] == recipe.statement
    assert read_recipe(path) == recipe


def test_single_frames_say_it_too(recipe: Recipe, tmp_path: Path) -> None:
    folder = write(tmp_path / "frames", recipe)
    assert packet_in((folder / "frame_00000.png").read_bytes()) == SOURCE_TYPE
    clip = write(tmp_path / "clip.mp4", recipe)
    with zipfile.ZipFile(save_as(clip, "png", tmp_path / "exports", pictures=True)) as archive:
        frame = archive.read(archive.namelist()[0])
    assert packet_in(frame) == SOURCE_TYPE
    with Image.open(io.BytesIO(frame)) as image:
        assert image.text["Comment"].startswith("AI-generated")  # type: ignore[attr-defined]


def test_a_copy_without_pictures_and_one_with_another_recipe_say_it_once(recipe: Recipe, tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", recipe)
    shared = save_as(clip, "mp4", tmp_path / "exports", pictures=False)
    assert packet_in(shared.read_bytes()) == SOURCE_TYPE
    assert read_recipe(shared).pictures == {}
    clip.write_bytes(replace_in_mp4(clip, read_recipe(shared)))
    assert packet_in(clip.read_bytes()) == SOURCE_TYPE
    assert read_recipe(clip).pictures == {}


@pytest.mark.parametrize("size", [(128, 96), (832, 480), (480, 832), (16, 16)])
def test_the_visible_mark_changes_one_corner_alone(size: tuple[int, int]) -> None:
    frame = np.full((size[1], size[0], 3), 200, dtype=np.uint8)
    marked = VisibleMark(*size).draw(frame)
    assert (frame == 200).all()
    changed = (marked != frame).any(axis=2)
    assert changed.any()
    if min(size) > 90:
        assert not changed[: size[1] // 2].any()
        assert not changed[:, : size[0] // 4].any()
        assert marked.max() > 220  # the words
        assert marked.min() < 100  # their ground


def test_marked_copies_are_copies_and_the_clip_stays(recipe: Recipe, tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", recipe)
    before = clip.read_bytes()
    assert save_as(clip, "mp4", tmp_path / "exports", pictures=True) == clip
    marked = save_as(clip, "mp4", tmp_path / "exports", pictures=True, mark=True)
    assert marked.name == "clip-marked.mp4"
    assert clip.read_bytes() == before
    assert read_recipe(marked) == recipe
    with av.open(str(marked)) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    corner, middle = frame[-24:-6, -60:-6], frame[20:40, 20:40]
    assert corner.astype(int).std() > 20
    assert abs(int(middle.mean()) - 120) < 4
    with zipfile.ZipFile(save_as(clip, "png", tmp_path / "exports", pictures=True, mark=True)) as archive:
        assert archive.filename is not None
        assert archive.filename.endswith("clip-marked.zip")
