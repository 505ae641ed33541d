// Steering an exported model: codes and noise in, a table of images out, all of it computed here.
'use strict';
(() => {
const CELLS = 10, ROWS = 8; // of the table
const MOST_PIXELS = 2 ** 25; // of a picture that is read
const $ = (id) => document.getElementById(id);

// What went wrong, by who says so: nobody's success takes away another's complaint.
const complaints = new Map();

function complain(text, who) {
  if (text) complaints.set(who, text);
  else complaints.delete(who);
  $('error').textContent = [...complaints.values()].join(' ');
  $('error').hidden = !complaints.size;
}

const SCRIPTS = { 'model.js': () => self.model, 'runtime.js': () => self.ort, 'runtime.wasm.js': () => self.parts?.['runtime.wasm'] };
const lacking = (...names) => names.find((name) => !SCRIPTS[name]());
const say = (name) => complain(`The file ${name}, which belongs beside this page, is missing or damaged.`, 'files');

if (lacking('model.js')) {
  $('progress').textContent = '';
  say('model.js');
  return;
}

const { kind, codes, noise: latent, images } = self.model;
const [channels, side] = images.shape;
const reads = codes.some((code) => code.outputs);
const size = channels * side ** 2; // of an image, in numbers
const AT_ONCE = Math.max(1, Math.round(2 ** 15 / side ** 2)); // images that are computed without a pause

// Where the page stands. All of it is in the address, so that a link reopens it. An axis is the place of a code, or -1
// for noise. `pick` is which of a seed's noises is the centre's.
const view = { codes: [], seed: 0, pick: 0, across: -1, down: -1 };

const values = (place) => codes[place].values && codes[place].order;
const firstCategory = () => codes.findIndex((code) => code.values);
const valueName = (place, value) => values(place) ? codes[place].values[value] : value.toFixed(2).replace('-', '−');
const describe = (of) => codes.map((code, i) => `${code.name} ${valueName(i, of[i])}`).join(', ');

function make(kind, attributes = {}, ...children) {
  const element = document.createElement(kind);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, String(value));
  }
  element.append(...children); // text goes in as text: no name that somebody gave is read as markup
  return element;
}

// The model.

async function unpacked(name) {
  const bytes = Uint8Array.from(atob(self.parts[name]), (letter) => letter.charCodeAt(0));
  delete self.parts[name];
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer());
}

const sessions = {};
const session = (name) => sessions[name] ??= unpacked(`${name}.onnx`).then((bytes) => self.ort.InferenceSession.create(bytes));
let last = Promise.resolve(); // sessions share one memory: they run one after the other

function run(name, feeds) {
  const mine = last.catch(() => {}).then(async () => (await session(name)).run(feeds));
  last = mine;
  return mine;
}

// Images in [0, 1], one after the other, of a list of {codes, noise}.
async function generate(wanted) {
  const count = wanted.length, feeds = {};
  const flat = new Float32Array(count * latent.size);
  wanted.forEach((one, i) => flat.set(one.noise, i * latent.size));
  feeds[latent.input] = new self.ort.Tensor('float32', flat, [count, latent.size]);
  codes.forEach((code, place) => {
    const column = wanted.map((one) => one.codes[place]);
    feeds[code.input] = values(place)
      ? new self.ort.Tensor('int64', BigInt64Array.from(column, BigInt), [count])
      : new self.ort.Tensor('float32', Float32Array.from(column), [count]);
  });
  return (await run('generator', feeds))[images.name].data;
}

// What is read of each code in one image, whose values are in [0, 1]: probabilities, or mean and deviation.
async function read(pixels) {
  const found = await run('recognizer', { [images.name]: new self.ort.Tensor('float32', pixels, [1, channels, side, side]) });
  return codes.map(({ outputs }) => Object.fromEntries(Object.entries(outputs).map(([what, name]) => [what, [...found[name].data]])));
}

// The noise `pick` of a seed: always the same. The mixing is MurmurHash3's, the generator is mulberry32.
function noise(seed, pick) {
  let state = mixed(mixed(seed) + Math.imul(pick + 1, 0x9e3779b9));
  const chance = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const draw = latent.distribution === 'normal'
    ? () => Math.sqrt(-2 * Math.log(1 - chance())) * Math.cos(2 * Math.PI * chance())
    : () => 2 * chance() - 1;
  return Float32Array.from({ length: latent.size }, draw);
}

function mixed(number) {
  let hash = Math.imul(number ^ (number >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return hash ^ (hash >>> 16);
}

self.infogan = { noise, generate, read }; // for whoever has a script of their own

// The table.

function along(axis, most) {
  if (axis < 0) return [...Array(most).keys()];
  const all = values(axis);
  if (!all) return Array.from({ length: most }, (_, i) => Math.round(1000 * (-1 + (2 * i) / (most - 1))) / 1000);
  const from = Math.max(0, Math.min(all.indexOf(view.codes[axis]) - most, all.length - 2 * most));
  return all.slice(from, from + 2 * most); // of many values those around the centre's
}

// What is to be drawn; the view may move on meanwhile.
function planned() {
  const from = { ...view, codes: [...view.codes] };
  return { from, across: along(from.across, from.across < 0 ? ROWS : CELLS), down: along(from.down, ROWS) };
}

// The codes and the noise of one cell.
function cellOf({ from, across, down }, at) {
  const row = Math.floor(at / across.length), column = at % across.length;
  const own = [...from.codes];
  if (from.across >= 0) own[from.across] = across[column];
  if (from.down >= 0) own[from.down] = down[row];
  const picks = [from.down < 0 ? row : 0, from.across < 0 ? column : 0];
  const pick = from.across < 0 || from.down < 0 ? picks[0] * (from.across < 0 ? across.length : 1) + picks[1] : from.pick;
  return { codes: own, pick };
}

const drawnFrom = (seed) => ({ codes, pick }) => ({ codes, noise: noise(seed, pick) });

// Whether a cell's value of a code is the one closest to the centre's.
function nearest(place, value, { from, across, down }) {
  const shown = place === from.across ? across : place === from.down ? down : [from.codes[place]];
  const far = (other) => Math.abs(other - from.codes[place]);
  return value === shown.reduce((a, b) => (far(b) < far(a) ? b : a));
}

// Puts an image at a place of a canvas.
function paint(canvas, pixels, left = 0, top = 0) {
  const context = canvas.getContext('2d'), image = context.createImageData(side, side), plane = side * side;
  for (let at = 0; at < plane; at++) {
    for (let c = 0; c < 3; c++) image.data[4 * at + c] = 255 * pixels[(c % channels) * plane + at]; // which is rounded
    image.data[4 * at + 3] = 255;
  }
  context.putImageData(image, left, top);
}

function sized(canvas, width, height) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  return canvas;
}

let ready = false, dirty = false, busy = false, shape = '', shown = null;

// Draws the newest view as soon as the one before is given up: the centre first, then the table, row by row.
async function refresh() {
  dirty = true;
  write();
  if (busy || !ready) return;
  busy = true;
  $('lattice').setAttribute('aria-busy', 'true');
  while (dirty) {
    dirty = false;
    try {
      await draw(planned());
      complain('', 'steer');
    } catch (error) {
      complain(`The model can not be run: ${error.message}`, 'steer');
    }
  }
  $('lattice').setAttribute('aria-busy', 'false');
  busy = false;
}

async function draw(plan) {
  const { from, across, down } = plan, one = drawnFrom(from.seed);
  paint(sized($('centre'), side, side), await generate([one(from)]));
  const words = describe(from.codes) || `noise ${from.pick} of seed ${from.seed}`;
  $('centre').setAttribute('aria-label', `Generated: ${words}`);
  $('told').textContent = words;
  const canvas = layTable(plan), columns = across.length;
  const cells = Array.from({ length: columns * down.length }, (_, at) => one(cellOf(plan, at)));
  await each(cells, (pixels, at) => paint(canvas, pixels, (at % columns) * side, Math.floor(at / columns) * side));
  if (!dirty) label(plan);
  for (let i = 0; i < codes.length && !dirty; i++) await drawStrip(i, from);
}

// Computes images, some at a time, so that a slider that is dragged meanwhile is heard; not those that nobody asks for
// any more.
async function each(wanted, put) {
  for (let at = 0; at < wanted.length && !dirty; at += AT_ONCE) {
    const some = wanted.slice(at, at + AT_ONCE), pixels = await generate(some);
    some.forEach((_, i) => put(pixels.subarray(i * size, (i + 1) * size), at + i));
    await new Promise((resolve) => setTimeout(resolve));
  }
}

// The centre with one code changed: a button for each value.
async function drawStrip(place, from) {
  const shown = values(place) ? along(place, CELLS / 2) : along(place, CELLS);
  const wanted = shown.map((value) => ({ codes: from.codes.with(place, value), noise: noise(from.seed, from.pick) }));
  const frames = $('strips').children[place].lastChild;
  if (frames.children.length !== shown.length) {
    frames.replaceChildren(...shown.map(() => make('button', { type: 'button', class: 'cell' }, sized(make('canvas', { 'aria-hidden': 'true' }), side, side))));
  }
  await each(wanted, (pixels, i) => {
    const frame = frames.children[i];
    paint(frame.firstChild, pixels);
    frame.title = `${codes[place].name} ${valueName(place, shown[i])}`;
    frame.setAttribute('aria-label', frame.title);
    frame.setAttribute('aria-pressed', shown[i] === from.codes[place]);
    frame.onclick = () => choose(place, shown[i]);
  });
  settle(frames);
}

// What each cell shows, for who does not see it, and which is the centre.
function label(plan) {
  const { from } = plan;
  const inTable = from.across >= 0 && from.down >= 0;
  [...$('lattice').querySelectorAll('.cell')].forEach((cell, i) => {
    const here = cellOf(plan, i);
    cell.title = [describe(here.codes), `noise ${here.pick}`].filter(Boolean).join(', ');
    cell.setAttribute('aria-label', cell.title);
    const centred = (inTable || here.pick === from.pick) && here.codes.every((value, place) => nearest(place, value, plan));
    cell.setAttribute('aria-selected', centred);
  });
}

// Headings, and a button for each image over the canvas that has them all.
function layTable(plan) {
  const { from, across, down } = plan, box = $('lattice');
  const headings = (axis, along) => along.map((value) => (axis < 0 ? '' : valueName(axis, value)));
  const wanted = JSON.stringify([from.across, from.down, across, down]);
  shown = plan;
  if (wanted === shape) return box.querySelector('canvas');
  shape = wanted;
  const focused = [...box.querySelectorAll('.cell')].indexOf(document.activeElement);
  box.style.gridTemplateColumns = `auto repeat(${across.length}, minmax(0, 5.2rem))`;
  const place = (element, row, column) => {
    element.style.gridArea = `${row} / ${column}`;
    return element;
  };
  const canvas = sized(make('canvas', { 'aria-hidden': 'true' }), across.length * side, down.length * side);
  canvas.style.gridArea = `2 / 2 / ${down.length + 2} / ${across.length + 2}`;
  const parts = [canvas];
  headings(from.across, across).forEach((text, i) => parts.push(place(make('span', { class: 'heading column', title: text }, text), 1, i + 2)));
  headings(from.down, down).forEach((text, i) => parts.push(place(make('span', { class: 'heading row', title: text }, text), i + 2, 1)));
  down.forEach((_, row) => {
    const line = make('div', { role: 'row' });
    line.style.display = 'contents';
    across.forEach((_, column) => {
      const at = row * across.length + column;
      const cell = make('button', { type: 'button', class: 'cell', role: 'gridcell', tabindex: at ? -1 : 0 });
      cell.onclick = () => centre(at);
      cell.onkeydown = (event) => moveFocus(event, at);
      line.append(place(cell, row + 2, column + 2));
    });
    parts.push(line);
  });
  box.replaceChildren(...parts);
  if (focused >= 0) focusCell(Math.min(focused, across.length * down.length - 1));
  return canvas;
}

function centre(at) {
  Object.assign(view, cellOf(shown, at));
  controls();
  refresh();
}

function focusCell(at) {
  const cells = $('lattice').querySelectorAll('.cell');
  for (const cell of cells) cell.tabIndex = -1;
  cells[at].tabIndex = 0;
  cells[at].focus();
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function moveFocus(event, at) {
  const step = STEPS[event.key];
  if (!step) return;
  event.preventDefault();
  event.stopPropagation();
  const columns = shown.across.length, rows = shown.down.length;
  const row = Math.min(rows - 1, Math.max(0, Math.floor(at / columns) + step[0]));
  const column = Math.min(columns - 1, Math.max(0, (at % columns) + step[1]));
  focusCell(row * columns + column);
}

// A box of buttons is one stop for the Tab key; arrows go from one to the next.
function rove(box) {
  box.addEventListener('keydown', (event) => {
    const all = [...box.children], to = all.indexOf(event.target) + { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!all[to]) return;
    event.preventDefault();
    event.stopPropagation();
    all[to].focus();
  });
  box.addEventListener('focusin', (event) => settle(box, event.target.closest('button')));
  return box;
}

function settle(box, stop = box.querySelector(':focus') ?? box.querySelector('[aria-pressed=true]') ?? box.firstChild) {
  for (const button of box.children) button.tabIndex = button === stop ? 0 : -1;
}

// Controls: made once, then brought in line with the view.

function makeControls() {
  $('codes').replaceChildren(...codes.map((code, place) => {
    if (!values(place)) {
      const input = make('input', { type: 'range', min: -1, max: 1, step: 0.01, 'data-code': place, 'aria-label': code.name });
      input.oninput = () => {
        view.codes[place] = Number(input.value);
        controls();
        refresh();
      };
      const label = make('label', { class: 'slider' }, make('span', {}, '−1'), input, make('span', {}, '1'), make('output'));
      return make('fieldset', {}, make('legend', {}, code.name), label);
    }
    const buttons = values(place).map((value, i) => {
      const key = place === firstCategory() && i < 10 && code.values[value] !== String(i) && keyed(i) === value ? [' ', make('kbd', {}, String(i))] : [];
      return make('button', { type: 'button', 'data-value': value, onclick: () => choose(place, value) }, code.values[value], ...key);
    });
    return make('fieldset', { 'data-place': place }, make('legend', {}, code.name), make('div', { class: 'values' }, ...buttons));
  }));
  $('strips').replaceChildren(...codes.map((code) => make('div', { class: 'strip' },
    make('h2', {}, `Only ${code.name} changes`), rove(make('div', { class: 'frames', role: 'group', 'aria-label': code.name })))));
  for (const axis of ['across', 'down']) {
    $(axis).replaceChildren(...[...codes.map((code, i) => [i, code.name]), [-1, 'noise']].map(([value, text]) => make('option', { value }, text)));
  }
}

function controls() {
  codes.forEach((_, place) => {
    for (const button of document.querySelectorAll(`[data-place="${place}"] button`)) {
      button.setAttribute('aria-pressed', String(Number(button.dataset.value) === view.codes[place]));
    }
    const slider = document.querySelector(`[data-code="${place}"]`);
    if (!slider) return;
    if (Number(slider.value) !== view.codes[place]) slider.value = view.codes[place];
    slider.parentElement.querySelector('output').textContent = valueName(place, view.codes[place]);
  });
  for (const axis of ['across', 'down']) $(axis).value = String(view[axis]);
  $('seed').textContent = `seed ${view.seed}`;
}

// The value that a digit chooses: the one that is called by it, else the one at its place.
function keyed(digit) {
  const { values: names, order } = codes[firstCategory()];
  return order.find((value) => names[value] === String(digit)) ?? order[digit];
}

function choose(place, value) {
  view.codes[place] = value;
  controls();
  refresh();
}

function redraw() {
  Object.assign(view, { seed: Math.floor(Math.random() * 1e9), pick: 0 });
  controls();
  refresh();
}

// The address. Browsers refuse one that changes too often: it follows a dragged slider from behind.

let due = 0;

function write() {
  due ||= setTimeout(() => {
    due = 0;
    const words = new URLSearchParams({ ...view, codes: view.codes.join(',') });
    try { history.replaceState(null, '', `#${words}`) } catch { /* the next change writes it */ }
  }, 300);
}

function readAddress() {
  const words = new URLSearchParams(location.hash.slice(1));
  const number = (key, low, high, other) => {
    const given = words.has(key) ? Number(words.get(key)) : NaN;
    return Number.isInteger(given) && given >= low && given <= high ? given : other;
  };
  const given = (words.get('codes') ?? '').split(',').map((word) => (word ? Number(word) : NaN));
  view.codes = codes.map((_, i) => {
    if (values(i)) return values(i).includes(given[i]) ? given[i] : values(i)[0];
    return Math.abs(given[i]) <= 1 ? given[i] : 0;
  });
  view.seed = number('seed', 0, 1e9, 0);
  view.pick = number('pick', 0, ROWS * ROWS - 1, 0);
  view.across = number('across', -1, codes.length - 1, codes.length ? Math.max(0, firstCategory()) : -1);
  view.down = number('down', -1, codes.length - 1, -1);
  if (view.across === view.down) view.down = -1;
}

// An image of the user's own, brought to the model's form as the package does: the largest square in the middle,
// transparent parts white, Lanczos.

async function pixelsOf(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: 'none' });
  if (bitmap.width * bitmap.height > MOST_PIXELS) throw new Error(`it has more than ${MOST_PIXELS} pixels`);
  const own = Math.min(bitmap.width, bitmap.height);
  const context = sized(make('canvas'), own, own).getContext('2d', { willReadFrequently: true });
  context.fillStyle = '#fff';
  context.fillRect(0, 0, own, own);
  context.drawImage(bitmap, -Math.floor((bitmap.width - own) / 2), -Math.floor((bitmap.height - own) / 2));
  const { data } = context.getImageData(0, 0, own, own), planes = new Float32Array(channels * side * side);
  for (let c = 0; c < channels; c++) {
    const plane = Float32Array.from({ length: own * own }, (_, i) => (channels === 1
      ? (19595 * data[4 * i] + 38470 * data[4 * i + 1] + 7471 * data[4 * i + 2] + 32768) >> 16 // ITU-R 601
      : data[4 * i + c]));
    planes.set(resized(plane, own).map((value) => value / 255), c * side * side);
  }
  return planes;
}

// A square plane at the model's size: along rows, then along columns, rounded after each.
function resized(plane, own) {
  if (own === side) return plane;
  const scale = own / side, wide = Math.max(scale, 1);
  const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
  const taps = Array.from({ length: side }, (_, at) => {
    const middle = (at + 0.5) * scale;
    const from = Math.max(0, Math.floor(middle - 3 * wide + 0.5)), to = Math.min(own, Math.floor(middle + 3 * wide + 0.5));
    const weights = Array.from({ length: to - from }, (_, i) => {
      const x = (from + i - middle + 0.5) / wide;
      return Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0;
    });
    const sum = weights.reduce((a, b) => a + b);
    return { from, weights: weights.map((weight) => weight / sum) };
  });
  const along = (get, rows) => {
    const made = new Float32Array(rows * side);
    for (let row = 0; row < rows; row++) {
      taps.forEach(({ from, weights }, at) => {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * get(row, from + i);
        made[row * side + at] = Math.min(255, Math.max(0, Math.round(sum)));
      });
    }
    return made;
  };
  const rows = along((row, i) => plane[row * own + i], own);
  const columns = along((column, i) => rows[i * side + column], side);
  return Float32Array.from({ length: side * side }, (_, i) => columns[(i % side) * side + Math.floor(i / side)]);
}

let uploads = 0;

async function upload(file) {
  const box = $('uploaded'), mine = ++uploads;
  box.replaceChildren('reading …');
  try {
    const pixels = await pixelsOf(file), readings = await read(pixels);
    if (mine !== uploads) return; // another was chosen meanwhile
    box.replaceChildren(...reading(pixels, readings));
    complain('', 'upload');
  } catch (error) {
    if (mine !== uploads) return;
    box.replaceChildren();
    complain(`The picture can not be read: ${error.message}`, 'upload');
  }
}

const percent = (share) => `${(100 * share).toFixed(share > 0.9995 ? 0 : 1)} %`;

// What the recognizer says: bars for categories, numbers for knobs.
function reading(pixels, readings) {
  const canvas = sized(make('canvas', { id: 'read', role: 'img', 'aria-label': 'The image as the model sees it' }), side, side);
  paint(canvas, pixels);
  const parts = [canvas];
  const found = codes.map((code, place) => {
    const { probabilities, mean, deviation } = readings[place];
    if (!probabilities) {
      parts.push(make('p', {}, `${code.name} ${valueName(place, mean[0])} ± ${deviation[0].toFixed(2)}`));
      return Math.min(1, Math.max(-1, mean[0]));
    }
    const ranked = probabilities.map((share, value) => [value, share]).sort((a, b) => b[1] - a[1]).slice(0, 3);
    parts.push(make('div', { class: 'bars', role: 'group', 'aria-label': code.name }, ...ranked.flatMap(([value, share]) => {
      const name = valueName(place, value);
      return [make('span', {}, `${code.name} ${name}`), make('meter', { min: 0, max: 1, value: share, 'aria-label': name }), percent(share)];
    })));
    return ranked[0][0];
  });
  const go = () => {
    view.codes = found;
    controls();
    refresh();
  };
  parts.push(make('button', { type: 'button', onclick: go }, 'Generate with these codes'));
  return parts;
}

// The page.

// In a narrow window the controls come after the picture, for the eye and for the Tab key alike.
const narrow = matchMedia('(max-width: 50rem)');

function arrange() {
  const box = document.querySelector('.controls'), stage = document.querySelector('.stage');
  if (narrow.matches) stage.after(box);
  else stage.before(box);
}

function key(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest('select, textarea, input:not([type=range], [type=file])')) return;
  if (event.key in STEPS && shown && event.target.type !== 'range') {
    const cells = [...$('lattice').querySelectorAll('.cell')];
    moveFocus(event, Math.max(0, cells.findIndex((cell) => cell.getAttribute('aria-selected') === 'true')));
  } else if (event.key === 'r' || event.key === 'R') {
    redraw();
  } else if (/^[0-9]$/.test(event.key) && firstCategory() >= 0) {
    const value = keyed(Number(event.key));
    if (value !== undefined) choose(firstCategory(), value);
  }
}

function begin() {
  const what = { infogan: 'InfoGAN', cgan: 'conditional GAN', gan: 'GAN' }[kind];
  $('about').textContent = `${what} that draws ${side} × ${side} images${codes.length ? ` by ${codes.map((code) => code.name).join(', ')}` : ''}`;
  arrange();
  narrow.addEventListener('change', arrange);
  readAddress();
  makeControls();
  controls();
  $('redraw').onclick = redraw;
  for (const [axis, other] of [['across', 'down'], ['down', 'across']]) {
    $(axis).onchange = () => {
      const before = view[axis];
      view[axis] = Number($(axis).value);
      if (view[axis] >= 0 && view[axis] === view[other]) view[other] = before; // they change places
      controls();
      refresh();
    };
  }
  document.addEventListener('keydown', key);
  addEventListener('hashchange', () => {
    readAddress();
    controls();
    refresh();
  });
  $('reader').hidden = !reads;
  if (!reads) return;
  $('file').onchange = () => {
    if ($('file').files.length) upload($('file').files[0]);
    $('file').value = ''; // the same file may be chosen again
  };
  const drop = (event) => {
    event.preventDefault();
    document.body.classList.toggle('dropping', event.type === 'dragover');
    if (event.type === 'drop' && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  };
  for (const kind of ['dragover', 'dragleave', 'drop']) document.addEventListener(kind, drop);
  document.addEventListener('paste', (event) => {
    const file = [...event.clipboardData.files].find((f) => f.type.startsWith('image/'));
    if (file) upload(file);
  });
}

// Once all scripts are there, or are known not to be.
async function start() {
  const name = lacking('runtime.js', 'runtime.wasm.js');
  if (name) {
    $('progress').textContent = '';
    say(name);
    return;
  }
  try {
    Object.assign(self.ort.env.wasm, { numThreads: 1, proxy: false, wasmBinary: await unpacked('runtime.wasm') });
    self.ort.env.logLevel = 'error';
    await session('generator');
    ready = true;
    $('progress').textContent = 'Runs in this browser; nothing is sent anywhere.';
    refresh();
  } catch (error) {
    $('progress').textContent = '';
    complain(`This browser can not run the model: ${error.message}`, 'start');
  }
}

begin();
addEventListener('load', start);
})();
