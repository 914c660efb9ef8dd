"""The page's side of the process that cuts. Needs the standard library alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.asking import AskedProcess, Sentences

Json = dict[str, Any]

_LONGEST_S = 300.0
_SENTENCES = Sentences(
    died="Cutting stopped twice on this picture, perhaps for want of memory; try a smaller one.",
    slow="Cutting takes too long on this picture; try a smaller one.",
    not_started="The cutter could not be started ({reason}); close other programs.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CutterProgram:
    """A cutter to choose. `module` is what `python -m` runs, with `arguments` and then the folder of the pictures."""

    name: str
    title: str
    note: str
    builtin: bool
    module: str = "engine.masks.worker"
    arguments: tuple[str, ...] = ()


class CutterProcess(AskedProcess):
    """One process of one program; its questions are those of `engine.masks.worker`."""

    def __init__(self, program: CutterProgram, pictures: Path, longest_s: float = _LONGEST_S) -> None:
        super().__init__(program.module, (*program.arguments, str(pictures)), _SENTENCES, longest_s)
