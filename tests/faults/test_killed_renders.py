"""Renders killed at random moments: nothing half-written stays, and the next render is identical."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from engine.pictures import PictureStore
from engine.sample_folder import write_sample_folder
from tests.faults.conftest import Tally
from tests.patience import PATIENCE_S
from tests.unit.tiny_studio import install_tiny_model, tiny_scene, tiny_settings

if not hasattr(signal, "SIGKILL"):
    pytest.skip("this system has no SIGKILL", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]

RENDER = """
import sys
from pathlib import Path
import engine.weights.installed as installed
installed.assets_dir = lambda: Path(sys.argv[1])
from engine.cli.main import main
raise SystemExit(main(["render", sys.argv[2], "--out", sys.argv[3], "--json"]))
"""


def start(assets: Path, scene: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RENDER, str(assets), str(scene), str(out)]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )


def frames_of(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_a_killed_render_leaves_no_half_clip(tmp_path: Path, home: Path, fault_rounds: int, tally: Tally) -> None:
    store = PictureStore(tmp_path / "store")
    install_tiny_model(tmp_path / "assets")
    scene = tmp_path / "scene"
    # Enough steps and frames that a kill can fall into every stage.
    write_sample_folder(tiny_scene(store), store, scene, settings=tiny_settings(num_inference_steps=12, num_frames=41))
    target = tmp_path / "out"
    target.mkdir()
    whole = start(tmp_path / "assets", scene, target / "whole.mp4")
    output, _ = whole.communicate(timeout=PATIENCE_S)
    assert whole.returncode == 0
    num_events = len(output.splitlines())
    expected = frames_of(target / "whole.mp4")

    rng = random.Random(7)
    half_files = different = 0
    for number in range(fault_rounds):
        clip = target / f"{number}.mp4"
        process = start(tmp_path / "assets", scene, clip)
        assert process.stdout is not None
        for _ in range(rng.randrange(1, num_events)):
            if not process.stdout.readline():
                break
        time.sleep(rng.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=PATIENCE_S)
        if clip.exists():
            half_files += not np.array_equal(frames_of(clip), expected)
        again = start(tmp_path / "assets", scene, clip)
        again.communicate(timeout=PATIENCE_S)
        assert again.returncode == 0
        different += not np.array_equal(frames_of(clip), expected)
        clip.unlink()
        # What the killed process had begun is gone as soon as somebody renders there again.
        assert [path.name for path in target.iterdir()] == ["whole.mp4"]
    tally.rounds += fault_rounds
    tally.half_files += half_files
    tally.different_after_resume += different
    assert (half_files, different) == (0, 0)
