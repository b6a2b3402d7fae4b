// Choosing a label: the likely ones first, each with an image; typing searches, and may add a new one.

const MOST_SHOWN = 200; // labels in the list at a time

class Picker {
  // `example(label)` is the number of an image of a label, or undefined; `paint(element, item, size)` paints it.
  constructor(dialog, answers, example, paint) {
    this.dialog = dialog;
    this.answers = answers;
    this.example = example;
    this.paint = paint;
    this.input = dialog.querySelector("input");
    this.list = dialog.querySelector("[role=listbox]");
    this.status = dialog.querySelector("[role=status]");
    this.input.addEventListener("input", () => this.fill());
    this.input.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.take(Number(option.dataset.index));
    });
    dialog.addEventListener("close", () => this.onClose());
    this.onClose = () => {};
  }

  // Opens with the likely labels, each [position, probability], first; `onLabel` is given the text of the one chosen.
  open(title, likely, typed, onLabel) {
    this.dialog.querySelector("h2").textContent = title;
    this.likely = new Map(likely);
    this.onLabel = onLabel;
    this.order = [...likely.map(([position]) => position)];
    const rest = this.answers.labels.map((_, position) => position).filter((position) => !this.likely.has(position));
    const compare = new Intl.Collator(undefined, { numeric: true }).compare;
    this.order.push(...rest.sort((a, b) => compare(this.answers.labels[a], this.answers.labels[b])));
    this.input.value = typed;
    this.dialog.showModal();
    this.fill();
    this.input.focus();
  }

  fill() {
    const typed = this.input.value.trim();
    const sought = typed.toLowerCase();
    const names = this.answers.labels;
    const rank = (position) => {
      const name = names[position].toLowerCase();
      return name === sought ? 0 : name.startsWith(sought) ? 1 : name.includes(sought) ? 2 : 3;
    };
    let options = this.order.map((position) => ({ position, label: names[position] }));
    if (sought !== "") {
      options = options.map((option) => ({ ...option, order: rank(option.position) })).filter(({ order }) => order < 3);
      options.sort((a, b) => a.order - b.order);
    }
    const hidden = Math.max(0, options.length - MOST_SHOWN);
    options = options.slice(0, MOST_SHOWN);
    if (typed !== "" && !this.answers.positions.has(typed)) options.push({ label: typed, isNew: true });
    this.options = options;
    this.list.replaceChildren(...options.map((option, index) => this.option(option, index)));
    this.status.textContent = options.length === 0 ? "No label." : hidden > 0 ? hidden + " more; type to search." : "";
    this.point(0);
  }

  option({ position, label, isNew }, index) {
    const element = document.createElement("div");
    element.setAttribute("role", "option");
    element.id = "option-" + index;
    element.dataset.index = String(index);
    const image = document.createElement("i");
    const item = isNew ? undefined : this.example(position);
    if (item !== undefined) this.paint(image, item, 40);
    const name = document.createElement("span");
    name.textContent = isNew ? "New label: " + shown(label) : shown(label);
    element.append(image, name);
    const probability = this.likely.get(position);
    if (probability !== undefined && probability !== null) {
      const share = document.createElement("small");
      share.textContent = (100 * probability).toFixed(1) + "%";
      element.append(share);
    }
    return element;
  }

  point(index) {
    this.index = Math.max(0, Math.min(index, this.options.length - 1));
    [...this.list.children].forEach((child, number) => child.setAttribute("aria-selected", String(number === this.index)));
    const option = this.list.children[this.index];
    if (option) {
      this.input.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else this.input.removeAttribute("aria-activedescendant");
  }

  key(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 };
    if (event.key in steps) {
      event.preventDefault();
      this.point(this.index + steps[event.key]);
    } else if (event.key === "Enter") {
      event.preventDefault();
      this.take(this.index);
    }
  }

  take(index) {
    const option = this.options[index];
    if (!option) return;
    this.dialog.close();
    this.onLabel(option.label);
  }

  repaint() {
    if (this.dialog.open) {
      const { index } = this;
      this.fill();
      this.point(index);
    }
  }
}
