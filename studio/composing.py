"""Sentences from the cast: a whole prompt, or the words for one picture. English and Chinese, by the labels.

The sentences are of the kind the models were trained with: who, wearing what, then the place, then things beside.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field

from engine.errors import InputError
from engine.scene import Reference, Role, Scene, Subject
from studio.cast_edits import rename
from studio.languages import say
from studio.places import Place, overlaps, owner_of, places, reference_of, splice, with_places

_CJK = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]")
_NO_ARTICLE = re.compile(r"(?i)(a|an|the|my|his|her|their|our|some|one|two|three)\b.*|.*[^s\W]s")
_SINGULAR_S = re.compile(r"(?i).*(dress|glass|ss|us|is)$")
_NO_PLURAL = re.compile(r"(?i).*\b(hair|jewelry|jewellery|makeup|clothing|armor|armour|footwear)$")
_WITH = re.compile(r"(?i).*\b(hair|beard|moustache|mustache|bag|handbag|backpack|umbrella|tattoo|freckles|eyes)$")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_CHINESE_ORDINALS = "一二三四五六七八九十"
_END = re.compile(r"[\s.!?。！？…]*$")


@dataclass(slots=True)
class _Text:
    """A text that grows and remembers which of its characters mean which reference."""

    text: str = ""
    found: dict[str, list[Place]] = field(default_factory=dict[str, list[Place]])

    def say(self, words: str) -> None:
        self.text += words

    def name(self, reference: Reference, label: str | None = None) -> None:
        start = len(self.text)
        self.text += label if label is not None else reference.label
        self.found.setdefault(reference.id, []).append((start, len(self.text)))


def is_chinese(text: str) -> bool:
    """Whether a text is written in Chinese characters (or other ones that know no blanks)."""
    return bool(_CJK.search(text))


def with_article(label: str) -> str:
    """Return an article and a blank, as English puts before a label; "" for names, plurals and what has one."""
    label = re.split(r" (?:with|in|of|on|from) ", label.strip())[0]  # "man with glasses" is one man
    if not label or is_chinese(label) or label[:1].isupper() or _NO_PLURAL.fullmatch(label):
        return ""
    if _NO_ARTICLE.fullmatch(label) and not _SINGULAR_S.fullmatch(label):
        return ""
    if re.match(rf"({'|'.join(_ORDINALS)}|other|same) ", label):
        return "the "
    vowel = label[0].lower() in "aeiou" and not label.lower().startswith(("uni", "one ", "use", "eu"))
    return "an " if vowel else "a "


def compose(scene: Scene) -> Scene:
    """Return the scene with a prompt that names every picture that has a label, and each by its own words.

    Raises:
        InputError: nothing in the cast has a label.
    """
    labels = [one.label for one in scene.references() if one.label.strip()]
    if not labels:
        raise InputError(say("compose_names"))
    chinese = sum(map(is_chinese, labels)) * 2 > len(labels)
    text = _chinese(scene) if chinese else _english(scene)
    composed = dataclasses.replace(scene, prompt=text.text, spans=(), unbound=())
    for reference in composed.references():
        if reference.id in text.found:
            composed = with_places(composed, reference, text.found[reference.id])
    return composed


def insert_words(scene: Scene, identifier: str) -> Scene:
    """Return the scene with words for one reference added where they belong, and bound to it.

    Raises:
        InputError: it has no label to say.
    """
    at, before, label, after = insertion(scene, identifier)
    reference = reference_of(scene, identifier)
    grown = splice(scene, at, at, before + label + after)
    new = (at + len(before), at + len(before) + len(label))
    return with_places(grown, reference, [*(one for one in places(grown, reference) if not overlaps(one, new)), new])


def insertion(scene: Scene, identifier: str) -> tuple[int, str, str, str]:
    """Return where words for a reference go, and these words: what comes before the label, the label, what follows."""
    reference = reference_of(scene, identifier)
    label = reference.label.strip()
    if not label:
        raise InputError(say("insert_name"))
    end = _END.search(scene.prompt)
    assert end is not None
    at = end.start()
    chinese = is_chinese(label)
    article = with_article(label)
    match reference.role:
        case Role.attribute:
            return _worn(scene, reference, article, label, chinese)
        case Role.face:
            # a person the prompt does not know gets a sentence of their own
            stop = len(scene.prompt.rstrip())
            gap = "" if not stop else ("" if chinese else " ")
            if stop and at == stop:
                gap = "。" if chinese else ". "
            shown = article[:1].upper() + article[1:] if article else ""
            return stop, f"{gap}{shown}", label, "也在。" if chinese else " is there."
        case Role.object:
            return at, ("，旁边有" if chinese else f", beside {article}") if at else article, label, ""
        case Role.background:
            return (
                at,
                ("，在" if chinese else f" in {article}") if at else ("在" if chinese else f"In {article}"),
                label,
                "",
            )


def tell_apart(scene: Scene, identifiers: list[str]) -> Scene:
    """Return the scene in which references of one label are "the first …", "the second …", in label and prompt.

    The first word of that label in the prompt means the first of them, and so on; words beyond stay bound to nobody.
    """
    chosen = [reference_of(scene, one) for one in identifiers]
    found = sorted({place for one in chosen for place in places(scene, one)})
    for number, reference in reversed(list(enumerate(chosen))[: len(_CHINESE_ORDINALS)]):
        label = reference.label.strip()
        new = f"第{_CHINESE_ORDINALS[number]}个{label}" if is_chinese(label) else f"{_ORDINALS[number]} {label}"
        scene = _without_words(scene, reference.id)
        scene = rename(scene, reference.id, new)
        if number < len(found):
            start, end = found[number]
            article = re.search(r"\b(an?|the) $", scene.prompt[:start], re.IGNORECASE)
            before = "" if is_chinese(label) else "the "
            if article:
                start = article.start()
                before = "The " if article[0][:1].isupper() else "the "
            scene = splice(scene, start, end, before + new)
            at = start + len(before)
            scene = with_places(scene, reference_of(scene, reference.id), [(at, at + len(new))])
        else:
            scene = dataclasses.replace(scene, unbound=tuple(one for one in scene.unbound if one != reference.id))
    return scene


def bind_in_order(scene: Scene, identifiers: list[str]) -> Scene:
    """Return the scene in which the words that several references share mean one after the other of them."""
    chosen = [reference_of(scene, one) for one in identifiers]
    found = sorted({place for one in chosen for place in places(scene, one)})
    if len(found) < len(chosen):
        raise InputError(say("in_order_few"))
    for reference, place in zip(chosen, found, strict=False):
        scene = with_places(scene, reference, [place])
    return scene


def _without_words(scene: Scene, identifier: str) -> Scene:
    spans = tuple(span for span in scene.spans if span.target != identifier)
    unbound = (*(one for one in scene.unbound if one != identifier), identifier)
    return dataclasses.replace(scene, spans=spans, unbound=unbound)


def _worn(scene: Scene, reference: Reference, article: str, label: str, chinese: bool) -> tuple[int, str, str, str]:
    """Words for an attribute: behind the clothes its owner has on already, else behind the owner's own words."""
    owner = owner_of(scene, reference.id)
    subject = next(one for one in scene.subjects if one.id == owner)
    verb = "with" if _WITH.fullmatch(label) else "wearing"
    others = [place for one in subject.attributes if one.id != reference.id for place in places(scene, one)]
    if others:
        at = max(others)[1]
        return at, "和" if chinese else f" and {article}", label, ""
    face = places(scene, subject.face) if subject.face else []
    if face:
        return face[0][1], "穿着" if chinese else f" {verb} {article}", label, ""
    stop = len(scene.prompt.rstrip())
    gap = " " if stop and not chinese else ""
    return stop, f"{gap}{'有人穿着' if chinese else f'Somebody is {verb} {article}'}", label, "。" if chinese else "."


def _english(scene: Scene) -> _Text:
    text = _Text()
    people = [one for one in scene.subjects if any(item.label.strip() for item in one.references)]
    for number, subject in enumerate(people):
        if number:
            text.say(" and " if number == len(people) - 1 else ", ")
        _english_person(text, subject)
    if people:
        text.say(" stands" if len(people) == 1 else " stand together")
    background = scene.background
    things = [one for one in scene.objects if one.label.strip()]
    if not people and things:
        first = things.pop(0)
        text.say(with_article(first.label))
        text.name(first)
    if background and background.label.strip():
        text.say(f" in {with_article(background.label)}" if text.text else with_article(background.label))
        text.name(background)
    for number, thing in enumerate(things):
        text.say((", beside " if number == 0 else " and ") + with_article(thing.label))
        text.name(thing)
    text.say(".")
    return _capital(text)


def _english_person(text: _Text, subject: Subject) -> None:
    face = subject.face
    if face is not None and face.label.strip():
        text.say(with_article(face.label))
        text.name(face)
    else:
        text.say("somebody")
    last = ""
    for one in subject.attributes:
        if not one.label.strip():
            continue
        verb = "with" if _WITH.fullmatch(one.label.strip()) else "wearing"
        text.say(f" and {with_article(one.label)}" if verb == last else f" {verb} {with_article(one.label)}")
        text.name(one)
        last = verb


def _chinese(scene: Scene) -> _Text:
    text = _Text()
    background = scene.background
    if background and background.label.strip():
        text.say("在")
        text.name(background)
        text.say("里，")
    people = [one for one in scene.subjects if any(item.label.strip() for item in one.references)]
    for number, subject in enumerate(people):
        if number:
            text.say("和" if number == len(people) - 1 else "、")
        if subject.face is not None and subject.face.label.strip():
            text.name(subject.face)
        else:
            text.say("一个人")
        worn = [one for one in subject.attributes if one.label.strip()]
        for place, one in enumerate(worn):
            text.say("穿着" if place == 0 else "和")
            text.name(one)
    if people:
        text.say("站着" if len(people) == 1 else "站在一起")
    for number, thing in enumerate(one for one in scene.objects if one.label.strip()):
        text.say(("，旁边有" if people else "有") if number == 0 else "和")
        text.name(thing)
    if text.text.endswith("，"):
        text.text = text.text[:-1]
    text.say("。")
    return text


def _capital(text: _Text) -> _Text:
    """Begin with a capital, unless the first word is a label: labels are searched letter by letter."""
    if not any(start == 0 for found in text.found.values() for start, _ in found):
        text.text = text.text[:1].upper() + text.text[1:]
    return text
