"""Several noisy copies of a clip in one pass, sharing the work on its references.

References see neither the video nor its noise, so everything computed on them serves any number of copies of one
scene at one noise level. The copies stand behind one another where a longer video's frames would be; they have equal
positions and do not see one another, so that each gets exactly what a pass of its own would give.
"""

from __future__ import annotations

import dataclasses
from typing import cast

import torch
from diffusers.models.transformers.transformer_wan import WanTransformerBlock

from engine.model.attention import RelationalSelfAttnProcessor
from engine.model.layout import SequenceLayout
from engine.model.transformer import LumosXTransformer3DModel, RelationalRotaryPosEmbed


class CopiedRotaryPosEmbed(RelationalRotaryPosEmbed):
    """Gives every copy the positions of the first one, and references those that follow a single copy."""

    def __init__(self, head_dim: int) -> None:
        super().__init__(head_dim)
        self.copies = 1

    def forward(
        self, layout: SequenceLayout, relational: bool, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines `[1, tokens, 1, head_dim]` of a layout whose frames are `copies` clips in a row."""
        single = dataclasses.replace(layout, frames=layout.frames // self.copies)
        tables = super().forward(single, relational, device)
        video = single.video_tokens
        cos, sin = (torch.cat([t[:, :video].repeat(1, self.copies, 1, 1), t[:, video:]], dim=1) for t in tables)
        return cos, sin


class CopiedSelfAttnProcessor(RelationalSelfAttnProcessor):
    """CSAM in which every copy sees itself and the references.

    While `watched`, `shares` `[B, copies, tokens, owners]` tells how the attention that a video token pays to the
    references is divided between their owners, on the average of the heads.
    """

    copies = 1
    watched = False
    shares: torch.Tensor | None = None

    def _attend_by_segment(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: SequenceLayout
    ) -> torch.Tensor:
        video, copies = layout.video_tokens, self.copies
        apart = query[:, :video].unflatten(1, (copies, -1)).flatten(0, 1)
        if self.watched and layout.num_references:
            self.shares = owner_shares(apart.unflatten(0, (-1, copies)), key, layout)
        seen = [
            torch.cat(
                [part[:, :video].unflatten(1, (copies, -1)), part[:, None, video:].expand(-1, copies, -1, -1, -1)],
                dim=2,
            ).flatten(0, 1)
            for part in (key, value)
        ]
        parts = [self._attend(apart, *seen).unflatten(0, (-1, copies)).flatten(1, 2)]
        groups_start = video + layout.num_free * layout.picture_tokens
        if layout.num_free:
            free = (
                part[:, video:groups_start].unflatten(1, (layout.num_free, -1)).flatten(0, 1)
                for part in (query, key, value)
            )
            parts.append(self._attend(*free).unflatten(0, (-1, layout.num_free)).flatten(1, 2))
        for start, end in layout.group_ranges():
            parts.append(self._attend(query[:, start:end], key[:, start:end], value[:, start:end]))
        return torch.cat(parts, dim=1)


def owner_shares(query: torch.Tensor, key: torch.Tensor, layout: SequenceLayout) -> torch.Tensor:
    """Shares `[B, copies, tokens, owners]` of attention, owners being free references and groups in their order.

    `query` `[B, copies, tokens, heads, head_dim]`.
    """
    scores = torch.einsum("bcnhd,brhd->bchnr", query, key[:, layout.video_tokens :]).float() * query.shape[-1] ** -0.5
    sizes = [size * layout.picture_tokens for size in (*[1] * layout.num_free, *layout.groups)]
    owners = torch.stack([part.logsumexp(-1) for part in scores.split(sizes, -1)], -1)
    return owners.softmax(-1).mean(2)


class SharedReferences:
    """Prepares a transformer for passes with copies; with one copy it computes what it always did."""

    def __init__(self, transformer: LumosXTransformer3DModel) -> None:
        self.transformer = transformer
        self._rope = CopiedRotaryPosEmbed(int(transformer.config["attention_head_dim"]))
        self._processors = [CopiedSelfAttnProcessor() for _ in transformer.blocks]
        transformer.rope = self._rope
        for block, processor in zip(transformer.blocks, self._processors, strict=True):
            # The parameter's type lists diffusers' own processors only.
            cast(WanTransformerBlock, block).attn1.set_processor(processor)  # pyright: ignore[reportArgumentType]

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self.transformer.device

    def velocity(self, noisy: torch.Tensor, *arguments: torch.Tensor, **conditions: object) -> torch.Tensor:
        """Velocities `[B, K, C, T, h, w]` of `noisy` copies of that shape; the rest as for the transformer."""
        copies, frames = noisy.shape[1], noisy.shape[3]
        self._rope.copies = copies
        for processor in self._processors:
            processor.copies = copies
        row = noisy.transpose(1, 2).flatten(2, 3)
        velocity = self.transformer(row, *arguments, return_dict=False, **conditions)[0]
        return velocity.unflatten(2, (copies, frames)).transpose(1, 2)

    def watch(self, first_block: int) -> None:
        """From now on keep the shares of attention of every block from `first_block` on, see `shares`."""
        for processor in self._processors[first_block:]:
            processor.watched = True

    def shares(self) -> list[torch.Tensor]:
        """How the last pass divided every video token's attention between owners: `[B, copies, tokens, owners]`.

        One for each watched block; none if the scene has no references.
        """
        kept = [processor.shares for processor in self._processors if processor.shares is not None]
        for processor in self._processors:
            processor.shares = None
        return kept
