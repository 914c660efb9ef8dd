"""Step caches on the real network at tiny size: what they skip, pass by pass, and what is measured for them."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers.hooks.group_offloading import LazyPrefetchGroupOffloadingHook
from diffusers.hooks.hooks import HookRegistry
from diffusers.hooks.mag_cache import MagCacheConfig

from engine.model.pipeline import Conditioning, LumosXPipeline, SamplerState, draw_noise
from engine.model.step_cache import FirstBlockCache, MagnitudeCache, MagnitudeRecorder, StepCache
from tests.unit.tiny_network import TEXT_DIM, WORDS, tiny_inputs
from tests.unit.tiny_pipeline import FRAMES, HEIGHT, WIDTH, tiny_pipeline

STEPS = 10
INPUTS = tiny_inputs(height=2, width=4)
EVEN = [1.0] * STEPS
NEVER = [5.0] * STEPS


@pytest.fixture(scope="module")
def pipeline() -> LumosXPipeline:
    return tiny_pipeline()


def conditioning(*, references: bool = True) -> Conditioning:
    text = torch.randn(2, 1, WORDS, TEXT_DIM, generator=torch.Generator().manual_seed(3))
    without = Conditioning(context=text[0], negative_context=text[1])
    if not references:
        return without
    return replace(without, reference_latents=INPUTS.references, groups=INPUTS.groups, text_masks=INPUTS.masks)


def sampled(
    pipeline: LumosXPipeline,
    cache: StepCache | None,
    *,
    start: SamplerState | None = None,
    guidance_scale: float = 1.0,
    seeds: tuple[int, ...] = (5,),
    **options: Any,
) -> tuple[torch.Tensor, list[SamplerState]]:
    """Clean latents of a run, and the states after its steps."""
    noise = draw_noise(pipeline.latent_shape(WIDTH, HEIGHT, FRAMES), seeds)
    steps = list(
        pipeline.sample(
            noise,
            options.pop("told", None) or conditioning(),
            num_inference_steps=STEPS,
            guidance_scale=guidance_scale,
            shift=3.0,
            start=start,
            step_cache=cache,
            **options,
        )
    )
    return steps[-1].latents, [step.state for step in steps]


@contextmanager
def computed(pipeline: LumosXPipeline) -> Generator[list[int]]:
    """The passes, counted from 0, in which the last block worked."""
    passes, seen = [-1], list[int]()

    def begins(*_: object) -> None:
        passes[0] += 1

    handles = [
        pipeline.transformer.condition_embedder.register_forward_hook(begins),
        pipeline.transformer.blocks[-1].ffn.register_forward_hook(lambda *_: seen.append(passes[0])),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def even(threshold: float = 1.0) -> MagnitudeCache:
    return MagnitudeCache(threshold=threshold, cond=EVEN, uncond=EVEN, unrelated=EVEN)


def test_ratios_that_never_allow_it_take_nothing_over(pipeline: LumosXPipeline) -> None:
    full, _ = sampled(pipeline, None, guidance_scale=3.0)
    with computed(pipeline) as seen:
        careful, _ = sampled(
            pipeline, MagnitudeCache(threshold=1.0, cond=NEVER, uncond=NEVER, unrelated=NEVER), guidance_scale=3.0
        )
    assert seen == list(range(2 * STEPS))
    assert torch.equal(careful, full)


def test_even_magnitudes_take_over_all_but_the_first_fifth_and_every_fourth_step(pipeline: LumosXPipeline) -> None:
    full, _ = sampled(pipeline, None)
    with computed(pipeline) as seen:
        draft, _ = sampled(pipeline, even())
    assert seen == [0, 1, 5, 9]
    assert torch.isfinite(draft).all()
    assert not torch.equal(draft, full)
    with computed(pipeline) as seen:
        again, _ = sampled(pipeline, None)
    assert len(seen) == STEPS
    assert torch.equal(again, full)


def test_what_a_step_was_off_by_adds_up_to_the_threshold(pipeline: LumosXPipeline) -> None:
    shrinking = MagnitudeCache(threshold=0.1, cond=[0.96] * STEPS, uncond=EVEN, unrelated=EVEN)
    with computed(pipeline) as seen:
        sampled(pipeline, shrinking)
    # One step is off by 0.04, the next by 0.0784: together beyond 0.1.
    assert seen == [0, 1, 3, 5, 7, 9]


def test_the_passes_of_guidance_have_figures_of_their_own(pipeline: LumosXPipeline) -> None:
    with computed(pipeline) as seen:
        sampled(pipeline, MagnitudeCache(threshold=1.0, cond=EVEN, uncond=NEVER, unrelated=NEVER), guidance_scale=3.0)
    assert [number // 2 for number in seen if number % 2 == 0] == [0, 1, 5, 9]
    assert [number // 2 for number in seen if number % 2 == 1] == list(range(STEPS))
    with computed(pipeline) as seen:
        sampled(
            pipeline,
            MagnitudeCache(threshold=1.0, cond=NEVER, uncond=EVEN, unrelated=EVEN),
            guidance_scale=3.0,
            guided_share=0.5,
        )
    # Five guided steps of two passes, then one pass each.
    assert seen == [0, 1, 2, 3, 4, 6, 8, 10, 11, 12, 13, 14]


def test_figures_of_another_number_of_steps_are_stretched(pipeline: LumosXPipeline) -> None:
    late = MagnitudeCache(threshold=1.0, cond=[1.0, 1.0, 1.0, 5.0, 5.0], uncond=[1.0], unrelated=[1.0])
    with computed(pipeline) as seen:
        sampled(pipeline, late)
    assert seen == [0, 1, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(("done", "expected"), [(1, [1, 5, 6]), (4, [4, 6]), (9, [9])])
def test_a_run_that_goes_on_reads_the_figures_of_its_own_steps(
    pipeline: LumosXPipeline, done: int, expected: list[int]
) -> None:
    cache = MagnitudeCache(threshold=1.0, cond=[*EVEN[:6], 5.0, *EVEN[7:]], uncond=EVEN, unrelated=EVEN)
    _, states = sampled(pipeline, None)
    with computed(pipeline) as seen:
        sampled(pipeline, cache, start=states[done - 1])
    assert [done + number for number in seen] == expected


def test_seeds_painted_together_take_over_the_same_steps_and_are_those_seeds_alone(pipeline: LumosXPipeline) -> None:
    with computed(pipeline) as seen:
        together, _ = sampled(pipeline, even(), seeds=(5, 8), guidance_scale=3.0)
    assert len(seen) == 8
    for row, seed in zip(together, (5, 8), strict=True):
        alone, _ = sampled(pipeline, even(), seeds=(seed,), guidance_scale=3.0)
        torch.testing.assert_close(row[None], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cache", [even(), FirstBlockCache(1e9)], ids=["magnitude", "first block"])
def test_neither_chunks_nor_streamed_blocks_change_what_a_cache_gives(cache: StepCache) -> None:
    pipeline = tiny_pipeline()
    expected, _ = sampled(pipeline, cache, guidance_scale=3.0)
    pipeline.transformer.chunk_tokens = 7
    chunked, _ = sampled(pipeline, cache, guidance_scale=3.0)
    assert torch.equal(chunked, expected)
    device = torch.device("cpu")
    pipeline.transformer.enable_group_offload(device, device, "block_level", num_blocks_per_group=1)
    streamed, _ = sampled(pipeline, cache, guidance_scale=3.0)
    assert torch.equal(streamed, expected)


def test_a_run_broken_off_takes_its_cache_off(pipeline: LumosXPipeline) -> None:
    noise = draw_noise(pipeline.latent_shape(WIDTH, HEIGHT, FRAMES), (5,))
    for cache in (even(), FirstBlockCache(1e9), MagnitudeRecorder()):
        steps = pipeline.sample(
            noise, conditioning(), num_inference_steps=STEPS, guidance_scale=1.0, shift=3.0, step_cache=cache
        )
        for _ in range(3):
            next(steps)
        steps.close()
        assert not pipeline.transformer.is_cache_enabled
        assert not pipeline.transformer.blocks[0]._forward_pre_hooks
        assert not pipeline.transformer.blocks[-1]._forward_hooks


# What is measured -----------------------------------------------------------------------------------------------------


def test_the_figures_are_those_that_diffusers_measures_without_references(
    pipeline: LumosXPipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = conditioning(references=False)
    full, _ = sampled(pipeline, None, told=plain, guidance_scale=3.0)
    recorder = MagnitudeRecorder()
    recorded, _ = sampled(pipeline, recorder, told=plain, guidance_scale=3.0)
    assert torch.equal(recorded, full)
    assert set(recorder.ratios) == {"cond", "uncond"}
    pipeline.transformer.enable_cache(MagCacheConfig(calibrate=True, num_inference_steps=STEPS))
    capsys.readouterr()
    sampled(pipeline, None, told=plain, guidance_scale=3.0)
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[1.0")]
    pipeline.transformer.disable_cache()
    both = [[float(value) for value in line.strip("[]").split(",")] for line in printed]
    assert both == [recorder.ratios["cond"], recorder.ratios["uncond"]]


def test_the_tokens_of_reference_pictures_do_not_count(pipeline: LumosXPipeline) -> None:
    recorder = MagnitudeRecorder()
    # A video of as many tokens as this one's latents have patches; three pictures of the scene stand behind it.
    video_tokens = 2 * (HEIGHT // 16) * (WIDTH // 16)
    before, after = list[torch.Tensor](), list[torch.Tensor]()
    blocks = pipeline.transformer.blocks
    handles = [
        blocks[0].register_forward_pre_hook(lambda _, arguments: before.append(arguments[0])),
        blocks[-1].register_forward_hook(lambda _, __, output: after.append(output)),
    ]
    sampled(pipeline, recorder)
    for handle in handles:
        handle.remove()
    assert before[0].shape[1] > video_tokens
    norms = [(end - begin)[:, :video_tokens].norm(dim=-1) for begin, end in zip(before, after, strict=True)]
    expected = [1.0, *(float((now / last).mean()) for last, now in pairwise(norms))]
    assert recorder.ratios["cond"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("cache", [even(), FirstBlockCache(1e9)], ids=["magnitude", "first block"])
def test_the_first_run_of_a_network_that_prefetches_its_blocks_skips_as_the_next_ones_do(cache: StepCache) -> None:
    pipeline, device = tiny_pipeline(), torch.device("cpu")
    expected, _ = sampled(pipeline, cache, guidance_scale=3.0)
    pipeline.transformer.enable_group_offload(device, device, "block_level", num_blocks_per_group=1)
    # What streams, which a processor does not have, add: the first pass finds out the order of the blocks.
    HookRegistry.check_if_exists_or_initialize(pipeline.transformer).register_hook(
        LazyPrefetchGroupOffloadingHook(), "lazy_prefetch_group_offloading"
    )
    worked = list[int]()
    for _ in range(2):
        with computed(pipeline) as seen:
            prefetched, _ = sampled(pipeline, cache, guidance_scale=3.0)
        assert torch.equal(prefetched, expected)
        worked.append(len(seen))
    assert worked[0] == worked[1] + 1 < STEPS
    full, _ = sampled(tiny_pipeline(), None, guidance_scale=3.0)
    again, _ = sampled(pipeline, None, guidance_scale=3.0)
    assert torch.equal(again, full)
