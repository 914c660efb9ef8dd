// The cutter: a dialog in which a thing is cut out of a picture by clicks, boxes and a brush.
//
// openCutter({ask, picture, mask, name, role, fields, anew, onDone}): `picture` and `mask` (or null) are ids of the store, `role`
// is face, attribute, object or background, `fields` are nodes of the caller's (label, belongs to …) shown beside the
// picture. onDone({image, mask}) may return a sentence, or the promise of one, if it cannot take the cut-out. `anew`: another
// thing of the same picture, which begins with no gestures.
// Closing loses nothing: opened again, the cutter goes on from the gestures made so far, also after a reload.

const CUTS_KEY = "lumosx-cuts";
const CUT_TOOLS = ["keep", "drop", "brush", "eraser"];
const cutPage = Math.random().toString(36).slice(2);
const cutHistories = new Map(); // "picture|mask" → {base, states, at}
let cutNumber = 0;

const cutKey = (picture, mask, anew) => `${picture}|${anew ? "more" : mask || ""}`;

function cutHistory(picture, mask, anew) {
  const key = cutKey(picture, mask, anew);
  if (!cutHistories.has(key)) {
    let saved = null;
    try {
      saved = (JSON.parse(sessionStorage.getItem(CUTS_KEY)) || {})[key];
    } catch (error) {
      saved = null;
    }
    const history = { base: mask || null, states: [{ steps: [], feather: 0, fill_holes: false }], at: 0 };
    if (saved && Array.isArray(saved.steps)) {
      history.base = saved.base;
      history.states = [...saved.steps.keys(), saved.steps.length].map((count) => ({ ...saved, base: undefined, steps: saved.steps.slice(0, count) }));
      history.at = history.states.length - 1;
    }
    cutHistories.set(key, history);
  }
  return cutHistories.get(key);
}

function keepCuts() {
  const saved = {};
  for (const [key, history] of cutHistories) {
    if (history.at) saved[key] = { base: history.base, ...history.states[history.at] };
  }
  try {
    sessionStorage.setItem(CUTS_KEY, JSON.stringify(saved));
  } catch (error) {
    // a browser that keeps nothing, or too much to keep: the gestures then live as long as the page
  }
}

function cutToolWords(tool) {
  return {
    keep: [say("cut_keep"), say("cut_keep_hint")],
    drop: [say("cut_drop"), say("cut_drop_hint")],
    brush: [say("cut_brush"), say("cut_brush_hint")],
    eraser: [say("cut_eraser"), say("cut_eraser_hint")],
  }[tool];
}

function openCutter({ ask, picture, mask, name, role, fields, anew: more, onDone }) {
  const began = performance.now();
  const history = cutHistory(picture, mask, more);
  const before = document.activeElement;
  let cutter = null; // the name of the one at work
  let known = [];
  let ready = false; // whether it has looked at the picture
  let wanted = false; // whether gestures wait for an answer
  let busy = false;
  let open = true;
  let acted = null; // when the last gesture was made
  let live = null; // a slider being moved: not yet a step of the history

  const state = () => live || history.states[history.at];
  const stage = cutterStage(add1);
  stage.node.setAttribute("aria-label", say("cut_picture", { name }));
  const tools = CUT_TOOLS.map((key, place) => {
    const [title, about] = cutToolWords(key);
    const tip = say("cut_tool_tip", { hint: about, key: place + 1 });
    return h("button", { type: "button", class: "tool", title: tip, "data-tool": key, "aria-pressed": "false", onclick: () => choose(key) }, title);
  });
  const hint = h("p", { class: "quiet hint" });
  const size = h("input", { type: "range", min: 3, max: 90, value: 18, "aria-label": say("cut_brush_size"), oninput: () => stage.brush(Number(size.value)) });
  const sizeRow = h("label", { class: "size", hidden: true }, say("cut_size"), size);
  const undo = h("button", { type: "button", title: "Ctrl+Z", onclick: () => travel(-1) }, say("undo"));
  const redo = h("button", { type: "button", title: "Shift+Ctrl+Z", onclick: () => travel(1) }, say("redo"));
  const anew = h("button", { type: "button", onclick: startOver }, say("cut_anew"));
  const zooms = [
    h("button", { type: "button", "aria-label": say("cut_zoom_out"), onclick: () => stage.zoom(1 / 1.4) }, "−"),
    h("button", { type: "button", onclick: () => stage.fit() }, say("cut_fit")),
    h("button", { type: "button", "aria-label": say("cut_zoom_in"), onclick: () => stage.zoom(1.4) }, "+"),
  ];
  const wait = h("p", { class: "wait", role: "status" }, say("cut_opening"));
  const shown = h("img", { alt: say("cut_alt"), draggable: false, hidden: true });
  const nothing = h("p", { class: "quiet" }, say("cut_nothing"));
  const holes = h("input", { type: "checkbox", onchange: () => push({ ...state(), fill_holes: holes.checked }) });
  const feather = h("input", { type: "range", min: 0, max: 20, value: 0, id: freshId("feather"), oninput: soften, onchange: softened });
  const which = h("select", { "aria-label": say("cut_cutter"), onchange: () => use(which.value) });
  const label = h("span", { class: "tag" });
  const install = h("p", { class: "quiet small", hidden: true });
  const fault = h("p", { class: "notice fault", role: "alert", hidden: true });
  const done = h("button", { type: "button", class: "main", onclick: finish, disabled: true }, say("cut_done"));
  const dialog = h(
    "dialog",
    { class: "cutter", "aria-label": say("cut_title", { name }) },
    h("header", {}, h("h2", {}, say("figure_cut_out"), " ", h("span", {}, name)), label, h("button", { type: "button", class: "plain", title: say("cut_close_tip"), onclick: () => dialog.close() }, say("close"))),
    h(
      "div",
      { class: "tools", role: "toolbar", "aria-label": say("cut_tools") },
      h("span", { class: "group" }, tools),
      sizeRow,
      h("span", { class: "group" }, undo, redo, anew),
      h("span", { class: "group zoom" }, zooms),
    ),
    h("div", { class: "stage-of-cut" }, stage.node, wait),
    h(
      "div",
      { class: "side" },
      hint,
      h("div", { class: "result" }, shown, nothing),
      h("p", { class: "quiet small" }, say("cut_as_model")),
      fields,
      h("div", { class: "field" }, h("label", { htmlFor: feather.id }, say("cut_soft")), feather),
      h("label", { class: "check" }, holes, say("cut_holes")),
      h("div", { class: "field", hidden: true }, which),
      install,
      h("p", { class: "quiet small keys" }, say("cut_keys")),
      fault,
      h("div", { class: "actions" }, done),
    ),
  );

  // -- what was done ---------------------------------------------------------------------------------------------------------

  function push(next) {
    live = null;
    history.states = [...history.states.slice(0, history.at + 1), next].slice(-500);
    history.at = history.states.length - 1;
    changed();
  }

  function add1(step) {
    acted = performance.now();
    const steps = state().steps;
    const first = !steps.length && !history.base;
    if (first && ((step[0] === "click" && !step[3]) || (step[0] === "stroke" && !step[2]))) {
      hint.textContent = say("cut_nothing_to_drop");
      return;
    }
    push({ ...state(), steps: [...steps, step] });
  }

  function travel(way) {
    const next = history.at + way;
    if (!history.states[next]) return;
    live = null;
    history.at = next;
    changed();
  }

  function startOver() {
    history.base = null;
    push({ ...state(), steps: [] });
  }

  function soften() {
    live = { ...history.states[history.at], feather: Number(feather.value) };
    wanted = true;
    send();
  }

  function softened() {
    push({ ...history.states[history.at], feather: Number(feather.value) });
  }

  function changed() {
    const now = state();
    keepCuts();
    feather.value = now.feather;
    holes.checked = now.fill_holes;
    undo.disabled = history.at === 0;
    redo.disabled = history.at === history.states.length - 1;
    anew.disabled = !now.steps.length && !history.base;
    dialog.dataset.steps = now.steps.length;
    stage.mark(now.steps);
    wanted = true;
    send();
  }

  // -- the studio's answers --------------------------------------------------------------------------------------------------

  const message = () => ({ picture, role, cutter, base: history.base, gestures: state() });

  // One question at a time; it takes along everything that was done since the last one.
  async function send() {
    if (busy || !ready || !open) return;
    busy = true;
    while (wanted && open) {
      wanted = false;
      const now = state();
      cutNumber += 1;
      const answer = await ask({ do: "cut_gestures", page: cutPage, number: cutNumber, ...message() });
      if (!open) break;
      sentence(fault, answer.error);
      if (answer.gone) {
        wanted = true;
        await new Promise((next) => setTimeout(next, 1500));
      } else if (!answer.error && !answer.superseded) await reveal(answer, now);
    }
    busy = false;
    if (wanted && open) send();
  }

  async function reveal(answer, now) {
    const mask = answer.mask ? { image: await bitmap(answer.mask), box: answer.box } : null;
    await stage.show(mask, now.steps);
    if (acted !== null && now === state()) performance.measure("lumosx-cut-answer", { start: acted });
    // beside the picture, and so a frame later
    if (answer.preview) shown.src = answer.preview;
    shown.hidden = !answer.mask;
    nothing.hidden = Boolean(answer.mask);
    done.disabled = !answer.mask;
    dialog.dataset.shown = now.steps.length;
    dialog.dataset.state = JSON.stringify([now.steps.length, now.feather, now.fill_holes]);
  }

  // Decoded once, in the background; an <img> would be decoded again where it is drawn.
  async function bitmap(source) {
    const bytes = Uint8Array.from(atob(source.split(",")[1]), (letter) => letter.charCodeAt(0));
    return createImageBitmap(new Blob([bytes], { type: "image/png" }));
  }

  async function decoded(source) {
    const image = new Image();
    image.src = source;
    await image.decode();
    return image;
  }

  async function use(chosen) {
    cutter = chosen;
    ready = false;
    const one = known.find((candidate) => candidate.name === chosen);
    label.textContent = one.builtin ? say("cut_builtin") : one.title;
    label.title = one.note;
    const asked = performance.now();
    while (open && cutter === chosen) {
      const answer = await ask({ do: "cut_prepare", picture, cutter: chosen });
      if (!open || cutter !== chosen) return;
      sentence(fault, answer.error);
      if (answer.error) {
        sentence(wait, "");
        if (!answer.gone) return;
        await new Promise((next) => setTimeout(next, 1500));
      } else if (answer.ready) break;
      else sentence(wait, say("cut_looking", { title: one.title, seconds: Math.round((performance.now() - asked) / 1000) }));
    }
    if (!open || cutter !== chosen) return;
    sentence(wait, "");
    ready = true;
    dialog.dataset.ready = chosen;
    if (history.base || state().steps.length) wanted = true;
    send();
  }

  async function begin() {
    const answer = await ask({ do: "cut_open", picture });
    if (!open) return;
    if (answer.error) {
      sentence(wait, "");
      sentence(fault, answer.error);
      return;
    }
    const image = await decoded(answer.view).catch(() => null);
    if (!open) return;
    if (!image) {
      sentence(wait, "");
      sentence(fault, say("cut_unreadable"));
      return;
    }
    known = answer.cutters;
    fill(which, known.map((one) => h("option", { value: one.name }, one.title)));
    which.closest(".field").hidden = known.length < 2;
    sentence(install, answer.install);
    sentence(wait, "");
    stage.open(image, answer.width, answer.height);
    stage.mark(state().steps);
    requestAnimationFrame(() => {
      performance.measure("lumosx-cut-ready", { start: began });
      dialog.dataset.picture = `${answer.width}x${answer.height}`;
    });
    await use(known[0].name);
  }

  async function finish() {
    if (done.disabled) return;
    done.disabled = true;
    const answer = await ask({ do: "cut_keep", ...message() });
    let wrong = answer.error;
    if (!wrong) {
      cutHistories.set(`${picture}|${answer.mask}`, { ...history, states: [...history.states] });
      keepCuts();
      wrong = await onDone({ image: picture, mask: answer.mask });
      if (!wrong && more) cutHistories.delete(cutKey(picture, mask, more)); // the next thing begins with nothing
    }
    sentence(fault, wrong);
    done.disabled = false;
    if (!wrong) dialog.close();
  }

  // -- the dialog ------------------------------------------------------------------------------------------------------------

  function choose(key) {
    for (const button of tools) button.setAttribute("aria-pressed", String(button.dataset.tool === key));
    hint.textContent = cutToolWords(key)[1];
    sizeRow.hidden = key !== "brush" && key !== "eraser";
    stage.choose(key);
  }

  function pressed(event) {
    event.stopPropagation(); // the page behind has keys of its own
    const typing = event.target.matches("textarea, select, input:not([type=range], [type=checkbox])");
    const key = event.key.toLowerCase();
    const undoing = (event.ctrlKey || event.metaKey) && (key === "z" || key === "y");
    if (undoing && typing) return; // a field has an undo of its own
    if (undoing) travel(key === "y" || event.shiftKey ? 1 : -1);
    else if (event.key === "Enter" && !event.target.matches("button, summary, textarea, select")) finish();
    else if (event.key === "Alt") event.preventDefault(); // some browsers would open their menu
    else if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    else if (CUT_TOOLS[Number(event.key) - 1]) choose(CUT_TOOLS[Number(event.key) - 1]);
    else if (key === "+" || key === "=") stage.zoom(1.4);
    else if (key === "-") stage.zoom(1 / 1.4);
    else if (key === "0") stage.fit();
    else return;
    event.preventDefault();
  }

  dialog.addEventListener("keydown", pressed);
  dialog.addEventListener("close", () => {
    open = false;
    keepCuts();
    stage.close();
    dialog.remove();
    if (before && before.isConnected) before.focus();
  });
  element.querySelector(".lx").append(dialog);
  choose("keep");
  const first = state();
  feather.value = first.feather;
  holes.checked = first.fill_holes;
  undo.disabled = history.at === 0;
  redo.disabled = history.at === history.states.length - 1;
  anew.disabled = !first.steps.length && !history.base;
  dialog.dataset.steps = first.steps.length;
  dialog.showModal();
  stage.node.focus();
  begin();
}
