"""The measurement: does every face wear its own clothes, on scenes that were never trained on?"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from engine.model.layout import Relations
from engine.model.pipeline import Conditioning, LumosXPipeline, draw_noise
from engine.model.step_cache import StepCache
from engine.nano.belongings import DISTRACTORS as STRANGE_THINGS
from engine.nano.belongings import Belongings, score_background, score_belongings
from engine.nano.dataset import tokenise
from engine.nano.fidelity import fidelity
from engine.nano.recognition import (
    Template,
    face_template,
    garment_template,
    locate,
    nearest_face,
    nearest_garment,
    pairs_of_shoes,
)
from engine.nano.vae_training import TRAINING_SEEDS
from engine.nano.world.parts import Person, draw_person, people_differ
from engine.nano.world.prompt import write_prompt
from engine.nano.world.scene import (
    HEIGHT,
    WIDTH,
    Structure,
    WorldScene,
    draw_scene,
    elsewhere,
    model_references,
    render_clip,
)
from engine.pictures import prepare_reference, resized

SUBJECTS = (1, 2, 3)
DISTRACTORS = 6
LOOKED_AT = (0.25, 0.5, 0.75)
"""Where in a clip frames are looked at, as shares of its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How clips are made for the measurement; unless `grouped`, every reference stands alone; with `photographs` the
    reference pictures look photographed, with `wordy` the prompts are long and full of strange words.

    Drafts: `step_cache` and `guided_share` as the pipeline has them; clips of another `width` and `height` than nano's
    own are judged at nano's.
    """

    num_frames: int = 25
    num_inference_steps: int = 20
    guidance_scale: float = 1.0
    relation_guidance: float = 0.0
    shift: float = 3.0
    negative_prompt: str = ""
    relations: Relations = field(default_factory=Relations)
    grouped: bool = True
    photographs: bool = False
    wordy: bool = False
    width: int = WIDTH
    height: int = HEIGHT
    step_cache: StepCache | None = None
    guided_share: float = 1.0

    @classmethod
    def of_card(cls, folder: Path) -> Sampling:
        """The settings that the card in a model folder recommends."""
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        names = ("num_frames", "num_inference_steps", "guidance_scale", "relation_guidance", "shift", "negative_prompt")
        return cls(**{name: card["defaults"][name] for name in names if name in card["defaults"]})


@dataclass(frozen=True, slots=True)
class Score:
    """Shares of subjects: `binding` found among the scene's faces and dressed in their own garment, `face` nearest to
    their own picture among the scene's faces and six strangers. `surplus`: of the frames in which more figures stand
    than the scene has."""

    binding: float
    face: float
    surplus: float = 0.0


def evaluation_scene(seed: int, number: int, num_subjects: int, *, full: bool = False) -> WorldScene:
    """Scene `number` of a measurement: everybody has a garment, every second scene a background.

    A `full` one always has a background, an object, and a hat for everybody.
    """
    structure = Structure(background=full or number % 2 == 0, thing=full, groups=(2 + full,) * num_subjects)
    rng = np.random.default_rng([seed, number, num_subjects, 31])
    while True:
        scene = draw_scene(TRAINING_SEEDS + int(rng.integers(TRAINING_SEEDS)), structure)
        # One attribute can also be a hat; a binding of garments can only be judged with a garment each.
        if all(member.shows_garment for member in scene.members):
            return scene


def score_clip(frames: np.ndarray, scene: WorldScene) -> Score:
    """Judge a clip `[F, H, W, 3]` uint8 by the scene it should show."""
    looks = [member.look for member in scene.members]
    faces = [face_template(look.person, look.hat) for look in looks]
    garments = [garment_template(look.garment) for look in looks]
    rng = np.random.default_rng([scene.seed, 37])
    recognised: list[bool] = []
    surplus: list[bool] = []
    for frame in looked_at(frames):
        surplus.append(pairs_of_shoes(frame) > len(faces))
        for index, head in enumerate(locate(frame, faces)):
            strangers = [face_template(person, looks[index].hat) for person in _strangers(rng, scene, index)]
            own = nearest_face(frame, head, faces) == index
            recognised.append(own and nearest_face(frame, head, [faces[index], *strangers]) == 0)
    return Score(
        binding=bound_share(frames, faces, garments),
        face=float(np.mean(recognised)),
        surplus=float(np.mean(surplus)),
    )


def bound_share(frames: np.ndarray, faces: Sequence[Template], garments: Sequence[Template]) -> float:
    """Share of figures of a clip `[F, H, W, 3]` uint8 found by their own face and dressed in their own garment."""
    bound: list[bool] = []
    for frame in looked_at(frames):
        for index, head in enumerate(locate(frame, faces)):
            own = nearest_face(frame, head, faces) == index
            bound.append(own and nearest_garment(frame, head, garments) == index)
    return float(np.mean(bound))


def looked_at(frames: np.ndarray) -> list[np.ndarray]:
    """The frames of a clip that are judged."""
    return [frames[int(share * (len(frames) - 1))] for share in LOOKED_AT]


def conditioning_of(pipeline: LumosXPipeline, scene: WorldScene, sampling: Sampling) -> Conditioning:
    """What the pipeline is told of a drawn scene: its reference pictures, a sentence and who is who in it."""
    prompt = write_prompt(scene, np.random.default_rng([scene.seed, 41]), wordy=sampling.wordy)
    tokenizer = cast(PreTrainedTokenizerFast, pipeline.tokenizer)
    _, _, masks = tokenise(prompt, tokenizer, everywhere=False, num_tokens=int(pipeline.config["text_tokens"]))
    pictures = model_references(scene, photographs=sampling.photographs)
    pictures = np.stack([prepare_reference(picture, sampling.width, sampling.height) for picture in pictures])
    return Conditioning(
        context=pipeline.encode_prompt(prompt.text),
        negative_context=pipeline.encode_prompt(sampling.negative_prompt),
        reference_latents=pipeline.encode_references(pictures),
        groups=scene.structure.groups if sampling.grouped else (),
        text_masks=masks,
    )


def make_clips(
    pipeline: LumosXPipeline, scene: WorldScene, sampling: Sampling, seeds: tuple[int, ...]
) -> list[np.ndarray]:
    """Clips `[F, H, W, 3]` uint8 of a drawn scene at nano's own size, one per seed."""
    latents = pipeline.denoise(
        draw_noise(pipeline.latent_shape(sampling.width, sampling.height, sampling.num_frames), seeds),
        conditioning_of(pipeline, scene, sampling),
        num_inference_steps=sampling.num_inference_steps,
        guidance_scale=sampling.guidance_scale,
        relation_guidance=sampling.relation_guidance,
        shift=sampling.shift,
        relations=sampling.relations,
        step_cache=sampling.step_cache,
        guided_share=sampling.guided_share,
    )
    return [resized(np.stack(list(pipeline.frames(row[None]))), WIDTH, HEIGHT) for row in latents]


def evaluate(
    pipeline: LumosXPipeline,
    scenes: int,
    seed: int,
    sampling: Sampling,
    subjects: Sequence[int] = SUBJECTS,
    log: Callable[..., None] = print,
) -> dict[str, dict[str, float]]:
    """The accuracies of `measure_row` by number of subjects."""
    table: dict[str, dict[str, float]] = {}
    for count in subjects:
        row = measure_row(pipeline, scenes, seed, sampling, count)
        table[str(count)] = row
        log(f"{count} subjects: binding {row['binding_accuracy']:.3f} (chance {row['chance']:.2f}; "
            f"photographed {row['photographed_binding_accuracy']:.3f}, wordy {row['wordy_binding_accuracy']:.3f}, "
            f"in unknown places {row['unknown_place_binding_accuracy']:.3f}), "
            f"faces {row['face_accuracy']:.3f} (chance {row['face_chance']:.2f}), hats {row['hat_accuracy']:.3f}, "
            f"objects {row['object_accuracy']:.3f}, backgrounds {row['background_accuracy']:.3f} "
            f"(unknown ones {row['unknown_place_accuracy']:.3f}), "
            f"surplus figures {row['surplus_figures']:.3f} (true clips {row['surplus_figures_of_true_clips']:.3f}), "
            f"{row['fidelity_db']:.1f} dB", flush=True)  # fmt: skip
    return table


def measure_row(
    pipeline: LumosXPipeline, scenes: int, seed: int, sampling: Sampling, num_subjects: int
) -> dict[str, float]:
    """What `measure_binding` and `measure_further` tell, the latter over half as many scenes."""
    return {
        **measure_binding(pipeline, scenes, seed, sampling, num_subjects),
        **measure_further(pipeline, (scenes + 1) // 2, seed, sampling, num_subjects),
    }


def measure_binding(
    pipeline: LumosXPipeline, scenes: int, seed: int, sampling: Sampling, num_subjects: int
) -> dict[str, float]:
    """Binding, faces and fidelity over `scenes` scenes.

    Beside each accuracy stands the level of pure chance. True clips do not quite reach 1 where people hide one another.
    Surplus figures are counted as shares of frames, and true clips beside them: who walks may count twice.
    """
    scores = score_scenes(pipeline, scenes, seed, sampling, num_subjects)
    ceiling: list[Score] = []
    fidelities: list[float] = []
    native = dataclasses.replace(sampling, width=WIDTH, height=HEIGHT)
    for number in range(scenes):
        scene = evaluation_scene(seed, number, num_subjects)
        conditioning = conditioning_of(pipeline, scene, native)
        true = render_clip(scene, sampling.num_frames)
        ceiling.append(score_clip(true, scene))
        fidelities.append(fidelity(pipeline, true, conditioning, sampling.relations, number))
    return _rounded(
        {
            "binding_accuracy": np.mean([score.binding for score in scores]),
            "face_accuracy": np.mean([score.face for score in scores]),
            "binding_of_true_clips": np.mean([score.binding for score in ceiling]),
            "surplus_figures": np.mean([score.surplus for score in scores]),
            "surplus_figures_of_true_clips": np.mean([score.surplus for score in ceiling]),
            "chance": 1 / num_subjects,
            "face_chance": 1 / (1 + DISTRACTORS),
            "fidelity_db": np.mean(fidelities),
        }
    )


def score_scenes(
    pipeline: LumosXPipeline, scenes: int, seed: int, sampling: Sampling, num_subjects: int
) -> list[Score]:
    """How every one of `scenes` scenes is judged, with its number as the seed of its noise."""
    drawn = [evaluation_scene(seed, number, num_subjects) for number in range(scenes)]
    return [score_clip(make_clips(pipeline, scene, sampling, (n,))[0], scene) for n, scene in enumerate(drawn)]


def measure_further(
    pipeline: LumosXPipeline, scenes: int, seed: int, sampling: Sampling, num_subjects: int
) -> dict[str, float]:
    """Binding with photographed references, with wordy prompts, and with everything photographed before a place that no
    word names, such as a user's own room; hats, objects and backgrounds in full scenes.

    The level of pure chance for hats is that of garments.
    """
    bindings: dict[str, list[float]] = {"photographed": [], "wordy": []}
    ways = (dataclasses.replace(sampling, photographs=True), dataclasses.replace(sampling, wordy=True))
    belongings: list[Belongings] = []
    strange: list[tuple[float, float]] = []
    for number in range(scenes):
        scene = evaluation_scene(seed, number, num_subjects)
        for found, way in zip(bindings.values(), ways, strict=True):
            found.append(score_clip(make_clips(pipeline, scene, way, (number,))[0], scene).binding)
        scene = elsewhere(scene)
        clip = make_clips(pipeline, scene, ways[0], (number,))[0]
        place = score_background(looked_at(clip), scene, np.random.default_rng([scene.seed, 47]))
        strange.append((score_clip(clip, scene).binding, place))
        scene = evaluation_scene(seed, number, num_subjects, full=True)
        clip = make_clips(pipeline, scene, sampling, (number,))[0]
        belongings.append(score_belongings(looked_at(clip), scene))
    return _rounded(
        {
            **{f"{name}_binding_accuracy": np.mean(found) for name, found in bindings.items()},
            "hat_accuracy": np.mean([found.hat for found in belongings]),
            "object_accuracy": np.mean([found.thing for found in belongings]),
            "background_accuracy": np.mean([found.background for found in belongings]),
            "unknown_place_binding_accuracy": np.mean([binding for binding, _ in strange]),
            "unknown_place_accuracy": np.mean([place for _, place in strange]),
            "object_chance": 1 / (1 + STRANGE_THINGS),
        }
    )


def _rounded(row: Mapping[str, np.floating | float]) -> dict[str, float]:
    return {name: round(float(value), 4) for name, value in row.items()}


def load_pipeline(folder: Path) -> LumosXPipeline:
    """The pipeline in `folder`, float32, silent."""
    pipeline = LumosXPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def weights_digest(folder: Path) -> str:
    """sha256 over all weights files of a model folder, in the order of their paths."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _strangers(rng: np.random.Generator, scene: WorldScene, index: int) -> list[Person]:
    own = scene.members[index].look.person
    strangers: list[Person] = []
    while len(strangers) < DISTRACTORS:
        candidate = draw_person(rng)
        if people_differ(candidate, own):
            strangers.append(candidate)
    return strangers
