"""Step caches: what a run does around its passes, so that a step that differs little need not be worked out in full.

diffusers' hooks do the work; here they are put on the network's blocks for one run and taken off again. The passes of
a step go by the names "cond", "uncond" and "unrelated", and each keeps a memory of its own. What is kept and taken over
is what the blocks add to the whole stream, the video's tokens and the references' alike.

`MagnitudeRecorder` measures what `MagnitudeCache` has to know of a network beforehand.
"""

# diffusers types its extension points for its own classes only.
# pyright: reportArgumentType=false, reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from diffusers.hooks.first_block_cache import FirstBlockCacheConfig
from diffusers.hooks.group_offloading import _LAZY_PREFETCH_GROUP_OFFLOADING
from diffusers.hooks.hooks import HookRegistry
from diffusers.hooks.mag_cache import MagCacheConfig

from engine.model.attention import RelationalContext
from engine.model.transformer import LumosXTransformer3DModel

Branch = Callable[[str], AbstractContextManager[None]]
"""What a pass of this name is made within."""


class StepCache(Protocol):
    """Something at work around the passes of one run."""

    def around(self, network: LumosXTransformer3DModel, num_steps: int, done: int) -> AbstractContextManager[Branch]:
        """Be at work on `network` while a run of `num_steps` takes those after the first `done`."""
        ...


def looks_first(network: LumosXTransformer3DModel) -> bool:
    """Whether the next pass of a network is the one in which blocks that are fetched ahead find out their order.

    Behind it diffusers takes the hooks that looked on out from under those of a cache, which come undone by that: such
    a pass has to be made before a cache is put on.
    """
    return HookRegistry.check_if_exists_or_initialize(network).get_hook(_LAZY_PREFETCH_GROUP_OFFLOADING) is not None


@dataclass(frozen=True, slots=True)
class FirstBlockCache:
    """A pass whose first block changes its stream by less than `threshold`, as a share, takes what the other blocks did
    from the step before."""

    threshold: float

    @contextmanager
    def around(self, network: LumosXTransformer3DModel, num_steps: int, done: int) -> Generator[Branch]:
        del num_steps, done  # it looks at nothing but the pass itself
        network.enable_cache(FirstBlockCacheConfig(threshold=self.threshold))
        try:
            yield cast(Branch, network.cache_context)
        finally:
            network.disable_cache()


@dataclass(frozen=True, slots=True, kw_only=True)
class MagnitudeCache:
    """A step takes what all blocks did from the step before, as long as the magnitudes measured beforehand say that the
    steps taken over are off by no more than `threshold`, as a share and added up.

    `cond`, `uncond`, `unrelated`: by how much what the blocks add grew from each step to the next (the first is 1) in
    the passes with the prompt, with the negative prompt and without CSAM, of a run of any number of steps. The first
    fifth of a run is always worked out, and of four steps in a
    row at least one. Which steps are taken over depends on neither seed nor scene.
    """

    threshold: float
    cond: Sequence[float]
    uncond: Sequence[float]
    unrelated: Sequence[float]

    @contextmanager
    def around(self, network: LumosXTransformer3DModel, num_steps: int, done: int) -> Generator[Branch]:
        measured = {"cond": self.cond, "uncond": self.uncond, "unrelated": self.unrelated}
        whole = {name: self._config(ratios, num_steps) for name, ratios in measured.items()}
        retained = int(whole["cond"].retention_ratio * num_steps + 0.5)
        # The hooks count the passes they see: those of a run that goes on are the later ones.
        left = num_steps - done
        active = self._config(self.cond, num_steps)
        active.num_inference_steps = left
        active.retention_ratio = max(0, retained - done) / left if left else 0.0
        rest = {name: torch.as_tensor(config.mag_ratios)[done:] for name, config in whole.items()}

        @contextmanager
        def branch(name: str) -> Generator[None]:
            # One configuration serves all hooks of the network; the passes have different figures.
            active.mag_ratios = rest[name]
            with network.cache_context(name):
                yield

        network.enable_cache(active)
        try:
            yield branch
        finally:
            network.disable_cache()

    def _config(self, ratios: Sequence[float], num_steps: int) -> MagCacheConfig:
        """diffusers' own, which stretches the ratios to so many steps."""
        return MagCacheConfig(
            threshold=self.threshold, num_inference_steps=num_steps, mag_ratios=torch.tensor(list(ratios))
        )


@dataclass(slots=True)
class MagnitudeRecorder:
    """Takes no step over, and measures what `MagnitudeCache` wants to know: `ratios[name]`, one value for each step.

    diffusers' own calibration only prints its figures, and takes the mean over all tokens. Here only the video's count:
    what the blocks do to reference pictures hardly changes from step to step, and would dilute the figures by as much
    as the scene has pictures.
    """

    ratios: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    @contextmanager
    def around(self, network: LumosXTransformer3DModel, num_steps: int, done: int) -> Generator[Branch]:
        del num_steps, done
        passing = _Passing(self.ratios)
        handles = [
            network.blocks[0].register_forward_pre_hook(passing.before),
            network.blocks[-1].register_forward_hook(passing.after),
        ]
        try:
            yield passing.branch
        finally:
            for handle in handles:
                handle.remove()


class _Passing:
    """What a recorder knows of the pass under way."""

    def __init__(self, ratios: dict[str, list[float]]) -> None:
        self._ratios = ratios
        self._name = ""
        self._stream: torch.Tensor | None = None
        self._norms: dict[str, torch.Tensor] = {}

    @contextmanager
    def branch(self, name: str) -> Generator[None]:
        self._name = name
        yield

    def before(self, _block: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
        context = next(one for one in arguments if isinstance(one, RelationalContext))
        self._stream = cast(torch.Tensor, arguments[0])[:, : context.layout.video_tokens]

    def after(self, _block: torch.nn.Module, _arguments: tuple[Any, ...], output: torch.Tensor) -> None:
        assert self._stream is not None
        norms = torch.linalg.norm(output[:, : self._stream.shape[1]].float() - self._stream.float(), dim=-1)
        self._stream = None
        before = self._norms.get(self._name)
        ratio = 1.0 if before is None else float((norms / (before + 1e-8)).mean())
        self._ratios.setdefault(self._name, []).append(ratio)
        self._norms[self._name] = norms
