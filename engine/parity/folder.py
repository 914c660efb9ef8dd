"""A folder of recorded cases: where things lie, how outcomes are judged and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from engine.errors import InputError, OutputError

Tensors = dict[str, torch.Tensor]
Distance = Callable[[torch.Tensor, torch.Tensor], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One compared quantity: `error` in the unit of `tolerance`, both None where nothing was recorded to compare with;
    `failure` says what went wrong when the case could not be computed at all."""

    case: str
    quantity: str
    error: float | None = None
    tolerance: float | None = None
    failure: str | None = None

    @property
    def passed(self) -> bool:
        if self.failure is not None:
            return False
        return self.error is None or self.tolerance is None or self.error <= self.tolerance


@dataclass(frozen=True, slots=True)
class RecordedFolder:
    """Reads recorded cases under `root` and, where `out` is given, writes ours under the same relative names."""

    root: Path
    out: Path | None = None

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    def files(self, pattern: str) -> list[Path]:
        return sorted(self.root.glob(pattern))

    def relative(self, path: Path, suffix: str = "") -> str:
        return path.with_suffix(suffix).relative_to(self.root).as_posix()

    def write_tensors(self, name: str, tensors: Tensors) -> None:
        """Write `name` (relative, with ending) below `out`; nothing without one."""
        if self.out is not None and tensors:
            target = self._target(name)
            save_file({key: value.contiguous() for key, value in tensors.items()}, target)

    def write_json(self, name: str, value: object) -> None:
        if self.out is not None:
            self._target(name).write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")

    def _target(self, name: str) -> Path:
        assert self.out is not None
        target = self.out / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"Cannot write to {target.parent}: choose another folder ({error.strerror}).") from error
        return target


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is no readable JSON file: record that case again.") from error


def read_tensors(path: Path) -> Tensors:
    """All tensors of a safetensors file, floating ones in float32."""
    try:
        tensors = load_file(path)
    except Exception as error:  # safetensors raises its own type, and OSError for a missing file
        raise InputError(f"{path} is no readable safetensors file: record that case again.") from error
    return {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}


def greatest_difference(ours: torch.Tensor, recorded: torch.Tensor) -> float:
    """Largest absolute difference; infinite where shapes differ or a value is not finite."""
    if ours.shape != recorded.shape:
        return float("inf")
    if ours.numel() == 0:
        return 0.0
    difference = (ours.double() - recorded.double()).abs().max().item()
    return difference if difference == difference else float("inf")


def relative_to_maximum(ours: torch.Tensor, recorded: torch.Tensor) -> float:
    """Largest absolute difference over the largest recorded value."""
    return greatest_difference(ours, recorded) / max(recorded.abs().max().item(), 1e-30)


@dataclass(slots=True)
class Judge:
    """Collects the outcomes of one case."""

    case: str
    recorded: Mapping[str, torch.Tensor]
    outcomes: list[Outcome] = field(default_factory=list)

    def compare(
        self,
        name: str,
        ours: torch.Tensor,
        tolerance: float,
        distance: Distance = greatest_difference,
        *,
        recorded: torch.Tensor | None = None,
    ) -> None:
        """Compare with the recorded tensor `name`, or with `recorded`; without either the case counts as run."""
        expected = recorded if recorded is not None else self.recorded.get(name)
        if expected is None:
            self.outcomes.append(Outcome(case=self.case, quantity=name))
        else:
            error = distance(ours, expected)
            self.outcomes.append(Outcome(case=self.case, quantity=name, error=error, tolerance=tolerance))

    def compare_exactly(self, name: str, ours: object, expected: object | None) -> None:
        """Compare JSON values; the error is 0 or 1."""
        error = None if expected is None else float(ours != expected)
        tolerance = None if expected is None else 0.0
        self.outcomes.append(Outcome(case=self.case, quantity=name, error=error, tolerance=tolerance))

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)
