// What the pictures on the board cost in time and memory: one quiet line, asked for when their number or the settings change.

const COST_PAUSE_MS = 250;

function costPart(ask) {
  const node = h("p", { class: "quiet cost", hidden: true });
  let asked = "";
  let timer = null;

  async function look(message, key) {
    const answer = await ask(message);
    if (key === asked && !answer.gone) sentence(node, answer.error ? "" : answer.text);
  }

  return {
    node,
    update(references, settings) {
      const message = { do: "cost", references, settings };
      const key = JSON.stringify(message);
      if (key === asked) return;
      asked = key;
      clearTimeout(timer);
      timer = setTimeout(() => look(message, key), COST_PAUSE_MS);
    },
    // a render that ended has shown how quick this machine is
    renew() {
      if (asked) look(JSON.parse(asked), asked);
    },
  };
}
