// Pictures that come in: dropped anywhere, pasted, or chosen. Bad ones are named in a sentence, good ones are kept.

const MOST_AT_ONCE = 24;

// board: {busy(text), refuse(sentences)}. Returns what the server took in: [{picture, name, box, width, height}].
async function sendPictures(files, board) {
  const taken = [];
  const sentences = [];
  if (files.length > MOST_AT_ONCE) {
    sentences.push(say("drop_too_many", { count: files.length, most: MOST_AT_ONCE }));
    files = files.slice(0, MOST_AT_ONCE);
  }
  for (const [number, file] of files.entries()) {
    board.busy(files.length > 1 ? say("drop_adding_several", { number: number + 1, count: files.length }) : say("drop_adding"));
    let answer;
    if (file.type.startsWith("video/") || file.type.startsWith("audio/")) {
      answer = { error: say("drop_no_picture", { name: file.name }) };
    } else {
      try {
        const response = await fetch(`studio/pictures?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file, headers: { "Accept-Language": spoken } });
        answer = await response.json();
      } catch (error) {
        answer = { error: say("drop_not_sent", { name: file.name }) };
      }
    }
    if (answer.error) sentences.push(answer.error);
    else taken.push(answer);
  }
  board.busy("");
  board.refuse(sentences);
  return taken;
}

const isClipFile = (file) => file.type.startsWith("video/") || /\.(mp4|webm)$/i.test(file.name);

// The scene of a clip that is sent, or {error}.
async function sendClip(file) {
  try {
    const response = await fetch(`studio/scene?name=${encodeURIComponent(file.name)}`, { method: "POST", body: file, headers: { "Accept-Language": spoken } });
    return await response.json();
  } catch (error) {
    return { error: say("clip_not_sent", { name: file.name }) };
  }
}

// While files are dragged over the page every place that takes them shows itself; a drop anywhere else makes new people.
// `shared(files, onShelf)` takes the shared files among them, wherever they fall. Clips are opened wherever they are dropped:
// openClip(files, instead), and a gif that is none of ours is taken as a picture. So is the first of the folders:
// openFolder(folder, alone).
function dropPart(root, elsewhere, shared, openClip, openFolder) {
  let depth = 0;
  let target = null;
  const carries = (event) => event.dataTransfer && [...event.dataTransfer.types].includes("Files");

  function aim(event) {
    let node = event.target instanceof Element ? event.target : null;
    while (node && !node.dropFiles) node = node.parentElement;
    if (node !== target) {
      if (target) target.classList.remove("target");
      target = node;
      if (target) target.classList.add("target");
    }
  }

  function rest() {
    depth = 0;
    root.classList.remove("receiving");
    if (target) target.classList.remove("target");
    target = null;
  }

  window.addEventListener("dragenter", (event) => {
    if (!carries(event)) return;
    depth += 1;
    root.classList.add("receiving");
  });
  window.addEventListener("dragleave", (event) => {
    if (!carries(event)) return;
    depth -= 1;
    if (depth <= 0) rest();
  });
  window.addEventListener("dragover", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    aim(event);
  });
  window.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    aim(event);
    const take = target ? target.dropFiles : elsewhere;
    rest();
    const folders = droppedFolders(event.dataTransfer);
    if (folders.length) {
      openFolder(folders[0], event.dataTransfer.items.length === 1);
      return;
    }
    const all = [...event.dataTransfer.files];
    const scenes = all.filter((file) => SHARED_FILE.test(file.name));
    const files = all.filter((file) => !scenes.includes(file));
    if (scenes.length) shared(scenes, event.target instanceof Element && event.target.closest(".shelf") !== null);
    if (files.length && files.every(isClipFile)) openClip(files, null);
    else if (files.length === 1 && /\.gif$/i.test(files[0].name)) openClip(files, () => take(files));
    else if (files.length) take(files);
  });
  window.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData ? event.clipboardData.files : [])];
    if (!files.length || event.target.closest("input, textarea")) return;
    event.preventDefault();
    elsewhere(files);
  });
}
