"""A studio in a process of its own, as a user would start it."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_S = 120


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
    return {
        **os.environ,
        "LUMOSX_HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
    }


def start_server(
    home: Path, *arguments: str, module: str = "tests.browser.tiny_engine"
) -> tuple[subprocess.Popen[str], Server]:
    """Start a studio on a data home of its own and wait until it says that it is ready."""
    env = environment(home)
    command = [sys.executable, "-m", module, "--no-browser", *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )
    assert process.stdout is not None
    lines: queue.Queue[str] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)

    threading.Thread(target=read, daemon=True).start()
    said: list[str] = []
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            said.append(lines.get(timeout=1))
        except queue.Empty:
            if process.poll() is not None:
                break
            continue
        if "is ready after" in said[-1]:
            return process, Server(url=said[-1].split()[-1], home=home, pid=process.pid)
    process.kill()
    raise AssertionError(f"the studio did not start: {''.join(said)}")


def stop_server(process: subprocess.Popen[str]) -> int:
    """Ask a studio to stop, as Ctrl-C does; return its exit code."""
    process.terminate()
    return process.wait(30)
