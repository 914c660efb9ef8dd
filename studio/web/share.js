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
    const response = await fetch(`studio/shared?name=${encodeURIComponent(file.name)}${keep ? "&keep" : ""}`, { method: "POST", body: file, headers: { "Accept-Language": spoken } });
    return await response.json();
  } catch (error) {
    return { error: say("share_not_sent", { name: file.name }) };
  }
}

// A person as one of the choices of what is shared or saved.
function onlyPerson({ title, name }) {
  const person = title.toLowerCase();
  return name ? say("save_person_named", { person, name }) : say("save_person", { person });
}

// draft: the scene of the page; settings: those beside the render button.
function sharePart({ ask, root, draft, settings }) {
  let preset = null; // the name of the preset to share, null for what is on the page
  const name = h("input", { type: "text", maxLength: 80, autocomplete: "off" });
  const what = h("select", {});
  const whatField = h("label", { class: "dialog-field" }, h("span", {}, say("field_what")), what);
  const whole = h("input", { type: "checkbox" });
  const zip = h("input", { type: "checkbox" });
  const fault = h("p", { class: "notice fault", hidden: true, role: "alert" });
  const button = h("button", { type: "submit", class: "main" }, say("share_save"));
  const dialog = h(
    "dialog",
    { class: "dialog", "aria-label": say("share_title") },
    h(
      "form",
      {
        method: "dialog",
        onsubmit: (event) => {
          event.preventDefault();
          save();
        },
      },
      h("h2", {}, say("share_title")),
      h("p", { class: "quiet" }, say("share_about")),
      h("label", { class: "dialog-field" }, h("span", {}, say("field_name")), name),
      whatField,
      h("label", { class: "check dialog-check" }, whole, h("span", {}, say("share_whole"), h("small", {}, say("share_whole_hint")))),
      h("label", { class: "check dialog-check" }, zip, h("span", {}, say("share_zip"), h("small", {}, say("share_zip_hint")))),
      h("p", { class: "quiet dialog-note" }, say("share_consent")),
      fault,
      h("div", { class: "dialog-buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, say("cancel")), button),
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
        h("option", { value: "scene" }, say("save_scene")),
        h("option", { value: "cast" }, say("save_cast")),
        people.map((one) => h("option", { value: one.id }, onlyPerson(one))),
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
