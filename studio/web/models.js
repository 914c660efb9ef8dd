// Models: what is installed, what is missing for what, and getting it. The dialog shows what the studio says; closing it stops
// nothing. Rows stay the same nodes, or a button would vanish under the finger that presses it.

const MODELS_LOOK_MS = 700;

function modelsPart(ask, root, onChanged) {
  const dot = h("span", { class: "dot", hidden: true });
  const button = h("button", { type: "button", class: "small models-button", onclick: open }, say("models_title"), dot);
  const place = h("p", { class: "quiet place" });
  const fault = h("p", { class: "notice fault", role: "alert", hidden: true });
  const list = h("ul", { class: "models-list" });
  const closer = h("button", { type: "button", class: "small", onclick: () => dialog.close() }, say("close"));
  const dialog = h(
    "dialog",
    { class: "dialog models", "aria-label": say("models_title") },
    h("header", {}, h("h2", {}, say("models_title")), closer),
    h("p", { class: "quiet" }, say("models_intro")),
    place,
    fault,
    list,
  );
  root.append(dialog);
  const shelf = loraShelf(tell, look);
  dialog.append(shelf.node);
  const rows = new Map();
  let timer = null;
  let known = ""; // which models were usable when we looked last

  async function open() {
    dialog.showModal();
    closer.focus();
    await look();
  }

  dialog.addEventListener("close", () => {
    clearTimeout(timer);
    button.focus();
  });

  async function look() {
    clearTimeout(timer);
    show(await ask({ do: "models" }));
    if (dialog.open) timer = setTimeout(look, MODELS_LOOK_MS);
  }

  async function tell(message) {
    const answer = await ask(message);
    if (!answer.error) show(answer);
    return answer.error || "";
  }

  function show(answer) {
    sentence(fault, answer.error);
    if (answer.error) return;
    write(place, answer.local ? say("models_place", { folder: answer.folder, free: answer.free }) : say("models_place_elsewhere", { free: answer.free, elsewhere: say("models_elsewhere") }));
    for (const model of answer.models) {
      if (!rows.has(model.name)) {
        rows.set(model.name, modelRow(model.name, tell, look));
        list.append(rows.get(model.name).node);
      }
      rows.get(model.name).update(model, answer);
    }
    shelf.update(answer);
    dot.hidden = !answer.models.some((one) => one.state === "damaged" && !one.errand);
    button.setAttribute("aria-label", dot.hidden ? say("models_title") : say("models_one_damaged"));
    const usable = [...answer.models.map((one) => `${one.name} ${one.state}`), ...answer.loras.list.map((one) => one.digest)].join("/");
    if (known && known !== usable) onChanged();
    known = usable;
  }

  ask({ do: "models" }).then((answer) => !answer.error && show(answer));
  return { button, open };
}

// How far an errand is, and the button that stops it.
function errandProgress(onStop) {
  const stage = h("span", {});
  const left = h("span", { class: "left" });
  const fillBar = h("i", {});
  const bar = h("div", { class: "bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100 }, fillBar);
  const stop = h("button", { type: "button", onclick: onStop }, say("models_stop"));
  const node = h("div", { class: "progress", hidden: true }, h("p", { class: "line" }, stage, left), bar, h("div", { class: "acts" }, stop));

  function draw(errand, title) {
    node.hidden = !errand;
    if (!errand) return;
    write(stage, errand.stopping ? say("run_stopping") : errand.amount ? say("named", { what: errand.stage || say("models_beginning"), name: errand.amount }) : errand.stage || say("models_beginning"));
    write(left, errand.stopping ? "" : timeLeft(errand.seconds_left));
    bar.className = errand.percent === null ? "bar open" : "bar";
    bar.setAttribute("aria-label", say("named", { what: title, name: errand.stage }));
    fillBar.style.width = errand.percent === null ? "" : `${errand.percent}%`;
    if (errand.percent === null) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", Math.round(errand.percent));
    stop.disabled = errand.stopping;
  }

  return { node, stop, draw };
}

// Sends one file of the user's to the studio; the answer, or what went wrong.
async function sendWeights(query, file) {
  try {
    const address = `studio/weights?${new URLSearchParams(query)}`;
    return await (await fetch(address, { method: "POST", body: file, headers: { "Accept-Language": spoken } })).json();
  } catch (error) {
    return { error: say("models_not_sent", { name: file.name }) };
  }
}

function modelRow(name, tell, look) {
  const title = h("h3", {});
  const state = h("span", { class: "tag" });
  const purpose = h("p", {});
  const facts = h("p", { class: "quiet facts-line" });
  const licence = h("p", { class: "quiet facts-line" });
  const problem = h("p", { class: "notice fault", hidden: true });
  const said = h("p", { class: "quiet said", role: "status", hidden: true });
  const fault = h("p", { class: "notice fault", role: "alert", hidden: true });

  const progress = errandProgress(() => doing({ do: "models_stop", name }));
  const make = (text, run, kind) => h("button", { type: "button", class: kind || "small", onclick: run }, text);
  const download = make(say("models_download"), () => openPanel("download"));
  const own = make(say("models_own"), () => openPanel("own"));
  const repair = make(say("models_repair"), () => doing({ do: "models_do", name, kind: "repair" }), "small strong");
  const check = make(say("models_check"), () => doing({ do: "models_do", name, kind: "check" }));
  const remove = make(say("models_remove"), () => openPanel("remove"));
  const leftover = make("", () => doing({ do: "models_do", name, kind: "remove_leftover" }));
  const acts = h("div", { class: "acts" }, repair, download, own, check, leftover, remove);
  const panel = h("div", { class: "model-panel", hidden: true });
  const node = h(
    "li",
    { class: "model", "data-model": name },
    h("div", { class: "model-head" }, title, state),
    purpose, facts, licence, problem, progress.node, fault, said, acts, panel,
  );
  let model = null;
  let desk = null;
  let shownPanel = "";

  async function doing(message) {
    sentence(fault, await tell(message));
  }

  function closePanel(focus) {
    shownPanel = "";
    panel.hidden = true;
    fill(panel);
    acts.hidden = false;
    if (focus && focus.isConnected && !focus.hidden) focus.focus();
  }

  // The licence of some has to be accepted before anything is fetched or taken over.
  function acceptance(buttons) {
    if (!model.non_commercial) return { node: null, accepted: () => true };
    const box = h("input", { type: "checkbox", onchange: () => buttons.forEach((one) => (one.disabled = !box.checked)) });
    for (const one of buttons) one.disabled = true;
    return { node: h("label", { class: "check" }, box, say("models_accept")), accepted: () => box.checked };
  }

  function openPanel(kind) {
    shownPanel = kind;
    sentence(fault, "");
    acts.hidden = true;
    panel.hidden = false;
    const cancel = make(kind === "remove" ? say("keep_it") : say("models_not_now"), () => closePanel({ download, own, remove }[kind]), " ");
    if (kind === "download") fillDownload(cancel);
    else if (kind === "own") fillOwn(cancel);
    else fillRemove(cancel);
    panel.scrollIntoView({ block: "nearest" });
    panel.querySelector("input:not([type=file]), button:not(:disabled)").focus();
  }

  function fillDownload(cancel) {
    const start = make(say("models_start"), () => begin({}, accept), "main");
    const accept = acceptance([start]);
    fill(
      panel,
      h("p", {}, say(model.arrived ? "models_download_rest" : "models_download_all", { size: model.download, source: model.source, arrived: model.arrived })),
      h("p", { class: model.enough ? "" : "notice" }, say("models_disk", { disk: model.disk, free: desk.free })),
      accept.node,
      h("div", { class: "dialog-buttons" }, cancel, start),
    );
  }

  function fillOwn(cancel) {
    const path = h("input", { type: "text", autocomplete: "off", spellcheck: false, "aria-label": say("models_path"), placeholder: say("models_path") });
    const use = make(say("models_use"), null, "main");
    const picker = h("input", { type: "file", class: "visually-hidden", tabIndex: -1, "aria-label": say("models_sent") });
    const send = model.sendable ? make(say("models_send"), () => picker.click(), " ") : null;
    const accept = acceptance([use, ...(send ? [send] : [])]);
    use.addEventListener("click", () => begin({ path: path.value }, accept));
    path.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || use.disabled) return;
      event.preventDefault();
      use.click();
    });
    picker.addEventListener("change", () => picker.files.length && sendFile(picker.files[0], accept));
    fill(
      panel,
      h("p", {}, say("models_files", { files: model.files.join(say("list_semicolon")) })),
      h("p", { class: "quiet" }, say("models_own_about")),
      accept.node,
      path,
      picker,
      h("div", { class: "dialog-buttons" }, cancel, send, use),
    );
  }

  function fillRemove(cancel) {
    const sure = make(say("models_sure"), () => begin({}, { accepted: () => false }, "remove"), "danger-main");
    fill(
      panel,
      h("p", {}, model.size ? say("models_remove_size", { title: model.title, size: model.size }) : say("models_remove_about", { title: model.title })),
      h("div", { class: "dialog-buttons" }, cancel, sure),
    );
  }

  async function begin(more, accept, kind = "install") {
    const error = await tell({ do: "models_do", name, kind, accepted: accept.accepted(), ...more });
    sentence(fault, error);
    if (!error) closePanel(progress.stop);
  }

  async function sendFile(file, accept) {
    if (file.size > desk.upload_bytes) {
      sentence(fault, say("models_too_large", { name: file.name }));
      return;
    }
    sentence(fault, "");
    sentence(said, say("models_sending"));
    const answer = await sendWeights({ name, file: file.name, accepted: String(accept.accepted()) }, file);
    sentence(said, "");
    sentence(fault, answer.error);
    if (!answer.error) {
      closePanel(progress.stop);
      look();
    }
  }

  return {
    node,
    update(next, answer) {
      model = next;
      desk = answer;
      const busy = Boolean(model.errand);
      const hadFocus = node.contains(document.activeElement);
      node.dataset.state = busy ? "busy" : model.state;
      write(title, model.title);
      const states = { installed: say("models_installed"), missing: say("models_missing"), damaged: say("models_damaged") };
      write(state, busy ? say("models_busy") : model.builtin && model.state === "installed" ? say("models_builtin") : states[model.state]);
      state.className = `tag ${busy ? "working" : model.state}`;
      write(purpose, model.purpose);
      const sizes = [model.size && say("models_size_here", { size: model.size }), model.state === "missing" && say("models_size_download", { size: model.download })];
      write(facts, [...sizes, model.leftover && say("models_leftover", { size: model.leftover })].filter(Boolean).join(" · "));
      facts.hidden = !facts.textContent;
      const text = say("models_licence", { licence: model.licence, note: model.licence_note });
      if (licence.dataset.text !== text) {
        licence.dataset.text = text;
        fill(licence, text, model.licence_link && [" ", h("a", { href: model.licence_link, target: "_blank", rel: "noreferrer" }, say("models_read_it"))]);
      }
      sentence(problem, busy ? "" : model.problem);
      progress.draw(model.errand, model.title);
      if (!said.textContent || model.said || busy) sentence(said, model.said);
      if (model.fault && !busy) sentence(fault, model.fault);
      else if (busy) sentence(fault, "");
      const mine = answer.local && !model.builtin;
      const there = model.state !== "missing";
      download.hidden = !mine || there;
      write(download, model.arrived ? say("models_go_on") : say("models_download"));
      own.hidden = !mine || model.state === "installed";
      repair.hidden = !mine || model.state !== "damaged";
      check.hidden = !answer.local || model.state !== "installed";
      remove.hidden = !mine || !(there || model.arrived);
      leftover.hidden = !mine || !model.leftover;
      if (model.leftover) write(leftover, say("models_free", { size: model.leftover }));
      if (busy && shownPanel) closePanel(null);
      acts.hidden = busy || Boolean(shownPanel);
      if (hadFocus && !node.contains(document.activeElement)) {
        const next = [...node.querySelectorAll("button")].find((one) => !one.disabled && one.offsetParent);
        if (next) next.focus();
      }
    },
  };
}
