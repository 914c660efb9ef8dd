"""The sentences a page shows, in the language of its reader. They stand in `studio/languages/`, one file each.

Both files hold the same keys. `{name}` in a sentence is a place for a value; sentences that count something come as
two: `…_one` for exactly one, `…_many` for the rest. The page's script has the same rules (`web/language.js`).

What the engine says is English and knows no page. Keys that begin with `heard_` hold such sentences word by word, so
that a page can show them in its language (`heard`); what is not among them is shown as the engine said it.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

FOLDER = Path(__file__).parent / "languages"
LANGUAGES = ("en", "zh")
"""The first one is spoken where nobody has chosen: in the terminal, to programs, in what is kept on disk."""

_HEARD = "heard_"
_PLACE = re.compile(r"\{(\w+)\}")
_spoken: ContextVar[str] = ContextVar("lumosx_language", default=LANGUAGES[0])


@functools.cache
def sentences(language: str) -> Mapping[str, str]:
    """All sentences of a language by their keys."""
    return json.loads((FOLDER / f"{language}.json").read_text(encoding="utf-8"))


def language_of(wish: object) -> str:
    """The language for what a browser or a message names (`zh-CN`, `de, en;q=0.5`); English for any but Chinese."""
    return "zh" if isinstance(wish, str) and wish.strip().lower().startswith("zh") else LANGUAGES[0]


@contextmanager
def speaking(language: str) -> Generator[None]:
    """Within, `say` and `heard` speak this language, in this thread and in what it hands its context to."""
    token = _spoken.set(language if language in LANGUAGES else LANGUAGES[0])
    try:
        yield
    finally:
        _spoken.reset(token)


def language_now() -> str:
    """The language that is spoken now."""
    return _spoken.get()


def say(key: str, **values: object) -> str:
    """The sentence of this key with its values; `KeyError` for a key or a value that is missing."""
    return filled(sentences(language_now())[key], values)


def say_count(key: str, count: int, **values: object) -> str:
    """The sentence `key_one` or `key_many`, whose `{count}` is the number."""
    return say(f"{key}_one" if count == 1 else f"{key}_many", count=count, **values)


def filled(sentence: str, values: Mapping[str, object]) -> str:
    """The sentence with its places filled; braces inside of a value mean nothing."""
    return _PLACE.sub(lambda place: str(values[place[1]]), sentence)


def heard(text: str) -> str:
    """A sentence of the engine in the language that is spoken, if the files hold it, else as it is."""
    if language_now() == LANGUAGES[0] or not text:
        return text
    for key, pattern in _patterns():
        match = pattern.fullmatch(text)
        if match is not None:
            # only some values are the engine's own words: what the user has written stays as it is
            values = {
                name: heard(value) if name.startswith(_HEARD) else value for name, value in match.groupdict().items()
            }
            return filled(sentences(language_now())[key], values)
    return text


@functools.cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """What the engine may say, those with the most words of their own first: the nearest sentence is the one meant."""
    known = [(key, text) for key, text in sentences(LANGUAGES[0]).items() if key.startswith(_HEARD)]
    known.sort(key=lambda item: len(_PLACE.sub("", item[1])), reverse=True)
    return tuple((key, _pattern(text)) for key, text in known)


def _pattern(sentence: str) -> re.Pattern[str]:
    parts = _PLACE.split(sentence)  # every second one is the name of a place
    written = [re.escape(part) if not number % 2 else f"(?P<{part}>.+?)" for number, part in enumerate(parts)]
    return re.compile("".join(written), re.DOTALL)


def for_script() -> str:
    """All languages as the page's script begins with them."""
    tables = json.dumps({language: sentences(language) for language in LANGUAGES}, ensure_ascii=False)
    return f"const LANGUAGES = {tables};"
