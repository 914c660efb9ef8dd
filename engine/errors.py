"""The tree of errors: what the user can put right (one sentence that says how), and what was cancelled.

Anything else that is raised is a fault of the program and keeps its traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.scene import Problem


class LumosError(Exception):
    """Root of all errors that the program raises on purpose."""

    exit_code = 1


LONGEST_SENTENCE = 1200
"""Characters of what a user is told. Files from strangers may name things at any length, and sentences quote names."""


class UserError(LumosError):
    """The input or the machine is at fault; `str()` is one sentence for the user that says what to do.

    Of a longer one than `LONGEST_SENTENCE` the middle is left out: what to do stands at its end.
    """

    exit_code = 2

    def __init__(self, sentence: str = "") -> None:
        if len(sentence) > LONGEST_SENTENCE:
            half = LONGEST_SENTENCE // 2
            sentence = f"{sentence[: half - 1]}…{sentence[-half:]}"
        super().__init__(sentence)


class SceneError(UserError):
    """A scene cannot render yet; `.problems` says why, in the order in which the user should see them (never empty)."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        if not problems:
            raise ValueError("a SceneError needs at least one problem")
        self.problems = problems
        text = problems[0].message
        more = len(problems) - 1
        if more:
            text += f" ({more} more {'thing' if more == 1 else 'things'} to put right after that.)"
        super().__init__(text)

    def __reduce__(self) -> tuple[type[SceneError], tuple[tuple[Problem, ...]]]:
        """Pickle by the problems, not by the text made of them: renders may run in another process."""
        return type(self), (self.problems,)


class PictureError(UserError):
    """A picture is missing, too large, damaged or no picture at all."""


class InputError(UserError):
    """A missing folder, an unknown preset, a bad scene file or a value out of range."""


class OutputError(UserError):
    """A target cannot be written: not allowed, not empty, or the disk is full."""


class WeightsError(UserError):
    """A checkpoint is missing, truncated or not the right one."""


class MachineError(UserError):
    """This machine lacks the memory or the device for what was asked."""


class Cancelled(LumosError):
    """The user stopped the work; nothing half-done is left behind."""

    exit_code = 130
