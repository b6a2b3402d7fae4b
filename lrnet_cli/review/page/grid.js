// The images as a grid in a list that only holds the rows in sight, however many there are.

const SIZES = [40, 56, 72, 96, 128, 176]; // of an image, in pixels, at least: as many as fit share the width
const GAP = 8;
const HEADER = 44; // height of a group's title
const CAPTION = 20; // height of the text below an image, in groups where each has one
const SPARE = 3; // rows beyond the edges that are kept ready
const MOST_DECODED = 48; // sprites

// Sprites of thumbnails, decoded when they are first needed and forgotten when others are.
class Sprites {
  constructor(elements, count, per, onReady) {
    this.elements = elements;
    this.count = count;
    this.per = per;
    this.onReady = onReady;
    this.ready = new Map();
    this.asked = new Set();
  }

  // Paints a thumbnail as the background of an element; nothing yet if its sprite is still to be decoded.
  paint(element, item, size) {
    const number = Math.floor(item / this.per);
    const sprite = this.ready.get(number);
    if (sprite === undefined) {
      element.style.backgroundImage = "none";
      this.decode(number);
      return;
    }
    this.ready.delete(number); // the last one asked for is the last one to be forgotten
    this.ready.set(number, sprite);
    const index = item % this.per;
    const column = index % sprite.columns;
    const row = Math.floor(index / sprite.columns);
    element.style.backgroundImage = sprite.url;
    element.style.backgroundSize = sprite.columns * size + "px " + sprite.rows * size + "px";
    element.style.backgroundPosition = -column * size + "px " + -row * size + "px";
    element.classList.toggle("pixels", sprite.side * 1.5 <= size);
  }

  decode(number) {
    if (this.asked.has(number) || number >= this.elements.length) return;
    this.asked.add(number);
    const [head, body] = this.elements[number].textContent.split(",");
    const text = atob(body);
    const bytes = new Uint8Array(text.length);
    for (let index = 0; index < text.length; index += 1) bytes[index] = text.charCodeAt(index);
    const address = URL.createObjectURL(new Blob([bytes], { type: head.slice(5, head.indexOf(";")) }));
    const image = new Image();
    image.src = address;
    image.decode().then(() => {
      const count = Math.min(this.per, this.count - number * this.per);
      const columns = Math.ceil(Math.sqrt(count));
      const rows = Math.ceil(count / columns);
      this.ready.set(number, { url: 'url("' + address + '")', columns, rows, side: image.naturalWidth / columns, image, address });
      for (const [other, sprite] of this.ready) {
        if (this.ready.size <= MOST_DECODED) break;
        URL.revokeObjectURL(sprite.address);
        this.ready.delete(other);
        this.asked.delete(other);
      }
      this.onReady();
    });
  }
}

class Grid {
  // `describe(cell, item, group)` gives the state, tag, label and tooltip of an image.
  constructor(viewport, data, sprites, describe) {
    this.viewport = viewport;
    this.canvas = viewport.firstElementChild;
    this.data = data;
    this.sprites = sprites;
    this.describe = describe;
    this.groups = data.groups.map((group) => ({ ...group }));
    this.items = [];
    this.groupOf = [];
    this.groups.forEach((group, number) => {
      group.start = this.items.length;
      for (let index = 0; index < group.count; index += 1) {
        this.items.push(group.numbers ? group.numbers[index] : group.first + index);
        this.groupOf.push(number);
      }
      group.end = this.items.length;
    });
    this.cellOf = []; // the first one of an image, which may be in several pairs
    this.items.forEach((item, cell) => (this.cellOf[item] ??= cell));
    this.current = 0;
    this.anchor = 0;
    this.selected = new Set();
    this.size = 2;
    this.elements = new Map(); // of rows, by their number
    this.pool = [];
    this.waiting = false;
    viewport.addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.arrange()).observe(viewport);
  }

  // Computes the rows for the width and the size of the images, and keeps the current image where it was.
  arrange() {
    const width = this.viewport.clientWidth - 2 * GAP;
    if (width <= 0) return;
    const top = this.rows ? this.rows[this.rowOf[this.current]].top - this.viewport.scrollTop : 0;
    this.columns = Math.max(2, Math.floor((width + GAP) / (SIZES[this.size] + GAP)));
    this.side = Math.floor((width + GAP) / this.columns) - GAP;
    this.rows = [];
    this.rowOf = new Int32Array(this.items.length);
    let bottom = 0;
    this.groups.forEach((group, number) => {
      group.row = this.rows.length;
      this.rows.push({ top: bottom, height: HEADER, group: number, start: group.start, end: group.start });
      bottom += HEADER;
      const columns = group.kind === "pairs" ? this.columns - (this.columns % 2) : this.columns;
      const height = this.side + GAP + (group.captions ? CAPTION : 0);
      for (let start = group.start; start < group.end; start += columns) {
        const end = Math.min(start + columns, group.end);
        this.rowOf.fill(this.rows.length, start, end);
        this.rows.push({ top: bottom, height, group: number, start, end });
        bottom += height;
      }
    });
    this.canvas.style.height = bottom + 2 * GAP + "px";
    this.viewport.setAttribute("aria-rowcount", String(this.rows.length));
    this.viewport.setAttribute("aria-colcount", String(this.columns));
    for (const element of this.elements.values()) element.remove();
    this.elements.clear();
    this.pool = [];
    this.viewport.scrollTop = this.rows[this.rowOf[this.current]].top - top;
    this.reveal();
    this.render();
  }

  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.render();
    });
  }

  // The first row whose lower edge is below `y`.
  rowAt(y) {
    let [low, high] = [0, this.rows.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.rows[middle].top + this.rows[middle].height > y) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  render(all = false) {
    if (!this.rows || this.rows.length === 0) return;
    const { scrollTop, clientHeight } = this.viewport;
    const first = Math.max(0, this.rowAt(scrollTop) - SPARE);
    const last = Math.min(this.rows.length - 1, this.rowAt(scrollTop + clientHeight) + SPARE);
    const own = this.rowOf[this.current]; // is there for screen readers, wherever it is
    for (const [number, element] of this.elements) {
      if ((number < first || number > last) && number !== own) {
        this.elements.delete(number);
        element.remove();
        this.pool.push(element);
      }
    }
    for (let number = first; number <= last; number += 1) this.row(number, all);
    this.row(own, all);
    const next = this.rows[Math.min(last + 8, this.rows.length - 1)]; // is decoded before it is in sight
    if (next.end > next.start) this.sprites.decode(Math.floor(this.items[next.start] / this.sprites.per));
    this.viewport.setAttribute("aria-activedescendant", "cell-" + this.current);
  }

  row(number, all) {
    let element = this.elements.get(number);
    if (element !== undefined && !all) return;
    const row = this.rows[number];
    if (element === undefined) {
      element = this.pool.pop();
      if (element === undefined) {
        element = document.createElement("div");
        element.setAttribute("role", "row");
      }
      this.canvas.append(element);
      element.style.top = GAP + row.top + "px";
      element.style.height = row.height + "px";
      element.setAttribute("aria-rowindex", String(number + 1));
      this.elements.set(number, element);
    }
    if (row.start === row.end) this.header(element, row);
    else this.cells(element, row);
  }

  header(element, row) {
    element.className = "title";
    const group = this.groups[row.group];
    const title = document.createElement("span");
    title.setAttribute("role", "rowheader");
    const name = document.createElement("b");
    name.textContent = group.title;
    title.append(name, " " + this.describe.group(row.group));
    element.replaceChildren(title);
  }

  cells(element, row) {
    const group = this.groups[row.group];
    element.className = (group.kind === "pairs" ? "pairs " : "") + (group.captions ? "captions" : "");
    if (element.firstElementChild && element.firstElementChild.className === "") element.replaceChildren();
    while (element.childElementCount > row.end - row.start) element.lastElementChild.remove();
    while (element.childElementCount < row.end - row.start) element.append(this.cell());
    const size = this.side;
    for (let cell = row.start; cell < row.end; cell += 1) {
      const box = element.children[cell - row.start];
      const item = this.items[cell];
      const { state, tag, text } = this.describe.item(cell, item, group);
      const isCurrent = cell === this.current;
      const isSelected = this.selected.has(cell);
      const [thumbnail, label] = box.children;
      box.id = "cell-" + cell;
      box.dataset.cell = String(cell);
      box.className = "cell " + state + (isCurrent ? " current" : "") + (isSelected ? " selected" : "");
      box.setAttribute("aria-colindex", String(cell - row.start + 1));
      box.setAttribute("aria-selected", String(isSelected || (isCurrent && this.selected.size === 0)));
      box.setAttribute("aria-label", text);
      box.style.width = size + "px";
      thumbnail.style.width = thumbnail.style.height = size + "px";
      label.textContent = tag;
      label.hidden = tag === "";
      this.sprites.paint(thumbnail, item, size);
    }
  }

  cell() {
    const box = document.createElement("div");
    box.setAttribute("role", "gridcell");
    box.append(document.createElement("i"), document.createElement("span"));
    return box;
  }

  // Scrolls no further than is needed to show the current image, or its whole group from the top.
  reveal(group = false) {
    if (!this.rows) return;
    const row = this.rows[this.rowOf[this.current]];
    const { scrollTop, clientHeight } = this.viewport;
    const isFirst = this.rowOf[this.current] === this.groups[row.group].row + 1;
    const top = isFirst || group ? this.rows[this.groups[row.group].row].top : row.top;
    if (group) this.viewport.scrollTop = isFirst ? top : row.top;
    else if (top < scrollTop) this.viewport.scrollTop = top;
    else if (row.top + row.height + 2 * GAP > scrollTop + clientHeight) this.viewport.scrollTop = row.top + row.height + 2 * GAP - clientHeight;
    this.render();
  }

  // The cell after the last one of a group that has been in sight: above the lower edge of what is shown.
  seenUntil(group) {
    const { scrollTop, clientHeight } = this.viewport;
    let end = this.current + 1;
    for (let number = group.row + 1; number < this.rows.length && this.rows[number].group === this.rows[group.row].group; number += 1) {
      if (this.rows[number].top + this.rows[number].height <= scrollTop + clientHeight + GAP) end = Math.max(end, this.rows[number].end);
    }
    return end;
  }

  // The cell one row above (-1) or below (1) the current one, or pages of rows.
  vertical(rows) {
    const own = this.rows[this.rowOf[this.current]];
    const column = this.current - own.start;
    let number = this.rowOf[this.current];
    for (let left = Math.abs(rows); left > 0; left -= 1) {
      let next = number + Math.sign(rows);
      while (this.rows[next] && this.rows[next].start === this.rows[next].end) next += Math.sign(rows);
      if (!this.rows[next]) break;
      number = next;
    }
    const row = this.rows[number];
    return Math.min(row.start + column, row.end - 1);
  }

  get perPage() {
    return Math.max(1, Math.floor(this.viewport.clientHeight / (this.side + GAP)) - 1);
  }

  moveTo(cell, extend = false) {
    this.current = Math.max(0, Math.min(cell, this.items.length - 1));
    this.selected = new Set();
    if (extend) {
      const [low, high] = [Math.min(this.anchor, this.current), Math.max(this.anchor, this.current)];
      for (let one = low; one <= high; one += 1) this.selected.add(one);
    } else this.anchor = this.current;
  }

  // What a key is for: the selected images, or the current one.
  get chosen() {
    return this.selected.size > 0 ? [...this.selected].sort((a, b) => a - b) : [this.current];
  }
}
