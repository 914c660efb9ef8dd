"""The live picture: colours straight from latents, as often as they cost nearly nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine import live_picture
from engine.cli.commands import nano
from engine.cli.parser import parse
from engine.live_picture import LivePicture
from engine.model.preview import FILE_NAME, LatentColours, latent_colours, light_and_dark, write_colours
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


def test_a_look_is_a_moving_picture_of_every_latent_frame() -> None:
    look = LivePicture(colours(), 12, share=1e9).look(torch.randn(1, 2, 5, 4, 6), 3)
    assert look is not None
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
    (tmp_path / "model_index.json").touch()
    assert nano.run(parse(["nano", "preview", "--weights", str(tmp_path)])) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / FILE_NAME)
    read = latent_colours(tmp_path, list(pipeline.vae.config["latents_mean"]))
    assert read is not None
    assert read.weight.shape == (48, 12, 3, 3)
