"""Visitors of a shared studio: their cookies, limits and rooms, and what becomes of those who are gone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.errors import InputError
from engine.pictures import PictureStore
from engine.request import RenderRequest
from studio.access import access_for
from studio.backend import Backend
from studio.guards import known_names
from studio.home import home_of, personal_home, visitor_home
from studio.job_store import JobStore
from studio.jobs import JobQueue
from studio.limits import Allowance, Limits
from studio.models_desk import ModelsDesk
from studio.room import Room
from studio.visitor_queue import VisitorQueue
from studio.visitors import Visitors, homes
from tests.unit.tiny_studio import tiny_request

SMALL = Limits(jobs=3, pixels_per_hour=10_000, kept_bytes=1000, visitors=2, days=3)
ANNA, BEN, CLEO = (sign * 32 for sign in "abc")


class _House:
    """A shared studio without a server; nothing renders in it."""

    def __init__(self, folder: Path, password: str | None = None, limits: Limits = SMALL) -> None:
        self.now = 0.0
        self.store = JobStore(folder / "studio.sqlite3")
        self.pictures = PictureStore(folder / "pictures")
        self.queue = JobQueue(lambda: pytest.fail("nothing is rendered"), self.pictures, lambda: folder, self.store)
        self.made: list[str] = []
        self.visitors = Visitors(
            self._room, self.queue.forget_visitor, password=password, limits=limits, clock=lambda: self.now
        )

    def _room(self, visitor: str, allowance: Allowance) -> Room:
        self.made.append(visitor)
        backend = Backend(make_engine=lambda: pytest.fail("no"), missing_weights=lambda _: None)
        return Room(
            home=lambda: home_of(visitor),
            queue=VisitorQueue(self.queue, visitor, allowance),
            backend=backend,
            models=ModelsDesk(local=False),
            allowance=allowance,
        )

    def clear(self) -> int:
        """Look for homes that are old, and again an hour later."""
        assert self.visitors.clear_departed() == 0
        self.now += 3600
        return self.visitors.clear_departed()

    def leave(self, visitor: str, days: float) -> None:
        """Let a visitor's home look as if nobody had opened it for so long."""
        self.now += 3600
        self.visitors.close_idle()
        then = time.time() - days * 86_400
        os.utime(visitor_home(visitor).root, (then, then))

    def close(self) -> None:
        self.visitors.close()
        self.store.close()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_House]:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path))
    house = _House(tmp_path)
    yield house
    house.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_a_studio_on_loopback_is_its_owners(host: str) -> None:
    assert access_for(host, None, False, {"LUMOSX_PASSWORD": "long enough"}) is None
    shared = access_for(host, "long enough", False, {})
    assert shared is not None
    assert shared.password == "long enough"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "studio.example"])
def test_others_come_in_only_where_that_was_said(host: str) -> None:
    with pytest.raises(InputError, match=r"--password WORD .*LUMOSX_PASSWORD.* --open-to-everyone"):
        access_for(host, None, False, {})
    with pytest.raises(InputError, match="at least 8"):
        access_for(host, None, False, {"LUMOSX_PASSWORD": "short"})
    by_variable = access_for(host, None, False, {"LUMOSX_PASSWORD": "long enough"})
    everyone = access_for(host, None, True, {"LUMOSX_PASSWORD": "long enough"})
    assert by_variable is not None
    assert everyone is not None
    assert (by_variable.password, everyone.password) == ("long enough", None)


def test_a_server_on_all_addresses_goes_by_known_names_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMOSX_NAMES", "studio.example, Other.Example")
    names = known_names("0.0.0.0")
    assert {"127.0.0.1", "localhost", "::1", "studio.example", "other.example"} <= names
    assert "" not in names
    monkeypatch.delenv("LUMOSX_NAMES")
    assert known_names("192.168.0.7") == {"127.0.0.1", "localhost", "::1", "192.168.0.7"}


def test_a_pass_is_known_and_nothing_else(house: _House) -> None:
    value = house.visitors.new_pass()
    visitor = house.visitors.known(value)
    assert visitor is not None
    for other in (None, "", ".", value[:-1], value.replace(visitor, ANNA), f"../{value}", value + "é", visitor):
        assert house.visitors.known(other) is None


def test_a_pass_of_another_password_opens_nothing(house: _House, tmp_path: Path) -> None:
    value = house.visitors.new_pass()
    again = _House(tmp_path)
    locked = _House(tmp_path, password="a long word")
    assert again.visitors.known(value) is not None
    assert locked.visitors.known(value) is None
    assert locked.visitors.admits("a long word")
    assert not locked.visitors.admits("")
    assert not again.visitors.admits("")
    again.close()
    locked.close()


def test_rooms_lie_apart_and_no_more_than_there_may_be(house: _House) -> None:
    anna, ben = house.visitors.room(ANNA), house.visitors.room(BEN)
    picture = anna.pictures.add_mask(np.full((8, 8), 255, np.uint8))
    assert picture not in ben.pictures
    assert picture not in house.pictures
    assert Path(anna.pictures.root).parent == visitor_home(ANNA).root
    assert house.visitors.room(ANNA) is anna
    with pytest.raises(InputError, match="come back another day"):
        house.visitors.room(CLEO)
    assert sorted(path.name for path in homes()) == [ANNA, BEN]
    assert personal_home().root == visitor_home(ANNA).root.parent.parent


def test_idle_rooms_are_closed_and_open_again(house: _House) -> None:
    first = house.visitors.room(ANNA)
    house.now += 599
    house.visitors.close_idle()
    assert house.visitors.room(ANNA) is first
    house.now += 601
    house.visitors.close_idle()
    assert house.visitors.room(ANNA) is not first
    assert house.made == [ANNA, ANNA]


def test_homes_of_the_departed_go_but_not_while_a_render_waits(house: _House) -> None:
    for visitor in (ANNA, BEN):
        house.visitors.room(visitor)
    house.store.add(tiny_request(house.pictures), "Anna's", ANNA)
    house.leave(ANNA, days=4)
    house.leave(BEN, days=2)
    assert house.clear() == 0
    house.leave(BEN, days=4)
    assert house.clear() == 1
    assert [path.name for path in homes()] == [ANNA]
    house.store.stop(house.store.jobs()[0].id, keep=False)
    assert house.visitors.clear_departed() == 1  # old for long enough
    assert homes() == []
    assert house.store.jobs() == ()


def test_a_home_that_was_cleared_is_begun_anew(house: _House) -> None:
    house.visitors.room(ANNA)
    house.leave(ANNA, days=4)
    assert house.clear() == 1
    house.visitors.room(ANNA)
    assert [path.name for path in homes()] == [ANNA]
    assert house.clear() == 0


def test_a_clock_that_was_wrong_for_a_moment_removes_nobody(house: _House) -> None:
    house.visitors.room(ANNA)
    house.leave(ANNA, days=4)
    assert house.visitors.clear_departed() == 0
    os.utime(visitor_home(ANNA).root)
    house.now += 3600
    assert house.visitors.clear_departed() == 0
    house.leave(ANNA, days=4)
    assert house.visitors.clear_departed() == 0
    assert [path.name for path in homes()] == [ANNA]


def test_what_one_person_may_ask_for(house: _House) -> None:
    request = tiny_request(house.pictures)
    pixels = _pixels(request)
    now = 0.0
    allowance = Allowance(Limits(jobs=3, pixels_per_hour=3 * pixels), house.visitors.room(ANNA).exports(), lambda: now)
    with pytest.raises(InputError, match=r"At most 3 of your renders .* and 2 do"):
        allowance.take([request] * 2, 2)
    allowance.take([request] * 2, 0)
    now = 600.0
    allowance.take([request], 0)
    with pytest.raises(InputError, match="ask again in 50 min"):
        allowance.take([request], 0)
    now = 3601.0
    allowance.take([request] * 2, 0)
    with pytest.raises(InputError, match="ask again in 10 min"):
        allowance.take([request], 0)
    with pytest.raises(InputError, match="more than one person may render here in an hour"):
        Allowance(Limits(pixels_per_hour=pixels - 1), Path("none"), lambda: now).take([request], 0)


def test_a_full_home_takes_nothing_more_until_something_goes(house: _House) -> None:
    room = house.visitors.room(ANNA)
    room.clips().mkdir()
    file = room.clips() / "a.mp4"
    file.write_bytes(bytes(1000))
    house.now += 10
    assert "fill the" in room.receive_picture(b"x", "a.png")["error"]
    assert "fill the" in room.ask({"do": "save_preset"})["error"]
    with pytest.raises(InputError, match="delete some clips or presets first"):
        room.receive_shared(file, "a.lumosx", True)
    assert "error" not in room.ask({"do": "clips"})
    file.unlink()
    house.now += 10
    assert "fill the" not in room.receive_picture(b"x", "a.png")["error"]


def _pixels(request: RenderRequest) -> int:
    return request.settings.width * request.settings.height * request.settings.num_frames
