// Work of the server that takes a while: begun by a message, followed to its end, stopped by a button.

// taskPart(ask): {node, run(message, doing)}; `run` answers with the result, or null when it was refused, failed or stopped.
function taskPart(ask) {
  const line = h("span", { class: "quiet" });
  const fillBar = h("i", {});
  const bar = h("div", { class: "bar", role: "progressbar", "aria-label": say("work_progress"), "aria-valuemin": 0, "aria-valuemax": 100 }, fillBar);
  const stop = h("button", { type: "button", class: "small", onclick: cancel }, say("cancel"));
  const busy = h("div", { class: "task", hidden: true }, h("div", { class: "task-line" }, line, stop), bar);
  const fault = h("p", { class: "advice", hidden: true, role: "alert" });
  let task = null;

  function cancel() {
    stop.disabled = true;
    if (task) ask({ do: "task_cancel", task });
  }

  function show(answer, doing) {
    const percent = answer.num_all ? Math.round((100 * answer.num_done) / answer.num_all) : 0;
    write(line, answer.state === "waiting" ? say("work_waiting") : doing);
    bar.className = answer.num_all && answer.state === "running" ? "bar" : "bar open";
    fillBar.style.width = answer.num_all ? `${percent}%` : "";
    if (answer.num_all) bar.setAttribute("aria-valuenow", percent);
    else bar.removeAttribute("aria-valuenow");
  }

  async function follow(doing) {
    let seen = -1;
    for (;;) {
      const answer = await ask({ do: "task", task, seen });
      if (answer.error) return { fault: answer.error };
      if (["done", "failed", "cancelled"].includes(answer.state)) return answer;
      show(answer, doing);
      seen = answer.num_done;
      if (answer.state === "waiting") await new Promise((done) => setTimeout(done, 200));
    }
  }

  async function run(message, doing) {
    if (task) return null;
    sentence(fault, "");
    const begun = await ask(message);
    sentence(fault, begun.error);
    if (begun.error) return null;
    task = begun.task;
    stop.disabled = false;
    const slow = setTimeout(() => (busy.hidden = false), 250); // what is done at once needs no bar
    show({ state: "running", num_done: 0, num_all: 0 }, doing);
    const ended = await follow(doing);
    clearTimeout(slow);
    task = null;
    busy.hidden = true;
    sentence(fault, ended.state === "cancelled" ? say("work_cancelled") : ended.fault);
    return ended.state === "done" ? ended.result : null;
  }

  return {
    node: h("div", {}, busy, fault),
    run,
    say: (text) => sentence(fault, text),
    get busy() {
      return task !== null;
    },
  };
}
