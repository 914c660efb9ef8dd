"""The page's sentences as they are spoken: where which language is, and the engine's words heard in it."""

from __future__ import annotations

import ast
import json
import re
import threading
from typing import Any

import pytest

from engine.engines import draft_of, engine_info, engine_names, resolve_settings
from engine.errors import SceneError
from engine.events import STAGES
from engine.memory.forecast import time_in_words
from engine.memory.plan import Budget
from engine.memory.profiles import in_words, plan_for
from engine.scene import Reference, Role, Scene, Subject
from engine.weights.catalogue import entries
from studio import languages
from studio.languages import LANGUAGES, heard, language_of, say, say_count, sentences, speaking
from studio.theme import script
from studio.workshop import TaskState, Workshop
from tests.unit.test_languages import COMPOSED, PLACE, PYTHON, ROOT, _texts


def test_a_language_is_spoken_where_it_was_chosen_and_nowhere_else() -> None:
    assert say("subject", number=2) == "Subject 2"
    with speaking("zh"):
        assert say("subject", number=2) == "人物 2"
        assert say_count("frames", 1) == "1 帧"
        heard_there: list[str] = []
        thread = threading.Thread(target=lambda: heard_there.append(say("subject", number=3)))
        thread.start()
        thread.join()
        assert heard_there == ["Subject 3"]
    assert say_count("frames", 1) == "1 frame"
    assert say_count("frames", 5) == "5 frames"
    with speaking("tlh"):
        assert say("subject", number=2) == "Subject 2"


def test_braces_in_what_the_user_wrote_mean_nothing() -> None:
    assert say("named", what="{name}", name="{0} {what}") == "{name}: {0} {what}"
    with pytest.raises(KeyError):
        say("named", what="only this")
    with pytest.raises(KeyError):
        say("there is no such sentence")


@pytest.mark.parametrize(
    ("wish", "language"),
    [
        ("zh", "zh"), ("zh-TW", "zh"), ("ZH-cn,en;q=0.8", "zh"), ("en-US,zh", "en"), ("de", "en"), ("", "en"),
        (None, "en"), (3, "en"),
    ],
)  # fmt: skip
def test_the_language_of_a_browser(wish: object, language: str) -> None:
    assert language_of(wish) == language


def test_the_script_carries_both_languages() -> None:
    first = script().split("\n", 1)[0]
    tables: dict[str, Any] = json.loads(first.removeprefix("const LANGUAGES = ").removesuffix(";"))
    assert set(tables) == set(LANGUAGES)
    assert tables["zh"]["run_render"] == "生成"


def test_work_is_done_in_the_language_of_who_began_it() -> None:
    workshop = Workshop()
    try:
        with speaking("zh"):
            task = workshop.begin(lambda _: {"said": say("undo")})
        while not (now := workshop.look(task.id, 1.0)).final:
            pass
        assert (now.state, now.result) == (TaskState.done, {"said": "撤销"})
    finally:
        workshop.close()


# -- the engine's words ------------------------------------------------------------------------------------------------


def test_the_engine_still_says_what_is_heard() -> None:
    said: set[str] = set()
    for path in [*(ROOT / "engine").rglob("*.py"), *PYTHON]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant | ast.JoinedStr):
                said |= set(_texts(node))
    # a constant of the engine in the middle of a sentence stands in the files as it is
    shapes = [re.compile(re.escape(text).replace(r"\{\}", ".+?"), re.DOTALL) for text in said if "{}" in text]
    for key, text in sentences("en").items():
        if not key.startswith("heard_") or COMPOSED.fullmatch(key):
            continue
        plain = PLACE.sub("{}", text)
        assert plain in said or any(shape.fullmatch(plain) for shape in shapes if shape.pattern != ".+?"), key


def _all_chinese(texts: list[str]) -> list[str]:
    with speaking("zh"):
        return [text for text in texts if re.search(r"[a-z]{3,} [a-z]{2,}", heard(text))]


def test_everything_the_engine_calls_by_name_is_heard() -> None:
    texts = [*STAGES.values(), *(engine_info(name).note for name in engine_names())]
    for entry in entries():
        texts += [entry.purpose, entry.licence, entry.licence_note, *(file.purpose for file in entry.files)]
    assert _all_chinese(texts) == []
    assert [heard(text) for text in texts] == texts  # in English nothing changes


def test_a_forecast_is_heard() -> None:
    seconds = [time_in_words(value) for value in (None, 5.0, 600.0, 9000.0)]
    big = engine_info("lumosx").defaults
    budgets = (
        Budget(ram_bytes=200 * 10**9),
        *(Budget(ram_bytes=60 * 10**9, card_bytes=card * 10**9) for card in (8, 12, 24, 80)),
    )
    plans = [text for budget in budgets for text in in_words(plan_for(big, 4, budget))]
    assert _all_chinese([*seconds, *plans]) == []


def test_what_makes_a_draft_is_heard() -> None:
    settings = {"num_inference_steps": 9, "step_cache": 0.1, "guided_share": 0.5}
    parts = [
        part
        for kind in ("first-block", "magnitude")
        for part in draft_of(resolve_settings("lumosx", step_cache_kind=kind, **settings))
    ]
    assert len(set(parts)) == 4
    assert _all_chinese(parts) == []


def test_problems_of_a_scene_are_heard_and_labels_stay() -> None:
    face = Reference(id="f", role=Role.face, label="face", image="")
    worn = Reference(id="a", role=Role.attribute, label="The face has {name}", image="x")
    scene = Scene(
        prompt="nobody", subjects=(Subject(id="s", face=face, attributes=(worn,)), Subject(id="t", face=None))
    )
    problems = scene.problems()
    assert len(problems) >= 4
    assert _all_chinese([problem.message.replace(worn.label, "“x”") for problem in problems]) == []
    with speaking("zh"):
        assert "“face”没有图片" in heard(problems[[one.code for one in problems].index("picture_missing")].message)
        assert heard(str(SceneError(problems))).endswith("处需要改正。）")
        assert worn.label in " ".join(heard(problem.message) for problem in problems)


def test_what_nobody_knows_stays_as_it_was_said() -> None:
    with speaking("zh"):
        assert heard("A sentence that is not in the files.") == "A sentence that is not in the files."
        assert heard("") == ""
        assert languages.language_now() == "zh"
