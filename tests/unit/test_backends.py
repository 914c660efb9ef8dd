"""What computes attention: kernels of others are tried before they are used, and a render goes on without them."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models import attention_dispatch
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

from engine.cancel import CancelToken
from engine.cli.commands import doctor
from engine.cli.main import main
from engine.codec import from_json, to_json
from engine.engines import draft_of, engine_info, resolve_settings
from engine.errors import InputError
from engine.events import Event, Notice
from engine.model import backends
from engine.model.backends import (
    PACKAGES,
    TOLERANCES,
    Choice,
    attend_with,
    automatic,
    available_backends,
    choose_backend,
    deviation,
)  # fmt: skip
from engine.pictures import PictureStore
from engine.request import RenderSettings
from engine.runtime import Engine
from studio.languages import heard, speaking
from tests.unit.test_languages import CHINESE
from tests.unit.test_runtime import frames_of
from tests.unit.tiny_network import tiny_inputs, tiny_transformer
from tests.unit.tiny_studio import tiny_request

CPU, CARD = torch.device("cpu"), torch.device("cuda")
HEAD_DIM = 24

Kernel = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def by_hand(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attention written out: right up to rounding, and other in the last bits than PyTorch's."""
    dtype = query.dtype
    query, key, value = (part.transpose(1, 2).float() for part in (query, key, value))
    weights = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1)
    return (weights @ value).transpose(1, 2).to(dtype)


def rough(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """A twentieth too much, as a kernel of few bits may be off."""
    return by_hand(query, key, value) * 1.05


def as_flash(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """What flash kernels round: weights go into the last product in half precision, sums are float32."""
    weights, total = _weights(query.float(), key.float())
    out = _rounded(weights, query.dtype) @ value.transpose(1, 2).float() / total
    return out.transpose(1, 2).to(query.dtype)


def as_sage(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, eight_bit_values: bool) -> torch.Tensor:
    """What SageAttention rounds: queries and keys (less their mean) to eight bits a token, weights and values to
    eight-bit floats on newer cards, else to half precision."""
    keys = key.float()
    weights, total = _weights(_in_eight_bits(query.float()), _in_eight_bits(keys - keys.mean(dim=1, keepdim=True)))
    values = value.transpose(1, 2).float()
    if eight_bit_values:
        largest = torch.finfo(torch.float8_e4m3fn).max
        scale = values.abs().amax(dim=-2, keepdim=True) / largest
        weights = _rounded(weights * largest, torch.float8_e4m3fn) / largest
        values = _rounded(values / scale, torch.float8_e4m3fn) * scale
    else:
        weights, values = _rounded(weights, torch.float16), _rounded(values, torch.float16)
    return (weights @ values / total).transpose(1, 2).to(query.dtype)


def _weights(query: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights up to a factor, the largest of them 1, and their sums."""
    scores = query.transpose(1, 2) @ key.permute(0, 2, 3, 1) / query.shape[-1] ** 0.5
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp()
    return weights, weights.sum(dim=-1, keepdim=True)


def _in_eight_bits(values: torch.Tensor) -> torch.Tensor:
    scale = values.abs().amax(dim=-1, keepdim=True) / 127
    return (values / scale).round() * scale


def _rounded(values: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return values.to(dtype).float()


def broken(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    raise AssertionError("only for other cards")


def no_numbers(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return torch.full_like(query, float("nan"))


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No packages but those that a test installs, and nothing known from other tests."""
    for name in ("_CAN_USE_FLASH_ATTN", "_CAN_USE_FLASH_ATTN_3", "_CAN_USE_SAGE_ATTN"):
        monkeypatch.setattr(attention_dispatch, name, False)
    deviation.cache_clear()
    yield
    deviation.cache_clear()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[AttentionBackendName, Kernel], list[torch.Size]]:
    """Put a kernel in a package's place, which like them takes no mask; the sizes of the queries it was called with."""

    def put(name: AttentionBackendName, kernel: Kernel) -> list[torch.Size]:
        calls: list[torch.Size] = []

        def attend(
            query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attn_mask: torch.Tensor | None = None
        ) -> torch.Tensor:
            if attn_mask is not None:
                raise ValueError("`attn_mask` is not supported")
            calls.append(query.shape)
            return kernel(query, key, value)

        flag = {
            AttentionBackendName.FLASH: "_CAN_USE_FLASH_ATTN",
            AttentionBackendName._FLASH_3: "_CAN_USE_FLASH_ATTN_3",
            AttentionBackendName.SAGE: "_CAN_USE_SAGE_ATTN",
        }[name]
        monkeypatch.setattr(attention_dispatch, flag, True)
        monkeypatch.setitem(_AttentionBackendRegistry._backends, name, attend)
        monkeypatch.setitem(
            _AttentionBackendRegistry._supported_arg_names, name, {"query", "key", "value", "attn_mask"}
        )
        return calls

    return put


Install = Callable[[AttentionBackendName, Kernel], list[torch.Size]]


def test_without_packages_there_is_pytorchs_own_and_asking_for_more_is_answered() -> None:
    assert available_backends() == ("native",)
    assert choose_backend("auto", CPU, torch.float32, HEAD_DIM) == Choice()
    for name, package in PACKAGES.items():
        choice = choose_backend(name, CPU, torch.float32, HEAD_DIM)
        assert choice.kernel is AttentionBackendName.NATIVE
        assert f"“{name}” attention is not installed here (the package {package})" in choice.notice


def test_auto_takes_only_what_is_exact_and_can_work(install: Install) -> None:
    install(AttentionBackendName.SAGE, by_hand)
    assert automatic(CARD, torch.bfloat16) == "native"
    calls = install(AttentionBackendName.FLASH, by_hand)
    assert available_backends() == ("native", "flash", "sage")
    assert automatic(CARD, torch.bfloat16) == automatic(CARD, torch.float16) == "flash"
    assert automatic(CARD, torch.float32) == automatic(CPU, torch.bfloat16) == "native"
    assert choose_backend("auto", CPU, torch.bfloat16, HEAD_DIM) == Choice()
    assert calls == []


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("head_dim", [HEAD_DIM, 128])
def test_a_kernel_that_agrees_is_used_and_tried_once(install: Install, dtype: torch.dtype, head_dim: int) -> None:
    calls = install(AttentionBackendName.FLASH, by_hand)
    expected = Choice(name="flash", kernel=AttentionBackendName.FLASH)
    assert [choose_backend("flash", CPU, dtype, head_dim) for _ in range(2)] == [expected] * 2
    assert calls == [torch.Size([2, 300, 3, head_dim])]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_tolerances_let_through_what_each_kind_has_to_round_and_tell_them_apart(
    install: Install, dtype: torch.dtype
) -> None:
    """The figures in docs/benchmarks.md."""
    install(AttentionBackendName.FLASH, as_flash)
    flash = deviation(AttentionBackendName.FLASH, CPU, dtype, 128)
    assert flash is not None
    assert flash < 0.0025 < TOLERANCES["flash"]
    found: list[float] = []
    for eight_bit_values in (False, True):
        deviation.cache_clear()
        install(AttentionBackendName.SAGE, partial(as_sage, eight_bit_values=eight_bit_values))
        error = deviation(AttentionBackendName.SAGE, CPU, dtype, 128)
        assert error is not None
        found.append(error)
    assert found == [pytest.approx(0.01, rel=0.15), pytest.approx(0.038, rel=0.1)]
    assert TOLERANCES["flash"] < found[0] < found[1] < TOLERANCES["sage"]


def test_the_better_kernel_of_a_kind_is_taken_unless_it_fails(install: Install) -> None:
    install(AttentionBackendName.FLASH, by_hand)
    install(AttentionBackendName._FLASH_3, by_hand)
    assert choose_backend("flash", CPU, torch.float32, HEAD_DIM).kernel is AttentionBackendName._FLASH_3
    install(AttentionBackendName._FLASH_3, broken)
    deviation.cache_clear()
    assert choose_backend("flash", CPU, torch.float32, HEAD_DIM).kernel is AttentionBackendName.FLASH


def test_a_kernel_that_deviates_is_not_used_and_that_is_said(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install(AttentionBackendName.FLASH, rough)
    choice = choose_backend("flash", CPU, torch.float32, HEAD_DIM)
    assert choice.kernel is AttentionBackendName.NATIVE
    assert "“flash” attention is off by 5.00 % here, where 0.5 % are allowed" in choice.notice
    monkeypatch.setattr(backends, "automatic", lambda *_: "flash")  # as on a card
    assert choose_backend("auto", CPU, torch.float32, HEAD_DIM) == choice
    # a draft may be as far off as that
    install(AttentionBackendName.SAGE, rough)
    assert choose_backend("sage", CPU, torch.float32, HEAD_DIM).kernel is AttentionBackendName.SAGE


@pytest.mark.parametrize("kernel", [broken, no_numbers])
def test_a_kernel_that_fails_is_not_used_and_said_to_who_asked_for_it(
    kernel: Kernel, install: Install, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(AttentionBackendName.FLASH, kernel)
    with caplog.at_level(logging.WARNING):
        choice = choose_backend("flash", CPU, torch.float32, HEAD_DIM)
    assert choice.kernel is AttentionBackendName.NATIVE
    assert "“flash” attention does not work with this model" in choice.notice
    assert "attention by flash" in caplog.text
    monkeypatch.setattr(backends, "automatic", lambda *_: "flash")
    assert choose_backend("auto", CPU, torch.float32, HEAD_DIM) == Choice()


def test_the_network_attends_with_it_but_for_the_bias(install: Install) -> None:
    calls = install(AttentionBackendName.FLASH, by_hand)
    model, inputs = tiny_transformer(), tiny_inputs(1, (2, 1))
    expected = inputs.run(model)
    attend_with(model, AttentionBackendName.FLASH)
    found = inputs.run(model)
    # in each of two blocks: the video, the free reference, two groups; the video's words (references' have a bias)
    assert len(calls) == 2 * 5
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    attend_with(model, AttentionBackendName.NATIVE)
    assert torch.equal(inputs.run(model), expected)
    assert len(calls) == 2 * 5


def test_what_is_set_for_the_whole_process_is_not_what_a_render_takes(install: Install) -> None:
    calls = install(AttentionBackendName.FLASH, broken)
    model, inputs = tiny_transformer(), tiny_inputs(1, (2, 1))
    attend_with(model, AttentionBackendName.NATIVE)
    with attention_dispatch.attention_backend("flash"):
        inputs.run(model)
    assert calls == []


@pytest.mark.usefixtures("tiny_model")
def test_a_render_uses_it_tells_what_is_missing_and_goes_back_to_the_plain_one(
    install: Install, tmp_path: Path
) -> None:
    store, engine = PictureStore(tmp_path / "pictures"), Engine()

    def run(attention: str) -> tuple[np.ndarray, list[str]]:
        out = tmp_path / "clip.mp4"
        events: list[Event] = list(engine.render(tiny_request(store, attention=attention), store, CancelToken(), out))
        return frames_of(out), [event.text for event in events if isinstance(event, Notice)]

    plain, said = run("auto")
    assert said == []
    missing, said = run("sage")
    assert len(said) == 1
    assert "“sage” attention is not installed here" in said[0]
    assert np.array_equal(missing, plain)
    calls = install(AttentionBackendName.FLASH, by_hand)
    same, said = run("flash")
    assert said == []
    assert len(calls) > 10
    assert np.abs(same.astype(int) - plain).max() <= 2
    install(AttentionBackendName.SAGE, rough)
    draft, _ = run("sage")
    assert not np.array_equal(draft, plain)
    again, _ = run("native")
    assert np.array_equal(again, plain)


def test_the_setting_is_kept_with_the_clip_and_the_draft_is_called_one() -> None:
    settings = resolve_settings("lumosx", attention="sage")
    assert draft_of(settings) == ("attention in eight bits, where this machine can (sage)",)
    assert draft_of(resolve_settings("lumosx", attention="flash")) == ()
    data = to_json(settings)
    assert from_json(RenderSettings, data) == settings
    del data["attention"]
    assert from_json(RenderSettings, data) == engine_info("lumosx").defaults
    with pytest.raises(InputError, match="choose one of auto, native, flash, sage"):
        resolve_settings("lumosx", attention="xformers")


def test_the_doctor_tells_what_is_there(install: Install) -> None:
    state = doctor.attention_here("cpu")
    assert state == doctor.AttentionState(auto="native", others=dict.fromkeys(("flash", "sage"), "not installed"))
    install(AttentionBackendName.FLASH, by_hand)
    install(AttentionBackendName.SAGE, broken)
    state = doctor.attention_here("cpu")
    assert state is not None
    assert state.others["flash"] == "works"
    assert "does not work" in state.others["sage"]


def test_an_unknown_name_is_refused_in_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu", "--attention", "quick"]) == 2
    assert capsys.readouterr().err == "The attention “quick” is unknown; choose one of auto, native, flash, sage.\n"


def test_what_is_said_of_attention_is_heard_in_chinese() -> None:
    said = (
        backends.MISSING.format(name="flash", package="flash-attn"),
        backends.FAILING.format(name="sage"),
        backends.DEVIATING.format(name="sage", error="12.00", allowed="10.0"),
    )
    with speaking("zh"):
        assert all(CHINESE.search(heard(text)) for text in said)
