"""A catalogue of small weights from a hub on the loopback, for tests of a studio in processes of their own.

Each of these processes begins with `use()`; without the file that `write_catalogue` makes in the data home nothing
changes. `tests.small_errand` and `tests.small_finder` are the real processes with it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from engine.paths import data_home
from engine.weights import catalogue

NAME = "test-catalogue.json"
PACK, DETECTOR, CUTTER = "buffalo_sc.zip", "det_500m.onnx", "sam_vit_b_01ec64.pth"


def pack_of(detector: bytes) -> bytes:
    """An archive as the publisher's: the detector beside something that is not wanted."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr("w600k_mbf.onnx", bytes(40_000))
        pack.writestr(DETECTOR, detector)
    return stream.getvalue()


def write_catalogue(home: Path, address: str, contents: dict[str, bytes]) -> None:
    """Let studios and errands on this data home know these files, by their published names, at an address."""
    files = {name: [len(body), hashlib.sha256(body).hexdigest()] for name, body in contents.items()}
    home.mkdir(parents=True, exist_ok=True)
    (home / NAME).write_text(json.dumps({"address": address, "files": files}))


def use() -> None:
    """Take over the catalogue of this data home, if there is one."""
    path = data_home() / NAME
    if path.is_file():
        known: dict[str, Any] = json.loads(path.read_text())
        entries = tuple(_changed(entry, known) for entry in catalogue.entries())
        catalogue.__dict__.update(_ENTRIES=entries)


def _changed(entry: catalogue.CatalogueEntry, known: dict[str, Any]) -> catalogue.CatalogueEntry:
    def small(file: catalogue.CatalogueFile) -> catalogue.CatalogueFile:
        size, digest = known["files"].get(file.name, [file.approximate_bytes, file.sha256])
        return dataclasses.replace(file, approximate_bytes=size, sha256=digest)

    if not entry.address:
        return entry
    archive = None if entry.archive is None else small(entry.archive)
    files = tuple(small(file) for file in entry.files)
    return dataclasses.replace(entry, address=known["address"], archive=archive, files=files)


def main(arguments: list[str]) -> int:
    """Be the errand, or what finds faces."""
    use()
    if arguments[0] == "errand":
        from engine.weights import errand

        return errand.main()
    from engine.faces.detector import installed_detector
    from engine.faces.worker import run

    return run(installed_detector, Path(arguments[1]))
