"""What the page needs of the engine's machinery, as one value: where pixels come from, which engines can be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import WeightsError
from engine.faces.process import FaceProgram, installed_finder
from engine.masks.process import CutterProgram
from engine.masks.programs import installed_cutters
from engine.memory.lent import Lent
from engine.weights import locate
from studio.card_engine import card_engines
from studio.running import RenderEngine
from studio.space import lent_card


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """`make_engine` is called in the worker thread. `missing_weights` answers with the sentence that says how to get an
    engine's weights, None where they are installed. `cutters` are those that can be used, the best first;
    `face_finder` finds faces, None where there is no detector. `errands` is the module of the process that installs
    weights. `lent`: the card that is lent for each render, None where the machine has what it has. `card_engines` makes
    an engine for each of several graphics cards; empty where `make_engine` is enough."""

    make_engine: Callable[[], RenderEngine]
    missing_weights: Callable[[str], str | None]
    cutters: Callable[[], tuple[CutterProgram, ...]] = installed_cutters
    face_finder: Callable[[], FaceProgram | None] = installed_finder
    errands: str = "engine.weights.errand"
    lent: Lent | None = None
    card_engines: Callable[[], tuple[Callable[[], RenderEngine], ...]] = tuple


def installed_backend() -> Backend:
    """Return the real engine and the weights of this machine; nothing heavy is imported before the first render."""
    lent = lent_card()
    if lent is None:
        return Backend(make_engine=_make_engine, missing_weights=_missing_weights, card_engines=card_engines)
    from studio.zero_gpu import lend

    return Backend(make_engine=lend(lent), missing_weights=_missing_weights, lent=lent)


def _make_engine() -> RenderEngine:
    from engine.runtime import Engine

    return Engine()


def _missing_weights(engine: str) -> str | None:
    try:
        locate(engine)
    except WeightsError as error:
        return str(error)
    return None
