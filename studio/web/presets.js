// The shelf of presets: choose a scene, add somebody saved before, search, save what is on the page, delete one's own.

function presetsPart({ ask, root, openMenu, choosePreset, insertPreset, takeScene, takeShared, sharePreset, draft }) {
  let list = [];
  let present = null;

  const search = h("input", { type: "search", placeholder: "Search presets", "aria-label": "Search presets", oninput: filter });
  const shelf = h("div", { class: "presets", role: "radiogroup", "aria-label": "Presets" });
  const none = h("p", { class: "quiet", hidden: true });
  const fault = h("p", { class: "notice fault", hidden: true, role: "alert" });
  const pathBox = h("input", { type: "text", placeholder: "/home/me/my-scene", "aria-label": "Path of a sample folder", spellcheck: false, oninput: () => sentence(fault, "") });
  const pathForm = h(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        takeScene(ask({ do: "open", path: pathBox.value }));
      },
    },
    pathBox,
    h("button", { type: "submit" }, "Open"),
  );
  const picker = h("input", { type: "file", multiple: true, class: "visually-hidden", tabIndex: -1, onchange: sendFolder });
  picker.setAttribute("webkitdirectory", "");
  picker.setAttribute("aria-label", "Folder to send");
  const pickButton = h("button", { type: "button", onclick: () => picker.click() }, "Pick a folder…");
  const sharedPicker = h("input", { type: "file", multiple: true, accept: ".lumosx,.zip", class: "visually-hidden", tabIndex: -1, "aria-label": "Shared files to open" });
  sharedPicker.addEventListener("change", () => {
    const files = [...sharedPicker.files];
    sharedPicker.value = "";
    if (files.length) takeShared(files);
  });
  const sharedButton = h("button", { type: "button", onclick: () => sharedPicker.click() }, "Open a shared file…");
  const folder = h(
    "details",
    { class: "folder" },
    h("summary", {}, "Use a folder of your own pictures, or a shared file"),
    h("p", { class: "quiet" }, "A sample folder: caption.txt, subjects/1/face_man.png, subjects/1/denim jacket.png, and, if you like, objects/ and background/. A shared file, .lumosx or the zip of a folder, can also be dropped: on the page to use it, on the presets above to keep it."),
    h("div", { class: "ways" }, pickButton, picker, sharedButton, sharedPicker, pathForm),
  );

  async function sendFolder() {
    const files = [...picker.files];
    if (!files.length) return;
    const form = new FormData();
    for (const file of files) {
      form.append("path", file.webkitRelativePath || file.name);
      form.append("file", file);
    }
    pickButton.disabled = true;
    let answer;
    try {
      const response = await fetch("studio/folder", { method: "POST", body: form });
      answer = await response.json();
    } catch (error) {
      answer = { error: "The folder could not be sent; is the studio still running?" };
    }
    pickButton.disabled = false;
    picker.value = "";
    takeScene(answer);
  }

  // -- the shelf -------------------------------------------------------------------------------------------------------------

  function card(preset) {
    const person = preset.kind !== "scene" && !preset.error;
    const mosaic = h(
      "span",
      { class: "mosaic" },
      preset.pictures.map(({ url, whole }) => h("img", { src: url, class: whole ? "whole" : "", alt: "", draggable: false, loading: "lazy" })),
    );
    const radio = h("input", { type: "radio", name: "lx-preset", value: preset.name, disabled: Boolean(preset.error), onchange: () => choosePreset(preset.name) });
    const more = h("button", { type: "button", class: "icon", "aria-haspopup": "menu", onclick: () => options(preset, more) }, "⋯");
    more.setAttribute("aria-label", `Options of the preset ${preset.title}`);
    const face = h(
      "span",
      { class: "face" },
      mosaic,
      h("span", { class: "name" }, preset.title),
      h("span", { class: preset.error ? "about fault" : "about" }, preset.error || `${{ person: "Person: ", cast: "Cast: ", scene: "" }[preset.kind]}${preset.about}`),
    );
    const node = h("div", { class: `preset${person ? " kept-person" : ""}`, "data-preset": preset.name }, h("label", {}, radio, face), more);
    return node;
  }

  function options(preset, button) {
    openMenu(
      button,
      [
        !preset.error && { title: "Add to this scene", run: () => insertPreset(preset.name) },
        !preset.error && { title: "Start from it", run: () => choosePreset(preset.name) },
        !preset.error && { title: "Share as a file…", run: () => sharePreset(preset) },
        preset.own && { title: "Delete…", danger: true, run: () => sure(preset) },
      ].filter(Boolean),
      `Options of ${preset.title}`,
    );
  }

  function showList(next) {
    list = next;
    fill(shelf, list.map(card));
    search.hidden = list.length < 5;
    filter();
    mark(present);
  }

  function filter() {
    const wanted = search.value.trim().toLocaleLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    list.forEach((preset, place) => {
      const text = `${preset.title} ${preset.about} ${preset.words}`.toLocaleLowerCase();
      const fits = wanted.every((word) => text.includes(word));
      shelf.children[place].hidden = !fits;
      found += fits;
    });
    sentence(none, list.length ? (found ? "" : "No preset has these words.") : "There is no preset yet. Drop pictures on the page, or use a folder of your own below.");
  }

  function mark(name) {
    present = name;
    for (const radio of shelf.querySelectorAll("input[type=radio]")) radio.checked = radio.value === name;
  }

  // -- saving and deleting ---------------------------------------------------------------------------------------------------

  let what = "scene";
  let sureToReplace = false;
  const nameBox = h("input", { type: "text", maxLength: 80, "aria-label": "Name of the preset", autocomplete: "off", oninput: () => ready("") });
  const kinds = h("select", { "aria-label": "What to save", onchange: () => ready("") });
  const saveFault = h("p", { class: "notice", hidden: true, role: "alert" });
  const saveButton = h("button", { type: "submit", class: "main" }, "Save");
  const saveDialog = h(
    "dialog",
    { class: "dialog", "aria-label": "Save as a preset" },
    h(
      "form",
      {
        method: "dialog",
        onsubmit: (event) => {
          event.preventDefault();
          save();
        },
      },
      h("h2", {}, "Save as a preset"),
      h("p", { class: "quiet" }, "With its pictures, in your presets on this machine."),
      h("label", { class: "dialog-field" }, h("span", {}, "Name"), nameBox),
      h("label", { class: "dialog-field" }, h("span", {}, "What"), kinds),
      saveFault,
      h("div", { class: "dialog-buttons" }, h("button", { type: "button", onclick: () => saveDialog.close() }, "Cancel"), saveButton),
    ),
  );
  const sureText = h("p", {});
  const sureButton = h("button", { type: "button", class: "danger-main" }, "Delete it");
  const sureDialog = h(
    "dialog",
    { class: "dialog", "aria-label": "Delete a preset" },
    h("h2", {}, "Delete this preset?"),
    sureText,
    h("div", { class: "dialog-buttons" }, h("button", { type: "button", onclick: () => sureDialog.close() }, "Keep it"), sureButton),
  );
  root.append(saveDialog, sureDialog);

  function ready(text) {
    sureToReplace = Boolean(text);
    sentence(saveFault, text);
    write(saveButton, text ? "Replace it" : "Save");
  }

  async function save() {
    what = kinds.value;
    const answer = await ask({ do: "save_preset", ...(await draft()), what, name: nameBox.value, replace: sureToReplace });
    if (answer.taken) ready("There is a preset of this name already. Replace it, or choose another name.");
    else if (answer.error) {
      ready("");
      sentence(saveFault, answer.error);
    } else {
      saveDialog.close();
      part.renew(answer.presets, answer.preset);
    }
  }

  function sure(preset) {
    write(sureText, `“${preset.title}” and its copies of the pictures are removed from your presets. The scene on this page stays.`);
    sureButton.onclick = async () => {
      sureDialog.close();
      const answer = await ask({ do: "delete_preset", preset: preset.name });
      sentence(fault, answer.error);
      if (!answer.error) showList(answer.presets);
      search.focus();
    };
    sureDialog.showModal();
  }

  const part = {
    node: h("section", { class: "part shelf", "aria-label": "Scene" }, h("header", {}, h("h2", {}, "Choose a scene"), search), shelf, none, folder, fault),
    begin(first, local) {
      showList(first);
      pathForm.hidden = !local;
    },
    mark,
    // presets that came while the page was open; `name` is the new one
    renew(next, name) {
      search.value = "";
      showList(next);
      const added = [...shelf.children].find((one) => one.dataset.preset === name);
      if (added) added.scrollIntoView({ block: "nearest", inline: "center" });
    },
    fail: (text) => sentence(fault, text),
    // people: [{id, title, name}] of the scene; chosen: "scene" or the id of a person
    openSave(people, chosen, name) {
      fill(
        kinds,
        h("option", { value: "scene" }, "The scene: cast, words and bindings"),
        h("option", { value: "cast" }, "The cast without the words"),
        people.map((one) => h("option", { value: one.id }, `Only ${one.title.toLowerCase()}${one.name ? `: ${one.name}` : ""}`)),
      );
      kinds.value = chosen;
      nameBox.value = name;
      ready("");
      saveDialog.showModal();
      nameBox.select();
    },
  };
  return part;
}
