// A report to attach when something fails: what is in it, said before it is made.

function reportPart(ask, root) {
  let job = null;
  const words = h("input", { type: "checkbox" });
  const fault = h("p", { class: "notice fault", hidden: true, role: "alert" });
  const button = h("button", { type: "button", class: "main", onclick: save }, say("report_save"));
  const about = h("li", {});
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-label": say("report_title") },
    h("h2", {}, say("report_title")),
    h("p", { class: "quiet" }, say("report_about")),
    h(
      "ul",
      { class: "kept-list" },
      h("li", {}, say("report_machine")),
      h("li", {}, say("report_log")),
      about,
      h("li", {}, say("report_private")),
    ),
    h("label", { class: "check dialog-check" }, words, h("span", {}, say("report_words"), h("small", {}, say("report_words_hint")))),
    fault,
    h("div", { class: "dialog-buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, say("cancel")), button),
  );
  root.append(dialog);

  async function save() {
    button.disabled = true;
    write(button, say("report_collecting"));
    const answer = await ask({ do: "report", job: job && job.id, words: words.checked });
    button.disabled = false;
    write(button, say("report_save"));
    sentence(fault, answer.error);
    if (answer.error) return;
    dialog.close();
    download(answer.url, answer.name);
  }

  return {
    // failed: the render it is about, or null
    open(failed) {
      job = failed;
      write(about, failed ? say("report_failed", { title: failed.title }) : "");
      about.hidden = !failed;
      words.checked = false;
      sentence(fault, "");
      dialog.showModal();
    },
  };
}

// The menu beside the title: what concerns the whole studio.
function mastheadMenu(ask, openMenu, report) {
  const button = h("button", { type: "button", class: "icon masthead-menu", "aria-haspopup": "menu", "aria-label": say("masthead_menu"), onclick: open }, "⋯");

  async function open() {
    const { mark } = await ask({ do: "prefer" });
    const names = { en: say("language_en"), zh: say("language_zh") };
    openMenu(
      button,
      [
        { title: mark ? say("masthead_unmark") : say("masthead_mark"), run: () => ask({ do: "prefer", mark: !mark }) },
        {
          title: say("language"),
          prompt: names[spoken],
          options: Object.keys(LANGUAGES).map((one) => ({ value: one, title: names[one], disabled: one === spoken })),
          run: changeLanguage,
        },
        { title: say("masthead_report"), run: () => report.open(null) },
      ],
      say("masthead_menu"),
    );
  }

  // The page is made anew in the other language; what stands on it is kept as over any reload.
  async function changeLanguage(language) {
    const answer = await ask({ do: "prefer", chosen: language });
    if (!answer.error) location.reload();
  }

  return button;
}
