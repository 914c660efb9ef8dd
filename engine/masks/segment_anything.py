"""Segment Anything as a cutter. The one module of this package that imports torch; only ever in the process that cuts.

The network looks at a picture once (about 15 s on a processor, well under one on a card); what it saw is kept on disk
by the picture's content, so the second time costs nothing. A click then takes the small decoder alone.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from engine.files import write_atomically
from engine.masks.cutter import Guess, Prompts, SoftArray
from engine.masks.kept import embedding_path, trim
from engine.pictures import PictureId, RgbArray
from engine.weights import locate_whole, refusals, weights_digest
from engine.weights.pickles import load_tensors

if TYPE_CHECKING:
    from segment_anything import SamPredictor
    from segment_anything.modeling import Sam

_FILE = "sam_vit_b_01ec64.pth"
_CARD_BYTES = 4 * 2**30
"""Free memory of a card below which the processor looks at pictures: looking takes about 3 GB."""
_SURE = 6.0
"""The logit that a mask from elsewhere enters with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A predictor and a name for its weights."""

    predictor: SamPredictor
    weights: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Prepared:
    embedding: npt.NDArray[np.float16]
    look: tuple[int, int]
    """(height, width) of the picture that was looked at"""
    work: tuple[int, int]
    """(height, width) of the answers"""


class SegmentAnything:
    """See the module. `load` makes the network; it is called at the first picture."""

    look_px = 1024
    work_px = 256

    def __init__(self, load: Callable[[], Network], weights: Callable[[], str] | None = None) -> None:
        self._load = load
        self._network: Network | None = None
        self._weights = weights or installed_weights

    def ready(self, picture: PictureId) -> bool:
        """Whether the picture was looked at before, with these weights."""
        return embedding_path(picture, self._weights()).is_file()

    def prepare(self, picture: PictureId, rgb: RgbArray, work: tuple[int, int]) -> _Prepared:
        """Look at the picture, or remember having looked.

        Raises:
            WeightsError: the weights are missing or damaged.
        """
        network = self._loaded()
        path = embedding_path(picture, network.weights)
        embedding = _remembered(path, _embedding_shape(network.predictor))
        if embedding is None:
            embedding = _look(network.predictor, rgb)
            write_atomically(path, save({"embedding": embedding}))
            trim()
        return _Prepared(embedding=embedding, look=(rgb.shape[0], rgb.shape[1]), work=work)

    def mask(self, prepared: _Prepared, prompts: Prompts, before: Guess | None) -> Guess:
        """The decoder's answer; of a first lone click, which may mean a part or the whole, the best of three."""
        predictor = self._loaded().predictor
        _take_up(predictor, prepared)
        down, across = (look / work for look, work in zip(prepared.look, prepared.work, strict=True))
        clicks = prompts.clicks
        points = np.array([[click.x * across, click.y * down] for click in clicks], dtype=np.float32).reshape(-1, 2)
        marks = np.array([int(click.include) for click in clicks], dtype=np.int64)
        box = prompts.box
        corners = None if box is None else np.array([box.x0 * across, box.y0 * down, box.x1 * across, box.y1 * down])
        alone = len(clicks) == 1 and box is None and before is None
        _, scores, logits = predictor.predict(
            point_coords=points if clicks else None,
            point_labels=marks if clicks else None,
            box=corners,
            mask_input=None if before is None else _as_logits(before, predictor),
            multimask_output=alone,
        )
        best = np.asarray(logits)[int(np.argmax(scores))].astype(np.float32)
        return Guess(soft=_as_mask(best, predictor, prepared.work), memory=best[None])

    def _loaded(self) -> Network:
        if self._network is None:
            self._network = self._load()
        return self._network


def installed_weights() -> str:
    """A short name for the content of the installed weights."""
    return weights_digest("segment-anything")[:16]


def installed_network() -> Network:
    """The installed weights on the fastest device with room for them.

    Raises:
        WeightsError: they are missing or damaged.
    """
    predictor = load_predictor(locate_whole("segment-anything") / _FILE)
    if torch.cuda.is_available() and torch.cuda.mem_get_info()[0] > _CARD_BYTES:
        predictor.model.to("cuda")
    return Network(predictor=predictor, weights=installed_weights())


def load_predictor(path: Path) -> SamPredictor:
    """A predictor from a checkpoint of any published size: the sizes are read off its tensors.

    Raises:
        WeightsError: the file is no such checkpoint.
    """
    try:
        state: Any = load_tensors(path)
        model = build(state)
        model.load_state_dict(state)
    except Exception as error:  # pickles fail in many ways, and all mean the same to the user
        raise refusals.unreadable(path) from error
    with _torchvision():
        from segment_anything import SamPredictor

    return SamPredictor(model.eval())


def build(state: dict[str, torch.Tensor]) -> Sam:
    """An untrained network of the sizes that a checkpoint's tensors have. Raises KeyError for what is no checkpoint."""
    with _torchvision():
        from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    positions = state["image_encoder.pos_embed"]
    grid, width = positions.shape[1], positions.shape[3]
    patch = state["image_encoder.patch_embed.proj.weight"].shape[-1]
    reach = [state[f"image_encoder.blocks.{n}.attn.rel_pos_h"] for n in range(_count(state, "image_encoder.blocks."))]
    whole = 2 * grid - 1
    windows = [tensor.shape[0] for tensor in reach if tensor.shape[0] != whole]
    channels = state["image_encoder.neck.0.weight"].shape[0]
    decoder = "mask_decoder.transformer.layers."
    return Sam(
        image_encoder=ImageEncoderViT(
            depth=len(reach),
            embed_dim=width,
            img_size=grid * patch,
            mlp_ratio=state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0] / width,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),  # pyright: ignore[reportArgumentType]
            num_heads=width // reach[0].shape[1],
            patch_size=patch,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=tuple(n for n, tensor in enumerate(reach) if tensor.shape[0] == whole),
            window_size=(windows[0] + 1) // 2 if windows else 0,
            out_chans=channels,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=channels,
            image_embedding_size=(grid, grid),
            input_image_size=(grid * patch, grid * patch),
            mask_in_chans=state["prompt_encoder.mask_downscaling.3.weight"].shape[0],
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
            transformer=TwoWayTransformer(
                depth=_count(state, decoder),
                embedding_dim=channels,
                mlp_dim=state[f"{decoder}0.mlp.lin1.weight"].shape[0],
                num_heads=8,
            ),
            transformer_dim=channels,
            iou_head_depth=_count(state, "mask_decoder.iou_prediction_head.layers."),
            iou_head_hidden_dim=state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )


def _count(state: dict[str, torch.Tensor], stem: str) -> int:
    return len({name[len(stem) :].split(".")[0] for name in state if name.startswith(stem)})


def _embedding_shape(predictor: SamPredictor) -> tuple[int, int, int]:
    encoder = predictor.model.prompt_encoder
    return (int(encoder.embed_dim), *(int(side) for side in encoder.image_embedding_size))  # type: ignore[return-value]


def _look(predictor: SamPredictor, rgb: RgbArray) -> npt.NDArray[np.float16]:
    with torch.no_grad():
        try:
            predictor.set_image(rgb)
        except torch.OutOfMemoryError:
            # a render has taken the card in the meantime
            predictor.model.to("cpu")
            torch.cuda.empty_cache()
            predictor.set_image(rgb)
    return predictor.get_image_embedding()[0].float().cpu().numpy().astype(np.float16)


def _remembered(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[np.float16] | None:
    if not path.is_file():
        return None
    try:
        embedding = load_file(path)["embedding"]
    except (SafetensorError, OSError, KeyError):
        return None  # damaged on the disk: look again
    return embedding if embedding.shape == shape and embedding.dtype == np.float16 else None


def _take_up(predictor: SamPredictor, prepared: _Prepared) -> None:
    """Put the predictor into the state in which `set_image` left it."""
    embedding = torch.from_numpy(prepared.embedding.astype(np.float32))[None]
    predictor.features = embedding.to(predictor.device)  # type: ignore[assignment]
    predictor.original_size = prepared.look
    side = int(predictor.model.image_encoder.img_size)
    predictor.input_size = predictor.transform.get_preprocess_shape(*prepared.look, side)
    predictor.is_image_set = True


def _as_mask(logits: npt.NDArray[np.float32], predictor: SamPredictor, work: tuple[int, int]) -> SoftArray:
    """The part of the decoder's square that the picture fills, at the size of the answers, 0 to 1."""
    side = int(predictor.model.image_encoder.img_size)
    down, across = (
        logits.shape[0] * filled / side / size for filled, size in zip(predictor.input_size, work, strict=True)
    )
    move = np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5]], dtype=np.float32)
    part = cv2.warpAffine(
        logits, move, work[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE
    )
    return (1 / (1 + np.exp(-np.clip(part, -30, 30)))).astype(np.float32)


def _as_logits(before: Guess, predictor: SamPredictor) -> npt.NDArray[np.float32]:
    """The decoder's own memory of a guess, or a mask from elsewhere in the form of one: [1, side, side]."""
    if before.memory is not None:
        return before.memory
    side = 4 * int(predictor.model.prompt_encoder.image_embedding_size[0])
    square = np.full((side, side), -_SURE, dtype=np.float32)
    height, width = _filled(square, predictor)
    part = cv2.resize(before.soft, (width, height), interpolation=cv2.INTER_AREA)
    square[:height, :width] = (part * 2 - 1) * _SURE
    return square[None]


def _filled(square: npt.NDArray[np.float32], predictor: SamPredictor) -> tuple[int, int]:
    side = int(predictor.model.image_encoder.img_size)
    height, width = predictor.input_size
    return max(1, round(square.shape[0] * height / side)), max(1, round(square.shape[1] * width / side))


@contextmanager
def _torchvision() -> Generator[None]:
    """Stand-ins for the four functions that segment-anything imports of torchvision, for the moment of its import.

    torchvision's wheel fails beside another build of torch than its own, and once it is there other libraries stumble
    over it; so it is used only where it works already. The two functions that are called are the real thing on Pillow.
    """
    if _torchvision_works():
        yield
        return
    modules = {
        name: types.ModuleType(name)
        for name in (
            "torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.ops",
            "torchvision.ops.boxes",
        )
    }  # fmt: skip
    functional, boxes = modules["torchvision.transforms.functional"], modules["torchvision.ops.boxes"]
    functional.__dict__.update(to_pil_image=Image.fromarray, resize=_resize)
    boxes.__dict__.update(batched_nms=_unused, box_area=_unused)
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)


def _torchvision_works() -> bool:
    try:
        for name in ("torchvision.ops.boxes", "torchvision.transforms.functional"):
            importlib.import_module(name)
    except (ImportError, RuntimeError):  # not there, or made for another torch
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        return False
    return True


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR)


def _unused(*_: object) -> None:
    raise NotImplementedError("only the automatic mask generator calls this, which the studio does not use")
