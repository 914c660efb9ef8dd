"""Changed inputs: valid bytes, JSON or text, damaged in the ways that find mistakes. The same random numbers give the
same input."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

_NUMBERS = (
    0,
    1,
    2,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63,
    2**64 - 1,
)
_NESTED_LIST: Any = json.loads("[" * 201 + "]" * 201)
SCRAPS: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 10**400, 0.5, -0.0, 1e300, 1e308, float("inf"),
    float("nan"), "", " ", "\0", "\n", "a", "../bait.png", "/etc/passwd", "..\\bait.png", "C:\\x", "a.png/", "~", "~root",  # noqa: E501
    "x" * 300, "x" * 20_000, "\ud800", "\u202e", "é" * 50, "&#" + "9" * 5000 + ";", "&amp;" * 2000, "’" * 3000, "{}", "[]",  # noqa: E501
    [], {}, [[]], [None], {"": None}, {"a": 1}, [1, 2, 3], [1.5] * 50, _NESTED_LIST, "0" * 64, "face", "object", "nano",
)  # fmt: skip


def mutated(rng: random.Random, seeds: Sequence[bytes], kind: str) -> bytes:
    """One input made of one or two of the seeds."""
    return changed(rng, rng.choice(seeds), seeds, kind)


def changed(rng: random.Random, seed: bytes, seeds: Sequence[bytes], kind: str) -> bytes:
    """One input made of `seed` and, now and then, a piece of another one; ValueError where text is no UTF-8."""
    if kind == "json" and rng.random() < 0.9:
        try:
            tree: Any = json.loads(seed)
        except ValueError:
            return mutated_bytes(rng, seed, seeds)
        for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
            tree = _mutated_tree(rng, tree)
        return json.dumps(tree).encode("utf-8", "surrogatepass")
    if kind == "text":
        return _mutated_text(rng, seed.decode(), [other.decode() for other in seeds]).encode("utf-8", "surrogatepass")
    return mutated_bytes(rng, seed, seeds)


def mutated_bytes(rng: random.Random, seed: bytes, seeds: Sequence[bytes]) -> bytes:
    """Flips, cuts, inserts, repeats, splices, and numbers where lengths may stand."""
    data = bytearray(seed)
    for _ in range(rng.choice((1, 1, 2, 3, 5, 12, 40))):
        size = len(data)
        # Headers decide more than what follows them.
        at = rng.randrange(min(size, 64) if rng.random() < 0.5 else size) if size else 0
        match rng.randrange(9):
            case 0 if size:
                data[at] ^= 1 << rng.randrange(8)
            case 1 if size:
                data[at] = rng.randrange(256)
            case 2:
                del data[at:]
            case 3:
                del data[at : at + rng.randrange(1, 32)]
            case 4:
                data[at:at] = rng.randbytes(rng.randrange(1, 32))
            case 5:
                length, order = rng.choice((1, 2, 4, 8)), rng.choice(("little", "big"))
                number = rng.choice(_NUMBERS) % (1 << 8 * length)
                data[at : at + length] = number.to_bytes(length, order)
            case 6:
                start = rng.randrange(size + 1)
                data[at:at] = data[start : start + rng.randrange(1, 256)] * rng.randrange(1, 4)
            case 7:
                other = rng.choice(seeds)
                start = rng.randrange(len(other) + 1)
                data[at:] = other[start:]
            case _:
                count = min(rng.randrange(1, 16), size - at)
                data[at : at + count] = bytes([rng.choice((0, 255, 32, 65))]) * count
    return bytes(data[: 2**22])


def _mutated_tree(rng: random.Random, tree: Any) -> Any:
    places = list(_places(tree))
    if not places or rng.random() < 0.01:
        return _scrap(rng)
    parent, key = rng.choice(places)
    match rng.randrange(8):
        case 0 | 1 | 2:
            parent[key] = _scrap(rng)
        case 3:
            del parent[key]
        case 4:
            other, there = rng.choice(places)
            # A copy: a tree that holds itself cannot be written.
            parent[key] = json.loads(json.dumps(other[there]))
        case 5 if isinstance(parent, list):
            parent.extend(json.loads(json.dumps(parent[key])) for _ in range(rng.choice((1, 3, 600))))
        case 5 | 6 if isinstance(parent, dict):
            name = rng.choice((*(scrap for scrap in SCRAPS if isinstance(scrap, str)), key))
            parent[name] = parent.pop(key) if rng.random() < 0.7 else _scrap(rng)
        case _:
            value = parent[key]
            if isinstance(value, str):
                parent[key] = _mutated_text(rng, value, [value])
            elif isinstance(value, int) and not isinstance(value, bool):
                parent[key] = value + rng.choice((-1, 1, 2**31, -(2**31), 10**18))
            elif isinstance(value, list | dict):
                value.clear()
    return tree


def _scrap(rng: random.Random) -> Any:
    """A scrap of one's own: a shared one, changed later, would soon hold itself."""
    scrap = rng.choice(SCRAPS)
    return json.loads(json.dumps(scrap)) if isinstance(scrap, list | dict) else scrap


def _places(tree: Any) -> Any:
    """Every (container, key) of a tree."""
    stack = [tree]
    while stack:
        node: Any = stack.pop()
        pairs: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in pairs:
            yield node, key
            if isinstance(value, dict | list):
                stack.append(value)


def _mutated_text(rng: random.Random, text: str, others: Sequence[str]) -> str:
    scraps = [scrap for scrap in SCRAPS if isinstance(scrap, str)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(7):
            case 0:
                text = (
                    text[:at]
                    + chr(rng.choice((rng.randrange(0x80), rng.randrange(0x300), rng.randrange(0x110000))))
                    + text[at:]
                )
            case 1:
                text = text[:at]
            case 2:
                text = text[:at] + text[at + rng.randrange(1, 16) :]
            case 3:
                text = text[:at] + rng.choice(scraps) + text[at:]
            case 4:
                other = rng.choice(others)
                text = text[:at] + other[rng.randrange(len(other) + 1) :]
            case 5:
                text = text * rng.choice((2, 3, 50)) if len(text) < 5000 else text[: at // 2]
            case _:
                # Text that went through the wrong encoding, as ftfy repairs it.
                text = text[:at] + text[at:].encode("utf-8", "replace").decode(
                    rng.choice(("latin-1", "cp1251")), "replace"
                )
    return text[:20_000]
