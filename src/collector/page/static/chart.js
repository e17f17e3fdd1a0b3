// Charts as SVG. Each has a sentence that says what it shows; colours and sizes are classes and attributes, since the
// page's policy allows no style in its markup.

import { count, el, scroller } from "./text.js";

export function spark(values, label) {
  const wide = Math.max(2, values.length);
  const known = values.filter((value) => typeof value === "number");
  const most = Math.max(...known, 0) || 1;
  const y = (value) => (30 - (value / most) * 28).toFixed(2);
  let line = "";
  let area = "";
  let from = null;
  values.forEach((value, at) => {
    if (typeof value !== "number") {
      if (from !== null) area += `L${at - 1} 31Z`;
      from = null;
      return;
    }
    if (from === null) {
      from = at;
      line += `M${at} ${y(value)}h0.4`;
      area += `M${at} 31L${at} ${y(value)}`;
    } else {
      line += `L${at} ${y(value)}`;
      area += `L${at} ${y(value)}`;
    }
  });
  if (from !== null) area += `L${values.length - 1} 31Z`;
  return el(
    "svg.spark",
    { viewBox: `0 0 ${wide - 1} 32`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    area && el("path.area", { d: area }),
    line && el("path.line", { d: line, "vector-effect": "non-scaling-stroke" }),
  );
}

export function gauge(part, whole, label, state = "good") {
  const of = whole > 0 ? Math.min(1, Math.max(0, part / whole)) : 0;
  return el(
    "svg",
    { class: `gauge ${state}`, viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": label },
    el("rect.rest", { width: 100, height: 6 }),
    el("rect.part", { width: (of * 100).toFixed(2), height: 6 }),
  );
}

export function lane(ranges, whole, label) {
  const scale = 1000 / Math.max(1, whole);
  const drawing = el("svg.lane", {
    viewBox: "0 0 1000 20",
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": label,
  });
  for (const { from, to, state, name } of [...ranges].sort((a, b) => b.to - b.from - (a.to - a.from))) {
    const width = Math.max(4, (to - from) * scale);
    const x = Math.min(from * scale, 1000 - width);
    drawing.append(
      el("rect", { class: `range ${state}`, x: x.toFixed(2), width: width.toFixed(2), height: 20 }, el("title", name)),
    );
  }
  return drawing;
}

export class Histogram {
  constructor(chosen) {
    this.chosen = chosen;
    this.counts = [];
    this.range = [0, 0];
    this.drag = null;
    this.bars = el("path.bars");
    this.veils = [el("rect.veil", { y: 0, height: 100 }), el("rect.veil", { y: 0, height: 100 })];
    this.drawing = el(
      "svg.histogram",
      { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img" },
      this.bars,
      this.veils,
    );
    this.handles = [0, 1].map((side) =>
      el("div", {
        class: "handle",
        role: "slider",
        tabindex: "0",
        "aria-label": side === 0 ? "Begin of the period" : "End of the period",
        onkeydown: (event) => this.key(event, side),
      }),
    );
    this.node = el("div.brush", this.drawing, this.handles);
    this.node.addEventListener("pointerdown", (event) => this.down(event));
    this.node.addEventListener("pointermove", (event) => this.move(event));
    this.node.addEventListener("pointerup", (event) => this.up(event));
    this.node.addEventListener("pointercancel", () => {
      this.drag = null;
      this.choose(0, this.counts.length);
    });
  }

  show(counts, label, sentence) {
    this.counts = counts;
    this.label = label;
    this.drag = null;
    const most = Math.max(...counts, 1);
    const width = 100 / Math.max(1, counts.length);
    const gap = counts.length > 100 ? 0 : width * 0.12;
    let path = "";
    counts.forEach((value, at) => {
      if (value === 0) return;
      // What is there is seen, however little it is beside the most.
      const height = Math.max(2, (value / most) * 96);
      path += `M${(at * width + gap / 2).toFixed(3)} 100v-${height.toFixed(2)}h${(width - gap).toFixed(3)}V100z`;
    });
    this.bars.setAttribute("d", path);
    this.drawing.setAttribute("aria-label", sentence);
    for (const handle of this.handles) {
      handle.setAttribute("aria-valuemin", "0");
      handle.setAttribute("aria-valuemax", String(counts.length));
      handle.hidden = counts.length === 0;
    }
    this.choose(0, counts.length);
  }

  choose(from, to) {
    const last = this.counts.length;
    this.range = [Math.max(0, Math.min(from, to)), Math.min(last, Math.max(from, to))];
    const [left, right] = this.range.map((at) => (last ? (at / last) * 100 : at ? 100 : 0));
    const veil = (node, x, width) => {
      node.setAttribute("x", x);
      node.setAttribute("width", Math.max(0, width));
    };
    veil(this.veils[0], 0, left);
    veil(this.veils[1], right, 100 - right);
    this.handles.forEach((handle, side) => {
      handle.style.insetInlineStart = `${side === 0 ? left : right}%`;
      handle.setAttribute("aria-valuenow", String(this.range[side]));
      if (this.label) handle.setAttribute("aria-valuetext", `${this.label(this.range[side])}; Enter applies`);
    });
  }

  at(event) {
    const box = this.drawing.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - box.left) / Math.max(1, box.width))) * this.counts.length;
  }

  down(event) {
    if (event.button !== 0 || this.counts.length === 0) return;
    this.drag = this.at(event);
    this.node.setPointerCapture(event.pointerId);
  }

  move(event) {
    if (this.drag === null) return;
    const now = this.at(event);
    this.choose(Math.floor(Math.min(this.drag, now)), Math.ceil(Math.max(this.drag, now)));
  }

  up(event) {
    if (this.drag === null) return;
    this.move(event);
    this.drag = null;
    const [from, to] = this.range;
    if (to > from) this.chosen(from, to);
  }

  key(event, side) {
    const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    const range = [...this.range];
    if (step !== undefined) range[side] += step;
    else if (event.key === "Home") range[side] = side === 0 ? 0 : range[0] + 1;
    else if (event.key === "End") range[side] = side === 0 ? range[1] - 1 : this.counts.length;
    else if (event.key === "Escape") {
      range[0] = 0;
      range[1] = this.counts.length;
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.chosen(...this.range);
      return;
    } else return;
    event.preventDefault();
    if (side === 0) range[0] = Math.max(0, Math.min(range[0], range[1] - 1));
    else range[1] = Math.min(this.counts.length, Math.max(range[1], range[0] + 1));
    this.choose(...range);
  }
}

export function bars(values, total, pressed, choose, name) {
  const most = Math.max(...values.map((value) => value.count), 1);
  return el(
    "ol.bars",
    values.map((value) => {
      const label = `${name(value, true)}: ${count(value.count)} of ${count(total)} records`;
      const inside = [
        gauge(value.count, most, "", "plain"),
        el("span.value", name(value, false)),
        el("span.count", count(value.count)),
      ];
      inside[0].setAttribute("aria-hidden", "true");
      if (value.missing || typeof value.value !== "string") return el("li", el("div.bar", inside));
      return el(
        "li",
        el(
          "button",
          {
            type: "button",
            class: "bar",
            "aria-pressed": pressed(value.value),
            title: label,
            onclick: () => choose(value.value),
          },
          inside,
        ),
      );
    }),
  );
}

export function table(caption, heads, rows) {
  return scroller(
    caption,
    el(
      "table.plain",
      el("caption", caption),
      el(
        "thead",
        el(
          "tr",
          heads.map((head) => el("th", { scope: "col" }, head)),
        ),
      ),
      el(
        "tbody",
        rows.map(([first, ...rest]) =>
          el(
            "tr",
            el("th", { scope: "row" }, first),
            rest.map((cell) => el("td", cell)),
          ),
        ),
      ),
    ),
  );
}
