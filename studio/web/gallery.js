// The gallery: every finished clip, newest first, in one list that is sent once; later only what changed is sent.

const GALLERY_AT_ONCE = 120; // cards that are made in one go; the rest follows frame by frame

function galleryPart({ ask, root, openMenu, saveRow, openScene, swaps }) {
  const grid = h("div", { class: "clips" });
  const none = h("p", { class: "quiet" }, say("gallery_none"));
  const nothing = h("p", { class: "quiet", hidden: true }, say("gallery_nothing"));
  const count = h("span", { class: "quiet count", role: "status" });
  const search = h("input", { type: "search", placeholder: say("search_clips"), "aria-label": say("search_clips"), oninput: filter });
  const kind = h("select", { "aria-label": say("gallery_show"), onchange: filter });
  const tools = h("div", { class: "gallery-tools", hidden: true }, count, search, kind);
  const fault = h("p", { class: "notice fault", hidden: true, role: "alert" });
  const undoList = h("ul", { class: "undo-list", "aria-live": "polite" });
  const picker = pickerPart(root);
  const compare = comparePart(root);
  const clips = new Map(); // by file name
  const cards = new Map();
  let order = [];
  let number = 0; // everything up to this one is known here
  let seen = null;
  let asking = false;
  let wanted = null;
  let listed = false;
  const chosenKind = () => kind.value || "all";

  const viewer = viewerPart(root, {
    ask,
    saveRow,
    editor: (onMade) => clipEditPart(ask, picker, { others: () => order.map((name) => clips.get(name)).filter((one) => one.has_scene), onMade }),
    acts: {
      openScene,
      swap,
      remove,
      compare: compareWith,
      neighbour,
      changed: () => refresh(),
      closed: (clip) => clip && cards.has(clip.name) && cards.get(clip.name).screen.focus(),
      async made(name) {
        await refresh();
        if (clips.has(name)) viewer.open(clips.get(name));
      },
    },
  });

  // -- the list --------------------------------------------------------------------------------------------------------------

  // Asks for what changed; whoever calls while it asks gets the answer to a later question.
  function refresh() {
    if (!asking) asking = fetchList().finally(() => (asking = false));
    else if (!wanted) wanted = asking.then(() => ((wanted = null), refresh()));
    return wanted || asking;
  }

  async function fetchList() {
    if (!number) performance.mark("lx-gallery-asked");
    const answer = await ask({ do: "clips", since: number });
    sentence(fault, answer.error);
    if (answer.error) return;
    seen = answer.version;
    number = answer.number;
    for (const clip of answer.clips) clips.set(clip.name, clip);
    order = answer.names.filter((name) => clips.has(name));
    const there = new Set(order);
    for (const name of [...clips.keys()]) if (!there.has(name)) clips.delete(name);
    for (const [name, card] of cards) {
      if (there.has(name)) continue;
      card.node.remove();
      cards.delete(name);
    }
    for (const clip of answer.clips) if (cards.has(clip.name)) cards.get(clip.name).update(clip);
    showRemoved(answer.removed);
    offerKinds();
    await layOut();
    if (viewer.shown) viewer.refreshed(clips.get(viewer.shown.name));
  }

  async function layOut() {
    none.hidden = order.length > 0;
    tools.hidden = !order.length;
    const names = order;
    for (let begin = 0; begin < names.length; begin += GALLERY_AT_ONCE) {
      if (begin) await new Promise(requestAnimationFrame);
      const fresh = document.createDocumentFragment();
      let before = null;
      names.slice(begin, begin + GALLERY_AT_ONCE).forEach((name, place) => {
        const clip = clips.get(name);
        if (!clip) return;
        if (!cards.has(name)) cards.set(name, cardOf(clip));
        const { node } = cards.get(name);
        const there = grid.children[begin + place];
        if (there === node) return;
        if (there) grid.insertBefore(node, there);
        else fresh.append(node);
        before = node;
      });
      if (before) grid.append(fresh);
    }
    filter();
    if (!listed) requestAnimationFrame(() => setTimeout(() => performance.mark("lx-gallery-listed"))); // it is painted by then
    listed = true;
  }

  function offerKinds() {
    const engines = new Map();
    for (const clip of clips.values()) if (clip.engine) engines.set(clip.engine, clip.engine_title);
    const has = { all: true, rendered: true, edited: false, foreign: false };
    for (const clip of clips.values()) {
      if (!clip.has_scene) has.foreign = true;
      else if (clip.edited.length) has.edited = true;
    }
    const before = chosenKind();
    const titles = { all: say("gallery_all"), rendered: say("gallery_rendered"), edited: say("gallery_edited"), foreign: say("gallery_foreign") };
    const kinds = Object.entries(titles).filter(([value]) => has[value]);
    fill(
      kind,
      kinds.map(([value, title]) => h("option", { value }, title)),
      engines.size > 1 && [...engines].map(([value, title]) => h("option", { value: `engine ${value}` }, title)),
    );
    kind.value = before;
    if (!kind.value) kind.value = "all";
    kind.hidden = kinds.length < 3 && engines.size < 2;
  }

  function fits(clip) {
    const chosen = chosenKind();
    if (chosen === "rendered" && (!clip.has_scene || clip.edited.length)) return false;
    if (chosen === "edited" && !clip.edited.length) return false;
    if (chosen === "foreign" && clip.has_scene) return false;
    if (chosen.startsWith("engine ") && clip.engine !== chosen.slice(7)) return false;
    return clipMatches(clip, search.value);
  }

  const shownNames = () => order.filter((name) => cards.has(name) && !cards.get(name).node.hidden);

  function filter() {
    let shown = 0;
    for (const name of order) {
      const hit = fits(clips.get(name));
      if (cards.has(name)) cards.get(name).node.hidden = !hit;
      if (hit) shown += 1;
    }
    nothing.hidden = shown > 0 || !order.length;
    write(count, shown === order.length ? sayCount("gallery_count", shown) : sayCount("gallery_count_of", order.length, { shown }));
  }

  function neighbour(clip, by) {
    const names = shownNames();
    const at = names.indexOf(clip.name);
    return at < 0 ? null : clips.get(names[at + by]) || null;
  }

  // -- a card ----------------------------------------------------------------------------------------------------------------

  function cardOf(clip) {
    const name = clip.name;
    const now = () => clips.get(name);
    const picture = h("img", { alt: "", loading: "lazy", decoding: "async", draggable: false });
    const length = h("span", { class: "length" });
    const tag = h("span", { class: "tag" }, say("run_builtin"));
    const screen = h("button", { type: "button", class: "screen", onclick: () => viewer.open(now()) }, picture, tag, length);
    const title = h("h3", {});
    const options = h("button", { type: "button", class: "icon", "aria-haspopup": "menu", "aria-expanded": "false", onclick: () => openMenu(options, items(now()), say("options_of", { name: now().title })) }, "⋯");
    const words = h("p", { class: "words" });
    const facts = h("div", {});
    const acts = h("div", { class: "row" });
    const wrong = h("p", { class: "advice", hidden: true, role: "alert" });

    // one click, one act: a second one while the first is under way does nothing
    const act = (label, run, more = {}) =>
      h(
        "button",
        {
          type: "button",
          class: "plain",
          ...more,
          onclick: async (event) => {
            const button = event.currentTarget;
            button.disabled = true;
            sentence(wrong, await run());
            button.disabled = false;
          },
        },
        label,
      );

    function items(one) {
      const run = (what) => async () => sentence(wrong, await what());
      return [
        { title: say("gallery_view"), run: () => viewer.open(one) },
        one.has_scene && { title: say("new_prompt"), run: run(() => openScene(one, false)) },
        one.swap && one.swap.pair && one.swap.more && { title: say("swap_other"), run: run(() => swap(one, true)) },
        { title: say("gallery_compare"), disabled: order.length < 2, run: run(() => compareWith(one)) },
        { title: say("gallery_rename"), run: () => viewer.open(one, { rename: true }) },
        { title: say("delete"), danger: true, run: run(() => remove(one)) },
      ].filter(Boolean);
    }

    function update(one) {
      if (picture.getAttribute("src") !== one.poster) picture.src = one.poster;
      screen.setAttribute("aria-label", say("gallery_play", { title: one.title }));
      options.setAttribute("aria-label", say("options_of", { name: one.title }));
      write(length, clipLength(one));
      tag.hidden = !one.builtin;
      write(title, one.title);
      write(words, one.prompt);
      fill(facts, clipFacts(one));
      fill(
        acts,
        one.has_scene && act(say("open_scene"), () => openScene(one, true)),
        one.swap && act(say("swap"), () => swap(now(), !now().swap.pair), { title: one.swap.pair ? say("swap_tip", { one: one.swap.pair[0], other: one.swap.pair[1] }) : null }),
      );
    }

    update(clip);
    return { node: h("article", { class: "clip" }, screen, h("div", { class: "clip-head" }, title, options), words, facts, acts, wrong), screen, update };
  }

  // Arrows go from picture to picture, Delete deletes: a hundred clips are not a hundred presses of Tab away.
  grid.addEventListener("keydown", (event) => {
    const card = event.target.classList.contains("screen") ? event.target.closest(".clip") : null;
    if (!card || event.ctrlKey || event.metaKey || event.altKey) return;
    const names = shownNames();
    const at = names.findIndex((name) => cards.get(name).node === card);
    const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
    const steps = { ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - columns, ArrowDown: at + columns, Home: 0, End: names.length - 1 };
    if (event.key === "Delete") remove(clips.get(names[at]));
    else if (event.key in steps && names[steps[event.key]]) cards.get(names[steps[event.key]]).screen.focus();
    else return;
    event.preventDefault();
  });

  // -- what is done with a clip; each answers with a sentence if it cannot be ---------------------------------------------------

  async function swap(clip, choose) {
    let answer = await ask({ do: "clip_swap", clip: clip.name, choose });
    if (answer.choice) {
      const chosen = await picker.things(answer.choice);
      if (!chosen) return null;
      answer = await ask({ do: "clip_swap", clip: clip.name, first: chosen[0], second: chosen[1] });
    }
    if (answer.error) return answer.error;
    swaps.add(answer.job, clip);
    return "";
  }

  async function compareWith(clip) {
    const other = await picker.clip(say("gallery_compare_title"), order.filter((name) => name !== clip.name).map((name) => clips.get(name)));
    if (other) besides(clip, other);
    return "";
  }

  function besides(...what) {
    viewer.pause(); // one film at a time
    compare(...what);
  }

  async function remove(clip) {
    const next = neighbour(clip, 1) || neighbour(clip, -1);
    const answer = await ask({ do: "clip_remove", clip: clip.name });
    if (answer.error) return answer.error;
    await refresh();
    if (next && cards.has(next.name) && !root.querySelector("dialog[open]")) cards.get(next.name).screen.focus();
    return "";
  }

  // -- what was deleted a moment ago -------------------------------------------------------------------------------------------

  let removedTimer = null;

  function showRemoved(removed) {
    clearTimeout(removedTimer);
    const known = new Map([...undoList.children].map((row) => [row.dataset.token, row]));
    fill(undoList, removed.map((one) => known.get(one.token) || undoRow(one)));
    const soonest = Math.min(...removed.map((one) => one.left_s));
    if (removed.length) removedTimer = setTimeout(refresh, soonest * 1000 + 300);
  }

  function undoRow({ token, title }) {
    const wrong = h("span", { class: "advice", hidden: true, role: "alert" });
    const undo = h("button", { type: "button", class: "small", onclick: restore }, say("undo"));

    async function restore() {
      undo.disabled = true;
      const answer = await ask({ do: "clip_restore", token });
      sentence(wrong, answer.error);
      if (answer.error) return;
      await refresh();
      if (cards.has(answer.clip)) cards.get(answer.clip).screen.focus();
    }

    return h("li", { "data-token": token }, h("span", { class: "name" }, say("gallery_removed", { title })), undo, wrong);
  }

  return {
    node: h(
      "section",
      { class: "part gallery", "aria-label": say("gallery_region") },
      h("header", {}, h("h2", {}, say("gallery_title")), tools),
      swaps.node, none, nothing, grid, fault, undoList,
    ),
    // called with the server's word for the state of the list; asks for what changed only when it moved
    look(version) {
      if (version !== seen) refresh();
    },
    compare: besides,
    clip: (name) => clips.get(name) || null,
    viewer,
  };
}
