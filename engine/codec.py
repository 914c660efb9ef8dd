"""Frozen dataclasses to JSON types and strictly back, driven by their annotations alone.

Understands: str, int, float, bool, None, bytes (base64), pathlib.Path, StrEnum, Literal, tuple[X, ...], tuple[X, Y],
dict[str, X], X | Y, and dataclasses of these. Strict both ways round: an unknown field, a missing field or a value of
another type is an `InputError` that names the place. In a union the first member that fits wins, so members must differ
in type or in the names of their fields.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import enum
import functools
import math
import re
import types
import typing
from pathlib import Path
from typing import Any, TypeVar, cast

from engine.errors import InputError

T = TypeVar("T")
Json = Any  # dict, list, str, int, float, bool or None, nested; recursive aliases only confuse the reader

MAX_ITEMS = 1000
"""Of a list or an object; more than anybody arranges, and few enough that no question about a value takes long."""
_HALF_PAIR = re.compile("[\ud800-\udfff]")


LATER = "later"
"""Mark of a field (in its metadata) that came after files had been written: where it is missing its default holds."""


def to_json(value: object) -> Json:
    """Turn a value into dicts, lists, strings, numbers, booleans and None, ready for `json.dumps`.

    Raises TypeError for what the codec does not know (a fault of the program, never of the user).
    """
    match value:
        case None | bool():
            return value
        case enum.Enum():
            return to_json(value.value)
        case str() | int():
            return value
        case float():
            if not math.isfinite(value):
                raise TypeError(f"{value} cannot be written as JSON")
            return value
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case Path():
            return str(value)
        case tuple():
            return [to_json(item) for item in cast("tuple[object, ...]", value)]
        case dict():
            return {str(key): to_json(item) for key, item in cast("dict[object, object]", value).items()}
        case _:
            if dataclasses.is_dataclass(value) and not isinstance(value, type):
                return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
            raise TypeError(f"{type(value).__name__} has no JSON form")


def from_json(cls: type[T] | types.UnionType, data: Json) -> T:
    """Build a `cls` from what `to_json` gave. Raises `InputError` with the place of the first fault.

    Checks that belong to the values themselves (a `RenderRequest` of an incomplete scene) raise their own `UserError`.
    """
    return cast(T, _read(cls, data, ""))


def _read(annotation: Any, data: Json, place: str) -> Any:
    if annotation is None or annotation is type(None):
        return _expect(data is None, None, "null", data, place)
    origin = typing.get_origin(annotation)
    if origin in (types.UnionType, typing.Union):
        return _read_union(typing.get_args(annotation), data, place)
    if origin is typing.Literal:
        options = typing.get_args(annotation)
        hit = any(type(data) is type(option) and data == option for option in options)
        return _expect(hit, data, "one of " + ", ".join(str(option) for option in options), data, place)
    if origin is tuple:
        return _read_tuple(typing.get_args(annotation), data, place)
    if origin is dict:
        return _read_dict(typing.get_args(annotation)[1], data, place)
    if dataclasses.is_dataclass(annotation):
        return _read_dataclass(cast(type[Any], annotation), data, place)
    if isinstance(annotation, type) and issubclass(annotation, enum.StrEnum):
        names = [member.value for member in annotation]
        _expect(isinstance(data, str) and data in names, data, "one of " + ", ".join(names), data, place)
        return annotation(data)
    return _read_plain(annotation, data, place)


def _read_plain(annotation: Any, data: Json, place: str) -> Any:
    if annotation is str:
        return _expect(isinstance(data, str) and _is_text(data), data, "text", data, place)
    if annotation is bool:
        return _expect(isinstance(data, bool), data, "true or false", data, place)
    if annotation is int:
        return _expect(isinstance(data, int) and not isinstance(data, bool), data, "a whole number", data, place)
    if annotation is float:
        number = isinstance(data, int | float) and not isinstance(data, bool)
        _expect(number and abs(data) <= 1e300, data, "a number", data, place)  # also keeps out infinities and NaN
        return float(data)
    if annotation is bytes:
        _expect(isinstance(data, str), data, "base64 text", data, place)
        try:
            return base64.b64decode(data, validate=True)
        except (binascii.Error, ValueError):
            return _expect(False, None, "base64 text", data, place)
    if annotation is Path:
        _expect(isinstance(data, str) and "\0" not in data and _is_text(data), data, "a path", data, place)
        return Path(data)
    raise TypeError(f"{annotation!r} is not a type the codec knows")


def _read_union(members: tuple[Any, ...], data: Json, place: str) -> Any:
    faults: list[InputError] = []
    for member in members:
        try:
            return _read(member, data, place)
        except InputError as fault:
            faults.append(fault)
    if data is None or len(members) == 1:
        raise faults[0]
    # Of `X | None` the fault of X says more than "expected null".
    spoken = [fault for member, fault in zip(members, faults, strict=True) if member is not type(None)]
    raise (spoken[0] if len(spoken) == 1 else InputError(f"{_at(place)} fits none of the forms that may stand there."))


def _read_tuple(items: tuple[Any, ...], data: Json, place: str) -> tuple[Any, ...]:
    _expect(isinstance(data, list), data, "a list", data, place)
    _check_length(data, place)
    if len(items) == 2 and items[1] is Ellipsis:
        return tuple(_read(items[0], item, f"{place}[{number}]") for number, item in enumerate(data))
    _expect(len(data) == len(items), data, f"a list of {len(items)}", data, place)
    pairs = zip(items, data, strict=True)
    return tuple(_read(kind, item, f"{place}[{number}]") for number, (kind, item) in enumerate(pairs))


def _read_dict(item_type: Any, data: Json, place: str) -> dict[str, Any]:
    _expect(isinstance(data, dict), data, "an object", data, place)
    _check_length(data, place)
    for key in data:
        _read_plain(str, key, place)
    return {key: _read(item_type, item, f"{place}.{key}" if place else key) for key, item in data.items()}


def _read_dataclass(cls: type[Any], data: Json, place: str) -> Any:
    _expect(isinstance(data, dict), data, "an object", data, place)
    hints = _hints(cls)
    later = {field.name for field in dataclasses.fields(cls) if field.metadata.get(LATER)}
    missing = [name for name in hints if name not in data and name not in later]
    if missing:
        raise InputError(f"{_at(place)} lacks the field “{missing[0]}”.")
    unknown = [str(name) for name in data if name not in hints]
    if unknown:
        raise InputError(f"{_at(place)} has a field “{_visible(unknown[0], 40)}” that is not known here.")
    values = {
        name: _read(kind, data[name], f"{place}.{name}" if place else name)
        for name, kind in hints.items()
        if name in data
    }
    return cls(**values)


@functools.cache
def _hints(cls: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _check_length(data: Json, place: str) -> None:
    if len(data) > MAX_ITEMS:
        raise InputError(f"{_at(place)} has {len(data)} entries; {MAX_ITEMS} at most can be read.")


def _is_text(data: str) -> bool:
    """JSON may smuggle in half a surrogate pair, which no file and no font can hold."""
    return _HALF_PAIR.search(data) is None


def _expect(fits: bool, value: Any, wanted: str, data: Json, place: str) -> Any:
    if fits:
        return value
    if isinstance(data, dict | list):
        shown = "an object" if isinstance(data, dict) else "a list"
    else:
        shown = repr(data[:60] if isinstance(data, str) else data)
    raise InputError(f"{_at(place)} should be {wanted}, not {_visible(shown, 60)}.")


def _at(place: str) -> str:
    return f"The field “{_visible(place, 120)}”" if place else "The data"


def _visible(text: str, num_chars: int) -> str:
    return text[:num_chars].encode("utf-8", "backslashreplace").decode()
