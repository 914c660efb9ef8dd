"""Checkpoints of a training run: written whole or not at all, resumed exactly, never overwritten by another run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from engine.errors import InputError


class RunFolder:
    """The state of one stage of training under `folder/<stage>-checkpoint`.

    `plan` is what must be equal for a run to continue. `seconds` is how long the stage has been trained in all.
    """

    def __init__(self, folder: Path, stage: str, plan: Mapping[str, object]) -> None:
        self.folder, self.stage, self.plan = folder, stage, dict(plan)
        self.path = folder / f"{stage}-checkpoint"
        self._earlier_s, self._begun = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Time spent on the stage so far, that of earlier sittings included."""
        return self._earlier_s + time.monotonic() - self._begun

    def start(self, resume: bool, models: Mapping[str, torch.nn.Module], optimizer: torch.optim.Optimizer) -> int:
        """Load the last checkpoint into `models` and `optimizer` and return its step, or 0 for a new run.

        Raises `InputError` if there is a run that was not asked to be resumed, or one that cannot be.
        """
        if not self.path.exists():
            return 0
        if not resume:
            raise InputError(f"{self.folder} already holds a {self.stage} run: add --resume, or choose another --out.")
        try:
            state = json.loads((self.path / "state.json").read_text())
            tensors = load_file(self.path / "tensors.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(f"The {self.stage} run in {self.folder} cannot be read: choose another --out.") from error
        mine = json.loads(json.dumps({k: v for k, v in self.plan.items() if k != "steps"}))
        if {k: v for k, v in state["plan"].items() if k != "steps"} != mine:
            raise InputError(f"{self.folder} holds a {self.stage} run with other settings: choose another --out.")
        for name, model in models.items():
            model.load_state_dict(
                {k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")}
            )
        _load_optimizer(optimizer, tensors)
        torch.set_rng_state(tensors["random"])
        self._earlier_s = float(state["seconds"])
        return int(state["step"])

    def save(self, step: int, models: Mapping[str, torch.nn.Module], optimizer: torch.optim.Optimizer) -> None:
        """Write a checkpoint beside the last one and put it in its place."""
        tensors: dict[str, torch.Tensor] = {"random": torch.get_rng_state()}
        for name, model in models.items():
            tensors |= {f"{name}/{key}": value.contiguous() for key, value in model.state_dict().items()}
        for index, values in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{key}": value for key, value in values.items()}
        fresh = self.folder / f"{self.stage}-checkpoint.new"
        fresh.mkdir(parents=True, exist_ok=True)
        save_file({key: value.clone() for key, value in tensors.items()}, fresh / "tensors.safetensors")
        (fresh / "state.json").write_text(json.dumps({"step": step, "seconds": self.seconds, "plan": self.plan}))
        old = self.folder / f"{self.stage}-checkpoint.old"
        if self.path.exists():
            os.replace(self.path, old)
        os.replace(fresh, self.path)
        for leftover in old.glob("*"):
            leftover.unlink()
        if old.exists():
            old.rmdir()


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]) -> None:
    current: dict[str, Any] = optimizer.state_dict()
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            state.setdefault(int(index), {})[name] = value
    current["state"] = state
    optimizer.load_state_dict(current)


def has_checkpoint(folder: Path, stage: str) -> bool:
    """Whether a stage has been trained in `folder`."""
    return (folder / f"{stage}-checkpoint" / "state.json").is_file()


def training_record(folder: Path, stage: str) -> dict[str, Any]:
    """What the last checkpoint of a stage says of its training: `step`, `seconds` and `plan`."""
    record: dict[str, Any] = json.loads((folder / f"{stage}-checkpoint" / "state.json").read_text())
    return record
