"""`render SCENE --out FILE`: a scene goes in, a clip comes out."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from engine.cancel import CancelToken
from engine.codec import to_json
from engine.engines import DEFAULT_ENGINE, draft_of, engine_info, resolve_settings
from engine.events import STAGES, Event, Finished, Notice, Preview, Progress
from engine.memory.profiles import check_profile, limits_in_gb, place_of
from engine.request import LoraChoice, RenderRequest, RenderSettings

if TYPE_CHECKING:
    from engine.pictures import PictureStore
    from engine.sources import Source


def run(args: argparse.Namespace) -> int:
    """Render, or with `--dry-run` say what would be rendered."""
    from engine.paths import pictures_dir
    from engine.pictures import PictureStore
    from engine.sources import load_source

    store = PictureStore(pictures_dir())
    source = load_source(args.scene, store)
    request = RenderRequest(scene=source.scene, settings=settings_of(args, source), allow_unbound=args.allow_unbound)
    if args.dry_run:
        return _dry_run(args, request)
    return _render(args, request, store)


def settings_of(args: argparse.Namespace, source: Source) -> RenderSettings:
    """Command line before the source's own settings before the engine's defaults.

    Another engine than the source's takes its own defaults for everything but the seed.
    """
    given = source.settings
    engine = args.engine or (given.engine if given else DEFAULT_ENGINE)
    kept: dict[str, Any] = {}
    if given is not None:
        same = given.engine == engine
        kept = {
            field.name: getattr(given, field.name)
            for field in fields(RenderSettings)
            if field.name != "engine" and (same or field.name == "seed")
        }
    chosen = chosen_settings(args)
    chosen |= {name: value for name in ("seed", "profile") if (value := getattr(args, name)) is not None}
    if args.profile is not None:
        check_profile(args.profile)
    return resolve_settings(engine, **(kept | chosen))


def chosen_settings(args: argparse.Namespace) -> dict[str, Any]:
    """What the options of `add_render_settings` say of a clip's settings, those alone that were given."""
    width, height = args.size or (None, None)
    chosen = {
        "width": width,
        "height": height,
        "num_frames": args.frames,
        "fps": args.fps,
        "num_inference_steps": args.steps,
        "guidance_scale": args.guidance,
        "shift": args.shift,
        "binding_strength": args.strength,
        "step_cache": args.step_cache,
        "step_cache_kind": args.step_cache_kind,
        "guided_share": args.guided_share,
        "relation_guidance": args.relation_guidance,
        "loras": _loras(args),
        "attention": args.attention,
    }
    return {name: value for name, value in chosen.items() if value is not None}


def _loras(args: argparse.Namespace) -> tuple[LoraChoice, ...] | None:
    """The LoRAs that the command line names, None if it says nothing of them."""
    if args.no_lora:
        return ()
    if not args.lora:
        return None
    from engine.weights.loras import lora_named

    found = [(lora_named(name), strength) for name, strength in args.lora]
    return tuple(LoraChoice(name=one.name, digest=one.digest, strength=strength) for one, strength in found)


def _render(args: argparse.Namespace, request: RenderRequest, store: PictureStore) -> int:
    from engine.clip import check_target
    from engine.runtime import Engine

    outs = _outs(args.out, args.seeds)
    for out in outs.values():
        check_target(out)
    info = engine_info(request.settings.engine)
    show = _JsonLines() if args.json else _Terminal(info.title)
    cancel = CancelToken()
    with _cancelled_by_signals(cancel):
        engine = Engine(limits=limits_in_gb(args.ram, args.vram))
        pictures = not args.no_pictures
        if outs:
            events = engine.render_seeds(request, store, cancel, outs, include_pictures=pictures)
        else:
            check_target(args.out)
            events = engine.render(request, store, cancel, args.out, include_pictures=pictures)
        for event in events:
            show(event)
    return 0


def _outs(out: Path, seeds: tuple[int, ...] | None) -> dict[int, Path]:
    """The file of each of several seeds: `clip.mp4` becomes `clip-seed1.mp4` and so on; empty without `seeds`."""
    return {seed: out.with_name(f"{out.stem}-seed{seed}{out.suffix}") for seed in seeds or ()}


@contextmanager
def _cancelled_by_signals(cancel: CancelToken) -> Generator[None]:
    """Ctrl-C and SIGTERM end the render at its next step, tidily; a second one ends the process at once."""
    before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }

    def stop(number: int, _: object) -> None:
        cancel.cancel()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Terminal:
    """One line on stderr that follows the render where somebody watches it; the clip's path on stdout."""

    def __init__(self, title: str) -> None:
        self._live = sys.stderr.isatty()
        self._title = title

    def __call__(self, event: Event) -> None:
        match event:
            case Progress():
                self._show(self._line(event))
            case Preview():
                pass
            case Notice():
                self._show("")
                print(event.text, file=sys.stderr, flush=True)
            case Finished():
                self._show("")
                print(f"Made with {self._title} in {_duration(event.clip.seconds)}.", file=sys.stderr)
                draft = draft_of(event.clip.request.settings)
                if draft:
                    print(f"This is a draft: {'; '.join(draft)}.", file=sys.stderr)
                print(event.clip.path, flush=True)

    def _line(self, event: Progress) -> str:
        text = f"{self._title}: {STAGES.get(event.stage, event.stage)}"
        if event.num_steps:
            text += f", {event.step} of {event.num_steps}"
        if event.seconds_left is not None:
            text += f", {_duration(event.seconds_left)} left"
        return text

    def _show(self, text: str) -> None:
        if self._live:
            sys.stderr.write(f"\r\x1b[K{text}")
            sys.stderr.flush()


class _JsonLines:
    """Every event as a line of JSON on stdout; pictures of previews stay out."""

    def __call__(self, event: Event) -> None:
        match event:
            case Progress():
                value: dict[str, Any] = {"event": "progress", **_object(to_json(event))}
            case Preview():
                value = {"event": "preview", "step": event.step, "width": event.width, "height": event.height}
            case Notice():
                value = {"event": "notice", "text": event.text}
            case Finished():
                info = engine_info(event.clip.request.settings.engine)
                value = {
                    "event": "finished",
                    "path": str(event.clip.path),
                    "engine": info.name,
                    "engine_title": info.title,
                    "builtin": info.builtin,
                    "draft": draft_of(event.clip.request.settings),
                    "clip": to_json(event.clip),
                }
        print(json.dumps(value, ensure_ascii=False), flush=True)


def _object(value: Any) -> dict[str, Any]:
    assert isinstance(value, dict)
    return value


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{whole} s" if whole < 90 else f"{whole // 60} min {whole % 60:02d} s"


def _dry_run(args: argparse.Namespace, request: RenderRequest) -> int:
    """Check everything short of the networks and say what would be made, and what that would take.

    With --vram or --ram: on a machine with so much memory, whatever this one has.
    """
    from engine.clip import check_target
    from engine.memory.forecast import forecast
    from engine.memory.pace import PaceBook
    from engine.models import choose_device, free_memory
    from engine.paths import pace_file
    from engine.render_plan import plan_render

    if args.out is not None:
        check_target(args.out)
    plan = plan_render(request)
    settings = request.settings
    device = choose_device(place_of(settings.profile))
    supposed = limits_in_gb(args.ram, args.vram).supposed(free_memory(device))
    kind = "cuda" if supposed.card_bytes is not None else device.type
    told = forecast(settings, len(plan.references), supposed, kind, PaceBook(pace_file()))
    if args.json:
        print(json.dumps({**plan.to_json(), "forecast": told.to_json()}, ensure_ascii=False), flush=True)
    else:
        first, *rest = told.words()
        print("\n".join([plan.text(), f"Forecast    {first}", *(f"            {line}" for line in rest)]), flush=True)
    return 0
