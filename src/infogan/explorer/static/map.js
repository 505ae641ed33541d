// Map: all images as points, to look at, to select with a rectangle, and to move.
import { $, make, percent, rove, setTabStop, showError, showTargets, thumb } from './dom.js';
import { ask, change, query, thumbnail } from './server.js';
import { state } from './state.js';

const STEPS = 4096; // places along a side
const UNGROUPED = -1; // number of images whose label is not the name of a group; -2: not read yet
const SIDE = 1600; // pixels of the drawing
const SHOWN = 60; // selected images that are shown
const REACH = 24; // pixels of the drawing from the pointer to the image that is shown
const MAX_MOVED = 5000; // images in one request
// Okabe & Ito 2008: colours that colour-blind people tell apart, on light and on dark.
const COLOURS = ['#0072b2', '#e69f00', '#009e73', '#d55e00', '#cc79a7', '#56b4e9', '#b5a300', '#8c8c8c'];
const MARKS = ['square', 'ring']; // the second round of colours has another mark

let map = null, places = null; // the answer of the server, and the place of each image in its lists
let view = { x: 0, y: 0, side: STEPS }; // the part of the map that is shown
let selected = new Set(); // indices of images
let start = null; // of a drag
let requests = 0, shownRequests = 0, openImage = () => {};
const points = document.createElement('canvas'); // without what is selected, so that dragging draws little

// `openSort` shows an image in the tab Sort.
export function begin(openSort) {
  openImage = openSort;
  const canvas = $('map-canvas');
  canvas.width = canvas.height = points.width = points.height = SIDE;
  canvas.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || !map) return;
    canvas.setPointerCapture(event.pointerId);
    start = { ...position(event), before: event.shiftKey ? new Set(selected) : new Set() };
  });
  canvas.addEventListener('pointermove', (event) => { if (start) drag(position(event)); else hover(position(event)) });
  canvas.addEventListener('pointerup', (event) => {
    if (!start) return;
    const end = position(event), isClick = Math.hypot(end.x - start.x, end.y - start.y) < 8, { before } = start;
    start = null;
    if (isClick) {
      const place = nearest(end);
      selected = before;
      if (place >= 0) selected.add(map.indices[place]);
    }
    showSelection();
  });
  canvas.addEventListener('pointerleave', () => { $('map-hover').hidden = true });
  $('map-in').onclick = zoomIn;
  canvas.addEventListener('pointercancel', () => { start = null; if (map) overlay() });
  $('map-out').onclick = () => { if (!map) return; view = { x: 0, y: 0, side: STEPS }; draw() };
  $('map-clear').onclick = () => { selected.clear(); showSelection() };
  $('map-selection').onsubmit = (event) => { event.preventDefault(); move() };
  $('map-group').onchange = showTarget;
  rove($('map-gallery'));
  rove($('map-groups'));
}

export async function show() {
  const request = ++requests;
  if (!map) $('map-summary').textContent = 'The map is being drawn …';
  let answer;
  try {
    answer = await ask('/api/map');
  } catch (error) {
    showError(error.message, 'map');
    return;
  }
  showError('', 'map');
  if (request !== requests) return; // there is a newer request
  map = answer;
  places = new Map(map.indices.map((index, place) => [index, place]));
  for (const index of selected) if (!places.has(index)) selected.delete(index);
  const how = map.method === 'tsne' ? 'by t-SNE: neighbours are alike, large distances mean little' : 'along the two directions in which they differ most';
  const hint = map.method === 'tsne' ? [] : [' ', make('code', {}, 'infogan map'), ' draws one that shows neighbours better.'];
  $('map-summary').replaceChildren(`${map.indices.length} of ${map.of} images ${how}.`, ...hint);
  showTargets($('map-group'), map.groups);
  showLegend();
  draw();
  showSelection();
}

const colour = (group) => (group < 0 ? '#999' : COLOURS[group % COLOURS.length]);
const mark = (group) => MARKS[Math.floor(Math.max(group, 0) / COLOURS.length) % MARKS.length];

function showLegend() {
  const counts = new Map();
  for (const number of map.numbers) counts.set(number, (counts.get(number) ?? 0) + 1);
  const entries = map.groups.map((name, group) => [group, name]);
  if (counts.has(UNGROUPED)) entries.push([UNGROUPED, 'no group']);
  $('map-groups').replaceChildren(...entries.map(([group, name]) => {
    const swatch = make('span', { class: `swatch ${mark(group)}` });
    swatch.style.setProperty('--swatch', colour(group));
    const all = () => { selected = new Set(map.indices.filter((_, place) => map.numbers[place] === group)); showSelection() };
    return make('button', { type: 'button', title: group < 0 ? 'Select the images whose label is not the name of a group' : `Select the images of ${name}`, onclick: all }, swatch, `${name} (${counts.get(group) ?? 0})`);
  }));
  setTabStop($('map-groups'));
}

// Places on the drawing.

const toDrawing = (place) => [(map.x[place] - view.x) / view.side * SIDE, (map.y[place] - view.y) / view.side * SIDE];

function position(event) {
  const box = $('map-canvas').getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width * SIDE, y: (event.clientY - box.top) / box.height * SIDE };
}

function nearest({ x, y }) {
  let best = -1, least = REACH ** 2;
  for (let place = 0; place < map.indices.length; place++) {
    const [px, py] = toDrawing(place), distance = (px - x) ** 2 + (py - y) ** 2;
    if (distance < least) [best, least] = [place, distance];
  }
  return best;
}

function draw() {
  const context = points.getContext('2d'), size = Math.max(3, Math.min(9, 500 / Math.sqrt(map.indices.length)));
  context.clearRect(0, 0, SIDE, SIDE);
  context.lineWidth = 1.5;
  for (const [group, members] of grouped()) {
    context.fillStyle = context.strokeStyle = colour(group);
    const isRing = mark(group) === 'ring';
    for (const place of members) {
      const [x, y] = toDrawing(place);
      if (isRing) context.strokeRect(x - size / 2, y - size / 2, size, size);
      else context.fillRect(x - size / 2, y - size / 2, size, size);
    }
  }
  overlay();
}

function grouped() {
  const groups = new Map();
  map.numbers.forEach((number, place) => {
    if (!groups.has(number)) groups.set(number, []);
    groups.get(number).push(place);
  });
  return groups;
}

// What is selected, over the points.
function overlay(rectangle) {
  const canvas = $('map-canvas'), context = canvas.getContext('2d');
  context.clearRect(0, 0, SIDE, SIDE);
  context.globalAlpha = selected.size ? 0.25 : 1;
  context.drawImage(points, 0, 0);
  context.globalAlpha = 1;
  for (const index of selected) {
    const place = places.get(index), [x, y] = toDrawing(place);
    context.fillStyle = colour(map.numbers[place]);
    context.fillRect(x - 4, y - 4, 8, 8);
  }
  if (rectangle) {
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = 3;
    context.strokeRect(...rectangle);
  }
  canvas.dataset.frame = Number(canvas.dataset.frame ?? 0) + 1;
}

function drag({ x, y }) {
  const [left, right] = [start.x, x].sort((a, b) => a - b), [top, bottom] = [start.y, y].sort((a, b) => a - b);
  selected = new Set(start.before);
  for (let place = 0; place < map.indices.length; place++) {
    const [px, py] = toDrawing(place);
    if (px >= left && px <= right && py >= top && py <= bottom) selected.add(map.indices[place]);
  }
  overlay([left, top, right - left, bottom - top]);
  $('map-count').textContent = `${selected.size} selected`;
  $('map-selection').hidden = false;
}

function hover(at) {
  const place = map ? nearest(at) : -1, box = $('map-hover');
  box.hidden = place < 0;
  if (place < 0) return;
  const index = map.indices[place], number = map.numbers[place];
  const group = map.groups[number] ?? (number === UNGROUPED ? 'no group' : 'not read yet');
  if (box.dataset.index !== String(index)) {
    box.dataset.index = index;
    box.replaceChildren(make('img', { src: thumbnail(index, 160), alt: '' }), make('span', {}, group));
  }
}

async function showSelection() {
  overlay();
  $('map-selection').hidden = $('map-in').disabled = !selected.size;
  $('map-count').textContent = `${selected.size} selected`;
  showTarget();
  const request = ++shownRequests, indices = [...selected].slice(0, SHOWN);
  if (!indices.length) {
    $('map-gallery').replaceChildren();
    return;
  }
  try {
    const { items } = await ask(`/api/gallery?${query({ code: state.images.code, indices: indices.join(',') })}`);
    if (request !== shownRequests) return;
    $('map-gallery').replaceChildren(...items.map(picture));
    setTabStop($('map-gallery'));
  } catch (error) {
    showError(error.message, 'map');
  }
}

function picture({ index, name, group, label, confidence }) {
  const source = label ? 'labelled by you' : percent(confidence), title = `${name}: ${group}, ${source}`;
  const values = state.codes[state.images.code].groups.find((other) => other.name === group)?.values;
  const open = () => openImage({ code: state.images.code, image: index, ...(values ? { group: values[0], label: '' } : { label: group }) });
  return make('li', {}, thumb(thumbnail(index, 160), 0, 1, title, open, state.originals ? 'photo' : ''));
}

function showTarget() { $('map-new').parentElement.hidden = $('map-group').value !== '' }

function zoomIn() {
  const chosen = [...selected].map((index) => places.get(index)), xs = chosen.map((place) => map.x[place]), ys = chosen.map((place) => map.y[place]);
  const [left, right] = extent(xs), [top, bottom] = extent(ys), side = Math.max(right - left, bottom - top, STEPS / 64) * 1.1;
  view = { x: (left + right - side) / 2, y: (top + bottom - side) / 2, side };
  draw();
}

const extent = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);

async function move() {
  const name = $('map-group').value || $('map-new').value.trim(), indices = [...selected];
  if (!name) return;
  if (indices.length > MAX_MOVED) {
    showError(`${indices.length} images are selected; at most ${MAX_MOVED} can be moved at once.`, 'map');
    return;
  }
  try {
    await change('/api/label', { indices, label: name }); // the map is drawn again afterwards
    $('map-new').value = '';
  } catch { /* the error is shown already */ }
}
