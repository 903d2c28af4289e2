// chart.js - lines over the last 15 minutes as SVG, and the same in words.
//
// A path is drawn in a box of 100 by 100 that stretches to its place; labels are text beside it. The
// newest value is at the right edge, so a history that is still short begins in the middle. A value below
// zero was not there, and leaves a gap.

const SVG = 'http://www.w3.org/2000/svg';

function element(name, className, parent) {
  const e = document.createElement(name);
  e.className = className;
  if (parent) parent.append(e);
  return e;
}

function path(svg, className) {
  const p = document.createElementNS(SVG, 'path');
  p.setAttribute('class', className);
  svg.append(p);
  return p;
}

function box(className) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 100 100');
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  if (className) svg.setAttribute('class', className);
  return svg;
}

// A round number that holds x.
function ceiling(x) {
  if (x <= 0) return 1;
  const unit = 10 ** Math.floor(Math.log10(x));
  return [1, 1.5, 2, 3, 5, 8, 10].map((n) => n * unit).find((n) => n >= x * 0.999);
}

function points(values, most, max) {
  return values.map((v, i) => v < 0 ? null
    : [100 * (i + most - values.length) / (most - 1), 100 - 96 * Math.min(v / max, 1)]);
}

function runs(all) {
  const out = [];
  let run = [];
  for (const p of [...all, null]) {
    if (p) run.push(p);
    else if (run.length) { out.push(run); run = []; }
  }
  return out;
}

const text = (p) => `${p[0].toFixed(2)} ${p[1].toFixed(2)}`;
const line = (run) => `M${run.map(text).join('L')}` + (run.length === 1 ? 'h.4' : '');
const area = (run) => `M${run[0][0].toFixed(2)} 100L${run.map(text).join('L')}L${run.at(-1)[0].toFixed(2)} 100Z`;

// A small line without labels; the row that it stands in has the numbers.
export class Spark {
  constructor(parent) {
    const svg = box('spark');
    this.area = path(svg, 'area s0');
    this.line = path(svg, 's0');
    parent.append(svg);
  }

  draw(values, most, max = ceiling(Math.max(...values, 0))) {
    const all = runs(points(values, most, max));
    this.line.setAttribute('d', all.map(line).join(''));
    this.area.setAttribute('d', all.map(area).join(''));
  }
}

// series: [{ name, show }], show makes text of a value. fixed: the top of the scale, else it follows.
export class Chart {
  constructor(figure, { series, fixed, summary }) {
    Object.assign(this, { series, fixed, summary, values: [], most: 2, periodMs: 5000 });
    this.legend = element('p', 'legend', figure);
    this.labels = series.map((s, i) => {
      const span = element('span', `s${i}`, this.legend);
      span.append(`${s.name} `);
      return element('b', '', span);
    });
    this.plot = element('div', 'plot', figure);
    const svg = box();
    this.areas = series.map((_, i) => path(svg, `area s${i}`));
    this.lines = series.map((_, i) => path(svg, `s${i}`));
    this.plot.append(svg);
    this.top = element('span', 'top-label', this.plot);
    this.cross = element('div', 'cross', this.plot);
    this.cross.hidden = true;
    const axis = element('div', 'axis', figure);
    this.begin = element('span', '', axis);
    this.end = element('span', '', axis);
    this.caption = element('figcaption', '', figure);
    this.plot.addEventListener('pointermove', (e) => this.point(e));
    this.plot.addEventListener('pointerleave', () => this.point(null));
  }

  draw(values, most, periodMs) {
    Object.assign(this, { values, most, periodMs });
    const max = this.fixed ?? ceiling(Math.max(...values.flat(), 0));
    values.forEach((v, i) => {
      const all = runs(points(v, most, max));
      this.lines[i].setAttribute('d', all.map(line).join(''));
      this.areas[i].setAttribute('d', all.map(area).join(''));
    });
    this.top.textContent = this.series[0].show(max);
    this.begin.textContent = `${Math.round(most * periodMs / 60000)} minutes ago`;
    this.caption.textContent = this.summary(values);
    if (this.cross.hidden) this.label(-1);
  }

  // Values at the sample so many before the end in the legend; -1: the newest.
  label(at) {
    this.series.forEach((s, i) => {
      const v = this.values[i]?.at(at);
      this.labels[i].textContent = v === undefined || v < 0 ? '–' : s.show(v);
    });
    const s = Math.round((-at - 1) * this.periodMs / 1000);
    this.end.textContent = s === 0 ? 'now' : s < 90 ? `${s} s ago` : `${Math.round(s / 60)} min ago`;
  }

  point(event) {
    this.cross.hidden = !event;
    if (!event) return this.label(-1);
    const { left, width } = this.plot.getBoundingClientRect();
    const part = Math.min(Math.max((event.clientX - left) / width, 0), 1);
    this.cross.style.left = `${100 * part}%`;
    this.label(Math.round(part * (this.most - 1)) - this.most);
  }
}
