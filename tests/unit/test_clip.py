"""Clips on disk: real encoders, equal files for equal frames, and nothing half-written whatever goes wrong."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from engine.clip import ClipWriter, animated_preview, check_target
from engine.errors import InputError, OutputError
from engine.pictures import PictureStore
from engine.recipe import Recipe, read_recipe
from tests.unit.small_recipe import small_recipe

WIDTH, HEIGHT, FPS, FRAMES = 64, 48, 12, 9
FORMS = ("clip.mp4", "clip.webm", "clip.gif", "frames")

Frame = npt.NDArray[np.uint8]


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    store = PictureStore(tmp_path / "pictures")
    return small_recipe(store, width=WIDTH, height=HEIGHT, num_frames=FRAMES, fps=FPS)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def moving_square() -> Iterator[Frame]:
    """A red square that wanders over blue ground."""
    for number in range(FRAMES):
        frame = np.full((HEIGHT, WIDTH, 3), (30, 60, 160), dtype=np.uint8)
        frame[16:32, 4 * number : 4 * number + 16] = (200, 40, 30)
        yield frame


def write(out: Path, recipe: Recipe, frames: Iterator[Frame] | None = None) -> Path:
    with ClipWriter(out, width=WIDTH, height=HEIGHT, fps=FPS, recipe=recipe) as writer:
        for frame in frames or moving_square():
            writer.write(frame)
    return out


def read_frames(path: Path) -> Frame:
    if path.is_dir():
        return np.stack([np.asarray(Image.open(file)) for file in sorted(path.glob("frame_*.png"))])
    with av.open(str(path)) as container:
        return np.stack(
            [frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False) for frame in container.decode(video=0)]
        )


@pytest.mark.parametrize("name", FORMS)
def test_every_form_shows_the_frames_and_holds_the_recipe(name: str, target: Path, recipe: Recipe) -> None:
    out = write(target / name, recipe)
    shown = read_frames(out)
    assert shown.shape == (FRAMES, HEIGHT, WIDTH, 3)
    wanted = np.stack(list(moving_square())).astype(float)
    # 4:2:0 chroma blurs the edge of the square; a wrong colour matrix would shift every pixel by ten and more.
    assert np.median(np.abs(shown - wanted)) <= 3
    assert np.abs(shown - wanted).mean() < (0.5 if name == "frames" else 4)
    assert read_recipe(out) == recipe
    assert [path.name for path in target.iterdir()] == [name]


@pytest.mark.parametrize("name", FORMS)
def test_equal_frames_give_equal_files(name: str, tmp_path: Path, recipe: Recipe) -> None:
    contents: list[list[bytes]] = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        out = write(tmp_path / folder / name, recipe)
        files = sorted(out.iterdir()) if out.is_dir() else [out]
        contents.append([file.read_bytes() for file in files])
    assert contents[0] == contents[1]


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "h264"), ("clip.webm", "vp9"), ("clip.gif", "gif")])
def test_codecs_rates_and_what_the_file_says_of_itself(name: str, codec: str, target: Path, recipe: Recipe) -> None:
    out = write(target / name, recipe)
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name in (codec, f"lib{codec}")
        assert stream.average_rate is not None
        # A gif counts in hundredths of a second.
        assert float(stream.average_rate) == pytest.approx(FPS, rel=0.05 if codec == "gif" else 0.01)
        if codec != "gif":
            assert stream.codec_context.pix_fmt == "yuv420p"
            said = container.metadata["comment" if codec == "h264" else "COMMENT"]
            assert said.startswith("AI-generated with LumosX Studio")
            assert "built-in preview model" in said
            assert "creation_time" not in container.metadata
    if codec == "gif":
        with Image.open(out) as image:
            assert image.info["comment"].startswith(b"AI-generated with LumosX Studio")


def test_colours_of_a_video_are_tagged_so_that_every_player_shows_the_same(target: Path, recipe: Recipe) -> None:
    for name in ("clip.mp4", "clip.webm"):
        with av.open(str(write(target / name, recipe))) as container:
            context = container.streams.video[0].codec_context
            assert (context.colorspace, context.color_range) == (1, 1), name  # BT.709, limited range


def test_a_gif_keeps_its_time_and_every_frame_also_those_that_repeat(target: Path, recipe: Recipe) -> None:
    frame = next(moving_square())
    out = write(target / "clip.gif", recipe, iter([frame] * 13))
    with Image.open(out) as image:
        assert getattr(image, "n_frames", 1) == 13
        assert image.info["loop"] == 0
        durations: list[int] = []
        for number in range(13):
            image.seek(number)
            durations.append(image.info["duration"])
    assert set(durations) == {80, 90}
    assert sum(durations) == 1080  # 13 / 12 s


def test_a_gif_of_one_colour(target: Path, recipe: Recipe) -> None:
    black = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    assert np.array_equal(read_frames(write(target / "clip.gif", recipe, iter([black, black]))), np.stack([black] * 2))


def test_an_mp4_starts_with_its_index(target: Path, recipe: Recipe) -> None:
    data = write(target / "clip.mp4", recipe).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat") < data.index(b"uuid")


def test_a_png_frame_on_its_own_says_that_it_was_generated(target: Path, recipe: Recipe) -> None:
    out = write(target / "frames", recipe)
    with Image.open(out / "frame_00003.png") as image:
        assert "AI-generated with LumosX Studio" in str(image.info["Comment"])


def test_a_single_frame_is_a_clip_too(target: Path, recipe: Recipe) -> None:
    for name in FORMS:
        out = write(target / name, recipe, iter([next(moving_square())]))
        assert read_frames(out).shape[0] == 1, name
        assert read_recipe(out) == recipe


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("num_written", [0, 3])
def test_an_error_half_way_leaves_what_was_there_before(
    name: str, num_written: int, target: Path, recipe: Recipe
) -> None:
    def broken() -> Iterator[Frame]:
        for number, frame in enumerate(moving_square()):
            if number == num_written:
                raise KeyboardInterrupt
            yield frame

    with pytest.raises(KeyboardInterrupt):
        write(target / name, recipe, broken())
    assert list(target.iterdir()) == []
    before = read_frames(write(target / name, recipe))
    with pytest.raises(KeyboardInterrupt):
        write(target / name, recipe, broken())
    assert np.array_equal(read_frames(target / name), before)
    assert [path.name for path in target.iterdir()] == [name]


@pytest.mark.parametrize("name", FORMS)
def test_a_second_clip_replaces_the_first(name: str, target: Path, recipe: Recipe) -> None:
    write(target / name, recipe)
    write(target / name, recipe, iter([next(moving_square())]))
    assert read_frames(target / name).shape[0] == 1
    assert [path.name for path in target.iterdir()] == [name]


def test_only_a_folder_of_our_frames_is_ever_replaced(target: Path, recipe: Recipe) -> None:
    photos = target / "photos"
    photos.mkdir()
    (photos / "frame_00000.png").write_bytes(b"mine")
    with pytest.raises(OutputError, match="no clip of ours"):
        check_target(photos)
    (photos / "recipe.json").write_text('{"soup": "onions"}')
    with pytest.raises(OutputError, match="no clip of ours"):
        write(photos, recipe)
    assert (photos / "frame_00000.png").read_bytes() == b"mine"


def test_what_somebody_puts_into_the_folder_meanwhile_is_kept(target: Path, recipe: Recipe) -> None:
    out = write(target / "frames", recipe)

    def disturbed() -> Iterator[Frame]:
        yield from moving_square()
        (out / "notes.txt").write_text("mine")

    with pytest.raises(OutputError, match="other things"):
        write(out, recipe, disturbed())
    assert (out / "notes.txt").read_text() == "mine"
    assert [path.name for path in target.iterdir()] == ["frames"]


def test_an_earlier_folder_comes_back_when_the_new_one_cannot_take_its_place(
    target: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write(target / "frames", recipe, iter([next(moving_square())]))
    rename = Path.replace

    def refuse_the_new(self: Path, to: Path) -> Path:
        if to.name == "frames" and not self.parent.name.endswith(".old"):
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, to)

    monkeypatch.setattr(Path, "replace", refuse_the_new)
    with pytest.raises(OutputError, match="not allowed"):
        write(out, recipe)
    assert read_frames(out).shape[0] == 1
    assert [path.name for path in target.iterdir()] == ["frames"]


def test_frames_go_into_the_working_folder_and_through_links(
    target: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target / "here").mkdir()
    (target / "link").symlink_to("here")
    write(target / "link", recipe)
    assert (target / "link").is_symlink()
    assert read_recipe(target / "here") == recipe
    monkeypatch.chdir(target / "here")
    write(Path("."), recipe, iter([next(moving_square())]))
    assert read_frames(target / "here").shape[0] == 1
    assert sorted(path.name for path in target.iterdir()) == ["here", "link"]


@pytest.mark.parametrize("name", FORMS)
def test_names_with_blanks_and_letters_of_all_kinds(name: str, target: Path, recipe: Recipe) -> None:
    folder = target / "Ünïcode 男 %d"
    folder.mkdir()
    out = write(folder / f"100 % “é” #1 {name}", recipe)
    assert read_frames(out).shape[0] == FRAMES
    assert read_recipe(out) == recipe


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for very little."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system takes root")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this machine does not let tests mount a file system")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("name", FORMS)
def test_a_full_disk_is_told_and_leaves_nothing(name: str, small_disk: Path, recipe: Recipe) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, HEIGHT, WIDTH, 3), dtype=np.uint8)
    with pytest.raises(OutputError, match="disk is full"):
        write(small_disk / name, recipe, iter(noise))
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("name", FORMS)
def test_a_failure_of_the_last_step_is_told_and_leaves_nothing(
    name: str, target: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("engine.clip.os.fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        write(target / name, recipe)
    assert list(target.iterdir()) == []


def test_targets_that_cannot_be_written_are_refused_and_nothing_is_made(tmp_path: Path, target: Path) -> None:
    (target / "file").write_text("mine")
    (target / "folder.mp4").mkdir()
    (target / "photos").mkdir()
    (target / "photos" / "me.png").write_bytes(b"mine")
    before = sorted(tmp_path.rglob("*"))
    for name in ("folder.mp4", "photos", "file", "missing/clip.mp4", "file/clip.mp4", f"{'x' * 300}.mp4"):
        with pytest.raises(OutputError):
            check_target(target / name)
    with pytest.raises(InputError, match=r"\.mp4"):
        check_target(target / "clip.avi")
    assert sorted(tmp_path.rglob("*")) == before
    for name in (*FORMS, "clip.MP4"):
        check_target(target / name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder in which nobody can make a file")
def test_a_folder_that_only_looks_writable_is_refused_before_the_work() -> None:
    with pytest.raises(OutputError):
        check_target(Path("/proc/clip.mp4"))


def test_a_colon_in_a_relative_name_is_a_name_and_no_protocol(
    target: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(target)
    Path("a:b").mkdir()
    for name in ("clip: one.mp4", "clip: one.webm", "a:b/clip.mp4", "a:b/clip.webm"):
        write(Path(name), recipe)
        assert read_recipe(Path(name)) == recipe


def test_a_preview_is_an_animated_webp() -> None:
    with Image.open(io.BytesIO(animated_preview(list(moving_square()), FPS))) as image:
        assert image.format == "WEBP"
        assert image.size == (WIDTH, HEIGHT)
        assert getattr(image, "n_frames", 1) == FRAMES
