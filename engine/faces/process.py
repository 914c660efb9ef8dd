"""The page's side of the process that finds faces, and whether there is one. Needs the standard library alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.asking import AskedProcess, Sentences
from engine.weights import status

_LONGEST_S = 120.0
_SENTENCES = Sentences(
    died="Looking for faces stopped twice on this picture, perhaps for want of memory; draw the box by hand.",
    slow="Looking for faces takes too long on this picture; draw the box by hand.",
    not_started="The face detector could not be started ({reason}); close other programs, or draw the box by hand.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceProgram:
    """What finds faces. `module` is what `python -m` runs, with the folder of the pictures."""

    module: str = "engine.faces.worker"


class FaceProcess(AskedProcess):
    """The process that finds faces; its questions are those of `engine.faces.worker`."""

    def __init__(self, program: FaceProgram, pictures: Path, longest_s: float = _LONGEST_S) -> None:
        super().__init__(program.module, (str(pictures),), _SENTENCES, longest_s)


def installed_finder() -> FaceProgram | None:
    """What finds faces on this machine; None where the user has no detector, whose licence is not everybody's."""
    return None if status("face-detection").problem else FaceProgram()
