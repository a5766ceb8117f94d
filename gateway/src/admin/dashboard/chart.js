// Lines over the last minutes, as a drawing of the width that there is.

import { element, shape } from './dom.js';

const HEIGHT = 170;
const LEFT = 52;
const BOTTOM = 22;
const TOP = 8;
const RIGHT = 8;

/// A chart in `figure` of `seconds` points, one for each. `series` have a name, a class, and how a point of theirs is got;
/// `isStacked` puts each upon the one before.
export class Chart {
  constructor(figure, { seconds, series, isStacked, format, describe }) {
    Object.assign(this, { figure, seconds, series, isStacked, format, describe, points: [], pointed: null });
    this.values = new Map(series.map((one) => [one, element('output', {})]));
    this.moment = element('time', { class: 'quiet' });
    figure.querySelector('figcaption').append(element('p', { class: 'legend' }, this.moment, series.map((one) => (
      element('span', { class: `key ${one.kind}` }, `${one.name} `, this.values.get(one))
    ))));
    this.drawing = shape('svg', { role: 'img', height: HEIGHT, class: 'chart' });
    figure.append(this.drawing);
    new ResizeObserver(() => this.draw()).observe(figure);
    this.drawing.addEventListener('pointermove', (event) => this.point(event));
    this.drawing.addEventListener('pointerleave', () => { this.pointed = null; this.draw(); });
  }

  /// Shows `points`, the last of which is of the moment `now`, in seconds.
  update(points, now) {
    this.points = points.filter(({ until }) => until > now - this.seconds);
    this.now = now;
    this.draw();
  }

  point(event) {
    const { left, width } = this.drawing.getBoundingClientRect();
    const at = (event.clientX - left - LEFT) / (width - LEFT - RIGHT);
    const wanted = this.now - this.seconds * (1 - at);
    this.pointed = this.points.findLast(({ until }) => until <= Math.ceil(wanted)) ?? null;
    this.draw();
  }

  draw() {
    const width = this.figure.clientWidth - 2 * Number.parseFloat(getComputedStyle(this.figure).paddingLeft);
    if (!(width > 0) || this.now === undefined) return;
    const top = niceCeiling(Math.max(...this.points.map((point) => this.height(point)), this.series[0].least));
    const x = (until) => LEFT + (1 - (this.now - until) / this.seconds) * (width - LEFT - RIGHT);
    const y = (value) => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
    const shown = this.pointed ?? this.points.at(-1);
    for (const [one, output] of this.values) output.value = shown ? this.format(one.of(shown)) : '–';
    this.moment.textContent = this.pointed ? ago(this.now - this.pointed.until) : '';
    this.drawing.setAttribute('width', width);
    this.drawing.setAttribute('viewBox', `0 0 ${width} ${HEIGHT}`);
    this.drawing.setAttribute('aria-label', this.describe(this.points));
    this.drawing.replaceChildren(
      ...this.grid(top, width, x, y),
      ...(this.isStacked ? this.areas(x, y) : this.lines(x, y)),
      ...(this.pointed ? [shape('line', { class: 'pointed', x1: x(this.pointed.until), x2: x(this.pointed.until), y1: TOP, y2: HEIGHT - BOTTOM })] : []),
    );
  }

  /// The highest thing that is drawn of a point.
  height(point) {
    const values = this.series.map((one) => one.of(point) ?? 0);
    return this.isStacked ? values.reduce((sum, value) => sum + value, 0) : Math.max(...values);
  }

  grid(top, width, x, y) {
    const lines = [0, 0.5, 1].map((part) => part * top);
    const minutes = Array.from({ length: this.seconds / 60 + 1 }, (_, minute) => minute);
    return [
      ...lines.flatMap((value) => [
        shape('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
        shape('text', { class: 'label', x: LEFT - 8, y: y(value) + 4, 'text-anchor': 'end' }, this.format(value)),
      ]),
      ...minutes.map((minute) => shape('text', {
        class: 'label', x: x(this.now - minute * 60), y: HEIGHT - 5, 'text-anchor': minute === 0 ? 'end' : 'middle',
      }, minute === 0 ? 'now' : `−${minute} min`)).slice(0, -1),
    ];
  }

  areas(x, y) {
    const below = this.points.map(() => 0);
    return this.series.map((one) => {
      const lower = this.points.map((point, index) => [x(point.until), y(below[index])]);
      const upper = this.points.map((point, index) => [x(point.until), y(below[index] += one.of(point))]);
      return shape('path', { class: `area ${one.kind}`, d: path([...upper, ...lower.reverse()]) });
    }).reverse();
  }

  /// Where there is no value the line ends, and goes on later.
  lines(x, y) {
    return this.series.flatMap((one) => {
      const pieces = [[]];
      for (const point of this.points) {
        const value = one.of(point);
        if (value === null) pieces.push([]);
        else pieces.at(-1).push([x(point.until), y(value)]);
      }
      return pieces.filter((piece) => piece.length).map((piece) => (piece.length > 1
        ? shape('path', { class: `line ${one.kind}`, d: path(piece) })
        : shape('circle', { class: `dot ${one.kind}`, cx: piece[0][0], cy: piece[0][1], r: 1.5 })));
    });
  }
}

const path = (points) => points.map(([x, y], index) => `${index ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`).join('');

const ago = (seconds) => (seconds < 1 ? 'now' : `${seconds} s ago`);

/// The next round number.
function niceCeiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((step) => step >= value * 0.999);
}
