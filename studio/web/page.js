// Puts the parts together, and looks at the worker: without a pause while something runs (the answer waits
// for news), else once a second.

const BEGIN_RENDERS = ["render", "queue_retry", "clip_swap"];

async function ask(message) {
  try {
    const whole = { language: spoken, ...message };
    const pass = BEGIN_RENDERS.includes(message.do) ? await passOfVisitor() : null;
    const answer = pass ? await askWith(pass, whole) : await server.ask(whole);
    if (answer !== undefined && answer !== null) return answer;
  } catch (error) {
    // fall through: the connection is gone, which is said below and on the page
  }
  return { error: say("page_gone"), gone: true };
}

// Where a card is lent to visitors, only the site around the page can say whose time a render takes. Asked for in the way
// in which Gradio's own page asks for its events; null anywhere else.
function passOfVisitor() {
  if (window.parent === window || !window.supports_zerogpu_headers) return null;
  return new Promise((resolve) => {
    const channel = new MessageChannel();
    setTimeout(resolve, 3000, null);
    channel.port1.onmessage = ({ data }) => {
      channel.port1.close();
      resolve(data);
    };
    window.parent.postMessage("zerogpu-headers", "https://huggingface.co", [channel.port2]);
  });
}

async function askWith(headers, message) {
  const answer = await fetch("studio/asked", { method: "POST", headers, body: JSON.stringify(message) });
  return answer.ok ? await answer.json() : null;
}

async function begin() {
  const root = element.querySelector(".lx");
  speak(languageOf(navigator.language));
  fill(root, h("p", { class: "quiet" }, say("page_moment")));
  const first = await ask({ do: "begin" });
  speak(first.language || spoken); // what was chosen before counts more than what the browser speaks
  document.documentElement.lang = root.lang = say("language_tag");
  if (first.error) {
    fill(root, h("p", { class: "notice fault", role: "alert" }, first.error));
    return;
  }
  fill(root);
  const saveRow = saveRowFor(ask, first.formats);
  const settings = settingsPart(first.engines);
  const cost = costPart(ask);
  const scene = scenePart(ask, sceneChanged, root, () => settings.read(), cost.node);
  const report = reportPart(ask, root);
  const run = runPart(ask, settings, clipFacts, saveRow, render, openJob, report.open);
  const swaps = swapsPart(root, storageOf("sessionStorage"), {
    compare: (...what) => clips.compare(...what),
    clip: (name) => clips.clip(name),
  });
  const clips = galleryPart({ ask, root, openMenu: scene.openMenu, saveRow, openScene: openClip, swaps });
  const models = modelsPart(ask, root, async () => {
    const now = await ask({ do: "begin" });
    if (!now.error) settings.offerEngines(now.engines);
  });
  const gone = h("p", { class: "notice fault", hidden: true, role: "alert" });
  add(root, [
    h("header", { class: "masthead" }, h("h1", {}, "LumosX Studio"), h("p", { class: "quiet" }, say("page_motto")), mastheadMenu(ask, scene.openMenu, report), models.button),
    gone,
    h("div", { class: "columns" }, h("div", {}, scene.node), h("div", { class: "run-column" }, run.node)),
    clips.node,
  ]);
  scene.begin(first.presets, first.local);
  let renderFault = false;
  let pictures = 0; // on the board

  function sceneChanged(view) {
    if (renderFault) {
      renderFault = false;
      run.fail("");
    }
    if (view.settings) settings.write(view.settings);
    pictures = view.owners.reduce((sum, one) => sum + one.references.length, 0);
    cost.update(pictures, settings.read());
    forecast();
  }

  let forecasts = 0; // an answer that comes after the next question is dropped
  let forecastTimer = null;

  // What the next render will take, said beside the button; asked a moment after the last change.
  function forecast() {
    clearTimeout(forecastTimer);
    forecastTimer = setTimeout(async () => {
      forecasts += 1;
      const mine = forecasts;
      const answer = await ask({ do: "forecast", settings: settings.read(), references: scene.pictures() });
      if (mine === forecasts) run.forecast(answer.error ? "" : answer.text, answer.details || [], answer.draft ? () => takeDraft(answer.draft) : null);
    }, 250);
  }

  // The draft that fits where the whole clip does not; the seed stays what was chosen.
  function takeDraft(draft) {
    settings.write({ ...draft, seed: settings.read().seed });
    scene.settingsChanged();
    cost.update(pictures, settings.read());
    forecast();
    run.render.focus();
  }

  let asking = false; // not "disabled": a button that is loses the focus of whoever pressed it by key

  function nowAsking(now) {
    asking = now;
    run.render.setAttribute("aria-busy", now);
  }

  async function render() {
    if (asking) return;
    nowAsking(true);
    const draft = await scene.draft();
    if (!draft) {
      nowAsking(false);
      run.fail(say("page_no_scene"));
      return;
    }
    const answer = await ask({ do: "render", ...draft, settings: settings.read(), count: settings.count(), replaces: run.replaces() });
    nowAsking(false);
    const placed = settings.say(answer.field, answer.error);
    renderFault = Boolean(answer.error && !placed);
    run.fail(renderFault ? answer.error : "");
    if (answer.error) return;
    run.replaced();
    settings.drawn(answer.seed);
    look();
  }

  // words: false takes only the cast along, for a prompt that is still to be written
  async function openClip(clip, words) {
    const answer = await ask({ do: "open_clip", clip: clip.name, words });
    if (answer.error) return answer.error;
    scene.show({ ...answer, preset: null });
    scene.node.scrollIntoView({ behavior: "smooth" });
    if (!words) requestAnimationFrame(() => root.querySelector("#lx-prompt").focus({ preventScroll: true })); // once a dialog is closed
    return "";
  }

  async function openJob(job) {
    const answer = await ask({ do: "queue_open", job: job.id });
    if (answer.error) return answer.error;
    scene.show({ ...answer, preset: null });
    scene.node.scrollIntoView({ behavior: "smooth" });
    return "";
  }

  let version = -1;
  let preview = null;
  let timer = null;
  let looking = false;

  async function look() {
    clearTimeout(timer);
    if (looking) return;
    looking = true;
    const answer = await ask({ do: "look", version, preview });
    looking = false;
    sentence(gone, answer.error);
    let pause = 1000;
    if (!answer.error) {
      if (answer.boot !== first.boot) location.reload(); // the studio was started anew; the draft stays with this tab
      if (answer.jobs) {
        run.show(answer.jobs, answer.preview ? answer.preview.data : null, answer.queue);
        if (answer.preview) preview = answer.preview.key;
        version = answer.version;
        swaps.look(answer.jobs);
        if (!answer.busy) {
          forecast(); // a render that ended has shown how quick this machine is
          cost.renew();
        }
      }
      clips.look(answer.clips_version);
      if (answer.busy) pause = 60;
    }
    timer = setTimeout(look, document.hidden ? 2000 : pause);
  }

  root.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!event.repeat) render();
    }
  });

  look();
  scene.keepSettings(() => settings.read());
  // while somebody types, too: a number still in its field is kept over a reload
  for (const moment of ["input", "change"]) {
    settings.node.addEventListener(moment, () => {
      scene.settingsChanged();
      cost.update(pictures, settings.read());
      forecast();
    });
  }
  const found = await scene.reopen();
  if (found && found.settings) settings.write(found.settings);
  const preset = first.presets.find((one) => !one.error && one.kind === "scene");
  if (!found && preset) await scene.choosePreset(preset.name);
  else if (!found) scene.startEmpty();
  scene.ready();
}

begin();
