// The run panel: shows the queue as the worker reports it. It owns nothing: closing or reloading the page changes no render.

function runPart(ask, settings, clipFacts, saveRow, onRender, openJob, onReport) {
  const stage = h("div", { class: "stage" });
  const line = h("span", {});
  const left = h("span", { class: "left" });
  const fillBar = h("i", {});
  const bar = h("div", { class: "bar", role: "progressbar", "aria-label": say("work_progress"), "aria-valuemin": 0, "aria-valuemax": 100, hidden: true }, fillBar);
  const spoken = h("p", { class: "visually-hidden", "aria-live": "polite" });
  const fault = h("p", { class: "notice fault", role: "alert", hidden: true });
  const render = h("button", { type: "button", class: "main", onclick: renderOnce, onkeydown: keyHeld }, say("run_render"));
  const cancel = h("button", { type: "button", hidden: true, onclick: cancelRunning }, say("cancel"));
  const queue = queuePart(ask, openJob, nameRender, onReport);
  const notice = h("p", { class: "quiet", role: "status", hidden: true });
  const forecast = h("p", { class: "quiet forecast", hidden: true });
  const draft = h("button", { type: "button", hidden: true, onclick: () => takeDraft() }, say("run_take_draft"));
  const after = h("div", {});
  let running = null;
  let shown = ""; // what the stage holds, so that a running video is never re-made
  let previewOf = "";
  let ownFault = ""; // of this page's last click
  let takeDraft = null;
  let jobFault = ""; // of the last render

  // A double click, or a key that is held, is one wish and not two.
  function renderOnce(event) {
    if (event.detail < 2) onRender();
  }

  function keyHeld(event) {
    if (event.repeat) event.preventDefault();
  }

  async function cancelRunning() {
    if (!running) return;
    cancel.disabled = true;
    line.textContent = say("run_stopping");
    await ask({ do: "cancel", job: running.id });
  }

  function nameRender() {
    settings.single(Boolean(queue.replaces()));
    render.textContent = queue.replaces() ? say("run_save") : running ? say("run_next") : say("run_render");
  }

  function stageEmpty(text) {
    if (shown === text) return;
    shown = text;
    fill(stage, h("p", { class: "empty" }, text));
  }

  function label(builtin) {
    return builtin ? h("span", { class: "tag" }, say("run_builtin")) : null;
  }

  function stagePreview(job, data) {
    shown = `preview ${job.id}`;
    let picture = stage.querySelector("img");
    if (!picture || previewOf !== job.id) {
      picture = h("img", { alt: say("run_preview_alt") });
      fill(stage, picture, label(job.builtin));
      previewOf = job.id;
    }
    picture.src = data;
  }

  function stageClip(clip) {
    if (shown === clip.name) return;
    shown = clip.name;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const video = h("video", { src: clip.url, loop: true, muted: true, autoplay: !still, playsInline: true, controls: true });
    video.setAttribute("aria-label", say("run_clip", { title: clip.title }));
    fill(stage, video, label(clip.builtin));
    fill(after, clipFacts(clip), saveRow(clip));
  }

  function showRunning(job, preview) {
    if (cancel.disabled) line.textContent = say("run_stopping");
    else line.textContent = job.num_steps ? say("job_stage_step", { stage: job.stage, step: job.step, count: job.num_steps }) : job.stage;
    left.textContent = timeLeft(job.seconds_left);
    bar.hidden = false;
    bar.className = job.num_steps ? "bar" : "bar open";
    const percent = job.num_steps ? Math.round((100 * job.step) / job.num_steps) : 0;
    fillBar.style.width = job.num_steps ? `${percent}%` : "";
    if (job.num_steps) bar.setAttribute("aria-valuenow", percent);
    else bar.removeAttribute("aria-valuenow");
    if (preview) stagePreview(job, preview);
    else if (shown !== `preview ${job.id}`) stageEmpty(say("run_preview_soon"));
    fill(after);
  }

  function showResting(job) {
    bar.hidden = true;
    left.textContent = "";
    if (!job) {
      line.textContent = "";
      stageEmpty(say("run_empty"));
      return;
    }
    const cancelled = job.saved_step ? say("run_stopped", { step: job.saved_step }) : say("work_cancelled");
    line.textContent = { done: say("job_finished"), cancelled, failed: "" }[job.state];
    if (job.clip) stageClip(job.clip);
    else {
      stageEmpty(job.state === "failed" ? say("run_failed_empty") : say("run_empty"));
      fill(after);
    }
  }

  function announce(job) {
    const texts = { running: say("run_rendering"), done: say("run_done"), cancelled: say("job_cancelled"), failed: say("run_failed") };
    const text = job ? texts[job.state] : "";
    if (spoken.textContent !== text) spoken.textContent = text;
  }

  function showFault() {
    sentence(fault, ownFault || jobFault);
  }

  const node = h(
    "section",
    { class: "panel", "aria-label": say("run_render") },
    stage,
    h("div", { class: "status" }, h("p", { class: "line" }, line, left), bar, notice, fault, spoken),
    queue.changing,
    h("div", { class: "actions" }, render, cancel),
    forecast,
    draft,
    queue.node,
    after,
    settings.node,
  );

  new ResizeObserver(() => node.parentElement.style.setProperty("--lx-panel-height", `${node.offsetHeight}px`)).observe(node);

  return {
    node,
    render,
    fail(text) {
      ownFault = text;
      showFault();
    },
    // onDraft: what takes the draft that fits, where this clip does not
    forecast(text, details, onDraft) {
      takeDraft = onDraft;
      draft.hidden = !onDraft;
      forecast.textContent = text;
      forecast.title = details.join("\n");
      forecast.hidden = !text;
    },
    replaces: queue.replaces,
    replaced: queue.replaced,
    // jobs: those that ended in the order of their end, then the others in the order of the queue; preview: data address
    // of the running job's newest preview, if it is new
    show(jobs, preview, standing) {
      const now = jobs.find((job) => job.state === "running") || null;
      const last = now || [...jobs].reverse().find((job) => job.started && job.state !== "waiting") || null;
      if (!running || !now || running.id !== now.id) cancel.disabled = false;
      running = now;
      if (!now && document.activeElement === cancel) render.focus();
      cancel.hidden = !now;
      queue.show(jobs, standing);
      nameRender();
      notice.textContent = now ? now.notice : "";
      notice.hidden = !notice.textContent;
      if (now) showRunning(now, preview);
      else showResting(last);
      jobFault = last && last.state === "failed" ? last.error : "";
      showFault();
      announce(last);
      node.dataset.job = last ? last.id : "";
      node.dataset.state = last ? last.state : "";
    },
  };
}
