// The canvas of the cutter: shows a picture with its mask, zooms and pans, and turns pointers and keys into gestures.
// Gestures are in px of the whole picture, upright, whatever the size of the copy on show, the zoom or the screen's pixels.

function cutterStage(onStep) {
  const canvas = h("canvas", { tabIndex: 0, role: "application" });
  const pen = canvas.getContext("2d");
  // What lies on the screen until the place or the mask changes is drawn once, and copied whenever the pointer moves.
  const ground = document.createElement("canvas"); // the picture
  const cover = document.createElement("canvas"); // the veil over what is not kept, and the line around what is
  const edge = document.createElement("canvas");
  const shape = document.createElement("canvas"); // the mask: scaled once, then copied
  let laid = { place: "", mask: null }; // what ground and cover show
  let picture = null; // {image, width, height}
  let mask = null; // {image, box}: box is its part of the picture's image, in px of that
  let steps = [];
  let pending = []; // strokes that the mask on show does not know yet
  let at = { scale: 1, x: 0, y: 0 }; // page px = picture px × scale + (x, y), from the canvas's corner
  let fitted = true;
  let tool = "keep";
  let brush = 18; // radius in page px
  let drag = null; // what the pointer does now
  let cross = null; // the keyboard's place, in px of the picture
  let corner = null; // the first corner of a box set by keyboard
  let hover = null;
  let [space, spacePanned] = [false, false];
  let asked = false;
  let afterPaint = [];
  const fingers = new Map();

  // -- places ----------------------------------------------------------------------------------------------------------------

  const size = () => ({ width: canvas.clientWidth, height: canvas.clientHeight });
  const round = (value) => Math.round(value * 100) / 100;
  const toPicture = (spot) => ({ x: round((spot.x - at.x) / at.scale), y: round((spot.y - at.y) / at.scale) });
  const toPage = (spot) => ({ x: spot.x * at.scale + at.x, y: spot.y * at.scale + at.y });
  const inside = (spot) => picture && spot.x >= 0 && spot.y >= 0 && spot.x <= picture.width && spot.y <= picture.height;

  function spotOf(event) {
    const box = canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  function fit() {
    if (!picture) return;
    const { width, height } = size();
    const scale = Math.max(Math.min((width - 24) / picture.width, (height - 24) / picture.height), 1e-4);
    at = { scale, x: (width - picture.width * scale) / 2, y: (height - picture.height * scale) / 2 };
    fitted = true;
    draw();
  }

  function zoom(factor, spot) {
    if (!picture) return;
    const { width, height } = size();
    const whole = Math.min(width / picture.width, height / picture.height);
    const scale = Math.min(Math.max(at.scale * factor, whole * 0.5), Math.max(16, whole));
    const about = spot || { x: width / 2, y: height / 2 };
    const real = scale / at.scale;
    place({ scale, x: about.x - (about.x - at.x) * real, y: about.y - (about.y - at.y) * real });
  }

  // The picture never leaves the canvas altogether.
  function place(next) {
    const { width, height } = size();
    const margin = 40;
    next.x = Math.min(Math.max(next.x, margin - picture.width * next.scale), width - margin);
    next.y = Math.min(Math.max(next.y, margin - picture.height * next.scale), height - margin);
    at = next;
    fitted = false;
    draw();
  }

  // -- drawing ---------------------------------------------------------------------------------------------------------------

  function draw() {
    if (!asked) requestAnimationFrame(paint);
    asked = true;
  }

  function paint() {
    asked = false;
    const dense = window.devicePixelRatio || 1;
    const { width, height } = size();
    if (!width || !height) return;
    const [across, down] = [Math.round(width * dense), Math.round(height * dense)];
    if (canvas.width !== across || canvas.height !== down) Object.assign(canvas, { width: across, height: down });
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, across, down);
    if (picture) {
      lay(across, down, dense);
      pen.drawImage(ground, 0, 0);
      if (mask) pen.drawImage(cover, 0, 0);
      pen.setTransform(dense, 0, 0, dense, 0, 0);
      paintStrokes();
      paintMarks();
    }
    for (const done of afterPaint.splice(0)) done();
  }

  function place2d(target, dense) {
    target.setTransform(dense * at.scale, 0, 0, dense * at.scale, dense * at.x, dense * at.y);
  }

  // What draws on a canvas that is of this size now, and empty.
  function emptied(one, width, height) {
    return Object.assign(one, { width, height }).getContext("2d");
  }

  function lay(across, down, dense) {
    const place = [across, down, at.scale, at.x, at.y].join(" ");
    if (place === laid.place && mask === laid.mask) return;
    if (place !== laid.place) {
      const under = emptied(ground, across, down);
      place2d(under, dense);
      under.imageSmoothingEnabled = at.scale * dense < 3;
      under.drawImage(picture.image, 0, 0, picture.width, picture.height);
    }
    if (mask) layCover(across, down, dense);
    laid = { place, mask };
  }

  function layCover(across, down, dense) {
    const shade = emptied(cover, across, down);
    place2d(shade, dense);
    shade.beginPath();
    shade.rect(0, 0, picture.width, picture.height);
    shade.clip();
    shade.fillStyle = "rgb(16 15 14 / 64%)";
    shade.fillRect(0, 0, picture.width, picture.height);
    shade.setTransform(1, 0, 0, 1, 0, 0);
    // the part of the screen with the mask and the line around it, in whole pixels
    const [wide, margin] = [1.5 * dense, Math.ceil(1.5 * dense) + 1];
    // screen px per px of the picture's image: across, down
    const real = [picture.width / picture.image.width, picture.height / picture.image.height].map((one) => one * at.scale * dense);
    const [left, top, width, height] = mask.box.map((value, place) => value * real[place % 2]);
    const [x, y] = [dense * at.x + left, dense * at.y + top];
    const [x0, y0] = [Math.max(Math.floor(x) - margin, 0), Math.max(Math.floor(y) - margin, 0)];
    const [x1, y1] = [Math.min(Math.ceil(x + width) + margin, across), Math.min(Math.ceil(y + height) + margin, down)];
    if (x1 <= x0 || y1 <= y0) return;
    const how = { imageSmoothingQuality: real[0] < 0.4 ? "medium" : "low" }; // far out, "low" would miss what is narrow
    Object.assign(emptied(shape, x1 - x0, y1 - y0), how).drawImage(mask.image, x - x0, y - y0, width, height);
    const line = emptied(edge, x1 - x0, y1 - y0);
    for (let turn = 0; turn < 8; turn += 1) {
      line.drawImage(shape, wide * Math.cos((turn * Math.PI) / 4), wide * Math.sin((turn * Math.PI) / 4));
    }
    line.globalCompositeOperation = "destination-out";
    line.drawImage(shape, 0, 0);
    line.globalCompositeOperation = "source-in";
    line.fillStyle = "#ffd24a";
    line.fillRect(0, 0, edge.width, edge.height);
    shade.globalCompositeOperation = "destination-out";
    shade.drawImage(shape, x0, y0);
    shade.globalCompositeOperation = "source-over";
    shade.drawImage(edge, x0, y0);
  }

  function paintStrokes() {
    const live = drag && drag.points ? [...pending, ["stroke", drag.radius, drag.add, drag.points]] : pending;
    for (const [, radius, added, points] of live) {
      pen.beginPath();
      for (let i = 0; i < points.length; i += 2) {
        const spot = toPage({ x: points[i], y: points[i + 1] });
        if (i) pen.lineTo(spot.x, spot.y);
        else pen.moveTo(spot.x, spot.y);
      }
      if (points.length === 2) pen.lineTo(toPage({ x: points[0], y: points[1] }).x + 0.01, toPage({ x: points[0], y: points[1] }).y);
      Object.assign(pen, { lineCap: "round", lineJoin: "round", lineWidth: 2 * radius * at.scale });
      pen.strokeStyle = added ? "rgb(255 210 74 / 60%)" : "rgb(16 15 14 / 70%)";
      pen.stroke();
    }
  }

  function paintMarks() {
    for (const step of steps) {
      if (step[0] === "click") paintClick(toPage({ x: step[1], y: step[2] }), step[3]);
      else if (step[0] === "box") paintBox(toPage({ x: step[1], y: step[2] }), toPage({ x: step[3], y: step[4] }), 0.55);
    }
    if (drag && drag.box) paintBox(drag.from, drag.to, 1);
    if (corner && cross) paintBox(toPage(corner), toPage(cross), 1);
    const brushing = tool === "brush" || tool === "eraser";
    const spot = cross ? toPage(cross) : hover;
    if (spot && brushing) ring(spot, brush, tool === "eraser");
    if (cross) paintCross(toPage(cross));
  }

  function paintClick(spot, kept) {
    pen.beginPath();
    pen.arc(spot.x, spot.y, 8, 0, 2 * Math.PI);
    Object.assign(pen, { fillStyle: kept ? "#ffffff" : "#211f1c", strokeStyle: kept ? "#211f1c" : "#ffffff", lineWidth: 2 });
    pen.fill();
    pen.stroke();
    pen.beginPath(); // a plus keeps, a minus leaves out
    pen.moveTo(spot.x - 4, spot.y);
    pen.lineTo(spot.x + 4, spot.y);
    if (kept) {
      pen.moveTo(spot.x, spot.y - 4);
      pen.lineTo(spot.x, spot.y + 4);
    }
    pen.stroke();
  }

  function paintBox(from, to, alpha) {
    pen.save();
    pen.globalAlpha = alpha;
    for (const [colour, shift] of [["#211f1c", 5], ["#ffffff", 0]]) {
      Object.assign(pen, { strokeStyle: colour, lineWidth: 1.5, lineDashOffset: shift });
      pen.setLineDash([5, 5]);
      pen.strokeRect(Math.min(from.x, to.x), Math.min(from.y, to.y), Math.abs(to.x - from.x), Math.abs(to.y - from.y));
    }
    pen.restore();
  }

  function ring(spot, radius, dashed) {
    pen.save();
    pen.setLineDash(dashed ? [4, 3] : []);
    for (const [colour, width] of [["rgb(16 15 14 / 80%)", 3], ["#ffffff", 1.5]]) {
      pen.beginPath();
      pen.arc(spot.x, spot.y, radius, 0, 2 * Math.PI);
      Object.assign(pen, { strokeStyle: colour, lineWidth: width });
      pen.stroke();
    }
    pen.restore();
  }

  function paintCross(spot) {
    for (const [colour, width] of [["rgb(16 15 14 / 80%)", 4], ["#ffffff", 2]]) {
      pen.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        pen.moveTo(spot.x + 4 * dx, spot.y + 4 * dy);
        pen.lineTo(spot.x + 14 * dx, spot.y + 14 * dy);
      }
      Object.assign(pen, { strokeStyle: colour, lineWidth: width });
      pen.stroke();
    }
  }

  // -- pointers --------------------------------------------------------------------------------------------------------------

  function act(spot, other) {
    const place = toPicture(spot);
    if (tool === "brush" || tool === "eraser") onStep(["stroke", round(brush / at.scale), (tool === "brush") !== other, [place.x, place.y]]);
    else if (inside(place)) onStep(["click", place.x, place.y, (tool === "keep") !== other]);
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!picture) return;
    canvas.focus();
    canvas.setPointerCapture(event.pointerId);
    const spot = spotOf(event);
    cross = null;
    corner = null;
    if (event.pointerType === "touch") {
      fingers.set(event.pointerId, spot);
      if (fingers.size === 2) {
        drag = null; // what one finger began was the start of a pinch
        draw();
        return;
      }
      if (fingers.size > 2) return;
    }
    const other = event.button === 2 || event.altKey;
    if (event.button === 1 || space) {
      drag = { pan: true, from: spot, start: { ...at } };
      spacePanned = space;
    } else if (tool === "brush" || tool === "eraser") {
      const place = toPicture(spot);
      drag = { points: [place.x, place.y], last: spot, radius: round(brush / at.scale), add: (tool === "brush") !== other };
    } else drag = { from: spot, to: spot, other, box: false };
    event.preventDefault();
    draw();
  });

  canvas.addEventListener("pointermove", (event) => {
    const spot = spotOf(event);
    hover = event.pointerType === "touch" ? null : spot;
    if (fingers.has(event.pointerId)) {
      if (fingers.size === 2) pinch(event.pointerId, spot);
      fingers.set(event.pointerId, spot);
    }
    if (drag && drag.pan) place({ scale: drag.start.scale, x: drag.start.x + spot.x - drag.from.x, y: drag.start.y + spot.y - drag.from.y });
    else if (drag && drag.points) {
      if (Math.hypot(spot.x - drag.last.x, spot.y - drag.last.y) >= 1.5) {
        const next = toPicture(spot);
        drag.points.push(next.x, next.y);
        drag.last = spot;
      }
    } else if (drag) {
      drag.to = spot;
      drag.box = drag.box || (tool === "keep" && !drag.other && Math.hypot(spot.x - drag.from.x, spot.y - drag.from.y) > 5);
    }
    draw();
  });

  function pinch(id, spot) {
    const [resting] = [...fingers].filter(([one]) => one !== id).map(([, where]) => where);
    const before = fingers.get(id);
    const apart = (one) => Math.max(Math.hypot(one.x - resting.x, one.y - resting.y), 10);
    const middle = { x: (before.x + resting.x) / 2, y: (before.y + resting.y) / 2 };
    zoom(apart(spot) / apart(before), middle);
    place({ scale: at.scale, x: at.x + (spot.x - before.x) / 2, y: at.y + (spot.y - before.y) / 2 });
  }

  function lift(event, cancelled) {
    fingers.delete(event.pointerId);
    const done = drag;
    drag = null;
    draw();
    if (!done || done.pan || cancelled) return;
    if (done.points) onStep(["stroke", done.radius, done.add, done.points]);
    else if (done.box) {
      const [from, to] = [toPicture(done.from), toPicture(done.to)];
      onStep(["box", from.x, from.y, to.x, to.y]);
    } else act(done.from, done.other);
  }

  canvas.addEventListener("pointerup", (event) => lift(event, false));
  canvas.addEventListener("pointercancel", (event) => lift(event, true));
  canvas.addEventListener("pointerleave", () => {
    hover = null;
    draw();
  });
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      if (!picture) return;
      const lines = event.deltaMode === 1 ? 16 : 1;
      zoom(Math.exp((-event.deltaY * lines) / 400), spotOf(event));
    },
    { passive: false },
  );

  // -- keys ------------------------------------------------------------------------------------------------------------------

  canvas.addEventListener("keydown", (event) => {
    if (!picture) return;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (step) {
      const far = (event.shiftKey ? 40 : 8) / at.scale;
      const from = cross || toPicture({ x: size().width / 2, y: size().height / 2 });
      cross = { x: Math.min(Math.max(from.x + step[0] * far, 0), picture.width), y: Math.min(Math.max(from.y + step[1] * far, 0), picture.height) };
    } else if (event.key === " ") {
      if (!event.repeat) [space, spacePanned] = [true, false];
    } else if (event.key === "b" && cross) {
      if (corner) onStep(["box", corner.x, corner.y, cross.x, cross.y]);
      corner = corner ? null : { ...cross };
    } else return;
    event.preventDefault();
    draw();
  });
  canvas.addEventListener("keyup", (event) => {
    if (event.key !== " ") return;
    if (space && !spacePanned && cross) act(toPage(cross), false);
    space = false;
    event.preventDefault();
  });
  canvas.addEventListener("blur", () => (space = false));

  const watcher = new ResizeObserver(() => (fitted ? fit() : draw()));
  watcher.observe(canvas);

  return {
    node: canvas,
    fit,
    zoom,
    open(image, width, height) {
      picture = { image, width, height };
      fit();
    },
    // Shows a mask, or null, with the gestures that made it; strokes made since then are drawn over it until theirs comes.
    show(next, known) {
      if (mask) mask.image.close(); // ten megabytes need not wait to be collected
      mask = next;
      pending = steps.slice(known.every((step, place) => step === steps[place]) ? known.length : steps.length).filter((step) => step[0] === "stroke");
      return new Promise((done) => {
        afterPaint.push(done);
        draw();
      });
    },
    mark(list) {
      const added = list.length === steps.length + 1 ? list[list.length - 1] : null;
      pending = added && added[0] === "stroke" ? [...pending, added] : pending.filter((step) => list.includes(step));
      steps = list;
      draw();
    },
    choose(name) {
      tool = name;
      corner = null;
      canvas.style.cursor = name === "brush" || name === "eraser" ? "none" : "crosshair";
      draw();
    },
    brush(radius) {
      brush = radius;
      draw();
    },
    close: () => watcher.disconnect(),
  };
}
