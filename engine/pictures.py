"""The picture store, and pictures as the model wants them.

Pictures are named by their content, so equal pictures are one file and a scene full of ids can be compared, kept and
sent. Knows nothing of prompts and models beyond the published letterbox.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
import stat
import struct
from pathlib import Path

import numpy as np
from PIL import Image

from engine.errors import PictureError
from engine.files import write_atomically, writing
from engine.picture_decoding import (
    MAX_FILE_BYTES,
    MAX_PIXELS,
    MaskArray,
    RgbArray,
    decode_mask,
    decode_picture,
    silenced,
    too_many_bytes,
)
from engine.scene import Reference, Role

PictureId = str
"""64 hexadecimal digits: sha256 over width, height (uint32 each) and the RGB bytes; a mask's begins with "mask"."""

_ID = re.compile(r"[0-9a-f]{64}")


class PictureStore:
    """Pictures and masks as PNG files under `root`, which is made at the first write. Safe to share between threads."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add_file(self, path: Path) -> PictureId:
        """Add a picture file of the user's; `PictureError` if it is missing, too large or no picture."""
        return self.add_array(decode_picture(read_picture_file(path), path.name))

    def add_bytes(self, data: bytes, name: str) -> PictureId:
        """Add the content of a picture file; `name` is what error sentences call it."""
        return self.add_array(decode_picture(data, name))

    def add_array(self, rgb: RgbArray) -> PictureId:
        """Add an HWC uint8 RGB array. A wrong shape or type is a fault of the caller: ValueError."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
            raise ValueError(f"expected uint8 [H, W, 3], got {rgb.dtype} {rgb.shape}")
        return self._add(rgb)

    def add_mask(self, mask: MaskArray) -> PictureId:
        """Add an HW uint8 mask, 255 = keep. A wrong shape or type is a fault of the caller: ValueError."""
        if mask.ndim != 2 or mask.dtype != np.uint8 or mask.size == 0:
            raise ValueError(f"expected uint8 [H, W], got {mask.dtype} {mask.shape}")
        return self._add(mask)

    def add_mask_bytes(self, data: bytes, name: str) -> PictureId:
        """Add the content of a mask file (grey values, 255 = keep)."""
        return self.add_mask(decode_mask(data, name))

    def load(self, picture: PictureId) -> RgbArray:
        """The picture as HWC uint8 RGB. `PictureError` if it is not in the store or was damaged there."""
        return self._load(picture, "RGB")

    def load_mask(self, picture: PictureId) -> MaskArray:
        """The mask as HW uint8, 255 = keep. `PictureError` if it is not in the store or was damaged there."""
        return self._load(picture, "L")

    def path(self, picture: PictureId) -> Path:
        """Where the picture lies (or would lie) as a PNG file; `PictureError` for what is no picture id."""
        return self.root / checked_id(picture)[:2] / f"{picture}.png"

    def remove(self, picture: PictureId) -> None:
        """Delete a picture or a mask for good; nothing happens if it is not there. Raises `OutputError`."""
        path = self.path(picture)
        with writing(path):
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others lie beside it
                path.parent.rmdir()

    def __contains__(self, picture: PictureId) -> bool:
        return bool(_ID.fullmatch(picture)) and self.path(picture).is_file()

    def _add(self, pixels: RgbArray | MaskArray) -> PictureId:
        height, width = pixels.shape[:2]
        if height * width > MAX_PIXELS:
            raise PictureError(f"A picture has more than {MAX_PIXELS // 1_000_000} million pixels; scale it down.")
        picture = picture_id(pixels)
        path = self.path(picture)
        if not path.is_file() or not self._whole(picture, pixels.ndim):
            write_atomically(path, encode_png(pixels))
        return picture

    def _whole(self, picture: PictureId, ndim: int) -> bool:
        try:
            self._load(picture, "RGB" if ndim == 3 else "L")
        except PictureError:
            return False
        return True

    def _load(self, picture: PictureId, mode: str) -> RgbArray | MaskArray:
        path = self.path(picture)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise PictureError("A picture of the scene is missing on this machine; add it again.") from error
        except OSError as error:
            raise PictureError(f"The stored picture “{path}” cannot be read; check its permissions.") from error
        try:
            with silenced(), Image.open(io.BytesIO(data), formats=("PNG",)) as image:
                pixels = np.array(image) if image.mode == mode else None
        # A damaged file of ours: whatever the decoder says, the cure is the same.
        except Exception as error:
            raise PictureError("A stored picture was damaged on the disk; add it again.") from error
        if pixels is None:
            raise PictureError("A mask stands where a picture should be, or the reverse; add the picture again.")
        if picture_id(pixels) != picture:
            raise PictureError("A stored picture was changed on the disk; add it again.")
        return pixels


def checked_id(picture: PictureId) -> PictureId:
    """The id itself, fit to be part of a file's name; `PictureError` for what is none, as strangers may send it."""
    if not _ID.fullmatch(picture):
        raise PictureError(f"“{picture[:40]}” is not a picture of this program; add the picture again.")
    return picture


def picture_id(pixels: RgbArray | MaskArray) -> PictureId:
    """The content's name: equal pixels, equal id; a mask never has the id of a picture."""
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(b"mask" if pixels.ndim == 2 else b"")
    digest.update(struct.pack("<II", width, height))
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def encode_png(pixels: RgbArray | MaskArray) -> bytes:
    """A PNG file of a picture or a mask, without loss; quick rather than small."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", compress_level=1)
    return stream.getvalue()


def read_picture_file(path: Path) -> bytes:
    """The bytes of a picture file, never more than the limit; `PictureError` in one sentence."""
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):  # reading a pipe would wait for ever
            raise PictureError(f"“{path}” cannot be read as a picture file; choose another.")
        if state.st_size > MAX_FILE_BYTES:
            raise too_many_bytes(path.name)
        with path.open("rb") as stream:
            return stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise PictureError(f"The picture “{path}” does not exist; check its name.") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PictureError(f"The picture “{path}” cannot be read ({reason}); check its permissions.") from error


def prepare_reference(rgb: RgbArray, width: int, height: int) -> RgbArray:
    """The published letterbox: scaled by the smaller ratio to whole pixels, bicubic, centred on white.

    rgb: HWC uint8, width and height in px; returns [height, width, 3] uint8. Proven by the recorded picture cases.
    """
    old_height, old_width = rgb.shape[:2]
    scale = min(width / old_width, height / old_height)
    new_width, new_height = (max(1, int(old_width * scale)), max(1, int(old_height * scale)))
    scaled = np.asarray(Image.fromarray(rgb).resize((new_width, new_height), Image.Resampling.BICUBIC))
    canvas = np.full((height, width, 3), 255, dtype=np.uint8)
    left, top = (width - new_width) // 2, (height - new_height) // 2
    canvas[top : top + new_height, left : left + new_width] = scaled
    return canvas


def resized(frames: RgbArray, width: int, height: int) -> RgbArray:
    """Frames `[F, H, W, 3]` uint8 at another size, bicubic; the very same where it is theirs already."""
    if frames.shape[1:3] == (height, width):
        return frames
    pictures = (Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC) for frame in frames)
    return np.stack([np.asarray(picture) for picture in pictures])


def cut_out(rgb: RgbArray, mask: MaskArray) -> RgbArray:
    """The masked part on pure white, cropped to its box. `PictureError` for an empty mask or one of another size."""
    x0, y0, x1, y1 = mask_box(rgb, mask)
    return _on_white(rgb[y0:y1, x0:x1], mask[y0:y1, x0:x1])


def mask_box(rgb: RgbArray, mask: MaskArray) -> tuple[int, int, int, int]:
    """The mask's box (x0, y0, x1, y1) in px, x1 and y1 outside. Raises `PictureError` as `cut_out` does."""
    if mask.shape != rgb.shape[:2]:
        raise PictureError("A mask has another size than its picture; cut the picture out again.")
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise PictureError("A mask keeps nothing of its picture; cut the picture out again.")
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def model_picture(reference: Reference, store: PictureStore) -> RgbArray:
    """The reference as the model was trained to see it, HWC uint8, still at its own size.

    Attributes and objects with a mask are cut out on white and cropped to its box; a face is cropped to the box but
    keeps its surroundings; a background stays whole, white outside its mask. Without a mask the picture stays as it is.
    """
    rgb = store.load(reference.image)
    return rgb if reference.mask is None else masked(reference.role, rgb, store.load_mask(reference.mask))


def masked(role: Role, rgb: RgbArray, mask: MaskArray) -> RgbArray:
    """What `model_picture` does with a mask. Raises `PictureError` as `cut_out` does."""
    x0, y0, x1, y1 = mask_box(rgb, mask)
    match role:
        case Role.face:
            return np.ascontiguousarray(rgb[y0:y1, x0:x1])
        case Role.background:
            return _on_white(rgb, mask)
        case _:
            return cut_out(rgb, mask)


def _on_white(rgb: RgbArray, mask: MaskArray) -> RgbArray:
    keep = mask.astype(np.uint16)[:, :, None]
    return ((rgb * keep + 255 * (255 - keep) + 127) // 255).astype(np.uint8)
