"""The user's own LoRAs: kept, listed, damaged, mended, and what a request says of them."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.cancel import CancelToken
from engine.codec import from_json, to_json
from engine.engines import resolve_settings
from engine.errors import Cancelled, InputError, WeightsError
from engine.request import MAX_LORAS, LoraChoice, RenderSettings
from engine.weights import loras as store
from engine.weights.loras import add_lora, check_whole, chosen_loras, lora_named, loras, loras_dir, remove_lora
from tests.unit.tiny_lora import (
    TARGETS,
    original,
    products,
    write,
    write_lora,
)  # fmt: skip

DIGEST = "0" * 64


@pytest.fixture
def own(tiny_model: None, home: Path) -> Path:
    """The folder of LoRAs of a fresh home, whose built-in network is the tiny one."""
    return home / "models" / "loras"


def test_added_listed_found_and_removed(own: Path, tmp_path: Path) -> None:
    assert loras() == ()
    source = write_lora(tmp_path / "Ink & wash: v1.0.safetensors")
    seen: list[tuple[int, int]] = []
    one = add_lora(source, lambda done, total: seen.append((done, total)))
    assert (one.name, one.engines, one.size_bytes) == ("Ink & wash v1.0", ("nano",), source.stat().st_size)
    assert one.digest == hashlib.sha256(source.read_bytes()).hexdigest()
    assert one.path == own / "Ink & wash v1.0.safetensors"
    assert seen[-1] == (one.size_bytes, one.size_bytes)
    assert loras() == (one,)
    assert add_lora(source) == one  # the same file is kept once
    other = add_lora(write_lora(tmp_path / "x" / "ink & WASH v1.0.safetensors", products(seed=9)))
    assert other.name == "ink & WASH v1.0 2"
    assert [lora_named(text) for text in ("ink & wash v1.0", one.digest[:10], f"{other.name}.safetensors")] == [
        one, one, other,
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"no LoRA “etc passwd”: choose one of Ink & wash v1\.0, ink & WASH"):
        lora_named("../../etc/passwd")
    assert remove_lora(one) == one.size_bytes
    assert loras() == (other,)
    assert sorted(path.name for path in own.iterdir()) == [f"{other.name}.json", f"{other.name}.safetensors"]


def test_what_is_no_lora_is_not_kept(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return exec, ("raise SystemExit('it ran')",)

    harm = pickle.dumps(Harmful())
    whole = write_lora(tmp_path / "whole.safetensors").read_bytes()
    for name, data, words in [
        ("a.pt", harm, "can run programs"),
        ("a.safetensors", harm, "is damaged or incomplete"),
        ("b.safetensors", whole[:-5], "is damaged or incomplete"),
        ("c.safetensors", b"", "is damaged or incomplete"),
        ("d.safetensors", (2**40).to_bytes(8, "little") + b"{}", "is damaged or incomplete"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises((InputError, WeightsError), match=words):
            add_lora(tmp_path / name)
    with pytest.raises(InputError, match="no file"):
        add_lora(tmp_path)
    for number, (target, words) in enumerate(
        [("blocks.0.cross_attn.v_img", "another network"), (None, "another size")]
    ):
        wrong = {f"{target or original(TARGETS[0])}.lora_down.weight": torch.ones(1, 5120)}
        wrong[next(iter(wrong)).replace("down", "up")] = torch.ones(5120, 1)
        with pytest.raises(WeightsError, match=words):
            add_lora(write(tmp_path / f"wrong{number}.safetensors", wrong))
    monkeypatch.setattr(store, "MAX_BYTES", 100)
    with pytest.raises(InputError, match="at most 100 bytes"):
        add_lora(tmp_path / "whole.safetensors")
    assert list(own.iterdir()) == []


def test_cancelled_it_leaves_nothing(own: Path, tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled):
        add_lora(write_lora(tmp_path / "a.safetensors"), cancel=cancel)
    assert list(own.iterdir()) == []


@pytest.mark.parametrize(
    "changes", [{"name": "../../other"}, {"name": "b"}, {"digest": "x"}, {"engines": "nano"}, {"path": "/etc/passwd"}]
)
def test_a_record_that_says_something_else_counts_for_nothing(
    own: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    one = add_lora(write_lora(tmp_path / "a.safetensors"))
    record = own / "a.json"
    record.write_text(json.dumps(to_json(one) | changes))
    assert loras() == ()
    record.write_text(json.dumps(to_json(one)))
    assert loras() == (one,)
    record.write_bytes(b"\xff" * 9)
    assert loras() == ()


def test_a_damaged_one_is_told_and_mended_by_adding_it_again(own: Path, tmp_path: Path) -> None:
    source = write_lora(tmp_path / "a.safetensors")
    one = add_lora(source)
    check_whole(one)
    data = bytearray(source.read_bytes())
    data[-1] ^= 1
    one.path.write_bytes(data)
    for again in (False, True):
        with pytest.raises(WeightsError, match="is damaged: add this LoRA's file again"):
            check_whole(one, again=again)
    assert add_lora(source) == one
    check_whole(one)


# -- what a request says of them ---------------------------------------------------------------------------------------


def choice(**changes: Any) -> LoraChoice:
    values: dict[str, Any] = {"name": "style", "digest": DIGEST, "strength": 1.0, **changes}
    return LoraChoice(**values)


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "../../etc/passwd"}, {"digest": "0" * 63}, {"digest": "0" * 63 + "\n"}, {"digest": ""}, {"name": ""},
        {"name": "x" * 201}, {"name": "\x1b[31m"}, {"strength": 4.1}, {"strength": float("nan")},
    ],
)  # fmt: skip
def test_a_choice_names_no_path_and_nothing_out_of_range(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        choice(**changes)


def test_settings_hold_them_and_older_ones_can_be_read() -> None:
    settings = resolve_settings("nano", loras=[{"name": "style", "digest": DIGEST, "strength": 0.5}])
    assert settings.loras == (choice(strength=0.5),)
    data = to_json(settings)
    assert from_json(RenderSettings, data) == settings
    del data["loras"]
    assert from_json(RenderSettings, data).loras == ()
    with pytest.raises(InputError, match="has to be a list"):
        resolve_settings("nano", loras="style")
    with pytest.raises(InputError, match="twice"):
        resolve_settings("nano", loras=(choice(), choice(name="other")))
    with pytest.raises(InputError, match="at most 4"):
        resolve_settings("nano", loras=tuple(choice(digest=f"{n:064x}") for n in range(MAX_LORAS + 1)))


def test_one_that_is_not_here_or_not_for_this_engine_is_told(own: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"“style” is not on this machine: .* or render without it \(`--no-lora`\)"):
        chosen_loras(resolve_settings("nano", loras=(choice(),)))
    assert chosen_loras(resolve_settings("nano", loras=(choice(strength=0.0),))) == ()
    one = add_lora(write_lora(tmp_path / "a.safetensors"))
    # its digest finds it, whatever somebody else called it
    wish = (choice(digest=one.digest, strength=0.5),)
    assert chosen_loras(resolve_settings("nano", loras=wish)) == ((one, 0.5),)
    with pytest.raises(WeightsError, match=r"“a” was not made for LumosX 1\.3B"):
        chosen_loras(resolve_settings("lumosx", loras=wish))
    assert loras_dir() == own
