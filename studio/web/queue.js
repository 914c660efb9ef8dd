// The queue: what waits, what failed, what was there before. Rows stay the same nodes for as long as their job is shown, or
// a button would vanish under the finger that presses it.

function queuePart(ask, openJob, onChanging, onReport) {
  const pause = h("button", { type: "button", class: "plain", onclick: () => tell({ do: "queue_pause", paused: !paused }) });
  const held = h("p", { class: "notice", hidden: true }, "The queue is paused: what runs now runs to its end, the rest waits.");
  const trouble = h("span", {});
  const stuck = h(
    "div",
    { class: "notice fault", role: "status", hidden: true },
    h("p", {}, trouble, " The queue goes on by itself when that is put right."),
    h("button", { type: "button", onclick: () => tell({ do: "queue_now" }) }, "Try again now"),
  );
  const more = h("p", { class: "quiet", hidden: true });
  const fault = h("p", { class: "advice", hidden: true, role: "alert" });
  const list = h("ul", { "aria-label": "Queue" });
  const past = h("ul", { "aria-label": "Earlier renders" });
  const pastTitle = h("summary", {});
  const earlier = h("details", { hidden: true }, pastTitle, past);
  const changed = h("span", {});
  const changing = h(
    "div",
    { class: "notice changing", hidden: true },
    h("p", {}, changed),
    h("button", { type: "button", class: "plain", onclick: () => change(null) }, "Leave it as it was"),
  );
  const rows = new Map();
  let order = []; // ids of what waits, the next first
  let dragged = null; // the id of the row in the hand
  let paused = false;
  let editing = null; // the waiting job whose scene is on the page

  async function tell(message) {
    const answer = await ask(message);
    sentence(fault, answer.error);
    return answer;
  }

  function change(job) {
    editing = job;
    changing.hidden = !job;
    onChanging();
    if (job) changed.textContent = `You are changing “${job.title}”, which waits in the queue.`;
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
    const steps = `step ${job.step} of ${job.num_steps}`;
    if (job.state === "running") return job.num_steps ? `${job.stage}, ${steps}` : job.stage;
    if (job.state === "failed") return job.error;
    if (job.state === "done") return job.clip ? "Finished" : "Finished; its clip is no longer in the clips folder.";
    if (job.state === "cancelled") return job.saved_step ? `Stopped after ${steps}` : "Cancelled";
    const turn = place === 0 ? "Next" : "Waiting";
    return job.saved_step ? `${turn}; was interrupted after ${steps} and goes on from its last saved one` : turn;
  }

  function buttons(job) {
    const name = `“${job.title}”, seed ${job.seed}`;
    const button = (text, label, onclick) => h("button", { type: "button", class: "plain", "aria-label": label, onclick }, text);
    const remove = button("Remove", `Remove ${name} from the list`, () => tell({ do: "queue_forget", job: job.id }));
    if (job.state === "running")
      return [button("Stop for now", `Stop for now ${name}; it can go on later`, () => tell({ do: "cancel", job: job.id, keep: true }))];
    if (job.state === "waiting")
      return [
        button("Up", `Move up ${name}`, () => tell({ do: "queue_move", job: job.id, by: -1 })),
        button("Down", `Move down ${name}`, () => tell({ do: "queue_move", job: job.id, by: 1 })),
        button("Edit", `Edit ${name}`, () => edit(job)),
        button("Remove", `Remove ${name} from the queue`, () => tell({ do: "cancel", job: job.id })),
      ];
    if (job.state === "done") return [remove];
    const again = job.state === "cancelled" && job.saved_step ? ["Go on", `Go on with ${name}`] : ["Try again", `Try again ${name}`];
    return [
      button(...again, () => tell({ do: "queue_retry", job: job.id })),
      button("Open its scene", `Open the scene of ${name}`, () => edit(job)),
      job.state === "failed" && button("Report…", `Report the failure of ${name}`, () => onReport(job)),
      job.has_log && button("Save its log", `Save the log of ${name}`, () => saveLog(job)),
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
    const all = h("button", { type: "button", class: "plain", onclick: () => removeAll(mates) }, "Remove those that wait");
    const head = h("div", { class: "batch", hidden: true }, together, all);
    const node = h("li", { class: "job" }, head, picture, h("p", { class: "words" }, title, state), acts);
    letDrag(node, job.id);
    let key = "";
    let address = null;
    return {
      node,
      update(now, place) {
        const text = `${now.title}, seed ${now.seed}`;
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
        write(together, `${batch.length} variations of “${job.title}”`);
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
      { class: "queue", "aria-label": "Queue" },
      h("header", {}, h("h3", {}, "Queue"), pause),
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
    pause.hidden = !standing.holdable;
      const live = jobs.filter((job) => job.state === "running" || job.state === "waiting");
      const open = jobs.filter((job) => job.state === "failed" || (job.state === "cancelled" && job.saved_step)).reverse();
      const ended = jobs.filter((job) => !live.includes(job) && !open.includes(job)).reverse();
      const names = new Set(jobs.map((job) => job.id));
      for (const [id, row] of rows) {
        if (names.has(id)) continue;
        const focused = row.node.contains(document.activeElement);
        row.node.remove();
        rows.delete(id);
        if (focused) pause.focus();
      }
      const waiting = live.filter((job) => job.state === "waiting");
      order = waiting.map((job) => job.id);
      place(list, [...live.filter((job) => job.state === "running"), ...waiting, ...open]);
      place(past, ended);
      if (waiting.length) rows.get(waiting[0].id).update(waiting[0], 0);
      if (editing && !waiting.some((job) => job.id === editing.id)) {
        sentence(fault, `“${editing.title}” has begun or was taken out meanwhile. Render puts your change in the queue as a new one.`);
        change(null);
      }
      earlier.hidden = ended.length === 0;
      pastTitle.textContent = `Earlier renders (${ended.length})`;
      const words = paused ? "Resume queue" : "Pause queue";
      if (pause.textContent !== words) pause.textContent = words;
      held.hidden = !paused;
      if (trouble.textContent !== standing.trouble) trouble.textContent = standing.trouble;
      stuck.hidden = !standing.trouble;
      sentence(more, standing.more ? `and ${plural(standing.more, "more render", "more renders")} behind these` : "");
    },
  };
}
