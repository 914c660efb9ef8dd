"""Cleaning of prompts as the published text encoder expects it, with a map back to the characters the user typed.

Knows neither tokens nor scenes. ftfy is imported at the first call only, so that light modules may import this one.
"""

from __future__ import annotations

import difflib
import functools
import html
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

Origin = tuple[tuple[int, int], ...]

_MAX_PAIRS = 50_000
"""So many pairs of equal characters may be compared to align two texts; the comparison's time grows with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanedPrompt:
    """`text`: the cleaned prompt; `origin[i]`: the characters [start, end) of the raw prompt that made character i of
    it.

    Origins are in order and never empty, so a character that came of several ("&amp;" → "&") points to all of them.
    """

    text: str
    origin: Origin


# Of a prompt of 10,000 characters the map takes about a megabyte.
@functools.lru_cache(maxsize=128)
def clean_prompt(raw: str) -> CleanedPrompt:
    """Repair encodings (ftfy), resolve HTML entities twice, fold white space and strip: the published cleaning."""
    text, origin = raw, tuple((i, i + 1) for i in range(len(raw)))
    for step in (_ftfy_step, _html_step, _html_step, _blank_step):
        text, local = step(text)
        origin = tuple((origin[start][0], origin[end - 1][1]) for start, end in local)
    return CleanedPrompt(text=text, origin=origin)


def fold_blanks(text: str) -> str:
    """White space folded to single blanks and stripped: the cheap half of the cleaning."""
    return re.sub(r"\s+", " ", text).strip()


def shortened(text: str) -> str:
    """The words as a sentence for the user may quote them: not too long, and nothing that no screen can show."""
    text = text if len(text) <= 80 else f"{text[:79]}…"
    return text.encode("utf-8", "backslashreplace").decode()


def _ftfy_step(text: str) -> tuple[str, Origin]:
    import ftfy

    fixed: str = ftfy.fix_text(text)
    if fixed == text:
        return text, _identity(0, len(text))
    # Word by word the map is exact to the word; where the repair of the whole says something else, compare the wholes.
    pieces = [match.span() for match in re.finditer(r"\s+|\S+", text)]
    repaired = [ftfy.fix_text(text[start:end]) for start, end in pieces]
    if "".join(repaired) != fixed:
        return fixed, _align(text, fixed, 0)
    origin: list[tuple[int, int]] = []
    for (start, end), piece in zip(pieces, repaired, strict=True):
        origin.extend(_align(text[start:end], piece, start))
    return fixed, tuple(origin)


def _html_step(text: str) -> tuple[str, Origin]:
    if "&" not in text:
        return text, _identity(0, len(text))
    out: list[str] = []
    origin: list[tuple[int, int]] = []
    # An entity never holds a second "&", so every stretch that begins with one can be resolved on its own.
    for match in re.finditer(r"&[^&]*|[^&]+", text):
        raw, start = match.group(), match.start()
        piece = _unescaped(raw)
        same = _common_suffix(raw, piece)
        changed = (start, start + len(raw) - same)
        origin.extend([changed] * (len(piece) - same))
        origin.extend(_identity(changed[1], start + len(raw)))
        out.append(piece)
    return "".join(out), tuple(origin)


def _unescaped(raw: str) -> str:
    try:
        return html.unescape(raw)
    except ValueError:  # a number of thousands of digits, which names no character
        return raw


def _blank_step(text: str) -> tuple[str, Origin]:
    words = [match.span() for match in re.finditer(r"\S+", text)]
    origin: list[tuple[int, int]] = []
    for number, (start, end) in enumerate(words):
        if number:
            origin.append((words[number - 1][1], start))
        origin.extend(_identity(start, end))
    return " ".join(text[start:end] for start, end in words), tuple(origin)


def _identity(start: int, end: int) -> Origin:
    return tuple((i, i + 1) for i in range(start, end))


def _common_suffix(first: str, second: str) -> int:
    count = 0
    while count < min(len(first), len(second)) and first[-1 - count] == second[-1 - count]:
        count += 1
    return count


def _align(raw: str, fixed: str, base: int) -> Origin:
    """Origins of the characters of `fixed`, in order; characters that fell away belong to the character before them."""
    if raw == fixed:
        return _identity(base, base + len(raw))
    if _num_pairs(raw, fixed) > _MAX_PAIRS:
        return _align_words(raw, fixed, base)
    origin: list[tuple[int, int]] = []
    blocks = difflib.SequenceMatcher(None, raw, fixed, autojunk=False).get_opcodes()
    for tag, start, end, fixed_start, fixed_end in blocks:
        count = fixed_end - fixed_start
        if tag == "equal" or (tag == "replace" and count == end - start):
            origin.extend(_identity(base + start, base + end))
        elif tag == "replace":
            origin.extend([(base + start, base + end)] * count)
        elif tag == "insert":
            at = min(start, len(raw) - 1)
            origin.extend([(base + at, base + at + 1)] * count)
        elif origin:
            origin[-1] = (origin[-1][0], base + end)
    return tuple(origin)


def _align_words(raw: str, fixed: str, base: int) -> Origin:
    """As `_align`, word by word first: for texts too long to compare letter by letter."""
    words, fixed_words = (re.findall(r"\S+\s*|\s+", text) for text in (raw, fixed))
    if _num_pairs(words, fixed_words) > _MAX_PAIRS:
        return _align_evenly(len(raw), len(fixed), base)
    origin: list[tuple[int, int]] = []
    for tag, start, end, fixed_start, fixed_end in difflib.SequenceMatcher(
        None, words, fixed_words, autojunk=False
    ).get_opcodes():
        place = base + sum(map(len, words[:start]))
        old, new = "".join(words[start:end]), "".join(fixed_words[fixed_start:fixed_end])
        if tag == "equal" or (old and len(old) < len(raw) and _num_pairs(old, new) <= _MAX_PAIRS):
            origin.extend(_align(old, new, place))
        else:
            at = min(place, base + len(raw) - max(len(old), 1))
            origin.extend(_align_evenly(max(len(old), 1), len(new), at))
    return tuple(origin)


def _num_pairs(raw: Sequence[str], fixed: Sequence[str]) -> int:
    counts = Counter(fixed)
    return sum(count * counts[char] for char, count in Counter(raw).items())


def _align_evenly(num_raw: int, num_fixed: int, base: int) -> Origin:
    """Origins that are right about where, not which: for texts too long and too monotonous to compare."""
    starts = (number * num_raw // num_fixed for number in range(num_fixed))
    return tuple((base + start, base + start + 1) for start in starts)
