"""Prompts and labels: whatever a keyboard, a broken encoding or a stranger's file puts into them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st

from engine.errors import InputError
from engine.file_names import NameBook, face_among, label_of
from engine.prompt_text import clean_prompt
from engine.scene import MAX_PROMPT_CHARS, PromptSpan, Reference, Role, Scene
from engine.spans import binding_masks, binding_problems
from studio.draft import edit_prompt
from studio.places import bind_words
from studio.view import scene_view
from tests.fuzz.conftest import Fuzz
from tests.fuzz.harness import Target
from tests.property.test_words_and_folders import TOKENIZER

SEEDS = [
    text.encode()
    for text in (
        "a man in red coat and a woman",
        "The first man walks &amp; the second man waits, “quietly”.",
        "ﬁve Ã¼ber-cÃ³ats &amp;lt;b&amp;gt; e\u0301 \u3000 男の人　と 女 👩‍👩‍👧",
        "a&#x41;&notit;&#38;#38; \u200b\ufeff\u202e x",
        "Ã¢â‚¬â„¢ â€œquotedâ€\x9d schÃ¶n Ð¿Ñ€Ð¸Ð²ÐµÑ‚",
        "’" * 800 + "ﬁ" * 50,
        "word " * 400,
    )
]
pieces = st.sampled_from(
    ["&", "&amp;", "&#", "x", "9" * 40, ";", "’", "ﬁ", "Ã", "¼", "Â", "\x80", "\x9d", " ", "\n", "\u3000", "\u200b", "e\u0301", "\ud83d", "男"]  # noqa: E501
)  # fmt: skip
made = st.lists(
    st.tuples(st.one_of(pieces, st.text(max_size=4)), st.sampled_from([1, 1, 1, 2, 30, 400])), max_size=12
).map(lambda parts: "".join(text * times for text, times in parts)[:MAX_PROMPT_CHARS].encode("utf-8", "surrogatepass"))


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")[:MAX_PROMPT_CHARS]


def clean(data: bytes, _folder: Path) -> None:
    raw = text_of(data)
    cleaned = clean_prompt(raw)
    clean_prompt.cache_clear()  # the same words never come twice here
    assert len(cleaned.origin) == len(cleaned.text)
    assert all(0 <= start < end <= len(raw) for start, end in cleaned.origin)
    assert all(a[0] <= b[0] for a, b in zip(cleaned.origin, cleaned.origin[1:], strict=False))


def bind(data: bytes, _folder: Path) -> None:
    """The words as prompt and, in part, as label and as marked words."""
    prompt = text_of(data)
    middle = len(prompt) // 2
    reference = Reference(id="a", role=Role.object, label=prompt[middle : middle + 9], image="0" * 64)
    other = Reference(id="b", role=Role.object, label=prompt, image="0" * 64)
    scene = Scene(prompt="a coat", objects=(reference, other), spans=(PromptSpan(start=2, end=6, target="b"),))
    scene = edit_prompt(scene, prompt)
    try:
        scene = bind_words(scene, "a", middle, middle + 4)
    except InputError:
        assert not prompt[middle : middle + 4].strip()
    assert binding_masks(scene, TOKENIZER, 64).shape == (2, 64)
    binding_problems(scene, TOKENIZER, 64)
    view = scene_view(scene, prompt[:20])
    assert all(0 <= mark["start"] < mark["end"] <= len(prompt) for mark in view["marks"])
    clean_prompt.cache_clear()


def name_file(data: bytes, _folder: Path) -> None:
    label = text_of(data)
    for role in Role:
        name = NameBook().file_name(role, label)
        assert len(name.encode()) < 255
        assert not set(name) & set('/\\:\0<>"|?*')
        assert label_of(role, name) == label_of(role, name).strip()
    face_among([label, "face_man.png"])


def test_cleaning(fuzz: Fuzz) -> None:
    fuzz(Target("prompt", clean, SEEDS, "text"), made)


def test_bindings(fuzz: Fuzz) -> None:
    fuzz(Target("binding", bind, SEEDS, "text"), made)


def test_file_names(fuzz: Fuzz) -> None:
    fuzz(Target("label", name_file, SEEDS, "text"), made)
