"""What a Space's variables say: where to listen, who may come in, where to keep things."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import InputError
from studio.space import PORT, keep_on_the_space, on_a_space, space_access, space_address


def test_a_space_is_known_by_its_name_and_says_where_to_listen() -> None:
    assert not on_a_space({})
    assert on_a_space({"SPACE_ID": "somebody/lumosx"})
    assert space_address({}) == ("0.0.0.0", PORT)
    assert space_address({"GRADIO_SERVER_PORT": "7861"}) == ("0.0.0.0", 7861)
    assert space_address({"GRADIO_SERVER_PORT": "none"}) == ("0.0.0.0", PORT)


def test_everybody_may_come_in_unless_its_secret_is_a_password() -> None:
    assert space_access({}).password is None
    assert space_access({"LUMOSX_PASSWORD": "a long word"}).password == "a long word"
    assert space_access({}).framed
    with pytest.raises(InputError, match="at least 8"):
        space_access({"LUMOSX_PASSWORD": "short"})


def test_things_are_kept_where_the_space_has_storage(tmp_path: Path) -> None:
    kept = tmp_path / "data"
    variables: dict[str, str] = {}
    keep_on_the_space(variables, kept)
    assert variables == {}  # it has none
    kept.mkdir()
    keep_on_the_space(variables, kept)
    assert variables == {"LUMOSX_HOME": str(kept / "lumosx-studio")}
    chosen = {"LUMOSX_HOME": "/elsewhere"}
    keep_on_the_space(chosen, kept)
    assert chosen == {"LUMOSX_HOME": "/elsewhere"}
