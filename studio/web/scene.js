// The scene on the page: presets, cast board and prompt binder around one document.

function scenePart(ask, changed, root, settings, foot) {
  let chosen = 0; // counts choices: an answer that comes after the next choice is dropped

  const openMenu = menuPart(root);
  const document_ = documentPart(ask, { shown, painted: (...what) => prompt.painted(...what), saving: (text) => cast.fail(text) });
  const prompt = promptPart(document_, openMenu);
  const drawBox = faceBoxPart(root, ask);
  const presets = presetsPart({
    ask, root, openMenu, choosePreset, takeScene: (pending) => take(pending, null), insertPreset, draft,
    takeShared: (files) => takeShared(files, false),
    sharePreset: (preset) => share.openPreset(preset),
  });
  const share = sharePart({ ask, root, draft, settings });
  const cast = castPart({
    edit: document_.edit,
    typing: document_.typingLabel,
    markWords: (reference) => prompt.mark(reference),
    frame,
    cutOut,
    cutMore,
    upload,
    openMenu,
    undo: document_.undo,
    redo: document_.redo,
    saveAll: () => presets.openSave(people(), "scene", document_.title || say("scene_default_title")),
    savePerson: (id, name) => presets.openSave(people(), id, name),
    shareAll: () => share.openScene(people(), "scene", document_.title || say("scene_default_title")),
    deletePerson: (id, name) => forgetting.open(id, name),
    sharePerson: (id, name) => share.openScene(people(), id, name),
    startEmpty,
    foot,
    consent: consentPart(ask),
  });

  const forgetting = forgetPart({
    ask, root,
    history: document_,
    done(answer) {
      presets.renew(answer.presets, "");
      cast.done(answer.kept || say("forget_done"));
    },
  });

  async function draft() {
    await document_.settled();
    return { scene: document_.scene };
  }

  async function startEmpty() {
    chosen += 1;
    const empty = await ask({ do: "begin_empty" });
    if (!empty.error) document_.take(empty, { title: say("scene_new_title"), preset: null });
  }

  const people = () => document_.view.owners.filter((one) => one.kind === "subject");

  function shown(view, entry) {
    if (view.error) {
      prompt.show(view);
      return;
    }
    const whole = { ...view, title: entry.title };
    prompt.show(whole);
    cast.show(whole, document_);
    presets.mark(entry.preset);
    changed(whole);
  }

  // -- scenes from elsewhere -------------------------------------------------------------------------------------------------

  async function take(pending, preset) {
    chosen += 1;
    const mine = chosen;
    prompt.words.readOnly = true; // what was typed now would be replaced by the answer
    const answer = await pending;
    if (mine !== chosen) return;
    prompt.words.readOnly = false;
    presets.fail(answer.error);
    if (answer.error) presets.mark(null);
    else document_.take(answer, { title: answer.title, preset });
  }

  function choosePreset(name) {
    return take(ask({ do: "choose", preset: name }), name);
  }

  async function insertPreset(name) {
    const answer = await document_.request(() => ({ do: "insert_preset", preset: name }));
    presets.fail(answer.error);
  }

  // Shared files: dropped on the shelf they become presets; elsewhere a scene is opened, people and things come along.
  async function takeShared(files, onShelf) {
    const sentences = [];
    for (const file of files) {
      cast.busy(say("scene_opening", { name: file.name }));
      const answer = await sendShared(file, onShelf);
      if (answer.error) sentences.push(answer.error);
      else if (onShelf) presets.renew(answer.presets, answer.preset);
      else if (answer.kind === "scene") await take(Promise.resolve(answer), null);
      else {
        const added = await document_.request(() => ({ do: "insert_shared", shared: answer.scene }));
        if (added.error) sentences.push(added.error);
      }
    }
    cast.busy("");
    cast.refuse(sentences);
  }

  // -- pictures --------------------------------------------------------------------------------------------------------------

  const referenceOf = (id) => {
    const { subjects, objects, background } = document_.scene;
    return [background, ...objects, ...subjects.flatMap((one) => [one.face, ...one.attributes])].find((one) => one && one.id === id);
  };

  // Sends files, then asks for the edit that `changeOf` makes of what was taken in. Where faces are meant they are looked
  // for first; a box is asked for only where none was found.
  async function upload(files, changeOf, { people: persons = false, frame: again = null, faceOf = null } = {}) {
    const faces = persons || again || faceOf;
    const taken = await sendPictures(files, cast);
    if (!taken.length) return;
    const pictures = faces
      ? await facesOf(ask, taken, !persons, cast)
      : taken.map((one) => ({ picture: one.picture, name: one.name, box: null }));
    const before = new Set(document_.scene.subjects.map((one) => one.id));
    const answer = await document_.edit(changeOf(pictures.map(({ picture, name, box }) => ({ picture, name, box }))));
    cast.fail(answer.error);
    if (answer.error || !faces) return;
    const added = document_.scene.subjects.filter((one) => (persons ? !before.has(one.id) : one.id === faceOf || (one.face && one.face.id === again)));
    const unsure = added.map((one, place) => ({ subject: one, ...pictures[place] })).filter((one) => !one.sure);
    for (const [number, { subject, note }] of unsure.entries()) {
      const how = await frame(subject.face.id, unsure.length > 1 ? say("number_of", { number: number + 1, count: unsure.length }) : "", note);
      if (how === "leave" && unsure.length > 1) break;
    }
  }

  // What stands beside a picture that is cut: what the thing is, and, where it may be anybody's, whose.
  function cutFields(label, owner) {
    const words = field(say("figure_what"), h("input", { type: "text", maxLength: 200, autocomplete: "off", value: label }));
    const places = people().map((one) => ({ value: one.id, title: one.name ? say("named", { what: one.title, name: one.name }) : one.title }));
    const options = [...places, { value: "objects", title: say("figure_object") }].map((one) => h("option", { value: one.value }, one.title));
    const whose = owner && field(say("figure_belongs"), h("select", {}, options));
    if (whose) whose.control.value = owner;
    return { nodes: [words.node, whose && whose.node], label: () => words.control.value, owner: () => (whose ? whose.control.value : null) };
  }

  const ownerOf = (id) => {
    const subject = document_.scene.subjects.find((one) => [one.face, ...one.attributes].some((item) => item && item.id === id));
    return subject ? subject.id : "objects";
  };

  // Opens the cutter on the whole picture of a reference; what is cut out becomes its mask, its label and owner what was chosen.
  function cutOut(id) {
    const { image, mask, label, role } = referenceOf(id);
    const owner = ["attribute", "object"].includes(role) ? ownerOf(id) : null;
    const fields = cutFields(label, owner);
    openCutter({
      ask,
      picture: image,
      mask,
      name: label,
      role,
      fields: fields.nodes,
      async onDone(cut) {
        if (!referenceOf(id)) return say("scene_picture_gone");
        const moved = fields.owner() === owner ? null : fields.owner();
        const answer = await document_.edit({ kind: "cut_out", reference: id, pictures: [{ picture: image, mask: cut.mask }], label: fields.label(), owner: moved });
        return answer.error;
      },
    });
  }

  // One more thing out of the same picture, such as what the person in a photograph wears.
  function cutMore(id) {
    const { image } = referenceOf(id);
    const fields = cutFields("", ownerOf(id));
    openCutter({
      ask,
      picture: image,
      mask: null,
      name: say("cut_more_name"),
      role: "attribute",
      fields: fields.nodes,
      anew: true,
      async onDone(cut) {
        const answer = await document_.edit({ kind: "add_cut_out", pictures: [{ picture: image, mask: cut.mask }], label: fields.label(), owner: fields.owner() });
        return answer.error;
      },
    });
  }

  // Lets the box of a face be drawn; "another" makes one more person of the same picture.
  async function frame(id, where = "", note = "") {
    const reference = referenceOf(id);
    if (!reference) return "leave";
    const { how, box } = await drawBox(reference, where, note);
    if (how === "leave") return how;
    const pictures = [{ picture: reference.image, box }];
    const answer = await document_.edit({ kind: "set_picture", reference: id, pictures });
    cast.fail(answer.error);
    if (how === "another" && !answer.error) {
      const added = await document_.edit({ kind: "add_people", pictures });
      cast.fail(added.error);
      const last = document_.scene.subjects[document_.scene.subjects.length - 1];
      if (!added.error && last) return frame(last.face.id, "");
    }
    return how;
  }

  // A clip brings its scene along. `instead` is done with a file that is no clip of ours, where there is something to do.
  async function openDropped(files, instead) {
    cast.busy(say("scene_opening_clip"));
    const answer = await sendClip(files[0]);
    cast.busy("");
    if (answer.error && instead) {
      instead();
      return;
    }
    await showSent(answer, files.length > 1 ? [say("scene_one_clip", { name: files[0].name })] : []);
  }

  // A dropped folder is opened as one that is picked.
  async function openFolder(folder, alone) {
    cast.busy(say("scene_opening_folder"));
    const { files, error } = await filesIn(folder);
    const answer = error ? { error } : await sendFolder(files);
    cast.busy("");
    await showSent(answer, alone ? [] : [say("scene_one_folder", { name: folder.name })]);
  }

  // The scene of something that was dropped, with what is to be said of it.
  async function showSent(answer, notes) {
    cast.refuse(answer.error ? [answer.error] : notes);
    if (answer.error) return;
    for (const dialog of root.querySelectorAll("dialog[open]")) dialog.close(); // the scene would open behind it
    await take(Promise.resolve(answer), null);
    node.scrollIntoView({ behavior: "smooth", block: "start" });
  }

  dropPart(root, (files) => cast.ways.person(files), takeShared, openDropped, openFolder);

  root.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || !document_.scene) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    if (event.target.matches(".label, input:not([type=radio], [type=checkbox])")) return; // has an undo of its own
    if (event.target.closest("dialog")) return;
    event.preventDefault();
    if (key === "y" || event.shiftKey) document_.redo();
    else document_.undo();
  });

  const node = h("div", {}, presets.node, cast.node, prompt.node);
  node.inert = true; // until the first scene is there: words typed before would be lost

  return {
    node,
    openMenu,
    begin: presets.begin,
    show(answer) {
      chosen += 1;
      prompt.words.readOnly = false;
      document_.take(answer, { title: answer.title, preset: null });
      node.inert = false;
    },
    ready() {
      node.inert = false;
    },
    fail: presets.fail,
    choosePreset,
    startEmpty,
    reopen: document_.reopen,
    keepSettings: document_.keepSettings,
    settingsChanged: document_.changed,
    pictures() {
      if (!document_.scene) return 0;
      const { subjects, objects, background } = document_.scene;
      return [background, ...objects, ...subjects.flatMap((one) => [one.face, ...one.attributes])].filter(Boolean).length;
    },
    // The scene with the words as they stand on the page, once every edit under way is done.
    async draft() {
      if (document.activeElement && document.activeElement.classList.contains("label")) document.activeElement.blur();
      await document_.settled();
      return document_.scene && { scene: document_.scene, prompt: document_.scene.prompt, title: document_.title, allow_unbound: prompt.allowsUnbound() };
    },
  };
}
