"""The picture store and what it does with files people really have."""

from __future__ import annotations

import errno
import io
import os
import struct
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine import files
from engine.errors import OutputError, PictureError
from engine.picture_decoding import MAX_FILE_BYTES, decode_picture
from engine.pictures import PictureStore, cut_out, encode_png, model_picture, picture_id, prepare_reference
from engine.scene import Reference, Role
from tests.unit.small_profile import P3, SRGB, grey_profile, ink_profile, rgb_profile

RNG = np.random.default_rng(5)
RED = (200, 30, 40)


@pytest.fixture
def store(tmp_path: Path) -> PictureStore:
    return PictureStore(tmp_path / "pictures")


def noise(height: int = 6, width: int = 9) -> Any:
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format=form, **options)
    return stream.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A valid PNG header that promises more pixels than anybody wants to decode."""

    return png(struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"\0" * 100)


def png(header: bytes, rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# -- the store


def test_pixels_come_back_and_equal_pixels_are_one_file(store: PictureStore) -> None:
    rgb = noise()
    picture = store.add_array(rgb)
    assert store.add_bytes(saved(Image.fromarray(rgb)), "again.png") == picture
    assert store.add_bytes(saved(Image.fromarray(rgb), "BMP"), "again.bmp") == picture
    np.testing.assert_array_equal(store.load(picture), rgb)
    assert [path for path in store.root.rglob("*") if path.is_file()] == [store.path(picture)]
    assert picture in store
    assert "0" * 64 not in store


def test_ids_depend_on_shape_and_kind_not_only_on_bytes() -> None:
    flat = np.zeros((2, 6, 3), dtype=np.uint8)
    assert picture_id(flat) != picture_id(flat.reshape(6, 2, 3))
    assert picture_id(flat) != picture_id(flat.reshape(2, 18))


def test_masks_keep_their_grey_values_and_are_no_pictures(store: PictureStore) -> None:
    mask = RNG.integers(0, 256, (5, 4), dtype=np.uint8)
    identifier = store.add_mask(mask)
    np.testing.assert_array_equal(store.load_mask(identifier), mask)
    assert store.add_mask_bytes(encode_png(mask), "mask.png") == identifier
    with pytest.raises(PictureError, match="mask stands where"):
        store.load(identifier)
    with pytest.raises(PictureError, match="mask stands where"):
        store.load_mask(store.add_array(noise()))


@pytest.mark.parametrize("identifier", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", "g" * 64])
def test_what_is_no_id_never_becomes_a_path(store: PictureStore, identifier: str) -> None:
    assert identifier not in store
    with pytest.raises(PictureError, match="not a picture of this program"):
        store.load(identifier)


def test_a_missing_or_damaged_picture_is_told_and_healed_by_adding_it_again(store: PictureStore) -> None:
    with pytest.raises(PictureError, match="missing on this machine"):
        store.load("a" * 64)
    rgb = noise()
    picture = store.add_array(rgb)
    path = store.path(picture)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(PictureError, match="damaged"):
        store.load(picture)
    path.write_bytes(encode_png(noise()))
    with pytest.raises(PictureError, match="changed"):
        store.load(picture)
    assert store.add_array(rgb) == picture
    np.testing.assert_array_equal(store.load(picture), rgb)


def test_wrong_arrays_are_the_callers_fault(store: PictureStore) -> None:
    for wrong in (np.zeros((2, 2), np.uint8), np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3)), noise()[:0]):
        with pytest.raises(ValueError):
            store.add_array(wrong)  # pyright: ignore[reportArgumentType]
    for wrong in (noise(), np.zeros((2, 2)), np.zeros((0, 2), np.uint8)):
        with pytest.raises(ValueError):
            store.add_mask(wrong)  # pyright: ignore[reportArgumentType]


def test_threads_that_add_the_same_picture_do_not_meet(store: PictureStore) -> None:
    rgb = noise(40, 40)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(store.add_array(rgb))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    np.testing.assert_array_equal(store.load(found[0]), rgb)
    assert not list(store.root.rglob("*.part"))


def test_a_full_disk_is_said_and_leaves_nothing_behind(store: PictureStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputError, match="disk is full"):
        store.add_array(noise())
    assert not [path for path in store.root.rglob("*") if path.is_file()]


def test_an_unwritable_store_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError):
        PictureStore(tmp_path / "file").add_array(noise())


# -- decoding


def test_files_that_are_no_pictures_are_refused_by_name(store: PictureStore, tmp_path: Path) -> None:
    cases = {"text.png": b"hello", "empty.jpg": b"", "pdf.png": b"%PDF-1.7 ...", "svg.png": b"<svg></svg>"}
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PictureError, match=name):
            store.add_file(tmp_path / name)
    with pytest.raises(PictureError, match="does not exist"):
        store.add_file(tmp_path / "nothing.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PictureError, match="cannot be read"):
        store.add_file(tmp_path / "folder.png")


def test_what_the_decoder_thinks_of_a_stored_file_stays_inside(store: PictureStore) -> None:
    """Warnings are errors here, and one of them would be taken for damage."""
    pixels = np.full((4, 5, 3), 9, dtype=np.uint8)
    picture = store.add_array(pixels)
    whole = store.path(picture).read_bytes()
    animated = struct.pack(">I", 8) + b"acTL" + bytes(8) + struct.pack(">I", zlib.crc32(b"acTL" + bytes(8)))
    store.path(picture).write_bytes(whole[:33] + animated + whole[33:])  # it says it has no frames
    np.testing.assert_array_equal(store.load(picture), pixels)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_pictures_are_refused_at_every_length(form: str) -> None:
    data = saved(Image.fromarray(noise(40, 50)), form)
    for cut in (10, len(data) // 3, len(data) * 2 // 3):
        with pytest.raises(PictureError, match="cut"):
            decode_picture(data[:cut], "cut")


def test_damaged_pictures_give_pixels_or_a_sentence_never_another_error() -> None:
    for form in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        data = saved(Image.fromarray(noise(20, 20)), form)
        for _ in range(40):
            broken = bytearray(data)
            for place in RNG.integers(0, len(data), 4):
                broken[place] = int(RNG.integers(0, 256))
            try:
                rgb = decode_picture(bytes(broken), "x")
            except PictureError:
                continue
            assert rgb.dtype == np.uint8
            assert rgb.ndim == 3


@pytest.mark.parametrize(("width", "height"), [(20_000, 10_000), (60_000, 60_000), (8_000, 6_251)])
def test_too_many_pixels_are_refused_by_the_header(width: int, height: int) -> None:
    with pytest.raises(PictureError, match="50 million pixels"):
        decode_picture(huge_png(width, height), "huge.png")


def test_too_many_bytes_are_refused_unread(store: PictureStore, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as stream:
        stream.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(PictureError, match="64 MB"):
        store.add_file(path)


def test_transparency_is_flattened_on_white() -> None:
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, :3] = RED
    rgba[0, :, 3] = (0, 128, 255)
    expected = [(255, 255, 255), tuple(round(c * 128 / 255 + 255 * 127 / 255) for c in RED), RED]
    got = decode_picture(saved(Image.fromarray(rgba)), "a.png")
    np.testing.assert_allclose(got[0].astype(int), expected, atol=1)
    grey = Image.merge("LA", (Image.new("L", (2, 1), 10), Image.fromarray(np.array([[0, 255]], dtype=np.uint8))))
    assert decode_picture(saved(grey), "la.png").tolist() == [[[255] * 3, [10] * 3]]


def test_palettes_with_and_without_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, 1, 2, 3])
    image.putdata([0, 1])
    assert decode_picture(saved(image), "p.png").tolist() == [[list(RED), [1, 2, 3]]]
    assert decode_picture(saved(image, transparency=1), "p.png").tolist() == [[list(RED), [255] * 3]]
    assert decode_picture(saved(image, "GIF", transparency=1), "p.gif").tolist() == [[list(RED), [255] * 3]]


def test_sixteen_bit_grey_keeps_its_range() -> None:
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    expected = [0, 1, 128, 255]
    for form in ("PNG", "TIFF"):
        got = decode_picture(saved(Image.fromarray(values), form), "grey")
        assert got[0, :, 0].tolist() == expected
        assert (got == got[:, :, :1]).all()


@pytest.mark.parametrize(("colours", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_in_every_form_of_png(colours: int, channels: int) -> None:
    pixel = [40_000] * (channels - 1) + [65_535 if colours & 4 else 40_000]
    rows = (b"\0" + struct.pack(f">{channels}H", *pixel) * 5) * 3
    data = png(struct.pack(">IIBBBBB", 5, 3, 16, colours, 0, 0, 0), rows)
    assert decode_picture(data, "deep.png").tolist() == [[[156] * 3] * 5] * 3


def test_float_tiff_and_bilevel_and_cmyk() -> None:
    floats = Image.fromarray(np.array([[0.0, 0.5, 1.0]], dtype=np.float32))
    assert decode_picture(saved(floats, "TIFF"), "f.tif")[0, :, 0].tolist() == [0, 128, 255]
    assert decode_picture(saved(Image.new("1", (2, 2), 1)), "b.png").tolist() == [[[255] * 3] * 2] * 2
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    pixel = decode_picture(saved(cmyk, "JPEG", quality=100), "c.jpg")[8, 8]
    assert pixel[0] > 240
    assert pixel[1:].max() < 15


def in_srgb(rgb: Any, primaries: Any, gamma: float) -> Any:
    """What lights of these colours and this gamma are in sRGB, by arithmetic of its own."""
    lights = (rgb / 255.0) ** gamma @ np.array(primaries) @ np.linalg.inv(np.array(SRGB))
    lights = np.clip(lights, 0.0, 1.0)
    return np.where(lights <= 0.0031308, lights * 12.92, 1.055 * lights ** (1 / 2.4) - 0.055) * 255.0


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_colours_of_a_wider_screen_become_those_of_every_screen(form: str) -> None:
    rgb = noise(16, 16)
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    got = decode_picture(saved(Image.fromarray(rgb), form, icc_profile=rgb_profile(), **options), "wide")
    expected = in_srgb(rgb, P3, 2.2)
    assert np.abs(expected - rgb).max() > 20
    assert np.abs(expected - got).max() < 3
    plain = saved(Image.fromarray(rgb), form, icc_profile=rgb_profile("sRGB of somebody"), **options)
    np.testing.assert_array_equal(decode_picture(plain, "plain"), rgb)


def test_transparent_and_palette_pictures_have_their_profile_applied_too() -> None:
    expected = in_srgb(np.array(RED), P3, 2.2)
    half = Image.new("RGBA", (2, 1), (*RED, 255))
    half.putpixel((1, 0), (*RED, 0))
    got = decode_picture(saved(half, "PNG", icc_profile=rgb_profile()), "half.png")
    assert np.abs(got[0, 0] - expected).max() < 3
    assert got[0, 1].tolist() == [255, 255, 255]
    few = Image.new("RGB", (4, 4), RED).quantize(4)
    assert np.abs(decode_picture(saved(few, "PNG", icc_profile=rgb_profile()), "p.png")[0, 0] - expected).max() < 3


def test_grey_and_inks_follow_their_profiles() -> None:
    grey = saved(Image.new("L", (4, 4), 55), "PNG", icc_profile=grey_profile(1.0))
    assert np.abs(decode_picture(grey, "g.png").astype(int) - 128).max() < 3  # light of 0.216 is half of sRGB's scale
    inks = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", icc_profile=ink_profile((255, 128, 128)))
    assert decode_picture(inks, "c.jpg").min() > 250


@pytest.mark.parametrize("profile", [b"x" * 200, rgb_profile()[:300], grey_profile(1.0), ink_profile((0, 128, 128))])
def test_a_profile_that_is_broken_or_of_something_else_says_nothing(profile: bytes) -> None:
    rgb = noise()
    np.testing.assert_array_equal(decode_picture(saved(Image.fromarray(rgb), icc_profile=profile), "x.png"), rgb)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = np.zeros((16, 32, 3), dtype=np.uint8)
    upright[:8, :8] = 255  # a white corner at the top left, in a landscape picture
    image = Image.fromarray(upright)
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the turn that a camera holding the tag has done
    if orientation > 1:
        image = image.transpose(Image.Transpose(inverse[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode_picture(saved(image, "PNG", exif=exif), "turned.png"), upright)


def test_broken_exif_is_no_reason_to_refuse() -> None:
    rgb = noise(8, 8)
    data = saved(Image.fromarray(rgb), "PNG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    np.testing.assert_array_equal(decode_picture(data, "x.png"), rgb)


def test_of_a_moving_picture_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in (RED, (0, 0, 255))]
    for form in ("GIF", "TIFF", "WEBP", "PNG"):
        options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
        data = saved(frames[0], form, save_all=True, append_images=frames[1:], **options)
        assert decode_picture(data, "moving")[0, 0].tolist() == list(RED)


# -- as the model wants them


def test_the_letterbox_centres_on_white() -> None:
    rgb = np.full((10, 20, 3), 7, dtype=np.uint8)
    out = prepare_reference(rgb, 64, 48)
    assert out.shape == (48, 64, 3)
    assert (out[8:40] == 7).all()
    assert (out[:8] == 255).all()
    assert (out[40:] == 255).all()


def test_extreme_pictures_still_fit_the_letterbox() -> None:
    assert prepare_reference(np.zeros((1, 5000, 3), np.uint8), 64, 48).shape == (48, 64, 3)
    assert prepare_reference(np.zeros((1, 1, 3), np.uint8), 16, 16).shape == (16, 16, 3)


def test_a_cut_out_is_cropped_and_white_around() -> None:
    rgb = noise(6, 9)
    mask = np.zeros((6, 9), dtype=np.uint8)
    mask[2, 3], mask[4, 5] = 255, 255
    out = cut_out(rgb, mask)
    assert out.shape == (3, 3, 3)
    np.testing.assert_array_equal(out[0, 0], rgb[2, 3])
    np.testing.assert_array_equal(out[2, 2], rgb[4, 5])
    assert (out[1] == 255).all()


def test_soft_edges_blend_into_white() -> None:
    mask = np.array([[128]], dtype=np.uint8)
    assert cut_out(np.zeros((1, 1, 3), np.uint8), mask).tolist() == [[[127] * 3]]


def test_masks_that_cannot_be_right_are_refused() -> None:
    with pytest.raises(PictureError, match="keeps nothing"):
        cut_out(noise(2, 2), np.zeros((2, 2), np.uint8))
    with pytest.raises(PictureError, match="another size"):
        cut_out(noise(2, 2), np.zeros((2, 3), np.uint8))


def test_each_role_has_its_own_form(store: PictureStore) -> None:
    rgb = noise(6, 9)
    mask = np.zeros((6, 9), dtype=np.uint8)
    mask[1:4, 2:5] = 255
    mask[1, 2] = 0
    image, mask_id = store.add_array(rgb), store.add_mask(mask)

    def form(role: Role) -> Any:
        return model_picture(Reference(id="x", role=role, label="x", image=image, mask=mask_id), store)

    np.testing.assert_array_equal(form(Role.face), rgb[1:4, 2:5])
    for role in (Role.attribute, Role.object):
        np.testing.assert_array_equal(form(role), cut_out(rgb, mask))
        assert (form(role)[0, 0] == 255).all()
    background = form(Role.background)
    assert background.shape == rgb.shape
    np.testing.assert_array_equal(background[mask > 0], rgb[mask > 0])
    assert (background[mask == 0] == 255).all()
    uncut = Reference(id="x", role=Role.object, label="x", image=image)
    np.testing.assert_array_equal(model_picture(uncut, store), rgb)
