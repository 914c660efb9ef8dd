"""`bench looks` at a size of which nobody has to wait for the figures."""

from __future__ import annotations

import json

import pytest

from engine.bench import looks
from engine.bench.looks import measure_looks, report
from engine.cli.main import main
from engine.live_picture import SHARE


def test_both_kinds_of_look_have_their_figures() -> None:
    said: list[str] = []
    coarse, sharp = measure_looks(repeats=1, latents=(16, 3, 4, 6), state=said.append)
    assert (coarse.kind, coarse.count, coarse.width, coarse.height) == ("coarse", 3, 6, 4)
    assert (sharp.kind, sharp.count, sharp.width, sharp.height) == ("sharp", 3, 24, 16)
    for one in (coarse, sharp):
        assert (one.device, one.latents) == ("processor", (16, 3, 4, 6))
        assert min(one.pictures_s, one.encode_s) > 0
        assert one.steps_s * SHARE == one.pictures_s + one.encode_s
    assert sharp.pictures_s > coarse.pictures_s
    assert said == ["timing 1 coarse looks", "timing 1 sharp looks"]
    text, last = report((coarse, sharp)).rsplit("\n", 1)
    assert "3 of 24x16" in text
    assert [one["kind"] for one in json.loads(last)["looks"]] == ["coarse", "sharp"]


def test_the_command_prints_them(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def measured(*, repeats: int, state: object) -> tuple[looks.LookFigures, ...]:
        return measure_looks(repeats=repeats, latents=(16, 1, 4, 4))

    monkeypatch.setattr(looks, "measure_looks", measured)
    assert main(["bench", "looks", "--repeats", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out.splitlines()[-1])["looks"]) == 2
