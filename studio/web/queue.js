// The queue: what waits, what failed, what was there before. Rows stay the same nodes for as long as their job is shown, or
// a button would vanish under the finger that presses it.

function queuePart(ask, openJob, onChanging, onReport) {
  const pause = h("button", { type: "button", class: "plain", onclick: () => tell({ do: "queue_pause", paused: !paused }), onblur: showPause });
  const title = h("h3", { tabIndex: -1 }, say("queue_title"));
  const held = h("p", { class: "notice", hidden: true }, say("queue_held"));
  const trouble = h("span", {});
  const stuck = h(
    "div",
    { class: "notice fault", role: "status", hidden: true },
    h("p", {}, trouble, " ", say("queue_goes_on")),
    h("button", { type: "button", onclick: () => tell({ do: "queue_now" }) }, say("queue_try_now")),
  );
  const more = h("p", { class: "quiet", hidden: true });
  const fault = h("p", { class: "advice", hidden: true, role: "alert" });
  const list = h("ul", { "aria-label": say("queue_title") });
  const past = h("ul", { "aria-label": say("queue_earlier_list") });
  const pastTitle = h("summary", {});
  const earlier = h("details", { hidden: true }, pastTitle, past);
  const changed = h("span", {});
  const changing = h(
    "div",
    { class: "notice changing", hidden: true },
    h("p", {}, changed),
    h("button", { type: "button", class: "plain", onclick: () => change(null) }, say("queue_leave")),
  );
  const rows = new Map();
  let order = []; // ids of what waits, the next first
  let dragged = null; // the id of the row in the hand
  let paused = false;
  let pausable = false; // by whoever asks, and there is something to pause or a pause to end
  let editing = null; // the waiting job whose scene is on the page

  async function tell(message) {
    const answer = await ask(message);
    sentence(fault, answer.error);
    return answer;
  }

  // Nothing is taken from under a finger: a button that has the focus goes with it.
  function showPause() {
    pause.hidden = !pausable && document.activeElement !== pause;
  }

  function change(job) {
    editing = job;
    changing.hidden = !job;
    onChanging();
    if (job) changed.textContent = say("queue_changing", { title: job.title });
  }

  async function edit(job) {
    const error = await openJob(job);
    sentence(fault, error);
    if (!error) change(job.state === "waiting" ? job : null);
  }

  async function saveLog(job) {
    const answer = await tell({ do: "queue_log", job: job.id });
    if (answer.error) return;
    const address = URL.createObjectURL(new Blob([answer.text], { type: "text/plain" }));
    const link = h("a", { href: address, download: answer.name });
    document.body.append(link);
    link.click();
    link.remove();
    URL.revokeObjectURL(address);
  }

  function stateWords(job, place) {
    const counted = { step: job.step, count: job.num_steps };
    if (job.state === "running") return job.num_steps ? say("job_stage_step", { stage: job.stage, ...counted }) : job.stage;
    if (job.state === "failed") return job.error;
    if (job.state === "done") return job.clip ? say("job_finished") : say("queue_clip_gone");
    if (job.state === "cancelled") return job.saved_step ? say("queue_stopped", counted) : say("job_cancelled");
    if (job.saved_step) return place === 0 ? say("queue_next_interrupted", counted) : say("queue_waiting_interrupted", counted);
    return place === 0 ? say("queue_next") : say("queue_waiting");
  }

  function buttons(job) {
    const name = say("queue_job_name", { title: job.title, seed: job.seed });
    const button = (text, label, onclick) => h("button", { type: "button", class: "plain", "aria-label": label, onclick }, text);
    const remove = button(say("remove"), say("queue_remove_ended", { name }), () => tell({ do: "queue_forget", job: job.id }));
    if (job.state === "running") return [button(say("queue_stop"), say("queue_stop_name", { name }), () => tell({ do: "cancel", job: job.id, keep: true }))];
    if (job.state === "waiting")
      return [
        button(say("queue_up"), say("queue_up_name", { name }), () => tell({ do: "queue_move", job: job.id, by: -1 })),
        button(say("queue_down"), say("queue_down_name", { name }), () => tell({ do: "queue_move", job: job.id, by: 1 })),
        button(say("queue_edit"), say("queue_edit_name", { name }), () => edit(job)),
        button(say("remove"), say("queue_remove_waiting", { name }), () => tell({ do: "cancel", job: job.id })),
      ];
    if (job.state === "done") return [remove];
    const goesOn = job.state === "cancelled" && job.saved_step;
    const again = goesOn ? [say("queue_go_on"), say("queue_go_on_name", { name })] : [say("queue_again"), say("queue_again_name", { name })];
    return [
      button(...again, () => tell({ do: "queue_retry", job: job.id })),
      button(say("open_scene"), say("queue_open_name", { name }), () => edit(job)),
      job.state === "failed" && button(say("queue_report"), say("queue_report_name", { name }), () => onReport(job)),
      job.has_log && button(say("queue_log"), say("queue_log_name", { name }), () => saveLog(job)),
      remove,
    ];
  }

  // Drops a waiting row before or behind another one: the same message as the buttons send, with more places at once.
  function dropOn(target, behind) {
    const from = order.indexOf(dragged);
    let to = order.indexOf(target) + (behind ? 1 : 0);
    if (to > from) to -= 1;
    if (from >= 0 && to !== from) tell({ do: "queue_move", job: dragged, by: to - from });
  }

  function letDrag(node, id) {
    const show = (side) => {
      node.classList.toggle("drop-before", side === "before");
      node.classList.toggle("drop-behind", side === "behind");
    };
    const side = (event) => {
      const box = node.getBoundingClientRect();
      return event.clientY > box.top + box.height / 2 ? "behind" : "before";
    };
    node.addEventListener("dragstart", (event) => {
      if (!node.draggable) return;
      event.dataTransfer.setData("text/plain", id);
      event.dataTransfer.effectAllowed = "move";
      dragged = id;
      node.classList.add("dragged");
    });
    node.addEventListener("dragend", () => {
      dragged = null;
      node.classList.remove("dragged");
    });
    for (const moment of ["dragover", "dragleave", "drop"]) {
      node.addEventListener(moment, (event) => {
        const fits = dragged && dragged !== id && order.includes(id);
        show(fits && moment === "dragover" ? side(event) : "");
        if (!fits || moment === "dragleave") return;
        event.preventDefault();
        if (moment === "drop") dropOn(id, side(event) === "behind");
      });
    }
  }

  async function removeAll(jobs) {
    for (const job of jobs) {
      const answer = await tell({ do: "cancel", job: job.id });
      if (answer.error) return;
    }
  }

  function rowOf(job) {
    const state = h("span", { class: "state" });
    const title = h("b", {});
    const acts = h("div", { class: "acts" });
    const picture = h("img", { class: "shown", alt: "", draggable: false });
    const together = h("span", { class: "together" });
    let mates = [];
    const all = h("button", { type: "button", class: "plain", onclick: () => removeAll(mates) }, say("queue_remove_all"));
    const head = h("div", { class: "batch", hidden: true }, together, all);
    const node = h("li", { class: "job" }, head, picture, h("p", { class: "words" }, title, state), acts);
    letDrag(node, job.id);
    let key = "";
    let address = null;
    return {
      node,
      update(now, place) {
        const text = say("queue_row", { title: now.title, seed: now.seed });
        if (title.textContent !== text) title.textContent = text;
        const words = stateWords(now, place);
        if (state.textContent !== words) state.textContent = words;
        const url = now.picture ? now.picture.url : "";
        if (url !== address) {
          address = url;
          picture.hidden = !url;
          if (url) picture.src = url;
          picture.classList.toggle("whole", Boolean(now.picture && now.picture.whole));
        }
        node.dataset.state = now.state;
        node.draggable = now.state === "waiting";
        const nextKey = [text, now.state, now.saved_step > 0, now.has_log].join("/");
        if (nextKey === key) return;
        key = nextKey;
        const focused = acts.contains(document.activeElement);
        fill(acts, buttons(now));
        if (focused) acts.firstElementChild.focus();
      },
      // its batch as far as it stands together here: a frame around all, a headline over the first
      join(batch, at) {
        node.classList.toggle("of-batch", batch.length > 1);
        node.classList.toggle("batch-end", at === batch.length - 1);
        head.hidden = batch.length < 2 || at > 0;
        if (head.hidden) return;
        mates = batch.filter((one) => one.state === "waiting");
        write(together, say("queue_variations", { count: batch.length, title: job.title }));
        all.hidden = mates.length < 2;
      },
    };
  }

  function place(target, jobs) {
    const active = document.activeElement;
    jobs.forEach((job, number) => {
      if (!rows.has(job.id)) rows.set(job.id, rowOf(job));
      const row = rows.get(job.id);
      row.update(job, number);
      if (target.children[number] !== row.node) target.insertBefore(row.node, target.children[number] || null);
    });
    let run = [];
    jobs.forEach((job, number) => {
      run = run.length && job.batch && run[0].batch === job.batch ? [...run, job] : [job];
      const next = jobs[number + 1];
      if (!next || !job.batch || next.batch !== job.batch) run.forEach((one, at) => rows.get(one.id).join(run, at));
    });
    // a row that changed its place has lost the focus on the way
    if (active && document.activeElement !== active && target.contains(active)) active.focus();
  }

  return {
    node: h(
      "section",
      { class: "queue", "aria-label": say("queue_title") },
      h("header", {}, title, pause),
      held,
      stuck,
      fault,
      list,
      more,
      earlier,
    ),
    changing,
    replaces: () => (editing ? editing.id : ""),
    replaced: () => change(null),
    // jobs: those that ended in the order of their end, then the others in the order of the queue
    show(jobs, standing) {
      paused = standing.paused;
      const live = jobs.filter((job) => job.state === "running" || job.state === "waiting");
      const open = jobs.filter((job) => job.state === "failed" || (job.state === "cancelled" && job.saved_step)).reverse();
      const ended = jobs.filter((job) => !live.includes(job) && !open.includes(job)).reverse();
      pausable = standing.holdable && (paused || live.length > 0);
      showPause();
      const names = new Set(jobs.map((job) => job.id));
      for (const [id, row] of rows) {
        if (names.has(id)) continue;
        const focused = row.node.contains(document.activeElement);
        row.node.remove();
        rows.delete(id);
        if (focused) (pause.hidden ? title : pause).focus();
      }
      const waiting = live.filter((job) => job.state === "waiting");
      order = waiting.map((job) => job.id);
      place(list, [...live.filter((job) => job.state === "running"), ...waiting, ...open]);
      place(past, ended);
      if (waiting.length) rows.get(waiting[0].id).update(waiting[0], 0);
      if (editing && !waiting.some((job) => job.id === editing.id)) {
        sentence(fault, say("queue_edit_late", { title: editing.title }));
        change(null);
      }
      earlier.hidden = ended.length === 0;
      pastTitle.textContent = say("queue_earlier", { count: ended.length });
      const words = paused ? say("queue_resume") : say("queue_pause");
      if (pause.textContent !== words) pause.textContent = words;
      held.hidden = !paused;
      if (trouble.textContent !== standing.trouble) trouble.textContent = standing.trouble;
      stuck.hidden = !standing.trouble;
      sentence(more, standing.more ? sayCount("queue_more", standing.more) : "");
    },
  };
}
