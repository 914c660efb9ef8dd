// Two clips side by side, or one above the other on a narrow screen, kept in step by one control.

// comparePart(root): compare(one, other, captions); `captions` are two words for what they are, or nothing.
function comparePart(root) {
  const stage = h("div", { class: "compare-stage" });
  const under = h("div", {});
  const dialog = h(
    "dialog",
    { class: "wide-dialog compare", "aria-label": say("compare_title") },
    h("header", {}, h("h2", {}, say("compare_title")), h("button", { type: "button", class: "plain", onclick: () => dialog.close() }, say("close"))),
    stage,
    under,
    h("p", { class: "quiet keys" }, say("compare_keys")),
  );
  root.append(dialog);
  let reel = null;

  dialog.addEventListener("close", () => {
    if (dialog.open || !reel) return;
    reel.close();
    reel = null;
    fill(stage);
  });
  reelKeys(dialog, () => reel);

  return function compare(one, other, captions = []) {
    if (reel) reel.close();
    const named = new Map([
      [one, captions[0]],
      [other, captions[1]],
    ]);
    reel = reelPart([one, other], {
      caption: (clip) =>
        h(
          "figcaption",
          {},
          named.get(clip) && h("span", { class: "tag" }, named.get(clip)),
          h("h3", {}, clip.title),
          h("p", { class: "words" }, clip.prompt),
          clipFacts(clip),
        ),
    });
    fill(stage, reel.node);
    fill(under, reel.controls);
    if (!dialog.open) dialog.showModal();
    reel.controls.querySelector("button").focus();
    reel.begin();
  };
}
