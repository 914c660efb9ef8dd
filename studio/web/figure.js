// One reference on the board: its picture, its label to type over, what the prompt says of it, and what can be done with it.
// The node stays the same as long as the reference is in the scene; `update` changes it in place.

function figurePart(board, id) {
  let reference = null;
  let owner = null;
  const picture = h("img", { draggable: false });
  const show = h("button", { type: "button", class: "picture", "aria-haspopup": "menu", onclick: () => openOptions(show) }, picture);
  const more = h("button", { type: "button", class: "icon", "aria-haspopup": "menu", onclick: () => openOptions(more) }, "⋯");
  const role = h("span", { class: "role" });
  const label = h("textarea", { class: "label", rows: 1, maxLength: 200, autocomplete: "off", spellcheck: false, placeholder: say("figure_what"), oninput: () => board.typing(id, label.value), onchange: rename });
  const bound = h("span", { class: "bound" });
  const advice = h("span", { class: "picture-advice", hidden: true });
  const mark = h("button", { type: "button", class: "plain", hidden: true, onclick: () => board.markWords(reference) }, say("figure_use_words"));
  const cutOut = h("button", { type: "button", class: "plain", onclick: () => board.cutOut(id) }, say("figure_cut_out"));
  const tools = h("div", { class: "tools" }, mark, cutOut); // small buttons about this picture
  const node = h(
    "figure",
    { class: "reference", "data-reference": id },
    h("div", { class: "frame" }, show, more),
    h("figcaption", {}, role, label, bound, advice, tools),
  );

  label.addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      event.preventDefault();
      rename();
    }
    if (event.key === "Escape") {
      label.value = reference.label;
      board.typing(id, null);
    }
  });

  function rename() {
    const words = label.value.trim().replace(/\s+/g, " ");
    if (words === reference.label) board.typing(id, null);
    else board.edit({ kind: "rename", reference: id, label: words }, label).then(() => board.typing(id, null, words));
  }

  const movable = () => reference.kind === "attribute" || reference.kind === "object";

  // Places in the row of what a person wears, or of the things: the order is the model's, too.
  function rowMoves() {
    const row = movable() ? board.movable().filter((one) => one.kind === reference.kind && (one.kind === "object" || one.owner === owner.id)) : [];
    const place = row.findIndex((one) => one.id === id);
    const move = (next) =>
      board.edit({ kind: "move", reference: id, owner: reference.kind === "object" ? "objects" : owner.id, before: next ? next.id : null }).then(() => board.focusOn(id));
    return [
      row.length > 1 && { title: say("cast_forward"), disabled: place === 0, run: () => move(row[place - 1]) },
      row.length > 1 && { title: say("cast_backward"), disabled: place === row.length - 1, run: () => move(row[place + 2]) },
    ];
  }

  function openOptions(button) {
    const subjects = board.subjects();
    const places = subjects.map((one) => ({ value: one.id, title: one.name ? say("named", { what: one.title, name: one.name }) : one.title, disabled: one.id === owner.id }));
    const others = board.movable().filter((one) => one.id !== id && one.owner !== owner.id);
    board.openMenu(
      button,
      [
        reference.kind === "face" && { title: say("figure_face_box"), run: () => board.frame(id) },
        { title: say("figure_cut_more"), run: () => board.cutMore(id) },
        { title: say("figure_replace"), run: () => board.choose((files) => board.replacePicture(reference, files)) },
        movable() && {
          title: say("figure_belongs"),
          prompt: owner.kind === "subject" ? owner.title : say("figure_nobody"),
          options: [...places, { value: "objects", title: say("figure_object"), disabled: reference.kind === "object" }],
          run: (place) => board.edit({ kind: "move", reference: id, owner: place }).then(() => board.focusOn(id)),
        },
        movable() &&
          others.length && {
            title: say("figure_exchange"),
            options: others.map((one) => ({ value: one.id, title: say("figure_of_owner", { name: one.label || say("unnamed"), owner: one.ownerTitle }) })),
            run: (other) => board.edit({ kind: "swap", first: id, second: other }).then(() => board.focusOn(id)),
          },
        ...rowMoves(),
        reference.label && { title: say("figure_insert"), run: () => board.edit({ kind: "insert", reference: id }) },
        { title: say("remove"), danger: true, run: () => board.edit({ kind: "remove", target: id }) },
      ].filter(Boolean),
      say("options_of", { name: reference.label || reference.role }),
    );
  }

  // Dragging: onto another person it moves, onto somebody else's thing the two are exchanged.
  node.addEventListener("dragstart", (event) => {
    if (!movable()) return;
    event.stopPropagation();
    event.dataTransfer.setData("text/plain", reference.label);
    event.dataTransfer.effectAllowed = "move";
    board.drag({ reference: id, owner: owner.id });
    node.classList.add("dragged");
  });
  node.addEventListener("dragend", () => {
    node.classList.remove("dragged");
    board.drag(null);
  });
  for (const moment of ["dragover", "dragleave", "drop"]) {
    node.addEventListener(moment, (event) => {
      const dragged = board.dragged();
      const fits = dragged && dragged.reference && dragged.reference !== id && movable();
      node.classList.toggle("target", Boolean(fits && moment === "dragover"));
      if (!fits || moment === "dragleave") return;
      event.preventDefault();
      event.stopPropagation();
      if (moment !== "drop") return;
      if (dragged.owner === owner.id) board.edit({ kind: "move", reference: dragged.reference, owner: owner.id, before: id });
      else board.edit({ kind: "swap", first: dragged.reference, second: id });
    });
  }

  function update(next, its) {
    const before = reference;
    reference = next;
    owner = its;
    if (picture.getAttribute("src") !== next.picture) picture.src = next.picture;
    picture.alt = say("named", { what: next.role, name: next.label || say("unnamed") });
    const name = next.label || next.role;
    show.setAttribute("aria-label", say("figure_picture_of", { name }));
    more.setAttribute("aria-label", say("options_of", { name }));
    write(role, next.role);
    // what somebody is typing into the label stays, whatever arrives meanwhile
    if (!before || (label.value.trim() === before.label && label.value.trim() !== next.label)) label.value = next.label;
    cutOut.setAttribute("aria-label", say("figure_cut_out_of", { name }));
    label.setAttribute("aria-label", say("figure_label_of", { role: next.role.toLowerCase(), owner: its.title }));
    label.title = next.label;
    write(bound, next.label || !next.missing ? next.bound : say("figure_name_it"));
    bound.classList.toggle("missing", next.missing);
    sentence(advice, next.advice);
    mark.hidden = !next.missing;
    node.draggable = movable();
    node.classList.toggle("face", next.kind === "face");
  }

  return { node, update, focus: () => more.focus() };
}
