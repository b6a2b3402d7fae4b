// The page: what keys and buttons do, and what is shown beside the grid.

const data = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const answers = new Answers(data);
const isAudit = data.groups.some((group) => group.kind === "audit");
const firsts = new Set(data.labels.map((label) => label.slice(0, 1).toLowerCase())); // letters that begin a label
const items = data.names.length;
const separator = data.folder.slice(-1); // of the folders in a path

// ---- what is shown of an image

function proposalOf(item) {
  return data.proposals[item];
}

const describe = {
  item(cell, item, group) {
    const value = answers.value[item];
    const before = isAudit ? NOTHING : data.before[item];
    const proposal = proposalOf(item);
    const name = shown(data.names[item]);
    if (value === NOTHING) return { state: "none", tag: "⌀", text: name + ": none of the labels" };
    if (value !== OPEN) {
      const label = shown(answers.text(value));
      const isSame = value === proposal && group.kind === "label";
      return { state: isSame ? "done" : "new", tag: isSame ? "✓" : "✓ " + label, text: name + ": answered, " + label };
    }
    const was = before < 0 ? "" : shown(data.labels[before]);
    const label = proposal < 0 ? "no label" : shown(data.labels[proposal]);
    if (answers.wrong[item]) return { state: "wrong", tag: "✗", text: name + ": marked as wrong, " + label };
    const tag = group.kind === "pairs" ? was : before >= 0 && before !== proposal ? "was " + was : "";
    return { state: "", tag, text: name + ": " + label + (tag.startsWith("was") ? ", " + tag : "") };
  },
  group(number) {
    const group = grid.groups[number];
    const left = leftOf[number];
    return group.count + (group.count === 1 ? " image, " : " images, ") + (left === 0 ? "all answered" : left + " left");
  },
};

// ---- the parts of the page

const thumbnails = new Sprites([...document.querySelectorAll("script.thumbnails")], items, data.per, () => repaint());
const inputs = new Sprites([...document.querySelectorAll("script.inputs")], items, data.per, () => panel());
for (const group of data.groups) {
  group.title = group.kind === "audit" ? "To be answered afresh" : shown(group.title);
  const own = data.proposals.slice(group.first, group.first + group.count);
  const isSuspect = own.some((proposal, index) => data.before[group.first + index] !== proposal);
  group.captions = group.kind === "pairs" || (group.kind === "label" && isSuspect);
}
const grid = new Grid(by("grid"), data, thumbnails, describe);
const leftOf = grid.groups.map((group) => group.count);
const examples = new Map(); // by label, the number of an image that has it for certain
grid.items.forEach((item) => {
  if (!isAudit && proposalOf(item) >= 0) examples.set(proposalOf(item), item); // the last one of a group is the surest
});
const answeredAs = new Map(); // by label, of an image that a person gave it
const picker = new Picker(by("picker"), answers, (label) => answeredAs.get(label) ?? examples.get(label), (element, item, size) => thumbnails.paint(element, item, size));
picker.onClose = () => by("grid").focus();
const store = new Store(data.id, answers, (trouble) => {
  by("trouble").hidden = !trouble;
});
store.load();
const byDoubt = Array.from({ length: items }, (_, item) => item).sort((a, b) => certainty(a) - certainty(b));
let doubtful = -1; // how far the most doubtful images have been gone through
let changed = false; // since the list was saved
const begun = { answered: answers.answered, last: performance.now(), active: 0 };

function certainty(item) {
  const guess = data.guesses[item].find(([label]) => label === proposalOf(item));
  return guess === undefined ? (data.guesses[item].length > 0 ? 0 : 1) : (guess[1] ?? 1);
}

function countLeft() {
  grid.groups.forEach((group, number) => {
    let left = 0;
    for (let cell = group.start; cell < group.end; cell += 1) left += answers.value[grid.items[cell]] === OPEN;
    leftOf[number] = left;
  });
}

let toRepaint = false;
function repaint() {
  if (toRepaint) return;
  toRepaint = true;
  requestAnimationFrame(() => {
    toRepaint = false;
    grid.render(true);
    panel();
    progress();
    picker.repaint();
  });
}

function say(text) {
  by("said").textContent = text;
}

function progress() {
  const { answered } = answers;
  const open = items - answered;
  const minutes = begun.active / 60_000;
  const pace = minutes > 0.2 ? (answered - begun.answered) / minutes : 0;
  const number = (count) => count.toLocaleString("en");
  let text = number(answered) + " of " + number(items) + " answered, " + number(open) + " left";
  if (pace >= 1 && open > 0) text += " · " + number(Math.round(pace)) + " a minute, about " + number(Math.max(1, Math.round(open / pace))) + " min to go";
  by("count").textContent = text;
  by("bar").max = items;
  by("bar").value = answered;
  for (const button of by("groups").children) {
    const group = Number(button.dataset.group);
    const left = leftOf[group] === 0 ? "✓" : String(leftOf[group]);
    if (button.lastElementChild.textContent !== left) button.lastElementChild.textContent = left;
    const isCurrent = group === grid.groupOf[grid.current];
    if (isCurrent && button.getAttribute("aria-current") === null) button.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (isCurrent) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
  by("unsaved").hidden = !changed;
}

function panel() {
  const item = grid.items[grid.current];
  const group = grid.groups[grid.groupOf[grid.current]];
  const { chosen } = grid;
  const size = by("panel").clientWidth < 420 && window.matchMedia("(max-width: 60rem)").matches ? 72 : 128;
  for (const [id, sprites] of [["original", thumbnails], ["input", inputs]]) {
    const box = by(id);
    box.style.width = box.style.height = size + "px";
    if (sprites.elements.length > 0) sprites.paint(box, item, size);
  }
  by("input").parentElement.hidden = inputs.elements.length === 0;
  by("file").textContent = shown(data.names[item]);
  by("file").href = data.link + data.names[item].split(separator).map(encodeURIComponent).join("/");
  const value = answers.value[item];
  const before = data.before[item];
  by("state").textContent =
    chosen.length > 1 ? chosen.length + " images are selected"
    : value === NOTHING ? "Answered: none of the labels"
    : value !== OPEN ? "Answered: " + shown(answers.text(value))
    : answers.wrong[item] ? "Marked as wrong; type the right label"
    : isAudit ? "What is it?"
    : proposalOf(item) < 0 ? "No label yet"
    : before >= 0 && before !== proposalOf(item) ? "Labelled " + shown(data.labels[before]) + "; suggested: " + shown(data.labels[proposalOf(item)])
    : group.kind === "pairs" ? "Labelled " + shown(data.labels[before]) : "Label: " + shown(data.labels[proposalOf(item)]);
  const likely = likelyOf(item).slice(0, 5);
  by("likely").replaceChildren(...likely.map(([label, probability]) => likelyButton(label, probability)));
}

// The likely labels of an image, which an audit does not name.
function likelyOf(item) {
  if (isAudit) return [];
  const known = data.guesses[item].filter(([label]) => label >= 0);
  for (const label of [proposalOf(item), data.before[item]]) {
    if (label >= 0 && !known.some(([other]) => other === label)) known.push([label, null]);
  }
  return known;
}

function likelyButton(label, probability) {
  const button = document.createElement("button");
  button.type = "button";
  const image = document.createElement("i");
  const example = answeredAs.get(label) ?? examples.get(label);
  if (example !== undefined) thumbnails.paint(image, example, 32);
  const name = document.createElement("span");
  name.textContent = shown(answers.labels[label]);
  const share = document.createElement("small");
  share.textContent = probability === null ? "" : (100 * probability).toFixed(1) + "%";
  button.append(image, name, share);
  button.addEventListener("click", () => {
    answer(answers.labels[label]);
    by("grid").focus();
  });
  return button;
}

// ---- what a person does

function moveTo(cell, extend = false, wholeGroup = false) {
  grid.moveTo(cell, extend);
  grid.reveal(wholeGroup);
  repaint();
}

// The next cell from `start` on, around the end, that `matches`; undefined if there is none.
function nextCell(start, matches) {
  for (let step = 0; step < grid.items.length; step += 1) {
    const cell = (start + step) % grid.items.length;
    if (matches(cell)) return cell;
  }
  return undefined;
}

const isOpen = (cell) => answers.value[grid.items[cell]] === OPEN;
const isMarked = (cell) => isOpen(cell) && answers.wrong[grid.items[cell]] === 1;

// Gives what is chosen a label, or none of them with an empty text, and goes on to the next image.
function answer(label) {
  const cells = grid.chosen;
  const value = answers.position(label);
  const wasMarked = answers.wrong[grid.items[cells[0]]] === 1;
  answers.change(cells.map((cell) => [grid.items[cell], value, 0]), grid.current);
  if (value >= 0) answeredAs.set(value, grid.items[cells[0]]);
  const last = cells[cells.length - 1];
  const group = grid.groupOf[last];
  const inGroup = (cell) => grid.groupOf[cell] === group;
  const next = wasMarked
    ? nextCell(last + 1, (cell) => inGroup(cell) && isMarked(cell)) ?? last
    : cells.length > 1 ? last : Math.min(last + 1, grid.items.length - 1);
  say((label === "" ? "None of the labels" : shown(label)) + (cells.length > 1 ? ": " + cells.length + " images." : "."));
  moveTo(next);
}

// Confirms the selection, or the images of this group that have been in sight, and goes on to what is left.
function confirm(whole = false) {
  const group = grid.groups[grid.groupOf[grid.current]];
  const hasSelection = grid.selected.size > 1;
  const end = whole ? group.end : grid.seenUntil(group);
  const cells = hasSelection ? grid.chosen : Array.from({ length: end - group.start }, (_, index) => group.start + index);
  const meant = cells.filter((cell) => isOpen(cell) && !isMarked(cell) && proposalOf(grid.items[cell]) >= 0);
  const isUseless = meant.length === 0 && isOpen(grid.current) && proposalOf(grid.items[grid.current]) < 0;
  if (isUseless) {
    pick("");
    return;
  }
  answers.change(meant.map((cell) => [grid.items[cell], proposalOf(grid.items[cell]), 0]), grid.current);
  const confirmed = meant.length === 1 ? "1 image confirmed." : meant.length + " images confirmed.";
  if (hasSelection) {
    say(confirmed);
    moveTo(nextCell(cells[cells.length - 1] + 1, isOpen) ?? grid.current);
    return;
  }
  const below = end < group.end ? nextCell(end, (cell) => cell < group.end && cell >= end && isOpen(cell)) : undefined;
  const marked = nextCell(group.start, (cell) => cell < group.end && isMarked(cell));
  if (below !== undefined) {
    say(confirmed + " This group goes on.");
    moveTo(below, false, true);
  } else if (marked !== undefined) {
    say(confirmed + " Now label those that you marked.");
    moveTo(marked);
  } else nextGroup(confirmed);
}

// Goes to the next group with something left.
function nextGroup(before = "") {
  const open = nextCell(grid.groups[grid.groupOf[grid.current]].end, isOpen);
  if (open === undefined) {
    say(before + " All images are answered. Save the list.");
    repaint();
    return;
  }
  say(before + " Next: " + grid.groups[grid.groupOf[open]].title + ".");
  moveTo(open, false, true);
}

function mark() {
  const cells = grid.chosen;
  const to = cells.some((cell) => !isMarked(cell)) ? 1 : 0;
  answers.change(cells.map((cell) => [grid.items[cell], OPEN, to]), grid.current);
  say(to ? "Marked as wrong." : "No longer marked.");
  repaint();
}

// Keeps the label that an image had before.
function keep() {
  const cells = grid.chosen.filter((cell) => data.before[grid.items[cell]] >= 0);
  if (isAudit || cells.length === 0) return;
  answers.change(cells.map((cell) => [grid.items[cell], data.before[grid.items[cell]], 0]), grid.current);
  say(cells.length === 1 ? "Kept." : cells.length + " labels kept.");
  moveTo(Math.min(cells[cells.length - 1] + 1, grid.items.length - 1));
}

function undo(again) {
  const step = answers.undo(again);
  if (step === null) {
    say(again ? "There is nothing to do again." : "There is nothing to undo.");
    return;
  }
  say((again ? "Done again: " : "Undone: ") + (step.count === 1 ? "1 image." : step.count + " images."));
  moveTo(step.cell);
}

// Goes to the most doubtful image that is left, then to the next most doubtful one; or back.
function doubt(step) {
  let index = doubtful + step;
  while (index >= 0 && index < items && answers.value[byDoubt[index]] !== OPEN) index += step;
  if (index < 0 || index >= items) {
    say(step > 0 ? "No doubtful image is left." : "This is the most doubtful image.");
    return;
  }
  doubtful = index;
  moveTo(grid.cellOf[byDoubt[index]]);
}

function pick(typed) {
  const count = grid.chosen.length;
  const item = grid.items[grid.current];
  picker.open(count > 1 ? "Label of " + count + " images" : "Label of " + shown(data.names[item]), likelyOf(item), typed, answer);
}

// A typed character begins a label; where it is one, and begins no other, that is the answer.
function type(one) {
  const same = answers.labels.filter((label) => label.toLowerCase().startsWith(one.toLowerCase()));
  const exact = same.filter((label) => label === one);
  if (same.length === 1 && same[0].length === 1) answer(same[0]);
  else if (exact.length === 1 && same.every((label) => label.length === 1)) answer(one);
  else pick(one);
}

function resize(step) {
  grid.size = Math.max(0, Math.min(grid.size + step, SIZES.length - 1));
  grid.arrange();
}

// ---- saving

let file = null; // that is written in place, where the browser can

async function save() {
  if (!("showSaveFilePicker" in window)) return download();
  try {
    file ??= await window.showSaveFilePicker({ suggestedName: data.list, types: [{ accept: { "text/csv": [".csv"] } }] });
    const target = await file.createWritable();
    await target.write(csvOf(data, answers));
    await target.close();
    saved("Saved " + file.name + ".");
  } catch (error) {
    if (error.name === "AbortError") return undefined;
    file = null;
    return download(); // it can be written nowhere else
  }
  return undefined;
}

function download() {
  const link = document.createElement("a");
  link.download = data.list;
  link.href = URL.createObjectURL(new Blob([csvOf(data, answers)], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  saved("Downloaded " + link.download + ".");
}

function saved(text) {
  changed = false;
  say(text);
  progress();
}

async function load(chosen) {
  const places = new Map(data.names.map((name, item) => [data.folder + name, item]));
  const changes = [];
  for (const row of rowsOf(await chosen.text())) {
    const item = places.get(row.file_name);
    if (item !== undefined && row.reviewed === "yes") changes.push([item, answers.position(row.label.trim()), 0]);
  }
  answers.change(changes, grid.current);
  say(changes.length === 0 ? shown(chosen.name) + " has no answers to these images." : changes.length + " answers taken over.");
  repaint();
}

// ---- keys and buttons

const commands = {
  confirm: () => confirm(),
  all: () => confirm(true),
  wrong: mark,
  label: () => pick(""),
  nothing: () => answer(""),
  keep,
  undo: () => undo(false),
  redo: () => undo(true),
  doubt: () => doubt(1),
  certain: () => doubt(-1),
  next: () => nextGroup(),
  previous: () => {
    const start = grid.groups[grid.groupOf[grid.current]].start;
    moveTo(grid.groups[grid.groupOf[Math.max(0, start - 1)]].start, false, true);
  },
  larger: () => resize(1),
  smaller: () => resize(-1),
  save,
  download,
  open: () => by("chosen-file").click(),
  help: () => by("help").showModal(),
};

const letters = { n: "doubt", p: "certain", x: "nothing", k: "keep", s: "save", u: "undo" };
const signs = { "/": "label", "?": "help", ".": "doubt", ",": "certain", "]": "next", "[": "previous", "+": "larger", "=": "larger", "-": "smaller" };
const chords = { z: "undo", y: "redo", s: "save", k: "keep" };

function moved(event) {
  const { current } = grid;
  const group = grid.groups[grid.groupOf[current]];
  const far = event.ctrlKey || event.metaKey;
  switch (event.key) {
    case "ArrowLeft": return current - 1;
    case "ArrowRight": return current + 1;
    case "ArrowUp": return grid.vertical(-1);
    case "ArrowDown": return grid.vertical(1);
    case "PageUp": return grid.vertical(-grid.perPage);
    case "PageDown": return grid.vertical(grid.perPage);
    case "Home": return far ? 0 : group.start;
    case "End": return far ? grid.items.length - 1 : group.end - 1;
    default: return undefined;
  }
}

function onKey(event) {
  if (event.altKey || event.isComposing) return false;
  const chord = event.ctrlKey || event.metaKey;
  const cell = moved(event);
  if (cell !== undefined) moveTo(cell, event.shiftKey);
  else if (chord && event.key.toLowerCase() === "z" && event.shiftKey) undo(true);
  else if (chord && event.key.toLowerCase() in chords) commands[chords[event.key.toLowerCase()]]();
  else if (chord && event.key.toLowerCase() === "a") {
    const group = grid.groups[grid.groupOf[grid.current]];
    for (let one = group.start; one < group.end; one += 1) grid.selected.add(one);
    repaint();
  } else if (event.key === "Enter") confirm(chord);
  else if (chord) return false;
  else if (event.key === " ") mark();
  else if (event.key === "Delete" || event.key === "Backspace") answer("");
  else if (event.key === "Escape") moveTo(grid.current);
  else if (event.key.length !== 1) return false;
  else if (event.key in signs && (event.key === "/" || event.key === "?" || !firsts.has(event.key))) commands[signs[event.key]]();
  else if (!firsts.has(event.key.toLowerCase()) && event.key.toLowerCase() in letters) commands[letters[event.key.toLowerCase()]]();
  else type(event.key);
  return true;
}

by("grid").addEventListener("keydown", (event) => {
  const now = performance.now();
  begun.active += Math.min(now - begun.last, 15_000); // a longer pause is no work
  begun.last = now;
  if (onKey(event)) event.preventDefault();
});
document.addEventListener("keydown", () => {
  const isFree = document.activeElement === document.body && document.querySelector("dialog[open]") === null;
  if (isFree) by("grid").focus();
});
by("grid").addEventListener("click", (event) => {
  const box = event.target.closest("[role=gridcell]");
  if (!box) return;
  const cell = Number(box.dataset.cell);
  if (event.ctrlKey || event.metaKey) {
    if (grid.selected.size === 0) grid.selected.add(grid.current);
    if (!grid.selected.delete(cell)) grid.selected.add(cell);
    grid.current = cell;
    repaint();
  } else if (cell === grid.current && !event.shiftKey) mark();
  else moveTo(cell, event.shiftKey);
});
for (const button of document.querySelectorAll("button[data-do]")) {
  button.addEventListener("click", () => {
    commands[button.dataset.do]();
    if (document.querySelector("dialog[open]") === null) by("grid").focus();
  });
}
for (const button of document.querySelectorAll("button.close")) button.addEventListener("click", () => button.closest("dialog").close());
by("help").addEventListener("close", () => by("grid").focus());
by("chosen-file").addEventListener("change", (event) => {
  if (event.target.files.length > 0) load(event.target.files[0]);
  event.target.value = "";
});
for (const entry of document.querySelectorAll("[data-letter]")) entry.hidden = firsts.has(entry.dataset.letter);

answers.show = () => {
  changed = true;
  countLeft();
  repaint();
};
window.addEventListener("beforeunload", (event) => {
  if (store.trouble && changed) event.preventDefault();
});

// ---- the start

by("groups").append(
  ...grid.groups.map((group, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.group = String(number);
    const name = document.createElement("span");
    name.textContent = group.title;
    button.append(name, document.createElement("small"));
    button.addEventListener("click", () => {
      moveTo(nextCell(group.start, (cell) => cell < group.end && isOpen(cell)) ?? group.start, false, true);
      by("grid").focus();
    });
    return button;
  }),
);
by("about").hidden = data.about === "";
by("about").textContent = data.about;
by("pages").replaceChildren(
  ...data.pages.map((name, number) => {
    const link = document.createElement("a");
    link.href = encodeURIComponent(name);
    link.textContent = String(number + 1);
    if (number === data.page) link.setAttribute("aria-current", "page");
    return link;
  }),
);
by("pages").hidden = data.pages.length === 0;
countLeft();
grid.arrange();
moveTo(nextCell(0, isOpen) ?? 0);
by("grid").focus();
