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
  const button = h("button", { type: "button", class: "danger-main", onclick: forget }, "Delete for good");
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-label": "Delete a person" },
    title,
    h("p", { class: "quiet" }, "This is deleted from this computer. It cannot be undone."),
    list,
    clipsRow,
    fault,
    h("div", { class: "dialog-buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Keep everything"), button),
  );
  root.append(dialog);

  async function open(id, name) {
    person = id;
    write(title, `Delete all pictures of ${name}?`);
    fill(list, h("li", {}, "Looking through drafts, presets, queue and clips…"));
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
      answer.clips === 1 ? "Delete the clip made with this person, too" : `Delete the ${answer.clips} clips made with this person, too`,
      h("small", {}, "Clips that stay lose the pictures that travel inside them."),
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
