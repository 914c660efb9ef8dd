"""The two attention processors of LumosX, for diffusers' `WanAttention`.

Neither builds a mask over video tokens: CSAM is one unmasked call for the video and one for every set of references
that see only each other, and MCAM's bias exists for reference rows only. Both therefore run on any attention backend.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttention

from engine.model.layout import POOL_SIZE, Relations, SequenceLayout

BIAS_ELEMENTS = 16 * 2**20
"""References are taken together in cross-attention as long as their bias has no more values than this."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What MCAM needs in every block: `rows` float32 `[B or 1, references, words]` (see `binding_rows`), `cells` int64
    `[picture_tokens]` (see `pooling_cells`), `strength` r."""

    rows: torch.Tensor
    cells: torch.Tensor
    strength: float


@dataclass(frozen=True, slots=True)
class RelationalContext:
    """The relations of one pass, handed unchanged to every block.

    `chunk_tokens`: what every token has to itself is computed for at most so many tokens at a time; 0 for all at once.
    """

    layout: SequenceLayout
    relations: Relations
    binding: Binding | None
    chunk_tokens: int = 0


class RelationalSelfAttnProcessor:
    """Self-attention by CSAM: the video attends to everything, references only within their own segment."""

    _attention_backend: Any = None
    _parallel_config: Any = None

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        context: RelationalContext | None = None,
    ) -> torch.Tensor:
        if attn.fused_projections:
            query, key, value = attn.to_qkv(hidden_states).chunk(3, dim=-1)
        else:
            query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        query, key = attn.norm_q(query), attn.norm_k(key)
        query, key, value = (part.unflatten(2, (attn.heads, -1)) for part in (query, key, value))
        if rotary_emb is not None:
            chunk = context.chunk_tokens if context is not None else 0
            query, key = apply_rotary(query, rotary_emb, chunk), apply_rotary(key, rotary_emb, chunk)

        layout = context.layout if context is not None and context.relations.self_attention else None
        if layout is None or (layout.num_references == 0 and layout.copies == 1):
            out = self._attend(query, key, value)
        else:
            out = self._attend_by_segment(query, key, value, layout)
        out = out.flatten(2, 3).type_as(query)
        return attn.to_out[1](attn.to_out[0](out))

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return dispatch_attention_fn(
            query, key, value, backend=self._attention_backend, parallel_config=self._parallel_config
        )

    def _attend_by_segment(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, layout: SequenceLayout
    ) -> torch.Tensor:
        """One call for each video, one for all free references (each a row of a batch), one per subject group."""
        video = layout.video_tokens
        parts = [self._attend_video(query, key, value, copy, layout) for copy in range(layout.copies)]
        groups_start = video + layout.num_free * layout.picture_tokens
        if layout.num_free:
            free = (
                part[:, video:groups_start].unflatten(1, (layout.num_free, layout.picture_tokens)).flatten(0, 1)
                for part in (query, key, value)
            )
            parts.append(self._attend(*free).unflatten(0, (query.shape[0], layout.num_free)).flatten(1, 2))
        for start, end in layout.group_ranges():
            parts.append(self._attend(query[:, start:end], key[:, start:end], value[:, start:end]))
        return torch.cat(parts, dim=1)

    def _attend_video(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, copy: int, layout: SequenceLayout
    ) -> torch.Tensor:
        """What video number `copy` sees: itself and all references."""
        if layout.copies == 1:
            return self._attend(query[:, : layout.video_tokens], key, value)
        own = slice(copy * layout.copy_tokens, (copy + 1) * layout.copy_tokens)
        keys, values = (torch.cat([part[:, own], part[:, layout.video_tokens :]], dim=1) for part in (key, value))
        return self._attend(query[:, own], keys, values)


class RelationalCrossAttnProcessor:
    """Cross-attention to the prompt, with MCAM's bias on the rows of references and on nothing else."""

    _attention_backend: Any = None
    _parallel_config: Any = None

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        context: RelationalContext | None = None,
    ) -> torch.Tensor:
        query = attn.norm_q(attn.to_q(hidden_states))
        if attn.fused_projections:
            key, value = attn.to_kv(encoder_hidden_states).chunk(2, dim=-1)
        else:
            key, value = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        key = attn.norm_k(key)
        query, key, value = (part.unflatten(2, (attn.heads, -1)) for part in (query, key, value))

        if context is None or context.binding is None:
            out = self._attend(query, key, value, None)
        else:
            out = self._attend_bound(query, key, value, context.layout, context.binding)
        out = out.flatten(2, 3).type_as(query)
        return attn.to_out[1](attn.to_out[0](out))

    def _attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        # Many kernels take no bias, and the one chosen for the whole process may be such; PyTorch's own always does.
        backend = self._attention_backend if bias is None else AttentionBackendName.NATIVE
        return dispatch_attention_fn(query, key, value, attn_mask=bias, backend=backend)

    def _attend_bound(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        layout: SequenceLayout,
        binding: Binding,
    ) -> torch.Tensor:
        video = layout.video_tokens
        batch, _, heads, _ = query.shape
        parts = [self._attend(query[:, :video], key, value, None)]
        references = query[:, video:].unflatten(1, (layout.num_references, layout.picture_tokens))
        per_reference = batch * heads * layout.picture_tokens * key.shape[1]
        chunk = max(1, BIAS_ELEMENTS // per_reference)
        for start in range(0, layout.num_references, chunk):
            rows = references[:, start : start + chunk]
            bias = mcam_bias(rows, key, binding, start, layout)
            count = rows.shape[1]
            keys, values = (part[:, None].expand(-1, count, -1, -1, -1).flatten(0, 1) for part in (key, value))
            out = self._attend(rows.flatten(0, 1), keys, values, bias.flatten(0, 1))
            parts.append(out.unflatten(0, (batch, count)).flatten(1, 2))
        return torch.cat(parts, dim=1)


def mcam_bias(
    queries: torch.Tensor, key: torch.Tensor, binding: Binding, first: int, layout: SequenceLayout
) -> torch.Tensor:
    """MCAM's additive bias `[B, n, heads, picture_tokens, words]`, in the dtype of the queries.

    `queries` `[B, n, picture_tokens, heads, head_dim]` are those of the references `first … first + n`, `key`
    `[B, words, heads, head_dim]` the prompt's, both after their norms. Queries are averaged over squares of 8×8 patches
    (padded with zeros), the absolute scaled scores are weighted by the binding rows and r, and every token takes the
    value of its cell.
    """
    batch, count, _, heads, head_dim = queries.shape
    grid = queries.reshape(batch * count, layout.height, layout.width, heads * head_dim).permute(0, 3, 1, 2).float()
    grid = F.pad(grid, (0, -layout.width % POOL_SIZE, 0, -layout.height % POOL_SIZE))
    pooled = F.avg_pool2d(grid, POOL_SIZE).flatten(2).unflatten(1, (heads, head_dim))
    pooled = pooled.transpose(2, 3).unflatten(0, (batch, count))
    words = key.float().permute(0, 2, 3, 1)[:, None]
    scores = torch.matmul(pooled, words).abs() * (binding.strength * head_dim**-0.5)
    scores = scores * binding.rows[:, first : first + count, None, None, :]
    return scores.to(queries.dtype)[..., binding.cells, :]


def apply_rotary(
    states: torch.Tensor, rotary_emb: tuple[torch.Tensor, torch.Tensor], chunk_tokens: int = 0
) -> torch.Tensor:
    """Rotate `[B, tokens, heads, head_dim]` by `rotary_table`'s cosines and sines, pair by pair."""

    def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        even, odd = states.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).type_as(states)

    cos, sin = (part[..., 0::2] for part in rotary_emb)
    return by_tokens(rotate, chunk_tokens, states, cos, sin)


def by_tokens(function: Callable[..., torch.Tensor], chunk_tokens: int, *states: torch.Tensor) -> torch.Tensor:
    """`function` of tensors `[B or 1, tokens, …]`, computed for at most `chunk_tokens` tokens at a time (0: for all).

    For what every token has to itself the result is the same, bit for bit unless a chunk is of very few tokens (the
    kernels for a few rows are others): chunks are of equal length, give or take one. What is needed on the way no
    longer grows with the length of the sequence.
    """
    tokens = states[0].shape[1]
    if chunk_tokens < 1 or tokens <= chunk_tokens or torch.is_grad_enabled():
        return function(*states)
    chunks = -(-tokens // chunk_tokens)
    out: torch.Tensor | None = None
    for index in range(chunks):
        start, end = index * tokens // chunks, (index + 1) * tokens // chunks
        part = function(*(each[:, start:end] for each in states))
        if out is None:
            out = part.new_empty((part.shape[0], tokens, *part.shape[2:]))
        out[:, start:end] = part
    assert out is not None
    return out
