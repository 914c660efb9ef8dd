"""All recorded cases of the published code, through the command's own runner."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from engine.errors import InputError
from engine.parity.folder import RecordedFolder
from engine.parity.runner import RUNNERS, run_folder, run_kind

REFERENCE = Path(__file__).resolve().parents[2].parent / "shared" / "reference"

pytestmark = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the recorded numbers of the published code are not here"
)


@pytest.mark.parametrize("kind", sorted(RUNNERS))
def test_recorded_cases(kind: str, tmp_path: Path) -> None:
    outcomes = list(run_kind(kind, RUNNERS[kind], RecordedFolder(REFERENCE, tmp_path)))
    assert outcomes
    assert [outcome for outcome in outcomes if not outcome.passed] == []
    assert all(outcome.error is not None for outcome in outcomes)


def test_written_results_carry_the_recorded_names(tmp_path: Path) -> None:
    for kind in ("sampler", "layout"):
        list(run_kind(kind, RUNNERS[kind], RecordedFolder(REFERENCE, tmp_path)))
    written = load_file(tmp_path / "sampler" / "cases.safetensors")
    assert {name.split(".")[1] for name in written} == {"sigmas", "timesteps", "final"}
    assert (tmp_path / "layout" / "layout.json").is_file()


def test_cases_without_expected_values_are_run_and_written(tmp_path: Path) -> None:
    source = tmp_path / "inputs"
    inputs = {"x", "context", "text_masks", "cond_latents", "z", "context_null"}
    (source / "dit").mkdir(parents=True)
    shutil.copytree(REFERENCE / "dit" / "weights", source / "dit" / "weights")
    for name in ("dit/cases/o02_two_faces_same_noun", "e2e/e2e_open_8steps"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REFERENCE / f"{name}.json", source / f"{name}.json")
        tensors = load_file(REFERENCE / f"{name}.safetensors")
        save_file({key: tensors[key] for key in inputs & tensors.keys()}, source / f"{name}.safetensors")
    outcomes = list(run_folder(source, tmp_path / "out"))
    assert len(outcomes) == 2
    assert all(outcome.passed and outcome.error is None for outcome in outcomes)
    recorded = load_file(REFERENCE / "dit/cases/o02_two_faces_same_noun.safetensors")["out"]
    ours = load_file(tmp_path / "out/dit/cases/o02_two_faces_same_noun.safetensors")["out"]
    assert (ours - recorded[:, :, : ours.shape[2]]).abs().max() < 5e-5


def test_a_wrong_result_fails(tmp_path: Path) -> None:
    source = tmp_path / "wrong"
    shutil.copytree(REFERENCE / "sampler", source / "sampler")
    path = source / "sampler" / "cases.safetensors"
    tensors = load_file(path)
    tensors["s8_shift8_g6.final"] += 1e-3
    save_file(tensors, path)
    failed = [outcome for outcome in run_folder(source) if not outcome.passed]
    assert [outcome.quantity for outcome in failed] == ["s8_shift8_g6.final"]


def test_a_broken_recording_is_named_and_the_rest_still_runs(tmp_path: Path) -> None:
    source = tmp_path / "broken"
    shutil.copytree(REFERENCE / "sampler", source / "sampler")
    (source / "layout").mkdir()
    (source / "layout" / "layout.json").write_text("{")
    outcomes = list(run_folder(source))
    assert [outcome.case for outcome in outcomes if not outcome.passed] == ["layout"]
    assert any(outcome.case == "sampler/cases" for outcome in outcomes)


def test_a_folder_without_cases_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no recorded cases"):
        list(run_folder(tmp_path))
