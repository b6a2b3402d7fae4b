// What a person answered, and the steps to take back. The page's data are read-only; all that changes is here.

const OPEN = -2; // no answer yet
const NOTHING = -1; // an answer: none of the labels
const MOST_STEPS = 200; // that can be undone

// Shows a text from outside: what would steer the direction of writing or is invisible appears as its code.
function shown(text) {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu, (one) => "\\u" + one.codePointAt(0).toString(16).padStart(4, "0"));
}

// The labels, which may be added to, and for each image the position of its answer, or OPEN or NOTHING.
class Answers {
  constructor(data) {
    const count = data.names.length;
    this.labels = [...data.labels];
    this.positions = new Map(this.labels.map((label, position) => [label, position]));
    this.value = new Int32Array(count).fill(OPEN);
    this.wrong = new Uint8Array(count); // marked as wrong, to be labelled later
    this.stamp = new Float64Array(count); // when it was changed last, on a clock that all tabs share
    this.clock = 0;
    this.tab = Math.floor(1 + 9998 * Math.random()) / 1e4; // breaks ties between tabs
    this.undone = [];
    this.done = [];
    this.keep = () => {}; // is given the images that a person changed
    this.show = () => {}; // is given all that have changed, also in another tab
    this.answered = 0;
    for (const [item, label] of Object.entries(data.answers)) this.put(Number(item), this.position(label), 0);
  }

  // The position of a label, which is added if it is new; that of an empty one is NOTHING.
  position(label) {
    if (label === "") return NOTHING;
    if (!this.positions.has(label)) {
      this.positions.set(label, this.labels.length);
      this.labels.push(label);
    }
    return this.positions.get(label);
  }

  text(value) {
    return value < 0 ? "" : this.labels[value];
  }

  put(item, value, wrong) {
    this.answered += (value !== OPEN) - (this.value[item] !== OPEN);
    this.value[item] = value;
    this.wrong[item] = wrong;
  }

  // Changes images, each [item, value, wrong], in one step that can be undone; `cell` is where to return to.
  change(changes, cell) {
    const real = changes.filter(([item, value, wrong]) => this.value[item] !== value || this.wrong[item] !== wrong);
    if (real.length === 0) return false;
    const before = real.map(([item]) => [item, this.value[item], this.wrong[item]]);
    this.write(real);
    this.done.push({ before, after: real, cell });
    if (this.done.length > MOST_STEPS) this.done.shift();
    this.undone = [];
    this.tell(real);
    return true;
  }

  // Takes the last step back, or with `again` takes it again; what has been changed since, in another tab, stays.
  undo(again = false) {
    const [from, to] = again ? [this.undone, this.done] : [this.done, this.undone];
    const step = from.pop();
    if (step === undefined) return null;
    to.push(step);
    const [now, then] = again ? [step.before, step.after] : [step.after, step.before];
    const changes = then.filter((_, index) => {
      const [item, value, wrong] = now[index];
      return this.value[item] === value && this.wrong[item] === wrong;
    });
    this.write(changes);
    this.tell(changes);
    return { cell: step.cell, count: changes.length };
  }

  write(changes) {
    this.clock = Math.floor(this.clock) + 1 + this.tab;
    for (const [item, value, wrong] of changes) {
      this.put(item, value, wrong);
      this.stamp[item] = this.clock;
    }
  }

  // Takes over what another tab, or this page before it was reloaded, made of an image; returns whether it is newer.
  adopt(item, value, wrong, stamp) {
    if (!(stamp > this.stamp[item])) return false;
    this.put(item, value, wrong);
    this.stamp[item] = stamp;
    this.clock = Math.max(this.clock, stamp);
    return true;
  }

  tell(changes) {
    const items = changes.map(([item]) => item);
    this.keep(items);
    this.show(items);
  }
}

// The saved list, as CSV: a row for each image, with the answer or the label that it had.
function csvOf(data, answers) {
  const quoted = (text) => (/[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text);
  const header = ["file_name", "label", "reviewed", "previous"];
  if (data.splits !== null) header.push("split");
  if (data.sources !== null) header.push("group");
  const rows = [header];
  data.names.forEach((name, item) => {
    const before = data.before[item] < 0 ? "" : data.labels[data.before[item]];
    const value = answers.value[item];
    const row = [data.folder + name, value === OPEN ? before : answers.text(value), value === OPEN ? "" : "yes", before];
    if (data.splits !== null) row.push(data.splits[item]);
    if (data.sources !== null) row.push(data.sources[item]);
    rows.push(row);
  });
  for (const [file, label, reviewed, before, split, group] of data.others) {
    const row = [file, label, reviewed, before];
    if (data.splits !== null) row.push(split);
    if (data.sources !== null) row.push(group);
    rows.push(row);
  }
  return rows.map((row) => row.map(quoted).join(",") + "\n").join("");
}

// The rows of a CSV file, each an object by the names in its first row.
function rowsOf(text) {
  const rows = [];
  let row = [""];
  let inQuotes = false;
  const source = text.replace(/^\ufeff/, "");
  for (let index = 0; index < source.length; index += 1) {
    const one = source[index];
    if (inQuotes) {
      if (one !== '"') row[row.length - 1] += one;
      else if (source[index + 1] === '"') row[row.length - 1] += source[(index += 1)];
      else inQuotes = false;
    } else if (one === '"') inQuotes = true;
    else if (one === ",") row.push("");
    else if (one === "\n" || one === "\r") {
      if (row.length > 1 || row[0] !== "") rows.push(row);
      row = [""];
    } else row[row.length - 1] += one;
  }
  if (row.length > 1 || row[0] !== "") rows.push(row);
  const header = rows.shift() || [];
  return rows.map((cells) => Object.fromEntries(header.map((name, column) => [name, cells[column] || ""])));
}
