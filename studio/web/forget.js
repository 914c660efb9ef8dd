// Deleting a person from this computer: first what is kept of them and where, then a yes, and a word on the clips.

// history: the document; ask for the list, the deed and, on other pages of this browser, the scene without the pictures.
function forgetPart({ ask, root, history, done }) {
  const others = new BroadcastChannel("lumosx-forget");
  let person = "";
  const list = h("ul", { class: "kept-list" });
  const clips = h("input", { type: "checkbox" });
  const clipsTitle = h("span", {});
  const clipsRow = h("label", { class: "check dialog-check" }, clips, clipsTitle);
  const fault = h("p", { class: "notice fault", hidden: true, role: "alert" });
  const title = h("h2", {});
  const button = h("button", { type: "button", class: "danger-main", onclick: forget }, say("forget_button"));
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-label": say("forget_title") },
    title,
    h("p", { class: "quiet" }, say("forget_about")),
    list,
    clipsRow,
    fault,
    h("div", { class: "dialog-buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, say("forget_keep")), button),
  );
  root.append(dialog);

  async function open(id, name) {
    person = id;
    write(title, say("forget_question", { name }));
    fill(list, h("li", {}, say("forget_looking")));
    clips.checked = false;
    clipsRow.hidden = true;
    button.disabled = true;
    sentence(fault, "");
    dialog.showModal();
    const answer = await ask({ do: "forget_look", ...(await history.settledScene()), subject: id });
    sentence(fault, answer.error);
    if (answer.error) return fill(list);
    fill(list, answer.kept.map((one) => h("li", {}, one)));
    clipsRow.hidden = !answer.clips;
    fill(
      clipsTitle,
      sayCount("forget_clips", answer.clips),
      h("small", {}, say("forget_clips_hint")),
    );
    button.disabled = false;
    return null;
  }

  async function forget() {
    button.disabled = true;
    const answer = await ask({ do: "forget", ...(await history.settledScene()), subject: person, clips: clips.checked });
    button.disabled = false;
    sentence(fault, answer.error);
    if (answer.error) return;
    dialog.close();
    history.forget(answer, answer.gone);
    others.postMessage(answer.gone);
    done(answer);
  }

  // another page of this browser has deleted somebody: this one must not keep them alive in its undo steps
  others.addEventListener("message", async (event) => {
    if (!history.scene) return;
    const answer = await ask({ do: "forget_pictures", ...(await history.settledScene()), gone: event.data });
    if (!answer.error) history.forget(answer, event.data);
  });

  return { open };
}
