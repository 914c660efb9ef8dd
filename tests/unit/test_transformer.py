"""The relational network at tiny size: two routes to the same numbers, and diffusers' own Wan as a witness."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportArgumentType=false, reportCallIssue=false, reportPrivateImportUsage=false, reportUnknownParameterType=false, reportMissingParameterType=false

from __future__ import annotations

import pytest
import torch
from diffusers import WanTransformer3DModel
from torch.utils._python_dispatch import TorchDispatchMode

from engine.bench.published_form import use_published_form
from engine.model import attention
from engine.model.layout import Relations
from engine.model.transformer import LumosXTransformer3DModel
from tests.unit.tiny_network import CONFIG, Inputs, stream_after_blocks, tiny_inputs, tiny_transformer

# Two correct float32 routes through two blocks differ by rounding only.
TOLERANCE = 2e-5

NO_RELATIONS = Relations(positions=False, self_attention=False, cross_attention=False)

CASTS = [
    pytest.param(1, (2, 1), {}, id="mixed"),
    pytest.param(3, (), {}, id="only-free"),
    pytest.param(0, (1,), {}, id="one-face"),
    pytest.param(0, (3,), {"frames": 3}, id="as-many-references-as-latent-frames"),
    pytest.param(1, (2, 3), {"frames": 3}, id="a-group-as-long-as-the-video"),
    pytest.param(1, (2,), {"frames": 1}, id="single-frame"),
    pytest.param(0, (1, 1), {"frames": 1}, id="single-frame-two-faces"),
    pytest.param(2, (1, 2, 3, 4), {}, id="twelve-references"),
    pytest.param(1, (2, 1), {"height": 5, "width": 7}, id="odd-latents"),
    pytest.param(1, (2,), {"height": 18, "width": 20}, id="width-not-whole-cells"),
    pytest.param(1, (1, 1), {"batch": 3}, id="batch"),
]


def plain_wan(model: LumosXTransformer3DModel) -> WanTransformer3DModel:
    wan = WanTransformer3DModel(**CONFIG)
    wan.load_state_dict(model.state_dict(), strict=True)
    return wan.eval()


def wan_sample(model: LumosXTransformer3DModel, latents: torch.Tensor, inputs: Inputs) -> torch.Tensor:
    with torch.no_grad():
        return plain_wan(model)(latents, inputs.timestep, inputs.text).sample


@pytest.mark.parametrize(("frames", "height", "width", "batch"), [(3, 6, 8, 1), (1, 4, 4, 1), (5, 2, 6, 2)])
def test_without_references_it_is_diffusers_wan(frames: int, height: int, width: int, batch: int) -> None:
    model = tiny_transformer()
    inputs = tiny_inputs(0, (), frames=frames, height=height, width=width, batch=batch)
    torch.testing.assert_close(inputs.run(model), wan_sample(model, inputs.video, inputs), atol=1e-5, rtol=0)


def test_odd_latents_are_padded_with_zeros() -> None:
    model, inputs = tiny_transformer(), tiny_inputs(0, (), height=5, width=7)
    padded = torch.nn.functional.pad(inputs.video, (0, 1, 0, 1))
    sample = inputs.run(model)
    assert sample.shape == inputs.video.shape
    torch.testing.assert_close(sample, wan_sample(model, padded, inputs)[..., :5, :7], atol=1e-5, rtol=0)


def test_without_any_relation_references_are_further_frames_of_wan() -> None:
    model, inputs = tiny_transformer(), tiny_inputs(1, (2, 1))
    assert inputs.references is not None
    longer = torch.cat([inputs.video, inputs.references], dim=2)
    expected = wan_sample(model, longer, inputs)[:, :, : inputs.video.shape[2]]
    torch.testing.assert_close(inputs.run(model, NO_RELATIONS), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("num_free", "groups", "shape"), CASTS)
def test_grouped_attention_and_bias_on_reference_rows_equal_the_dense_form(
    num_free: int, groups: tuple[int, ...], shape: dict[str, int]
) -> None:
    model, dense = tiny_transformer(), tiny_transformer()
    use_published_form(dense)
    inputs = tiny_inputs(num_free, groups, **shape)
    expected = stream_after_blocks(dense, lambda: inputs.run(dense))
    stream = stream_after_blocks(model, lambda: inputs.run(model))
    torch.testing.assert_close(stream, expected, atol=TOLERANCE, rtol=1e-5)
    torch.testing.assert_close(inputs.run(model), inputs.run(dense), atol=TOLERANCE, rtol=1e-5)


def test_references_taken_in_small_chunks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = tiny_transformer(), tiny_inputs(2, (3, 2))
    together = inputs.run(model)
    monkeypatch.setattr(attention, "BIAS_ELEMENTS", 1)
    torch.testing.assert_close(inputs.run(model), together, atol=TOLERANCE, rtol=1e-5)


def differ(first: torch.Tensor, second: torch.Tensor) -> bool:
    """True for a difference far above rounding, False for one within it; anything between is an error."""
    distance = (first - second).abs().max().item()
    assert distance < TOLERANCE or distance > 20 * TOLERANCE, distance
    return distance > TOLERANCE


@pytest.mark.parametrize("off", ["positions", "self_attention", "cross_attention"])
def test_each_relation_can_be_switched_off_and_matters(off: str) -> None:
    model, inputs = tiny_transformer(), tiny_inputs(1, (2, 1))
    assert differ(inputs.run(model), inputs.run(model, Relations(**{off: False})))


@pytest.mark.parametrize("off", ["positions", "self_attention", "cross_attention"])
def test_switches_change_nothing_without_references(off: str) -> None:
    model, inputs = tiny_transformer(), tiny_inputs(0, ())
    assert torch.equal(inputs.run(model), inputs.run(model, Relations(**{off: False})))


def test_positions_matter_only_where_a_subject_has_more_than_one_picture() -> None:
    model, alone = tiny_transformer(), tiny_inputs(2, (1, 1))
    assert torch.equal(alone.run(model), alone.run(model, Relations(positions=False)))


def test_self_attention_matters_only_among_references_that_could_see_more() -> None:
    # One subject and nothing else: what is left to forbid is that the references see the video.
    model, one = tiny_transformer(), tiny_inputs(0, (2,))
    assert differ(one.run(model), one.run(model, Relations(self_attention=False)))


def test_strength_zero_switch_off_and_no_words_are_the_same() -> None:
    model, inputs = tiny_transformer(), tiny_inputs(1, (2, 1))
    off = inputs.run(model, Relations(cross_attention=False))
    assert torch.equal(off, inputs.run(model, Relations(strength=0.0)))
    assert torch.equal(off, inputs.changed(masks=None).run(model))
    assert inputs.masks is not None
    no_words = inputs.changed(masks=torch.zeros_like(inputs.masks))
    assert not differ(off, no_words.run(model))


def test_strength_is_a_setting() -> None:
    model, inputs = tiny_transformer(), tiny_inputs(1, (2, 1))
    assert torch.equal(inputs.run(model), inputs.run(model, Relations(strength=0.5)))
    assert differ(inputs.run(model), inputs.run(model, Relations(strength=1.0)))


@pytest.mark.parametrize(("width", "same"), [(16, True), (32, True), (12, False), (20, False)])
def test_unpoolings_differ_only_where_the_width_needs_padding(width: int, same: bool) -> None:
    model, inputs = tiny_transformer(), tiny_inputs(1, (1,), frames=1, height=34, width=width)
    published, corrected = inputs.run(model), inputs.run(model, Relations(unpooling="corrected"))
    assert differ(published, corrected) is not same


def test_references_never_see_the_noise() -> None:
    model, inputs = tiny_transformer(), tiny_inputs(1, (2, 1))
    video_tokens = 3 * 3 * 4

    def references(noise: torch.Tensor, relations: Relations) -> torch.Tensor:
        other = inputs.changed(video=noise)
        return stream_after_blocks(model, lambda: other.run(model, relations))[:, video_tokens:]

    again = torch.randn_like(inputs.video)
    assert torch.equal(references(inputs.video, Relations()), references(again, Relations()))
    seeing = Relations(self_attention=False)
    assert differ(references(inputs.video, seeing), references(again, seeing))


def test_subjects_never_see_each_other() -> None:
    model, inputs = tiny_transformer(), tiny_inputs(1, (2, 1))
    assert inputs.references is not None
    changed = inputs.references.clone()
    changed[:, :, 2] += 1  # the second picture of the first subject
    other = inputs.changed(references=changed)
    before = stream_after_blocks(model, lambda: inputs.run(model)).unflatten(1, (-1, 12))
    after = stream_after_blocks(model, lambda: other.run(model)).unflatten(1, (-1, 12))
    moved = [differ(before[:, picture], after[:, picture]) for picture in range(7)]
    # three frames of video, background, the first subject's two, the second subject's one
    assert moved == [True, True, True, False, True, True, False]


def test_a_batch_of_seeds_is_each_of_them_alone() -> None:
    model, inputs = tiny_transformer(), tiny_inputs(1, (2, 1), batch=3)
    together = inputs.run(model)
    for row in range(3):
        alone = inputs.changed(
            video=inputs.video[row : row + 1], timestep=inputs.timestep[row : row + 1], text=inputs.text[row : row + 1]
        )
        torch.testing.assert_close(together[row : row + 1], alone.run(model), atol=TOLERANCE, rtol=1e-5)


def test_one_text_and_one_time_serve_a_whole_batch() -> None:
    model, inputs = tiny_transformer(), tiny_inputs(1, (2, 1), batch=3)
    shared = inputs.changed(timestep=torch.tensor(400), text=inputs.text[:1])
    spread = inputs.changed(timestep=torch.full((3,), 400), text=inputs.text[:1].expand(3, -1, -1))
    torch.testing.assert_close(shared.run(model), spread.run(model), atol=TOLERANCE, rtol=1e-5)


def test_every_sample_may_have_words_and_pictures_of_its_own() -> None:
    model, inputs = tiny_transformer(), tiny_inputs(1, (2, 1), batch=2)
    assert inputs.references is not None
    assert inputs.masks is not None
    masks = torch.stack([inputs.masks, ~inputs.masks])
    references = torch.cat([inputs.references, inputs.references.flip(2)])
    together = inputs.changed(masks=masks, references=references).run(model)
    for row in range(2):
        alone = Inputs(
            video=inputs.video[row : row + 1],
            timestep=inputs.timestep[row : row + 1],
            text=inputs.text[row : row + 1],
            references=references[row : row + 1],
            groups=inputs.groups,
            masks=masks[row],
        )
        torch.testing.assert_close(together[row : row + 1], alone.run(model), atol=TOLERANCE, rtol=1e-5)


class GreatestTensors(TorchDispatchMode):
    """Records the number of values of the greatest tensor that any operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.greatest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(value, torch.Tensor):
                self.greatest = max(self.greatest, value.numel())
        return result


def greatest_tensor(model: LumosXTransformer3DModel, inputs: Inputs) -> int:
    with GreatestTensors() as mode:
        inputs.run(model)
    return mode.greatest


def test_no_tensor_grows_with_video_tokens_and_words_or_with_tokens_squared() -> None:
    model, dense = tiny_transformer(num_layers=1), tiny_transformer(num_layers=1)
    use_published_form(dense)
    inputs = tiny_inputs(1, (1,), frames=6, height=16, width=16)
    words = 64
    inputs = inputs.changed(text=torch.randn(1, words, 24), masks=torch.rand(2, words) < 0.3)
    video, heads = 6 * 8 * 8, 2
    quadratic = min(video * words * heads, video * video)
    assert greatest_tensor(dense, inputs) >= quadratic
    assert greatest_tensor(model, inputs) < quadratic
    # Twice the frames: linear growth at most.
    longer = inputs.changed(video=torch.cat([inputs.video, inputs.video], dim=2))
    assert greatest_tensor(model, longer) <= 2 * greatest_tensor(model, inputs)


def test_in_half_precision_the_residual_stream_stays_in_float32() -> None:
    model, inputs = tiny_transformer(), tiny_inputs(1, (2, 1))
    exact = inputs.run(model)
    half = tiny_transformer().to(torch.bfloat16)
    assert inputs.references is not None
    rounded = inputs.changed(
        video=inputs.video.bfloat16(), text=inputs.text.bfloat16(), references=inputs.references.bfloat16()
    )
    stream = stream_after_blocks(half, lambda: rounded.run(half))
    assert stream.dtype == torch.float32
    sample = rounded.run(half)
    assert sample.dtype == torch.bfloat16
    assert ((sample.float() - exact).norm() / exact.norm()).item() < 0.05


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"references": torch.zeros(4, 4, 6, 8)}, "do not fit a video"),
        ({"groups": (3, 2)}, "name 5 references, but 4"),
        ({"references": None, "masks": None}, "name 3 references, but 0"),
        ({"references": torch.zeros(1, 4, 4, 6, 6)}, "do not fit a video"),
        ({"references": torch.zeros(1, 3, 4, 6, 8)}, "do not fit a video"),
        ({"references": torch.zeros(2, 4, 4, 6, 8)}, "do not fit a video"),
        ({"masks": torch.ones(3, 12, dtype=torch.bool)}, "text masks"),
        ({"masks": torch.ones(4, 11, dtype=torch.bool)}, "text masks"),
        ({"masks": torch.ones(2, 4, 12, dtype=torch.bool)}, "text masks"),
        ({"references": None, "groups": ()}, "text masks"),
        ({"groups": (2, 0, 1)}, "at least one picture"),
        ({"timestep": torch.tensor([1, 2])}, "timestep"),
        ({"text": torch.zeros(2, 12, 24)}, "texts"),
    ],
)
def test_shapes_that_do_not_fit_are_named(wrong: dict[str, object], message: str) -> None:
    inputs = tiny_inputs(1, (2, 1)).changed(**wrong)
    with pytest.raises(ValueError, match=message):
        inputs.run(tiny_transformer())


@pytest.mark.parametrize("config", [{"image_dim": 8}, {"added_kv_proj_dim": 8}, {"pos_embed_seq_len": 3}])
def test_image_conditioned_wan_is_refused(config: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="references as tokens"):
        LumosXTransformer3DModel(**CONFIG, **config)


def test_published_size_is_the_default() -> None:
    with torch.device("meta"):
        model = LumosXTransformer3DModel()
    assert len(model.state_dict()) == 825
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6) == 1419


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    inputs = tiny_inputs(1, (2, 1))
    gradients: list[list[torch.Tensor]] = []
    for checkpointing in (False, True):
        model = tiny_transformer().train()
        if checkpointing:
            model.enable_gradient_checkpointing()
        sample = model(
            inputs.video, inputs.timestep, inputs.text, inputs.references, inputs.groups, inputs.masks
        ).sample
        sample.square().mean().backward()
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert len(gradients[0]) == len(list(tiny_transformer().parameters()))
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed, atol=1e-6, rtol=1e-5)
