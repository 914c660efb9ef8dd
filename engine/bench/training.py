"""`bench training`: what training the built-in model from nothing takes on this machine, stage by stage.

A few real updates of every stage are timed, on the graphics card if there is one, and its operations counted; the rest
follows from the plans. What starting a stage takes is left out: it is the difference of two runs.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from accelerate import Accelerator
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedTokenizerFast

from engine.bench.network import State
from engine.nano.dataset import CYCLE, SHARD_SCENES, ShardStore
from engine.nano.flow_matching import RelationsPlan
from engine.nano.relations_training import train_relations
from engine.nano.tokenizer import train_tokenizer
from engine.nano.vae_training import VaePlan, train_vae


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFigures:
    """One stage: `piece_s` seconds of one of its `pieces` (updates, or shards of scenes), mean over `measured` of them.

    `teraflop`: operations of one update in 10^12, forwards and backwards; None where nothing is multiplied.
    """

    stage: str
    device: str
    pieces: int
    measured: int
    piece_s: float
    teraflop: float | None = None

    @property
    def seconds(self) -> float:
        """The whole stage."""
        return self.pieces * self.piece_s


def measure_training(*, updates: int = 30, state: State = lambda _: None) -> tuple[StageFigures, ...]:
    """Time `updates` updates of every stage in a temporary folder, after as many that are not counted."""
    if updates < 1:
        raise ValueError("at least one update has to be timed")
    with tempfile.TemporaryDirectory(prefix="lumosx-training-") as temporary:
        folder = Path(temporary)
        state("tokenizer")
        began = time.perf_counter()
        tokenizer = train_tokenizer(folder / "tokenizer")
        words = _figures("tokenizer", 1, 1, time.perf_counter() - began, device="cpu")
        return (words, *_autoencoder(folder, updates, state), *_relations(folder, tokenizer, updates, state))


def _autoencoder(folder: Path, updates: int, state: State) -> tuple[StageFigures, StageFigures]:
    """Stills, then the mixture of clips and stills that follows them."""
    whole = VaePlan()

    def train(name: str, steps: int, still_steps: int) -> None:
        plan = replace(whole, steps=steps, still_steps=still_steps)
        train_vae(folder / name, plan, resume=False, log=_silent)

    found: list[StageFigures] = []
    for stage, pieces, stills in (
        ("vae, stills", whole.still_steps, 10**9),
        ("vae, clips", whole.steps - whole.still_steps, 0),
    ):
        state(stage)
        piece_s, teraflop = _measure(lambda name, steps, n=stills: train(name, steps, n), stage, updates)
        found.append(_figures(stage, pieces, updates, piece_s, teraflop))
    return found[0], found[1]


def _relations(
    folder: Path, tokenizer: PreTrainedTokenizerFast, updates: int, state: State
) -> tuple[StageFigures, StageFigures]:
    """Making the shards of scenes, and learning from them; every structure has a share of either."""
    whole = RelationsPlan()
    vae = AutoencoderKLWan.from_pretrained(folder / "vae, clips-twice" / "vae")
    store = ShardStore(folder / "shards", vae, tokenizer, scenes=whole.batch)
    state("scenes")
    began = time.perf_counter()
    for number in range(len(CYCLE)):
        store.shard(number)
    shard_s = (time.perf_counter() - began) / len(CYCLE) * SHARD_SCENES / whole.batch
    shards = min(whole.shards, whole.first_shards + whole.steps // whole.shard_every)
    state("relations")

    def train(name: str, steps: int) -> None:
        plan = replace(whole, steps=steps, first_shards=len(CYCLE), shards=len(CYCLE))
        train_relations(folder / name, plan, store, resume=False, log=_silent)

    piece_s, teraflop = _measure(train, "relations", updates)
    return (
        _figures("scenes", shards, len(CYCLE), shard_s, device="cpu"),
        _figures("relations", whole.steps, updates, piece_s, teraflop),
    )


def _measure(train: Callable[[str, int], None], name: str, updates: int) -> tuple[float, float]:
    """Seconds of one update and its operations in 10^12. `train` gets the name of a new run and how many updates."""

    def seconds(run: str, count: int) -> float:
        began = time.perf_counter()
        train(run, count)
        return time.perf_counter() - began

    with FlopCounterMode(display=False) as counter:
        train(f"{name}-counted", updates)
    once, twice = seconds(f"{name}-once", updates), seconds(f"{name}-twice", 2 * updates)
    return (twice - once) / updates, counter.get_total_flops() / updates / 1e12


def _figures(
    stage: str, pieces: int, measured: int, piece_s: float, teraflop: float | None = None, *, device: str = ""
) -> StageFigures:
    return StageFigures(
        stage=stage,
        device=device or Accelerator().device.type,
        pieces=pieces,
        measured=measured,
        piece_s=piece_s,
        teraflop=teraflop,
    )


def _silent(*_: object, **__: object) -> None:
    """The stages' own progress is of no use here."""


def report(figures: tuple[StageFigures, ...]) -> str:
    """A table for people and, as the last line, one JSON line for machines."""
    lines = [
        "Training the built-in model from nothing, from a few updates of every stage:",
        f"{'stage':<12}  {'on':<5}  {'pieces':>6}  {'one takes':>10}  {'in all':>9}  {'operations':>12}  {'in all':>9}",
    ]
    for one in figures:
        counted = (
            "" if one.teraflop is None else f"{one.teraflop:>8.3f} T    {one.teraflop * one.pieces / 1000:>6.2f} P"
        )
        lines.append(
            f"{one.stage:<12}  {one.device:<5}  {one.pieces:>6,}  {one.piece_s:>8.3f} s  "
            f"{one.seconds / 60:>5.1f} min  {counted}".rstrip()
        )
    seconds = sum(one.seconds for one in figures)
    lines.append(f"{'together':<12}  {'':<5}  {'':>6}  {'':>10}  {seconds / 60:>5.1f} min")
    lines.append(json.dumps({"training": [asdict(one) | {"seconds": one.seconds} for one in figures]}))
    return "\n".join(lines)
