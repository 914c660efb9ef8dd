"""Cleaning, bindings, pictures and sample folders under whatever hypothesis thinks of."""

from __future__ import annotations

import html
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.codec import to_json
from engine.errors import UserError
from engine.file_names import NameBook, is_face_name, label_of
from engine.picture_decoding import decode_picture
from engine.pictures import PictureStore, encode_png, prepare_reference
from engine.prompt_text import clean_prompt
from engine.sample_folder import read_sample_folder, write_sample_folder
from engine.scene import PromptSpan, Reference, Role, Scene, Subject
from engine.spans import binding_masks, phrase_positions, span_positions

FEW = settings(max_examples=40, deadline=None)
FEWER = settings(max_examples=12, deadline=None)

ugly = st.lists(
    st.one_of(
        st.sampled_from(
            ["&amp;", "&amp;lt;", "&", ";", "’", "ﬁ", "Ã¼", " ", "\n", "\u3000", "\u200b", "<b>", "e\u0301"]
        ),
        st.text(max_size=4),
    ),
    max_size=12,
).map("".join)
labels = st.one_of(st.text(max_size=20), st.sampled_from(["CON", "a.b", "face_x", "..", "a/b", "A", "a", "x" * 300]))


class LetterTokenizer:
    """A tokenizer without vocabulary: every character but white space is a token of its own, 0 ends the text."""

    def __call__(self, text: str, /, **options: Any) -> dict[str, Any]:
        letters = [(ord(char), (place, place + 1)) for place, char in enumerate(text) if not char.isspace()]
        letters = letters[: options["max_length"] - 1] if options.get("truncation") else letters
        if options["add_special_tokens"]:
            letters.append((0, (0, 0)))
        return {"input_ids": [item[0] for item in letters], "offset_mapping": [item[1] for item in letters]}


TOKENIZER = LetterTokenizer()


@FEW
@given(ugly)
def test_cleaning_is_the_published_one_with_origins_in_order(raw: str) -> None:
    cleaned = clean_prompt(raw)
    expected = re.sub(r"\s+", " ", html.unescape(html.unescape(ftfy.fix_text(raw))).strip()).strip()
    assert cleaned.text == expected
    assert len(cleaned.origin) == len(cleaned.text)
    assert all(0 <= start < end <= len(raw) for start, end in cleaned.origin)
    assert list(cleaned.origin) == sorted(cleaned.origin)


@FEW
@given(st.text("ab &;", min_size=1, max_size=30), st.data())
def test_a_span_reaches_its_own_letters_and_no_others(prompt: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(prompt) - 1))
    end = data.draw(st.integers(start + 1, len(prompt)))
    span = PromptSpan(start=start, end=end, target="x")
    positions = span_positions(TOKENIZER, prompt, span, 512)
    before = sum(not char.isspace() for char in prompt[:start])
    inside = sum(not char.isspace() for char in prompt[start:end])
    assert list(positions) == list(range(before, before + inside))


@FEW
@given(st.text("ab ", max_size=20), st.text("ab", min_size=1, max_size=3), st.integers(1, 12))
def test_an_untouched_binding_is_the_published_search(prompt: str, label: str, num_tokens: int) -> None:
    reference = Reference(id="x", role=Role.object, label=label, image="0" * 64)
    masks = binding_masks(Scene(prompt=prompt, objects=(reference,)), TOKENIZER, num_tokens)
    letters = "".join(prompt.split())[: num_tokens - 1]
    run = label[: num_tokens - 1]  # the published search cuts the phrase as it cuts the prompt
    # Every place that a match which may begin anywhere, overlaps included, runs over.
    starts = [match.start() for match in re.finditer(f"(?={run})", letters)] if run else []
    expected = sorted({start + step for start in starts for step in range(len(run))})
    assert np.flatnonzero(masks[0]).tolist() == expected
    assert list(phrase_positions(TOKENIZER, prompt, label, num_tokens)) == expected


@FEW
@given(st.lists(st.tuples(st.sampled_from(Role), labels), max_size=8))
def test_file_names_are_legal_distinct_and_keep_their_kind(items: list[tuple[Role, str]]) -> None:
    book = NameBook()
    names = [book.file_name(role, label) for role, label in items]
    assert len({name.casefold() for name in names}) == len(names)
    for name, (role, label) in zip(names, items, strict=True):
        assert not re.search(r'[<>:"/\\|?*\x00-\x1f]', name)
        assert len(name.encode()) < 255
        assert not name.startswith((".", " "))
        assert re.sub(r"\.png$", "", name).upper() not in {"CON", "PRN", "AUX", "NUL"}
        if role in (Role.face, Role.attribute):
            assert is_face_name(name) == (role is Role.face)
        else:
            assert name.count(".") == 1
        alone = [item[1].casefold() for item in items].count(label) == 1
        if alone and re.fullmatch(r"[a-zà-ü0-9]{1,20}", label) and label not in {"con", "prn", "aux", "nul"}:
            assert label_of(role, name) == label


@FEWER
@given(st.data())
def test_an_exported_scene_comes_back_as_it_was(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        store = PictureStore(root / "store")
        images = [store.add_array(np.full((3, 4, 3), shade, dtype=np.uint8)) for shade in (0, 90, 180)]
        masks = [None, store.add_mask(np.eye(3, 4, dtype=np.uint8) * 255)]

        def reference(identifier: str, role: Role) -> Reference:
            image, mask = data.draw(st.sampled_from(images)), data.draw(st.sampled_from(masks))
            return Reference(id=identifier, role=role, label=data.draw(labels), image=image, mask=mask)

        subjects = tuple(
            Subject(
                id=f"s{number}",
                face=reference(f"f{number}", Role.face) if data.draw(st.booleans()) else None,
                attributes=tuple(
                    reference(f"a{number}.{item}", Role.attribute) for item in range(data.draw(st.integers(0, 2)))
                ),
            )
            for number in range(data.draw(st.integers(0, 3)))
        )
        scene = Scene(
            prompt=data.draw(ugly),
            subjects=subjects,
            objects=tuple(reference(f"o{item}", Role.object) for item in range(data.draw(st.integers(0, 3)))),
            background=reference("b", Role.background) if data.draw(st.booleans()) else None,
            spans=(PromptSpan(start=0, end=3, target="b"),) if data.draw(st.booleans()) else (),
            unbound=("o0",) if data.draw(st.booleans()) else (),
        )
        write_sample_folder(scene, store, root / "out")
        assert read_sample_folder(root / "out", PictureStore(root / "other")) == scene
        write_sample_folder(scene, store, root / "out")  # recognises its own work


@FEW
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 6), st.integers(1, 6))
def test_the_letterbox_fills_one_side_and_centres_the_other(width: int, height: int, columns: int, rows: int) -> None:
    canvas_width, canvas_height = 16 * columns, 16 * rows
    out = prepare_reference(np.zeros((height, width, 3), np.uint8), canvas_width, canvas_height)
    assert out.shape == (canvas_height, canvas_width, 3)
    inside = (out == 0).all(axis=2)
    lines, places = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert abs(lines[0] - (canvas_height - 1 - lines[-1])) <= 1
    assert abs(places[0] - (canvas_width - 1 - places[-1])) <= 1
    # One side is filled, up to the pixel that rounding down may cost.
    assert canvas_height - len(lines) <= 1 or canvas_width - len(places) <= 1


@FEW
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_pixels_survive_the_store(height: int, width: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_picture(encode_png(rgb), "x"), rgb)


@FEWER
@given(st.data())
def test_any_scene_file_is_read_or_refused_in_words(data: st.DataObject) -> None:
    scraps = st.recursive(
        st.one_of(st.none(), st.integers(), st.text(max_size=6), st.sampled_from(["../x", "a.png"])),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2),
        max_leaves=5,
    )
    content: dict[str, Any] = {
        "schema_version": 1,
        "scene": to_json(Scene(prompt="x", background=Reference(id="b", role=Role.background, label="x", image="i"))),
        "settings": None,
        "pictures": {"i": "a.png"},
    }
    content[data.draw(st.sampled_from([*content, "title", "other"]))] = data.draw(scraps)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.png").write_bytes(encode_png(np.zeros((2, 2, 3), np.uint8)))
        (folder / "scene.json").write_text(json.dumps(content), encoding="utf-8")
        try:
            scene = read_sample_folder(folder, PictureStore(folder / "store"))
        except UserError:
            return  # whatever else it may raise fails the test
        assert scene.references() == () or scene.references()[0].image != "i"
