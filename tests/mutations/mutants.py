"""Faults put into the program on purpose, each with the tests that have to notice it.

A fault is one piece of text in one file, which has to stand there exactly once, and what it becomes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """`name` says what is wrong then; `caught_by` are pytest's names of the tests that have to fail."""

    name: str
    path: str
    before: str
    after: str
    caught_by: tuple[str, ...]


PAGE = (
    Mutant(
        name="clicks are not scaled to the picture",
        path="studio/web/cutter_stage.js",
        before="({ x: round((spot.x - at.x) / at.scale), y: round((spot.y - at.y) / at.scale) });",
        after="({ x: round(spot.x - at.x), y: round(spot.y - at.y) });",
        caught_by=("tests/browser/test_cutter.py::test_a_click_lands_on_the_right_pixel",),
    ),
    Mutant(
        name="the corner that a picture was moved to is forgotten",
        path="studio/web/cutter_stage.js",
        before="({ x: round((spot.x - at.x) / at.scale), y: round((spot.y - at.y) / at.scale) });",
        after="({ x: round(spot.x / at.scale), y: round(spot.y / at.scale) });",
        caught_by=("tests/browser/test_cutter.py::test_it_lands_there_after_zoom_and_pan_too",),
    ),
    Mutant(
        name="pictures are not turned by EXIF",
        path="engine/picture_decoding.py",
        before="return int(image.getexif().get(_ORIENTATION_TAG, 1))",
        after="return 1",
        caught_by=(
            "tests/unit/test_pictures.py::test_exif_orientation_is_applied",
            "tests/browser/test_cutter.py::test_a_click_lands_on_the_right_pixel",
        ),
    ),
    Mutant(
        name="clicks are dropped while the cutter works",
        path="studio/web/cutter.js",
        before="    if (busy || !ready || !open) return;",
        after="    if (busy || !ready || !open) return void (wanted = false);",
        caught_by=("tests/browser/test_cutter.py::test_five_fast_clicks_all_count",),
    ),
    Mutant(
        name="bindings do not follow the words on the page",
        path="studio/web/words.js",
        before="kept.push({ ...span, start: span.start + shift, end: span.end + shift });",
        after="kept.push(span);",
        caught_by=(
            "tests/browser/test_words.py::test_page_and_server_move_bindings_alike_through_20000_edits",
            "tests/browser/test_binder.py::test_bindings_follow_what_is_typed_before_them",
        ),
    ),
    Mutant(
        name="bindings do not follow the words on the server",
        path="studio/places.py",
        before="dataclasses.replace(span, start=span.start + shift, end=span.end + shift)",
        after="span",
        caught_by=("tests/unit/test_studio_places.py",),
    ),
    Mutant(
        name="a binding may lie on other letters after an edit inside it",
        path="studio/web/words.js",
        before="else if (span.start >= end)",
        after="else if (span.start >= start)",
        caught_by=("tests/browser/test_words.py::test_no_binding_ever_lands_on_other_letters",),
    ),
    Mutant(
        name="nodes are made anew when people change places",
        path="studio/web/dom.js",
        before="  const pivot = children.findIndex(",
        after="  parent.replaceChildren();\n  const pivot = children.findIndex(",
        caught_by=("tests/browser/test_board.py::test_typing_survives_uploads_and_a_new_order",),
    ),
    Mutant(
        name="the second click of a double click counts",
        path="studio/web/run.js",
        before="if (event.detail < 2) onRender();",
        after="onRender();",
        caught_by=("tests/browser/test_render.py::test_two_quick_clicks_and_a_held_key_are_one_render",),
    ),
    Mutant(
        name="what a user typed is parsed as markup",
        path="studio/web/dom.js",
        before="node.append(child instanceof Node ? child : document.createTextNode(String(child)));",
        after="child instanceof Node ? node.append(child) : (node.innerHTML += child);",
        caught_by=(
            "tests/browser/test_board.py::test_hostile_names_stay_text",
            "tests/browser/test_scene.py::test_hostile_words_stay_words",
        ),
    ),
)

RELATIONS = (
    Mutant(
        name="a subject's pictures are not stepped along the diagonal",
        path="engine/model/layout.py",
        before="offsets.append((frame, item * self.height, item * self.width))",
        after="offsets.append((frame, 0, 0))",
        caught_by=("tests/unit/test_layout.py::test_a_subjects_pictures_share_a_frame_and_step_along_the_diagonal",),
    ),
    Mutant(
        name="two subjects share one frame",
        path="engine/model/layout.py",
        before="frame = self.frames + self.num_free + index",
        after="frame = self.frames + self.num_free",
        caught_by=("tests/unit/test_layout.py",),
    ),
    Mutant(
        name="subjects see one another",
        path="engine/model/attention.py",
        before="parts.append(self._attend(query[:, start:end], key[:, start:end], value[:, start:end]))",
        after="parts.append(self._attend(query[:, start:end], key[:, video:], value[:, video:]))",
        caught_by=("tests/unit/test_transformer.py::test_subjects_never_see_each_other",),
    ),
    Mutant(
        name="references see the video",
        path="engine/model/attention.py",
        before="parts.append(self._attend(query[:, start:end], key[:, start:end], value[:, start:end]))",
        after="parts.append(self._attend(query[:, start:end], key[:, :end], value[:, :end]))",
        caught_by=("tests/unit/test_transformer.py::test_references_never_see_the_noise",),
    ),
    Mutant(
        name="pictures are drawn to the other subjects' words",
        path="engine/model/layout.py",
        before="rows = unions - others / max(len(groups) - 1, 1)",
        after="rows = others / max(len(groups) - 1, 1) - unions",
        caught_by=("tests/unit/test_layout.py::test_subjects_push_each_other_and_shared_words_cancel",),
    ),
    Mutant(
        name="a picture is only drawn to its own words, not to its subject's",
        path="engine/model/layout.py",
        before="[part.any(dim=-2) for part in",
        after="[part[..., 0, :] for part in",
        caught_by=("tests/unit/test_layout.py::test_one_subject_is_drawn_to_all_its_phrases_and_pushed_from_none",),
    ),
    Mutant(
        name="tokens are unpooled as if rows were never padded",
        path="engine/model/layout.py",
        before='stride = padded_width if unpooling == "published" else width',
        after="stride = width",
        caught_by=("tests/unit/test_layout.py::test_published_cells_walk_with_the_padded_row_length",),
    ),
    Mutant(
        name="relation guidance leads towards a clip without relations",
        path="engine/model/pipeline.py",
        before="guided = guided + one.weight * (own - other)",
        after="guided = guided + one.weight * (other - own)",
        caught_by=(
            "tests/unit/test_pipeline.py::test_relation_guidance_leads_away_from_pictures_that_see_everything",
            "tests/unit/test_pipeline.py::test_guidance_is_the_extrapolation_from_the_negative_prompt",
        ),
    ),
    Mutant(
        name="references stand in the corner of the canvas",
        path="engine/pictures.py",
        before="left, top = (width - new_width) // 2, (height - new_height) // 2",
        after="left, top = 0, 0",
        caught_by=("tests/unit/test_pictures.py::test_the_letterbox_centres_on_white",),
    ),
)

QUEUE = (
    Mutant(
        name="a job is given away while the queue is paused",
        path="studio/job_store.py",
        before="            if self.paused():\n                return None\n            waiting = ",
        after="            waiting = ",
        caught_by=("tests/unit/test_studio_job_store.py::test_a_paused_queue_gives_nothing_away",),
    ),
    Mutant(
        name="a holder that has lost its job may go on",
        path="studio/job_store.py",
        before="step = max(step, ?) WHERE id = ? AND holder = ? AND state = 'running'",
        after="step = max(step, ?) WHERE id = ? AND ? != '' AND state = 'running'",
        caught_by=("tests/unit/test_studio_job_store.py",),
    ),
)

MUTANTS = (*PAGE, *RELATIONS, *QUEUE)
