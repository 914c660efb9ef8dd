"""What a render would do, told before it is done: what the model sees, in which order, bound to which words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from engine.engines import draft_of, engine_info
from engine.errors import SceneError
from engine.request import RenderRequest
from engine.scene import UNBOUND_CODES

PATCH_PX = 16
"""Pixels of one token along a side: 8 of the VAE times 2 of the network's patches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedReference:
    """One reference in model order. `group` counts subjects from 0, None for objects and background; `words` are the
    prompt's tokens it is bound to."""

    role: str
    label: str
    group: int | None
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLora:
    """One LoRA that is added to the network."""

    name: str
    digest: str
    strength: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderPlan:
    """`tokens`: length of the sequence the network works on, references included; `passes`: network passes in all."""

    engine: str
    engine_title: str
    width: int
    height: int
    num_frames: int
    fps: int
    steps: int
    seed: int
    tokens: int
    passes: int
    references: tuple[PlannedReference, ...]
    draft: tuple[str, ...] = ()
    loras: tuple[PlannedLora, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def text(self) -> str:
        """The plan for people."""
        seconds = self.num_frames / self.fps
        lines = [
            f"Engine      {self.engine_title}",
            f"Clip        {self.width}x{self.height}, {self.num_frames} frames at {self.fps} fps ({seconds:.1f} s)",
            f"Work        {self.steps} steps, {self.passes} passes over {self.tokens} tokens, seed {self.seed}",
            *([f"Draft       {'; '.join(self.draft)}"] if self.draft else []),
            *(f"LoRA        {lora.name}, strength {lora.strength:g}" for lora in self.loras),
            "References  in the order the model sees them",
        ]
        for reference in self.references:
            owner = "" if reference.group is None else f" of subject {reference.group + 1}"
            words = " ".join(reference.words) or "no words"
            lines.append(f"            {reference.role}{owner}: “{reference.label}” bound to {words}")
        return "\n".join(lines)


def plan_render(request: RenderRequest) -> RenderPlan:
    """Plan a request with the engine's own tokenizer. Raises `SceneError` for words that reach no token, and
    `WeightsError` where files of the engine or of a LoRA are missing or do not fit, or what a step cache has to know of
    them."""
    from engine.models import load_tokenizer
    from engine.spans import binding_masks, binding_problems
    from engine.weights import locate
    from engine.weights.lora_file import open_merge
    from engine.weights.loras import chosen_loras
    from engine.weights.magnitudes import magnitudes_for

    scene, settings = request.scene, request.settings
    info = engine_info(settings.engine)
    tokenizer = load_tokenizer(settings.engine)
    magnitudes_for(settings)
    loras = chosen_loras(settings)
    open_merge(loras, locate(settings.engine) / "transformer")
    problems = binding_problems(scene, tokenizer, info.text_tokens)
    if request.allow_unbound:
        problems = tuple(problem for problem in problems if problem.code not in UNBOUND_CODES)
    if problems:
        raise SceneError(problems)
    words = _words(request, tokenizer, info.text_tokens)
    masks = binding_masks(scene, tokenizer, info.text_tokens)
    owners = [None] * scene.num_free + [index for index, size in enumerate(scene.groups) for _ in range(size)]
    references = tuple(
        PlannedReference(
            role=reference.role.value,
            label=reference.label,
            group=owner,
            words=tuple(words[place] for place in mask.nonzero()[0] if place < len(words)),
        )
        for reference, owner, mask in zip(scene.references(), owners, masks, strict=True)
    )
    pictures = (settings.num_frames - 1) // 4 + 1 + len(references)
    return RenderPlan(
        engine=info.name,
        engine_title=info.title,
        width=settings.width,
        height=settings.height,
        num_frames=settings.num_frames,
        fps=settings.fps,
        steps=settings.num_inference_steps,
        seed=settings.seed,
        tokens=pictures * (settings.width // PATCH_PX) * (settings.height // PATCH_PX),
        passes=settings.num_inference_steps + settings.guided_steps * (len(settings.passes(len(references))) - 1),
        references=references,
        draft=draft_of(settings),
        loras=tuple(PlannedLora(name=one.name, digest=one.digest, strength=strength) for one, strength in loras),
    )


def _words(request: RenderRequest, tokenizer: Any, text_tokens: int) -> list[str]:
    """The prompt's tokens as people read them."""
    from engine.prompt_text import clean_prompt

    ids = tokenizer(clean_prompt(request.scene.prompt).text, truncation=True, max_length=text_tokens)["input_ids"]
    return [token.replace("▁", "") or "▁" for token in tokenizer.convert_ids_to_tokens(ids)]
