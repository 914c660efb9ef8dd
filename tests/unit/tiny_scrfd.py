"""A face detector of SCRFD's own form, made by hand: it takes a magenta square of 32 px or more for a nose.

The file has the inputs and outputs of the published detectors, so InsightFace's own class loads it, scales pictures for
it and decodes what it says. A square with less blue than red is the nose of a face that looks to the right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

CELL_PX = 32
NOSE, TURNED_NOSE = (255, 0, 255), (255, 0, 128)
BOX = (-48, -48, 80, 80)
"""The face around the upper left corner of its nose, px of a picture with a longer side of 640."""
_POINTS = ((0.0, 0.1), (1.0, 0.1), (0.5, 0.6), (0.1, 1.2), (0.9, 1.2))


def write_detector(path: Path) -> Path:
    """Write the network as ONNX and return its path."""
    nodes: list[Any] = []
    tensors: list[Any] = []
    names: dict[str, list[str]] = {"score": [], "box": [], "points": []}
    for stride in (8, 16, CELL_PX):
        blind = stride != CELL_PX
        pool = helper.make_node(
            "AveragePool", ["input.1"], [f"mean{stride}"], kernel_shape=[stride, stride], strides=[stride, stride]
        )
        nodes.append(pool)
        magenta = [0.0, 0.0, 0.0] if blind else [8.0, -16.0, 8.0]
        # the second anchor of each cell never answers
        score = _conv(nodes, tensors, stride, "score", [magenta, [0.0] * 3], [-20.0 if blind else -12.8, -20.0])
        nodes.append(helper.make_node("Sigmoid", [score], [f"sure{stride}"]))
        names["score"].append(_rows(nodes, tensors, f"sure{stride}", 1))
        box = _conv(nodes, tensors, stride, "box", [[0.0] * 3] * 8, [1.5, 1.5, 2.5, 2.5] * 2)
        names["box"].append(_rows(nodes, tensors, box, 4))
        five = [part for point in _POINTS for part in point]
        nose = [[0.8, 0.0, -0.8] if place == 4 else [0.0] * 3 for place in range(10)]
        points = _conv(nodes, tensors, stride, "points", nose * 2, five * 2)
        names["points"].append(_rows(nodes, tensors, points, 10))
    graph = helper.make_graph(
        nodes,
        "tiny scrfd",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, [1, 3, "?", "?"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["?", width])
            for kind, width in (("score", 1), ("box", 4), ("points", 10))
            for name in names[kind]
        ],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
    return path


def _conv(
    nodes: list[Any], tensors: list[Any], stride: int, name: str, weights: list[list[float]], bias: list[float]
) -> str:
    kernel = np.array(weights, np.float32)[:, :, None, None]
    tensors.append(numpy_helper.from_array(kernel, f"{name}{stride}.weight"))
    tensors.append(numpy_helper.from_array(np.array(bias, np.float32), f"{name}{stride}.bias"))
    inputs = [f"mean{stride}", f"{name}{stride}.weight", f"{name}{stride}.bias"]
    nodes.append(helper.make_node("Conv", inputs, [f"{name}{stride}"]))
    return f"{name}{stride}"


def _rows(nodes: list[Any], tensors: list[Any], name: str, width: int) -> str:
    tensors.append(numpy_helper.from_array(np.array([-1, width], np.int64), f"{name}.shape"))
    nodes.append(helper.make_node("Transpose", [name], [f"{name}.last"], perm=[0, 2, 3, 1]))
    nodes.append(helper.make_node("Reshape", [f"{name}.last", f"{name}.shape"], [f"{name}.rows"]))
    return f"{name}.rows"


def group_photograph(
    path: Path, noses: list[tuple[int, int]], size: tuple[int, int] = (640, 416), turned: tuple[int, ...] = ()
) -> Path:
    """Draw people whose noses' upper left corners lie in these cells (column, row) of 32 px; those whose number is in
    `turned` look to the side."""
    image = Image.new("RGB", size, "#9fb4c7")
    pen = ImageDraw.Draw(image)
    for x in range(0, size[0], 4):  # something to be sharp
        pen.line((x, 0, x, size[1]), fill="#93a8bc")
    skins = ("#c68642", "#8d5524", "#f1c27d", "#e0ac69")
    for number, (column, row) in enumerate(noses):
        x, y = column * CELL_PX, row * CELL_PX
        pen.ellipse((x - 44, y - 60, x + 76, y + 84), fill="#2c1b10")
        pen.ellipse((x - 38, y - 40, x + 70, y + 78), fill=skins[number % 4])
        for eye in (x - 12, x + 32):
            pen.ellipse((eye, y - 14, eye + 12, y - 4), fill="#1b1b1b")
        pen.arc((x - 6, y + 30, x + 38, y + 62), 20, 160, fill="#7a2c2c", width=4)
        pen.rectangle((x, y, x + CELL_PX - 1, y + CELL_PX - 1), fill=TURNED_NOSE if number in turned else NOSE)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path
