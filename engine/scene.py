"""What the user composes: a prompt, subjects with their attributes, objects, a background, and which words mean which
of them.

Immutable values without pixels: pictures are ids into a picture store. Drafts are legal, so nothing here raises;
`problems()` says what keeps a scene from rendering, and `engine.request.RenderRequest` is the gate. Knows no tokens:
what the text encoder makes of the words is `engine.spans`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from engine.prompt_text import clean_prompt, fold_blanks, shortened

MAX_PROMPT_CHARS = 10_000
"""Longest prompt in characters; the text encoders read 512 tokens at most, a few thousand characters."""


class Role(StrEnum):
    """What a reference picture shows."""

    face = "face"
    attribute = "attribute"
    object = "object"
    background = "background"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One conditioning picture. `image` and `mask` are picture ids; `mask` (255 = keep) is None for an uncut picture.

    `label` is the user's words for it, `id` the key by which spans point to it (labels may repeat, ids may not).
    """

    id: str
    role: Role
    label: str
    image: str
    mask: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One identity: a face and what belongs to it. `face` is None only in drafts."""

    id: str
    face: Reference | None
    attributes: tuple[Reference, ...] = ()

    @property
    def references(self) -> tuple[Reference, ...]:
        """Face first, then the attributes as arranged."""
        return (self.face, *self.attributes) if self.face else self.attributes


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSpan:
    """Characters [start, end) of the raw prompt name the reference with the id `target`.

    Counted in Unicode code points, as Python does; JavaScript counts UTF-16 units.
    """

    start: int
    end: int
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a scene cannot render yet: `message` is one sentence for the user, `code` a stable name for programs.

    `target` is the id of the reference or subject to point at, None for the prompt or the scene as a whole.
    """

    code: str
    message: str
    target: str | None = None


UNBOUND_CODES = frozenset({"unbound", "beyond_text"})
"""Codes of problems about words that reach no token; `allow_unbound` lets these through and no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Prompt, references and bindings; the order of everything is part of the value.

    A reference with spans is bound to exactly these characters. One without is bound to every occurrence of its label
    (the published rule), unless `unbound` lists its id: then it is deliberately bound to no words.
    """

    prompt: str = ""
    subjects: tuple[Subject, ...] = ()
    objects: tuple[Reference, ...] = ()
    background: Reference | None = None
    spans: tuple[PromptSpan, ...] = ()
    unbound: tuple[str, ...] = ()

    def references(self) -> tuple[Reference, ...]:
        """All references in model order: background, objects, then subject by subject (face, attributes)."""
        owned = (reference for subject in self.subjects for reference in subject.references)
        return (*self._free, *owned)

    @property
    def num_free(self) -> int:
        """How many references belong to nobody: background and objects."""
        return len(self._free)

    @property
    def groups(self) -> tuple[int, ...]:
        """Number of references of each subject, in order."""
        return tuple(len(subject.references) for subject in self.subjects)

    def spans_of(self, target: str) -> tuple[PromptSpan, ...]:
        """The spans that name one reference, in the order of the prompt."""
        return tuple(sorted((span for span in self.spans if span.target == target), key=lambda span: span.start))

    def problems(self) -> tuple[Problem, ...]:
        """Why the scene cannot render yet, in the order of the page: prompt, references, bindings. Empty: it can."""
        return (*self._prompt_problems(), *self._reference_problems(), *self._span_problems(), *self._label_problems())

    @property
    def _free(self) -> tuple[Reference, ...]:
        return (self.background, *self.objects) if self.background else self.objects

    def _prompt_problems(self) -> Iterator[Problem]:
        if not self.prompt.strip():
            yield Problem(code="prompt_empty", message="The prompt is empty; describe what should happen in the clip.")
        if len(self.prompt) > MAX_PROMPT_CHARS:
            yield Problem(
                code="prompt_long",
                message=f"The prompt has {len(self.prompt)} characters; shorten it to {MAX_PROMPT_CHARS} at most.",
            )

    def _reference_problems(self) -> Iterator[Problem]:
        for number, subject in enumerate(self.subjects, start=1):
            if subject.face is None:
                yield Problem(
                    code="face_missing",
                    message=f"There is no face in subject {number}; give it a picture of a face or remove the subject.",
                    target=subject.id,
                )
        for reference, role in self._with_roles():
            if reference.role is not role:
                yield Problem(
                    code="wrong_role",
                    message=f"{_name(reference)} stands in the place of {_article(role)} but is marked as "
                    f"{_article(reference.role)}; put it where it belongs.",
                    target=reference.id,
                )
            if not reference.image or reference.mask == "":
                yield Problem(
                    code="picture_missing",
                    message=f"{_name(reference)} has no picture; choose one or remove it.",
                    target=reference.id,
                )
        yield from self._id_problems()

    def _id_problems(self) -> Iterator[Problem]:
        ids = [subject.id for subject in self.subjects] + [reference.id for reference in self.references()]
        for identifier, count in Counter(ids).items():
            if not identifier:
                yield Problem(code="id_empty", message="A reference or subject has an empty id; add it anew.")
            elif count > 1:
                yield Problem(
                    code="id_twice",
                    message=f"Two parts of the scene share the id “{shortened(identifier)}”; "
                    "remove one of them and add it anew.",
                    target=identifier,
                )

    def _span_problems(self) -> Iterator[Problem]:
        names = {reference.id: _name(reference) for reference in self.references()}
        ends: dict[str, int] = {}
        for span in sorted(self.spans, key=lambda span: (span.start, span.end)):
            if span.target not in names:
                yield Problem(
                    code="span_target",
                    message=f"A phrase is bound to “{shortened(span.target)}”, which is not in the scene; "
                    "remove that binding.",
                )
            elif not 0 <= span.start < span.end <= len(self.prompt):
                yield Problem(
                    code="span_range",
                    message=f"A binding of {names[span.target]} lies outside the prompt; mark its words again.",
                    target=span.target,
                )
            elif not self.prompt[span.start : span.end].strip():
                yield Problem(
                    code="span_blank",
                    message=f"A binding of {names[span.target]} holds only blanks; mark its words again.",
                    target=span.target,
                )
            elif span.start < ends.get(span.target, 0):
                yield Problem(
                    code="span_overlap",
                    message=f"Two bindings of {names[span.target]} overlap in the prompt; remove one of them.",
                    target=span.target,
                )
            else:
                ends[span.target] = span.end
        bound = {span.target for span in self.spans}
        for target in self.unbound:
            if target not in names:
                yield Problem(
                    code="unbound_target",
                    message=f"“{shortened(target)}” is marked as bound to no words but is not in the scene; "
                    "remove that mark.",
                )
            elif target in bound:
                yield Problem(
                    code="unbound_and_bound",
                    message=f"{names[target]} is bound to words and marked as bound to none; choose one of the two.",
                    target=target,
                )

    def _label_problems(self) -> Iterator[Problem]:
        settled = {span.target for span in self.spans} | set(self.unbound)
        folded = fold_blanks(self.prompt) if len(self.prompt) <= MAX_PROMPT_CHARS else ""
        for reference in self.references():
            if reference.id not in settled and not _occurs(reference.label, self.prompt, folded):
                yield unbound_problem(reference)

    def _with_roles(self) -> Iterator[tuple[Reference, Role]]:
        if self.background:
            yield self.background, Role.background
        for reference in self.objects:
            yield reference, Role.object
        for subject in self.subjects:
            if subject.face:
                yield subject.face, Role.face
            for reference in subject.attributes:
                yield reference, Role.attribute


def unbound_problem(reference: Reference) -> Problem:
    """The problem of a reference whose label the prompt does not name."""
    if not reference.label.strip():
        message = f"{_name(reference)} has no label; name it with words of the prompt or mark its words there."
    else:
        message = (
            f"The prompt does not say “{shortened(reference.label)}”; "
            "use these words in the prompt, or mark the words that mean "
            f"this {reference.role.value}."
        )
    return Problem(code="unbound", message=message, target=reference.id)


def _occurs(label: str, prompt: str, folded: str) -> bool:
    """Whether the label stands in the cleaned prompt, character by character; case matters, as published."""
    wanted = fold_blanks(label)
    if not wanted or len(prompt) > MAX_PROMPT_CHARS or len(label) > MAX_PROMPT_CHARS:
        return False
    return wanted in folded or clean_prompt(label).text in clean_prompt(prompt).text


def _name(reference: Reference) -> str:
    label = shortened(reference.label.strip())
    return (
        f"“{label}”"
        if label
        else {"object": "An object", "attribute": "An attribute"}.get(reference.role, f"The {reference.role.value}")
    )


def _article(role: Role) -> str:
    return f"an {role.value}" if role in (Role.attribute, Role.object) else f"a {role.value}"
