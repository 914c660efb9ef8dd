"""Pictures from strangers: every format, damaged headers and pixels, bombs, and files that are two things at once."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from engine.errors import PictureError
from engine.picture_decoding import MAX_PIXELS, decode_mask, decode_picture
from engine.pictures import PictureStore
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Target
from tests.unit.small_profile import grey_profile, ink_profile, rgb_profile

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F", "LAB", "HSV")


def saved(form: str, mode: str = "RGB", size: tuple[int, int] = (9, 7), frames: int = 1, **options: object) -> bytes:
    """A picture file of noise; empty where the format cannot hold the mode."""
    rng = np.random.default_rng(len(form) + len(mode))
    noise = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    image = noise.convert("L").convert(mode) if mode in ("I", "I;16", "F") else _converted(noise, mode)
    others = {"save_all": True, "append_images": [image.rotate(90)] * (frames - 1)} if frames > 1 else {}
    stream = io.BytesIO()
    try:
        image.save(stream, form, **others, **options)
    except (OSError, KeyError, ValueError):
        return b""
    return stream.getvalue()


def all_seeds() -> list[bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what PIL says about the odd files that it writes here
        return seeds()


def _converted(image: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":
        return Image.frombytes("LAB", image.size, image.tobytes())
    return image.convert(mode)


def seeds() -> list[bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a description"
    found = [
        saved(form, mode) for form in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "ICO") for mode in MODES
    ]
    found += [saved("JPEG", exif=exif), saved("PNG", exif=exif), saved("WEBP", exif=exif), saved("TIFF", exif=exif)]
    found += [saved("GIF", frames=3), saved("WEBP", frames=3), saved("PNG", frames=3), saved("TIFF", frames=2)]
    found += [saved("TIFF", compression=name) for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")]
    found += [
        saved("TIFF", "1", compression="group4"),
        saved("JPEG", progressive=True),
        saved("JPEG", icc_profile=b"x" * 99),
        saved("JPEG", icc_profile=rgb_profile()),
        saved("TIFF", "L", icc_profile=grey_profile(1.8)),
        saved("TIFF", "CMYK", icc_profile=ink_profile((99, 120, 140))),
    ]
    found += [
        saved("PNG", "P", transparency=1),
        saved("PNG", transparency=(1, 2, 3)),
        saved("PNG", "L", transparency=0),
    ]
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>'
    found += [svg, b"%PDF-1.4\n" + saved("PNG"), saved("PNG") + b"PK\x03\x04" + svg, saved("JPEG") + saved("GIF"), b""]
    return [one for one in found if one] + [b""]


def png(width: int, height: int, depth: int, colour: int, pixels: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG whose parts need not fit together."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + body


sides = st.one_of(st.integers(0, 40), st.sampled_from([0, 7000, 7072, 65535, 2**31 - 1, 2**32 - 1]))
made_png = st.builds(
    png,
    sides,
    sides,
    st.sampled_from([0, 1, 2, 4, 8, 16, 255]),
    st.sampled_from([0, 2, 3, 4, 6, 9]),
    st.binary(max_size=300),
    st.tuples(
        st.sampled_from(
            [b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"eXIf", b"acTL", b"fcTL", b"gAMA", b"abcd"]
        ),
        st.one_of(st.binary(max_size=60), st.just(b"a\0\0" + zlib.compress(b"x" * 2_000_000))),
    ),
)
made_bmp = st.builds(
    lambda width, height, bits, packing, colours, body: (
        b"BM"
        + struct.pack(
            "<IHHIIiiHHIIiiII", 54 + len(body), 0, 0, 54, 40, width, height, 1, bits, packing, 0, 1, 1, colours, 0
        )
        + body
    ),
    st.sampled_from([-1, 0, 1, 9, 60000, 2**31 - 1]),
    st.sampled_from([-9, 0, 1, 9, 60000, 2**31 - 1]),
    st.sampled_from([0, 1, 4, 8, 16, 24, 32, 64]),
    st.integers(0, 6),
    st.sampled_from([0, 1, 256, 2**32 - 1]),
    st.binary(max_size=300),
)
tags = st.tuples(
    st.sampled_from(
        [256, 257, 258, 259, 262, 273, 277, 278, 279, 282, 284, 317, 320, 322, 323, 324, 325, 338, 339, 34675]
    ),
    st.integers(0, 18),
    st.sampled_from([0, 1, 2, 3, 4, 1000, 2**31, 2**32 - 1]),
    st.sampled_from([0, 1, 2, 3, 8, 9, 16, 26, 5000, 65537, 2**31, 2**32 - 1]),
)
made_tiff = st.builds(
    lambda entries, body: (
        b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *one) for one in entries)
        + b"\0\0\0\0" + body
    ),
    st.lists(tags, max_size=14),
    st.binary(max_size=200),
)  # fmt: skip
made_gif = st.builds(
    lambda width, height, flags, body: b"GIF89a" + struct.pack("<HH", width, height) + bytes([flags, 0, 0]) + body + b";",  # noqa: E501
    st.sampled_from([0, 1, 9, 65535]),
    st.sampled_from([0, 1, 9, 65535]),
    st.integers(0, 255),
    st.lists(
        st.sampled_from([b"\x21\xf9\x04\x01\0\0\0\0", b",\0\0\0\0\x09\0\x09\0\0", b"\x02\x02\x4c\x01\0", b"\x21\xff\x0b", b"\0"]),  # noqa: E501
        max_size=8,
    ).map(b"".join),
)  # fmt: skip
made = st.one_of(made_png, made_bmp, made_tiff, made_gif, st.binary(max_size=200))


def decode(data: bytes, _folder: Path) -> None:
    pixels = decode_picture(data, "a picture.png")
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    assert pixels.dtype == np.uint8
    assert 0 < pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS


def decode_as_mask(data: bytes, _folder: Path) -> None:
    mask = decode_mask(data, "a mask.png")
    assert mask.ndim == 2
    assert mask.dtype == np.uint8


def keep(data: bytes, folder: Path) -> None:
    store = PictureStore(folder)
    picture = store.add_bytes(data, "../a picture.png")
    path = store.path(picture)
    assert np.array_equal(store.load(picture), decode_picture(data, ""))
    path.unlink()


def load_stored(data: bytes, folder: Path) -> None:
    """The file of a store that somebody else wrote to."""
    store = PictureStore(folder)
    path = store.path("0" * 64)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    for load in (store.load, store.load_mask):
        with pytest.raises(PictureError):
            load("0" * 64)


@pytest.mark.parametrize(
    ("name", "parse"),
    [("picture", decode), ("mask", decode_as_mask), ("picture store", keep), ("stored picture", load_stored)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pictures(name: str, parse: object, fuzz: Fuzz, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # nobody pulls the plug here
    assert callable(parse)
    fuzz(Target(name, parse, all_seeds()), made)


def decode_with_profile(data: bytes, folder: Path) -> None:
    for mode in ("RGB", "L", "CMYK"):
        decode(saved("TIFF", mode, icc_profile=data), folder)


def test_colour_profiles(fuzz: Fuzz) -> None:
    seeds = [rgb_profile(), grey_profile(1.8), ink_profile((99, 120, 140))]
    fuzz(Target("colour profile", decode_with_profile, seeds), st.binary(max_size=300))
