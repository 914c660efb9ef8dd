// A new clip made of a finished one: a part of it, its speed, repeats, there and back, clips that follow. The original stays.

const CLIP_SPEEDS = [["0.25", "¼ ×"], ["0.5", "½ ×"], ["0.75", "¾ ×"], ["1", ""], ["1.5", "1½ ×"], ["2", "2 ×"], ["4", "4 ×"]];

// clipEditPart(ask, picker): show(clip, reel) puts it to work on a clip that plays in `reel`; onMade(name) is told of the new one.
function clipEditPart(ask, picker, { others, onMade }) {
  let clip = null;
  let reel = null;
  let joined = [];
  let asked = 0; // counts questions about the length: only the last answer counts

  const first = h("input", { type: "range", min: 0, step: 1, class: "from", "aria-label": say("edit_first"), oninput: () => cut(first) });
  const last = h("input", { type: "range", min: 0, step: 1, class: "to", "aria-label": say("edit_last"), oninput: () => cut(last) });
  const picture = h("img", { alt: "", draggable: false });
  const left = h("i", { class: "shade left" });
  const right = h("i", { class: "shade right" });
  const part = h("span", { class: "quiet" });
  const strip = h("div", { class: "strip" }, picture, left, right, first, last);
  const speed = field(say("edit_speed"), h("select", { onchange: change }, CLIP_SPEEDS.map(([value, title]) => h("option", { value }, title || say("edit_speed_as_is")))));
  const times = field(say("edit_times"), h("input", { type: "number", min: 1, max: 50, step: 1, value: 1, inputMode: "numeric", oninput: change }));
  const back = h("input", { type: "checkbox", onchange: change });
  const list = h("ol", { class: "joined" });
  const add = h("button", { type: "button", class: "small", onclick: addClip }, say("edit_add"));
  const length = h("output", { class: "quiet" });
  const make = h("button", { type: "button", onclick: run, disabled: true }, say("edit_make"));
  const task = taskPart(ask);

  const node = h(
    "details",
    { class: "clip-edit" },
    h("summary", {}, say("edit_title")),
    strip,
    h("p", { class: "under-strip" }, part),
    h("div", { class: "edit-row" }, speed.node, times.node, h("label", { class: "check" }, back, say("edit_back"))),
    h("div", { class: "edit-follows" }, h("span", { class: "caption" }, say("edit_follows")), list, add),
    h("div", { class: "edit-make" }, make, length, h("span", { class: "quiet original" }, say("edit_original"))),
    task.node,
  );

  // The handles push one another along: at least one frame is left, and neither can be shut in.
  function cut(handle) {
    const [from, to] = [Number(first.value), Number(last.value)];
    if (from > to) (handle === first ? last : first).value = handle.value;
    reel.show(Number(handle.value));
    change();
  }

  function edit() {
    const whole = Number(first.value) === 0 && Number(last.value) === clip.num_frames - 1;
    return {
      clip: clip.name,
      start: Number(first.value),
      end: whole ? null : Number(last.value) + 1,
      speed: Number(speed.control.value),
      times: times.control.value === "" ? null : Number(times.control.value),
      back: back.checked,
      joined: joined.map((one) => one.name),
    };
  }

  async function change() {
    const [from, to] = [Number(first.value), Number(last.value)];
    write(part, say("edit_part", { from: from + 1, to: to + 1 }));
    left.style.width = `${(100 * from) / clip.num_frames}%`;
    right.style.width = `${(100 * (clip.num_frames - 1 - to)) / clip.num_frames}%`;
    reel.range(from, to + 1, Number(speed.control.value));
    task.say("");
    times.say("");
    asked += 1;
    const mine = asked;
    const answer = await ask({ do: "clip_length", edit: edit() });
    if (mine !== asked) return;
    make.disabled = Boolean(answer.error);
    const untouched = !joined.length && !back.checked && from === 0 && to === clip.num_frames - 1 && speed.control.value === "1" && times.control.value === "1";
    write(length, answer.error ? "" : sayCount("edit_length", answer.num_frames, { seconds: answer.seconds.toFixed(1) }));
    if (answer.error && !untouched) task.say(answer.error);
  }

  async function addClip() {
    const chosen = await picker.clip(say("edit_add_title"), others());
    add.focus();
    if (!chosen) return;
    joined = [...joined, chosen];
    showJoined();
    change();
  }

  function showJoined() {
    fill(
      list,
      joined.map((one, place) =>
        h(
          "li",
          {},
          h("img", { src: one.poster, alt: "" }),
          h("span", { class: "name" }, one.title),
          h(
            "button",
            {
              type: "button",
              class: "icon",
              "aria-label": say("edit_leave_out", { title: one.title }),
              onclick: () => {
                joined = joined.filter((_, number) => number !== place);
                showJoined();
                change();
                add.focus();
              },
            },
            "×",
          ),
        ),
      ),
    );
  }

  async function run() {
    make.disabled = true;
    reel.pause();
    const made = await task.run({ do: "clip_edit", edit: edit() }, say("edit_making"));
    make.disabled = false;
    if (made) onMade(made.clip);
  }

  return {
    node,
    show(next, itsReel) {
      clip = next;
      reel = itsReel;
      joined = [];
      showJoined();
      node.hidden = !clip.has_scene;
      if (!clip.has_scene) return;
      picture.src = clip.strip;
      for (const handle of [first, last]) handle.max = clip.num_frames - 1;
      first.value = 0;
      last.value = clip.num_frames - 1;
      speed.control.value = "1";
      times.control.value = "1";
      back.checked = false;
      change();
    },
  };
}
