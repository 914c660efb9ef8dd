"""The live picture: colours straight from latents, as often as they cost nearly nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine import live_picture
from engine.cli.commands import nano
from engine.cli.parser import parse
from engine.events import Notice, Preview
from engine.live_picture import LivePicture
from engine.model.preview import FILE_NAME, LatentColours, latent_colours, light_and_dark, write_colours
from engine.model.small_decoder import SmallDecoder
from engine.nano.dataset import encode
from engine.nano.evaluation import evaluation_scene, load_pipeline
from engine.nano.preview import fit_colours, shown
from engine.nano.world.scene import render_clip
from engine.paths import assets_dir

MEAN = [0.5, -0.25]


def colours(window: int = 3, square: int = 2) -> LatentColours:
    generator = torch.Generator().manual_seed(0)
    outputs = 3 * square**2
    weight = 0.1 * torch.randn(outputs, len(MEAN), window, window, generator=generator)
    return LatentColours(weight, torch.linspace(-0.5, 0.5, outputs))


def test_a_cell_becomes_a_square_and_the_offset_is_its_colour() -> None:
    flat = LatentColours(torch.zeros(12, 2, 1, 1), torch.tensor([1.0] * 4 + [0.0] * 4 + [-1.0] * 4))
    frames = flat.frames(torch.randn(1, 2, 3, 4, 5))
    assert len(frames) == 3
    assert frames[0].shape == (8, 10, 3)
    assert (frames[1] == (255, 127, 0)).all()


def test_a_map_comes_back_from_its_file_and_one_of_another_vae_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_colours(tmp_path, colours(), MEAN)
    read = latent_colours(tmp_path, MEAN)
    assert read is not None
    torch.testing.assert_close(read.weight, colours().weight, atol=1e-4, rtol=0)
    torch.testing.assert_close(read.offset, colours().offset, atol=1e-4, rtol=0)
    assert not caplog.messages
    assert latent_colours(tmp_path, [0.5, 0.25]) is None
    assert latent_colours(tmp_path, [0.5, -0.25, 0.0]) is None
    for text in ("", "[]", "{}", json.dumps({"mean": MEAN, "weight": "x", "offset": []})):
        (tmp_path / FILE_NAME).write_text(text)
        assert latent_colours(tmp_path, MEAN) is None
    assert len(caplog.messages) == 6


def test_wans_channels_have_a_published_map_and_others_none(tmp_path: Path) -> None:
    published = latent_colours(tmp_path, [0.0] * 16)
    assert published is not None
    (grey,) = published.frames(torch.zeros(1, 16, 1, 2, 2))
    assert grey[0, 0].tolist() == [int((1 + value) * 127.5) for value in (-0.1835, -0.0868, -0.3360)]
    assert latent_colours(tmp_path, MEAN) is None


def test_without_a_map_shapes_are_seen_in_grey() -> None:
    latents = torch.randn(1, 4, 2, 6, 6, generator=torch.Generator().manual_seed(1)) * 0.1
    latents[0, 2, :, :, 3:] += 2
    frames = light_and_dark(latents).frames(latents)
    assert all((frame[..., :1] == frame).all() for frame in frames)
    left, right = frames[0][:, :3], frames[0][:, 3:]
    assert abs(int(left.mean()) - int(right.mean())) > 100
    assert light_and_dark(torch.zeros(1, 4, 1, 2, 2)).frames(torch.zeros(1, 4, 1, 2, 2))[0].shape == (2, 2, 3)


def test_looks_take_their_share_of_the_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def making(*_: object) -> bytes:
        nonlocal now
        now += 0.1  # what a look costs
        return b"webp"

    monkeypatch.setattr(live_picture, "animated_preview", making)
    monkeypatch.setattr(live_picture.time, "monotonic", lambda: now)
    live = LivePicture(colours(), 12)
    latents = torch.zeros(1, 2, 2, 4, 4)
    seen: list[int] = []
    for step in range(1, 101):
        now += 1.0
        if live.look(latents, step) is not None:
            seen.append(step)
    assert seen[0] == 1
    assert len(seen) * 0.1 <= live_picture.SHARE * now
    assert len(seen) >= 18


class _Watched(SmallDecoder):
    """A tiny decoder whose pictures take so many seconds of a clock that is not the machine's."""

    def __init__(self, clock: Clock, seconds: float, once: float = 0.0) -> None:
        super().__init__(latent_channels=2, widths=(4, 4, 2, 2))
        self._clock, self._seconds, self._once = clock, seconds, once
        self.made = 0

    def pictures(self, latents: torch.Tensor) -> Iterator[np.ndarray]:
        for picture in super().pictures(latents):
            self._clock.now += self._seconds + self._once
            self._once = 0.0
            self.made += 1
            yield picture


class Clock:
    """Stands still but for what is done; a coarse look and an encoding take 0.01 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(live_picture, "animated_preview", self._encoded)
        monkeypatch.setattr(live_picture.time, "monotonic", lambda: self.now)

    def _encoded(self, *_: object) -> bytes:
        self.now += 0.01
        return b"webp"


def widths_seen(live: LivePicture, clock: Clock, steps: int, step_s: float = 1.0) -> dict[int, int]:
    """The width of every look by its step, of a clip of ten latent frames 8 cells wide."""
    seen: dict[int, int] = {}
    for step in range(1, steps + 1):
        clock.now += step_s
        look = live.look(torch.zeros(1, 2, 10, 4, 8), step)
        if isinstance(look, Preview):
            seen[step] = look.width
    return seen


def test_looks_are_coarse_until_a_sharp_one_was_saved_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    decoder = _Watched(clock, 0.1)  # a sharp look takes a second: the share of fifty steps
    live = LivePicture(colours(square=1), 12, decoder)
    seen = widths_seen(live, clock, 200)
    assert next(iter(seen)) == 1
    sharp = [step for step, width in seen.items() if width == 32]
    coarse = [step for step, width in seen.items() if width == 8]
    assert 50 < sharp[0] < 90
    assert 0.75 * sharp[0] / 4 < len(coarse) < sharp[0] / 2
    assert max(coarse) < sharp[0]  # never again
    # Two pictures were made to find out what ten take, and then only whole looks.
    assert decoder.made == 2 + 10 * len(sharp)
    assert 0.01 * len(coarse) + 0.2 + 1.01 * len(sharp) <= live_picture.SHARE * clock.now


def test_what_is_done_only_once_does_not_count_against_later_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    decoder = _Watched(clock, 0.01, once=0.5)  # as a card's libraries begin
    seen = widths_seen(LivePicture(colours(square=1), 12, decoder), clock, 60)
    sharp = [step for step, width in seen.items() if width == 32]
    # As soon as half a second was made good for, and then every fifth or sixth step.
    assert 25 < sharp[0] < 45
    assert len(sharp) >= 3


def test_a_sharp_look_that_the_steps_have_time_for_comes_with_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    seen = widths_seen(LivePicture(colours(square=1), 12, _Watched(clock, 0.1)), clock, 6, step_s=100.0)
    assert seen == {1: 8, 2: 32, 3: 32, 4: 32, 5: 32, 6: 32}


def test_a_decoder_that_never_fits_leaves_coarse_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    seen = widths_seen(LivePicture(colours(square=1), 12, _Watched(clock, 100.0)), clock, 50)
    assert set(seen.values()) == {8}
    assert len(seen) > 10


def test_a_failing_decoder_is_told_of_once_and_looks_stay_coarse(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    decoder = _Watched(clock, 0.1)
    monkeypatch.setattr(decoder, "leave", torch.nn.Conv2d(3, 3, 1))  # as a driver that cannot do it
    live = LivePicture(colours(square=1), 12, decoder)
    looks: list[object] = []
    for step in range(1, 30):
        clock.now += 1.0
        looks.append(live.look(torch.zeros(1, 2, 3, 4, 8), step))
    assert [look for look in looks if isinstance(look, Notice)] == [Notice(text=live_picture.FAILED)]
    assert len([look for look in looks if isinstance(look, Preview)]) > 20
    assert len(caplog.messages) == 1


def test_a_look_is_a_moving_picture_of_every_latent_frame() -> None:
    look = LivePicture(colours(), 12, share=1e9).look(torch.randn(1, 2, 5, 4, 6), 3)
    assert isinstance(look, Preview)
    assert (look.step, look.width, look.height) == (3, 12, 8)
    with Image.open(io.BytesIO(look.webp)) as picture:
        assert getattr(picture, "n_frames", 1) == 5
        assert picture.size == (12, 8)


def test_the_shipped_map_shows_scenes_it_has_never_seen() -> None:
    folder = assets_dir() / "nano"
    vae = load_pipeline(folder).vae
    shipped = latent_colours(folder, list(vae.config["latents_mean"]))
    assert shipped is not None
    clip = torch.from_numpy(render_clip(evaluation_scene(5, 1, 2), 5))
    frames = np.stack(shipped.frames(encode(vae, clip[None])))
    assert frames.shape == (2, 48, 64, 3)
    wanted = torch.nn.functional.avg_pool2d(shown(clip), 2).permute(0, 2, 3, 1).numpy()
    error = float(np.mean((frames / 127.5 - 1 - wanted) ** 2))
    assert 10 * np.log10(4 / error) > 20


def test_the_command_fits_the_map_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = load_pipeline(assets_dir() / "nano")
    few = fit_colours(pipeline.vae, scenes=2)
    monkeypatch.setattr("engine.nano.preview.fit_colours", lambda vae, scenes: few)
    monkeypatch.setattr("engine.nano.evaluation.load_pipeline", lambda folder: pipeline)
    for name in ("model_index.json", "card.json"):
        (tmp_path / name).touch()
    assert nano.run(parse(["nano", "preview", "--weights", str(tmp_path)])) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / FILE_NAME)
    read = latent_colours(tmp_path, list(pipeline.vae.config["latents_mean"]))
    assert read is not None
    assert read.weight.shape == (48, 12, 3, 3)
