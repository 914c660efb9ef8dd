// The prompt binder: a textarea over a mirror that carries the colours, and a legend to say whom marked words mean.

function promptPart(document_, openMenu) {
  let view = null;

  const mirror = h("div", { class: "mirror", "aria-hidden": "true" });
  const words = h("textarea", { id: "lx-prompt", spellcheck: false, oninput: () => document_.typed(words.value, words.selectionStart), onkeydown: keyed, rows: 3, placeholder: say("prompt_placeholder") });
  const legend = h("div", { class: "legend", role: "group", "aria-label": say("prompt_legend") });
  const hint = h("p", { class: "quiet hint" });
  const compose = h("button", { type: "button", class: "small", onclick: () => ask(document_.edit({ kind: "compose" })) }, say("prompt_compose"));
  const reading = h("p", { class: "quiet" });
  const problems = h("ul", { class: "notice problems", hidden: true });
  const unbound = h("input", { type: "checkbox" });
  const unboundRow = h("label", { class: "check", hidden: true }, unbound, say("prompt_anyway"));
  const fault = h("p", { class: "notice fault", hidden: true, role: "alert" });

  async function ask(pending) {
    const answer = await pending;
    sentence(fault, answer.error);
    return answer;
  }

  function marked() {
    const [start, end] = [words.selectionStart, words.selectionEnd].map((place) => letters(words.value.slice(0, place)).length);
    return { start, end, some: words.value.slice(words.selectionStart, words.selectionEnd).trim() !== "" };
  }

  // -- binding ---------------------------------------------------------------------------------------------------------------

  async function bindTo(owner, button) {
    const { start, end, some } = marked();
    if (!some) {
      sentence(fault, owner.name ? say("prompt_mark_first_named", { name: owner.name }) : say("prompt_mark_first", { title: owner.title.toLowerCase() }));
      words.focus();
      return;
    }
    const answer = await ask(document_.edit({ kind: "toggle", owner: owner.id, start, end }));
    if (!answer.choice) {
      words.focus();
      return;
    }
    const phrase = letters(words.value).slice(start, end).join("").trim();
    openMenu(
      button,
      owner.references
        .filter((one) => answer.choice.includes(one.id))
        .map((one) => ({
          title: say("named", { what: one.role, name: one.label || say("unnamed") }),
          picture: one.picture,
          run: async () => {
            await ask(document_.edit({ kind: "bind", reference: one.id, start, end }));
            words.focus();
          },
        })),
      say("prompt_what_means", { words: phrase }),
    );
  }

  function keyed(event) {
    const number = Number(event.key);
    if (!Number.isInteger(number) || event.key === " " || number < 1 || event.ctrlKey || event.metaKey || event.altKey || !view || !marked().some) return;
    const owner = view.owners.filter((one) => one.kind === "subject")[number - 1];
    if (!owner) return; // no such subject: the digit is typed as any other
    event.preventDefault();
    bindTo(owner, legend.children[view.owners.indexOf(owner)]);
  }

  async function mark(reference) {
    const { start, end, some } = marked();
    words.focus();
    if (!some) {
      sentence(fault, say("prompt_mark_then_use", { name: reference.label }));
      return;
    }
    await ask(document_.edit({ kind: "bind", reference: reference.id, start, end }));
  }

  function showLegend() {
    const key = JSON.stringify(view.owners.map((one) => [one.id, one.badge, one.tone, one.name, one.title]));
    if (legend.dataset.key === key) return;
    legend.dataset.key = key;
    fill(
      legend,
      view.owners.map((owner) => {
        const button = h(
          "button",
          { type: "button", class: `chip tone-${owner.tone}`, onmousedown: (event) => event.preventDefault(), onclick: () => bindTo(view.owners.find((one) => one.id === owner.id), button) },
          h("span", { class: "badge" }, owner.badge),
          h("span", { class: "chip-name" }, owner.name || owner.title),
        );
        button.setAttribute("aria-label", owner.name ? say("prompt_means_named", { title: owner.title, name: owner.name }) : say("prompt_means", { title: owner.title }));
        return button;
      }),
    );
    const subjects = view.owners.filter((one) => one.kind === "subject").length;
    const hints = [say("prompt_hint_click"), say("prompt_hint_one"), say("prompt_hint_two")];
    write(hint, view.owners.length ? hints[subjects] || say("prompt_hint_many", { count: subjects }) : "");
  }

  // -- showing ---------------------------------------------------------------------------------------------------------------

  function paint(text, marks) {
    fill(
      mirror,
      piecesOf(text, marks).map((piece) =>
        piece.tone ? h("mark", { class: `tone-${piece.tone}${piece.shared ? " shared" : ""}`, "data-badge": piece.badge }, piece.text) : piece.text,
      ),
      "\u200b",
    );
  }

  // Another text takes the place of the one that is there; the caret goes to where they differ last.
  function put(text) {
    if (words.value === text) return;
    const change = changedPart(letters(words.value), letters(text), null);
    const had = document.activeElement === words;
    words.value = text;
    if (had) {
      const place = letters(text).slice(0, change.start + change.added).join("").length;
      words.setSelectionRange(place, place);
    }
  }

  function showProblems() {
    fill(
      problems,
      view.problems.map((problem) =>
        h(
          "li",
          {},
          h("span", {}, problem.text),
          problem.mends.map((mend) => h("button", { type: "button", class: "mend", onclick: () => ask(document_.edit(mend.edit)) }, mend.title)),
        ),
      ),
    );
    problems.hidden = !view.problems.length;
  }

  const node = h(
    "section",
    { class: "part", "aria-label": say("prompt_title") },
    h("header", {}, h("h2", {}, h("label", { htmlFor: "lx-prompt" }, say("prompt_title"))), compose),
    h("div", { class: "prompt" }, mirror, words),
    legend,
    h("div", { class: "under-prompt" }, hint, reading, problems, unboundRow, fault),
  );

  return {
    node,
    mark,
    words,
    show(next) {
      const before = view;
      view = next;
      sentence(fault, next.error);
      if (next.error) return;
      put(view.prompt);
      paint(view.prompt, view.marks);
      write(reading, view.reading);
      if (!before || JSON.stringify(before.problems) !== JSON.stringify(view.problems)) showProblems();
      unboundRow.hidden = !view.may_skip_binding;
      showLegend();
      compose.hidden = !view.owners.length;
    },
    painted(text, marks, whole) {
      if (whole) put(text);
      paint(text, marks);
    },
    allowsUnbound: () => unbound.checked && !unboundRow.hidden,
  };
}
