// Building the page's nodes. Text only ever arrives as textContent: what a user typed is never parsed as markup.

function h(tag, props, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name in node && name !== "list" && name !== "form") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  add(node, children);
  return node;
}

function add(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

function fill(node, ...children) {
  node.replaceChildren();
  return add(node, children);
}

// Puts children in order without ever detaching the one that holds the focus: the others move around it.
function arrange(parent, children) {
  const pivot = children.findIndex((child) => child.parentNode === parent && child.contains(document.activeElement));
  for (const child of [...parent.children]) if (!children.includes(child)) child.remove();
  if (pivot < 0) {
    children.forEach((child, place) => {
      if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] || null);
    });
    return;
  }
  for (let place = pivot - 1; place >= 0; place -= 1) {
    if (children[place + 1].previousElementSibling !== children[place]) parent.insertBefore(children[place], children[place + 1]);
  }
  for (let place = pivot + 1; place < children.length; place += 1) {
    if (children[place - 1].nextElementSibling !== children[place]) parent.insertBefore(children[place], children[place - 1].nextElementSibling);
  }
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A sentence beside the thing it is about; empty hides it. Faults are announced, advice is not.
function sentence(node, text, kind) {
  node.textContent = text || "";
  node.hidden = !text;
  if (kind) node.className = kind;
}

let freshNumber = 0;
function freshId(stem) {
  freshNumber += 1;
  return `lx-${stem}-${freshNumber}`;
}

// A labelled control with room for a sentence under it.
function field(label, control, extra) {
  control.id = control.id || freshId("field");
  const advice = h("p", { class: "advice", id: freshId("advice"), hidden: true, role: "alert" });
  control.setAttribute("aria-describedby", advice.id);
  const node = h("div", { class: `field ${extra || ""}` }, h("label", { htmlFor: control.id }, label), control, advice);
  return {
    node,
    control,
    say(text) {
      sentence(advice, text);
      control.setAttribute("aria-invalid", text ? "true" : "false");
    },
  };
}

function timeLeft(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 4) return say("time_left_few");
  if (seconds < 90) return say("time_left_seconds", { count: Math.round(seconds) });
  if (seconds < 5400) return say("time_left_minutes", { count: Math.round(seconds / 60) });
  return say("time_left_hours", { count: (seconds / 3600).toFixed(1) });
}
