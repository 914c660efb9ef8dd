"""Half-precision products on a processor without instructions for them: as exact as with them, and only there."""

# diffusers and transformers hide what `to` takes; the question that PyTorch asks itself has no public name.
# pyright: reportArgumentType=false, reportPrivateUsage=false

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from transformers import UMT5Config, UMT5EncoderModel

from engine.bench import network
from engine.bench.network import NetworkSize, measure_network, report
from engine.model import pipeline as pipelines
from engine.model import precision
from engine.model.precision import ProductsInFloat32, mixed_precision, quick_dtype, quick_products
from tests.unit.tiny_network import CONFIG
from tests.unit.tiny_pipeline import tiny_pipeline

CPU = torch.device("cpu")
HALVES = (torch.bfloat16, torch.float16)


def without_half(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_half", lambda dtype: False)


def drawn(*shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def off(value: torch.Tensor, exact: torch.Tensor) -> float:
    return ((value.double() - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", [(3, 5, 96), (96,), (0, 96)])
def test_a_linear_layer_in_pieces_is_the_rounded_exact_one(
    shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pieces of ten rows and columns: neither the layer's 64 columns nor the input's 15 rows divide evenly.
    monkeypatch.setattr(precision, "_PIECE_VALUES", 960)
    states, weight, bias = drawn(*shape, dtype=dtype), drawn(64, 96, dtype=dtype), drawn(64, dtype=dtype)
    for added in (bias, None):
        with ProductsInFloat32():
            quick = F.linear(states, weight, added)
        exact = F.linear(states.double(), weight.double(), None if added is None else added.double())
        assert quick.dtype == dtype
        assert quick.shape == (*shape[:-1], 64)
        # Nothing but one rounding apart, with room for float32's sums.
        spacing = 2.0**-8 if dtype == torch.bfloat16 else 2.0**-11
        assert torch.allclose(quick.double(), exact, rtol=1.01 * spacing, atol=1e-4)


@pytest.mark.parametrize("dtype", HALVES)
def test_convolutions_and_matrix_products_are_as_exact_as_pytorchs(dtype: torch.dtype) -> None:
    video, kernel = drawn(1, 4, 3, 8, 8, dtype=dtype), drawn(6, 4, 1, 2, 2, dtype=dtype)
    a, b = drawn(2, 5, 7, dtype=dtype), drawn(2, 7, 3, dtype=dtype)
    products = (
        (lambda x, w: F.conv3d(x, w, stride=(1, 2, 2)), video, kernel),
        (lambda x, w: F.conv2d(x[:, :, 0], w[:, :, 0]), video, kernel),
        (torch.matmul, a, b),
        (lambda x, y: x @ y, a, b),
        (torch.bmm, a, b),
        (torch.mm, a[0], b[0]),
    )
    for product, left, right in products:
        exact = product(left.double(), right.double())
        with ProductsInFloat32():
            quick = product(left, right)
        assert torch.equal(quick, product(left.float(), right.float()).to(dtype))
        assert off(quick, exact) <= 1.01 * off(product(left, right), exact) + 1e-6


def test_single_precision_is_left_as_it_is() -> None:
    states, weight = drawn(5, 96, dtype=torch.float32), drawn(64, 96, dtype=torch.float32)
    with ProductsInFloat32():
        assert torch.equal(F.linear(states, weight), states @ weight.T)


@pytest.mark.parametrize("dtype", HALVES)
def test_a_processor_that_has_them_is_left_alone(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_half", lambda dtype: True)
    assert isinstance(quick_products(CPU, dtype), nullcontext)
    assert quick_dtype(CPU) == torch.bfloat16
    with mixed_precision(CPU):
        assert F.linear(torch.ones(2, 4), torch.ones(3, 4)).dtype == torch.bfloat16
    without_half(monkeypatch)
    assert isinstance(quick_products(CPU, dtype), ProductsInFloat32)
    assert isinstance(quick_products(torch.device("cuda"), dtype), nullcontext)
    assert isinstance(quick_products(CPU, torch.float32), nullcontext)
    assert (quick_dtype(CPU), quick_dtype(torch.device("cuda"))) == (torch.float32, torch.bfloat16)
    with mixed_precision(CPU):
        assert F.linear(torch.ones(2, 4), torch.ones(3, 4)).dtype == torch.float32


def test_this_processor_says_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {precision.has_half(dtype) for dtype in HALVES} <= {True, False}
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not precision.has_half(torch.bfloat16)


def test_a_text_encoder_in_half_precision_reads_as_before() -> None:
    torch.manual_seed(0)
    config = UMT5Config(vocab_size=40, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4)
    encoder = UMT5EncoderModel(config).eval()
    ids = torch.arange(3, 13)[None]
    with torch.no_grad():
        exact = encoder(ids).last_hidden_state.double()
        encoder.to(torch.bfloat16)
        plain = encoder(ids).last_hidden_state
        with ProductsInFloat32():
            quick = encoder(ids).last_hidden_state
    assert quick.dtype == torch.bfloat16
    assert off(quick, exact) <= 1.5 * off(plain, exact)


def test_renders_ask_for_quick_products(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.dtype] = []

    def noted(device: torch.device, dtype: torch.dtype) -> nullcontext[None]:
        asked.append(dtype)
        return nullcontext()

    monkeypatch.setattr(pipelines, "quick_products", noted)
    pipeline = tiny_pipeline()
    pipeline.transformer.to(torch.bfloat16)
    pipeline.text_encoder.to(torch.bfloat16)
    context = pipeline.encode_prompt("a man")
    assert asked == [torch.bfloat16]
    noise = pipelines.draw_noise(pipeline.latent_shape(32, 32, 5), (0,))
    conditioning = pipelines.Conditioning(context=context, negative_context=context)
    pipeline.denoise(noise, conditioning, num_inference_steps=2, guidance_scale=2.0, shift=3.0)
    assert asked == [torch.bfloat16] * 5


def test_the_bench_says_what_emulation_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    size = NetworkSize(config={**CONFIG, "num_layers": 2}, grid=(2, 3, 4), words=12, casts=((),))
    monkeypatch.setattr(network, "has_half", lambda dtype: True)
    (row,) = measure_network(repeats=1, layers=1, size=size)
    assert row.emulated_s is None
    assert "emulates" not in report((row,))
    monkeypatch.setattr(network, "has_half", lambda dtype: False)
    (row,) = measure_network(repeats=1, layers=1, size=size)
    assert row.emulated_s is not None
    assert row.emulated_s > 0
    assert "emulates bfloat16" in report((row,))
