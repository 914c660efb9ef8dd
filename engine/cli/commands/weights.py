"""`weights list|download|convert|verify|remove`: the model files."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from engine.errors import InputError
from engine.events import Progress
from engine.paths import models_dir
from engine.weights.catalogue import CatalogueEntry, entries, entry
from engine.weights.files import readable_size
from engine.weights.installed import Installed, download_folder, model_folder, removable, remove, status, verify

_PUBLISHED = "lumosx"


def run(args: argparse.Namespace) -> int:
    """Carry out `args.action`; 0 when done. User errors are raised."""
    actions: dict[str, Callable[[argparse.Namespace], None]] = {
        "list": _list,
        "download": _download,
        "convert": _convert,
        "verify": _verify,
        "remove": _remove,
    }
    actions[args.action](args)
    return 0


def _list(args: argparse.Namespace) -> None:
    known = [(one, status(one.name)) for one in entries()]
    if args.json:
        print(json.dumps([_as_json(one, state) for one, state in known], indent=1, ensure_ascii=False))
        return
    for number, (one, state) in enumerate(known):
        if number:
            print()
        print(f"{one.name}: {one.title}. {one.purpose}")
        print(f"  licence    {_licence(one)}")
        if not state.problem:
            print(f"  installed  {state.folder} ({readable_size(state.size_bytes)})")
        elif state.folder.exists():
            print(f"  damaged    {state.problem}")
        else:
            print(f"  missing    {state.problem}")
        for file in one.files:
            print(f"  file       {file.name} ({file.purpose}, about {readable_size(file.approximate_bytes)})")


def _as_json(one: CatalogueEntry, state: Installed) -> dict[str, object]:
    return {
        "name": one.name,
        "title": one.title,
        "purpose": one.purpose,
        "licence": one.licence,
        "licence_note": one.licence_note,
        "repository": one.repository or None,
        "address": one.address or None,
        "folder": str(state.folder),
        "installed": not state.problem,
        "problem": state.problem or None,
        "size_bytes": state.size_bytes,
        "files": [
            {
                "name": file.name,
                "purpose": file.purpose,
                "approximate_bytes": file.approximate_bytes,
                "sha256": file.sha256,
            }
            for file in one.files
        ],
    }


def _download(args: argparse.Namespace) -> None:
    from engine.weights.download import download
    from engine.weights.hub import HuggingFaceHub, PublishedFiles

    wanted = entry(args.name or _PUBLISHED)
    if wanted.builtin:
        raise InputError(f"{wanted.title} comes with the program: there is nothing to download.")
    print(f"{wanted.title} from {wanted.address or f'https://huggingface.co/{wanted.repository}'}")
    print(f"Licence: {_licence(wanted)}")
    hub = PublishedFiles(wanted) if wanted.address else HuggingFaceHub()
    with _Display() as display:
        result = download(wanted, download_folder(wanted.name), hub, args.source, display.show)
    if wanted.address:
        print(f"Ready: {result.folder} ({readable_size(status(wanted.name).size_bytes)})")
        return
    if not result.verified:
        print("The hub cannot be reached: your files are used without comparing their digests with the published ones.")
    _convert_into(result.folder, model_folder(wanted.name))
    downloads = download_folder(wanted.name)
    if result.folder == downloads:
        print(f"{downloads} is no longer needed; delete that folder if you want its space back.")


def _convert(args: argparse.Namespace) -> None:
    wanted = entry(_PUBLISHED)
    print(f"{wanted.title}. Licence: {_licence(wanted)}")
    standard = model_folder(wanted.name)
    out: Path = args.out or standard
    _convert_into(args.source, out)
    if out.absolute() != standard.absolute():
        print(f"The engine looks in {standard}: move the folder there to render with it.")


def _convert_into(source: Path, out: Path) -> None:
    # Takes seconds to import: only once it is known that there is something to convert.
    from engine.weights.convert import convert_bundle

    print(f"Converting {source} once for this program")
    with _Display() as display:
        record = convert_bundle(source, out, display.show)
    size = sum(file.size_bytes for file in record.files().values())
    print(f"Ready: {out} ({readable_size(size)})")


def _verify(args: argparse.Namespace) -> None:
    names = [args.name] if args.name else [one.name for one in entries() if _is_there(one.name)]
    for name in names:
        with _Display() as display:
            counter = _ByteCounter(f"verify {name}", status(name).size_bytes, display.show)
            count = verify(name, counter.add)
        print(f"{name}: {count} files are whole ({model_folder(name)})")


def _is_there(name: str) -> bool:
    return entry(name).builtin or model_folder(name).exists()


def _remove(args: argparse.Namespace) -> None:
    wanted = entry(args.name)
    present = [] if wanted.builtin else [one for one in dict.fromkeys(removable(wanted.name)) if one.exists()]
    if present and not args.yes:
        folders = " and ".join(str(folder) for folder in present)
        try:
            answer = input(f"Delete {folders}? [y/N] ")
        except EOFError:
            raise InputError("Removing weights has to be confirmed: add --yes.") from None
        if answer.strip().lower() not in ("y", "yes"):
            print("Nothing was removed.")
            return
    print(f"Removed {wanted.title}, {readable_size(remove(wanted.name))} are free again in {models_dir()}")


def _licence(one: CatalogueEntry) -> str:
    return f"{one.licence}. {one.licence_note}"


class _ByteCounter:
    """Turns counted bytes into progress."""

    def __init__(self, stage: str, total: int, show: Callable[[Progress], None]) -> None:
        self._stage, self._total, self._show = stage, total, show
        self._done, self._began = 0, time.monotonic()

    def add(self, num_bytes: int) -> None:
        self._done += num_bytes
        elapsed = time.monotonic() - self._began
        left = max(self._total - self._done, 0) * elapsed / self._done if elapsed > 1 and self._done else None
        self._show(Progress(stage=self._stage, step=self._done, num_steps=self._total, seconds_left=left))


class _Display:
    """Progress on stderr: one line that is drawn over on a terminal, a line per stage and tenth elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last: tuple[str, int] = ("", -1)
        self._drawn_at = 0.0
        self._width = 0

    def __enter__(self) -> _Display:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            print(f"\r{' ' * self._width}\r", end="", file=sys.stderr, flush=True)

    def show(self, progress: Progress) -> None:
        share = progress.step / progress.num_steps if progress.num_steps else 1.0
        text = f"{progress.stage}: {readable_size(progress.step)} of {readable_size(progress.num_steps)} in all"
        if progress.seconds_left is not None:
            text += f", {_readable_time(progress.seconds_left)} left"
        if self._terminal:
            now = time.monotonic()
            if now - self._drawn_at > 0.1:
                self._drawn_at = now
                print(f"\r{text.ljust(self._width)}", end="", file=sys.stderr, flush=True)
                self._width = max(self._width, len(text))
        elif (mark := (progress.stage, int(share * 10))) != self._last:
            self._last = mark
            print(text, file=sys.stderr, flush=True)


def _readable_time(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds:.0f} s"
