"""Inputs that once broke a parser: each is read or refused in a sentence, at once and without a gigabyte."""

from __future__ import annotations

import asyncio
import io
import json
import os
import pickle
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.datastructures import UploadFile

from engine.codec import MAX_ITEMS, from_json, to_json
from engine.engines import resolve_settings
from engine.errors import LONGEST_SENTENCE, InputError, PictureError, UserError
from engine.picture_decoding import decode_picture
from engine.pictures import PictureStore, encode_png
from engine.prompt_text import clean_prompt
from engine.recipe import MAX_VALUES, recipe_from_json
from engine.request import RenderSettings
from engine.sample_folder import read_sample_folder
from engine.scene import PromptSpan, Reference, Role, Scene
from engine.sources import load_source
from engine.weights.records import read_conversion
from studio.draft import parse_scene
from studio.job_store import JobStore
from studio.jobs import JobQueue
from studio.own_presets import delete_preset
from studio.routes import _read_sent
from studio.visitor_queue import VisitorQueue
from tests.unit.tiny_studio import tiny_request

PNG = encode_png(np.full((3, 4, 3), 90, dtype=np.uint8))
NESTED = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("words", ["’a", "ﬁa", "Ã ", "ﬁ a ", "Ã¼", "\x80\x9d"])
def test_long_monotonous_prompts_are_cleaned_at_once(words: str) -> None:
    raw = (words * 10_000)[:10_000]
    began = time.process_time()
    cleaned = clean_prompt(raw)
    assert time.process_time() - began < 5
    assert len(cleaned.origin) == len(cleaned.text)
    assert list(cleaned.origin) == sorted(cleaned.origin)
    assert all(0 <= start < end <= len(raw) for start, end in cleaned.origin)


def test_a_long_prompt_with_wrong_letters_keeps_the_place_of_its_words() -> None:
    raw = "Ã la fin, " + "un homme en manteau marche dans la rue et il est trÃ¨s content. " * 40 + "le chapeau"
    cleaned = clean_prompt(raw)
    assert cleaned.text.startswith("à la fin")
    place = cleaned.text.index("chapeau")
    assert (cleaned.origin[place][0], cleaned.origin[place + 6][1]) == (raw.index("chapeau"), raw.index("chapeau") + 7)


def test_a_number_of_thousands_of_digits_names_no_character() -> None:
    raw = "a &#" + "9" * 5000 + "; b"
    assert clean_prompt(raw).text == raw


def test_a_refusal_quotes_little_and_nothing_that_cannot_be_shown() -> None:
    for data in ({"x" * 10_000: 1}, {"\ud800": 1}, {**to_json(Scene()), "prompt": "\ud800" * 9000}):
        with pytest.raises(InputError) as refused:
            from_json(Scene, data)
        assert len(str(refused.value).encode()) < 500
    long = Reference(id="i" * 9000, role=Role.object, label="l" * 9000, image="")
    spans = (PromptSpan(start=0, end=1, target="t" * 9000),)
    scene = Scene(prompt="x", objects=(long, long), spans=spans, unbound=("u" * 9000,))
    assert all(len(problem.message) < 500 for problem in scene.problems())


def test_a_name_of_thousands_of_letters_does_not_push_away_what_to_do(tmp_path: Path) -> None:
    reference = Reference(id="b", role=Role.background, label="x", image="i", mask=None)
    name = "&#" + "9" * 5000 + ";.png"
    content = {"schema_version": 1, "scene": to_json(Scene(prompt="x", background=reference)), "pictures": {"i": name}}
    (tmp_path / "scene.json").write_text(json.dumps(content))
    with pytest.raises(PictureError) as caught:
        read_sample_folder(tmp_path, PictureStore(tmp_path / "pictures"))
    sentence = str(caught.value)
    assert len(sentence) == LONGEST_SENTENCE
    assert sentence.startswith("The picture “")
    assert sentence.endswith("(File name too long); check its permissions.")
    assert "9…9" in sentence
    assert str(pickle.loads(pickle.dumps(caught.value))) == sentence


@pytest.mark.parametrize("name", ["’" * 3000, "\0", "..", ".", ""])
def test_a_preset_of_an_impossible_name_is_none_of_the_users_own(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        delete_preset(name, tmp_path)
    assert tmp_path.is_dir()


def test_half_a_letter_is_no_name_of_a_picture(tmp_path: Path) -> None:
    content = {"schema_version": 1, "scene": to_json(Scene(prompt="x")), "pictures": {"\ud800": "a.png"}}
    (tmp_path / "scene.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"pictures.*should be text, not") as caught:
        read_sample_folder(tmp_path, PictureStore(tmp_path / "pictures"))
    str(caught.value).encode()


def test_a_value_has_no_more_parts_than_can_be_looked_at() -> None:
    data = to_json(Scene()) | {"unbound": ["x"] * (MAX_ITEMS + 1)}
    with pytest.raises(InputError, match=f"{MAX_ITEMS} at most"):
        from_json(Scene, data)


def test_a_recipe_of_endless_lists_is_not_even_parsed() -> None:
    with pytest.raises(InputError, match="more than any recipe"):
        recipe_from_json("[" + "[]," * MAX_VALUES + "[]]")


def test_the_name_of_a_source_that_no_screen_can_show() -> None:
    with pytest.raises(InputError) as refused:
        load_source("\ud800x", PictureStore(Path("nowhere")))
    str(refused.value).encode()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_that_is_called_a_picture_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "caption.txt").write_text("one;a lamp")
    os.mkfifo(tmp_path / "objects" / "lamp.png")
    with pytest.raises(PictureError, match="cannot be read as a picture"):
        read_sample_folder(tmp_path, PictureStore(tmp_path / "store"))


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_in_a_circle_lead_out_of_the_folder(tmp_path: Path) -> None:
    reference = Reference(id="b", role=Role.background, label="x", image="i")
    content = {"schema_version": 1, "scene": to_json(Scene(prompt="x", background=reference))}
    (tmp_path / "scene.json").write_text(json.dumps({**content, "pictures": {"i": "a.png"}}))
    (tmp_path / "a.png").symlink_to("a.png")
    with pytest.raises(UserError):
        read_sample_folder(tmp_path, PictureStore(tmp_path / "store"))


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names are text there")
def test_a_file_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "caption.txt").write_text("one;a lamp")
    (tmp_path / "objects" / "lamp\udcff.png").write_bytes(PNG)
    with pytest.raises(InputError, match="rename that file"):
        read_sample_folder(tmp_path, PictureStore(tmp_path / "store"))


@pytest.mark.parametrize(
    "paths", [[""], ["."], ["p/a.png", "p/a.png/b.png"], ["p/a.png/b.png", "p/a.png"], ["p/" + "é" * 200 + ".png"]]
)
def test_a_sent_folder_with_impossible_names_is_refused_in_words(paths: list[str]) -> None:
    def answer(folder: Path, title: str) -> dict[str, Any]:
        raise InputError("There is no scene.")

    files = [UploadFile(io.BytesIO(PNG)) for _ in paths]
    with pytest.raises(UserError):
        asyncio.run(_read_sent(paths, files, answer))


@pytest.mark.parametrize(
    "text",
    [NESTED, '{"schema_version": 1, "complete": true, "components": {"vae": {"source": "", "files": '
     '{"a": {"size_bytes": Infinity, "sha256": ""}}}}}'],
    ids=["nested", "infinite"],
)  # fmt: skip
def test_records_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "conversion.json").write_text(text)
    with pytest.raises(UserError):
        read_conversion(tmp_path)


def test_warnings_about_a_strangers_picture_stay_inside() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (5, 5)).save(stream, "TIFF")
    data = bytearray(stream.getvalue())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for at in range(len(data)):
            for value in (0, 255):
                try:
                    decode_picture(bytes(data[:at]) + bytes([value]) + bytes(data[at + 1 :]), "x")
                except PictureError:
                    continue
    assert [str(one.message) for one in caught] == []


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_floating_pixels_may_be_anything(value: float) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.full((70, 3), value, dtype=np.float32)).save(stream, "TIFF")
    assert decode_picture(stream.getvalue(), "x").shape == (70, 3, 3)


def test_settings_of_any_number() -> None:
    data = json.loads(json.dumps({"width": 10**4000}))
    with pytest.raises(UserError):
        from_json(RenderSettings, data)
    usual = to_json(resolve_settings("nano"))
    for name in ("fps", "seed", "guidance_scale", "loras"):
        for value in (10**400, -(10**4000)):
            with pytest.raises(InputError):
                from_json(RenderSettings, {**usual, name: value})
            with pytest.raises(InputError):
                resolve_settings("nano", **{name: value})


def test_half_letters_and_long_words_of_a_program_are_shown_whole() -> None:
    for value in ("\ud800", "a" * 5000, ["\udfff"] * 900):
        with pytest.raises(InputError) as caught:
            resolve_settings("nano", width=value)
        assert len(str(caught.value).encode()) < 300
    with pytest.raises(InputError) as caught:
        resolve_settings("nano", **{"wi\ud800dth": 3})
    assert "did you mean width?" in str(caught.value).encode().decode()


def test_a_scene_of_hundreds_is_no_work_for_a_page() -> None:
    people = [{"id": "a", "face": None, "attributes": []}] * 600
    with pytest.raises(InputError, match="100 people and 100 pictures at most"):
        parse_scene({**to_json(Scene(prompt="a")), "subjects": people})
    assert len(parse_scene({**to_json(Scene(prompt="a")), "subjects": people[:100]}).subjects) == 100


def test_half_a_letter_in_a_title_still_goes_into_the_queue(tmp_path: Path) -> None:
    pictures = PictureStore(tmp_path / "pictures")
    queue = JobQueue(lambda: pytest.fail("held"), pictures, lambda: tmp_path, JobStore(tmp_path / "studio.sqlite3"))
    queue.pause(True)
    owner = VisitorQueue(queue, "", None)
    job = owner.submit(tiny_request(pictures), "half \ud800")
    assert job.title == "half \\ud800"
    assert owner.replace(job.id, tiny_request(pictures), "\udfff").title == "\\udfff"
    assert queue.close()
