// Small questions about clips: which other clip, and which two things are exchanged.

// A number is looked for from its beginning: 502 is no part of the time 10:05:02 in a file's name.
function clipMatches(clip, typed) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  return words.every((word) => (/^\d+$/.test(word) ? new RegExp(`(?<!\\d)${word}`).test(clip.words) : clip.words.includes(word)));
}

// pickerPart(root): {clip(title, clips) → one of them or null, things(people) → [id, id] or null}
function pickerPart(root) {
  function ask(dialog, body, focus) {
    const before = document.activeElement;
    root.append(dialog);
    return new Promise((resolve) => {
      dialog.answer = (value) => {
        resolve(value);
        resolve = () => {};
        if (dialog.open) dialog.close();
      };
      dialog.addEventListener("close", () => {
        dialog.remove();
        resolve(null);
        if (before && before.isConnected) before.focus();
      });
      fill(dialog, body);
      dialog.showModal();
      if (focus) focus.focus();
    });
  }

  function clip(title, clips) {
    const dialog = h("dialog", { class: "dialog picker", "aria-label": title });
    const search = h("input", { type: "search", placeholder: say("search_clips"), "aria-label": say("search_clips"), oninput: find });
    const none = h("p", { class: "quiet", hidden: true }, say("picker_none"));
    const all = clips.map((one) =>
      h(
        "button",
        { type: "button", class: "pick", onclick: () => dialog.answer(one) },
        h("img", { src: one.poster, alt: "", loading: "lazy", decoding: "async" }),
        h("span", { class: "name" }, one.title),
        h("span", { class: "quiet" }, [clipLength(one), one.has_scene ? say("clip_seed", { seed: one.seed }) : ""].filter(Boolean).join(" · ")),
      ),
    );

    function find() {
      all.forEach((node, place) => (node.hidden = !clipMatches(clips[place], search.value)));
      none.hidden = all.some((node) => !node.hidden);
    }

    return ask(
      dialog,
      [
        h("header", {}, h("h2", {}, title), h("button", { type: "button", class: "plain", onclick: () => dialog.close() }, say("cancel"))),
        search,
        h("div", { class: "picks" }, all),
        none,
      ],
      search,
    );
  }

  function things(people) {
    const dialog = h("dialog", { class: "dialog picker", "aria-label": say("picker_swap_title") });
    const button = h("button", { type: "submit", class: "main", disabled: true }, say("picker_exchange"));
    let chosen = []; // {person, id}, the latest last

    function choose(person, id, box) {
      chosen = chosen.filter((one) => one.person !== person && one.id !== id);
      if (box.checked) chosen = [...chosen, { person, id }].slice(-2);
      for (const input of dialog.querySelectorAll("input")) input.checked = chosen.some((one) => one.id === input.value);
      button.disabled = chosen.length !== 2;
    }

    const groups = people.map((person, number) =>
      h(
        "fieldset",
        { class: `owner tone-${person.tone}` },
        h("legend", {}, person.name ? say("named", { what: person.title, name: person.name }) : person.title),
        h(
          "div",
          { class: "things" },
          person.things.map((thing) => {
            const box = h("input", { type: "checkbox", value: thing.id, onchange: () => choose(number, thing.id, box) });
            return h("label", { class: "thing" }, box, h("span", { class: "shown" }, h("img", { src: thing.picture, alt: "" }), h("span", {}, thing.label || say("unnamed"))));
          }),
        ),
      ),
    );
    return ask(dialog, [
      h(
        "form",
        {
          method: "dialog",
          onsubmit: (event) => {
            event.preventDefault();
            dialog.answer(chosen.map((one) => one.id));
          },
        },
        h("h2", {}, say("picker_swap_title")),
        h("p", { class: "quiet" }, say("picker_swap_hint")),
        groups,
        h("div", { class: "dialog-buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, say("cancel")), button),
      ),
    ]);
  }

  return { clip, things };
}
