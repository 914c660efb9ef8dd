"""The components of a converted model: which published files each is made of, in which order they take the least disk,
and the published files that go as soon as they have served.

Loads no torch.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from itertools import permutations
from pathlib import Path

from engine.files import leftovers
from engine.weights import checked
from engine.weights.files import state_of
from engine.weights.records import DOWNLOAD_NAME, ConversionRecord

INDEX = "model_index.json"
_MADE_OF = {
    "tokenizer": ("umt5-xxl/",),
    "vae": ("vae.pth",),
    "transformer": ("LumosX_models/", "config.json"),
    "text_encoder": ("models_t5_umt5-xxl-enc-bf16.pth",),
    "scheduler": (),
    INDEX: ("config.json",),
}
"""Which published files each component comes from. The index is the last to be made: it makes the folder loadable."""

COMPONENTS = tuple(_MADE_OF)
# The converted network and its checkpoint differ by whatever training left in it: this much is kept of the checkpoint.
_CONVERTED_NETWORK_BYTES = 5_800_000_000


def published_files(components: Iterable[str]) -> frozenset[str]:
    """The catalogue's names of the files and folders that these components are made of."""
    return frozenset(file for name in components for file in _MADE_OF[name])


def whole_components(folder: Path, record: ConversionRecord) -> frozenset[str]:
    """Those components on record whose files lie in the model folder in their sizes, none of them known to be
    damaged."""
    bad = set(checked.marked_damaged(folder / name for name in record.files()))
    return frozenset(
        name
        for name, part in record.components.items()
        if all(
            (state := state_of(folder / file)) is not None
            and state.st_size == one.size_bytes
            and folder / file not in bad
            for file, one in part["files"].items()
        )
    )


def least_disk(written: Mapping[str, int], freed: Mapping[str, int]) -> tuple[list[str], int]:
    """The order of making components in which they take the least disk, and the bytes they take at the fullest.

    `written`: bytes of each of them; `freed`: bytes of published files that go once it is there, 0 if not named.
    """

    def fullest(order: tuple[str, ...]) -> int:
        now = peak = 0
        for name in order:
            peak = max(peak, now + written[name])
            now += written[name] - freed.get(name, 0)
        return peak

    last = tuple(name for name in written if name == INDEX)
    # Of several that take as little the one that begins with the small ones.
    rising = sorted((name for name in written if name != INDEX), key=lambda name: written[name])
    orders = ((*order, *last) for order in permutations(rising))
    best = min(orders, key=fullest)
    return list(best), fullest(best)


def by_component(files: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Bytes of the published files of these paths and sizes that one component alone is made of, by component."""
    found = list(files)
    names = {name: own[:1] for name, own in _MADE_OF.items() if name != INDEX}  # config.json is of two, and small
    return {
        name: sum(size for path, size in found if _belongs(path, own))
        for name, own in names.items()
        if any(_belongs(path, own) for path, _ in found)
    }


def conversion_bytes(files: Iterable[tuple[str, int]], freed: Iterable[tuple[str, int]]) -> int:
    """Free bytes that the conversion of published files of these paths and sizes takes at its fullest, from above.

    `freed`: paths and sizes of those that are deleted as soon as they have served.
    """
    written = by_component(files)
    if "transformer" in written:
        written["transformer"] = min(written["transformer"], _CONVERTED_NETWORK_BYTES)
    return least_disk(written, by_component(freed))[1]


def files_in(folder: Path, names: Collection[str]) -> list[tuple[str, int, int]]:
    """Path, size, and bytes that deleting it frees, of each file in a download folder that belongs to `names` of the
    catalogue, partial ones included. One that has another name elsewhere, such as the user's own, frees nothing."""
    found: list[tuple[str, int, int]] = []
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        state, name = state_of(path), path.relative_to(folder).as_posix()
        if state is not None and _belongs(name, names):
            found.append((name, state.st_size, state.st_size if state.st_nlink <= 1 else 0))
    return found


def spend(folder: Path, left: Collection[str]) -> OSError | None:
    """Delete the published files that none of the components `left` is made of from our own download folder, and the
    folder with the last of them.

    What cannot be deleted stays, as does what we did not put there; the first reason is returned.
    """
    served = published_files(COMPONENTS) - published_files(left)
    begun = set(leftovers(folder))
    failed: OSError | None = None
    for place, _, files in os.walk(folder, topdown=False):
        for path in (*(Path(place, file) for file in files), Path(place)):
            name = path.relative_to(folder).as_posix()
            try:
                if path == Path(place):
                    if not os.listdir(path):
                        path.rmdir()
                elif _belongs(name, served) or (not left and (name == DOWNLOAD_NAME or path in begun)):
                    path.unlink()
            except OSError as error:
                failed = failed or error
    return failed


def spent(folder: Path) -> bool:
    """Whether no published file lies in a download folder."""
    return not files_in(folder, published_files(COMPONENTS))


def _belongs(path: str, names: Collection[str]) -> bool:
    """Whether a file of a download folder is one of these of the catalogue, whole or partial."""
    return any(path.startswith(name if name.endswith("/") else f"{name}.") or path == name for name in names)
