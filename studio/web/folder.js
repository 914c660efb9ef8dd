// A folder with a scene in it, picked or dropped: its files are sent with their paths, the folder's own name first.

const FOLDER_FILES = 128; // what the studio takes in one folder, see studio/routes.py
const FOLDER_BYTES = 256 * 2 ** 20;
const FOLDER_LOOKS = 8 * FOLDER_FILES; // folders may hold nothing but folders

// The folders among what is dropped; to be asked for while the drop is told, later the browser knows nothing of it.
function droppedFolders(transfer) {
  const entries = [...transfer.items].map((item) => (item.webkitGetAsEntry ? item.webkitGetAsEntry() : null));
  return entries.filter((entry) => entry && entry.isDirectory);
}

// Everything in one folder. A browser tells it in portions, the last of which is empty.
async function entriesIn(folder) {
  const reader = folder.createReader();
  const found = [];
  for (;;) {
    const portion = await new Promise((done, failed) => reader.readEntries(done, failed));
    found.push(...portion);
    if (!portion.length || found.length > FOLDER_LOOKS) return found;
  }
}

// {files: [{path, file}]} of a dropped folder and the folders in it, or {error}: no more is read than may be sent.
async function filesIn(folder) {
  const files = [];
  const waiting = [folder];
  let bytes = 0;
  let looks = 0;
  try {
    while (waiting.length) {
      for (const entry of await entriesIn(waiting.shift())) {
        looks += 1;
        if (entry.isDirectory) waiting.push(entry);
        else {
          const file = await new Promise((done, failed) => entry.file(done, failed));
          files.push({ path: entry.fullPath.replace(/^\//, ""), file });
          bytes += file.size;
        }
        if (files.length > FOLDER_FILES || looks > FOLDER_LOOKS) return { error: say("folder_too_many", { most: FOLDER_FILES }) };
        if (bytes > FOLDER_BYTES) return { error: say("folder_too_large", { most: FOLDER_BYTES / 2 ** 20 }) };
      }
    }
  } catch (error) {
    return { error: say("folder_not_read", { name: folder.name }) };
  }
  return { files };
}

// The scene of a folder whose files are sent, or {error}.
async function sendFolder(files) {
  const form = new FormData();
  for (const { path, file } of files) {
    form.append("path", path);
    form.append("file", file);
  }
  try {
    const response = await fetch("studio/folder", { method: "POST", body: form, headers: { "Accept-Language": spoken } });
    return await response.json();
  } catch (error) {
    return { error: say("presets_not_sent") };
  }
}
