"""A whole `LumosXPipeline` of real, tiny parts with random weights."""

# diffusers sets configuration at run time and types its extension points for its own classes only.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKLWan
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from engine.model.pipeline import LumosXPipeline
from engine.model.scheduler import LumosXScheduler
from tests.unit.tiny_network import CHANNELS, TEXT_DIM, WORDS, tiny_transformer

VOCABULARY = ["<pad>", "</s>", "<unk>", "a", "man", "in", "red", "coat", "and", "woman", "hat", "blurry"]
WIDTH, HEIGHT, FRAMES, STEPS = 32, 16, 5, 3


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(VOCABULARY)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=WORDS
    )


def tiny_pipeline() -> LumosXPipeline:
    torch.manual_seed(0)
    text_encoder = UMT5EncoderModel(
        UMT5Config(vocab_size=len(VOCABULARY), d_model=TEXT_DIM, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ).eval()
    vae = AutoencoderKLWan(
        base_dim=4,
        z_dim=CHANNELS,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.5, 1.0, 2.0],
    ).eval()
    pipeline = LumosXPipeline(
        tokenizer=tiny_tokenizer(),
        text_encoder=text_encoder,
        vae=vae,
        transformer=tiny_transformer(),
        scheduler=LumosXScheduler(),
        text_tokens=WORDS,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the whole pipeline: two subjects, the first with a coat."""

    seeds: tuple[int, ...] = (7,)
    guidance_scale: float = 3.0
    with_references: bool = True

    def run(self, pipeline: LumosXPipeline) -> list[npt.NDArray[np.uint8]]:
        masks = np.zeros((3, WORDS), dtype=bool)
        masks[0, 1], masks[1, 4], masks[2, 7] = True, True, True
        pictures = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), dtype=np.uint8)
        return pipeline(
            "a man in red coat and a woman",
            pictures if self.with_references else None,
            (2, 1) if self.with_references else (),
            masks if self.with_references else None,
            negative_prompt="blurry",
            width=WIDTH,
            height=HEIGHT,
            num_frames=FRAMES,
            num_inference_steps=STEPS,
            guidance_scale=self.guidance_scale,
            seeds=self.seeds,
        )
