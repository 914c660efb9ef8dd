"""Work in a fresh process, and the memory it took at its peak, mapped pages included."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the work returned, and the process's resident memory at its peak."""

    peak_bytes: int
    result: dict[str, Any]


def in_fresh_process(work: str, **arguments: Any) -> Measured:
    """Call `work` (module:function) with JSON `arguments` in a new Python; it returns a dict of JSON values.

    Its stderr is shown as it comes. Raises `RuntimeError` if it fails.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", __name__, work, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{work} failed with exit code {done.returncode}")
    document = json.loads(done.stdout.splitlines()[-1])
    return Measured(peak_bytes=document["peak_bytes"], result=document["result"])


def peak_bytes() -> int:
    """Resident memory of this process at its peak since it started (or since Linux was told to count anew)."""
    if sys.platform == "linux":
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def main(work: str, arguments: str) -> None:
    """Do the work and print its result and the peak as one JSON line, the last of stdout."""
    module, function = work.split(":")
    result = getattr(importlib.import_module(module), function)(**json.loads(arguments))
    print(json.dumps({"peak_bytes": peak_bytes(), "result": result}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
