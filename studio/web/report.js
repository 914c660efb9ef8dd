// A report to attach when something fails: what is in it, said before it is made.

function reportPart(ask, root) {
  let job = null;
  const words = h("input", { type: "checkbox" });
  const fault = h("p", { class: "notice fault", hidden: true, role: "alert" });
  const button = h("button", { type: "button", class: "main", onclick: save }, "Save the report");
  const about = h("li", {});
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-label": "Report a problem" },
    h("h2", {}, "Report a problem"),
    h("p", { class: "quiet" }, "A zip of texts for you to look through and to attach. Nothing is sent from here."),
    h(
      "ul",
      { class: "kept-list" },
      h("li", {}, "This machine, its memory and the versions of what is installed"),
      h("li", {}, "The studio’s log"),
      about,
      h("li", {}, "No pictures; your name and your folders’ names are replaced"),
    ),
    h("label", { class: "check dialog-check" }, words, h("span", {}, "With my words", h("small", {}, "Prompts and labels. Otherwise they are left out everywhere."))),
    fault,
    h("div", { class: "dialog-buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), button),
  );
  root.append(dialog);

  async function save() {
    button.disabled = true;
    write(button, "Collecting…");
    const answer = await ask({ do: "report", job: job && job.id, words: words.checked });
    button.disabled = false;
    write(button, "Save the report");
    sentence(fault, answer.error);
    if (answer.error) return;
    dialog.close();
    download(answer.url, answer.name);
  }

  return {
    // failed: the render it is about, or null
    open(failed) {
      job = failed;
      write(about, failed ? `The error and the settings of “${failed.title}”` : "");
      about.hidden = !failed;
      words.checked = false;
      sentence(fault, "");
      dialog.showModal();
    },
  };
}

// The menu beside the title: what concerns the whole studio.
function mastheadMenu(ask, openMenu, report) {
  const button = h("button", { type: "button", class: "icon masthead-menu", "aria-haspopup": "menu", "aria-label": "Menu of the studio", onclick: open }, "⋯");

  async function open() {
    const { mark } = await ask({ do: "prefer" });
    openMenu(
      button,
      [
        { title: mark ? "Stop marking saved clips visibly" : "Mark saved clips visibly as AI-generated", run: () => ask({ do: "prefer", mark: !mark }) },
        { title: "Report a problem…", run: () => report.open(null) },
      ],
      "Menu of the studio",
    );
  }

  return button;
}
