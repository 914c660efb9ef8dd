// The shelf of presets: choose a scene, add somebody saved before, search, save what is on the page, delete one's own.

function presetsPart({ ask, root, openMenu, choosePreset, insertPreset, takeScene, takeShared, sharePreset, draft }) {
  let list = [];
  let present = null;

  const search = h("input", { type: "search", placeholder: say("presets_search"), "aria-label": say("presets_search"), oninput: filter });
  const shelf = h("div", { class: "presets", role: "radiogroup", "aria-label": say("presets_title") });
  const none = h("p", { class: "quiet", hidden: true });
  const fault = h("p", { class: "notice fault", hidden: true, role: "alert" });
  const pathBox = h("input", { type: "text", placeholder: say("presets_path_example"), "aria-label": say("presets_path"), spellcheck: false, oninput: () => sentence(fault, "") });
  const pathForm = h(
    "form",
    {
      onsubmit: (event) => {
        event.preventDefault();
        takeScene(ask({ do: "open", path: pathBox.value }));
      },
    },
    pathBox,
    h("button", { type: "submit" }, say("presets_open")),
  );
  const picker = h("input", { type: "file", multiple: true, class: "visually-hidden", tabIndex: -1, onchange: sendPicked });
  picker.setAttribute("webkitdirectory", "");
  picker.setAttribute("aria-label", say("presets_folder_sent"));
  const pickButton = h("button", { type: "button", onclick: () => picker.click() }, say("presets_pick"));
  const sharedPicker = h("input", { type: "file", multiple: true, accept: ".lumosx,.zip", class: "visually-hidden", tabIndex: -1, "aria-label": say("presets_shared_files") });
  sharedPicker.addEventListener("change", () => {
    const files = [...sharedPicker.files];
    sharedPicker.value = "";
    if (files.length) takeShared(files);
  });
  const sharedButton = h("button", { type: "button", onclick: () => sharedPicker.click() }, say("presets_open_shared"));
  const folder = h(
    "details",
    { class: "folder" },
    h("summary", {}, say("presets_own")),
    h("p", { class: "quiet" }, say("presets_own_about")),
    h("div", { class: "ways" }, pickButton, picker, sharedButton, sharedPicker, pathForm),
  );

  async function sendPicked() {
    const files = [...picker.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));
    if (!files.length) return;
    pickButton.disabled = true;
    const answer = await sendFolder(files);
    pickButton.disabled = false;
    picker.value = "";
    takeScene(answer);
  }

  // -- the shelf -------------------------------------------------------------------------------------------------------------

  function aboutOf({ kind, about }) {
    return { person: say("presets_person", { about }), cast: say("presets_cast", { about }), scene: about }[kind];
  }

  function card(preset) {
    const person = preset.kind !== "scene" && !preset.error;
    const mosaic = h(
      "span",
      { class: "mosaic" },
      preset.pictures.map(({ url, whole }) => h("img", { src: url, class: whole ? "whole" : "", alt: "", draggable: false, loading: "lazy" })),
    );
    const radio = h("input", { type: "radio", name: "lx-preset", value: preset.name, disabled: Boolean(preset.error), onchange: () => choosePreset(preset.name) });
    const more = h("button", { type: "button", class: "icon", "aria-haspopup": "menu", onclick: () => options(preset, more) }, "⋯");
    more.setAttribute("aria-label", say("presets_options_of", { title: preset.title }));
    const face = h(
      "span",
      { class: "face" },
      mosaic,
      h("span", { class: "name" }, preset.title),
      h("span", { class: preset.error ? "about fault" : "about" }, preset.error || aboutOf(preset)),
    );
    const node = h("div", { class: `preset${person ? " kept-person" : ""}`, "data-preset": preset.name }, h("label", {}, radio, face), more);
    return node;
  }

  function options(preset, button) {
    openMenu(
      button,
      [
        !preset.error && { title: say("presets_add"), run: () => insertPreset(preset.name) },
        !preset.error && { title: say("presets_start"), run: () => choosePreset(preset.name) },
        !preset.error && { title: say("share_menu"), run: () => sharePreset(preset) },
        preset.own && { title: say("delete_menu"), danger: true, run: () => sure(preset) },
      ].filter(Boolean),
      say("options_of", { name: preset.title }),
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
    sentence(none, list.length ? (found ? "" : say("presets_none_found")) : say("presets_none"));
  }

  function mark(name) {
    present = name;
    for (const radio of shelf.querySelectorAll("input[type=radio]")) radio.checked = radio.value === name;
  }

  // -- saving and deleting ---------------------------------------------------------------------------------------------------

  let what = "scene";
  let sureToReplace = false;
  const nameBox = h("input", { type: "text", maxLength: 80, "aria-label": say("presets_name"), autocomplete: "off", oninput: () => ready("") });
  const kinds = h("select", { "aria-label": say("presets_what"), onchange: () => ready("") });
  const saveFault = h("p", { class: "notice", hidden: true, role: "alert" });
  const saveButton = h("button", { type: "submit", class: "main" }, say("save"));
  const saveDialog = h(
    "dialog",
    { class: "dialog", "aria-label": say("presets_save_title") },
    h(
      "form",
      {
        method: "dialog",
        onsubmit: (event) => {
          event.preventDefault();
          save();
        },
      },
      h("h2", {}, say("presets_save_title")),
      h("p", { class: "quiet" }, say("presets_save_about")),
      h("label", { class: "dialog-field" }, h("span", {}, say("field_name")), nameBox),
      h("label", { class: "dialog-field" }, h("span", {}, say("field_what")), kinds),
      saveFault,
      h("div", { class: "dialog-buttons" }, h("button", { type: "button", onclick: () => saveDialog.close() }, say("cancel")), saveButton),
    ),
  );
  const sureText = h("p", {});
  const sureButton = h("button", { type: "button", class: "danger-main" }, say("presets_delete_it"));
  const sureDialog = h(
    "dialog",
    { class: "dialog", "aria-label": say("presets_delete_title") },
    h("h2", {}, say("presets_delete_question")),
    sureText,
    h("div", { class: "dialog-buttons" }, h("button", { type: "button", onclick: () => sureDialog.close() }, say("keep_it")), sureButton),
  );
  root.append(saveDialog, sureDialog);

  function ready(text) {
    sureToReplace = Boolean(text);
    sentence(saveFault, text);
    write(saveButton, text ? say("presets_replace") : say("save"));
  }

  async function save() {
    what = kinds.value;
    const answer = await ask({ do: "save_preset", ...(await draft()), what, name: nameBox.value, replace: sureToReplace });
    if (answer.taken) ready(say("presets_taken"));
    else if (answer.error) {
      ready("");
      sentence(saveFault, answer.error);
    } else {
      saveDialog.close();
      part.renew(answer.presets, answer.preset);
    }
  }

  function sure(preset) {
    write(sureText, say("presets_delete_about", { title: preset.title }));
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
    node: h("section", { class: "part shelf", "aria-label": say("presets_region") }, h("header", {}, h("h2", {}, say("presets_choose")), search), shelf, none, folder, fault),
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
        h("option", { value: "scene" }, say("save_scene")),
        h("option", { value: "cast" }, say("save_cast")),
        people.map((one) => h("option", { value: one.id }, onlyPerson(one))),
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
