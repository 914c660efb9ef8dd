"""The speed of the page, measured in a real browser: `python -m studio.bench`, which `bench studio` starts.

Every repeat starts a server as a user does, on a data home of its own with clips in it, opens one page in Chromium and
takes the measurements of `studio.bench_measurements` on it, one after another; what is reported are medians. Needs
Chromium, and Playwright, which is part of the tests' requirements.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from engine.errors import MachineError, UserError
from studio.bench_measurements import MEASUREMENTS, MOMENTS, Figures, Visit, moment
from studio.browser import find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NUM_CLIPS = 200
CHROMIUM_FLAGS = (
    "--no-sandbox",  # as root, as in a container, Chromium starts in no other way; only our own page is opened
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

_PORT = 8960
_START_S = 180
_PATIENCE_MS = 180_000
_CLIP = (128, 96, 5)  # width, height, frames
_ROOT = Path(__file__).resolve().parent.parent
_MISSING = "The speed of the page is measured in a real browser; install {what}, then start this again."

# Taking them ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured. `seconds`: all values of a figure, by its name; `torch_before_render`: whether it was loaded
    in a page's process before the first render, None where this machine does not say."""

    repeats: int
    num_clips: int
    chromium: str
    seconds: Mapping[str, Sequence[float]]
    torch_before_render: bool | None


def measure(
    *,
    repeats: int = 5,
    num_clips: int = NUM_CLIPS,
    module: str = "studio.bench_server",
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Take all measurements `repeats` times, on servers of `python -m module`; about half a minute each.

    Raises:
        MachineError: Chromium or Playwright is missing, or the server does not start.
    """
    program = find_chromium()
    if program is None:
        raise MachineError(_MISSING.format(what="Chromium (on Debian: apt-get install chromium)"))
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError as error:
        raise MachineError(_MISSING.format(what="Playwright (pip install playwright)")) from error
    seconds: Figures = {figure.name: [] for one in MEASUREMENTS for figure in one.figures}
    torch: list[bool | None] = []
    with tempfile.TemporaryDirectory(prefix="lumosx-bench-") as folder, sync_playwright() as playwright:
        say(f"Writing {num_clips} clips.")
        write_clips(Path(folder) / "clips", num_clips)
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        import_gradio()  # so that neither side of the first pair has to fetch files from the disk
        for number in range(1, repeats + 1):
            say(f"Round {number} of {repeats}.")
            home = Path(folder) / f"home-{number}"
            shutil.copytree(Path(folder) / "clips", home / "clips")
            import_s = import_gradio()
            with _server(module, home) as (server, ready_s, url), _page(browser, url) as page:
                visit = Visit(page=page, import_gradio_s=import_s, server_s=ready_s, num_clips=num_clips)
                moment(page, "usable")
                torch.append(torch_is_loaded(server.pid))
                for one in MEASUREMENTS:
                    for name, values in one.take(visit).items():
                        seconds[name] += values
        version = browser.version
        browser.close()
    known = [loaded for loaded in torch if loaded is not None]
    return Report(
        repeats=repeats,
        num_clips=num_clips,
        chromium=version,
        seconds=seconds,
        torch_before_render=any(known) if known else None,
    )


def write_clips(folder: Path, count: int) -> None:
    """Write small clips of the first built-in preset with all of its recipe, as a user's own gallery holds them."""
    import numpy as np

    from engine.clip import ClipWriter
    from engine.engines import resolve_settings
    from engine.pictures import PictureStore
    from engine.portable import make_recipe
    from engine.request import RenderRequest
    from engine.sources import load_source, preset_folders

    width, height, num_frames = _CLIP
    store = PictureStore(folder.parent / "clip-pictures")
    scene = load_source(next(iter(preset_folders())), store).scene
    request = RenderRequest(scene=scene, settings=resolve_settings("nano", width=width, height=height))
    recipe = make_recipe(request, store, "bench")
    folder.mkdir(parents=True)
    shades = np.linspace(0, 255, width, dtype=np.uint8)
    for seed in range(count):
        own = replace(recipe, request=replace(request, settings=replace(request.settings, seed=seed)))
        out = folder / f"20260101-{seed:06}-bench-seed{seed}.mp4"
        with ClipWriter(out, width=width, height=height, fps=8, recipe=own) as writer:
            for number in range(num_frames):
                line = np.roll(shades, 7 * seed + 5 * number)
                writer.write(np.ascontiguousarray(np.broadcast_to(line[None, :, None], (height, width, 3))))


def import_gradio() -> float:
    """Seconds from the start of a fresh interpreter until it has imported Gradio, and nothing else."""
    environment = {**os.environ, "GRADIO_ANALYTICS_ENABLED": "False"}
    began = time.perf_counter()
    command = [sys.executable, "-c", "import gradio; print(flush=True)"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seconds = time.perf_counter() - began
    if process.returncode:
        raise MachineError("Gradio cannot be imported in this environment; run “python3 launcher.py setup”.")
    return seconds


@contextmanager
def _server(module: str, home: Path) -> Generator[tuple[subprocess.Popen[str], float, str]]:
    """Start a studio on `home`; yields the process, the seconds until it said that it is ready, and its address."""
    errors = home / "errors.txt"
    command = [sys.executable, "-m", module, "--no-browser", "--port", str(_PORT)]
    environment = {**os.environ, "LUMOSX_HOME": str(home)}
    began = time.perf_counter()
    with errors.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, cwd=_ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file,
            text=True, encoding="utf-8",
        )  # fmt: skip
    patience = threading.Timer(_START_S, process.kill)
    patience.start()
    try:
        assert process.stdout is not None
        ready = next((line for line in process.stdout if " is ready after " in line), None)
        seconds = time.perf_counter() - began
        patience.cancel()
        if ready is None:
            raise MachineError(f"The studio did not start: {errors.read_text(encoding='utf-8').strip()[-500:]}")
        yield process, seconds, ready.split()[-1]
    finally:
        patience.cancel()
        process.terminate()
        process.communicate()


@contextmanager
def _page(browser: Browser, url: str) -> Generator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(_PATIENCE_MS)
    context.add_init_script(MOMENTS)
    page = context.new_page()
    page.goto(url, wait_until="commit")
    yield page
    context.close()


def torch_is_loaded(pid: int) -> bool | None:
    """Whether torch's library lies in the memory of a process; None where the system does not tell."""
    maps: Any = getattr(psutil.Process(pid), "memory_maps", None)
    return None if maps is None else any("torch" in Path(one.path).name for one in maps())


# Telling --------------------------------------------------------------------------------------------------------------


def table(report: Report) -> str:
    """The table for people and, as the last line, one JSON line for machines."""
    figures = [figure for one in MEASUREMENTS for figure in one.figures if report.seconds[figure.name]]
    medians = {figure.name: statistics.median(report.seconds[figure.name]) for figure in figures}
    widest = max(len(figure.title) for figure in figures)
    lines = [
        f"The page in Chromium {report.chromium}, {report.num_clips} clips in the gallery; medians of {report.repeats} "
        "starts.",
        f"{'':{widest}}  {'median':>9}  {'slowest':>9}  {'promised':>9}",
    ]
    for figure in figures:
        median, slowest = medians[figure.name], max(report.seconds[figure.name])
        limit = "" if figure.limit_s is None else _shown(figure.limit_s)
        over = "  over" if figure.limit_s is not None and median > figure.limit_s else ""
        lines.append(f"{figure.title:{widest}}  {_shown(median):>9}  {_shown(slowest):>9}  {limit:>9}{over}")
    loaded = {True: "yes", False: "no", None: "unknown"}[report.torch_before_render]
    lines.append(f"{'torch in the process before the first render':{widest}}  {loaded:>9}  {'':>9}  {'no':>9}")
    document = {name: round(median, 5) for name, median in medians.items()} | {
        "torch_before_render": report.torch_before_render,
        "repeats": report.repeats,
        "clips": report.num_clips,
        "chromium": report.chromium,
    }
    return "\n".join([*lines, json.dumps({"studio": document})])


def _shown(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; a user error becomes one sentence on stderr and exit code 2."""
    parser = argparse.ArgumentParser(prog="studio.bench", description="Measure the speed of the page.")
    parser.add_argument("--repeats", type=int, default=5)
    repeats: int = parser.parse_args(argv).repeats
    try:
        from engine.weights import locate

        locate("nano")
        print(table(measure(repeats=repeats, say=_say)), flush=True)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Cancelled.", file=sys.stderr)
        return 130
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
