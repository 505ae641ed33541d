// Evidence: the verdict, curves over training, numbers with their meanings, and the pictures that were drawn.
import { $, ask, complain, make, query, told, view, write } from './state.js';

const WIDTH = 560, HEIGHT = 300, LEFT = 52, RIGHT = 8, TOP = 14, BOTTOM = 34;
// Curves differ in the pattern of their line as well, for who does not tell the colours apart; after eight, pairs do.
const DASHES = ['none', '9 4', '2 4', '9 4 2 4', '16 5', '5 2', '1 2', '16 4 2 4 2 4'];
let steps = []; // of the pictures
let drawn_at = {}; // the steps at which the traversal of a code was drawn, by the code's place; -1: samples

export function begin() {
  $('drawn').onchange = () => {
    view.drawn = Number($('drawn').value);
    write();
    scrub();
  };
  $('step').oninput = () => {
    const at = Number($('step').value);
    view.step = at < steps.length - 1 ? steps[at] : -1; // the last stays the last as training goes
    write();
    picture();
  };
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
  drawn_at = { '-1': answer.pictures, ...answer.traversals };
  const kept = Object.entries(drawn_at).filter(([, of]) => of.length).map(([place]) => Number(place)).sort((a, b) => a - b);
  if (!kept.includes(view.drawn)) view.drawn = -1;
  $('drawn').replaceChildren(...kept.map((place) =>
    make('option', { value: place }, place < 0 ? 'samples' : told.codes[place].name)));
  $('drawn').value = view.drawn;
  $('drawn').parentElement.hidden = kept.length < 2;
  scrub();
}

function scrub() {
  steps = drawn_at[view.drawn] ?? [];
  $('scrub').hidden = !steps.length;
  $('step').max = Math.max(0, steps.length - 1);
  const at = steps.indexOf(view.step);
  $('step').value = at < 0 ? steps.length - 1 : at;
  picture();
}

function picture() {
  const step = steps[Number($('step').value)];
  if (step === undefined) return;
  $('picture').src = `/api/picture?${query({ step, code: view.drawn < 0 ? undefined : view.drawn })}`;
  const of = view.drawn < 0 ? 'Generated images' : `A column for each value of ${told.codes[view.drawn].name}`;
  $('picture').alt = `${of} at step ${step}`;
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

const drawn = (i) => ({ class: `k${i % 8}`, 'stroke-dasharray': DASHES[(i + Math.floor(i / 8)) % 8] });

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
  for (const x of ticks(x0, x1, 6).filter(Number.isInteger)) picture.append(svg('text', { x: px(x), y: HEIGHT - 16, 'text-anchor': 'middle' }, x));
  picture.append(svg('text', { x: WIDTH - RIGHT, y: HEIGHT - 2, 'text-anchor': 'end' }, 'steps'), svg('text', { x: 2, y: 11 }, unit));
  names.forEach((name, i) => {
    const points = curves[name].x.map((x, j) => `${px(x).toFixed(1)},${py(curves[name].y[j]).toFixed(1)}`).join(' ');
    picture.append(svg('polyline', { points, ...drawn(i) }));
    // What was measured once is a dot: no line would be seen.
    if (curves[name].x.length === 1) picture.append(svg('circle', { cx: px(curves[name].x[0]), cy: py(curves[name].y[0]), r: 2, class: `k${i % 8}` }));
  });
  // References carry their names; those at one height share a line.
  const heights = new Map();
  for (const [name, y] of Object.entries(references)) heights.set(y, [...(heights.get(y) ?? []), name]);
  for (const [y, called] of heights) {
    picture.append(svg('line', { x1: LEFT, x2: WIDTH - RIGHT, y1: py(y), y2: py(y), class: 'reference' }),
      svg('text', { x: WIDTH - RIGHT, y: py(y) + (py(y) > TOP + 20 ? -4 : 13), 'text-anchor': 'end', class: 'called' }, called.join(', ')));
  }
  const legend = make('div', { class: 'legend' }, ...names.map((name, i) => {
    const last = curves[name].y.at(-1);
    const sample = svg('svg', { viewBox: '0 0 36 6', class: 'sample', 'aria-hidden': 'true' });
    sample.append(svg('polyline', { points: '0,3 36,3', ...drawn(i) }));
    return make('span', {}, sample, `${name} ${Number(last.toPrecision(3))}`);
  }), ...Object.entries(references).map(([name, y]) => make('span', { class: 'faint' }, `${name} ${y.toFixed(2)}`)));
  return make('figure', {}, make('h2', {}, title), picture, legend);
}
