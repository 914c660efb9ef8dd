"""Nano's tokenizer: a small unigram model in the manner of UMT5's, learned from the prompts of the paper-doll world.

Any text can be written in it: characters it has never met fall back to bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from engine.nano.world.prompt import write_prompt
from engine.nano.world.scene import draw_scene, draw_structure

TEXT_TOKENS = 128
"""The fixed length of nano's prompts in tokens."""

SPECIAL = ("<pad>", "</s>", "<unk>")
EVERYDAY = (
    "the this that these one two three first second third with without and or but near far behind before under over "
    "next to other both each old young small big tall short long happy sad smiling laughing talking sitting looking "
    "holding running playing hands face hair eyes beard glasses shirt trousers shoes scarf suit blouse skirt uniform "
    "boy girl child lady gentleman friend couple people group kitchen bedroom street garden house office forest "
    "mountain river sky sun rain snow evening morning camera video scene picture light dark bright soft warm cold "
    "table sofa window door car tree flower dog cat cup book phone bag wall floor he she they his her their is are"
)


def train_tokenizer(folder: Path, seed: int = 0, scenes: int = 6000, vocabulary: int = 900) -> PreTrainedTokenizerFast:
    """Learn the pieces from drawn prompts and write the tokenizer to `folder`."""
    learner = Tokenizer(models.Unigram())
    learner.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    printable = [chr(code) for code in range(33, 127)]
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        unk_token="<unk>",
        initial_alphabet=printable,
        show_progress=False,
    )
    learner.train_from_iterator(_corpus(seed, scenes), trainer)
    pieces = json.loads(learner.to_str())["model"]["vocab"]
    lowest = min(score for _, score in pieces) - 10.0
    known = {piece for piece, _ in pieces}
    pieces = [*pieces[:3], *((f"<0x{byte:02X}>", lowest) for byte in range(256)), *pieces[3:]]
    pieces += [(character, lowest + 5.0) for character in printable if character not in known]
    pieces += [(word, score) for word, score in _words(seed, scenes) if word not in known]
    tokenizer = Tokenizer(models.Unigram([(p, float(s)) for p, s in pieces], unk_id=2, byte_fallback=True))
    tokenizer.pre_tokenizer = learner.pre_tokenizer
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


def _words(seed: int, scenes: int) -> list[tuple[str, float]]:
    """Every word of the corpus as a piece of its own, scored by its share: no word of the world is ever cut up."""
    counts = Counter(word for text in _corpus(seed, scenes) for word in re.findall(r"[A-Za-z-]+", text))
    total = sum(counts.values())
    return [(f"▁{word}", math.log(count / total)) for word, count in sorted(counts.items())]


def _corpus(seed: int, scenes: int) -> Iterator[str]:
    rng = np.random.default_rng([seed, 3])
    for number in range(scenes):
        scene = draw_scene(number, draw_structure(rng, int(rng.integers(1, 5))))
        yield write_prompt(scene, rng).text
        if number % 40 == 0:
            yield EVERYDAY
