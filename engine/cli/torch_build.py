"""Which build of PyTorch suits this machine, and where pip finds it. Standard library only.

| machine | build | from |
|---|---|---|
| macOS | the ordinary one | pip's own index |
| Linux with an NVIDIA card | the ordinary one is for CUDA 13 | pip's own index |
| … whose driver or card is too old for CUDA 13 | CUDA 12.6 | PyTorch's index |
| Linux without | CPU; the ordinary one brings gigabytes of CUDA | PyTorch's index, unless pip is configured otherwise |
| Windows with an NVIDIA card | CUDA 13.0 or 12.6 | PyTorch's index |
| Windows without | the ordinary one is for the CPU | pip's own index |

Where PyTorch's index does not answer, pip's own is tried. `LUMOSX_TORCH_INDEX` overrides all this with the address of
another index, or with `none`: pip's own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

TORCH_INDEX = "https://download.pytorch.org/whl"
TORCH_INDEX_VARIABLE = "LUMOSX_TORCH_INDEX"
CPU_TAG, CUDA_TAG, OLD_CUDA_TAG = "cpu", "cu130", "cu126"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """An NVIDIA card. `cuda`: newest version its driver runs; `capability`: of the card; None where it is not told."""

    cuda: tuple[int, int] | None
    capability: tuple[int, int] | None

    @property
    def is_old(self) -> bool:
        """Whether builds for CUDA 13 do not run: they need a driver for it and a card of generation 7.5."""
        return (self.cuda is not None and self.cuda < (13, 0)) or (
            self.capability is not None and self.capability < (7, 5)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One way to get PyTorch. `index`: address to take it from, None for pip's own; `words` for people."""

    index: str | None
    words: str
    cuda: bool


def builds(system: str, card: Card | None, *, pip_is_configured: bool, environment: Mapping[str, str]) -> list[Build]:
    """Ways to get PyTorch on `system` (as `sys.platform`), best first; the last is always pip's own index.

    `pip_is_configured`: pip's configuration names indexes or folders of its own, so whoever looks after this machine
    has decided where packages come from.
    """
    cuda = card is not None and system != "darwin"
    plain = Build(index=None, words="the ordinary build", cuda=cuda and system != "win32")
    wanted = environment.get(TORCH_INDEX_VARIABLE, "").strip()
    if wanted:
        return [plain] if wanted == "none" else [Build(index=wanted, words=f"from {wanted}", cuda=cuda), plain]
    if cuda and card is not None and (system == "win32" or card.is_old):
        tag = OLD_CUDA_TAG if card.is_old else CUDA_TAG
        words = f"the build for NVIDIA cards, CUDA {tag[2:4]}.{tag[4:]}"
        return [Build(index=f"{TORCH_INDEX}/{tag}", words=words, cuda=True), plain]
    if system == "linux" and not cuda and not pip_is_configured:
        return [Build(index=f"{TORCH_INDEX}/{CPU_TAG}", words="the build without CUDA", cuda=False), plain]
    return [plain]


def find_card() -> Card | None:
    """The first NVIDIA card, as its driver's own tool tells; None without a card or driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None and sys.platform == "win32":
        tool = os.path.expandvars(r"%SystemRoot%\System32\nvidia-smi.exe")
    if tool is None:
        return None
    capability = _ask(tool, "--query-gpu=compute_cap", "--format=csv,noheader")
    if capability is None or not capability.strip():
        return None
    return Card(
        cuda=_pair(r"CUDA[^:\n]*Version:\s*(\d+)\.(\d+)", _ask(tool) or ""),
        capability=_pair(r"(\d+)\.(\d+)", capability),
    )


def _ask(*command: str) -> str | None:
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout


def _pair(pattern: str, text: str) -> tuple[int, int] | None:
    match = re.search(pattern, text)
    return (int(match[1]), int(match[2])) if match else None
