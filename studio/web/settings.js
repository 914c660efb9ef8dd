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
  const finer = {
    guidance_scale: number("settings_guidance", 0, 30),
    relation_guidance: number("settings_relation_guidance", 0, 10),
    binding_strength: number("settings_binding", 0, 4),
    shift: number("settings_shift", 0.1, 30),
    guided_share: number("settings_guided_share", 0, 1),
  };
  const loras = lorasPart();
  const more = h(
    "details",
    { class: "more wide" },
    h("summary", {}, say("settings_more")),
    h(
      "div",
      { class: "more-fields" },
      finer.guidance_scale.node, finer.relation_guidance.node, finer.binding_strength.node, finer.shift.node, loras.node,
    ),
  );
  let lastSeed = ""; // of the render asked for last: ticking the box keeps what is on show
  const keepRow = h("label", { class: "check wide" }, keep, say("settings_keep_seed"));
  const caches = { none: say("settings_cache_none"), "first-block": say("settings_cache_first"), magnitude: say("settings_cache_magnitude") };
  const usual = { "first-block": "0.05", magnitude: "0.06" }; // a draft that can hardly be told from the full render
  const cache = field(
    say("settings_cache"),
    h("select", { onchange: cacheChosen }, Object.entries(caches).map(([value, title]) => h("option", { value }, title))),
    "wide",
  );
  const share = field(say("settings_cache_share"), h("input", { type: "number", min: 0.01, max: 1, step: 0.01, inputMode: "decimal" }));
  const drafts = h(
    "details",
    { class: "wide drafts" },
    h("summary", {}, say("settings_drafts")),
    h("p", { class: "quiet" }, say("settings_drafts_about")),
    cache.node, share.node, finer.guided_share.node,
  );
  const fields = { ...finer, step_cache_kind: cache, step_cache: share, loras, engine, width: size, height: size, size, num_frames: frames, num_inference_steps: steps, seed: seedField, count };

  function number(title, min, max) {
    return field(say(title), h("input", { type: "number", min, max, step: "any", inputMode: "decimal" }));
  }

  function seedKind() {
    seed.disabled = !keep.checked;
    if (keep.checked) seed.value = lastSeed || String(Math.floor(Math.random() * 2147483647));
    else {
      lastSeed = seed.value || lastSeed;
      seed.value = ""; // what stands there instead: new each time
    }
  }

  function cacheChosen() {
    share.node.hidden = cache.control.value === "none";
    share.control.value = usual[cache.control.value] || "";
    silence();
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
    cache.control.value = values.step_cache ? values.step_cache_kind : "none";
    cacheChosen();
    if (values.step_cache) {
      share.control.value = String(values.step_cache);
      drafts.open = true;
    }
    for (const [name, one] of Object.entries(finer)) {
      // what an older draft does not say is the engine's own
      const value = values[name] ?? info.defaults[name];
      one.control.value = String(value);
      if (value !== info.defaults[name]) (drafts.contains(one.node) ? drafts : more).open = true;
    }
    loras.offer(info.loras, values.loras || []);
    if (loras.read().length) more.open = true;
    note.textContent = info.note;
    silence();
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
      engine.node, note, size.node, frames.node, steps.node, count.node, seedField.node, keepRow, more, drafts,
    ),
    read() {
      const kind = cache.control.value;
      const [width, height] = size.control.value.split("x").map(Number);
      return {
        engine: engine.control.value,
        width,
        height,
        num_frames: Number(frames.control.value),
        num_inference_steps: steps.control.value === "" ? null : Number(steps.control.value),
        step_cache: kind === "none" ? 0 : share.control.value === "" ? null : Number(share.control.value),
        step_cache_kind: kind === "none" ? "first-block" : kind,
        ...Object.fromEntries(Object.entries(finer).map(([name, one]) => [name, one.control.value === "" ? null : Number(one.control.value)])),
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
      for (const fold of [more, drafts]) fold.open = fold.open || fold.contains(fields[name].node);
      fields[name].control.focus();
      return true;
    },
  };
}
