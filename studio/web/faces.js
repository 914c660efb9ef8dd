// Faces in pictures that come in: where the studio has a detector each face becomes a card; elsewhere a box is drawn by hand.

// taken: what the server took in, see `sendPictures`. Returns one entry per face: {picture, name, box, sure, note}; `sure`
// says that no box need be asked for, `note` why it is asked for. `one`: only the largest face of each picture.
async function facesOf(ask, taken, one, board) {
  const found = [];
  const notes = [];
  for (const [number, item] of taken.entries()) {
    board.busy(taken.length > 1 ? say("faces_looking_several", { number: number + 1, count: taken.length }) : say("faces_looking"));
    const answer = await ask({ do: "find_faces", picture: item.picture, one });
    const boxes = answer.boxes || [];
    if (boxes.length) {
      // a group shares one file name, which is nobody's name
      found.push(...boxes.map((box) => ({ picture: item.picture, name: boxes.length > 1 ? "" : item.name, box, sure: true, note: "" })));
      if (answer.note) notes.push(answer.note);
    } else {
      const whole = item.box[0] === 0 && item.box[1] === 0 && item.box[2] === item.width && item.box[3] === item.height;
      // a small picture in the shape of a portrait is a crop already; a face that is exchanged is always asked about
      found.push({ picture: item.picture, name: item.name, box: item.box, sure: whole && !one, note: answer.error || answer.note || "" });
    }
  }
  board.busy("");
  if (notes.length) board.tell(notes);
  return found;
}

// Said once where faces are added; put away for good by one click.
function consentPart(ask) {
  const node = h(
    "p",
    { class: "consent", role: "note", hidden: true },
    h("span", {}, say("faces_consent")),
    h(
      "button",
      {
        type: "button",
        class: "plain",
        onclick: async () => {
          node.hidden = true;
          await ask({ do: "notice_seen", name: "consent" });
        },
      },
      say("faces_understood"),
    ),
  );
  ask({ do: "notices" }).then((answer) => {
    node.hidden = Boolean(answer.error) || answer.seen.includes("consent");
  });
  return node;
}
