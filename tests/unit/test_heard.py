"""Sentences of the engine on a Chinese page: each has a Chinese form, and a new one without is noticed. Also what
stands before the page, and the presets that come with the program."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from engine.codec import from_json, to_json
from engine.engines import resolve_settings
from engine.errors import InputError
from engine.paths import builtin_presets_dir
from engine.pictures import PictureStore
from engine.rendering import AGAIN, LEANER
from engine.scene import Scene
from studio import languages
from studio.guards import middleware
from studio.languages import heard, sentences, speaking
from studio.library import Library, spoken, title_key
from studio.visitors import Visitors
from tests.unit.test_languages import CHINESE, ROOT, _texts

# Errors whose sentence a user reads, and what their sentences are made of
SAID_BY = {
    "UserError", "PictureError", "InputError", "OutputError", "WeightsError", "MachineError", "Sentences", "Notice",
}  # fmt: skip
# What only makes, trains, measures and compares models; and what reads a checkpoint that somebody else has made
ENGLISH_ONLY = {"cli", "bench", "nano", "parity"}
ENGLISH_FILES = {f"weights/{name}.py" for name in ("bundle", "checkpoints", "convert", "dcp", "original")}
# Sentences that are put together; the tests of the forecast, of a scene and of attention hear them, and those that are
# passed on
PUT_TOGETHER = {"memory/plan.py: _refusal", "asking.py: self", "weights/install.py: now", "runtime.py: attention"}


def _said(node: ast.expr, module: ast.Module) -> Iterator[str]:
    """The sentences that an expression can be, looked up in its module; what cannot be found out as ?name."""
    match node:
        case ast.Constant(value=str()) | ast.JoinedStr():
            yield from _texts(node)
        case ast.IfExp():
            yield from _said(node.body, module)
            yield from _said(node.orelse, module)
        case ast.Name(id=name):
            values = [
                one.value for one in module.body if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == name
            ]
            yield from (_said(values[0], module) if values else iter([f"?{name}"]))
        case ast.Call(func=ast.Name(id=name)):
            bodies = [one for one in module.body if isinstance(one, ast.FunctionDef) and one.name == name]
            values = [
                one.value for body in bodies for one in ast.walk(body) if isinstance(one, ast.Return) and one.value
            ]
            plain = [value for value in values if isinstance(value, ast.Constant | ast.JoinedStr | ast.IfExp)]
            if not plain or name == "_refusal":
                yield f"?{name}"
            for value in plain if name != "_refusal" else ():
                yield from _said(value, module)
        case _:
            yield f"?{ast.unparse(node).split('.')[0]}"


def _engine_sentences() -> Iterator[tuple[str, str]]:
    """Yield (file, sentence with {} for its values) of all that the engine says to a user of the page."""
    for path in sorted((ROOT / "engine").rglob("*.py")):
        name = path.relative_to(ROOT / "engine").as_posix()
        if name.split("/")[0] in ENGLISH_ONLY or name in ENGLISH_FILES:
            continue
        module = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in SAID_BY:
                for value in [*node.args, *(word.value for word in node.keywords)]:
                    for text in _said(value, module):
                        yield name, text


def test_whatever_the_engine_says_to_a_user_has_a_chinese_form() -> None:
    said = set(_engine_sentences())
    assert len(said) > 150
    known = [languages._pattern(text) for key, text in sentences("en").items() if key.startswith("heard_")]
    left = {
        f"{name}: {text}"
        for name, text in said
        if not text.startswith("?") and not any(one.fullmatch(text) for one in known)
    }
    assert left == set()
    assert {f"{name}: {text[1:]}" for name, text in said if text.startswith("?")} == PUT_TOGETHER


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('raise InputError("Not this.")', {"Not this."}),
        ('raise InputError(f"Not {a}{b}.") from error', {"Not {}."}),
        ('_A = "Never."\nraise InputError(_A if x else f"{y} now.")', {"Never.", "{} now."}),
        ('def _why(x):\n    return f"Too {x}."\nraise InputError(_why(3))', {"Too {}."}),
        ("raise InputError(made.somewhere)", {"?made"}),
    ],
)
def test_a_new_sentence_of_the_engine_would_be_noticed(source: str, said: set[str]) -> None:
    module = ast.parse(source)
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call) and ast.unparse(node.func) == "InputError"]
    assert set(_said(calls[0].args[0], module)) == said


def test_what_is_wrong_with_a_file_is_heard_to_its_last_word() -> None:
    with pytest.raises(InputError) as field:
        from_json(Scene, {**to_json(Scene(prompt="a")), "prompt": 3})
    with pytest.raises(InputError) as setting:
        resolve_settings("nano", width="wide")
    repair = "press Repair on the page's Models, or run `python3 launcher.py weights download lumosx` again"
    texts = [
        f"The clip's recipe cannot be read: {field.value}",
        str(setting.value),
        f"/a/b is damaged: {repair} (`weights convert FOLDER` if you have the files).",
        f"/a/b is missing: {repair}.",
        "The download needs 3 GB in /a, but only 1 GB are free: free 2 GB or set LUMOSX_HOME to a folder on a larger "
        "disk.",
        LEANER,
        AGAIN,
    ]
    with speaking("zh"):
        plain = [re.sub("`.*?`", "", heard(text)) for text in texts]  # commands are typed as they are
        assert [text for text in plain if re.search(r"[a-z]{3,} [a-z]{2,}", text)] == []
        assert heard(texts[0]) == "无法读取短片的配方：字段“prompt”应为文本，而不是 3。"
        assert "按“修复”" in heard(texts[3])


# -- what stands before a page, and what comes with the program --------------------------------------------------------


def test_presets_that_come_with_the_program_have_a_title_in_each_language(tmp_path: Path) -> None:
    names = [path.name for path in builtin_presets_dir().iterdir() if path.is_dir()]
    assert len(names) >= 4
    assert {title_key(name) for name in names} == {key for key in sentences("en") if key.startswith("preset_named_")}
    assert [sentences("en")[title_key(name)] for name in names] == [spoken(name) for name in names]
    shutil.copytree(builtin_presets_dir() / names[0], tmp_path / "own" / "02-stripes-and-squares")
    library = Library(PictureStore(tmp_path / "pictures"), lambda: tmp_path / "own")
    titles = {entry.name: entry.title for entry in library.presets()}
    with speaking("zh"):
        chinese = {entry.name: entry for entry in library.presets()}
        assert library.open_preset("04-a-hat-and-a-lamp").title == sentences("zh")["preset_named_a_hat_and_a_lamp"]
    assert titles.keys() == chinese.keys()
    own = "02-stripes-and-squares"
    assert chinese[own].own
    assert chinese[own].title == titles[own] == "Stripes and squares"  # the user's own stays as it was written
    assert all(CHINESE.search(entry.title) for name, entry in chinese.items() if name != own)
    assert all(entry.title in entry.words for name, entry in chinese.items() if name != own)


def test_what_stands_before_the_page_speaks_the_language_of_the_request(tmp_path: Path) -> None:
    visitors = Visitors(lambda *_: pytest.fail("nobody comes in"), lambda _: True, password="a long word")
    app = Starlette(middleware=middleware("127.0.0.1", visitors))
    try:
        with TestClient(app, base_url="http://127.0.0.1:7860") as client:
            pages = {
                language: [
                    client.get("/"),
                    client.post("/studio/enter", data={"password": "wrong"}),
                    client.get("/studio/picture/x"),
                    client.get("/gradio_api/file=x"),
                    client.get("/", headers={"Host": "evil.example"}),
                    client.post("/", headers={"Origin": "http://evil.example"}),
                ]
                for language in ("zh-CN,zh;q=0.9", "de")
                if client.headers.update({"Accept-Language": language}) is None
            }
    finally:
        visitors.close()
    chinese, english = pages.values()
    assert [page.status_code for page in chinese] == [page.status_code for page in english] == [
        200, 403, 401, 404, 400, 403
    ]  # fmt: skip
    assert '<html lang="zh' in chinese[0].text
    assert '<html lang="en' in english[0].text
    for one, other in zip(chinese, english, strict=True):
        tags = re.compile(r"<style>.*?</style>|<[^>]*>|LumosX Studio", re.DOTALL)
        plain = [tags.sub("", page.text) for page in (one, other)]
        assert CHINESE.search(plain[0])
        assert not re.search("[A-Za-z]{2}", plain[0])
        assert re.search("[A-Za-z]{2}", plain[1])
        assert not CHINESE.search(plain[1])
