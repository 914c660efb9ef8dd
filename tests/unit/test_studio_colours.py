"""The colours of the subjects are told apart by the colour-blind, and can be read on their own tint."""

from __future__ import annotations

import itertools
import re

import numpy as np
import numpy.typing as npt
import pytest

from studio.theme import WEB

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB
SIGHTS = {
    "usual": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])


def _colours(dark: bool) -> dict[str, str]:
    sheet = (WEB / "page.css").read_text(encoding="utf-8")
    light, _, rest = sheet.partition(".dark {")
    return dict(re.findall(r"--lx-(s\d(?:-tint)?): (#[0-9a-f]{6})", rest if dark else light))


def _linear(colour: str) -> npt.NDArray[np.float64]:
    value = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _lab(colour: str, sight: str) -> npt.NDArray[np.float64]:
    seen = np.clip(np.asarray(SIGHTS[sight]) @ _linear(colour), 0, 1)
    part = TO_XYZ @ seen / WHITE
    x, y, z = np.where(part > 0.008856, np.cbrt(part), 7.787 * part + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("sight", list(SIGHTS))
def test_subjects_are_told_apart_by_colour_alone(sight: str, dark: bool) -> None:
    colours = _colours(dark)
    tones = [f"s{number}" for number in range(1, 7)]
    apart = {
        (one, other): float(np.linalg.norm(_lab(colours[one], sight) - _lab(colours[other], sight)))
        for one, other in itertools.combinations(tones, 2)
    }
    assert min(value for (_, other), value in apart.items() if other <= "s3") >= 18  # as many as the model is made for
    assert min(apart.values()) >= 8


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_number_can_be_read_on_its_tint(dark: bool) -> None:
    colours = _colours(dark)
    for number in range(1, 7):
        bright, dim = sorted(
            (float(TO_XYZ[1] @ _linear(colours[name])) for name in (f"s{number}", f"s{number}-tint")), reverse=True
        )
        assert (bright + 0.05) / (dim + 0.05) >= 4.5
