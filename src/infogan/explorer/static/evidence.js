// Evidence: the verdict, curves over training, numbers with their meanings, and the pictures that were drawn.
import { $, ask, complain, make, query } from './state.js';

const WIDTH = 560, HEIGHT = 300, LEFT = 52, RIGHT = 8, TOP = 14, BOTTOM = 34;
let steps = null; // of the pictures

export function begin() {
  $('step').oninput = picture;
}

export async function show() {
  let answer;
  try {
    answer = await ask('/api/evidence');
  } catch (error) {
    complain(error.message, 'evidence');
    return;
  }
  complain('', 'evidence');
  const said = answer.verdict?.reason ?? 'There is no verdict yet: it comes at the end of training.';
  $('verdict').textContent = said;
  $('verdict').classList.toggle('doubted', answer.verdict?.trust === false);
  $('measured').replaceChildren(...answer.measured.map(([name, value, meaning]) =>
    make('tr', {}, make('th', { scope: 'row' }, name), make('td', {}, value), make('td', { class: 'faint' }, meaning))));
  $('charts').replaceChildren(...answer.charts.map(chart));
  const last = steps === null || Number($('step').value) === steps.length - 1; // stays the last as training goes
  steps = answer.pictures;
  $('scrub').hidden = !steps.length;
  $('step').max = Math.max(0, steps.length - 1);
  if (last) $('step').value = steps.length - 1;
  picture();
}

function picture() {
  const step = steps[Number($('step').value)];
  if (step === undefined) return;
  $('picture').src = `/api/picture?${query({ step })}`;
  $('picture').alt = `Generated images at step ${step}`;
  $('step').setAttribute('aria-valuetext', `step ${step}`);
  $('step').nextElementSibling.textContent = step;
}

function svg(kind, attributes, text) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', kind);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function ticks(low, high, count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((s) => s >= rough);
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-9; i++) found.push(Number((i * step).toPrecision(8)));
  return found;
}

function chart({ title, unit, curves, references }) {
  const all = Object.values(curves);
  const xs = all.flatMap((c) => c.x), ys = [...all.flatMap((c) => c.y), ...Object.values(references)];
  let [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  if (x0 === x1) x1 = x0 + 1;
  if (y0 === y1) [y0, y1] = [y0 - 0.5, y1 + 0.5];
  const room = 0.04 * (y1 - y0);
  [y0, y1] = [y0 - room, y1 + room];
  const px = (x) => LEFT + ((x - x0) / (x1 - x0)) * (WIDTH - LEFT - RIGHT);
  const py = (y) => HEIGHT - BOTTOM - ((y - y0) / (y1 - y0)) * (HEIGHT - TOP - BOTTOM);
  const names = Object.keys(curves);
  const picture = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': `${title}: ${names.join(', ')} over the steps` });
  for (const y of ticks(y0, y1, 5)) {
    picture.append(svg('line', { x1: LEFT, x2: WIDTH - RIGHT, y1: py(y), y2: py(y), class: 'axis' }),
      svg('text', { x: LEFT - 6, y: py(y) + 4, 'text-anchor': 'end' }, y));
  }
  for (const x of ticks(x0, x1, 6)) picture.append(svg('text', { x: px(x), y: HEIGHT - 16, 'text-anchor': 'middle' }, x));
  picture.append(svg('text', { x: WIDTH - RIGHT, y: HEIGHT - 2, 'text-anchor': 'end' }, 'steps'), svg('text', { x: 2, y: 11 }, unit));
  for (const [name, y] of Object.entries(references)) {
    const line = svg('line', { x1: LEFT, x2: WIDTH - RIGHT, y1: py(y), y2: py(y), class: 'dashes' });
    line.append(svg('title', {}, name));
    picture.append(line);
  }
  names.forEach((name, i) => {
    const points = curves[name].x.map((x, j) => `${px(x).toFixed(1)},${py(curves[name].y[j]).toFixed(1)}`).join(' ');
    picture.append(svg('polyline', { points, class: `k${i % 8}` }));
  });
  const legend = make('div', { class: 'legend' }, ...names.map((name, i) => {
    const last = curves[name].y.at(-1);
    return make('span', {}, make('i', { class: `k${i % 8}` }), `${name} ${Number(last.toPrecision(3))}`);
  }), ...Object.entries(references).map(([name, y]) => make('span', { class: 'faint' }, `┄ ${name} ${y.toFixed(2)}`)));
  return make('figure', {}, make('h2', {}, title), picture, legend);
}
