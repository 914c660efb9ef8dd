// Dress swaps under way: each is told of until it is done, then original and swap are shown side by side.

const SWAP_KEY = "lumosx-swaps"; // this tab's, so that a reload forgets none
function swapsPart(root, storage, { compare, clip }) {
  const node = h("ul", { class: "swaps", "aria-live": "polite" });
  let pending = (storage.read(SWAP_KEY) || []).filter((one) => one && typeof one.job === "string" && typeof one.clip === "string");

  function keep() {
    storage.write(SWAP_KEY, pending.map(({ job, clip: name, title }) => ({ job, clip: name, title })));
    draw();
  }

  function drop(one) {
    pending = pending.filter((other) => other !== one);
    keep();
  }

  function draw() {
    fill(
      node,
      pending.map((one) =>
        h(
          "li",
          { class: "notice" },
          h("span", {}, say(one.made ? "swaps_ready" : one.failed ? "swaps_failed" : "swaps_rendering", { title: one.title })),
          one.made && h("button", { type: "button", class: "small", onclick: () => show(one) }, say("swaps_show")),
          (one.made || one.failed) && h("button", { type: "button", class: "small", onclick: () => drop(one) }, say("swaps_dismiss")),
        ),
      ),
    );
  }

  function show(one) {
    const original = clip(one.clip);
    const made = clip(one.made.name) || one.made;
    drop(one);
    if (original) compare(original, made, [say("swaps_original"), say("swaps_swapped")]);
  }

  // Nobody is torn away from what they do: only a page at rest opens the two by itself.
  // Who has the original open large has asked there, and waits.
  const atRest = (one) => {
    const busy = [...root.querySelectorAll("dialog[open]")].some((dialog) => dialog.dataset.clip !== one.clip);
    return !busy && !document.hidden && !document.activeElement.matches("input:not([type=range]), textarea, select");
  };

  draw();
  return {
    node,
    add(job, original) {
      pending = [...pending, { job, clip: original.name, title: original.title }];
      keep();
    },
    // the queue as the server tells it
    look(jobs) {
      let moved = false;
      for (const one of pending) {
        const job = jobs.find((other) => other.id === one.job);
        const made = job && job.state === "done" && job.clip ? job.clip : null;
        one.missed = job ? 0 : (one.missed || 0) + 1; // an answer that was under way knows nothing of it yet
        const failed = !one.made && (one.missed > 2 || (job && (["failed", "cancelled"].includes(job.state) || (job.state === "done" && !made))));
        moved = moved || (made && !one.made) || Boolean(failed) !== Boolean(one.failed);
        if (made) one.made = made;
        one.failed = Boolean(failed);
      }
      if (!moved) return;
      draw();
      const ready = pending.find((one) => one.made);
      if (ready && atRest(ready) && clip(ready.clip)) show(ready);
    },
  };
}
