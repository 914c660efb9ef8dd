"""The page's sentences: both languages complete, every key used, nothing left in the code."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

import pytest

from studio.languages import FOLDER, LANGUAGES, sentences
from studio.theme import PARTS, WEB

ROOT = FOLDER.parent.parent
PLACE = re.compile(r"\{(\w+)\}")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
PYTHON = sorted(path for path in (ROOT / "studio").glob("*.py"))
# Names, file formats and patterns that are the same in both languages
SAME = {
    "format_mp4", "format_webm", "format_gif", "language_en", "language_zh", "presets_path_example", "number_of",
    "facebox_size", "heard_file_vae",
}  # fmt: skip
# Sentences that the engine puts together; test_languages_spoken.py hears them as they are said
COMPOSED = re.compile(r"heard_(plan_\w+|memory_\w+|more_\w+|weights_missing)")


def test_both_languages_hold_the_same_keys_with_the_same_places() -> None:
    for language in LANGUAGES:
        pairs: list[tuple[str, str]] = json.loads(
            (FOLDER / f"{language}.json").read_text(encoding="utf-8"), object_pairs_hook=list
        )
        names = [name for name, _ in pairs]
        assert len(names) == len(set(names))
        assert [name for name, text in pairs if not text.strip(" ") and name not in ("list_comma",)] == []
        assert [name for name, text in pairs if "</" in text] == []
    english, chinese = sentences("en"), sentences("zh")
    assert list(english) == list(chinese)
    counted = {key for key in english if key.endswith("_one")}  # “one” needs no number in words
    for key in english:
        places = [sorted(PLACE.findall(table[key])) for table in (english, chinese)]
        if key in counted:
            places = [[place for place in found if place != "count"] for found in places]
        assert places[0] == places[1], key
    assert [key for key in counted if f"{key[:-3]}many" not in english] == []


def test_chinese_is_chinese() -> None:
    english, chinese = sentences("en"), sentences("zh")
    assert [key for key in english if english[key] == chinese[key] and key not in SAME] == []
    plain = {key: PLACE.sub("", text) for key, text in chinese.items() if key not in SAME and key != "language_tag"}
    assert [key for key, text in plain.items() if not CHINESE.search(text) and re.search("[A-Za-z]", text)] == []
    # the marks of the Chinese script between its words
    assert [key for key, text in plain.items() if re.search(r"[\u4e00-\u9fff][,;:?!.](?![\w/])", text)] == []


# -- what the code asks for --------------------------------------------------------------------------------------------


def _python_calls() -> Iterator[tuple[str, str, str, set[str]]]:
    """Yield (file, function, key, names of values) of each call with a literal key."""
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("say", "say_count"):
                names = {word.arg for word in node.keywords if word.arg}
                branches = (
                    [node.args[0].body, node.args[0].orelse] if isinstance(node.args[0], ast.IfExp) else node.args[:1]
                )
                for literal in branches:
                    if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                        yield path.name, node.func.id, literal.value, names


def _script(part: str) -> str:
    """A part of the script without its comments."""
    text = (WEB / f"{part}.js").read_text(encoding="utf-8")
    return re.sub(r"(?m)(^|\s)//.*$", "", text)


def _values_at(text: str, begin: int) -> set[str]:
    """The names in the object literal that begins at `begin`."""
    depth, names, word = 0, set[str](), ""
    for place in range(begin, len(text)):
        letter = text[place]
        if letter in "{([":
            depth += 1
        elif letter in "})]":
            depth -= 1
        if depth == 1 and letter not in "{}":
            word += letter
        if depth == 0:
            break
    for part in word.split(","):
        found = re.match(r"\s*(?:(\.\.\.)|(\w+))", part)
        if found:
            names.add(found[1] or found[2])
    return names


def _script_calls() -> Iterator[tuple[str, str, str, set[str]]]:
    for part in PARTS[1:]:
        text = _script(part)
        for found in re.finditer(r"\b(say|sayCount)\(", text):
            depth, place = 1, found.end()
            while depth and text[place] != ",":
                depth += {"(": 1, ")": -1}.get(text[place], 0)
                place += 1
            keys = re.findall(r'"(\w+)"', text[found.end() : place])
            rest = text[place : place + 600]
            open_at = re.match(r"(?:,\s*[\w.]+)?,?\s*\{", rest) if text[place] == "," else None
            names = _values_at(text, place + open_at.end() - 1) if open_at else set[str]()
            if re.match(r", \w+\)", rest) and found[1] == "say":
                names = {"..."}  # a value of its own that holds them
            for key in keys:
                yield part, found[1], key, names


def _forms(function: str, key: str) -> tuple[str, ...]:
    return (key,) if function == "say" else (f"{key}_one", f"{key}_many")


def test_every_sentence_that_is_asked_for_is_there_with_its_values() -> None:
    calls = [*_python_calls(), *_script_calls()]
    assert len(calls) > 400
    for file, function, key, names in calls:
        for form in _forms(function, key):
            assert form in sentences("en"), f"{file} asks for {form}"
            wanted = set(PLACE.findall(sentences("en")[form])) - ({"count"} if function != "say" else set[str]())
            assert wanted <= names or "..." in names, f"{file}: {form} lacks {wanted - names}"


def test_no_sentence_is_left_over() -> None:
    texts = [*(_script(part) for part in PARTS), *(path.read_text(encoding="utf-8") for path in PYTHON)]
    literals = {literal for text in texts for literal in re.findall(r'"(\w+)"', text)}
    asked = {form for _, function, key, _ in (*_python_calls(), *_script_calls()) for form in _forms(function, key)}
    about = {f"{key}_{form}" for key in literals if key.startswith(("about_", "bound")) for form in ("one", "many")}
    named = {key for key in sentences("en") if key.startswith(("heard_", "preset_named_"))}
    unused = set(sentences("en")) - named - literals - asked - about
    assert unused == set()


TOKEN = re.compile(r"""//[^\n]*|"(?:\\.|[^"\\\n])*"|/(?![/*\s])(?:\\.|\[[^\]\n]*\]|[^/\\\n])+/[a-z]*(?=[.,;)\s])|`""")
# what stands before a text that no person reads: names of keys, selectors, faults of the program itself
CODE = re.compile(
    r"(?:[!=]==|(?:matches|closest|querySelector(?:All)?|storageOf|Error|matchMedia|includes|startsWith|say|sayCount)\()\s*$"
    r"|say(?:Count)?\([^)]*$|class(?:Name)?(?::| =) [^,;]*$|[sS]tyle\.?\w* = (?:\w+ \? \"[^\"]*\" : )?$|new Map\(\[$"
)
NO_WORDS = {
    "Ctrl+Z", "Ctrl+Shift+Z", "Shift+Ctrl+Z", "LumosX Studio", "Accept-Language", " shared", " kept-person", "bar open",
    "small strong", "preview {}", "engine {}", "rgb(16 15 14 / 70%)", "rgb(16 15 14 / 80%)",
}  # fmt: skip


def _literals(text: str) -> Iterator[tuple[str, str]]:
    """Yield (what stands before it, the text) of each literal of a script; a value in a template is {}."""
    place = 0
    while found := TOKEN.search(text, place):
        place = found.end()
        before = text[max(0, found.start() - 60) : found.start()]
        if found[0].startswith('"'):
            yield before, found[0][1:-1]
        elif found[0] == "`":
            place, written, inside = _template(text, place)
            yield before, written
            for part in inside:
                yield from _literals(part)


def _template(text: str, place: int) -> tuple[int, str, list[str]]:
    """Read a template from behind its first mark: (where it ends, its text, the code inside)."""
    written, inside = "", list[str]()
    while text[place] != "`":
        if not text.startswith("${", place):
            written += text[place]
            place += 1
            continue
        begin, depth, place = place + 2, 1, place + 2
        while depth:
            if text[place] == "`":
                place = _template(text, place + 1)[0] - 1
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            place += 1
        inside.append(text[begin : place - 1])
        written += "{}"
    return place + 1, written, inside


def _english(text: str) -> list[str]:
    """The literals of a script that read like English: a capital with a small letter behind it, or several words."""
    return [
        literal
        for before, literal in _literals(text)
        if literal not in NO_WORDS and not CODE.search(before)
        if re.search(r"[A-Z][a-z]", literal) or re.search(r"[a-z]{2}[,.:;!?…]? | [a-z]{2}", literal)
    ]


@pytest.mark.parametrize("part", PARTS)
def test_no_english_is_left_in_the_script(part: str) -> None:
    assert _english((WEB / f"{part}.js").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        'h("button", { class: "plain" }, "Cancel")', '{ title: "Remove from here" }', 'write(line, "all is well");',
        'node.title = `Options of ${owner.title}`;', 'const words = { none: "nothing to see here" };',
        'sentence(fault, `${say("undo")} failed`);', 'write(a, `x${one ? "Take it" : ""}`);',
    ],
)  # fmt: skip
def test_english_in_a_script_would_be_noticed(line: str) -> None:
    assert len(_english(line)) == 1


def test_no_english_is_left_in_the_style() -> None:
    for path in WEB.glob("*.css"):
        assert re.findall(r"content:\s*\"[^\"]*[a-z]{2}[^\"]*\"", path.read_text(encoding="utf-8")) == []


# What nobody at a page can cause, what is said before a page is there, and what threads say that know no page
UNHEARD = {
    "access.py",
    "job_file.py",
    "languages.py",
    "app.py",
    "shell.py",
    "programs.py",
    "bench.py",
    "bench_measurements.py",
    "instance.py",
    "browser.py",
}


def test_no_english_is_left_in_the_studios_faults() -> None:
    left: list[str] = []
    known = [re.sub(r"\{\w+\}", "{}", text) for key, text in sentences("en").items() if key.startswith("heard_")]
    for path in PYTHON:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if path.name in UNHEARD or not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
                continue
            said = [text for argument in node.exc.args for text in _texts(argument)]
            left += [f"{path.name}: {text}" for text in said if " " in text and text not in known]
    assert [one for one in left if not one.startswith("jobs.py: the engine ended")] == []


def _texts(node: ast.AST) -> Iterator[str]:
    """The sentences in a piece of code, each place as {}."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id.startswith("say"):
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
        yield re.sub(r"(\{\})+", "{}", "".join(parts))
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)
