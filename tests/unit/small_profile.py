"""Colour profiles made by hand, as files bring them along: the least that the ICC's format asks for."""

from __future__ import annotations

import struct

P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
"""XYZ of red, green and blue of the screens of many telephones, for white of D50."""
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
"""The same of sRGB."""
_D50 = (0.96420, 1.0, 0.82491)


def rgb_profile(name: str = "Wide", primaries: tuple[tuple[float, ...], ...] = P3, gamma: float = 2.2) -> bytes:
    """Three lights with one gamma."""
    lights = {f"{letter}XYZ": _xyz(light) for letter, light in zip("rgb", primaries, strict=True)}
    return _profile(b"mntr", b"RGB ", name, {**lights, **{f"{letter}TRC": _gamma(gamma) for letter in "rgb"}})


def grey_profile(gamma: float) -> bytes:
    """Grey with a gamma."""
    return _profile(b"mntr", b"GRAY", "Grey", {"kTRC": _gamma(gamma)})


def ink_profile(lab: tuple[int, int, int]) -> bytes:
    """Inks of which every mixture gives one colour: lightness, a and b as bytes."""
    line = bytes(range(256))
    head = struct.pack(">4s4xBBBx9i", b"mft1", 4, 3, 2, *(65536 * (number % 4 == 0) for number in range(9)))
    return _profile(b"prtr", b"CMYK", "Inks", {"A2B0": head + line * 4 + bytes(lab) * 16 + line * 3}, pcs=b"Lab ")


def _xyz(values: tuple[float, ...]) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *(round(value * 65536) for value in values))


def _gamma(gamma: float) -> bytes:
    return struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256))


def _profile(kind: bytes, space: bytes, name: str, tags: dict[str, bytes], pcs: bytes = b"XYZ ") -> bytes:
    text = name.encode() + b"\0"
    said = struct.pack(">4s4xI", b"desc", len(text)) + text + bytes(78)
    tags = {"desc": said, "cprt": b"text\0\0\0\0none\0", "wtpt": _xyz(_D50), **tags}
    place = 128 + 4 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    for key, value in tags.items():
        table += struct.pack(">4sII", key.encode(), place + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s12x4s", place + len(content), b"none", 0x02400000, kind, space, pcs, b"acsp")
    return head.ljust(68, b"\0") + struct.pack(">3i", *(round(v * 65536) for v in _D50)) + bytes(48) + table + content
