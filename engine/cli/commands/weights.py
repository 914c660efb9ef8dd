"""`weights list|download|convert|verify|repair|calibrate|remove|loras|add-lora|remove-lora`: the model files."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from engine.errors import InputError
from engine.events import STAGES, Progress
from engine.paths import models_dir
from engine.weights.catalogue import CatalogueEntry, entries, entry
from engine.weights.files import readable_size
from engine.weights.installed import Installed, model_folder, removable, remove, status
from engine.weights.loras import add_lora, check_whole, lora_named, loras, remove_lora

_PUBLISHED = "lumosx"


def run(args: argparse.Namespace) -> int:
    """Carry out `args.action`; 0 when done. User errors are raised."""
    actions: dict[str, Callable[[argparse.Namespace], None]] = {
        "list": _list,
        "download": _download,
        "convert": _convert,
        "verify": _verify,
        "repair": _repair,
        "calibrate": _calibrate,
        "remove": _remove,
        "loras": _loras,
        "add-lora": _add_lora,
        "remove-lora": _remove_lora,
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
        elif state.begun:
            print(f"  damaged    {state.problem}")
        else:
            print(f"  missing    {state.problem}")
            print(f"  takes      {_needs(one)}")
        if one.archive is not None:
            size = readable_size(one.archive.approximate_bytes)
            print(f"  fetched    {one.archive.name} ({one.archive.purpose}, {size}); one of these files is enough:")
        elif one.one_of:
            print(f"  fetched    {one.files[0].name}; one of these files is enough:")
        for file in one.files:
            print(f"  file       {file.name} ({file.purpose}, about {readable_size(file.approximate_bytes)})")
    if loras():
        print()
    _print_loras()


def _as_json(one: CatalogueEntry, state: Installed) -> dict[str, object]:
    return {
        "name": one.name,
        "title": one.title,
        "purpose": one.purpose,
        "licence": one.licence,
        "licence_note": one.licence_note,
        "repository": one.repository or None,
        "address": one.address or None,
        "non_commercial": one.non_commercial,
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
    from engine.weights.install import install, refuse_unaccepted, source_of

    wanted = entry(args.name or _PUBLISHED)
    if wanted.builtin:
        raise InputError(f"{wanted.title} comes with the program: there is nothing to download.")
    print(f"{wanted.title} from {source_of(wanted)}")
    print(f"Licence: {_licence(wanted)}")
    if args.source is None and status(wanted.name).problem:
        print(_needs(wanted))
    refuse_unaccepted(wanted, accepted=args.accept_licence)
    with _Display() as display:
        done = install(wanted.name, args.source, display.show, accepted=args.accept_licence)
    if not done.verified:
        print("The hub cannot be reached: your files are used without comparing their digests with the published ones.")
    print(f"Ready: {done.folder} ({readable_size(done.size_bytes)})")
    if done.leftover is not None:
        print(
            f"The downloaded files in {done.leftover} could not all be deleted: run the same again once no other "
            "program has them open, or delete that folder yourself."
        )


def _needs(wanted: CatalogueEntry) -> str:
    """What fetching these weights will take, before anything is begun."""
    from engine.weights.install import needs

    found = needs(wanted.name)
    here = f" ({readable_size(found.arrived_bytes)} of it are here already)" if found.arrived_bytes else ""
    return (
        f"To fetch: {readable_size(found.download_bytes)}{here}. Free disk it wants at its fullest: "
        f"{readable_size(found.disk_bytes)}"
    )


def _repair(args: argparse.Namespace) -> None:
    from engine.weights.install import repair

    wanted = entry(args.name or _PUBLISHED)
    with _Display() as display:
        done = repair(wanted.name, display.show)
    print(f"Whole again: {done.folder} ({readable_size(done.size_bytes)})")


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
    from engine.weights.install import check

    names = [args.name] if args.name else [one.name for one in entries() if _is_there(one.name)]
    for name in names:
        with _Display() as display:
            count = check(name, display.show)
        print(f"{name}: {count} files are whole ({model_folder(name)})")
    for one in () if args.name else loras():
        check_whole(one, again=True)
        print(f"LoRA {one.name}: its file is whole ({one.path})")


def _is_there(name: str) -> bool:
    return entry(name).builtin or model_folder(name).exists()


def _calibrate(args: argparse.Namespace) -> None:
    from engine.cancel import CancelToken
    from engine.engines import resolve_settings
    from engine.paths import pictures_dir
    from engine.pictures import PictureStore
    from engine.request import RenderRequest
    from engine.runtime import Engine
    from engine.sources import first_preset, load_source

    store = PictureStore(pictures_dir())
    width, height = args.size or (None, None)
    settings = resolve_settings(
        args.name or _PUBLISHED, width=width, height=height, num_frames=args.frames, num_inference_steps=args.steps
    )
    scene = load_source(args.scene or first_preset(), store).scene
    events = Engine().calibrate(RenderRequest(scene=scene, settings=settings), store, CancelToken())
    while True:
        try:
            event = next(events)
        except StopIteration as end:
            print(f"Measured in {settings.num_inference_steps} steps: {end.value}")
            return
        if isinstance(event, Progress) and event.num_steps:
            print(f"{STAGES[event.stage]}, {event.step} of {event.num_steps}", file=sys.stderr, flush=True)


def _remove(args: argparse.Namespace) -> None:
    wanted = entry(args.name)
    present = [] if wanted.builtin else [one for one in dict.fromkeys(removable(wanted.name)) if one.exists()]
    if present and not args.yes and not _confirmed(" and ".join(str(folder) for folder in present)):
        return
    print(f"Removed {wanted.title}, {readable_size(remove(wanted.name))} are free again in {models_dir()}")


def _confirmed(what: str) -> bool:
    try:
        answer = input(f"Delete {what}? [y/N] ")
    except EOFError:
        raise InputError("Removing weights has to be confirmed: add --yes.") from None
    if answer.strip().lower() in ("y", "yes"):
        return True
    print("Nothing was removed.")
    return False


def _loras(args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps([{**asdict(one), "file": str(one.path)} for one in loras()], indent=1, ensure_ascii=False))
    elif loras():
        _print_loras()
    else:
        print("There are no LoRAs yet: add a file with `python3 launcher.py weights add-lora FILE`.")


def _print_loras() -> None:
    for one in loras():
        engines = " and ".join(entry(name).title for name in one.engines)
        print(f"LoRA {one.name}: for {engines}")
        print(f"  installed  {one.path} ({readable_size(one.size_bytes)}), sha256 {one.digest[:12]}…")


def _add_lora(args: argparse.Namespace) -> None:
    with _Display() as display:
        one = add_lora(
            args.file,
            lambda done, total: display.show(Progress(stage="copy", step=done, num_steps=total, seconds_left=None)),
        )
    engines = " and ".join(entry(name).title for name in one.engines)
    print(f'Ready: {one.name}, for {engines}. Render with it by --lora "{one.name}"; docs/weights.md says more.')


def _remove_lora(args: argparse.Namespace) -> None:
    one = lora_named(args.name)
    if args.yes or _confirmed(str(one.path)):
        print(f"Removed the LoRA {one.name}, {readable_size(remove_lora(one))} are free again in {models_dir()}")


def _licence(one: CatalogueEntry) -> str:
    return f"{one.licence}. {one.licence_note}"


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
