"""From the structure of a scene to the geometry of its tokens: the three ideas of LumosX, without weights.

A sequence is the video's tokens, frame by frame, followed by the tokens of every reference picture: first the *free*
ones (background and objects), then the subjects' *groups* (a face and its attributes). Within a frame or a picture,
tokens run row by row. Everything here is integer arithmetic on that order; nothing knows about prompts, pictures or
networks.

* R2PE, relational rotary position embedding: where a token stands in time, height, width (`SequenceLayout.positions`).
* CSAM, causal self-attention mask: who attends to whom (`SequenceLayout.attention_ranges`).
* MCAM, multilevel cross-attention mask: which words a picture is drawn towards or pushed from (`binding_rows`,
  `pooling_cells`).

Source: the LumosX paper (arXiv 2603.20192), proven by recorded numbers of the published code (`launcher.py parity`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

Unpooling = Literal["published", "corrected"]

POOL_SIZE = 8
"""Side of the square of patches over which MCAM averages the queries of a reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relations:
    """Which of the relations are at work; the defaults are the published model.

    `strength` is MCAM's r: 0 leaves the words alone, 0.5 favours identity, 1 favours the text. `unpooling` "published"
    spreads pooled scores with the padded row stride, as the published weights were trained; "corrected" spreads them by
    the true rows and differs only where a picture's width in patches is not a multiple of 8.
    """

    positions: bool = True
    self_attention: bool = True
    cross_attention: bool = True
    strength: float = 0.5
    unpooling: Unpooling = "published"


PUBLISHED = Relations()
"""The relations of the published model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceLayout:
    """The order and grouping of all tokens of one pass.

    `frames`, `height`, `width`: the video's grid in patches. `num_free`: background and objects. `groups`: the number
    of pictures of each subject, in the scene's order. `copies`: videos of one scene that stand one after the other and
    share its references, which see none of them.
    """

    frames: int
    height: int
    width: int
    num_free: int = 0
    groups: tuple[int, ...] = ()
    copies: int = 1

    def __post_init__(self) -> None:
        least = min(self.frames, self.height, self.width, self.copies, *self.groups)
        if least < 1 or self.num_free < 0:
            raise ValueError(f"a layout needs a grid of at least one patch and groups of at least one picture: {self}")

    @property
    def picture_tokens(self) -> int:
        """Tokens of one frame, and of one reference picture."""
        return self.height * self.width

    @property
    def num_references(self) -> int:
        return self.num_free + sum(self.groups)

    @property
    def copy_tokens(self) -> int:
        """Tokens of one video."""
        return self.frames * self.picture_tokens

    @property
    def video_tokens(self) -> int:
        """Tokens of all videos; the references stand behind them."""
        return self.copies * self.copy_tokens

    @property
    def num_tokens(self) -> int:
        return self.video_tokens + self.num_references * self.picture_tokens

    def group_ranges(self) -> tuple[tuple[int, int], ...]:
        """Token ranges `[start, end)` of the subject groups, in order."""
        ranges: list[tuple[int, int]] = []
        start = self.video_tokens + self.num_free * self.picture_tokens
        for size in self.groups:
            ranges.append((start, start + size * self.picture_tokens))
            start = ranges[-1][1]
        return tuple(ranges)

    def attention_ranges(self) -> tuple[tuple[tuple[int, int], tuple[int, int]], ...]:
        """CSAM as pairs (query range, key range): a video sees itself and all references, a free reference itself, a
        group its own pictures. The query ranges are a partition of the sequence; only of several copies each stands in
        two pairs, and sees the keys of both."""
        if self.copies == 1:
            videos: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = (
                ((0, self.video_tokens), (0, self.num_tokens)),
            )
        else:
            own_video = [(i * self.copy_tokens, (i + 1) * self.copy_tokens) for i in range(self.copies)]
            references = (self.video_tokens, self.num_tokens)
            videos = tuple(pair for video in own_video for pair in ((video, video), (video, references)))
        free = tuple(
            (self.video_tokens + i * self.picture_tokens, self.video_tokens + (i + 1) * self.picture_tokens)
            for i in range(self.num_free)
        )
        own = tuple((segment, segment) for segment in (*free, *self.group_ranges()))
        return (*videos, *own)

    def positions(self, *, relational: bool = True) -> torch.Tensor:
        """Rotary positions (t, y, x) of every token: int64 `[num_tokens, 3]`.

        Video tokens stand at their own place. The n-th free reference takes the frame T + n. With R2PE all pictures of
        a subject share one frame behind the free ones and are shifted along the diagonal by whole pictures; without it
        (`relational=False`) every picture takes a frame of its own, unshifted.
        """
        grid = torch.stack(
            torch.meshgrid(
                torch.arange(self.frames), torch.arange(self.height), torch.arange(self.width), indexing="ij"
            ),
            dim=-1,
        ).reshape(-1, 3)
        picture = grid[: self.picture_tokens]
        offsets = [(self.frames + n, 0, 0) for n in range(self.num_free)]
        for index, size in enumerate(self.groups):
            for item in range(size):
                if relational:
                    frame = self.frames + self.num_free + index
                    offsets.append((frame, item * self.height, item * self.width))
                else:
                    offsets.append((self.frames + len(offsets), 0, 0))
        return torch.cat([grid.repeat(self.copies, 1), *(picture + torch.tensor(offset) for offset in offsets)])


def rotary_table(positions: torch.Tensor, head_dim: int, theta: float = 10000.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines for rotating queries and keys: two float32 tensors `[1, tokens, 1, head_dim]`, every value
    standing twice (for both members of its pair), as diffusers' Wan attention reads them.

    The head's width is split between time, height and width as in Wan: height and width get `2·(head_dim // 6)` each.
    Angles are computed in float64, as in the published code.
    """
    side = 2 * (head_dim // 6)
    angles: list[torch.Tensor] = []
    for axis, size in enumerate((head_dim - 2 * side, side, side)):
        frequency = theta ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        angles.append(torch.outer(positions[:, axis].to(torch.float64), frequency))
    angle = torch.cat(angles, dim=-1).repeat_interleave(2, dim=-1)[None, :, None, :]
    return angle.cos().float(), angle.sin().float()


def binding_rows(text_masks: torch.Tensor, num_free: int, groups: tuple[int, ...]) -> torch.Tensor:
    """MCAM's weight of every word for every reference: float32 `[..., references, words]` from bool phrase masks of the
    same shape, in model order.

    A free reference is drawn to its own phrase. Every picture of a subject is drawn to all phrases of that subject and
    pushed from the other subjects' by `1 / (subjects - 1)` each; words shared by two subjects cancel.
    """
    masks = text_masks.bool()
    free = masks[..., :num_free, :].float()
    if not groups:
        return free
    unions = torch.stack(
        [part.any(dim=-2) for part in masks[..., num_free:, :].split(list(groups), dim=-2)], dim=-2
    ).float()
    others = unions.sum(dim=-2, keepdim=True) - unions
    rows = unions - others / max(len(groups) - 1, 1)
    repeats = torch.tensor(groups, device=rows.device)
    return torch.cat([free, rows.repeat_interleave(repeats, dim=-2, output_size=sum(groups))], dim=-2)


def pooling_cells(height: int, width: int, unpooling: Unpooling = "published") -> torch.Tensor:
    """The pooled cell from which each token of a picture takes its MCAM score: int64 `[height · width]`, counting cells
    row by row over the picture padded to multiples of 8.

    The published code walks tokens with the *padded* row length, so that token p takes the cell of
    `(p // padded_width, p % padded_width)`; "corrected" uses the token's true row and column.
    """
    padded_width = -(-width // POOL_SIZE) * POOL_SIZE
    stride = padded_width if unpooling == "published" else width
    token = torch.arange(height * width)
    row, column = token // stride, token % stride
    return (row // POOL_SIZE) * (padded_width // POOL_SIZE) + column // POOL_SIZE
