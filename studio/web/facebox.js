// Drawing the box around a face. A sensible first box is there already: Enter takes it. Works with mouse, finger and keyboard.

function faceBoxPart(root, ask) {
  const picture = h("img", { alt: say("facebox_picture"), draggable: false });
  const box = h("div", { class: "face-box", tabIndex: 0, role: "group", "aria-label": say("facebox_box") });
  const corners = ["nw", "ne", "sw", "se"].map((name) => h("i", { class: `corner ${name}`, "data-corner": name }));
  box.append(...corners);
  const stage = h("div", { class: "face-stage" }, picture, box);
  const crop = h("div", { class: "crop", role: "img", "aria-label": say("facebox_crop") });
  const size = h("p", { class: "quiet" });
  const place = h("span", { class: "quiet" });
  const hint = h("p", { class: "notice", hidden: true });
  const whole = h("button", { type: "button", onclick: () => put([0, 0, job.width, job.height]) }, say("facebox_whole"));
  const another = h("button", { type: "button", onclick: () => finish("another") }, say("facebox_another"));
  const done = h("button", { type: "submit", class: "main" }, say("facebox_use"));
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, say("facebox_leave"));
  const dialog = h(
    "dialog",
    { class: "dialog face-dialog", "aria-label": say("facebox_title") },
    h(
      "form",
      {
        method: "dialog",
        onsubmit: (event) => {
          event.preventDefault();
          finish("use");
        },
      },
      h("header", {}, h("h2", {}, say("facebox_title")), place),
      h("p", { class: "quiet" }, say("facebox_hint")),
      hint,
      h("div", { class: "face-work" }, stage, h("div", { class: "face-side" }, crop, size)),
      h("div", { class: "dialog-buttons" }, cancel, whole, another, done),
    ),
  );
  root.append(dialog);

  let job = null; // {picture, width, height}
  let now = [0, 0, 1, 1];
  let finished = null;

  const ratio = () => picture.clientWidth / job.width || 1;

  function put(next) {
    const least = Math.min(16, job.width, job.height);
    let [x0, y0, x1, y1] = next.map(Math.round);
    if (x1 < x0) [x0, x1] = [x1, x0];
    if (y1 < y0) [y0, y1] = [y1, y0];
    x0 = Math.max(0, Math.min(x0, job.width - least));
    y0 = Math.max(0, Math.min(y0, job.height - least));
    x1 = Math.min(job.width, Math.max(x1, x0 + least));
    y1 = Math.min(job.height, Math.max(y1, y0 + least));
    now = [x0, y0, x1, y1];
    draw();
  }

  function draw() {
    const [x0, y0, x1, y1] = now;
    const scale = ratio();
    box.style.left = `${x0 * scale}px`;
    box.style.top = `${y0 * scale}px`;
    box.style.width = `${(x1 - x0) * scale}px`;
    box.style.height = `${(y1 - y0) * scale}px`;
    const room = innerWidth > 520 ? 148 : 72;
    const shown = Math.min(room / (x1 - x0), room / (y1 - y0));
    crop.style.width = `${(x1 - x0) * shown}px`;
    crop.style.height = `${(y1 - y0) * shown}px`;
    crop.style.backgroundSize = `${job.width * shown}px ${job.height * shown}px`;
    crop.style.backgroundPosition = `${-x0 * shown}px ${-y0 * shown}px`;
    const side = Math.min(x1 - x0, y1 - y0);
    write(size, say(side < 96 ? "facebox_size_small" : "facebox_size", { width: x1 - x0, height: y1 - y0 }));
  }

  // Dragging draws a new box, moves the one that is there, or pulls a corner.
  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    event.preventDefault();
    const from = picture.getBoundingClientRect();
    const at = (moved) => [(moved.clientX - from.left) / ratio(), (moved.clientY - from.top) / ratio()];
    const [startX, startY] = at(event);
    const began = [...now];
    const corner = event.target.dataset.corner;
    const inside = event.target === box;
    stage.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const [x, y] = at(moved);
      if (corner) put([corner.includes("w") ? x : began[0], corner.includes("n") ? y : began[1], corner.includes("e") ? x : began[2], corner.includes("s") ? y : began[3]]);
      else if (inside) {
        const [width, height] = [began[2] - began[0], began[3] - began[1]];
        const left = Math.max(0, Math.min(began[0] + x - startX, job.width - width));
        const top = Math.max(0, Math.min(began[1] + y - startY, job.height - height));
        put([left, top, left + width, top + height]);
      } else if (Math.hypot(x - startX, y - startY) * ratio() > 4) put([startX, startY, x, y]);
    };
    const up = () => {
      stage.removeEventListener("pointermove", move);
      stage.removeEventListener("pointerup", up);
      stage.removeEventListener("pointercancel", up);
      box.focus();
    };
    stage.addEventListener("pointermove", move);
    stage.addEventListener("pointerup", up);
    stage.addEventListener("pointercancel", up);
  });

  box.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Enter") finish("use");
    if (!steps) return;
    event.preventDefault();
    const step = Math.max(1, Math.round(Math.min(job.width, job.height) / 50));
    const [dx, dy] = steps.map((one) => one * step);
    const [x0, y0, x1, y1] = now;
    if (event.shiftKey) put([x0, y0, Math.max(x0 + 16, x1 + dx), Math.max(y0 + 16, y1 + dy)]);
    else {
      const [sx, sy] = [Math.max(-x0, Math.min(dx, job.width - x1)), Math.max(-y0, Math.min(dy, job.height - y1))];
      put([x0 + sx, y0 + sy, x1 + sx, y1 + sy]);
    }
  });

  new ResizeObserver(() => job && draw()).observe(picture);
  // the news of a closing comes late: by then the next picture may be open
  dialog.addEventListener("close", () => !dialog.open && finish("leave"));

  function finish(how) {
    const answer = finished;
    finished = null;
    if (dialog.open) dialog.close();
    if (answer) answer({ how, box: now });
  }

  // Asks for one box; answers {how: "use" | "another" | "leave", box}. `where`: "1 of 3", or empty; `note`: why it is asked.
  return async function drawBox(reference, where, note) {
    const known = await ask({ do: "framing", picture: reference.image, mask: reference.mask });
    if (known.error) return { how: "leave", box: null };
    job = known;
    picture.src = `studio/picture/${known.picture}?large`;
    crop.style.backgroundImage = `url("studio/picture/${known.picture}?large")`;
    write(place, where);
    sentence(hint, note);
    const answered = new Promise((resolve) => (finished = resolve)); // Enter may come before the picture
    dialog.showModal();
    put(known.box);
    box.focus();
    return answered;
  };
}
