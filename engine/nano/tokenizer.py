"""Nano's tokenizer: a unigram model in UMT5's form whose pieces are the words of the paper-doll world.

A word from elsewhere becomes one piece that stands for all words of its first letter. Spelled out it would be a row of
letters that means nothing to nano; as one piece nano learns to pass over it, a long sentence stays short, and a label
made of such words is still found where it stands in the prompt. Chinese characters share a piece in the same way.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from engine.nano.world.asides import EVERYDAY
from engine.nano.world.prompt import write_prompt
from engine.nano.world.scene import draw_scene, draw_structure

TEXT_TOKENS = 192
"""The fixed length of nano's prompts in tokens; an English paragraph of 150 words has as many."""

SPECIAL = ("<pad>", "</s>", "<unk>")
FIRST_SYMBOL = 0xE000
"""Strange words are written as characters of Unicode's private use area before they are looked up."""
HAN, HAN_BLOCK = range(0x4E00, 0xA000), 512
WORD = r"[\p{L}\p{M}]+(?:-[\p{L}\p{M}]+)*"


def train_tokenizer(folder: Path, seed: int = 0, scenes: int = 6000) -> PreTrainedTokenizerFast:
    """Collect the words of drawn prompts and write the tokenizer to `folder`."""
    words = _words(seed, scenes)
    symbols, rules = _strange_words([word for word, _ in words])
    lowest = min(score for _, score in words) - 10.0
    pieces = [(piece, 0.0) for piece in SPECIAL]
    pieces += [(f"<0x{byte:02X}>", lowest) for byte in range(256)]
    pieces += [(character, lowest + 5.0) for character in ("▁", *map(chr, range(33, 127)))]
    pieces += [(f"▁{word}", score) for word, score in words]
    pieces += [(start + symbol, lowest + 6.0) for symbol in symbols for start in ("", "▁")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rules])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Replace(Regex("▁"), " "),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1, right=0),
        ]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=TEXT_TOKENS,
    )
    folder.mkdir(parents=True, exist_ok=True)
    fast.save_pretrained(folder)
    return fast


def _strange_words(known: list[str]) -> tuple[list[str], list[normalizers.Normalizer]]:
    """The symbols that strange words are written with, and the rules that write them: by first letter, then all other
    words, then Chinese characters one by one in blocks."""
    at_start, at_end = r"(?<![\p{L}\p{M}'’-])", r"(?![\p{L}\p{M}-])"
    a_known_word = "(?:" + "|".join(map(re.escape, sorted(known, key=len, reverse=True))) + ")" + at_end
    patterns = [
        *(rf"{at_start}(?!{a_known_word})(?={letter}){WORD}" for letter in string.ascii_lowercase),
        *(f"[{chr(first)}-{chr(min(first + HAN_BLOCK, HAN.stop) - 1)}]" for first in HAN[::HAN_BLOCK]),
        rf"{at_start}(?![a-z])(?!\p{{Co}}){WORD}",
    ]
    symbols = [chr(FIRST_SYMBOL + number) for number in range(len(patterns))]
    return symbols, [
        normalizers.Replace(Regex(pattern), symbol) for pattern, symbol in zip(patterns, symbols, strict=True)
    ]


def _words(seed: int, scenes: int) -> list[tuple[str, float]]:
    """Every word of the world with the logarithm of its share."""
    counts = Counter(word for text in _corpus(seed, scenes) for word in re.findall(r"[a-z-]+", text.lower()))
    total = sum(counts.values())
    return [(word, math.log(count / total)) for word, count in sorted(counts.items())]


def _corpus(seed: int, scenes: int) -> Iterator[str]:
    rng = np.random.default_rng([seed, 3])
    yield " ".join(EVERYDAY)
    for number in range(scenes):
        scene = draw_scene(number, draw_structure(rng, int(rng.integers(1, 5))))
        yield write_prompt(scene, rng).text
