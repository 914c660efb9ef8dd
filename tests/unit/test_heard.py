"""Sentences of the engine on a Chinese page: each has a Chinese form, and a new one without is noticed. Also what
stands before the page, and the presets that come with the program."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from starlette.applications import Starlette
from starlette.testclient import TestClient

from engine.codec import from_json, to_json
from engine.engines import resolve_settings
from engine.errors import InputError, WeightsError
from engine.paths import builtin_presets_dir
from engine.pictures import PictureStore
from engine.rendering import AGAIN, LEANER
from engine.scene import Scene
from engine.weights.convert import convert_bundle
from studio import languages
from studio.guards import middleware
from studio.languages import heard, sentences, speaking
from studio.library import Library, spoken, title_key
from studio.visitors import Visitors
from tests.unit.test_languages import CHINESE, ROOT, _texts
from tests.unit.tiny_bundle import vae_state, write_bundle

# Errors whose sentence a user reads, and what their sentences are made of
SAID_BY = {
    "UserError", "PictureError", "InputError", "OutputError", "WeightsError", "MachineError", "Sentences", "Notice",
}  # fmt: skip
# Functions that put one of their arguments into a sentence, and which one
SAID_IN = {"check_space": 2}
# What nothing that a page starts loads (a test below holds that): the terminal is told in English, and so is who makes,
# trains, measures and compares models there
ENGLISH_ONLY = {"cli", "bench", "nano", "parity"}
# Sentences that are put together; the tests of the forecast, of a scene and of attention hear them, and those that are
# passed on
PUT_TOGETHER = {"memory/plan.py: _refusal", "asking.py: self", "weights/install.py: now", "runtime.py: attention"}
# What a place may hold besides words of the engine
VALUES = re.compile(r"\{\w*\}(x\{\})?")


def _said(node: ast.expr, module: ast.Module) -> Iterator[str]:
    """The sentences that an expression can be, looked up in its module; what cannot be found out as ?name."""
    match node:
        case ast.Constant(value=str()):
            yield from _texts(node)
        case ast.JoinedStr(values=parts):
            yield from _texts(ast.JoinedStr([_constant(part, module) for part in parts]))
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


def _constant(part: ast.expr, module: ast.Module) -> ast.expr:
    """A place of a sentence, or the text that the module always puts there."""
    match part:
        case ast.FormattedValue(value=ast.Name(id=name)):
            for one in module.body:
                if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == name:
                    return one.value if isinstance(one.value, ast.Constant) else part
            return part
        case _:
            return part


def _engine_sentences() -> Iterator[tuple[str, str]]:
    """Yield (file, sentence with {} for its values) of all that the engine says to a user of the page."""
    for path in sorted((ROOT / "engine").rglob("*.py")):
        name = path.relative_to(ROOT / "engine").as_posix()
        if name.split("/")[0] in ENGLISH_ONLY:
            continue
        module = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(module):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            values = [*node.args, *(word.value for word in node.keywords)] if node.func.id in SAID_BY else []
            if node.func.id in SAID_IN:
                values = [node.args[SAID_IN[node.func.id]]]
            for value in values:
                for text in _said(value, module):
                    yield name, text


def _unheard(text: str) -> str:
    """What no pattern knows of a sentence that has {} for its values: the sentence, words that a pattern takes for a
    value, or nothing."""
    found = (pattern.fullmatch(text) for _, pattern in languages._patterns())
    match = next((one for one in found if one is not None), None)
    if match is None:
        return text
    for name, value in match.groupdict().items():
        if re.search("[A-Za-z]", VALUES.sub("", value)) and (not name.startswith("heard_") or _unheard(value)):
            return f"{text} ({name}: {value})"
    return ""


def test_whatever_the_engine_says_to_a_user_has_a_chinese_form() -> None:
    said = set(_engine_sentences())
    assert len(said) > 150
    left = {f"{name}: {unheard}" for name, text in said if not text.startswith("?") and (unheard := _unheard(text))}
    assert left == set()
    assert {f"{name}: {text[1:]}" for name, text in said if text.startswith("?")} == PUT_TOGETHER


def test_words_that_a_pattern_takes_for_a_value_would_be_noticed() -> None:
    assert _unheard("{} is missing: {}.") == ""
    assert _unheard("{} is missing: buy another one.")
    assert _unheard("{} is missing: download that file again.") == ""
    assert _unheard("There is no copy of {}: check the path.")
    assert _unheard("A new sentence.") == "A new sentence."


def _modules(path: Path) -> Iterator[str]:
    """What a file imports, or starts by the name of its module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                yield from (one.name for one in names)
            case ast.ImportFrom(module=str() as module, names=names):
                yield from (f"{module}.{one.name}" for one in names)
            case ast.Constant(value=str() as text):
                yield text
            case _:
                pass


def test_what_stays_english_is_nothing_that_a_page_starts() -> None:
    terminal = re.compile(rf"engine\.({'|'.join(ENGLISH_ONLY)})\b(\.\w+)?")
    loaded = {
        f"{path.name}: {found[0]}"
        for path in [*(ROOT / "engine").rglob("*.py"), *(ROOT / "studio").rglob("*.py")]
        if path.relative_to(ROOT).parts[1] not in ENGLISH_ONLY
        for name in _modules(path)
        if (found := terminal.match(name))
    }
    # What `studio` and `bench studio` are called with, in a terminal; `doctor --json`, whose figures go into a report
    assert loaded == {
        "app.py: engine.cli.parser",
        "bench_server.py: engine.cli.parser",
        "reports.py: engine.cli.main",
    }


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
        "The download with its one-time conversion needs 3 GB in /a, but only 1 GB are free: free 2 GB or set "
        "LUMOSX_HOME to a folder on a larger disk.",
        "The card has too little free memory for the text encoder: close other programs or choose another profile.",
        LEANER,
        AGAIN,
    ]
    with speaking("zh"):
        plain = [re.sub("`.*?`", "", heard(text)) for text in texts]  # commands are typed as they are
        assert [text for text in plain if re.search(r"[a-z]{3,} [a-z]{2,}", text)] == []
        assert heard(texts[0]) == "无法读取短片的制作信息：字段“prompt”应为文本，而不是 3。"
        assert "点“修复”" in heard(texts[3])


def _hostile(folder: Path) -> None:
    (folder / "LumosX_models" / "all" / ".metadata").write_bytes(b"cposix\nmkdir\n.")


def _of_another_model(folder: Path) -> None:
    torch.save({"model_state": {**vae_state(), "decoder.extra": torch.ones(2)}}, folder / "vae.pth")


def _truncated(folder: Path) -> None:
    file = next((folder / "LumosX_models" / "all").glob("*.distcp"))
    file.write_bytes(file.read_bytes()[:-10])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_hostile, ".metadata 要求调用 posix.mkdir，这样的文件可能会运行程序，因此没有读取：请使用发布的文件"),
        (_of_another_model, "vae.pth 中的 decoder.extra 是 LumosX 所没有的：请使用发布的文件（在页面的“模型”中点"),
        (_truncated, ".distcp 已损坏或不完整：请重新下载该文件。"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_files_of_the_users_own_is_heard(
    damage: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    folder = write_bundle(tmp_path / "own")
    damage(folder)
    with pytest.raises(WeightsError) as caught:
        convert_bundle(folder, tmp_path / "model")
    with speaking("zh"):
        assert words in heard(str(caught.value))


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
