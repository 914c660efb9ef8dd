// One file to share, out and in: a dialog that makes it of the scene, a person or a preset, and what becomes of one that is
// dropped or chosen.

const SHARED_FILE = /\.(lumosx|zip)$/i;

function download(url, name) {
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}

// Sends one file; keep: as a preset, else as a scene for the page. Returns the server's answer.
async function sendShared(file, keep) {
  try {
    const response = await fetch(`studio/shared?name=${encodeURIComponent(file.name)}${keep ? "&keep" : ""}`, { method: "POST", body: file });
    return await response.json();
  } catch (error) {
    return { error: `“${file.name}” could not be sent; is the studio still running?` };
  }
}

// draft: the scene of the page; settings: those beside the render button.
function sharePart({ ask, root, draft, settings }) {
  let preset = null; // the name of the preset to share, null for what is on the page
  const name = h("input", { type: "text", maxLength: 80, autocomplete: "off" });
  const what = h("select", {});
  const whatField = h("label", { class: "dialog-field" }, h("span", {}, "What"), what);
  const whole = h("input", { type: "checkbox" });
  const zip = h("input", { type: "checkbox" });
  const fault = h("p", { class: "notice fault", hidden: true, role: "alert" });
  const button = h("button", { type: "submit", class: "main" }, "Save the file");
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-label": "Share as a file" },
    h(
      "form",
      {
        method: "dialog",
        onsubmit: (event) => {
          event.preventDefault();
          save();
        },
      },
      h("h2", {}, "Share as a file"),
      h("p", { class: "quiet" }, "One file with the pictures inside. Dropped on this page, or on somebody else’s, everything is there again."),
      h("label", { class: "dialog-field" }, h("span", {}, "Name"), name),
      whatField,
      h("label", { class: "check dialog-check" }, whole, h("span", {}, "With the whole photographs", h("small", {}, "Otherwise only what the scene shows of them goes along: faces and cut-outs."))),
      h("label", { class: "check dialog-check" }, zip, h("span", {}, "As a zip of the sample folder", h("small", {}, "For other programs that read the official folders."))),
      h("p", { class: "quiet dialog-note" }, "Faces are personal: share them with the consent of the people they belong to."),
      fault,
      h("div", { class: "dialog-buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), button),
    ),
  );
  root.append(dialog);

  async function save() {
    button.disabled = true;
    const wish = { name: name.value, whole: whole.checked, zip: zip.checked };
    const message = preset ? { do: "share_preset", preset, ...wish } : { do: "share", ...(await draft()), what: what.value, settings: settings(), ...wish };
    const answer = await ask(message);
    button.disabled = false;
    sentence(fault, answer.error);
    if (answer.error) return;
    dialog.close();
    download(answer.url, answer.name);
  }

  function open(title) {
    name.value = title;
    sentence(fault, "");
    dialog.showModal();
    name.select();
  }

  return {
    // people: [{id, title, name}] of the scene; chosen: "scene" or the id of a person
    openScene(people, chosen, title) {
      preset = null;
      fill(
        what,
        h("option", { value: "scene" }, "The scene: cast, words and bindings"),
        h("option", { value: "cast" }, "The cast without the words"),
        people.map((one) => h("option", { value: one.id }, one.name ? `Only ${one.title.toLowerCase()}: ${one.name}` : `Only ${one.title.toLowerCase()}`)),
      );
      what.value = chosen;
      whatField.hidden = false;
      open(title);
    },
    openPreset(one) {
      preset = one.name;
      whatField.hidden = true;
      open(one.title);
    },
  };
}
