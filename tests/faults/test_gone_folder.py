"""The data folder taken away under a studio at work: said, nothing begun in its place, and the queue goes on when it is
back."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

from engine.errors import OutputError
from engine.paths import unfinished_dir
from tests.faults.conftest import Tally
from tests.faults.work import NUM_STEPS, Work

if os.name != "posix":
    pytest.skip("this system does not take away a folder with open files", allow_module_level=True)


def test_a_folder_that_goes_under_a_render_is_said_and_comes_back_with_everything(
    work: Work, home: Path, fault_rounds: int, tally: Tally
) -> None:
    away = home.with_name(f"{home.name}-away")
    chance = random.Random(3)
    for _ in range(min(fault_rounds, 10)):
        job = work.begin(chance.randrange(2, NUM_STEPS - 1))
        home.rename(away)
        with pytest.raises(OutputError, match="is gone"):
            work.submit()
        with pytest.raises(OutputError, match="is gone"):
            work.pictures.add_array(np.full((3, 3, 3), chance.randrange(256), dtype=np.uint8))
        work.let_end()
        work.until_trouble("is gone")
        assert [one.id for one in work.queue.jobs()][-1] == job.id  # still shown
        assert not home.exists()
        away.rename(home)
        work.check(job)
    assert tally.different_after_resume == 0
    assert not list(unfinished_dir().glob("*.safetensors"))
