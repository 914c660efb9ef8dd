// The few choices beside the render button. Python names the legal values; what it refuses is said under the field it is about.

function settingsPart(engines) {
  const engine = field(
    say("settings_engine"),
    h("select", { onchange: engineChosen }),
    "wide",
  );
  const note = h("p", { class: "quiet wide" });
  const size = field(say("settings_size"), h("select", {}));
  const frames = field(say("settings_length"), h("select", {}));
  const steps = field(say("settings_steps"), h("input", { type: "number", min: 1, max: 200, step: 1, inputMode: "numeric" }));
  const keep = h("input", { type: "checkbox", onchange: seedKind });
  const seed = h("input", { type: "number", min: 0, step: 1, inputMode: "numeric", placeholder: say("settings_new_seed") });
  const seedField = field(say("settings_seed"), seed);
  const numbers = [1, 2, 3, 4, 5, 6, 7, 8].map((count) => sayCount("settings_count", count));
  const count = field(say("settings_how_many"), h("select", {}, numbers.map((title, place) => h("option", { value: String(place + 1) }, title))));
  const guidance = field(say("settings_guidance"), h("input", { type: "number", min: 0, max: 30, step: "any", inputMode: "decimal" }));
  const shift = field(say("settings_shift"), h("input", { type: "number", min: 0.1, max: 30, step: "any", inputMode: "decimal" }));
  const loras = lorasPart();
  const more = h(
    "details",
    { class: "more wide" },
    h("summary", {}, say("settings_more")),
    h("div", { class: "more-fields" }, guidance.node, shift.node, loras.node),
  );
  let lastSeed = ""; // of the render asked for last: ticking the box keeps what is on show
  const keepRow = h("label", { class: "check wide" }, keep, say("settings_keep_seed"));
  const fields = { engine, width: size, height: size, size, num_frames: frames, num_inference_steps: steps, guidance_scale: guidance, shift, loras, seed: seedField, count };

  function seedKind() {
    seed.disabled = !keep.checked;
    if (keep.checked) seed.value = lastSeed || String(Math.floor(Math.random() * 2147483647));
    else {
      lastSeed = seed.value || lastSeed;
      seed.value = ""; // what stands there instead: new each time
    }
  }

  function offer(select, list, chosen) {
    fill(select, list.map((one) => h("option", { value: one.value }, one.title)));
    select.value = chosen;
    if (select.value !== chosen) {
      // a value of an opened clip that is not on the list stays what it is
      select.append(h("option", { value: chosen }, chosen));
      select.value = chosen;
    }
  }

  function engineChosen(_event, wish) {
    const info = engines.find((one) => one.name === engine.control.value);
    const values = wish || info.defaults;
    offer(size.control, info.sizes, `${values.width}x${values.height}`);
    offer(frames.control, info.frames, String(values.num_frames));
    steps.control.value = String(values.num_inference_steps);
    guidance.control.value = numberOf(values.guidance_scale, info.defaults.guidance_scale);
    shift.control.value = numberOf(values.shift, info.defaults.shift);
    loras.offer(info.loras, values.loras || []);
    if (Number(guidance.control.value) !== info.defaults.guidance_scale || Number(shift.control.value) !== info.defaults.shift || loras.read().length) more.open = true;
    note.textContent = info.note;
    silence();
  }

  // what an older draft does not say is the engine's own
  function numberOf(value, usual) {
    return String(value === undefined || value === null ? usual : value);
  }

  function listEngines() {
    const chosen = engine.control.value;
    fill(engine.control, engines.map((one) => h("option", { value: one.name, disabled: !one.available }, one.title)));
    if (chosen) engine.control.value = chosen;
  }

  function silence() {
    for (const one of Object.values(fields)) one.say("");
  }

  listEngines();
  const first = engines.find((one) => one.available) || engines[0];
  engine.control.value = first.name;
  engineChosen();
  seedKind();

  return {
    node: h(
      "div",
      { class: "settings", role: "group", "aria-label": say("settings_title") },
      engine.node, note, size.node, frames.node, steps.node, count.node, seedField.node, keepRow, more,
    ),
    read() {
      const [width, height] = size.control.value.split("x").map(Number);
      return {
        engine: engine.control.value,
        width,
        height,
        num_frames: Number(frames.control.value),
        num_inference_steps: steps.control.value === "" ? null : Number(steps.control.value),
        guidance_scale: guidance.control.value === "" ? null : Number(guidance.control.value),
        shift: shift.control.value === "" ? null : Number(shift.control.value),
        loras: loras.read(),
        seed: keep.checked && seed.value !== "" ? seed.value : null, // as text: numbers here cannot hold every seed
      };
    },
    count: () => Number(count.control.value),
    // one waiting render is being changed: there is nothing to multiply
    single(alone) {
      count.control.disabled = alone;
      if (alone) count.control.value = "1";
    },
    write(settings) {
      const info = engines.find((one) => one.name === settings.engine && one.available);
      if (info) {
        engine.control.value = info.name;
        engineChosen(null, settings);
      }
      this.keepSeed(settings.seed);
    },
    // Engines came or went; what is chosen stays chosen.
    offerEngines(list) {
      engines = list;
      listEngines();
      loras.offer(engines.find((one) => one.name === engine.control.value).loras, loras.read());
    },
    keepSeed(number) {
      keep.checked = number !== null && number !== undefined;
      if (keep.checked) lastSeed = String(number);
      seedKind();
    },
    drawn(number) {
      if (!keep.checked) lastSeed = number;
    },
    say(name, text) {
      silence();
      if (!text) return true;
      if (!(name in fields)) return false;
      fields[name].say(text);
      if (more.contains(fields[name].node)) more.open = true;
      fields[name].control.focus();
      return true;
    },
  };
}
