"""`conversion.json`: what a conversion wrote, file by file with size and digest, and from which sources."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

from engine.weights import refusals
from engine.weights.files import FileRecord, write_json

CONVERSION_NAME = "conversion.json"
DOWNLOAD_NAME = "download.json"
_SCHEMA = 1


class ComponentRecord(TypedDict):
    """One finished component: identity of its sources, and its files by path relative to the model's folder."""

    source: str
    files: dict[str, FileRecord]


@dataclass(frozen=True, slots=True)
class ConversionRecord:
    """Everything a conversion has finished; `complete` once nothing is left to do.

    `revision`: the state of the published repository that all of it comes from, "" where that is not known.
    """

    complete: bool
    components: dict[str, ComponentRecord]
    revision: str = ""

    def files(self) -> dict[str, FileRecord]:
        """Every written file by its path relative to the model's folder."""
        return {name: record for part in self.components.values() for name, record in part["files"].items()}


def read_conversion(folder: Path) -> ConversionRecord:
    """Read the record in `folder`; `WeightsError` if it is missing or damaged."""
    path = folder / CONVERSION_NAME
    try:
        data = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
        if data["schema_version"] != _SCHEMA:
            raise ValueError(f"schema version {data['schema_version']}")
        components: dict[str, ComponentRecord] = {
            str(name): {
                "source": str(part["source"]),
                "files": {
                    str(file): FileRecord(size_bytes=int(entry["size_bytes"]), sha256=str(entry["sha256"]))
                    for file, entry in part["files"].items()
                },
            }
            for name, part in data["components"].items()
        }
        revision = str(data.get("revision", ""))
        return ConversionRecord(complete=bool(data["complete"]), components=components, revision=revision)
    # Nested too deeply, or an infinite size: JSON can say both.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise refusals.no_record(path) from error


def write_conversion(folder: Path, record: ConversionRecord) -> None:
    """Write the record into `folder`, whole or not at all."""
    components = {
        name: {
            "source": part["source"],
            "files": {
                file: {"size_bytes": entry.size_bytes, "sha256": entry.sha256} for file, entry in part["files"].items()
            },
        }
        for name, part in record.components.items()
    }
    write_json(
        folder / CONVERSION_NAME,
        {
            "schema_version": _SCHEMA,
            "complete": record.complete,
            "revision": record.revision,
            "components": components,
        },
    )
