"""`bench training` with networks that train in milliseconds: every stage is really trained, timed and counted."""

from __future__ import annotations

import json
from functools import partial

import pytest

from engine.bench import training
from engine.bench.training import StageFigures, measure_training, report
from engine.cli.commands import bench
from engine.cli.parser import parse
from engine.nano.dataset import _structures  # pyright: ignore[reportPrivateUsage]
from engine.nano.flow_matching import RelationsPlan
from engine.nano.tokenizer import train_tokenizer
from engine.nano.vae_training import VaePlan


@pytest.fixture(autouse=True)
def short(tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    cycle = _structures("b 22 2,- 2 1")
    monkeypatch.setattr(training, "CYCLE", cycle)
    monkeypatch.setattr("engine.nano.dataset.CYCLE", cycle)
    monkeypatch.setattr("engine.nano.relations_training.CYCLE", cycle)
    monkeypatch.setattr(training, "train_tokenizer", partial(train_tokenizer, scenes=50))


def test_every_stage_is_trained_timed_and_counted() -> None:
    said: list[str] = []
    figures = {one.stage: one for one in measure_training(updates=2, state=said.append)}
    assert list(figures) == ["tokenizer", "vae, stills", "vae, clips", "scenes", "relations"]
    assert said == ["tokenizer", "vae, stills", "vae, clips", "scenes", "relations"]
    plan = VaePlan()
    assert figures["vae, stills"].pieces + figures["vae, clips"].pieces == plan.steps
    assert figures["relations"].pieces == RelationsPlan().steps
    for stage in ("vae, stills", "vae, clips", "relations"):
        assert figures[stage].measured == 2
        assert (figures[stage].teraflop or 0) > 0
    assert figures["scenes"].piece_s > 0
    assert figures["scenes"].teraflop is None
    # a clip has more frames than a batch of stills has pictures
    assert (figures["vae, clips"].teraflop or 0) > (figures["vae, stills"].teraflop or 0)


def test_the_table_adds_up() -> None:
    rows = (
        StageFigures(stage="scenes", device="cpu", pieces=60, measured=3, piece_s=2.0),
        StageFigures(stage="relations", device="cuda", pieces=600, measured=3, piece_s=0.1, teraflop=0.5),
    )
    lines = report(rows).splitlines()
    assert lines[-2].split() == ["together", "3.0", "min"]
    assert "2.0 min" in lines[2]
    assert "0.30 P" in lines[3]
    assert json.loads(lines[-1])["training"][1]["seconds"] == pytest.approx(60)


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(parse(["bench", "training", "--updates", "1"])) == 0
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])["training"]) == 5
    with pytest.raises(ValueError, match="at least one"):
        measure_training(updates=0)
