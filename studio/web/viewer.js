// One clip, large: playing, what it was made of, what can be made of it.

// viewerPart(root, {ask, saveRow, editor(onMade), acts}): open(clip, {rename}); `acts` are the gallery's: openScene, swap,
// compare, remove, neighbour(clip, by), renamed.
function viewerPart(root, { ask, saveRow, editor, acts }) {
  const title = h("input", {
    type: "text", class: "viewer-title", maxLength: 120, "aria-label": say("viewer_title"), spellcheck: false,
    onchange: rename,
    onkeydown: (event) => {
      if (event.key === "Enter") title.blur();
    },
  });
  const newer = h("button", { type: "button", class: "icon", "aria-label": say("viewer_newer"), title: say("viewer_newer"), onclick: () => go(-1) }, "‹");
  const older = h("button", { type: "button", class: "icon", "aria-label": say("viewer_older"), title: say("viewer_older"), onclick: () => go(1) }, "›");
  const stage = h("div", { class: "viewer-stage" });
  const transport = h("div", {});
  const poster = h("button", { type: "button", class: "small", onclick: choosePoster }, say("viewer_poster"));
  const said = h("p", { class: "quiet said", role: "status" });
  const fault = h("p", { class: "advice", hidden: true, role: "alert" });
  const side = h("div", { class: "viewer-side" });
  const edits = editor((name) => acts.made(name));
  const dialog = h(
    "dialog",
    { class: "wide-dialog viewer" },
    h("header", {}, title, newer, older, h("button", { type: "button", class: "plain", onclick: () => dialog.close() }, say("close"))),
    h("div", { class: "viewer-columns" }, h("div", { class: "viewer-main" }, stage, transport, h("div", { class: "viewer-tools" }, poster, said), fault, edits.node), side),
  );
  root.append(dialog);
  let clip = null;
  let reel = null;

  dialog.addEventListener("close", () => {
    if (dialog.open) return;
    drop();
    acts.closed(clip);
  });
  reelKeys(dialog, () => reel);

  function drop() {
    if (reel) reel.close();
    reel = null;
    fill(stage);
  }

  async function rename() {
    const answer = await ask({ do: "clip_rename", clip: clip.name, title: title.value });
    sentence(fault, answer.error);
    if (answer.error) return;
    title.value = answer.title;
    dialog.setAttribute("aria-label", answer.title);
    acts.changed();
  }

  async function choosePoster() {
    reel.pause();
    const answer = await ask({ do: "clip_poster", clip: clip.name, frame: reel.frame() });
    sentence(fault, answer.error);
    if (answer.error) return;
    write(said, say("viewer_poster_done"));
    acts.changed();
  }

  function go(by) {
    const next = acts.neighbour(clip, by);
    if (next) open(next);
  }

  const act = (words, run, more = {}) =>
    h(
      "button",
      {
        type: "button",
        ...more,
        onclick: async (event) => {
          const button = event.currentTarget;
          button.disabled = true;
          sentence(fault, await run());
          button.disabled = false;
        },
      },
      words,
    );

  async function swap(choose) {
    const answer = await acts.swap(clip, choose);
    if (answer === "") write(said, say("viewer_swap_queued"));
    return answer === null ? "" : answer; // null: the user chose nothing
  }

  function scene(words) {
    return async () => {
      const answer = await acts.openScene(clip, words);
      if (!answer) dialog.close();
      return answer;
    };
  }

  function showSide() {
    fill(
      side,
      h("div", {}, clip.builtin && h("span", { class: "tag" }, say("run_builtin")), h("p", { class: "prompt-words" }, clip.prompt), clipFacts(clip)),
      h(
        "div",
        { class: "viewer-acts" },
        clip.has_scene && act(say("open_scene"), scene(true)),
        clip.has_scene && act(say("new_prompt"), scene(false)),
        clip.swap && act(say("swap"), () => swap(!clip.swap.pair), { title: clip.swap.pair ? say("swap_tip", { one: clip.swap.pair[0], other: clip.swap.pair[1] }) : null }),
        clip.swap && clip.swap.pair && clip.swap.more && act(say("swap_other"), () => swap(true)),
        act(say("gallery_compare"), () => acts.compare(clip)),
      ),
      saveRow(clip),
      h("div", {}, act(say("delete"), async () => {
        const answer = await acts.remove(clip);
        if (!answer) dialog.close();
        return answer;
      }, { class: "plain danger" })),
    );
  }

  function open(next, { rename: typing = false } = {}) {
    drop();
    clip = next;
    dialog.setAttribute("aria-label", clip.title);
    dialog.dataset.clip = clip.name;
    title.value = clip.title;
    sentence(fault, "");
    write(said, "");
    reel = reelPart([clip]);
    const mine = reel;
    reel.videos[0].addEventListener("error", () => mine === reel && sentence(fault, say("viewer_unreadable")));
    fill(stage, reel.node);
    fill(transport, reel.controls);
    showSide();
    newer.disabled = !acts.neighbour(clip, -1);
    older.disabled = !acts.neighbour(clip, 1);
    if (!dialog.open) dialog.showModal();
    edits.show(clip, reel);
    if (typing) title.select();
    else reel.controls.querySelector("button").focus();
    reel.begin();
  }

  return {
    open,
    pause: () => reel && reel.pause(),
    get shown() {
      return dialog.open ? clip : null;
    },
    // the list came anew: the same clip may have another title by now
    refreshed(known) {
      if (!dialog.open || !clip) return;
      if (known && document.activeElement !== title) title.value = known.title;
      if (known) clip = { ...clip, ...known };
      newer.disabled = !acts.neighbour(clip, -1);
      older.disabled = !acts.neighbour(clip, 1);
    },
  };
}
