// What every finished clip has, wherever it is shown: its facts in one line, and a way to save it.

function clipLength(clip) {
  if (!clip.fps || !clip.num_frames) return "";
  return clip.num_frames === 1 ? say("clip_still") : say("seconds", { count: (clip.num_frames / clip.fps).toFixed(1) });
}

function clipFacts(clip) {
  if (!clip.has_scene) return null;
  const parts = [
    say("clip_seed", { seed: clip.seed }),
    `${clip.width} × ${clip.height}`,
    sayCount("frames", clip.num_frames),
    sayCount("steps", clip.num_inference_steps),
    clip.seconds === null ? null : say("clip_made_in", { seconds: clip.seconds < 10 ? clip.seconds.toFixed(1) : Math.round(clip.seconds) }),
    clip.builtin ? null : clip.engine_title, // the built-in one is named on the picture already
    clip.draft.length ? say("clip_draft", { what: clip.draft.join(say("list_comma")) }) : null,
    clip.loras && clip.loras.length ? say("clip_loras", { names: clip.loras.map((one) => one.name).join(say("list_comma")) }) : null,
    clip.edited && clip.edited.length ? say("clip_edited", { steps: clip.edited.join(say("list_comma")) }) : null,
  ];
  return h("p", { class: "facts" }, parts.filter(Boolean).join(" · "));
}

function saveRowFor(ask, formats) {
  return (clip) => {
    const choice = h("select", { "aria-label": say("clip_format") }, formats.map((one) => h("option", { value: one.value }, one.title)));
    const bare = h("input", { type: "checkbox" });
    const task = taskPart(ask);
    const button = h("button", { type: "button", onclick: save }, say("save"));

    async function save() {
      button.disabled = true;
      const file = await task.run({ do: "save", clip: clip.name, format: choice.value, pictures: !bare.checked }, say("clip_saving"));
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
      h("div", { class: "save" }, choice, button, clip.has_scene && h("label", { class: "check" }, bare, say("clip_bare"))),
      task.node,
    );
  };
}
