// A chart of a download: how much of the image the device has over time, and at what rate it came.

import { h, s, setAttribute, setHidden, setText } from "./dom.js";
import { store } from "./store.js";
import { bytesText, durationText, progressText, rateText } from "./words.js";

const width = 430, height = 170, left = 42, right = 58, top = 10, bottom = 24;
const smallWidth = 160, smallHeight = 36;

// rates returns the bytes a second between points, over spans that are long enough to smooth them.
function rates(points) {
  const span = Math.max(1500, (points.at(-1).time - points[0].time) / 40);
  const list = [];
  let from = points[0];
  for (const point of points) {
    if (point.time - from.time < span) continue;
    list.push({ time: (point.time + from.time) / 2, rate: (1000 * (point.offset - from.offset)) / (point.time - from.time) });
    from = point;
  }
  return list;
}

// niceCeiling returns the next round number at which an axis may end.
function niceCeiling(value) {
  const unit = value > 1024 ? 1024 : 1;
  const power = 10 ** Math.floor(Math.log10(Math.max(value / unit, 1)));
  return [1, 2, 5, 10].map((n) => n * power * unit).find((n) => n >= value);
}

const line = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

export class Chart {
  #area = s("path", { class: "area" });
  #line = s("path", { class: "line" });
  #rate = s("path", { class: "rate" });
  #axes = s("g", { class: "axes" });

  // small makes a chart without words, for a place where they stand beside it.
  constructor(small = false) {
    this.small = small;
    const size = small ? `0 0 ${smallWidth} ${smallHeight}` : `0 0 ${width} ${height}`;
    this.svg = s("svg", { viewBox: size, class: "plot", preserveAspectRatio: small ? "none" : "xMidYMid meet", ...(small ? { "aria-hidden": "true" } : { role: "img" }) },
      this.#axes, this.#area, this.#line, small ? null : this.#rate);
    this.caption = h("figcaption", null, h("span", { class: "key key-line" }, "received"), h("span", { class: "key key-rate" }, "rate"));
    this.root = h("figure", { class: small ? "chart small" : "chart", hidden: true }, this.svg, small ? null : this.caption);
  }

  show(device) {
    const samples = store.samples.get(device.euid), size = device.upgrade?.size;
    const points = samples?.imageVersion === device.upgrade?.imageVersion ? samples?.points ?? [] : [];
    setHidden(this.root, points.length < 2 || !size);
    if (this.root.hidden) return;
    const begin = points[0].time, end = Math.max(points.at(-1).time, begin + 1000);
    const [l, r, t, b, w, hgt] = this.small ? [0, 0, 2, 1, smallWidth, smallHeight] : [left, right, top, bottom, width, height];
    const x = (time) => l + ((time - begin) / (end - begin)) * (w - l - r);
    const y = (part) => hgt - b - part * (hgt - t - b);
    const received = points.map((p) => [x(p.time), y(p.offset / size)]);
    setAttribute(this.#line, "d", line(received));
    setAttribute(this.#area, "d", `${line(received)}L${x(end).toFixed(1)} ${y(0)}L${x(begin).toFixed(1)} ${y(0)}Z`);
    if (this.small) return;
    const speed = rates(points);
    const most = niceCeiling(Math.max(1, ...speed.map((p) => p.rate)));
    setAttribute(this.#rate, "d", line(speed.map((p) => [x(p.time), y(p.rate / most)])));
    this.#drawAxes(y, begin, end, most, size);
    setAttribute(this.svg, "aria-label", `Download: ${progressText(device.upgrade) || bytesText(points.at(-1).offset)} after ${durationText((end - begin) / 1000)}`);
  }

  #drawAxes(y, begin, end, most, size) {
    const lines = [0, 0.5, 1].map((part) => [
      s("line", { x1: left, x2: width - right, y1: y(part), y2: y(part) }),
      s("text", { x: left - 8, y: y(part) + 4, "text-anchor": "end" }, `${part * 100} %`),
      part ? s("text", { x: width - right + 8, y: y(part) + 4, class: "rate-text" }, rateText(Math.round(most * part))) : null,
    ]).flat().filter(Boolean);
    const span = durationText((end - begin) / 1000);
    this.#axes.replaceChildren(...lines,
      s("text", { x: left, y: height - 6 }, "0 s"), s("text", { x: width - right, y: height - 6, "text-anchor": "end" }, span));
    setText(this.caption.firstElementChild, `received, of ${bytesText(size)}`);
  }
}
