"""The studio on a Space whose card is lent for seconds: the platform's package is a stand-in, all else is real."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from engine.cli.main import main
from engine.memory.lent import Lent
from studio.bench import CHROMIUM_FLAGS
from studio.browser import find_chromium
from studio.languages import heard, speaking
from studio.space import CALL_VARIABLE, lent_card
from tests.browser.acts import PATIENCE_MS
from tests.browser.asking import Json, Visitor
from tests.browser.scenes import write_pair
from tests.browser.serving import ROOT
from tests.browser.spaces import Space, running_space
from tests.patience import PATIENCE_S

PORT = 8852
CALL_S, MOST_S = 60, 30
"""What the studio believes a call may be, and what the platform grants: the visitor's account may allow less."""


@dataclass(frozen=True)
class ZeroSpace:
    """A running Space and what its platform was asked for."""

    space: Space
    log: Path
    scene: Path

    def calls(self) -> list[Json]:
        """What was asked of the platform, in order."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []


@pytest.fixture(scope="module")
def zero(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZeroSpace]:
    folder, home = tmp_path_factory.mktemp("space") / "app", tmp_path_factory.mktemp("home")
    assert main(["space", str(folder)]) == 0
    log, scene = home / "calls.txt", home / "pair"
    write_pair(scene)
    variables = {
        "SPACES_ZERO_GPU": "true", "SPACES_FAKE_LOG": str(log), "SPACES_FAKE_MOST": str(MOST_S),
        "PYTHONPATH": str(ROOT / "tests" / "zero_gpu"),
    }  # fmt: skip
    with running_space(folder, home, PORT, variables) as space:
        yield ZeroSpace(space, log, scene)


@pytest.fixture
def visitor(zero: ZeroSpace) -> Iterator[Callable[[str], Visitor]]:
    """Somebody whom the platform knows by this token."""
    there: list[Visitor] = []

    def come(token: str) -> Visitor:
        one = Visitor(zero.space.url)
        one.http.headers["Cookie"] = one.page.headers["set-cookie"].partition(";")[0]  # here it is no HTTPS
        one.http.headers["X-IP-Token"] = token
        one.find_component()
        there.append(one)
        return one

    yield come
    for one in there:
        one.close()


def settings(one: Visitor, **chosen: Any) -> Json:
    engine = next(each for each in one.ask("begin")["engines"] if each["name"] == "nano")
    return {**engine["defaults"], "seed": "7", "num_inference_steps": 2, "num_frames": 1, **chosen}


def at_step(one: Visitor, job: str, step: int) -> Json:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found = next(each for each in one.ask("look")["jobs"] if each["id"] == job)
        if found["state"] == "running" and found["stage"] == "Painting" and found["step"] >= step:
            return found
        assert found["state"] in ("waiting", "running"), found
        time.sleep(0.05)
    raise AssertionError("it never got there")


def test_a_render_takes_the_card_in_its_visitors_name_for_the_seconds_that_were_told(
    zero: ZeroSpace, visitor: Callable[[str], Visitor]
) -> None:
    anna, ben = visitor("anna"), visitor("ben")
    told = anna.ask("forecast", settings=settings(anna), references=3)
    assert told["fits"]
    seconds = int(re.findall(r"(\d+) s of your time", told["text"])[0])
    assert f"of {CALL_S} s" in told["text"]
    assert seconds < CALL_S
    jobs = [one.render(one.send_folder(zero.scene), num_frames=1)["job"] for one in (anna, ben, anna)]
    for one, job in zip((anna, ben, anna), jobs, strict=True):
        done = one.finished(job)
        assert done["state"] == "done", done
        assert one.http.get(f"/{done['clip']['url']}").content[4:8] == b"ftyp"
    calls = zero.calls()
    assert [call["token"] for call in calls] == ["anna", "ben", "anna"]
    assert all(abs(call["seconds"] - seconds) <= 1 for call in calls)
    assert len({call["pid"] for call in calls}) == 1  # the model stayed loaded there
    assert calls[0]["pid"] != zero.space.pid


def test_only_the_process_with_the_card_loads_torch(zero: ZeroSpace) -> None:
    if sys.platform == "linux":
        assert "libtorch" not in Path(f"/proc/{zero.space.pid}/maps").read_text()
        assert "libtorch" in Path(f"/proc/{zero.calls()[-1]['pid']}/maps").read_text()


def test_a_cancel_crosses_the_fork_and_what_was_kept_goes_on(
    zero: ZeroSpace, visitor: Callable[[str], Visitor]
) -> None:
    cleo = visitor("cleo")
    before = len(zero.calls())
    job = cleo.render(cleo.send_folder(zero.scene), num_frames=49, num_inference_steps=60)["job"]
    seen = at_step(cleo, job, 2)["step"]
    assert cleo.ask("cancel", job=job, keep=True) == {"cancelled": True}
    stopped = cleo.finished(job)
    assert stopped["state"] == "cancelled"
    assert seen <= stopped["saved_step"] < 60
    assert cleo.ask("queue_retry", job=job)["job"] == job
    at_step(cleo, job, stopped["saved_step"])
    assert cleo.ask("cancel", job=job) == {"cancelled": True}
    assert cleo.finished(job)["state"] == "cancelled"
    calls = zero.calls()[before:]
    assert [call["token"] for call in calls] == ["cleo", "cleo"]
    assert len({call["pid"] for call in zero.calls()}) == 1  # stopping ended no process
    assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob("lumosx-lent-*/stop"))


def test_a_card_that_is_taken_back_is_told_and_the_next_call_goes_on(
    zero: ZeroSpace, visitor: Callable[[str], Visitor]
) -> None:
    dora = visitor("dora")
    job = dora.render(dora.send_folder(zero.scene), num_frames=25, num_inference_steps=40)["job"]
    at_step(dora, job, 5)
    os.kill(zero.calls()[-1]["pid"], signal.SIGKILL)
    failed = dora.finished(job)
    assert failed["state"] == "failed"
    assert "was taken back" in failed["error"]
    assert failed["saved_step"] >= 5
    assert dora.ask("queue_retry", job=job)["job"] == job
    assert dora.finished(job)["state"] == "done"
    assert zero.calls()[-1]["pid"] != zero.calls()[-2]["pid"]


def test_what_no_call_holds_is_refused_before_it_waits_and_a_draft_fits(
    zero: ZeroSpace, visitor: Callable[[str], Visitor]
) -> None:
    eva = visitor("eva")
    before = zero.calls()
    sent = eva.send_folder(zero.scene)
    pictures = sum(len(owner["references"]) for owner in sent["owners"])
    large = settings(eva, width=832, height=480, num_frames=241, num_inference_steps=200)
    told = eva.ask("forecast", settings=large, references=pictures)
    assert not told["fits"]
    assert "it is lent for 60 s at most: a draft of" in told["text"]
    scene = {"scene": sent["scene"], "prompt": sent["prompt"]}
    refused = eva.ask("render", **scene, settings=large, title="Large", allow_unbound=True)
    assert refused["error"] == told["text"]
    assert eva.ask("look")["jobs"] == []
    draft = {**large, **told["draft"], "seed": "7"}
    assert eva.ask("forecast", settings=draft, references=pictures)["fits"]
    assert zero.calls() == before
    with speaking("zh"):
        assert "秒" in heard(told["text"])
    for engine in eva.ask("begin")["engines"]:  # what the page offers first fits, the full model's draft, too
        assert eva.ask("forecast", settings={**engine["defaults"], "seed": "1"}, references=4)["fits"], engine


def test_what_the_platform_refuses_is_told(zero: ZeroSpace, visitor: Callable[[str], Visitor]) -> None:
    fay = visitor("fay")
    job = fay.render(fay.send_folder(zero.scene), num_frames=1, num_inference_steps=200)["job"]
    failed = fay.finished(job)
    assert failed["state"] == "failed"
    assert zero.calls()[-1]["granted"] is False
    assert re.fullmatch(
        r"No card could be lent \(The requested GPU duration \(\d+s\) is larger than the maximum allowed\): .*",
        failed["error"],
    )
    visitor_of_frame = fay.http.post("/studio/asked", json={"do": "queue_retry", "job": job}).json()
    assert visitor_of_frame == {"job": job}
    assert fay.finished(job)["state"] == "failed"
    assert zero.calls()[-1]["token"] == "fay"


def test_the_card_is_known_by_the_platforms_variables() -> None:
    assert lent_card({}) is None
    assert lent_card({"SPACES_ZERO_GPU": "false", "SPACE_ID": "a/b"}) is None
    on = {"SPACES_ZERO_GPU": "true"}
    assert lent_card(on) == Lent(seconds=60, card_bytes=68_000_000_000)
    assert lent_card({**on, CALL_VARIABLE: "90", "ZEROGPU_CUDA_TOTAL_MEMORY": "50000000000"}) == Lent(
        seconds=90, card_bytes=48_000_000_000
    )
    for odd, seconds in (("x", 60), ("-5", 60), ("1", 10), ("999999", 1200)):
        found = lent_card({**on, CALL_VARIABLE: odd})
        assert found is not None
        assert found.seconds == seconds


FRAME = """<!doctype html><title>around it</title><iframe src="{url}" style="width:100%;height:95vh"></iframe><script>
const frame = document.querySelector("iframe");
setInterval(() => frame.contentWindow.postMessage("supports-zerogpu-headers", "*"), 200);
addEventListener("message", (event) => {{
  if (event.data === "zerogpu-headers") event.ports[0].postMessage({{ "X-IP-Token": "gina of the site around it" }});
}});
</script>"""


def test_in_the_sites_frame_a_draft_is_taken_and_rendered_in_its_visitors_name(
    zero: ZeroSpace, browser: Browser
) -> None:
    flags = (*CHROMIUM_FLAGS, "--disable-features=LocalNetworkAccessChecks")  # the site in the test has no address
    chromium = browser.browser_type.launch(executable_path=find_chromium(), args=list(flags))
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    around, text = "https://huggingface.co/spaces/somebody/lumosx", FRAME.format(url=zero.space.url)
    page.route(f"{around}**", lambda route: route.fulfill(body=text, content_type="text/html"))
    page.goto(around)
    inside = page.frame_locator("iframe")
    inside.get_by_role("region", name="Cast").locator("figure").first.wait_for()
    told, take = inside.locator(".forecast"), inside.get_by_role("button", name="Take the draft that fits")
    expect(told).to_contain_text("A graphics card is lent to you")
    expect(take).to_be_hidden()
    before = len(zero.calls())
    inside.get_by_label("Steps").fill("200")
    for label, value in (("Size", "1024x1024"), ("Length", "121")):  # as an opened clip brings them along
        inside.get_by_label(label, exact=True).evaluate(
            "(select, value) => { select.append(new Option(value, value)); select.value = value;"
            " select.dispatchEvent(new Event('change', { bubbles: true })); }",
            value,
        )
    expect(told).to_contain_text("is lent for 60 s at most: a draft of")
    inside.get_by_role("button", name="Render", exact=True).click()
    expect(inside.get_by_role("alert").filter(has_text="is lent for 60 s at most")).to_be_visible()
    take.click()
    expect(told).to_contain_text("A graphics card is lent to you")
    expect(take).to_be_hidden()
    inside.get_by_label("Length", exact=True).select_option("1")
    inside.get_by_label("Size", exact=True).select_option(index=0)
    inside.get_by_label("Steps").fill("2")
    inside.get_by_role("button", name="Render", exact=True).click()
    expect(inside.locator(".stage video")).to_be_visible(timeout=PATIENCE_MS)
    assert [call["token"] for call in zero.calls()[before:]] == ["gina of the site around it"]
    chromium.close()
