// The scene on the page: one value, edited by messages, with undo, redo and a copy on the server's disk.
// Typing changes it here and at once; every other edit is made by the server, one after the other.

const TYPING_PAUSE_MS = 1200; // a longer one begins a new step of undo
const SAVE_AFTER_MS = 350;
const DRAFT_KEY = "lumosx-draft"; // this tab's newest state, for a reload
const LABEL_KEY = "lumosx-label"; // what stands in a label's field and was not sent yet
const LAST_KEY = "lumosx-last"; // the last page's name, for the next one

function storageOf(kind) {
  return {
    read(key) {
      try {
        return JSON.parse(window[kind].getItem(key));
      } catch (error) {
        return null; // a browser that keeps nothing: the draft then lives as long as the page
      }
    },
    write(key, value) {
      try {
        window[kind].setItem(key, JSON.stringify(value));
      } catch (error) {
        // as above
      }
    },
  };
}

// shown(view, entry): the page shows a new state; painted(marks): words moved under the colours.
function documentPart(ask, { shown, painted, saving }) {
  const history = historyOf();
  const tab = storageOf("sessionStorage");
  const shelf = storageOf("localStorage");
  let view = null; // the last answer of the server about the present scene
  let marks = [];
  let queue = Promise.resolve();
  let underWay = []; // places of edits that wait for their answer: they move with the words
  let lastTyped = 0;
  let asking = false;
  let stale = false; // the view lags behind the words

  const scene = () => history.present.scene;
  const entryOf = (next) => ({ scene: next, title: history.present ? history.present.title : "", preset: null });

  function take(answer, entry) {
    const same = history.present && !entry.preset && JSON.stringify(history.present.scene) === JSON.stringify(answer.scene);
    if (!same || history.present.title !== entry.title) history.push({ scene: answer.scene, title: entry.title, preset: entry.preset });
    lastTyped = 0;
    show(answer);
  }

  function show(answer) {
    view = answer;
    marks = answer.marks;
    stale = false;
    shown(view, history.present);
    changed();
  }

  // -- typing ----------------------------------------------------------------------------------------------------------------

  function typed(prompt, caret) {
    const before = letters(scene().prompt);
    const after = letters(prompt);
    const change = changedPart(before, after, letters(prompt.slice(0, caret)).length);
    const next = { ...scene(), prompt, spans: movedSpans(scene().spans, change) };
    marks = movedSpans(marks, change);
    for (const place of underWay) Object.assign(place, movedSpans([place], change)[0] || { start: 0, end: 0 });
    const now = Date.now();
    const newWord = change.added === 1 && /\s/.test(after[change.start]);
    if (now - lastTyped > TYPING_PAUSE_MS || newWord || change.added > 1) history.push(entryOf(next));
    else history.replace(entryOf(next));
    history.present.preset = null;
    lastTyped = now;
    painted(prompt, marks);
    changed();
    revise();
  }

  // One question at a time; whatever was typed meanwhile goes with the next one.
  async function revise() {
    stale = true;
    if (asking) return;
    asking = true;
    while (stale) {
      const base = history.present;
      const answer = await ask({ do: "revise", scene: base.scene, title: base.title });
      if (history.present !== base) continue;
      stale = false;
      if (answer.error) shown({ ...view, error: answer.error }, history.present);
      else show(answer);
    }
    asking = false;
  }

  // -- edits -----------------------------------------------------------------------------------------------------------------

  // Asks the server for an edit of the scene as it is by then; words typed before the answer make it ask again.
  function request(messageOf, entry) {
    const result = queue.then(async () => {
      for (;;) {
        const base = history.present;
        const answer = await ask({ ...messageOf(), scene: base.scene, title: base.title });
        if (history.present !== base) continue;
        if (answer.scene) take(answer, entry ? entry(answer) : { title: base.title, preset: null });
        return answer;
      }
    });
    queue = result.catch(() => null);
    return result;
  }

  function edit(change) {
    const moving = "start" in change ? { start: change.start, end: change.end } : null;
    if (moving) underWay.push(moving);
    return request(() => ({ do: "edit", edit: { ...change, ...(moving || {}) } })).finally(() => {
      underWay = underWay.filter((one) => one !== moving);
    });
  }

  function step(move) {
    queue = queue.then(async () => {
      if (!move()) return;
      lastTyped = 0;
      const base = history.present;
      painted(base.scene.prompt, [], true);
      const answer = await ask({ do: "revise", scene: base.scene, title: base.title });
      if (history.present === base && !answer.error) show(answer);
      else revise();
    });
    return queue;
  }

  // -- keeping ---------------------------------------------------------------------------------------------------------------

  const stored = tab.read(DRAFT_KEY);
  const token = (stored && stored.token) || [...crypto.getRandomValues(new Uint8Array(16))].map((one) => one.toString(16).padStart(2, "0")).join("");
  const known = new Set(); // names whose scenes the server has
  let timer = null;
  let dirty = false;
  let sending = false;
  let settings = () => null;

  function message() {
    const entries = {};
    for (const one of history.entries()) if (!known.has(one.name)) entries[one.name] = { scene: one.scene, title: one.title, preset: one.preset };
    return { do: "keep", token, ...history.names(), entries, settings: settings() };
  }

  function changed() {
    if (!history.present) return;
    dirty = true;
    tab.write(DRAFT_KEY, message());
    clearTimeout(timer);
    timer = setTimeout(save, SAVE_AFTER_MS);
  }

  async function save() {
    if (sending || !dirty || !history.present) return;
    sending = true;
    dirty = false;
    const sent = message();
    const answer = await ask(sent);
    sending = false;
    saving(answer.error || "");
    if (answer.error) return; // the next change tries again
    for (const name of Object.keys(sent.entries)) known.add(name);
    for (const name of answer.missing) known.delete(name);
    if (answer.missing.length) dirty = true;
    tab.write(DRAFT_KEY, message());
    shelf.write(LAST_KEY, token);
    if (dirty) timer = setTimeout(save, SAVE_AFTER_MS);
  }

  // Notes the words in a label's field until they are an edit; null: they are. `sent` are those that became one: letters typed
  // since then stay noted.
  function typingLabel(reference, text, sent) {
    const noted = shelf.read(LABEL_KEY);
    const own = noted && noted.token === token && noted.reference === reference;
    if (text !== null) shelf.write(LABEL_KEY, { token, reference, text });
    else if (own && (sent === undefined || noted.text.trim().replace(/\s+/g, " ") === sent)) shelf.write(LABEL_KEY, null);
  }

  // A page that was closed or reloaded in the middle of a label: its words become an edit now.
  function finishLabel(page) {
    const noted = shelf.read(LABEL_KEY);
    if (!noted || noted.token !== page) return;
    shelf.write(LABEL_KEY, null);
    const there = view.owners.some((owner) => owner.references.some((one) => one.id === noted.reference && one.label !== noted.text.trim()));
    if (there) edit({ kind: "rename", reference: noted.reference, label: noted.text.trim() });
  }

  window.addEventListener("pagehide", () => {
    if (!dirty) return;
    navigator.sendBeacon("studio/draft", JSON.stringify(message()));
    shelf.write(LAST_KEY, token); // a page closed before its first save is the last one all the same
  });

  // What stood here last: on this tab, else on the page before. Returns the settings of then, or null if there is nothing.
  async function reopen() {
    const last = stored ? token : shelf.read(LAST_KEY);
    if (!last) return null;
    const answer = await ask({ do: "reopen", token: last });
    const kept = answer.draft || null;
    const names = stored || kept;
    if (!names) return null;
    if (!history.restore(names, { ...(kept ? kept.entries : {}), ...(stored ? stored.entries : {}) })) return null;
    if (kept && last === token) for (const name of Object.keys(kept.entries)) known.add(name);
    const base = history.present;
    const shownNow = await ask({ do: "revise", scene: base.scene, title: base.title });
    if (shownNow.error) return null;
    show(shownNow);
    finishLabel(last);
    return { settings: (stored ? stored.settings : kept.settings) || null };
  }

  // After a person was deleted: no step of the history names one of the pictures any more, neither here nor on the disk.
  function forget(answer, gone) {
    const names = new Set(gone);
    history.clean({ scene: answer.scene, title: history.present.title, preset: null }, (one) => {
      const { subjects, objects, background } = one.scene;
      const all = [background, ...objects, ...subjects.flatMap((subject) => [subject.face, ...subject.attributes])];
      return all.some((item) => item && (names.has(item.image) || names.has(item.mask)));
    });
    lastTyped = 0;
    show(answer);
  }

  return {
    take,
    forget,
    async settledScene() {
      await queue;
      return { scene: scene(), title: history.present.title };
    },
    typed,
    edit,
    request,
    typingLabel,
    reopen,
    undo: () => step(() => history.undo()),
    redo: () => step(() => history.redo()),
    get view() {
      return view;
    },
    get scene() {
      return history.present ? scene() : null;
    },
    get title() {
      return history.present ? history.present.title : "";
    },
    get canUndo() {
      return history.canUndo;
    },
    get canRedo() {
      return history.canRedo;
    },
    settled: () => queue,
    changed,
    keepSettings(read) {
      settings = read;
    },
  };
}
