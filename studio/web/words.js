// How bindings follow the words while somebody types. Pure functions; the same rule stands in Python (`studio.draft.changed`,
// `studio.places.splice`), and one test drives both. Places count letters as Python does: `letters` splits a text so.

const letters = (text) => Array.from(text);

// What turned one text into another: letters [start, end) of the old one became `added` letters. What stands behind the
// caret is old, what stands right before it is new; without a caret (null) the longest common beginning decides.
function changedPart(before, after, caret) {
  const shorter = Math.min(before.length, after.length);
  let head = 0;
  while (head < shorter && before[head] === after[head]) head += 1;
  let tail = 0;
  while (tail < shorter && before[before.length - 1 - tail] === after[after.length - 1 - tail]) tail += 1;
  if (caret === null) tail = Math.min(tail, shorter - head);
  else {
    tail = Math.min(tail, Math.max(after.length - caret, 0));
    head = Math.min(head, shorter - tail);
  }
  return { start: head, end: before.length - tail, added: after.length - tail - head };
}

// Spans before and behind a change keep their words, those it reaches into are dropped.
function movedSpans(spans, { start, end, added }) {
  if (start === end && !added) return spans;
  const shift = added - (end - start);
  const kept = [];
  for (const span of spans) {
    if (span.end <= start) kept.push(span);
    else if (span.start >= end) kept.push({ ...span, start: span.start + shift, end: span.end + shift });
  }
  return kept;
}

// The text in pieces that join to it again; where two owners share words, the piece carries both numbers.
function piecesOf(text, marks) {
  const all = letters(text);
  const cuts = new Set([0, all.length]);
  for (const mark of marks) for (const place of [mark.start, mark.end]) if (place >= 0 && place <= all.length) cuts.add(place);
  const places = [...cuts].sort((a, b) => a - b);
  return places.slice(1).map((end, number) => {
    const start = places[number];
    const over = marks.filter((mark) => mark.start <= start && end <= mark.end);
    const badges = [...new Set(over.map((mark) => mark.badge))];
    return { text: all.slice(start, end).join(""), tone: over.length ? over[0].tone : "", badge: badges.join("+"), shared: badges.length > 1 };
  });
}
