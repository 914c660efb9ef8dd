"""The faults that `test mutations` puts into the program still have their places in it; being caught takes longer."""

from __future__ import annotations

import pytest

from engine.cli.requirements import project_root
from tests.mutations.mutants import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_a_fault_has_one_place(mutant: Mutant) -> None:
    text = (project_root() / mutant.path).read_text(encoding="utf-8")
    assert text.count(mutant.before) == 1, f"{mutant.path} has changed: put the fault in anew"
    assert mutant.after != mutant.before
    for test in mutant.caught_by:
        file, _, name = test.partition("::")
        source = (project_root() / file).read_text(encoding="utf-8")
        assert not name or f"def {name.split('[')[0]}(" in source
