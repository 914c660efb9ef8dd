"""Settings that cannot be out of range, the gate before a render, the error tree and the cancel token."""

from __future__ import annotations

import math
import pickle
import threading
from dataclasses import replace
from typing import Any

import pytest

from engine import errors
from engine.cancel import CancelToken
from engine.engines import engine_info
from engine.errors import Cancelled, InputError, SceneError
from engine.request import RenderRequest, nearest_frames, nearest_size
from engine.scene import Problem, PromptSpan, Reference, Role, Scene

SETTINGS = engine_info("nano").defaults


@pytest.mark.parametrize(
    ("field", "value", "nearest"),
    [
        ("width", 97, "96"),
        ("height", 0, "16"),
        ("height", 99_999, "2048"),
        ("num_frames", 24, "25"),
        ("num_frames", 0, "1"),
        ("num_frames", 10_001, "401"),
        ("num_inference_steps", 0, "1"),
        ("num_inference_steps", 201, "200"),
        ("fps", 61, "60"),
        ("seed", -1, "0"),
        ("seed", 2**63, str(2**63 - 1)),
        ("guidance_scale", -0.5, "0.0"),
        ("guidance_scale", math.nan, "0.0"),
        ("guidance_scale", math.inf, "30.0"),
        ("shift", 0.0, "0.1"),
        ("binding_strength", 5.0, "4.0"),
        ("relation_guidance", 11.0, "10.0"),
    ],
)
def test_values_out_of_range_name_the_nearest_legal_one(field: str, value: Any, nearest: str) -> None:
    with pytest.raises(InputError, match=rf"the nearest is {nearest}\.$"):
        replace(SETTINGS, **{field: value})


def test_absurd_volumes_are_refused_with_the_frames_that_would_do() -> None:
    with pytest.raises(InputError, match=r"at most (\d+) frames") as caught:
        replace(SETTINGS, width=2048, height=2048, num_frames=401)
    frames = int(str(caught.value).split("at most ")[1].split()[0])
    assert replace(SETTINGS, width=2048, height=2048, num_frames=frames).num_frames == frames
    with pytest.raises(InputError):
        replace(SETTINGS, width=2048, height=2048, num_frames=frames + 4)


def test_unknown_words_in_the_settings_are_refused() -> None:
    with pytest.raises(InputError, match="published or corrected"):
        replace(SETTINGS, unpooling="other")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError):
        replace(SETTINGS, engine="")


def test_nearest_values_are_legal_and_nearest() -> None:
    for value in range(-5, 2100):
        size = nearest_size(value)
        assert replace(SETTINGS, width=size).width == size
        assert abs(size - value) <= 8 or size in (16, 2048)
    for value in range(-5, 410):
        frames = nearest_frames(value)
        assert replace(SETTINGS, num_frames=frames).num_frames == frames
        assert abs(frames - value) <= 2 or frames in (1, 401)


def test_a_request_of_an_incomplete_scene_cannot_be_made() -> None:
    with pytest.raises(SceneError, match="prompt is empty") as caught:
        RenderRequest(scene=Scene(prompt=" "), settings=SETTINGS)
    assert [problem.code for problem in caught.value.problems] == ["prompt_empty"]


def test_only_unbound_words_can_be_let_through() -> None:
    lamp = Reference(id="lamp", role=Role.object, label="lamp", image="0" * 64)
    scene = Scene(prompt="A man.", objects=(lamp,))
    with pytest.raises(SceneError, match="lamp"):
        RenderRequest(scene=scene, settings=SETTINGS)
    assert RenderRequest(scene=scene, settings=SETTINGS, allow_unbound=True).scene is scene
    broken = replace(scene, spans=(PromptSpan(start=0, end=99, target="lamp"),))
    with pytest.raises(SceneError):
        RenderRequest(scene=broken, settings=SETTINGS, allow_unbound=True)


def test_a_scene_error_says_the_first_problem_and_survives_pickling() -> None:
    error = SceneError((Problem(code="a", message="First."), Problem(code="b", message="Second.")))
    assert str(error) == "First. (1 more thing to put right after that.)"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.problems) == (str(error), error.problems)
    with pytest.raises(ValueError):
        SceneError(())


def test_exit_codes_follow_the_tree() -> None:
    for name in ("SceneError", "PictureError", "InputError", "OutputError", "WeightsError", "MachineError"):
        kind = getattr(errors, name)
        assert issubclass(kind, errors.UserError)
        assert kind.exit_code == 2
    assert Cancelled.exit_code == 130
    assert not issubclass(Cancelled, errors.UserError)


def test_a_token_cancels_across_threads_and_for_good() -> None:
    token = CancelToken()
    token.raise_if_cancelled()
    assert not token.cancelled
    thread = threading.Thread(target=token.cancel)
    thread.start()
    thread.join()
    assert token.cancelled
    for _ in range(2):
        with pytest.raises(Cancelled):
            token.raise_if_cancelled()
