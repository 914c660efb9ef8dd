"""Edits of the cast: who is in it, what belongs to whom, in which order. Pure functions from scene to scene.

Ids are made from what the scene holds, so the same edit of the same scene gives the same value.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePath

from engine.errors import InputError
from engine.scene import PromptSpan, Reference, Role, Scene, Subject
from engine.scene_file import with_references
from studio.languages import say
from studio.places import owner_of, places, proposed, reference_of, splice

MAX_SUBJECTS = 12
MAX_REFERENCES = 48
"""More than any model here can tell apart by far; the bound keeps a slip with a folder of photographs harmless."""

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_CAMERA = re.compile(
    r"(?i)(img|dsc[nf]?|pxl|mvi|photo|picture|image|bild|foto|scan|screenshot|screen shot|whatsapp|untitled|unnamed|"
    r"download|original|portrait|face|crop|avatar|profile|selfie|mmexport|wechat|微信图片|照片|图片|截图)(?![^\W\d]).*|.*[0-9a-f]{12,}.*"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """A picture that was dropped or chosen: ids of the store and the name of its file ("" if it had none)."""

    image: str
    mask: str | None = None
    name: str = ""


# -- adding ------------------------------------------------------------------------------------------------------------


def add_people(scene: Scene, picked: Iterable[Picked]) -> Scene:
    """Return the scene with one new subject per picture."""
    for one in picked:
        identifier = _fresh(scene, "subject")
        label = label_from(one.name) or _person_label(scene)
        face = Reference(id=f"{identifier}-face", role=Role.face, label=label, image=one.image, mask=one.mask)
        scene = _checked(
            dataclasses.replace(scene, subjects=(*scene.subjects, Subject(id=identifier, face=face, attributes=())))
        )
    return scene


def add_attributes(scene: Scene, subject: str, picked: Iterable[Picked]) -> Scene:
    """Return the scene with pictures of what a subject wears."""
    for one in picked:
        owner = subject_of(scene, subject)
        new = _named(scene, f"{subject}-attribute", Role.attribute, one)
        scene = _with_subject(scene, dataclasses.replace(owner, attributes=(*owner.attributes, new)))
    return _checked(scene)


def add_objects(scene: Scene, picked: Iterable[Picked]) -> Scene:
    """Return the scene with pictures of things that belong to nobody."""
    for one in picked:
        scene = dataclasses.replace(scene, objects=(*scene.objects, _named(scene, "object", Role.object, one)))
    return _checked(scene)


def set_background(scene: Scene, picked: Picked) -> Scene:
    """Return the scene in another place; where the new picture has a name, the prompt says it in place of the old."""
    old = scene.background
    if old is None:
        return _checked(dataclasses.replace(scene, background=_named(scene, "background", Role.background, picked)))
    scene = set_picture(scene, old.id, picked.image, picked.mask)
    return rename(scene, old.id, label_from(picked.name).lower() or old.label)


def duplicate(scene: Scene, subject: str) -> Scene:
    """Return the scene with a copy of a subject right behind it; words bound to it stay with the first."""
    source = subject_of(scene, subject)
    place = scene.subjects.index(source)
    identifier = _fresh(scene, "subject")
    copy = Subject(
        id=identifier,
        face=dataclasses.replace(source.face, id=f"{identifier}-face") if source.face else None,
        attributes=tuple(
            dataclasses.replace(one, id=f"{identifier}-attribute-{number}")
            for number, one in enumerate(source.attributes, start=1)
        ),
    )
    return _checked(
        dataclasses.replace(scene, subjects=(*scene.subjects[: place + 1], copy, *scene.subjects[place + 1 :]))
    )


def insert_cast(scene: Scene, other: Scene) -> Scene:
    """Return the scene with the people and things of another one; a place and words come along where there are none."""
    renamed = _renamed(other, scene)
    words = renamed if not scene.prompt.strip() else None
    return _checked(
        dataclasses.replace(
            scene,
            prompt=words.prompt if words else scene.prompt,
            spans=(*scene.spans, *words.spans) if words else scene.spans,
            unbound=(*scene.unbound, *words.unbound) if words else scene.unbound,
            subjects=(*scene.subjects, *renamed.subjects),
            objects=(*scene.objects, *renamed.objects),
            background=scene.background or renamed.background,
        )
    )


# -- changing ----------------------------------------------------------------------------------------------------------


def rename(scene: Scene, reference: str, label: str) -> Scene:
    """Return the scene with another label; words of the prompt that were its old label alone become the new one.

    The prompt stays as it is where it says the new label already, or where the old words mean somebody else as well.
    """
    known = reference_of(scene, reference)
    label = " ".join(label.split())
    if len(label) > 200:
        raise InputError(say("label_too_long"))
    found = places(scene, known) if not scene.spans_of(reference) else []
    renamed = with_references(scene, lambda one: dataclasses.replace(one, label=label) if one.id == reference else one)
    if not label or proposed(scene.prompt, label):
        return renamed
    others = {place for one in scene.references() if one.id != reference for place in places(scene, one)}
    if any(place[0] < other[1] and other[0] < place[1] for place in found for other in others):
        return renamed
    for start, end in reversed(found):
        renamed = splice(renamed, start, end, label)
    return renamed


def set_picture(scene: Scene, reference: str, image: str, mask: str | None) -> Scene:
    """Return the scene with another picture, crop or cut-out for a reference; label and words stay."""
    reference_of(scene, reference)
    return with_references(
        scene, lambda one: dataclasses.replace(one, image=image, mask=mask) if one.id == reference else one
    )


def remove(scene: Scene, target: str) -> Scene:
    """Return the scene without a subject or a reference, and without what was bound to it. The prompt stays."""
    kept = [subject for subject in scene.subjects if subject.id != target]
    if len(kept) == len(scene.subjects):
        reference_of(scene, target)
    subjects = tuple(
        dataclasses.replace(
            subject,
            face=None if subject.face and subject.face.id == target else subject.face,
            attributes=tuple(one for one in subject.attributes if one.id != target),
        )
        for subject in kept
    )
    left = dataclasses.replace(
        scene,
        subjects=subjects,
        objects=tuple(one for one in scene.objects if one.id != target),
        background=None if scene.background and scene.background.id == target else scene.background,
    )
    ids = {one.id for one in left.references()}
    return dataclasses.replace(
        left,
        spans=tuple(span for span in left.spans if span.target in ids),
        unbound=tuple(one for one in left.unbound if one in ids),
    )


def set_face(scene: Scene, subject: str, picked: Picked) -> Scene:
    """Return the scene in which a subject has this face; label and words of a former one stay."""
    owner = subject_of(scene, subject)
    if owner.face is not None:
        return set_picture(scene, owner.face.id, picked.image, picked.mask)
    label = label_from(picked.name) or _person_label(scene)
    identifier = f"{subject}-face" if f"{subject}-face" not in _ids(scene) else _fresh(scene, f"{subject}-face")
    face = Reference(id=identifier, role=Role.face, label=label, image=picked.image, mask=picked.mask)
    return _with_subject(scene, dataclasses.replace(owner, face=face))


# -- arranging ---------------------------------------------------------------------------------------------------------


def move_subject(scene: Scene, subject: str, place: int) -> Scene:
    """Return the scene with a subject at another place in the row, counted from 0; beyond the ends means the ends."""
    moved = subject_of(scene, subject)
    rest = [one for one in scene.subjects if one.id != subject]
    rest.insert(min(max(place, 0), len(rest)), moved)
    return dataclasses.replace(scene, subjects=tuple(rest))


def move(scene: Scene, reference: str, owner: str, before: str | None = None) -> Scene:
    """Return the scene in which an attribute or object belongs to a subject (its id) or to nobody ("objects").

    `before`: id of the attribute or object it comes to stand in front of; None puts it last.

    Raises:
        InputError: a face or background cannot be moved, or there is no such place.
    """
    known = reference_of(scene, reference)
    if known.role not in (Role.attribute, Role.object):
        raise InputError(say("move_only_things"))
    spans, unbound = scene.spans, scene.unbound
    scene = remove(scene, reference)
    if owner == "objects":
        moved = dataclasses.replace(known, role=Role.object)
        scene = dataclasses.replace(scene, objects=_placed(scene.objects, moved, before))
    else:
        subject = subject_of(scene, owner)
        moved = dataclasses.replace(known, role=Role.attribute)
        scene = _with_subject(
            scene, dataclasses.replace(subject, attributes=_placed(subject.attributes, moved, before))
        )
    return dataclasses.replace(scene, spans=spans, unbound=unbound)


def swap(scene: Scene, first: str, second: str) -> Scene:
    """Return the scene in which two attributes (or objects) have changed owners, and their words places in the prompt.

    So "a man in a red coat and a woman in a green dress" becomes the same sentence with the other clothes.
    """
    one, two = reference_of(scene, first), reference_of(scene, second)
    if not {one.role, two.role} <= {Role.attribute, Role.object} or first == second:
        raise InputError(say("swap_only_things"))
    table = {first: dataclasses.replace(two, role=one.role), second: dataclasses.replace(one, role=two.role)}
    swapped = with_references(scene, lambda reference: table.get(reference.id, reference))
    here, there = places(scene, one), places(scene, two)
    if owner_of(scene, first) == owner_of(scene, second) or not here or not there:
        return swapped
    pieces = [(place, two, scene.prompt[slice(*there[0])]) for place in here]
    pieces += [(place, one, scene.prompt[slice(*here[0])]) for place in there]
    pieces.sort(key=lambda piece: piece[0])
    if any(before[0][1] > after[0][0] for before, after in pairwise(pieces)):
        return swapped  # words that overlap cannot change places
    own = {first, second}
    swapped = dataclasses.replace(swapped, spans=tuple(span for span in swapped.spans if span.target not in own))
    spans: list[PromptSpan] = []
    for (start, end), reference, words in reversed(pieces):
        start, shown = _with_article(swapped.prompt, start, words)
        before = len(swapped.prompt)
        swapped = splice(swapped, start, end, shown)
        shift = len(swapped.prompt) - before
        spans = [dataclasses.replace(span, start=span.start + shift, end=span.end + shift) for span in spans]
        last = start + len(shown)
        spans.append(PromptSpan(start=last - len(words), end=last, target=reference.id))
    for reference in (one, two):
        mine = sorted((span.start, span.end) for span in spans if span.target == reference.id)
        if mine != proposed(swapped.prompt, reference.label):
            own_spans = tuple(PromptSpan(start=start, end=end, target=reference.id) for start, end in mine)
            swapped = dataclasses.replace(swapped, spans=(*swapped.spans, *own_spans))
    return swapped


def subject_of(scene: Scene, identifier: str) -> Subject:
    """Return a subject by its id; `InputError` if the scene has none."""
    known = next((one for one in scene.subjects if one.id == identifier), None)
    if known is None:
        raise InputError(say("person_gone"))
    return known


def label_from(file_name: str) -> str:
    """Return the words a file name holds, "" where a camera or a download gave it."""
    stem = PurePath(file_name.replace("\\", "/")).stem
    stem = re.sub(r"(?i)^face_", "", stem)
    words = re.sub(r"[\s_\-.+]+|\(\d+\)|%20", " ", stem).strip()
    words = re.sub(r"\s+\d+$", "", " ".join(words.split()))
    if not re.search(r"[^\W\d]{2}|[\u2e80-\u9fff]", words) or len(words) > 40 or _CAMERA.fullmatch(words):
        return ""
    return words


def _with_article(prompt: str, start: int, words: str) -> tuple[int, str]:
    """Return where to replace from and with what, so that "a" or "an" before the words fits them."""
    hit = re.search(r"\b([Aa])(n?) $", prompt[:start])
    if hit is None:
        return start, words
    vowel = words[:1].lower() in "aeiou" and not words.lower().startswith(("uni", "one ", "use", "eu"))
    return hit.start(), f"{hit[1]}{'n' if vowel else ''} {words}"


def _named(scene: Scene, stem: str, role: Role, picked: Picked) -> Reference:
    label = label_from(picked.name)
    return Reference(id=_fresh(scene, stem), role=role, label=label.lower(), image=picked.image, mask=picked.mask)


def _person_label(scene: Scene) -> str:
    used = {one.label for one in scene.references()}
    free = (f"{ordinal} person" for ordinal in _ORDINALS if f"{ordinal} person" not in used)
    return next(free, "person")


def _placed(row: tuple[Reference, ...], moved: Reference, before: str | None) -> tuple[Reference, ...]:
    place = next((number for number, one in enumerate(row) if one.id == before), len(row))
    return (*row[:place], moved, *row[place:])


def _with_subject(scene: Scene, changed: Subject) -> Scene:
    subjects = tuple(changed if one.id == changed.id else one for one in scene.subjects)
    return dataclasses.replace(scene, subjects=subjects)


def _ids(scene: Scene) -> set[str]:
    return {one.id for one in scene.subjects} | {one.id for one in scene.references()}


def _fresh(scene: Scene, stem: str) -> str:
    taken = _ids(scene)
    number = 1
    while f"{stem}-{number}" in taken or f"{stem}-{number}-face" in taken:
        number += 1
    return f"{stem}-{number}"


def _renamed(other: Scene, scene: Scene) -> Scene:
    """Return a scene whose ids none of `scene` has."""
    taken = _ids(scene) | _ids(other)
    table: dict[str, str] = {}

    def fresh(identifier: str) -> str:
        if identifier not in _ids(scene):
            return identifier
        number = 2
        while f"{identifier}-{number}" in taken:
            number += 1
        taken.add(f"{identifier}-{number}")
        return f"{identifier}-{number}"

    for identifier in sorted(_ids(other)):
        table[identifier] = fresh(identifier)
    change: Callable[[Reference], Reference] = lambda one: dataclasses.replace(one, id=table[one.id])  # noqa: E731
    renamed = with_references(other, change)
    return dataclasses.replace(
        renamed,
        subjects=tuple(dataclasses.replace(one, id=table[one.id]) for one in renamed.subjects),
        spans=tuple(dataclasses.replace(span, target=table.get(span.target, span.target)) for span in renamed.spans),
        unbound=tuple(table.get(one, one) for one in renamed.unbound),
    )


def _checked(scene: Scene) -> Scene:
    if len(scene.references()) > MAX_REFERENCES:
        raise InputError(say("scene_most_pictures", most=MAX_REFERENCES))
    if len(scene.subjects) > MAX_SUBJECTS:
        raise InputError(say("scene_most_people", most=MAX_SUBJECTS))
    return scene
