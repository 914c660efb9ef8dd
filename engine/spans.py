"""From the words of a prompt to tokens: which tokens each reference is bound to.

An untouched binding gives exactly the published mask: the label is tokenised alone and its tokens are searched as a run
in the tokenised prompt. A touched one, characters of the raw prompt, gets there through raw → cleaned → tokens. Knows
no model and no particular tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from engine.prompt_text import CleanedPrompt, clean_prompt, shortened
from engine.scene import Problem, PromptSpan, Reference, Scene, unbound_problem

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "CleanedPrompt",
    "FastTokenizer",
    "binding_masks",
    "binding_problems",
    "clean_prompt",
    "phrase_positions",
    "sequence_mask",
    "span_positions",
]


class FastTokenizer(Protocol):
    """What is needed of a tokenizer: ids and, as only the fast ones give, the characters each token came from."""

    def __call__(self, text: str, /, **options: Any) -> Mapping[str, Any]:
        """Called with options as transformers spells them: add_special_tokens, truncation, max_length …"""
        ...


@dataclass(frozen=True, slots=True)
class _Tokens:
    ids: list[int]
    offsets: list[tuple[int, int]]


def sequence_mask(ids: Sequence[int], sub: Sequence[int]) -> list[bool]:
    """Which places of `ids` lie in an occurrence of the run `sub`; occurrences may overlap, an empty run has none."""
    mask = [False] * len(ids)
    length = len(sub)
    if length == 0:
        return mask
    wanted = list(sub)
    for start in range(len(ids) - length + 1):
        if list(ids[start : start + length]) == wanted:
            mask[start : start + length] = [True] * length
    return mask


def phrase_positions(tokenizer: FastTokenizer, prompt: str, phrase: str, num_tokens: int) -> tuple[int, ...]:
    """Token places that the published search marks for `phrase`: all occurrences, case-sensitive, within `num_tokens`.

    Both texts are cleaned first and cut to `num_tokens` tokens, the last of which is the end mark.
    """
    tokens = _tokenize(tokenizer, clean_prompt(prompt).text, num_tokens)
    return _run_positions(tokenizer, tokens, phrase, num_tokens)


def span_positions(tokenizer: FastTokenizer, prompt: str, span: PromptSpan, num_tokens: int) -> tuple[int, ...]:
    """Token places that share a character other than white space with the span, within `num_tokens`."""
    cleaned = clean_prompt(prompt)
    return _touched_positions(cleaned, _tokenize(tokenizer, cleaned.text, num_tokens), (span,))


def binding_masks(scene: Scene, tokenizer: FastTokenizer, num_tokens: int) -> npt.NDArray[np.bool_]:
    """[N, num_tokens] bool: row n marks the tokens that reference n (in model order) is bound to."""
    import numpy as np

    cleaned = clean_prompt(scene.prompt)
    tokens = _tokenize(tokenizer, cleaned.text, num_tokens)
    references = scene.references()
    masks = np.zeros((len(references), num_tokens), dtype=np.bool_)
    for row, reference in enumerate(references):
        if reference.id in scene.unbound:
            continue
        spans = scene.spans_of(reference.id)
        positions = (
            _touched_positions(cleaned, tokens, spans)
            if spans
            else _run_positions(tokenizer, tokens, reference.label, num_tokens)
        )
        masks[row, list(positions)] = True
    return masks


def binding_problems(scene: Scene, tokenizer: FastTokenizer, num_tokens: int) -> tuple[Problem, ...]:
    """References whose words reach no token: "unbound" if the prompt lacks them, "beyond_text" if it is too long.

    The truth about bindings, where `Scene.problems` compares characters only. References in `scene.unbound` are left
    alone.
    """
    cleaned = clean_prompt(scene.prompt)
    tokens = _tokenize(tokenizer, cleaned.text, num_tokens)
    problems: list[Problem] = []
    for reference in scene.references():
        if reference.id in scene.unbound:
            continue
        if spans := scene.spans_of(reference.id):
            problems.extend(_span_problems(reference, spans, scene.prompt, cleaned, tokens, num_tokens))
        elif not _run_positions(tokenizer, tokens, reference.label, num_tokens):
            problems.append(_label_problem(reference, cleaned, tokenizer, num_tokens))
    return tuple(problems)


def _tokenize(tokenizer: FastTokenizer, text: str, num_tokens: int | None) -> _Tokens:
    """Token ids with the end mark and each token's characters [start, end) of `text`; None reads all of it."""
    limit: dict[str, Any] = {"truncation": True, "max_length": num_tokens} if num_tokens is not None else {}
    coded = tokenizer(text, add_special_tokens=True, return_offsets_mapping=True, verbose=False, **limit)
    return _Tokens(list(coded["input_ids"]), [(int(start), int(end)) for start, end in coded["offset_mapping"]])


def _run_positions(tokenizer: FastTokenizer, tokens: _Tokens, phrase: str, num_tokens: int | None) -> tuple[int, ...]:
    run = list(tokenizer(clean_prompt(phrase).text, add_special_tokens=False, verbose=False)["input_ids"])
    if num_tokens is not None:
        run = run[: num_tokens - 1]  # as the prompt is cut, so the published search cuts the phrase
    return tuple(place for place, hit in enumerate(sequence_mask(tokens.ids, run)) if hit)


def _cleaned_places(cleaned: CleanedPrompt, spans: Sequence[PromptSpan]) -> set[int]:
    """Characters of the cleaned prompt, white space aside, that came from characters of the spans."""
    return {
        place
        for place, (start, end) in enumerate(cleaned.origin)
        if not cleaned.text[place].isspace() and any(start < span.end and span.start < end for span in spans)
    }


def _touched_positions(cleaned: CleanedPrompt, tokens: _Tokens, spans: Sequence[PromptSpan]) -> tuple[int, ...]:
    places = _cleaned_places(cleaned, spans)
    hits: list[int] = []
    follower_hit = False
    for token in reversed(range(len(tokens.ids))):
        start, end = tokens.offsets[token]
        if end > start and not cleaned.text[start:end].isspace():
            follower_hit = any(place in places for place in range(start, end))
        elif end == start:
            follower_hit = False  # the end mark and other tokens that came of no character
        # A token of white space alone is the word mark of its follower, which the published search marks along with it.
        if follower_hit:
            hits.append(token)
    return tuple(reversed(hits))


def _span_problems(
    reference: Reference,
    spans: Sequence[PromptSpan],
    prompt: str,
    cleaned: CleanedPrompt,
    tokens: _Tokens,
    num_tokens: int,
) -> Iterator[Problem]:
    for span in spans:
        if _touched_positions(cleaned, tokens, (span,)):
            continue
        words = prompt[span.start : span.end].strip()
        if _cleaned_places(cleaned, (span,)):
            yield _beyond(reference, words, num_tokens)
        else:
            yield Problem(
                code="unbound",
                message=f"The words marked for “{shortened(reference.label)}” hold nothing that can be read; "
                "mark other words.",
                target=reference.id,
            )


def _label_problem(reference: Reference, cleaned: CleanedPrompt, tokenizer: FastTokenizer, num_tokens: int) -> Problem:
    if _run_positions(tokenizer, _tokenize(tokenizer, cleaned.text, None), reference.label, None):
        return _beyond(reference, reference.label, num_tokens)
    label = clean_prompt(reference.label).text
    if label and label in cleaned.text:
        return Problem(
            code="unbound",
            message=f"The prompt holds “{shortened(reference.label)}” only as part of other words; "
            "mark the words that mean it.",
            target=reference.id,
        )
    return unbound_problem(reference)


def _beyond(reference: Reference, words: str, num_tokens: int) -> Problem:
    return Problem(
        code="beyond_text",
        message=f"“{shortened(words)}” stands too far back in the prompt: only its first {num_tokens} tokens are read; "
        "shorten the prompt or move these words forward.",
        target=reference.id,
    )
