// The LoRAs of the next render: a row for each that is chosen, and an empty one to choose one more.

const MOST_LORAS = 4;

function lorasPart() {
  const list = h("div", { class: "loras-rows" });
  const none = h("p", { class: "quiet", tabIndex: -1 }, say("loras_none"));
  const advice = h("p", { class: "advice", hidden: true, role: "alert" });
  const node = h("div", { class: "field wide loras", role: "group", "aria-label": say("loras_title") }, h("span", { class: "caption" }, say("loras_title")), list, none, advice);
  const names = new Map(); // by digest
  let offered = [];
  let rows = [];

  function rowOf(chosen) {
    const known = chosen && offered.some((one) => one.digest === chosen.digest);
    const select = h(
      "select",
      { "aria-label": say("lora_choose"), onchange: changed },
      h("option", { value: "" }, say("lora_without")),
      offered.map((one) => h("option", { value: one.digest }, one.name)),
      // named by a clip or a draft, and not on this machine: it stays chosen until somebody decides
      chosen && !known && h("option", { value: chosen.digest }, say("lora_not_here", { name: chosen.name })),
    );
    const strength = h("input", { type: "number", min: -4, max: 4, step: "any", inputMode: "decimal", title: say("lora_strength"), "aria-label": say("lora_strength") });
    select.value = chosen ? chosen.digest : "";
    strength.value = chosen ? numberText(chosen.strength) : "1";
    strength.hidden = !chosen;
    return { node: h("div", { class: "loras-row" }, select, strength), select, strength };

    function changed() {
      sentence(advice, "");
      strength.hidden = !select.value;
      settle();
      if (!select.isConnected) (rows.length ? rows[rows.length - 1].select : none).focus();
    }
  }

  // Those that are chosen, and an empty row behind them while there may be one more.
  function settle() {
    const empty = rows.filter((one) => !one.select.value);
    rows = rows.filter((one) => one.select.value);
    if (rows.length < MOST_LORAS && offered.length) rows.push(empty.pop() || rowOf(null));
    arrange(list, rows.map((one) => one.node));
    none.hidden = rows.length > 0;
  }

  function numberText(value) {
    return value === null ? "" : String(value);
  }

  return {
    node,
    get control() {
      return rows.length ? rows[0].select : none;
    },
    say(text) {
      sentence(advice, text);
    },
    // Which there are for the engine, and which of them are chosen.
    offer(all, chosen) {
      offered = all;
      for (const one of [...chosen, ...offered]) names.set(one.digest, one.name);
      rows = chosen.map(rowOf);
      settle();
    },
    read: () =>
      rows
        .filter((one) => one.select.value)
        .map((one) => ({
          name: names.get(one.select.value),
          digest: one.select.value,
          strength: one.strength.value === "" ? null : Number(one.strength.value),
        })),
  };
}
