"""Clips in other formats: same frames, same recipe, and none of the pictures where that was asked for."""

from __future__ import annotations

import zipfile
from pathlib import Path

import av
import numpy as np
import pytest

from engine.clip import ClipWriter, Recipe, read_recipe
from engine.engines import resolve_settings
from engine.errors import InputError
from engine.request import RenderRequest
from engine.scene import Reference, Role, Scene
from studio.formats import FORMATS, save_as

FRAMES = 5
PICTURE = b"a picture that is private"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    request = RenderRequest(
        scene=Scene(
            prompt="a dog",
            objects=(Reference(id="dog", role=Role.object, label="dog", image="0" * 64, mask=None),),
        ),
        settings=resolve_settings("nano", width=64, height=48, num_frames=FRAMES, seed=8),
    )
    recipe = Recipe(
        request=request,
        engine_version="1",
        weights_digest="d",
        engine_title="Nano",
        pictures={"0" * 64: PICTURE},
    )
    path = tmp_path / "clips" / "dog.mp4"
    path.parent.mkdir()
    with ClipWriter(path, width=64, height=48, fps=12, recipe=recipe) as writer:
        for number in range(FRAMES):
            writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    return path


def _levels(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [int(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]


def test_its_own_format_is_the_clip_itself(clip: Path, tmp_path: Path) -> None:
    assert save_as(clip, "mp4", tmp_path / "out", pictures=True) == clip
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["webm", "gif"])
def test_another_format_has_the_same_frames_and_recipe(clip: Path, tmp_path: Path, name: str) -> None:
    copy = save_as(clip, name, tmp_path / "out", pictures=True)
    assert copy == tmp_path / "out" / f"dog.{name}"
    assert read_recipe(copy) == read_recipe(clip)
    assert np.allclose(_levels(copy), [40 * number for number in range(FRAMES)], atol=8)
    made = copy.stat().st_mtime_ns
    assert save_as(clip, name, tmp_path / "out", pictures=True).stat().st_mtime_ns == made


@pytest.mark.parametrize("name", ["mp4", "webm", "gif"])
def test_a_shared_copy_holds_no_pictures(clip: Path, tmp_path: Path, name: str) -> None:
    copy = save_as(clip, name, tmp_path / "out", pictures=False)
    assert copy.name == f"dog-shared.{name}"
    recipe = read_recipe(copy)
    assert recipe.pictures == {}
    assert recipe.request == read_recipe(clip).request
    assert len(_levels(copy)) == FRAMES
    assert read_recipe(clip).pictures == {"0" * 64: PICTURE}
    if name == "mp4":
        assert _levels(copy) == _levels(clip)  # not encoded a second time


def test_frames_come_as_a_zip_of_pictures(clip: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(save_as(clip, "png", tmp_path / "out", pictures=False)) as archive:
        assert archive.namelist() == [f"dog/frame_{number:04d}.png" for number in range(FRAMES)]
        assert archive.testzip() is None


def test_what_cannot_be_saved_leaves_nothing_behind(clip: Path, tmp_path: Path) -> None:
    broken = tmp_path / "clips" / "broken.mp4"
    broken.write_bytes(b"no video at all")
    for name, _ in FORMATS:
        with pytest.raises(InputError):
            save_as(broken, name, tmp_path / "out", pictures=False)
    with pytest.raises(InputError, match="of the list"):
        save_as(clip, "exe", tmp_path / "out", pictures=True)
    assert list((tmp_path / "out").iterdir()) == []
