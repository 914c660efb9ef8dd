// One small menu for the whole page, beside the button that opened it. Made anew each time, so it never shows old names.

function menuPart(root) {
  const node = h("div", { class: "menu", role: "menu", popover: "auto" });
  let opener = null;
  root.append(node);

  node.addEventListener("keydown", (event) => {
    const all = [...node.querySelectorAll("button:not(:disabled), select")];
    const at = all.indexOf(document.activeElement);
    const steps = { ArrowDown: at + 1, ArrowUp: at - 1 + all.length, Home: 0, End: all.length - 1 };
    if (event.target.tagName === "SELECT" && event.key !== "Escape") return;
    if (!(event.key in steps) || !all.length) return;
    event.preventDefault();
    all[steps[event.key] % all.length].focus();
  });
  node.addEventListener("toggle", (event) => {
    if (event.newState === "closed" && opener) opener.setAttribute("aria-expanded", "false");
  });

  function close(focus = true) {
    if (node.matches(":popover-open")) node.hidePopover();
    if (focus && opener && opener.isConnected) opener.focus();
  }

  function entry(item) {
    if (!item) return null;
    if (item.options) {
      const select = h(
        "select",
        {
          onchange: () => {
            close();
            item.run(select.value);
          },
        },
        h("option", { value: "", selected: true, disabled: true }, item.prompt || say("menu_choose")),
        item.options.map((one) => h("option", { value: one.value, disabled: one.disabled }, one.title)),
      );
      select.setAttribute("aria-label", item.title);
      return h("label", { class: "menu-choice" }, h("span", {}, item.title), select);
    }
    return h(
      "button",
      {
        type: "button",
        role: "menuitem",
        disabled: item.disabled,
        class: item.danger ? "danger" : "",
        onclick: () => {
          close();
          item.run();
        },
      },
      item.picture && h("img", { src: item.picture, alt: "", draggable: false }),
      h("span", {}, item.title),
    );
  }

  return function openMenu(button, items, label) {
    opener = button;
    fill(node, items.map(entry));
    node.setAttribute("aria-label", label || say("menu_options"));
    button.setAttribute("aria-expanded", "true");
    node.showPopover();
    node.style.left = node.style.top = "8px"; // near the edge it would be measured narrower than it becomes
    const from = button.getBoundingClientRect();
    const [width, height] = [node.offsetWidth, node.offsetHeight];
    const below = from.bottom + 4 + height <= innerHeight || from.top < height;
    node.style.left = `${Math.max(8, Math.min(from.left, innerWidth - width - 8))}px`;
    node.style.top = `${Math.max(8, below ? Math.min(from.bottom + 4, innerHeight - height - 8) : from.top - height - 4)}px`;
    const first = node.querySelector("button:not(:disabled), select");
    if (first) first.focus();
  };
}
