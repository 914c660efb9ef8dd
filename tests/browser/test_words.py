"""Bindings follow the words: the page's rule and the server's are one, through 20,000 edits, and no binding jumps."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from playwright.sync_api import Browser

from engine.scene import PromptSpan, Scene
from studio.draft import edit_prompt
from studio.theme import WEB

EDITS = 20_000
LETTERS = "ab ab  AB.红色\n😀é"

# Follows every letter by an identity of its own: a span that stays has to cover the very letters it covered before.
IDENTITIES = """
([edits, seed]) => {
  let state = seed;
  const random = (most) => (state = (state * 48271) % 2147483647) % most;
  let next = 0;
  const fresh = (count) => Array.from({ length: count }, () => ({ id: next++, letter: "ab c"[random(4)] }));
  let text = fresh(40);
  let spans = [];
  for (let edit = 0; edit < edits; edit += 1) {
    if (!spans.length || random(8) === 0) {
      const start = random(Math.max(text.length - 3, 1));
      const end = Math.min(text.length, start + 1 + random(6));
      if (end > start) spans.push({ start, end, ids: text.slice(start, end).map((one) => one.id).join() });
    }
    const start = random(text.length + 1);
    const end = Math.min(text.length, start + (random(2) ? random(5) : 0));
    const added = text.length > 200 ? [] : fresh(random(4));
    const after = [...text.slice(0, start), ...added, ...text.slice(end)];
    const before = text.map((one) => one.letter);
    spans = movedSpans(spans, changedPart(before, after.map((one) => one.letter), start + added.length));
    // letters typed over by the same ones are the same to everybody: they take the identity of the old ones
    const kept = text.slice(start, end);
    const alike = (at) => at < kept.length && at < added.length && kept[at].letter === added[at].letter;
    for (let same = 0; alike(same); same += 1) added[same].id = kept[same].id;
    text = after;
    for (const span of spans) {
      const ids = text.slice(span.start, span.end).map((one) => one.id).join();
      if (ids !== span.ids) return `edit ${edit}: ${span.ids} became ${ids}`;
    }
  }
  return "";
}
"""


def _edits(count: int, seed: int) -> list[dict[str, Any]]:
    """Return edits of texts with spans, and what the server makes of each."""
    rng = random.Random(seed)
    found: list[dict[str, Any]] = []
    for _ in range(count):
        old = "".join(rng.choices(LETTERS, k=rng.randrange(0, 24)))
        start = rng.randrange(len(old) + 1)
        end = min(len(old), start + rng.choice((0, 0, 1, 2, 5)))
        added = "".join(rng.choices(LETTERS, k=rng.choice((0, 1, 1, 3))))
        new = old[:start] + added + old[end:]
        caret = rng.choice((start + len(added), None, rng.randrange(len(new) + 1)))
        cuts = [sorted(rng.sample(range(len(old) + 1), 2)) for _ in range(3 if len(old) > 1 else 0)]
        spans = tuple(PromptSpan(start=a, end=b, target=str(number)) for number, (a, b) in enumerate(cuts))
        moved = edit_prompt(Scene(prompt=old, spans=spans), new, caret)
        found.append(
            {
                "old": old, "new": new, "caret": caret, "spans": [[one.start, one.end, one.target] for one in spans],
                "moved": [[one.start, one.end, one.target] for one in moved.spans],
            }
        )  # fmt: skip
    return found


@pytest.fixture
def script() -> str:
    return (WEB / "words.js").read_text(encoding="utf-8")


def test_page_and_server_move_bindings_alike_through_20000_edits(browser: Browser, script: str) -> None:
    edits = _edits(EDITS, seed=3)
    assert sum(len(edit["moved"]) < len(edit["spans"]) for edit in edits) > 1000
    page = browser.new_page()
    wrong: list[Any] = page.evaluate(
        f"""edits => {{ {script}
        return edits.filter(({{ old, new: after, caret, spans, moved }}) => {{
          const change = changedPart(letters(old), letters(after), caret);
          const mine = movedSpans(spans.map(([start, end, target]) => ({{ start, end, target }})), change);
          return JSON.stringify(mine.map((one) => [one.start, one.end, one.target])) !== JSON.stringify(moved);
        }}).slice(0, 3); }}""",
        edits,
    )
    page.close()
    assert wrong == [], json.dumps(wrong, ensure_ascii=False)


@pytest.mark.parametrize("seed", [11, 4711])
def test_no_binding_ever_lands_on_other_letters(browser: Browser, script: str, seed: int) -> None:
    page = browser.new_page()
    fault: str = page.evaluate(
        f"([edits, seed]) => {{ {script} return ({IDENTITIES})([edits, seed]); }}", [EDITS, seed]
    )
    page.close()
    assert fault == ""


def test_pieces_join_to_the_text_and_shared_words_carry_both_numbers(browser: Browser, script: str) -> None:
    page = browser.new_page()
    pieces: list[dict[str, Any]] = page.evaluate(
        f"""() => {{ {script} return piecesOf("😀 The pair & <b>", [
          {{ start: 2, end: 10, tone: "s1", badge: "1" }}, {{ start: 6, end: 10, tone: "s2", badge: "2" }},
          {{ start: 90, end: 99, tone: "s3", badge: "3" }},
        ]); }}"""
    )
    page.close()
    assert "".join(piece["text"] for piece in pieces) == "😀 The pair & <b>"
    assert [(piece["text"], piece["badge"]) for piece in pieces if piece["tone"]] == [("The ", "1"), ("pair", "1+2")]
