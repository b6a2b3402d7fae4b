// Work is kept in the browser after every key. Several tabs with the same page share it: of two changes to an image,
// the later one counts. Each block of images has an entry of its own, so that little is written per key.

const BLOCK = 128; // images
const MOST_KEPT = 4000; // images in the steps that can be undone after a reload

class Store {
  constructor(id, answers, onTrouble) {
    this.prefix = "lrnet-review/" + id + "/";
    this.answers = answers;
    this.onTrouble = onTrouble;
    this.unwritten = new Set(); // blocks that did not fit
    this.trouble = false;
    answers.keep = (items) => this.write(items);
    window.addEventListener("storage", (event) => {
      if (event.key !== null && event.key.startsWith(this.prefix)) this.take(event.key, event.newValue);
    });
  }

  // Takes over what was kept before, and the steps that this tab can undo.
  load() {
    try {
      for (let number = 0; number < localStorage.length; number += 1) {
        const key = localStorage.key(number);
        if (key.startsWith(this.prefix)) this.adopt(localStorage.getItem(key));
      }
    } catch {
      this.report(true);
    }
    try {
      const steps = JSON.parse(sessionStorage.getItem(this.prefix + "steps") || "[]");
      for (const { before, after, cell } of steps) {
        const known = ([item, text, wrong]) => [item, text === null ? OPEN : this.answers.position(text), wrong];
        this.answers.done.push({ before: before.map(known), after: after.map(known), cell });
      }
    } catch {
      // Without them, there is less to undo.
    }
  }

  // Takes over what is newer in an entry, and returns which images that changed.
  adopt(content) {
    let entries;
    try {
      entries = Object.entries(JSON.parse(content) || {});
    } catch {
      return []; // not ours
    }
    const changed = [];
    for (const [key, entry] of entries) {
      const item = Number(key);
      if (!Array.isArray(entry) || !(item >= 0 && item < this.answers.value.length)) continue;
      const [text, wrong, stamp] = entry;
      const value = typeof text === "string" ? this.answers.position(text) : OPEN;
      if (this.answers.adopt(item, value, wrong ? 1 : 0, Number(stamp))) changed.push(item);
    }
    return changed;
  }

  // Takes over what another tab wrote, and writes the block again if that tab did not yet know what was in it.
  take(key, content) {
    this.answers.show(this.adopt(content));
    const block = Number(key.slice(this.prefix.length));
    if (content !== null && content !== this.content(block)) {
      this.unwritten.add(block);
      this.flush();
    }
  }

  write(items) {
    for (const item of items) this.unwritten.add(Math.floor(item / BLOCK));
    this.flush();
    this.keepSteps();
  }

  flush() {
    try {
      for (const block of [...this.unwritten]) {
        const key = this.prefix + block;
        this.answers.show(this.adopt(localStorage.getItem(key))); // what another tab has just written
        localStorage.setItem(key, this.content(block));
        this.unwritten.delete(block);
      }
      this.report(false);
    } catch {
      this.report(true);
    }
  }

  content(block) {
    const { value, wrong, stamp } = this.answers;
    const entries = {};
    for (let item = block * BLOCK; item < Math.min((block + 1) * BLOCK, value.length); item += 1) {
      if (stamp[item] > 0) entries[item] = [value[item] === OPEN ? null : this.answers.text(value[item]), wrong[item], stamp[item]];
    }
    return JSON.stringify(entries);
  }

  keepSteps() {
    const text = ([item, value, wrong]) => [item, value === OPEN ? null : this.answers.text(value), wrong];
    const steps = [];
    let count = 0;
    for (const step of [...this.answers.done].reverse()) {
      count += step.after.length;
      if (count > MOST_KEPT) break;
      steps.unshift({ before: step.before.map(text), after: step.after.map(text), cell: step.cell });
    }
    try {
      sessionStorage.setItem(this.prefix + "steps", JSON.stringify(steps));
    } catch {
      // The work itself is more important, and is reported.
    }
  }

  report(trouble) {
    if (trouble === this.trouble) return;
    this.trouble = trouble;
    this.onTrouble(trouble);
  }
}
