"""The bundle to attach: everything a report needs, no picture, no name, and the user's words only when ticked."""

from __future__ import annotations

import getpass
import json
import logging
import socket
import zipfile
from pathlib import Path
from typing import Any

import pytest

from engine.cli.main import main
from engine.errors import InputError, MachineError
from engine.paths import clips_dir, jobs_file, log_file, pictures_dir, preferences_file
from engine.pictures import PictureStore
from engine.report_bundle import Hider, write_report
from engine.request import LoraChoice
from studio.app import _log_to_file
from studio.job_store import JobState, JobStore
from studio.jobs import JobQueue
from studio.preferences import PreferenceBook
from studio.reports import Reports
from tests.unit.tiny_studio import PROMPT, tiny_request


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUMOSX_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Path, "home", lambda: Path("/home/anna"))
    monkeypatch.setattr(getpass, "getuser", lambda: "anna")
    monkeypatch.setattr(socket, "gethostname", lambda: "annas-laptop")
    return tmp_path / "home"


def read(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


@pytest.fixture
def queue() -> Any:
    store = PictureStore(pictures_dir())
    jobs = JobStore(jobs_file())
    lora = LoraChoice(name="Zoe in ink", digest="a" * 64)
    job_id = jobs.add(tiny_request(store, seed=7, loras=(lora,)), "Anna and Zoe")
    jobs.claim("me", lambda job, taken: clips_dir() / "x.mp4")
    log = f"LumosX Studio\nAnna and Zoe\nfault in /home/anna/x.py: {PROMPT}, a red coat, Zoe in ink"
    jobs.finish(job_id, "me", JobState.failed, error="It broke.", log=log)
    made = JobQueue(lambda: pytest.fail("nothing is rendered here"), store, clips_dir, jobs)
    made._refresh()
    yield made
    made.close()


def machine() -> dict[str, Any]:
    return {"home": "/home/anna/.local", "budget": {"device": "cpu", "device_bytes": 8e9, "ram_bytes": 8e9}}


def bundle(queue: Any, tmp_path: Path, **message: Any) -> dict[str, str]:
    answer = Reports(queue=queue, exports=lambda: tmp_path / "out", examine=machine).answers["report"](message)
    assert answer["name"] == "lumosx-report.zip"
    (path,) = (tmp_path / "out").iterdir()
    found = read(path)
    path.unlink()
    return found


def test_folders_people_and_words_are_hidden_in_every_form(home: Path) -> None:
    hide = Hider(["Zoe’s red hat", "ab"])
    said = hide(f"{home}/clips C:\\x /home/anna/y anna, ANNA's, annas-laptop Joanna {json.dumps('Zoe’s red hat')} ab")
    assert said.startswith("<data folder>/clips")
    assert "~/y <user>, <user>'s, <computer> Joanna" in said  # part of another word is no name
    assert "hat" not in said
    assert said.endswith(" ab")  # two letters would hide half the text


def test_a_bundle_holds_texts_only_and_says_so(tmp_path: Path) -> None:
    log_file().parent.mkdir(parents=True)
    log_file().write_text("WARNING /home/anna/pictures is gone\n")
    write_report(tmp_path / "r.zip", {"more.txt": "anna was here"})
    found = read(tmp_path / "r.zip")
    assert list(found) == ["read me.txt", "versions.txt", "log.txt", "more.txt"]
    assert found["log.txt"] == "WARNING ~/pictures is gone\n"
    assert found["more.txt"] == "<user> was here"
    assert "gradio " in found["versions.txt"]
    assert "no pictures" in found["read me.txt"]


def test_a_failed_render_is_told_without_the_users_words(queue: Any, tmp_path: Path) -> None:
    found = bundle(queue, tmp_path, job=queue.jobs()[0].id)
    whole = "\n".join(found.values())
    for word in (PROMPT, "red coat", "Anna and Zoe", "anna", "Zoe in ink", str(tmp_path / "home")):
        assert word not in whole
    facts = json.loads(found["render.json"])
    assert (facts["error"], facts["settings"]["seed"]) == ("It broke.", 7)
    assert facts["references"][1] == {"role": "attribute", "cut_out": True}
    assert facts["prompt_characters"] == len(PROMPT)
    assert "fault in ~/x.py: [left out], a [left out]" in found["render log.txt"]
    assert "At its peak it takes" in found["render plan.txt"]
    assert all(not name.endswith((".png", ".webp", ".mp4")) for name in found)
    image = queue.jobs()[0].request.scene.references()[0].image
    assert image not in whole


def test_ticked_the_words_go_along(queue: Any, tmp_path: Path) -> None:
    found = bundle(queue, tmp_path, job=queue.jobs()[0].id, words=True)
    assert json.loads(found["render.json"])["prompt"] == PROMPT
    assert PROMPT in found["render log.txt"]
    assert json.loads(found["render.json"])["settings"]["loras"][0]["name"] == "Zoe in ink"


def test_without_a_render_and_without_a_doctor_there_is_still_a_report(queue: Any, tmp_path: Path) -> None:
    found = bundle(queue, tmp_path)
    assert json.loads(found["machine.json"])["home"] == "~/.local"
    assert "render.json" not in found

    def silent() -> dict[str, Any]:
        raise MachineError("This machine could not be examined.")

    reports = Reports(queue=queue, exports=lambda: tmp_path / "out", examine=silent)
    reports.answers["report"]({"job": queue.jobs()[0].id})
    (path,) = (tmp_path / "out").iterdir()
    assert "could not be examined" in read(path)["machine.txt"]
    with pytest.raises(InputError, match="no longer"):
        reports.answers["report"]({"job": "gone"})


def test_doctor_writes_a_bundle(tmp_path: Path) -> None:
    assert main(["doctor", "--bundle", str(tmp_path / "doctor.zip")]) == 0
    found = read(tmp_path / "doctor.zip")
    assert "Engines" in found["machine.txt"]
    assert str(tmp_path) not in "\n".join(found.values())


def test_a_log_that_cannot_be_written_is_no_fault(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handler, away = _log_to_file(), home.with_name("away")
    try:
        home.rename(away)
        logging.getLogger("studio.test").warning("said while it was gone")
        away.rename(home)
        logging.getLogger("studio.test").warning("said when it was back")
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert "Traceback" not in capsys.readouterr().err
    assert "said when it was back" in log_file().read_text()


def test_what_the_studio_warns_of_is_in_its_log() -> None:
    handler = _log_to_file()
    try:
        logging.getLogger("studio.test").warning("a warning to keep")
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    assert "WARNING studio.test: a warning to keep" in log_file().read_text()


def test_preferences_have_defaults_and_survive_what_is_damaged_or_newer() -> None:
    book = PreferenceBook(preferences_file())
    assert book.answers["prefer"]({}) == {"mark": False, "language": ""}
    assert book.answers["prefer"]({"mark": True}) == {"mark": True, "language": ""}
    assert book.answers["prefer"]({"language": "en"}) == {"mark": True, "language": ""}  # in which it is answered
    assert book.answers["prefer"]({"chosen": "zh"}) == {"mark": True, "language": "zh"}
    assert PreferenceBook(preferences_file()).read().mark
    preferences_file().write_text('{"mark": true, "of a newer version": 1}')
    assert book.read().mark
    preferences_file().write_text('{"mark": true, "language": "of a newer version"}')
    assert (book.read().mark, book.read().language) == (True, "")
    for damaged in ("[]", '{"mark": 3}', "no json", "[" * 5000):
        preferences_file().write_text(damaged)
        assert not book.read().mark
    with pytest.raises(InputError):
        book.answers["prefer"]({"mark": "yes"})
    with pytest.raises(InputError):
        book.answers["prefer"]({"chosen": "de"})
