"""The relational video transformer: diffusers' Wan network with references, groups and bindings. No new parameters."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportIncompatibleMethodOverride=false, reportOptionalCall=false

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models._modeling_parallel import ContextParallelConfig
from diffusers.models.modeling_outputs import Transformer2DModelOutput

# diffusers looks for ModelMixin in the module that defines a component's class.
from diffusers.models.modeling_utils import ModelMixin as ModelMixin
from diffusers.models.transformers.transformer_wan import (
    WanTimeTextImageEmbedding,
    WanTransformer3DModel,
    WanTransformerBlock,
)
from diffusers.utils.peft_utils import apply_lora_scale

from engine.errors import MachineError
from engine.model.attention import (
    Binding,
    RelationalContext,
    RelationalCrossAttnProcessor,
    RelationalSelfAttnProcessor,
    by_tokens,
)
from engine.model.layout import PUBLISHED, Relations, SequenceLayout, binding_rows, pooling_cells, rotary_table


class RelationalRotaryPosEmbed(torch.nn.Module):
    """Rotary angles of a layout; keeps the last table, which serves every step and both guidance passes."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self._key: tuple[SequenceLayout, bool, torch.device] | None = None
        self._table: tuple[torch.Tensor, torch.Tensor] | None = None

    def forward(
        self, layout: SequenceLayout, relational: bool, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines `[1, tokens, 1, head_dim]`, float32 on `device`."""
        key = (layout, relational, device)
        if self._table is None or self._key != key:
            cos, sin = rotary_table(layout.positions(relational=relational), self.head_dim)
            self._key, self._table = key, (cos.to(device), sin.to(device))
        return self._table


class FloatTimeTextEmbedding(WanTimeTextImageEmbedding):
    """Wan's time and text embedding that keeps time in float32, as the published network does."""

    def forward(
        self,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        encoder_hidden_states_image: torch.Tensor | None = None,
        timestep_seq_len: int | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, None]:
        frequencies = self.timesteps_proj(timestep)
        temb = self.time_embedder(_as_input(frequencies, self.time_embedder.linear_1)).float()
        projection = self.time_proj(_as_input(self.act_fn(temb), self.time_proj)).float()
        return temb, projection, self.text_embedder(encoder_hidden_states), None


class LumosXTransformerBlock(WanTransformerBlock):
    """A Wan block with relational attention. The residual stream stays in float32 whatever the weights are."""

    def __init__(
        self, dim: int, ffn_dim: int, num_heads: int, qk_norm: str | None, cross_attn_norm: bool, eps: float
    ) -> None:
        super().__init__(dim, ffn_dim, num_heads, qk_norm or "rms_norm_across_heads", cross_attn_norm, eps)
        self.attn1.set_processor(RelationalSelfAttnProcessor())
        self.attn2.set_processor(RelationalCrossAttnProcessor())

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        temb: torch.Tensor,
        rotary_emb: tuple[torch.Tensor, torch.Tensor],
        context: RelationalContext | None = None,
    ) -> torch.Tensor:
        """`hidden_states` float32 `[B, tokens, dim]`, `encoder_hidden_states` `[B, words, dim]` in the compute dtype,
        `temb` float32 `[B, 6, dim]`; returns the residual stream after the block."""
        dtype = encoder_hidden_states.dtype
        chunk = context.chunk_tokens if context is not None else 0
        shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = (self.scale_shift_table + temb.float()).chunk(6, dim=1)

        def before_attention(stream: torch.Tensor) -> torch.Tensor:
            return torch.addcmul(shift, self.norm1(stream), 1 + scale).to(dtype)

        def after_attention(stream: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
            return torch.addcmul(stream, attended.to(stream.dtype), gate.to(stream.dtype))

        def fed_forward(stream: torch.Tensor) -> torch.Tensor:
            states = torch.addcmul(ffn_shift, self.norm3(stream), 1 + ffn_scale).to(dtype)
            return torch.addcmul(stream, self.ffn(states).to(stream.dtype), ffn_gate.to(stream.dtype))

        # Nested, so that nothing outlives its use.
        hidden_states = by_tokens(
            after_attention,
            chunk,
            hidden_states,
            self.attn1(by_tokens(before_attention, chunk, hidden_states), None, None, rotary_emb, context=context),
        )

        def before_words(stream: torch.Tensor) -> torch.Tensor:
            return self.norm2(stream).to(dtype)

        hidden_states = hidden_states + self.attn2(
            by_tokens(before_words, chunk, hidden_states),
            encoder_hidden_states,
            None,
            None,
            context=context,
        )
        return by_tokens(fed_forward, chunk, hidden_states)


class LumosXTransformer3DModel(WanTransformer3DModel):
    """LumosX: `WanTransformer3DModel` whose sequence continues with reference pictures that are related to one another
    and to words. Parameters, their names and `save_pretrained` files are Wan's; without references it computes Wan."""

    _no_split_modules: ClassVar[list[str]] = ["LumosXTransformerBlock"]
    _repeated_blocks: ClassVar[list[str]] = ["LumosXTransformerBlock"]
    _keep_in_fp32_modules: ClassVar[list[str]] = [
        "rope", "time_embedder", "time_proj", "scale_shift_table", "norm1", "norm2", "norm3", "norm_out", "proj_out",
    ]  # fmt: skip
    _skip_layerwise_casting_patterns: ClassVar[list[str]] = [
        "patch_embedding", "condition_embedder", "norm", "proj_out",
    ]  # fmt: skip
    _cp_plan = None

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, ...] = (1, 2, 2),
        num_attention_heads: int = 12,
        attention_head_dim: int = 128,
        in_channels: int = 16,
        out_channels: int = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 8960,
        num_layers: int = 30,
        cross_attn_norm: bool = True,
        qk_norm: str | None = "rms_norm_across_heads",
        eps: float = 1e-6,
        image_dim: int | None = None,
        added_kv_proj_dim: int | None = None,
        rope_max_seq_len: int = 1024,
        pos_embed_seq_len: int | None = None,
    ) -> None:
        if image_dim is not None or added_kv_proj_dim is not None or pos_embed_seq_len is not None:
            raise ValueError("LumosX takes references as tokens and has no image embedding")
        super().__init__(
            patch_size=tuple(patch_size),
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            in_channels=in_channels,
            out_channels=out_channels,
            text_dim=text_dim,
            freq_dim=freq_dim,
            ffn_dim=ffn_dim,
            num_layers=0,
            cross_attn_norm=cross_attn_norm,
            qk_norm=qk_norm,
            eps=eps,
            rope_max_seq_len=rope_max_seq_len,
        )
        # The parent recorded the zero layers it was asked to build.
        self.register_to_config(num_layers=num_layers)
        dim = num_attention_heads * attention_head_dim
        self.chunk_tokens = 0
        """Tokens taken together wherever each has its computation to itself (0: all); never changes the result."""
        self.rope = RelationalRotaryPosEmbed(attention_head_dim)
        self.condition_embedder = FloatTimeTextEmbedding(dim, freq_dim, dim * 6, text_dim)
        self.blocks = torch.nn.ModuleList(
            LumosXTransformerBlock(dim, ffn_dim, num_attention_heads, qk_norm, cross_attn_norm, eps)
            for _ in range(num_layers)
        )

    @apply_lora_scale("attention_kwargs")
    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        reference_latents: torch.Tensor | None = None,
        groups: tuple[int, ...] = (),
        text_masks: torch.Tensor | None = None,
        relations: Relations = PUBLISHED,
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> Transformer2DModelOutput | tuple[torch.Tensor]:
        """Predict the velocity of the video.

        `hidden_states` `[B, C, T, H, W]` noisy latents; `timestep` `[B]` or scalar, 1000·sigma; `encoder_hidden_states`
        `[B or 1, words, text_dim]`, zero-padded and attended to in full; `reference_latents` `[B or 1, C, N, H, W]`,
        clean, in model order (free ones first, then group after group), computed once for all rows that differ in
        nothing but the noise; `groups` sizes of the subject groups, the first `N - sum(groups)` references being free;
        `text_masks` bool `[N, words]` or `[B or 1, N, words]`, the words of each reference (None: no binding). Height
        and width are padded with zeros to whole patches.

        Returns the velocity `[B, C, T, H, W]`; references have none. Raises `ValueError` for shapes that do not fit.
        """
        batch, _, _, height, width = hidden_states.shape
        padding = (0, -width % self.config.patch_size[2], 0, -height % self.config.patch_size[1])
        num_references = _num_references(hidden_states, reference_latents)
        self._check(batch, num_references, timestep, encoder_hidden_states, groups)
        share = _can_share(relations, timestep, encoder_hidden_states, reference_latents, text_masks)
        layout = self._layout(hidden_states, padding, num_references, groups, copies=batch if share else 1)
        # Videos that share their references are one long row.
        rows = batch // layout.copies
        context = RelationalContext(
            layout=layout,
            relations=relations,
            binding=self._binding(layout, rows, text_masks, encoder_hidden_states, relations),
            chunk_tokens=self.chunk_tokens,
        )

        states = self._tokens(hidden_states, reference_latents, padding, layout)
        temb, modulation, text, _ = self.condition_embedder(
            timestep.expand(rows), encoder_hidden_states.expand(rows, -1, -1)
        )
        modulation = modulation.unflatten(1, (6, -1))
        rotary_emb = self.rope(layout, relations.positions, states.device)
        for block in self.blocks:
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                states = self._gradient_checkpointing_func(block, states, text, modulation, rotary_emb, context)
            else:
                states = block(states, text, modulation, rotary_emb, context)

        sample = self._head(states[:, : layout.video_tokens], temb, layout)[..., :height, :width]
        sample = sample.to(hidden_states.dtype)
        return Transformer2DModelOutput(sample=sample) if return_dict else (sample,)

    @staticmethod
    def _check(
        batch: int, num_references: int, timestep: torch.Tensor, text: torch.Tensor, groups: tuple[int, ...]
    ) -> None:
        """Raise `ValueError` for conditions that do not fit a batch of so many videos with so many references."""
        if sum(groups) > num_references:
            raise ValueError(f"groups {groups} name {sum(groups)} references, but {num_references} were given")
        if timestep.ndim > 1 or timestep.numel() not in (1, batch):
            raise ValueError(f"timesteps {tuple(timestep.shape)} do not fit a batch of {batch}")
        if text.ndim != 3 or text.shape[0] not in (1, batch):
            raise ValueError(f"texts {tuple(text.shape)} do not fit a batch of {batch}")

    def _layout(
        self,
        video: torch.Tensor,
        padding: tuple[int, int, int, int],
        num_references: int,
        groups: tuple[int, ...],
        *,
        copies: int,
    ) -> SequenceLayout:
        """Where everything stands in the sequence, a place for every patch of the padded video and its references."""
        frames, height, width = video.shape[-3:]
        patch_h, patch_w = self.config.patch_size[1:]
        return SequenceLayout(
            frames=frames,
            height=(height + padding[3]) // patch_h,
            width=(width + padding[1]) // patch_w,
            num_free=num_references - sum(groups),
            groups=tuple(groups),
            copies=copies,
        )

    def enable_parallelism(self, *, config: Any, cp_plan: Any = None) -> None:
        """As diffusers does it, but for context parallelism, which is refused.

        Raises:
            MachineError: one sequence would be cut into equal pieces. Ours consists of segments of different lengths
                that see different things: with such pieces one person's pictures would see another's.
        """
        if isinstance(config, ContextParallelConfig) or getattr(config, "context_parallel_config", None) is not None:
            raise MachineError(
                "One clip cannot be spread over several cards yet: its references would see what they must not. Render "
                "it on one card; the studio renders several clips on several cards at once."
            )
        super().enable_parallelism(config=config, cp_plan=cp_plan)

    def _tokens(
        self, video: torch.Tensor, references: torch.Tensor | None, padding: tuple[int, ...], layout: SequenceLayout
    ) -> torch.Tensor:
        """Embedded patches in the order of `layout`, float32 `[B / copies, tokens, dim]`."""
        rows = video.shape[0] // layout.copies
        if references is not None and layout.copies == 1:
            latents = torch.cat([video, references.to(video.dtype).expand(rows, -1, -1, -1, -1)], dim=2)
            return self._embedded(latents, padding).contiguous()
        parts = [self._embedded(video, padding).unflatten(0, (rows, -1)).flatten(1, 2)]
        if references is not None:
            parts.append(self._embedded(references.to(video.dtype), padding))
        return torch.cat(parts, dim=1)

    def _embedded(self, latents: torch.Tensor, padding: tuple[int, ...]) -> torch.Tensor:
        return self.patch_embedding(F.pad(latents, padding)).flatten(2).transpose(1, 2).float()

    @staticmethod
    def _binding(
        layout: SequenceLayout,
        batch: int,
        text_masks: torch.Tensor | None,
        text: torch.Tensor,
        relations: Relations,
    ) -> Binding | None:
        if text_masks is None:
            return None
        masks = text_masks[None] if text_masks.ndim == 2 else text_masks
        if tuple(masks.shape[1:]) != (layout.num_references, text.shape[1]) or masks.shape[0] not in (1, batch):
            raise ValueError(
                f"text masks {tuple(text_masks.shape)} are not those of {layout.num_references} references and "
                f"{text.shape[1]} words in a batch of {batch}"
            )
        if not relations.cross_attention or relations.strength == 0 or layout.num_references == 0:
            return None
        cells = pooling_cells(layout.height, layout.width, relations.unpooling)
        return Binding(
            binding_rows(masks.to(text.device), layout.num_free, layout.groups),
            cells.to(text.device),
            relations.strength,
        )

    def _head(self, states: torch.Tensor, temb: torch.Tensor, layout: SequenceLayout) -> torch.Tensor:
        """Norm, modulation, projection and un-patching of the video's tokens, in float32: `[B, C, T, H, W]`."""
        shift, scale = (self.scale_shift_table.to(temb.device) + temb.unsqueeze(1)).chunk(2, dim=1)
        states = torch.addcmul(shift.to(states.device), self.norm_out(states), 1 + scale.to(states.device))
        states = self.proj_out(_as_input(states, self.proj_out))
        patch = tuple(self.config.patch_size)
        states = states.reshape(states.shape[0] * layout.copies, layout.frames, layout.height, layout.width, *patch, -1)
        states = states.permute(0, 7, 1, 4, 2, 5, 3, 6)
        return states.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def _num_references(video: torch.Tensor, references: torch.Tensor | None) -> int:
    """How many references there are; `ValueError` for such as do not fit the video."""
    if references is None:
        return 0
    fits = references.ndim == 5 and references.shape[0] in (1, video.shape[0])
    if not fits or references.shape[1] != video.shape[1] or references.shape[3:] != video.shape[3:]:
        raise ValueError(f"references {tuple(references.shape)} do not fit a video of {tuple(video.shape)}")
    return references.shape[2]


def _can_share(
    relations: Relations,
    timestep: torch.Tensor,
    text: torch.Tensor,
    references: torch.Tensor | None,
    text_masks: torch.Tensor | None,
) -> bool:
    """Whether all videos of a batch have the same references, words and time, and references see no video: then what
    becomes of the references is the same for all, and is computed once."""
    alike = timestep.numel() == 1 and text.shape[0] == 1
    alike = alike and references is not None and references.shape[0] == 1
    return alike and relations.self_attention and (text_masks is None or text_masks.ndim == 2 or len(text_masks) == 1)


def _as_input(states: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
    """Cast to the dtype a linear layer computes in; a quantised layer casts for itself."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    return states.to(weight.dtype) if weight.is_floating_point() and weight.element_size() > 1 else states


TransformerBlockRegistry.register(
    LumosXTransformerBlock,
    TransformerBlockMetadata(return_hidden_states_index=0, return_encoder_hidden_states_index=None),
)
