// The cast board: a dashed box per subject, boxes for objects and the background, as in the figure of the paper.

function castPart({ edit, typing, markWords, frame, cutOut, cutMore, savePerson, sharePerson, deletePerson, upload, openMenu, undo, redo, saveAll, shareAll, startEmpty, foot, consent }) {
  const boxes = new Map(); // owner id → box
  const figures = new Map(); // reference id → figure
  let view = null;
  let dragged = null;

  const board = {
    edit: (change, near) => told(edit(change), near),
    typing,
    markWords,
    frame,
    cutOut,
    cutMore,
    openMenu,
    subjects: () => view.owners.filter((one) => one.kind === "subject"),
    movable: () =>
      view.owners.flatMap((one) =>
        one.references
          .filter((item) => item.kind === "attribute" || item.kind === "object")
          .map((item) => ({ ...item, owner: one.id, ownerTitle: one.title })),
      ),
    focusOn: (id) => figures.has(id) && figures.get(id).focus(),
    drag: (what) => (dragged = what),
    dragged: () => dragged,
    choose: (then) => {
      chosen = then;
      picker.multiple = false;
      picker.click();
    },
    replacePicture: (reference, files) =>
      upload(files.slice(0, 1), (pictures) => ({ kind: "set_picture", reference: reference.id, pictures }), { frame: reference.kind === "face" ? reference.id : null }),
  };

  const fault = h("p", { class: "notice fault", hidden: true, role: "alert" });
  async function told(answer) {
    const got = await answer;
    sentence(fault, got.error);
    return got;
  }

  // -- choosing files --------------------------------------------------------------------------------------------------------

  let chosen = null;
  const picker = h("input", { type: "file", multiple: true, accept: "image/*", class: "visually-hidden", tabIndex: -1, "aria-label": say("cast_files") });
  picker.addEventListener("change", () => {
    const files = [...picker.files];
    picker.value = "";
    if (files.length && chosen) chosen(files);
  });
  function choose(many, then) {
    chosen = then;
    picker.multiple = many;
    picker.click();
  }

  const ways = {
    person: (files) => upload(files, (pictures) => ({ kind: "add_people", pictures }), { people: true }),
    object: (files) => upload(files, (pictures) => ({ kind: "add_objects", pictures })),
    background: (files) => upload(files.slice(0, 1), (pictures) => ({ kind: "set_background", pictures })),
    worn: (subject) => (files) => upload(files, (pictures) => ({ kind: "add_attributes", subject, pictures })),
    face: (subject) => (files) => upload(files.slice(0, 1), (pictures) => ({ kind: "set_face", subject, pictures }), { faceOf: subject }),
  };

  // A place to add something: click to choose files, or drop them here.
  function tile(kind, title, hint, many, then) {
    const node = h(
      "button",
      { type: "button", class: `tile ${kind}`, onclick: () => choose(many, then) },
      h("span", { class: "plus", "aria-hidden": "true" }, "+"),
      h("span", { class: "tile-title" }, title),
      hint && h("span", { class: "tile-hint" }, hint),
    );
    node.dropFiles = then;
    return node;
  }

  const addPerson = tile("person", say("cast_add_people"), say("cast_add_people_hint"), true, ways.person);
  const addObject = tile("small", say("cast_add_object"), "", true, ways.object);
  const addBackground = tile("small", say("cast_set_background"), "", false, ways.background);
  const adders = h("div", { class: "adders" }, addPerson, h("div", { class: "adders-small" }, addObject, addBackground));

  // -- boxes -----------------------------------------------------------------------------------------------------------------

  function boxFor(id, kind) {
    const badge = h("span", { class: "badge", "aria-hidden": "true" });
    const title = h("span", {});
    const heading = h("h3", {}, badge, title);
    const pictures = h("div", { class: "pictures" });
    const advice = h("p", { class: "advice-line", hidden: true });
    const options = h("button", { type: "button", class: "icon", "aria-haspopup": "menu", onclick: () => openBox() }, "⋯");
    const receives = { subject: say("cast_receives_worn"), background: say("cast_receives_background") };
    const wears = kind === "subject" ? tile("wears", say("cast_add_worn"), "", true, ways.worn(id)) : null;
    const face = kind === "subject" ? tile("wears", say("cast_add_face"), "", false, ways.face(id)) : null;
    const node = h("section", {}, h("div", { class: "box-head", "data-receives": receives[kind] }, heading, kind === "subject" && options), pictures, advice);
    if (wears) node.dropFiles = ways.worn(id);
    if (kind === "object") node.dropFiles = ways.object;
    if (kind === "background") node.dropFiles = ways.background;
    let owner = null;

    function openBox() {
      const all = board.subjects();
      const place = all.findIndex((one) => one.id === id);
      const move = (to) => board.edit({ kind: "move_subject", subject: id, place: to });
      openMenu(
        options,
        [
          { title: say("cast_forward"), disabled: place === 0, run: () => move(place - 1) },
          { title: say("cast_backward"), disabled: place === all.length - 1, run: () => move(place + 1) },
          { title: say("cast_duplicate"), run: () => board.edit({ kind: "duplicate", subject: id }) },
          { title: say("save_preset_menu"), run: () => savePerson(id, owner.name || owner.title) },
          { title: say("share_menu"), run: () => sharePerson(id, owner.name || owner.title) },
          { title: say("cast_remove"), danger: true, run: () => board.edit({ kind: "remove", target: id }).then(() => addPerson.focus()) },
          owner.references.length > 0 && { title: say("cast_delete_person"), danger: true, run: () => deletePerson(id, owner.name || owner.title) },
        ].filter(Boolean),
        say("options_of", { name: owner.title }),
      );
    }

    // a person's box dragged onto another takes its place; a thing dragged here belongs here
    if (kind === "subject") {
      heading.draggable = true;
      heading.title = say("cast_drag");
      heading.addEventListener("dragstart", (event) => {
        event.dataTransfer.setData("text/plain", owner.title);
        event.dataTransfer.effectAllowed = "move";
        dragged = { subject: id };
      });
      heading.addEventListener("dragend", () => (dragged = null));
    }
    for (const moment of ["dragover", "dragleave", "drop"]) {
      node.addEventListener(moment, (event) => {
        const fits = dragged && (dragged.subject ? kind === "subject" && dragged.subject !== id : dragged.owner !== id && kind === "subject");
        node.classList.toggle("target", Boolean(fits && moment === "dragover"));
        if (!fits || moment === "dragleave") return;
        event.preventDefault();
        if (moment !== "drop") return;
        const place = board.subjects().findIndex((one) => one.id === id);
        if (dragged.subject) board.edit({ kind: "move_subject", subject: dragged.subject, place });
        else board.edit({ kind: "move", reference: dragged.reference, owner: id });
      });
    }

    return {
      node,
      update(next, saying) {
        owner = next;
        node.className = `owner tone-${next.tone} kind-${kind}`;
        node.setAttribute("aria-label", next.title);
        write(badge, next.badge);
        write(title, next.title);
        options.setAttribute("aria-label", say("options_of", { name: next.title }));
        sentence(advice, saying);
        const shown = next.references.map((reference) => {
          if (!figures.has(reference.id)) figures.set(reference.id, figurePart(board, reference.id));
          const figure = figures.get(reference.id);
          figure.update(reference, next);
          return figure.node;
        });
        if (face && !next.references.some((one) => one.kind === "face")) shown.unshift(face);
        arrange(pictures, wears ? [...shown, wears] : shown);
      },
    };
  }

  function show(next) {
    view = next;
    for (const owner of view.owners) {
      if (!boxes.has(owner.id) || boxes.get(owner.id).kind !== owner.kind) boxes.set(owner.id, { ...boxFor(owner.id, owner.kind), kind: owner.kind });
      const saying = view.advice.filter((one) => one.target === owner.id).map((one) => one.text).join(" ");
      boxes.get(owner.id).update(owner, saying);
    }
    const ids = new Set(view.owners.map((one) => one.id));
    const references = new Set(view.owners.flatMap((one) => one.references.map((item) => item.id)));
    for (const id of boxes.keys()) if (!ids.has(id)) boxes.delete(id);
    for (const id of figures.keys()) if (!references.has(id)) figures.delete(id);
    arrange(boxesNode, [...view.owners.map((one) => boxes.get(one.id).node), adders]);
    write(addBackground.querySelector(".tile-title"), view.owners.some((one) => one.kind === "background") ? say("cast_change_background") : say("cast_set_background"));
    cast.classList.toggle("bare", !view.owners.length);
    sentence(many, view.advice.filter((one) => !one.target).map((one) => one.text).join(" "));
    sentence(fault, "");
    sentence(doneNote, "");
  }

  const title = h("span", { class: "quiet cast-title" });
  const undoButton = h("button", { type: "button", class: "small", onclick: undo, title: "Ctrl+Z" }, say("undo"));
  const redoButton = h("button", { type: "button", class: "small", onclick: redo, title: "Ctrl+Shift+Z" }, say("redo"));
  const saveButton = h("button", { type: "button", class: "small", onclick: saveAll }, say("save_preset_menu"));
  const shareButton = h("button", { type: "button", class: "small", onclick: shareAll }, say("cast_share"));
  const emptyButton = h("button", { type: "button", class: "small", onclick: startEmpty }, say("cast_empty"));
  const invitation = h(
    "div",
    { class: "invitation" },
    h("p", { class: "big" }, say("cast_who")),
    h("p", { class: "quiet" }, say("cast_invitation")),
  );
  const boxesNode = h("div", { class: "boxes" });
  const many = h("p", { class: "advice-line", hidden: true });
  const cast = h("div", { class: "cast" }, invitation, boxesNode, many);
  const busy = h("p", { class: "quiet busy", hidden: true, "aria-live": "polite" });
  const advised = h("p", { class: "notice", role: "status", hidden: true });
  const doneNote = h("p", { class: "notice", hidden: true, role: "status" });
  const refused = h("ul", {});
  const refusedBox = h(
    "div",
    { class: "notice fault refused", hidden: true, role: "alert" },
    refused,
    h("button", { type: "button", class: "plain", onclick: () => (refusedBox.hidden = true) }, say("cast_good")),
  );

  return {
    node: h(
      "section",
      { class: "part", "aria-label": say("cast_title") },
      h("header", {}, h("h2", {}, say("cast_title")), title, h("div", { class: "bar-buttons" }, undoButton, redoButton, saveButton, shareButton, emptyButton)),
      cast, consent, foot, busy, advised, doneNote, refusedBox, fault, picker,
    ),
    show(next, document) {
      show(next);
      write(title, next.title);
      undoButton.disabled = !document.canUndo;
      redoButton.disabled = !document.canRedo;
      saveButton.disabled = shareButton.disabled = emptyButton.disabled = !next.owners.length;
    },
    ways,
    fail: (text) => sentence(fault, text),
    busy: (text) => sentence(busy, text),
    tell: (sentences) => sentence(advised, sentences.join(" ")),
    // a word on what was done, which goes with the next change
    done: (text) => sentence(doneNote, text),
    refuse(sentences) {
      sentence(advised, "");
      fill(refused, sentences.map((one) => h("li", {}, one)));
      refusedBox.hidden = !sentences.length;
    },
    subjectOf: (reference) => view.owners.find((one) => one.references.some((item) => item.id === reference)),
  };
}
