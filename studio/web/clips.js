// What every finished clip has, wherever it is shown: its facts in one line, and a way to save it.

const CLIP_WORDS = {
  format: "File format",
  bare: "without my pictures inside",
  save: "Save",
  saving: "Preparing the file…",
  edited: (steps) => `edited: ${steps.join(", ")}`,
};

function clipLength(clip) {
  if (!clip.fps || !clip.num_frames) return "";
  return clip.num_frames === 1 ? "still" : `${(clip.num_frames / clip.fps).toFixed(1)} s`;
}

function clipFacts(clip) {
  if (!clip.has_scene) return null;
  const parts = [
    `seed ${clip.seed}`,
    `${clip.width} × ${clip.height}`,
    plural(clip.num_frames, "frame", "frames"),
    plural(clip.num_inference_steps, "step", "steps"),
    clip.seconds === null ? null : `made in ${clip.seconds < 10 ? clip.seconds.toFixed(1) : Math.round(clip.seconds)} s`,
    clip.builtin ? null : clip.engine_title, // the built-in one is named on the picture already
    clip.edited && clip.edited.length ? CLIP_WORDS.edited(clip.edited) : null,
  ];
  return h("p", { class: "facts" }, parts.filter(Boolean).join(" · "));
}

function saveRowFor(ask, formats) {
  return (clip) => {
    const choice = h("select", { "aria-label": CLIP_WORDS.format }, formats.map((one) => h("option", { value: one.value }, one.title)));
    const bare = h("input", { type: "checkbox" });
    const task = taskPart(ask);
    const button = h("button", { type: "button", onclick: save }, CLIP_WORDS.save);

    async function save() {
      button.disabled = true;
      const file = await task.run({ do: "save", clip: clip.name, format: choice.value, pictures: !bare.checked }, CLIP_WORDS.saving);
      button.disabled = false;
      if (!file) return;
      const link = h("a", { href: file.url, download: file.name });
      document.body.append(link);
      link.click();
      link.remove();
    }

    return h(
      "div",
      {},
      h("div", { class: "save" }, choice, button, clip.has_scene && h("label", { class: "check" }, bare, CLIP_WORDS.bare)),
      task.node,
    );
  };
}
