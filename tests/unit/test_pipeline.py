"""The whole pipeline of tiny real parts: repeatable, right in batches, and usable after whatever went wrong."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false, reportPrivateImportUsage=false, reportPrivateUsage=false, reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.hooks import FirstBlockCacheConfig

from engine.model.layout import Relations
from engine.model.pipeline import Conditioning, LumosXPipeline, Step, draw_noise
from engine.model.transformer import LumosXTransformer3DModel
from tests.unit.tiny_network import CHANNELS, TEXT_DIM, WORDS
from tests.unit.tiny_pipeline import FRAMES, HEIGHT, STEPS, WIDTH, Call, tiny_pipeline


@pytest.fixture(scope="module")
def pipeline() -> LumosXPipeline:
    return tiny_pipeline()


def test_the_same_call_gives_the_same_frames(pipeline: LumosXPipeline) -> None:
    (first,), (again,) = Call().run(pipeline), Call().run(pipeline)
    assert first.shape == (FRAMES, HEIGHT, WIDTH, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert first.std() > 1


def test_seeds_in_a_batch_are_those_seeds_alone(pipeline: LumosXPipeline) -> None:
    together = Call(seeds=(7, 8, 9)).run(pipeline)
    for seed, clip in zip((7, 8, 9), together, strict=True):
        (alone,) = Call(seeds=(seed,)).run(pipeline)
        # Products of other shapes round differently in the last bit, which may tip a pixel over.
        assert np.abs(clip.astype(int) - alone.astype(int)).max() <= 1
    assert np.abs(together[0].astype(int) - together[1].astype(int)).max() > 10


def test_another_picture_or_none_gives_another_clip(pipeline: LumosXPipeline) -> None:
    (clip,) = Call().run(pipeline)
    (plain,) = Call(with_references=False).run(pipeline)
    assert not np.array_equal(clip, plain)


def conditioning(pipeline: LumosXPipeline) -> Conditioning:
    return Conditioning(
        context=pipeline.encode_prompt("a man in red coat"), negative_context=pipeline.encode_prompt("blurry")
    )


def denoise(pipeline: LumosXPipeline, *, guidance_scale: float = 3.0, **options: object) -> torch.Tensor:
    noise = draw_noise(pipeline.latent_shape(WIDTH, HEIGHT, FRAMES), (0,))
    return pipeline.denoise(
        noise,
        conditioning(pipeline),
        num_inference_steps=STEPS,
        guidance_scale=guidance_scale,
        shift=8.0,
        **options,  # pyright: ignore[reportArgumentType]
    )


@pytest.mark.parametrize(("guidance_scale", "passes"), [(1.0, 1), (3.0, 2)])
def test_guidance_takes_two_passes_and_none_takes_one(
    pipeline: LumosXPipeline, guidance_scale: float, passes: int
) -> None:
    calls: list[object] = []
    handle = pipeline.transformer.register_forward_hook(lambda *_: calls.append(None))
    try:
        denoise(pipeline, guidance_scale=guidance_scale)
    finally:
        handle.remove()
    assert len(calls) == passes * STEPS


def test_guidance_is_the_extrapolation_from_the_negative_prompt(pipeline: LumosXPipeline) -> None:
    told = conditioning(pipeline)
    noise = draw_noise(pipeline.latent_shape(WIDTH, HEIGHT, FRAMES), (0,))
    with torch.no_grad():
        positive, negative = (
            pipeline.transformer(noise, torch.tensor([1000]), context).sample
            for context in (told.context, told.negative_context)
        )
    # A single step from sigma 1 to 0 subtracts the whole velocity.
    expected = noise - (negative + 4.0 * (positive - negative))
    latents = pipeline.denoise(noise, told, num_inference_steps=1, guidance_scale=4.0, shift=8.0)
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)


def cast(pipeline: LumosXPipeline) -> Conditioning:
    """Two subjects, the first with a coat."""
    pictures = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
    masks = torch.zeros(3, pipeline.encode_prompt("a").shape[1], dtype=torch.bool)
    masks[0, 1], masks[1, 4], masks[2, 7] = True, True, True
    told = conditioning(pipeline)
    return replace(told, reference_latents=pipeline.encode_references(pictures), groups=(2, 1), text_masks=masks)


@pytest.mark.parametrize("rows", [1, 2])
def test_relation_guidance_leads_away_from_pictures_that_see_everything(pipeline: LumosXPipeline, rows: int) -> None:
    told = cast(pipeline)
    noise = draw_noise(pipeline.latent_shape(WIDTH, HEIGHT, FRAMES), tuple(range(rows)))

    def passed(context: torch.Tensor, relations: Relations) -> torch.Tensor:
        return pipeline.transformer(
            noise,
            torch.tensor([1000]),
            context,
            reference_latents=told.reference_latents,
            groups=told.groups,
            text_masks=told.text_masks,
            relations=relations,
        ).sample

    with torch.no_grad():
        related, negative = passed(told.context, Relations()), passed(told.negative_context, Relations())
        unrelated = passed(told.context, Relations(self_attention=False))
    assert (related - unrelated).abs().max() > 1e-3
    expected = noise - (related + 3.0 * (related - negative) + 1.5 * (related - unrelated))
    options: dict[str, Any] = {"num_inference_steps": 1, "guidance_scale": 4.0, "shift": 8.0}
    latents = pipeline.denoise(noise, told, relation_guidance=1.5, **options)
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)
    published = pipeline.denoise(noise, told, **options)
    torch.testing.assert_close(published, noise - (related + 3.0 * (related - negative)), atol=1e-5, rtol=1e-5)


def test_without_pictures_or_relations_there_is_nothing_to_be_led_away_from(pipeline: LumosXPipeline) -> None:
    plain = denoise(pipeline)
    assert torch.equal(denoise(pipeline, relation_guidance=2.0), plain)
    told, noise = cast(pipeline), draw_noise(pipeline.latent_shape(WIDTH, HEIGHT, FRAMES), (0,))
    options: dict[str, Any] = {"num_inference_steps": STEPS, "guidance_scale": 1.0, "shift": 8.0}
    for relations, same in ((Relations(self_attention=False), True), (Relations(), False)):
        first = pipeline.denoise(noise, told, relations=relations, **options)
        second = pipeline.denoise(noise, told, relations=relations, relation_guidance=2.0, **options)
        assert torch.equal(first, second) == same


def test_every_step_is_reported_with_its_clean_estimate(pipeline: LumosXPipeline) -> None:
    steps: list[int] = []
    last: list[torch.Tensor] = []

    def on_step(step: int, latents: torch.Tensor, clean: torch.Tensor) -> None:
        steps.append(step)
        assert latents.shape == clean.shape
        last[:] = [clean]

    latents = denoise(pipeline, on_step=on_step)
    assert steps == list(range(STEPS))
    # The last step is of first order and ends at sigma 0, where the estimate is the result.
    torch.testing.assert_close(last[0], latents, atol=1e-5, rtol=1e-5)


class Stop(Exception):
    pass


def test_whatever_a_step_raises_comes_out_and_the_next_run_is_untouched(pipeline: LumosXPipeline) -> None:
    def on_step(step: int, _latents: torch.Tensor, _clean: torch.Tensor) -> None:
        if step == 1:
            raise Stop

    expected = denoise(pipeline)
    with pytest.raises(Stop):
        denoise(pipeline, on_step=on_step)
    assert torch.equal(denoise(pipeline), expected)


def test_a_run_broken_off_leaves_nothing_in_a_step_cache() -> None:
    pipeline = tiny_pipeline()
    pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold=1e9))  # every step but the first is skipped

    def on_step(step: int, _latents: torch.Tensor, _clean: torch.Tensor) -> None:
        if step == 0:
            raise Stop

    expected = denoise(pipeline)
    with pytest.raises(Stop):
        pipeline("a woman", None, num_inference_steps=STEPS, width=WIDTH, height=HEIGHT, num_frames=9, on_step=on_step)
    assert torch.equal(denoise(pipeline), expected)


def test_steps_can_be_asked_for_one_by_one_and_left() -> None:
    pipeline = tiny_pipeline()
    pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold=1e9))
    expected = denoise(pipeline)
    noise = draw_noise(pipeline.latent_shape(WIDTH, HEIGHT, FRAMES), (0,))

    def steps() -> Generator[Step]:
        return pipeline.sample(noise, conditioning(pipeline), num_inference_steps=STEPS, guidance_scale=3.0, shift=8.0)

    left = steps()
    assert next(left).index == 0
    assert torch.is_grad_enabled()
    left.close()
    whole = list(steps())
    assert [step.index for step in whole] == list(range(STEPS))
    assert torch.equal(whole[-1].latents, expected)
    assert not whole[-1].latents.requires_grad


def test_without_a_text_encoder_ready_embeddings_serve() -> None:
    pipeline = tiny_pipeline()
    told = conditioning(pipeline)
    expected = denoise(pipeline)
    lean = LumosXPipeline(
        tokenizer=pipeline.tokenizer,
        text_encoder=None,
        vae=pipeline.vae,
        transformer=pipeline.transformer,
        scheduler=pipeline.scheduler,
        text_tokens=WORDS,
    )
    noise = draw_noise(lean.latent_shape(WIDTH, HEIGHT, FRAMES), (0,))
    latents = lean.denoise(noise, told, num_inference_steps=STEPS, guidance_scale=3.0, shift=8.0)
    assert torch.equal(latents, expected)
    assert len(list(lean.frames(latents))) == FRAMES


def test_prompts_are_cleaned_cut_and_zero_behind_their_end(pipeline: LumosXPipeline) -> None:
    embedding = pipeline.encode_prompt("a  man &amp;amp;  hat ")
    assert embedding.shape == (1, WORDS, TEXT_DIM)
    assert torch.equal(embedding, pipeline.encode_prompt("a man & hat"))
    assert bool(embedding[0, :5].any(dim=-1).all())  # four words and the end
    assert not bool(embedding[0, 5:].any())
    assert pipeline.encode_prompt("a man " * 20).shape == (1, WORDS, TEXT_DIM)


def test_every_reference_is_encoded_alone(pipeline: LumosXPipeline) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
    pictures.flags.writeable = False
    both = pipeline.encode_references(pictures)
    assert both.shape == (1, CHANNELS, 2, HEIGHT // 8, WIDTH // 8)
    assert torch.equal(both[:, :, 1:], pipeline.encode_references(pictures[1:]))
    mode = pipeline.vae.encode(torch.tensor(pictures[:1]).permute(3, 0, 1, 2)[None] / 127.5 - 1).latent_dist.mode()
    expected = (mode - torch.tensor([0.1, -0.2, 0.3, 0.0])[:, None, None, None]) / torch.tensor([1.5, 0.5, 1.0, 2.0])[
        :, None, None, None
    ]
    torch.testing.assert_close(both[:, :, :1], expected.detach())


def test_normalisation_is_undone_before_decoding(pipeline: LumosXPipeline) -> None:
    latents = torch.randn(1, CHANNELS, 2, 2, 4, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.1, -0.2, 0.3, 0.0]), torch.tensor([1.5, 0.5, 1.0, 2.0])
    with torch.no_grad():
        expected = pipeline.vae.decode(latents * std[:, None, None, None] + mean[:, None, None, None]).sample
    video = pipeline.decode(latents)
    torch.testing.assert_close(video, expected.clamp(-1, 1))
    frames = np.stack(list(pipeline.frames(latents)))
    assert np.array_equal(frames, ((video[0] + 1) * 127.5).byte().permute(1, 2, 3, 0).numpy())


def test_noise_of_a_seed_is_the_same_in_every_batch() -> None:
    shape = (CHANNELS, 2, 2, 4)
    assert torch.equal(draw_noise(shape, (1, 5))[1:], draw_noise(shape, (5,)))


@pytest.mark.parametrize(("width", "height", "frames"), [(31, 16, 5), (32, 12, 5), (32, 16, 4)])
def test_sizes_that_do_not_fit_are_refused(pipeline: LumosXPipeline, width: int, height: int, frames: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        pipeline.latent_shape(width, height, frames)


@pytest.mark.parametrize("frames", [1, 5, 9])
def test_any_whole_number_of_latent_frames_is_decoded(pipeline: LumosXPipeline, frames: int) -> None:
    clips = pipeline("a man", num_inference_steps=1, width=WIDTH, height=HEIGHT, num_frames=frames)
    assert clips[0].shape == (frames, HEIGHT, WIDTH, 3)


def test_a_saved_pipeline_is_loaded_as_it_was(pipeline: LumosXPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    loaded = LumosXPipeline.from_pretrained(tmp_path)
    assert type(loaded.transformer) is LumosXTransformer3DModel
    assert int(loaded.config.text_tokens) == WORDS
    loaded.set_progress_bar_config(disable=True)
    assert np.array_equal(Call().run(loaded)[0], Call().run(pipeline)[0])


def test_half_precision_keeps_what_must_stay_exact(pipeline: LumosXPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    loaded = LumosXPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    exact = {name for name, parameter in loaded.transformer.named_parameters() if parameter.dtype == torch.float32}
    expected = {
        name
        for name, _ in loaded.transformer.named_parameters()
        if any(part in name for part in ("time_embedder", "time_proj", "scale_shift_table", "norm2", "proj_out"))
    }
    assert exact == expected
    assert all(
        parameter.dtype == torch.bfloat16
        for name, parameter in loaded.transformer.named_parameters()
        if name not in exact
    )
    (rounded,), (clip,) = Call().run(loaded), Call().run(pipeline)
    assert np.abs(rounded.astype(int) - clip.astype(int)).mean() < 3
