// Choosing a scene, seeing its cast, editing its prompt. The scene itself is a value that Python made and Python checks;
// this part keeps the latest one and asks for a new one whenever the words change.

function scenePart(ask, changed) {
  let view = null; // the last answer of the server: {scene, title, segments, owners, problems}
  let wanted = null; // the prompt as typed, when the server has not seen it yet
  let asking = false;
  let chosen = 0; // counts choices: an answer that comes after the next choice is dropped

  // -- choosing --------------------------------------------------------------------------------------------------------------

  const presets = h("div", { class: "presets", role: "radiogroup", "aria-label": "Presets" });
  const chooseFault = h("p", { class: "notice fault", hidden: true, role: "alert" });
  const pathBox = h("input", { type: "text", placeholder: "/home/me/my-scene", "aria-label": "Path of a sample folder", spellcheck: false, oninput: () => sentence(chooseFault, "") });
  const pathForm = h("form", { onsubmit: openPath }, pathBox, h("button", { type: "submit" }, "Open"));
  const picker = h("input", { type: "file", multiple: true, class: "visually-hidden", tabIndex: -1, onchange: sendFolder });
  picker.setAttribute("webkitdirectory", "");
  picker.setAttribute("aria-label", "Folder to send");
  const pickButton = h("button", { type: "button", onclick: () => picker.click() }, "Pick a folder…");
  const folder = h(
    "details",
    { class: "folder" },
    h("summary", {}, "Use a folder of your own pictures"),
    h(
      "p",
      { class: "quiet" },
      "A sample folder: caption.txt, subjects/1/face_man.png, subjects/1/denim jacket.png, and, if you like, objects/ and background/.",
    ),
    h("div", { class: "ways" }, pickButton, picker, pathForm),
  );

  function showPresets(list) {
    fill(presets);
    for (const preset of list) {
      const radio = h("input", { type: "radio", name: "lx-preset", value: preset.name, disabled: Boolean(preset.error), onchange: () => choosePreset(preset.name) });
      const mosaic = h(
        "span",
        { class: "mosaic" },
        preset.pictures.map(({ url, whole }) => h("img", { src: url, class: whole ? "whole" : "", alt: "", draggable: false, loading: "lazy" })),
      );
      presets.append(
        h(
          "label",
          { class: "preset" },
          radio,
          h("span", { class: "face" }, mosaic, h("span", { class: "name" }, preset.title), h("span", { class: preset.error ? "about fault" : "about" }, preset.error || preset.about)),
        ),
      );
    }
    if (!list.length) add(presets, [h("p", { class: "quiet" }, "There is no preset yet. Use a folder of your own pictures below.")]);
  }

  function markChosen(name) {
    for (const radio of presets.querySelectorAll("input")) radio.checked = radio.value === name;
  }

  async function choosePreset(name) {
    await take(ask({ do: "choose", preset: name }), name);
  }

  async function openPath(event) {
    event.preventDefault();
    await take(ask({ do: "open", path: pathBox.value }), null);
  }

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
    await take(answer, null);
  }

  async function take(pending, presetName, fault = chooseFault) {
    chosen += 1;
    const mine = chosen;
    words.readOnly = true; // what was typed now would be replaced by the answer
    const answer = await pending;
    if (mine !== chosen) return;
    words.readOnly = false;
    sentence(fault, answer.error);
    if (answer.error) {
      markChosen(view ? view.preset : null);
      return;
    }
    wanted = null;
    show({ ...answer, preset: presetName });
  }

  // -- the cast --------------------------------------------------------------------------------------------------------------

  const cast = h("div", { class: "cast" });
  const title = h("span", { class: "quiet" });

  function showCast() {
    fill(cast);
    for (const owner of view.owners) {
      cast.append(
        h(
          "section",
          { class: `owner tone-${owner.tone}`, "aria-label": owner.title },
          h("h3", {}, h("span", { class: "badge", "aria-hidden": "true" }, owner.badge), owner.title),
          h("div", { class: "pictures" }, owner.references.map(referenceFigure)),
        ),
      );
    }
    if (!view.owners.length) add(cast, [h("p", { class: "quiet" }, "No pictures: the clip comes from the words alone.")]);
  }

  function referenceFigure(reference) {
    return h(
      "figure",
      {},
      h("img", { src: reference.picture, alt: `${reference.role}: ${reference.label}`, draggable: false }),
      h(
        "figcaption",
        {},
        h("span", { class: "role" }, reference.role),
        h("span", { class: "label" }, reference.label),
        h("span", { class: reference.missing ? "bound missing" : "bound" }, reference.bound),
        reference.missing && h("button", { type: "button", class: "plain", onclick: () => mark(reference) }, "Use the marked words"),
        h("button", { type: "button", class: "plain", "aria-label": `Cut out ${reference.label}`, onclick: () => cut(reference.id) }, "Cut out"),
      ),
    );
  }

  // The reference as it stands in the scene's value, by its id.
  function inScene(id) {
    const { subjects, objects, background } = view.scene;
    return [...subjects.flatMap((one) => [one.face, ...one.attributes]), ...objects, background].find((one) => one && one.id === id);
  }

  function cut(id) {
    const { image, mask, label, role } = inScene(id);
    openCutter({
      ask,
      picture: image,
      mask,
      name: label,
      role,
      async onDone(cutOut) {
        const answer = await ask({ do: "set_mask", scene: view.scene, prompt: words.value, title: view.title, reference: id, mask: cutOut.mask });
        if (!answer.error) show({ ...answer, preset: view.preset });
        return answer.error;
      },
    });
  }

  async function mark(reference) {
    const letters = (text) => [...text].length; // Python counts letters, a browser their halves
    const [start, end] = [words.selectionStart, words.selectionEnd].map((place) => letters(words.value.slice(0, place)));
    words.focus();
    if (start === end) {
      sentence(promptFault, `Mark the words of the prompt that mean “${reference.label}” first, then press “Use the marked words”.`);
      return;
    }
    await take(ask({ do: "mark", scene: view.scene, prompt: words.value, title: view.title, reference: reference.id, start, end }), view.preset, promptFault);
  }

  // -- the prompt ------------------------------------------------------------------------------------------------------------

  const mirror = h("div", { class: "mirror", "aria-hidden": "true" });
  const words = h("textarea", { id: "lx-prompt", spellcheck: false, oninput: typed, rows: 3 });
  const reading = h("p", { class: "quiet" });
  const problems = h("ul", { class: "notice", hidden: true });
  const unbound = h("input", { type: "checkbox" });
  const unboundRow = h("label", { class: "check", hidden: true }, unbound, "Render anyway, with these pictures bound to no words");
  const promptFault = h("p", { class: "notice fault", hidden: true, role: "alert" });

  function typed() {
    wanted = words.value;
    paint([{ text: wanted }]);
    revise();
  }

  // One request at a time; whatever was typed meanwhile goes with the next one.
  async function revise() {
    if (asking || wanted === null || !view) return;
    asking = true;
    const prompt = wanted;
    const base = view;
    const answer = await ask({ do: "revise", scene: base.scene, prompt });
    asking = false;
    if (view !== base) {
      revise(); // another scene was chosen meanwhile
      return;
    }
    sentence(promptFault, answer.error);
    if (!answer.error) {
      if (wanted === prompt) wanted = null;
      show({ ...answer, title: view.title, preset: view.preset, seed: undefined });
    } else if (wanted === prompt) return;
    if (wanted !== null) revise();
  }

  function paint(segments) {
    fill(
      mirror,
      segments.map((piece) =>
        piece.tone ? h("mark", { class: `tone-${piece.tone}`, "data-badge": piece.badge }, piece.text) : piece.text,
      ),
      "\u200b",
    );
  }

  function showPrompt() {
    if (wanted === null) {
      if (words.value !== view.prompt) words.value = view.prompt;
      paint(view.segments);
    } else {
      paint([{ text: wanted }]);
    }
    reading.textContent = view.reading;
    fill(problems, view.problems.map((problem) => h("li", {}, problem)));
    problems.hidden = !view.problems.length;
    unboundRow.hidden = !view.may_skip_binding;
  }

  function show(next) {
    const before = view;
    view = next;
    title.textContent = view.title;
    showPrompt();
    if (!before || JSON.stringify(before.owners) !== JSON.stringify(view.owners)) showCast();
    markChosen(view.preset);
    changed(view);
  }

  const node = h(
    "div",
    {},
    h("section", { class: "part", "aria-label": "Scene" }, h("header", {}, h("h2", {}, "Choose a scene")), presets, folder, chooseFault),
    h("section", { class: "part", "aria-label": "Cast" }, h("header", {}, h("h2", {}, "Cast"), title), cast),
    h(
      "section",
      { class: "part", "aria-label": "Prompt" },
      h("header", {}, h("h2", {}, h("label", { htmlFor: "lx-prompt" }, "Prompt"))),
      h("div", { class: "prompt" }, mirror, words),
      h("div", { class: "under-prompt" }, reading, problems, unboundRow, promptFault),
    ),
  );
  node.inert = true; // until the first scene is there: words typed before would be lost

  return {
    node,
    begin(list, local) {
      showPresets(list);
      pathForm.hidden = !local;
    },
    show(next) {
      chosen += 1;
      words.readOnly = false;
      wanted = null;
      show(next);
      node.inert = false;
    },
    ready() {
      node.inert = false;
    },
    fail: (text) => sentence(chooseFault, text),
    choosePreset,
    // The scene with the words as they stand on the page, also those the server has not seen yet.
    draft: () => (view ? { scene: view.scene, prompt: words.value, title: view.title, allow_unbound: unbound.checked && !unboundRow.hidden } : null),
    saved: () => view && { ...view, seed: undefined, settings: undefined },
  };
}
