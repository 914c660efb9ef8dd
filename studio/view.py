"""From values to what the page shows: plain JSON with words for people. Nothing here is sent as markup."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote

from engine.codec import to_json
from engine.engines import EngineInfo, draft_of, engine_info
from engine.events import STAGES, Preview
from engine.request import RenderRequest, RenderSettings, nearest_frames, nearest_size
from engine.scene import Reference, Role, Scene
from studio.findings import Finding, findings, too_many
from studio.jobs import Job, JobState
from studio.languages import heard, say, say_count
from studio.library import PresetEntry
from studio.loras_desk import lora_choices
from studio.places import places

Json = dict[str, Any]

NUM_TONES = 6
"""How many subjects have a colour of their own before colours repeat; their numbers never do."""

_OWN_CLIP = re.compile(r"\d{8}-\d{6}-(.+?)-seed\d+(?:-\d+)?")
_ROLES = {
    Role.face: "role_face",
    Role.attribute: "role_attribute",
    Role.object: "role_object",
    Role.background: "role_background",
}


def picture_url(reference: Reference) -> str:
    """Return where the page finds a small copy of what the model sees of a reference."""
    url = f"studio/picture/{reference.image}"
    return url if reference.mask is None else f"{url}?mask={reference.mask}&role={reference.role.value}"


def mosaic_view(reference: Reference) -> Json:
    """Return a reference as a tile of a preset; a thing is shown whole, a face or a place may be cropped."""
    return {"url": picture_url(reference), "whole": reference.role in (Role.attribute, Role.object)}


def preset_views(entries: Iterable[PresetEntry]) -> list[Json]:
    """Return the presets of the list."""
    return [
        {
            "name": entry.name,
            "title": entry.title,
            "about": entry.about,
            "pictures": [mosaic_view(picture) for picture in entry.pictures],
            "error": entry.error,
            "kind": entry.kind,
            "words": entry.words.casefold(),
            "own": entry.own,
        }
        for entry in entries
    ]


def scene_view(scene: Scene, title: str, advice: Callable[[Reference], str] = lambda _: "") -> Json:
    """Return a scene as the page shows it: the value itself, its cast by owner, which words mean what, what to mend.

    `scene` is sent back with edits. `marks` are characters [start, end) of the prompt, counted as Python does.
    `advice` says what is wrong with the picture of a reference, "" if nothing.
    """
    owners = list(_owners(scene, advice))
    marks: list[Json] = []
    for owner in owners:
        for reference in owner["references"]:
            marks += [
                {"start": start, "end": end, "tone": owner["tone"], "badge": owner["badge"], "target": reference["id"]}
                for start, end in reference.pop("places")
            ]
    found = findings(scene)
    named = sum(1 for owner in owners for reference in owner["references"] if not reference["missing"])
    total = len(scene.references())
    return {
        "scene": to_json(scene),
        "title": title,
        "prompt": scene.prompt,
        "marks": sorted(marks, key=lambda mark: (mark["start"], mark["end"])),
        "owners": owners,
        "reading": say_count("reading", total, named=named) if total else "",
        "problems": [_finding(finding) for finding in found],
        "advice": [_finding(finding) for finding in too_many(scene)],
        "may_skip_binding": any(finding.may_skip for finding in found),
    }


def _finding(finding: Finding) -> Json:
    mends = [{"title": mend.title, "edit": mend.edit} for mend in finding.mends]
    return {"text": finding.message, "target": finding.target, "mends": mends}


def _owners(scene: Scene, advice: Callable[[Reference], str]) -> Iterator[Json]:
    for number, subject in enumerate(scene.subjects, start=1):
        tone = f"s{(number - 1) % NUM_TONES + 1}"
        name = subject.face.label.strip() if subject.face else ""
        yield {
            "id": subject.id,
            "kind": "subject",
            "title": say("subject", number=number),
            "name": name,
            "tone": tone,
            "badge": str(number),
            "references": [_reference(scene, reference, advice) for reference in subject.references],
        }
    several = len(scene.objects) > 1
    for number, reference in enumerate(scene.objects, start=1):
        yield {
            "id": reference.id,
            "kind": "object",
            "title": say("object", number=number) if several else say("role_object"),
            "name": reference.label,
            "tone": "object",
            "badge": f"O{number}" if several else "O",
            "references": [_reference(scene, reference, advice)],
        }
    if scene.background is not None:
        yield {
            "id": scene.background.id,
            "kind": "background",
            "title": say("role_background"),
            "name": scene.background.label,
            "tone": "background",
            "badge": "B",
            "references": [_reference(scene, scene.background, advice)],
        }


def _reference(scene: Scene, reference: Reference, advice: Callable[[Reference], str]) -> Json:
    found = places(scene, reference)
    if reference.id in scene.unbound:
        bound = say("bound_none")
    elif not found:
        bound = say("bound_missing")
    else:
        words = scene.prompt[found[0][0] : found[0][1]]
        key = "bound" if words == reference.label else "bound_other"
        bound = say_count(key, len(found), words=words)
    return {
        "id": reference.id,
        "kind": reference.role.value,
        "role": say(_ROLES[reference.role]),
        "label": reference.label,
        "picture": picture_url(reference) if reference.image else "",
        "image": reference.image,
        "mask": reference.mask,
        "places": found,
        "bound": bound,
        "missing": not found and reference.id not in scene.unbound,
        "advice": advice(reference),
    }


def job_view(job: Job) -> Json:
    """Return a job as the run panel shows it; its preview travels on its own."""
    settings = job.request.settings
    progress = job.progress
    stage = progress.stage if progress else ""
    return {
        "id": job.id,
        "title": job.title,
        "state": job.state.value,
        "started": job.started is not None,
        "ended": job.ended,
        "picture": _job_picture(job),
        "saved_step": job.step,
        "batch": job.batch,
        "stage": heard(STAGES.get(stage, stage.replace("_", " ").capitalize())) or say("job_starting"),
        "step": progress.step if progress else 0,
        "num_steps": progress.num_steps if progress else 0,
        "seconds_left": progress.seconds_left if progress and job.state is JobState.running else None,
        "seed": str(settings.seed),
        "builtin": engine_info(settings.engine).builtin,
        "notice": heard(job.notice),
        "error": heard(job.error) if job.error else job.error,
        "has_log": job.log is not None,
        # remembered longer than its file, perhaps
        "clip": clip_view(job.clip.path.name, job.request, job.clip.seconds)
        if job.clip and job.clip.path.exists()
        else None,
    }


def _job_picture(job: Job) -> Json | None:
    """The picture that tells a job from others: the first face, else the first of the scene's pictures."""
    references = job.request.scene.references()
    faces = [reference for reference in references if reference.role is Role.face]
    return next((mosaic_view(reference) for reference in [*faces, *references]), None)


def clip_url(name: str) -> str:
    """Return where the page finds a clip."""
    return f"studio/clip/{quote(name)}"


def export_url(name: str) -> str:
    """Return where the page finds a clip in another format."""
    return f"studio/export/{quote(name)}"


def clip_title(name: str) -> str:
    """Return a clip's title from its file name: our own names without date and seed, others as they are."""
    stem = name.rsplit(".", 1)[0]
    own = _OWN_CLIP.fullmatch(stem)
    words = own[1].replace("-", " ") if own else stem
    return words[:1].upper() + words[1:]


def clip_view(name: str, request: RenderRequest | None, seconds: float | None) -> Json:
    """Return a clip as the page shows it; `request` is None for a file that does not say how it was made."""
    answer: Json = {"name": name, "url": clip_url(name), "title": clip_title(name), "has_scene": request is not None}
    if request is None:
        return answer | {"prompt": say("clip_unknown_origin"), "builtin": False}
    settings = request.settings
    info = engine_info(settings.engine)
    return (
        answer
        | settings_view(settings)
        | {
            "prompt": request.scene.prompt,
            "builtin": info.builtin,
            "engine_title": heard(info.title),
            "fps": settings.fps,
            "draft": [heard(part) for part in draft_of(settings)],
            "seconds": seconds,
        }
    )


def preview_url(preview: Preview) -> str:
    """Return a preview as an animated picture in a data address."""
    return "data:image/webp;base64," + base64.b64encode(preview.webp).decode("ascii")


def settings_view(settings: RenderSettings) -> Json:
    """Return the settings the page has controls for."""
    return {
        "engine": settings.engine,
        "width": settings.width,
        "height": settings.height,
        "num_frames": settings.num_frames,
        "num_inference_steps": settings.num_inference_steps,
        "step_cache": settings.step_cache,
        "step_cache_kind": settings.step_cache_kind,
        "guidance_scale": settings.guidance_scale,
        "relation_guidance": settings.relation_guidance,
        "binding_strength": settings.binding_strength,
        "shift": settings.shift,
        "guided_share": settings.guided_share,
        "loras": to_json(settings.loras),
        "seed": str(settings.seed),
    }


def engine_view(info: EngineInfo, missing: str | None, settings: RenderSettings) -> Json:
    """Return an engine with the sizes and lengths worth offering beside its usual `settings`; `missing` says why it
    cannot be used yet."""
    square = nearest_size(round((settings.width * settings.height) ** 0.5))
    sizes = {
        f"{settings.width}x{settings.height}": say("size_wide", width=settings.width, height=settings.height),
        f"{settings.height}x{settings.width}": say("size_tall", width=settings.height, height=settings.width),
        f"{square}x{square}": say("size_square", side=square),
    }
    title = heard(info.title)
    lengths = sorted({1, nearest_frames(settings.num_frames // 2), settings.num_frames})
    return {
        "name": info.name,
        "title": title if missing is None else say("weights_missing", title=title),
        "builtin": info.builtin,
        "available": missing is None,
        "note": say("weights_note", note=heard(info.note), licence=info.licence),
        "sizes": [{"value": value, "title": title} for value, title in sizes.items()],
        "frames": [{"value": str(count), "title": _length(count, settings.fps)} for count in lengths],
        "defaults": settings_view(settings),
        "loras": lora_choices(info.name),
    }


def _length(num_frames: int, fps: int) -> str:
    return say_count("length", num_frames, seconds=f"{num_frames / fps:.1f}")
