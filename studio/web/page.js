// Puts the parts together, and looks at the worker: without a pause while something runs (the answer waits
// for news), else once a second.

async function ask(message) {
  try {
    const answer = await server.ask(message);
    if (answer !== undefined && answer !== null) return answer;
  } catch (error) {
    // fall through: the connection is gone, which is said below and on the page
  }
  return { error: "The studio does not answer. Is the window it was started in still open?", gone: true };
}

async function begin() {
  const root = element.querySelector(".lx");
  const first = await ask({ do: "begin" });
  if (first.error) {
    fill(root, h("p", { class: "notice fault", role: "alert" }, first.error));
    return;
  }
  fill(root);
  const saveRow = saveRowFor(ask, first.formats);
  const settings = settingsPart(first.engines);
  const scene = scenePart(ask, sceneChanged, root);
  const run = runPart(ask, settings, clipFacts, saveRow, render, openJob);
  const swaps = swapsPart(root, storageOf("sessionStorage"), {
    compare: (...what) => clips.compare(...what),
    clip: (name) => clips.clip(name),
  });
  const clips = galleryPart({ ask, root, openMenu: menuPart(root), saveRow, openScene: openClip, swaps });
  const gone = h("p", { class: "notice fault", hidden: true, role: "alert" });
  add(root, [
    h("header", { class: "masthead" }, h("h1", {}, "LumosX Studio"), h("p", { class: "quiet" }, "Every face keeps its own clothes.")),
    gone,
    h("div", { class: "columns" }, h("div", {}, scene.node), h("div", { class: "run-column" }, run.node)),
    clips.node,
  ]);
  scene.begin(first.presets, first.local);
  let renderFault = false;

  function sceneChanged(view) {
    if (renderFault) {
      renderFault = false;
      run.fail("");
    }
    if (view.settings) settings.write(view.settings);
  }

  async function render() {
    if (run.render.disabled) return;
    run.render.disabled = true;
    const draft = await scene.draft();
    if (!draft) {
      run.render.disabled = false;
      run.fail("Choose a scene first.");
      return;
    }
    const answer = await ask({ do: "render", ...draft, settings: settings.read(), replaces: run.replaces() });
    run.render.disabled = false;
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
      }
      clips.look(answer.clips_version);
      if (answer.busy) pause = 60;
    }
    timer = setTimeout(look, document.hidden ? 2000 : pause);
  }

  root.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      render();
    }
  });

  look();
  scene.keepSettings(() => settings.read());
  settings.node.addEventListener("change", () => scene.settingsChanged());
  const found = await scene.reopen();
  if (found && found.settings) settings.write(found.settings);
  const preset = first.presets.find((one) => !one.error && one.kind === "scene");
  if (!found && preset) await scene.choosePreset(preset.name);
  else if (!found) scene.startEmpty();
  scene.ready();
}

begin();
