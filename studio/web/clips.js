// Finished clips: what they were made from, how to keep them, how to go on from them.

function clipFacts(clip) {
  if (!clip.has_scene) return null;
  const parts = [
    `seed ${clip.seed}`,
    `${clip.width} × ${clip.height}`,
    plural(clip.num_frames, "frame", "frames"),
    plural(clip.num_inference_steps, "step", "steps"),
    clip.seconds === null ? null : `made in ${clip.seconds < 10 ? clip.seconds.toFixed(1) : Math.round(clip.seconds)} s`,
    clip.builtin ? null : clip.engine_title, // the built-in one is named on the picture already
  ];
  return h("p", { class: "facts" }, parts.filter(Boolean).join(" · "));
}

function saveRowFor(ask, formats) {
  return (clip) => {
    const choice = h("select", { "aria-label": "File format" }, formats.map((one) => h("option", { value: one.value }, one.title)));
    const fault = h("p", { class: "advice", hidden: true, role: "alert" });
    const bare = h("input", { type: "checkbox" });
    const button = h("button", { type: "button", onclick: save }, "Save");

    async function save() {
      button.disabled = true;
      button.textContent = "Preparing…";
      const answer = await ask({ do: "save", clip: clip.name, format: choice.value, pictures: !bare.checked });
      button.disabled = false;
      button.textContent = "Save";
      sentence(fault, answer.error);
      if (answer.error) return;
      const link = h("a", { href: answer.url, download: answer.name });
      document.body.append(link);
      link.click();
      link.remove();
    }

    return h(
      "div",
      {},
      h("div", { class: "save" }, choice, button, clip.has_scene && h("label", { class: "check" }, bare, "without my pictures inside")),
      fault,
    );
  };
}

function clipsPart(ask, saveRow, onScene) {
  const grid = h("div", { class: "clips" });
  const none = h("p", { class: "quiet" }, "Finished clips gather here, newest first.");
  const more = h("button", { type: "button", class: "more", hidden: true, onclick: showMore }, "Show older clips");
  const fault = h("p", { class: "notice fault", hidden: true, role: "alert" });
  const cards = new Map();
  let limit = 12;
  let seen = null;

  async function refresh(version) {
    seen = version;
    const answer = await ask({ do: "clips", limit });
    sentence(fault, answer.error);
    if (answer.error) return;
    const names = new Set(answer.clips.map((clip) => clip.name));
    for (const [name, card] of cards) {
      if (!names.has(name)) {
        card.remove();
        cards.delete(name);
      }
    }
    answer.clips.forEach((clip, place) => {
      if (!cards.has(clip.name)) cards.set(clip.name, cardOf(clip));
      const card = cards.get(clip.name);
      if (grid.children[place] !== card) grid.insertBefore(card, grid.children[place] || null);
    });
    none.hidden = answer.clips.length > 0;
    more.hidden = answer.total <= answer.clips.length;
  }

  function showMore() {
    limit += 24;
    refresh(seen);
  }

  function cardOf(clip) {
    const first = `${clip.url}#t=0.001`; // so that a card shows its first frame before it plays
    const video = h("video", { src: first, loop: true, muted: true, playsInline: true, preload: "metadata", tabIndex: -1 });
    const screen = h("button", { type: "button", class: "screen", onclick: () => (video.paused ? video.play() : video.pause()) }, video);
    const told = () => screen.setAttribute("aria-label", `${video.paused ? "Play" : "Pause"} ${clip.title}`);
    for (const moment of ["play", "pause"]) {
      video.addEventListener(moment, () => {
        screen.classList.toggle("playing", !video.paused);
        told();
      });
    }
    told();
    const keep = h("div", { hidden: true }, saveRow(clip));
    const wrong = h("p", { class: "advice", hidden: true, role: "alert" });
    return h(
      "article",
      { class: "clip" },
      screen,
      clip.builtin && h("span", { class: "tag" }, "built-in preview model"),
      h("h3", {}, clip.title),
      h("p", { class: "words" }, clip.prompt),
      clipFacts(clip),
      h(
        "div",
        { class: "row" },
        clip.has_scene &&
          h(
            "button",
            {
              type: "button",
              class: "plain",
              onclick: async () => sentence(wrong, await onScene(clip)),
            },
            "Open its scene",
          ),
        h("button", { type: "button", class: "plain", onclick: () => (keep.hidden = !keep.hidden) }, "Save…"),
      ),
      keep,
      wrong,
    );
  }

  return {
    node: h("section", { class: "part", "aria-label": "Clips" }, h("header", {}, h("h2", {}, "Your clips")), none, grid, more, fault),
    // called with the worker's count of finished clips; asks for the list only when it moved
    look(version) {
      if (version !== seen) refresh(version);
    },
  };
}
