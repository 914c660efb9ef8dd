"""Starting the studio as a Hugging Face Space starts it: its own Python, another home, none of our environments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.patience import PATIENCE_S

NAME = "somebody-lumosx.hf.space"


@dataclass(frozen=True)
class Space:
    """A Space that runs: its folder, its home, and where it listens."""

    folder: Path
    home: Path
    pid: int
    url: str


@contextmanager
def running_space(folder: Path, home: Path, port: int, more: Mapping[str, str] | None = None) -> Generator[Space]:
    """Run what `space` wrote into a folder, with `more` of a platform's variables; it has to end well."""
    variables = {
        "PATH": os.environ["PATH"], "HOME": str(home), "SPACE_ID": "somebody/lumosx", "SPACE_HOST": NAME,
        "GRADIO_SERVER_PORT": str(port), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "SYSTEM": "spaces",
        **(more or {}),
    }  # fmt: skip
    said = home / "said.txt"
    with said.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "launcher.py"], cwd=folder, env=variables, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        until = time.monotonic() + PATIENCE_S
        while "is ready after" not in said.read_text() and time.monotonic() < until and process.poll() is None:
            time.sleep(0.2)
        assert "is ready after" in said.read_text(), said.read_text()
        yield Space(folder, home, process.pid, f"http://127.0.0.1:{port}/")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0, said.read_text()
    finally:
        process.kill()
        process.wait()
