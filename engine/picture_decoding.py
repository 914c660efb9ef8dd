"""Untrusted picture files to plain RGB: limits before decoding, every colour mode, turned by EXIF, brought to sRGB by
the file's colour profile, flattened on white.

Knows no store and no scene. What PIL is dies here: everything that leaves is a numpy array.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from engine.errors import PictureError

RgbArray = npt.NDArray[np.uint8]
"""[H, W, 3] uint8"""
MaskArray = npt.NDArray[np.uint8]
"""[H, W] uint8, 255 = keep"""

MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 50_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
"""File endings of the accepted formats, in lower case."""

_BAND_ROWS = 64
_MAX_PROFILE_BYTES = 8 * 1024 * 1024
_PROFILE_SPACES = {"RGB": "RGB", "CMYK": "CMYK", "L": "GRAY"}
"""What a colour profile has to speak of, by the mode of the pixels it comes with."""
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_picture(data: bytes, name: str) -> RgbArray:
    """The first frame of a picture file as HWC uint8 RGB. `name` is the file name that `PictureError` sentences use."""
    image = _open(data, name)
    try:
        with silenced():
            image.load()
            return np.ascontiguousarray(_upright(_to_rgb(image), _orientation(image)))
    # Decoders raise a dozen kinds of errors on damaged data, none of them documented; all mean the same to the user.
    except Exception as error:
        raise PictureError(
            f"The picture “{name}” is damaged or incomplete; export it again as PNG or JPEG, or choose another."
        ) from error


def decode_mask(data: bytes, name: str) -> MaskArray:
    """A mask file as HW uint8: its grey values, 255 = keep. Raises `PictureError`."""
    image = _open(data, name)
    try:
        with silenced():
            image.load()
            return np.array(image.convert("L"), dtype=np.uint8)
    except Exception as error:  # as above
        raise PictureError(f"The mask “{name}” is damaged or incomplete; cut the picture out again.") from error


def picture_size(data: bytes, name: str) -> tuple[int, int]:
    """Width and height in px that a picture file announces, as it lies, nothing decoded. Raises `PictureError`."""
    image = _open(data, name)
    image.close()
    return image.width, image.height


def _open(data: bytes, name: str) -> Image.Image:
    """Read the header only and refuse what is too large before a single pixel is decoded."""
    if len(data) > MAX_FILE_BYTES:
        raise too_many_bytes(name)
    try:
        with silenced():
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise PictureError(_too_many_pixels(name)) from error
    except Exception as error:  # see decode_picture
        raise PictureError(
            f"“{name}” is not a picture that can be read; choose a PNG, JPEG, WebP, BMP, TIFF or GIF file."
        ) from error
    if image.width * image.height > MAX_PIXELS:
        raise PictureError(_too_many_pixels(name))
    if image.width < 1 or image.height < 1:
        raise PictureError(f"The picture “{name}” has no pixels; choose another.")
    return image


@contextmanager
def silenced() -> Generator[None]:
    """PIL's warnings about a stranger's file are kept off the screen: either the picture is used, or we say why not.

    Ours is the stricter limit of pixels, too.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def too_many_bytes(name: str) -> PictureError:
    """The error for a file over `MAX_FILE_BYTES`."""
    limit = MAX_FILE_BYTES // (1024 * 1024)
    return PictureError(f"The picture “{name}” is larger than {limit} MB; save a smaller version of it.")


def _too_many_pixels(name: str) -> str:
    limit = MAX_PIXELS // 1_000_000
    return f"The picture “{name}” has more than {limit} million pixels; scale it down and try again."


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _wide_grey(image)
    if image.has_transparency_data:
        # The original let transparent pixels turn black; flattening on white is what its model was trained to see.
        rgba = image.convert("RGBA")
        coloured = _in_srgb(rgba.convert("RGB"), image.info)
        coloured.putalpha(rgba.getchannel("A"))
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), coloured).convert("RGB")
    return _in_srgb(image.convert("RGB") if image.mode == "P" else image, image.info).convert("RGB")


def _in_srgb(image: Image.Image, info: Mapping[str | tuple[int, int], Any]) -> Image.Image:
    """The picture in sRGB, if its file says that its numbers mean other colours: telephones and cameras write wider
    ones, and skin would come out pale. A profile that is damaged, or of something else, says nothing."""
    data = info.get("icc_profile")
    space = _PROFILE_SPACES.get(image.mode)
    if not isinstance(data, bytes) or len(data) > _MAX_PROFILE_BYTES or space is None:
        return image
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        about: Any = profile.profile  # its stub forgets what was read from a stream
        if about.xcolor_space.strip() != space or "srgb" in ImageCms.getProfileDescription(profile).lower():
            return image
        converted = ImageCms.profileToProfile(
            image,
            profile,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    # What the library raises for profiles that it cannot read, or that do not hold what they announce.
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return image if converted is None else converted


def _wide_grey(image: Image.Image) -> Image.Image:
    """16- and 32-bit grey scaled to 8 bits; PIL's own conversion cuts the high values off instead."""
    values = np.asarray(image)
    top = 65535.0
    if image.mode == "F":
        top = 1.0 if float(np.fmax.reduce(values, axis=None)) <= 1.0 else 255.0
    grey8 = np.empty(values.shape, dtype=np.uint8)
    # Band by band: the whole of a large picture in double precision would take a gigabyte.
    for start in range(0, len(values), _BAND_ROWS):
        grey = np.nan_to_num(values[start : start + _BAND_ROWS].astype(np.float64)) / top
        grey8[start : start + _BAND_ROWS] = np.rint(np.clip(grey, 0.0, 1.0) * 255.0).astype(np.uint8)
    transparent: Any = image.info.get("transparency")
    if isinstance(transparent, int):
        grey8[values == transparent] = 255
    return Image.fromarray(np.repeat(grey8[:, :, None], 3, axis=2))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    # Broken EXIF says nothing about the pixels, which have been decoded by now: the picture is used as it lies.
    except Exception:
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)
