"""A studio in a process of its own, as a user would start it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Server:
    """A running studio of a test."""

    url: str
    home: Path
    pid: int

    @property
    def clips(self) -> Path:
        """Where its clips land."""
        return self.home / "clips"


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a studio on a data home of its own."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    ours = {
        "LUMOSX_HOME": str(home),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
    }
    return {**os.environ, **ours}


def start_server(
    home: Path, *arguments: str, module: str = "tests.browser.tiny_engine", without: tuple[str, ...] = ()
) -> tuple[subprocess.Popen[bytes], Server]:
    """Start a studio on a data home of its own, `without` some of our variables, and wait until it says that it is
    ready."""
    home.mkdir(parents=True, exist_ok=True)
    said = home / "said.txt"
    command = [sys.executable, "-m", module, "--no-browser", *arguments]
    with said.open("w", encoding="utf-8") as file:
        variables = {name: value for name, value in environment(home).items() if name not in without}
        process = subprocess.Popen(command, cwd=ROOT, env=variables, stdout=file, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        lines = said.read_text(encoding="utf-8").splitlines()
        ready = next((line for line in lines if "is ready after" in line), None)
        if ready is not None:
            return process, Server(url=ready.split()[-1], home=home, pid=process.pid)
        time.sleep(0.1)
    process.kill()
    process.wait()
    raise AssertionError(f"the studio did not start: {said.read_text(encoding='utf-8')}")


def stop_server(process: subprocess.Popen[bytes]) -> int:
    """Ask a studio to stop, as Ctrl-C does; return its exit code."""
    process.terminate()
    return process.wait(PATIENCE_S)
