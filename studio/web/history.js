// Undo and redo: a list of entries {name, scene, title, preset}. An entry never changes; its name stands for it on the server.

const MOST_STEPS = 200;
const PAGE_MARK = Math.floor(Math.random() * 16 ** 6).toString(16); // two pages never give the same name

function historyOf() {
  let past = [];
  let present = null;
  let future = [];
  let count = 0;

  const named = (entry) => ({ name: `${PAGE_MARK}-${(count += 1).toString(36)}-${Date.now().toString(36)}`, ...entry });

  return {
    get present() {
      return present;
    },
    get canUndo() {
      return past.length > 0;
    },
    get canRedo() {
      return future.length > 0;
    },
    push(entry) {
      if (present) past = [...past, present].slice(-MOST_STEPS);
      present = named(entry);
      future = [];
    },
    // for a letter of the same word: a step of its own for each would be no help
    replace(entry) {
      present = named(entry);
      future = [];
    },
    undo() {
      if (!past.length) return false;
      future = [...future, present];
      present = past[past.length - 1];
      past = past.slice(0, -1);
      return true;
    },
    redo() {
      if (!future.length) return false;
      past = [...past, present];
      present = future[future.length - 1];
      future = future.slice(0, -1);
      return true;
    },
    // Drops every step that `unwanted` says no to, and puts `entry` in the place of the present one.
    clean(entry, unwanted) {
      past = past.filter((one) => !unwanted(one));
      future = future.filter((one) => !unwanted(one));
      present = named(entry);
    },
    entries: () => [...past, present, ...future].filter(Boolean),
    names: () => ({ past: past.map((one) => one.name), present: present && present.name, future: future.map((one) => one.name) }),
    restore(names, entries) {
      const found = (list) => list.filter((name) => entries[name]).map((name) => ({ ...entries[name], name }));
      if (!entries[names.present]) return false;
      past = found(names.past);
      present = { ...entries[names.present], name: names.present };
      future = found(names.future);
      return true;
    },
  };
}
