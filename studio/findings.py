"""What is unclear between words and pictures, each with the edits that mend it.

A finding is a sentence for people; a mend is a button: its words and the edit (see `studio.edits`) it asks for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from engine.scene import UNBOUND_CODES, Problem, Reference, Role, Scene, unbound_problem
from studio.composing import insertion, is_chinese
from studio.languages import heard, say
from studio.places import Place, overlaps, owner_of, places

MOST_SUBJECTS = 3
MOST_ATTRIBUTES = 3
"""What the published weights were trained with; more works less reliably (paper, section 3.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """One way to put something right: the words of a button and the edit behind it."""

    title: str
    edit: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence. `target`: id of the reference or subject it is about; `may_skip`: a render may go on regardless."""

    message: str
    target: str | None = None
    may_skip: bool = False
    mends: tuple[Mend, ...] = ()


def findings(scene: Scene) -> tuple[Finding, ...]:
    """Return what keeps the scene from rendering, then words that mean several people."""
    found = [_of_problem(scene, problem) for problem in scene.problems()]
    told = {finding.target for finding in found}
    for reference in scene.references():
        # "man" stands in "woman", but only as a part of another word
        if reference.id not in told and reference.id not in scene.unbound and not places(scene, reference):
            found.append(_of_problem(scene, unbound_problem(reference)))
    return (*found, *_shared_words(scene))


def too_many(scene: Scene) -> tuple[Finding, ...]:
    """Return where the cast is larger than what the published model was trained with."""
    found: list[Finding] = []
    if len(scene.subjects) > MOST_SUBJECTS:
        found.append(
            Finding(
                message=say("too_many_people", most=MOST_SUBJECTS, count=len(scene.subjects)),
            )
        )
    for subject in scene.subjects:
        if len(subject.attributes) > MOST_ATTRIBUTES:
            found.append(
                Finding(
                    message=say("too_many_things", most=MOST_ATTRIBUTES, count=len(subject.attributes)),
                    target=subject.id,
                )
            )
    return tuple(found)


def mends_for(scene: Scene, reference: Reference) -> tuple[Mend, ...]:
    """Return how the prompt could come to name a reference it does not name: words it holds, or words to insert."""
    label = reference.label.strip()
    if not label:
        return ()
    mends: list[Mend] = []
    for start, end in _spelled_otherwise(scene, label)[:1]:
        words = scene.prompt[start:end]
        edit = {"kind": "bind", "reference": reference.id, "start": start, "end": end}
        mends.append(Mend(title=say("mend_means_it", words=words), edit=edit))
    _, before, label, after = insertion(scene, reference.id)
    shown = (before + label + after).strip(" ,.，。")
    mends.append(Mend(title=say("mend_insert", words=shown), edit={"kind": "insert", "reference": reference.id}))
    return tuple(mends)


def _of_problem(scene: Scene, problem: Problem) -> Finding:
    may_skip = problem.code in UNBOUND_CODES
    reference = next((one for one in scene.references() if one.id == problem.target), None)
    mends: tuple[Mend, ...] = ()
    if problem.code == "prompt_empty" and any(one.label.strip() for one in scene.references()):
        mends = (Mend(title=say("prompt_compose"), edit={"kind": "compose"}),)
    elif problem.code == "unbound" and reference is not None and scene.prompt.strip():
        mends = mends_for(scene, reference)
    message = heard(problem.message)
    if reference is not None and sum(one.label == reference.label for one in scene.references()) > 1:
        title = _owner_title(scene, reference)
        title = f"{title[:1].upper()}{title[1:]}"
        message = say("named", what=title, name=message)  # the label alone does not say which
    return Finding(message=message, target=problem.target, may_skip=may_skip, mends=mends)


def _spelled_otherwise(scene: Scene, label: str) -> list[Place]:
    """Return where the prompt says a label in other letters, small or capital, that mean nothing else yet."""
    if label in scene.prompt or len(label.casefold()) != len(label):
        return []
    taken = [place for one in scene.references() for place in places(scene, one)]
    hits = re.finditer(rf"(?<!\w){re.escape(label)}(?!\w)", scene.prompt, re.IGNORECASE)
    return [hit.span() for hit in hits if not any(overlaps(hit.span(), place) for place in taken)]


def _shared_words(scene: Scene) -> list[Finding]:
    """Return the words that mean pictures of two owners; the model's bindings of such words cancel."""
    spoken = [(one, place) for one in scene.references() for place in places(scene, one)]
    spoken.sort(key=lambda item: item[1])
    groups: dict[tuple[str, ...], tuple[list[Reference], Place]] = {}
    for number, (one, here) in enumerate(spoken):
        sharing = [one]
        for other, there in spoken[number + 1 :]:
            if there[0] >= here[1]:
                break
            if owner_of(scene, other.id) != owner_of(scene, one.id) and other not in sharing:
                sharing.append(other)
        key = tuple(sorted({item.id for item in sharing}))
        if len(key) > 1 and not any(set(key) <= set(known) for known in groups):
            groups[key] = (sharing, here)
    return [_shared(scene, sharing, here) for sharing, here in groups.values()]


def _shared(scene: Scene, sharing: list[Reference], here: Place) -> Finding:
    order = {one.id: number for number, one in enumerate(scene.references())}
    sharing = sorted(sharing, key=lambda one: order[one.id])
    labels = {one.label.strip() for one in sharing}
    ids = [one.id for one in sharing]
    words = scene.prompt[here[0] : here[1]]
    if len(labels) == 1 and all(sorted(places(scene, one)) == sorted(places(scene, sharing[0])) for one in sharing[1:]):
        mends: list[Mend] = []
        if len(places(scene, sharing[0])) >= len(sharing):
            mends.append(Mend(title=say("mend_in_order"), edit={"kind": "in_order", "references": ids}))
        if all(one.role is Role.face for one in sharing):
            label = next(iter(labels))
            first = f"第一个{label}" if is_chinese(label) else f"the first {label}"
            mends.append(Mend(title=say("mend_say", words=first), edit={"kind": "tell_apart", "references": ids}))
        mends += [_only(scene, one, here) for one in sharing if not mends]
        return Finding(
            message=say("shared_none", words=words, owners=_listed([_owner_title(scene, one) for one in sharing])),
            target=sharing[0].id,
            mends=tuple(mends),
        )
    longest = max(sharing, key=lambda one: max(end - start for start, end in _touching(scene, one, here)))
    place = max(_touching(scene, longest, here), key=lambda item: item[1] - item[0])
    phrase = scene.prompt[place[0] : place[1]]
    others = [one for one in sharing if one is not longest]
    inner = scene.prompt[slice(*_touching(scene, others[0], place)[0])]
    titles = _listed([_owner_title(scene, longest), *[_owner_title(scene, one) for one in others]])
    message = (
        say("shared_inside", inner=inner, words=phrase)
        if inner != phrase
        else say("shared_neither", words=phrase, owners=titles)
    )
    return Finding(
        message=message,
        target=others[0].id,
        mends=tuple(_only(scene, one, place) for one in (longest, *(others if inner == phrase else []))),
    )


def _touching(scene: Scene, reference: Reference, here: Place) -> list[Place]:
    return [place for place in places(scene, reference) if overlaps(place, here)] or [here]


def _only(scene: Scene, reference: Reference, here: Place) -> Mend:
    start, end = here
    words = scene.prompt[start:end]
    edit = {"kind": "bind", "reference": reference.id, "start": start, "end": end}
    return Mend(title=say("mend_only", words=words, owner=_owner_title(scene, reference)), edit=edit)


def _owner_title(scene: Scene, reference: Reference) -> str:
    for number, subject in enumerate(scene.subjects, start=1):
        if reference in subject.references:
            return say("owner_subject", number=number)
    if reference.role is Role.background:
        return say("owner_background")
    return say("owner_object", name=reference.label)


def _listed(words: list[str]) -> str:
    if len(words) == 1:
        return words[0]
    return say("list_and", first=say("list_comma").join(words[:-1]), last=words[-1])
