"""The relations in the form in which they were published: one boolean mask over all tokens, and a bias for all rows.

Nothing renders with this. It is the yardstick of `bench network`, and the second route by which tests prove that
the grouped attention of `engine.model.attention` computes the same.
"""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false

from __future__ import annotations

from functools import lru_cache

import torch
from diffusers.models.attention_dispatch import AttentionBackendName, dispatch_attention_fn
from diffusers.models.transformers.transformer_wan import WanAttention

from engine.model.attention import RelationalContext, apply_rotary, mcam_bias
from engine.model.layout import SequenceLayout
from engine.model.transformer import LumosXTransformer3DModel


class MaskedSelfAttnProcessor:
    """CSAM as one call with a boolean mask `[tokens, tokens]`."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        context: RelationalContext | None = None,
    ) -> torch.Tensor:
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        key = attn.norm_k(attn.to_k(hidden_states)).unflatten(2, (attn.heads, -1))
        value = attn.to_v(hidden_states).unflatten(2, (attn.heads, -1))
        if rotary_emb is not None:
            query, key = apply_rotary(query, rotary_emb), apply_rotary(key, rotary_emb)
        mask = None
        if context is not None and context.relations.self_attention:
            mask = csam_mask(context.layout).to(query.device)[None, None]
        out = dispatch_attention_fn(query, key, value, attn_mask=mask, backend=AttentionBackendName.NATIVE).flatten(
            2, 3
        )
        return attn.to_out[0](out.type_as(query))


class BiasedCrossAttnProcessor:
    """MCAM as one call with a bias `[B, heads, tokens, words]` that is zero on the video's rows."""

    _attention_backend = None
    _parallel_config = None

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
        context: RelationalContext | None = None,
    ) -> torch.Tensor:
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        key = attn.norm_k(attn.to_k(encoder_hidden_states)).unflatten(2, (attn.heads, -1))
        value = attn.to_v(encoder_hidden_states).unflatten(2, (attn.heads, -1))
        bias = None
        if context is not None and context.binding is not None:
            layout = context.layout
            rows = query[:, layout.video_tokens :].unflatten(1, (layout.num_references, layout.picture_tokens))
            bound = mcam_bias(rows, key, context.binding, 0, layout).transpose(1, 2).flatten(2, 3)
            free = bound.new_zeros(query.shape[0], attn.heads, layout.video_tokens, key.shape[1])
            bias = torch.cat([free, bound], dim=2)
        out = dispatch_attention_fn(query, key, value, attn_mask=bias, backend=AttentionBackendName.NATIVE).flatten(
            2, 3
        )
        return attn.to_out[0](out.type_as(query))


@lru_cache(maxsize=1)
def csam_mask(layout: SequenceLayout) -> torch.Tensor:
    """bool `[tokens, tokens]`, True where a query (row) may see a key (column).

    The last one is kept, so that all blocks of a pass share it.
    """
    mask = torch.zeros(layout.num_tokens, layout.num_tokens, dtype=torch.bool)
    for (start, end), (first, last) in layout.attention_ranges():
        mask[start:end, first:last] = True
    return mask


def use_published_form(model: LumosXTransformer3DModel) -> None:
    """Replace the model's attention processors by the masked ones of this module."""
    for block in model.blocks:
        block.attn1.set_processor(MaskedSelfAttnProcessor())
        block.attn2.set_processor(BiasedCrossAttnProcessor())
