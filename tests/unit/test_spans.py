"""From words to tokens: the cleaning with its map back, the published search, touched spans, what is read no more."""

from __future__ import annotations

import html
import re

import ftfy
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from engine.scene import PromptSpan, Reference, Role, Scene, Subject
from engine.spans import (
    FastTokenizer,
    binding_masks,
    binding_problems,
    clean_prompt,
    phrase_positions,
    sequence_mask,
    span_positions,
)

WORDS = ["a", "the", "first", "second", "man", "wo", "young", "red", "hat", "and", "waves", "hello", "girl"]


@pytest.fixture(scope="module")
def tokenizer() -> FastTokenizer:
    """A small real tokenizer of the field's kind: unigram pieces, "▁" before words, an end mark."""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -3.0), ("s", -3.0), ("man", -2.0), ("&", -3.0)]
    pieces += [(mark, -3.0) for mark in ".,;'"] + [("▁" + word, -2.0) for word in WORDS]
    inner = Tokenizer(models.Unigram(pieces, unk_id=2))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", unk_token="<unk>")


def words_at(tokenizer: FastTokenizer, prompt: str, positions: tuple[int, ...]) -> list[str]:
    cleaned = clean_prompt(prompt).text
    offsets = tokenizer(cleaned, return_offsets_mapping=True)["offset_mapping"]
    return [cleaned[slice(*offsets[position])].strip() for position in positions]


def at(prompt: str, words: str, number: int = 0) -> PromptSpan:
    start = [match.start() for match in re.finditer(re.escape(words), prompt)][number]
    return PromptSpan(start=start, end=start + len(words), target="x")


def one(prompt: str, label: str, *spans: PromptSpan, unbound: tuple[str, ...] = ()) -> Scene:
    reference = Reference(id="x", role=Role.object, label=label, image="0" * 64)
    return Scene(prompt=prompt, objects=(reference,), spans=spans, unbound=unbound)


# -- cleaning


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "   ",
        "plain words",
        "  two  girls ,\n one &amp; one ",
        "the chef’s hat &amp;amp; more &lt;b&gt;",
        "&amp;amp;lt; &notit; &#x41;&#66; & &;",
        "schÃ¶n und ﬁne “quoted” ＡＢＣ",
        "e\u0301 cafe\u0301 \x07bell\u200b",
        "<p>&eacute;</p> l&#8217;été",
    ],
)
def test_the_cleaning_is_the_published_one_and_every_character_has_an_origin(raw: str) -> None:
    cleaned = clean_prompt(raw)
    expected = re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(raw))).strip()).strip()
    assert cleaned.text == expected
    assert len(cleaned.origin) == len(cleaned.text)
    assert all(0 <= start < end <= len(raw) for start, end in cleaned.origin)
    assert list(cleaned.origin) == sorted(cleaned.origin)


def test_origins_point_to_what_was_typed() -> None:
    raw = "  the chef’s &amp;  hat ﬁne"
    cleaned = clean_prompt(raw)
    assert cleaned.text == "the chef's & hat fine"

    def typed(words: str) -> str:
        start = cleaned.text.index(words)
        return raw[cleaned.origin[start][0] : cleaned.origin[start + len(words) - 1][1]]

    assert typed("chef's") == "chef’s"
    assert typed("&") == "&amp;"
    assert typed("hat") == "hat"
    assert typed("fine") == "ﬁne"


# -- the published search


def test_runs_are_found_everywhere_also_overlapping() -> None:
    assert sequence_mask([1, 1, 1, 2], [1, 1]) == [True, True, True, False]
    assert sequence_mask([1, 2], []) == [False, False]
    assert sequence_mask([], [1]) == []
    assert sequence_mask([1], [1, 2]) == [False]


def test_all_occurrences_are_marked_and_case_counts(tokenizer: FastTokenizer) -> None:
    prompt = "the man and the second man"
    positions = phrase_positions(tokenizer, prompt, "man", 512)
    assert words_at(tokenizer, prompt, positions) == ["man", "man"]
    assert phrase_positions(tokenizer, prompt, "Man", 512) == ()
    assert phrase_positions(tokenizer, prompt, "", 512) == ()
    assert words_at(tokenizer, prompt, phrase_positions(tokenizer, prompt, " second  man ", 512)) == ["second", "man"]


def test_the_prompt_is_cut_with_its_end_mark(tokenizer: FastTokenizer) -> None:
    prompt = "the man and the man"
    assert phrase_positions(tokenizer, prompt, "man", 6) == (1, 4)
    assert phrase_positions(tokenizer, prompt, "man", 5) == (1,)  # the fifth token is the end mark
    assert phrase_positions(tokenizer, prompt, "man", 2) == ()


# -- touched spans


def test_a_span_binds_one_of_two_equal_words(tokenizer: FastTokenizer) -> None:
    prompt = "the first man and the second man"
    both = phrase_positions(tokenizer, prompt, "man", 512)
    assert span_positions(tokenizer, prompt, at(prompt, "man", 0), 512) == both[:1]
    assert span_positions(tokenizer, prompt, at(prompt, "man", 1), 512) == both[1:]


def test_a_span_on_every_occurrence_equals_the_proposal(tokenizer: FastTokenizer) -> None:
    for prompt, label in (("the man & a  man,", "man"), ("a red hat &amp; the red  hat", "red hat"), ("a & b", "&")):
        typed = label.replace(" ", r"\s+").replace("&", "&(?:amp;)?")
        spans = tuple(
            PromptSpan(start=match.start(), end=match.end(), target="x") for match in re.finditer(typed, prompt)
        )
        assert spans
        proposed = binding_masks(one(prompt, label), tokenizer, 32)
        touched = binding_masks(one(prompt, label, *spans), tokenizer, 32)
        assert proposed.any()
        np.testing.assert_array_equal(touched, proposed)


def test_a_span_takes_every_token_it_touches_and_no_neighbour(tokenizer: FastTokenizer) -> None:
    prompt = "the young woman waves"
    inside = span_positions(tokenizer, prompt, at(prompt, "oma"), 512)
    assert words_at(tokenizer, prompt, inside) == ["wo", "man"]
    padded = PromptSpan(start=prompt.index(" woman"), end=prompt.index("waves"), target="x")
    assert span_positions(tokenizer, prompt, padded, 512) == inside


def test_masks_have_a_row_per_reference_in_model_order(tokenizer: FastTokenizer) -> None:
    prompt = "the man and the girl, a red hat"

    def reference(identifier: str, role: Role, label: str) -> Reference:
        return Reference(id=identifier, role=role, label=label, image="0" * 64)

    hat, girl = reference("hat", Role.attribute, "red hat"), reference("girl", Role.face, "girl")
    subjects = (
        Subject(id="s1", face=reference("man", Role.face, "man"), attributes=(hat,)),
        Subject(id="s2", face=girl),
    )
    scene = Scene(
        prompt=prompt,
        subjects=subjects,
        background=reference("bg", Role.background, "park"),
        spans=(PromptSpan(start=4, end=7, target="man"),),
        unbound=("girl",),
    )
    masks = binding_masks(scene, tokenizer, 16)
    assert masks.shape == (4, 16)
    assert masks.dtype == np.bool_
    rows = [words_at(tokenizer, prompt, tuple(np.flatnonzero(row).tolist())) for row in masks]
    assert rows == [[], ["man"], ["red", "hat"], []]
    assert binding_masks(Scene(prompt=prompt), tokenizer, 16).shape == (0, 16)


# -- problems


def test_bound_and_declined_references_have_no_problems(tokenizer: FastTokenizer) -> None:
    prompt = "the man"
    for scene in (one(prompt, "man"), one(prompt, "", at(prompt, "man")), one(prompt, "lamp", unbound=("x",))):
        assert binding_problems(scene, tokenizer, 512) == ()


@pytest.mark.parametrize(
    ("prompt", "label", "words"),
    [
        ("the man", "lamp", "does not say “lamp”"),
        ("the man", "", "no label"),
        ("the girls", "irl", "only as part of other words"),
    ],
)
def test_words_without_tokens_are_named(tokenizer: FastTokenizer, prompt: str, label: str, words: str) -> None:
    (problem,) = binding_problems(one(prompt, label), tokenizer, 512)
    assert (problem.code, problem.target) == ("unbound", "x")
    assert words in problem.message


def test_words_behind_the_last_token_are_named(tokenizer: FastTokenizer) -> None:
    prompt = "hello " * 600 + "red hat"
    for scene in (one(prompt, "red hat"), one(prompt, "anything", at(prompt, "red hat"))):
        (problem,) = binding_problems(scene, tokenizer, 512)
        assert (problem.code, problem.target) == ("beyond_text", "x")
        assert "first 512 tokens" in problem.message
        assert "“red hat”" in problem.message
        assert not binding_masks(scene, tokenizer, 512).any()
    early = one("red hat " + prompt, "red hat")
    assert binding_problems(early, tokenizer, 512) == ()


def test_a_span_of_two_that_lies_behind_is_told(tokenizer: FastTokenizer) -> None:
    prompt = "the man " + "hello " * 20 + "the man"
    scene = one(prompt, "man", at(prompt, "man", 0), at(prompt, "man", 1))
    assert [problem.code for problem in binding_problems(scene, tokenizer, 12)] == ["beyond_text"]


def test_marked_words_that_cleaning_removes_are_told(tokenizer: FastTokenizer) -> None:
    prompt = "\x07\x07 the man"
    (problem,) = binding_problems(one(prompt, "man", PromptSpan(start=0, end=2, target="x")), tokenizer, 512)
    assert problem.code == "unbound"
