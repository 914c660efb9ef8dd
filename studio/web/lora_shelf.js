// The user's LoRAs in the dialog of models: add one from a file that is there, remove one.

const LORAS = "loras"; // what files and stops are called that are meant for them

function loraShelf(tell, look) {
  const progress = errandProgress(() => doing({ do: "models_stop", name: LORAS }));
  const said = h("p", { class: "quiet said", role: "status", hidden: true });
  const fault = h("p", { class: "notice fault", role: "alert", hidden: true });
  const list = h("ul", { class: "lora-list" });
  const add = make(say("models_own"), openAdd);
  const acts = h("div", { class: "acts" }, add);
  const panel = h("div", { class: "model-panel", hidden: true });
  const node = h(
    "section",
    { class: "model loras-shelf", "data-model": LORAS, "aria-label": say("loras_title") },
    h("div", { class: "model-head" }, h("h3", {}, say("loras_title"))),
    h("p", {}, say("loras_about")),
    list, progress.node, fault, said, acts, panel,
  );
  const rows = new Map();
  let local = false;
  let most = 0;

  function make(text, run, kind) {
    return h("button", { type: "button", class: kind || "small", onclick: run }, text);
  }

  async function doing(message) {
    const error = await tell(message);
    sentence(fault, error);
    return error;
  }

  function closePanel(focus) {
    panel.hidden = true;
    fill(panel);
    acts.hidden = !local;
    if (focus && focus.isConnected && !focus.hidden) focus.focus();
  }

  function openPanel(...children) {
    sentence(fault, "");
    sentence(said, "");
    acts.hidden = true;
    panel.hidden = false;
    fill(panel, ...children);
    panel.scrollIntoView({ block: "nearest" });
    panel.querySelector("input:not([type=file]), button").focus();
  }

  function openAdd() {
    const path = h("input", { type: "text", autocomplete: "off", spellcheck: false, "aria-label": say("lora_path"), placeholder: say("lora_path") });
    const use = make(say("models_use"), take, "main");
    const picker = h("input", { type: "file", accept: ".safetensors", class: "visually-hidden", tabIndex: -1, "aria-label": say("models_sent") });
    const send = make(say("models_send"), () => picker.click(), " ");
    async function take() {
      if (!(await doing({ do: "lora_add", path: path.value }))) closePanel(progress.stop);
    }
    path.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      take();
    });
    picker.addEventListener("change", () => picker.files.length && sendFile(picker.files[0]));
    openPanel(
      h("p", { class: "quiet" }, say("lora_add_about")),
      path,
      picker,
      h("div", { class: "dialog-buttons" }, make(say("models_not_now"), () => closePanel(add), " "), send, use),
    );
  }

  async function sendFile(file) {
    if (file.size > most) {
      sentence(fault, say("models_too_large", { name: file.name }));
      return;
    }
    sentence(fault, "");
    sentence(said, say("models_sending"));
    const answer = await sendWeights({ name: LORAS, file: file.name }, file);
    sentence(said, "");
    sentence(fault, answer.error);
    if (answer.error) return;
    closePanel(progress.stop);
    look();
  }

  function openRemove(one) {
    const sure = make(say("models_sure"), async () => {
      if (!(await doing({ do: "lora_remove", digest: one.digest }))) closePanel(add);
    }, "danger-main");
    openPanel(
      h("p", {}, say("lora_remove_about", { name: one.name, size: one.size })),
      h("div", { class: "dialog-buttons" }, make(say("keep_it"), () => closePanel(rows.get(one.digest).remove), " "), sure),
    );
  }

  function rowOf(one) {
    const remove = make(say("models_remove"), () => openRemove(one));
    const problem = h("p", { class: "notice fault", hidden: true });
    const facts = h("span", { class: "quiet" }, say("lora_facts", { size: one.size, engines: one.engines }));
    return { node: h("li", { class: "lora" }, h("b", {}, one.name), facts, remove, problem), remove, problem };
  }

  return {
    node,
    update(answer) {
      const now = answer.loras;
      local = answer.local;
      most = answer.upload_bytes;
      const there = new Set(now.list.map((one) => one.digest));
      for (const [digest, row] of rows) {
        if (there.has(digest)) continue;
        row.node.remove();
        rows.delete(digest);
      }
      for (const one of now.list) {
        if (!rows.has(one.digest)) rows.set(one.digest, rowOf(one));
        const row = rows.get(one.digest);
        row.remove.hidden = !local;
        sentence(row.problem, one.problem);
      }
      arrange(list, now.list.map((one) => rows.get(one.digest).node));
      list.hidden = !now.list.length;
      progress.draw(now.errand, say("loras_title"));
      if (!said.textContent || now.said || now.errand) sentence(said, now.said);
      if (now.fault || now.errand) sentence(fault, now.fault);
      if (now.errand && !panel.hidden) closePanel(null);
      acts.hidden = !local || Boolean(now.errand) || !panel.hidden;
    },
  };
}
