// Steering: codes and noise in, a table of generated images out. The explorer and exported pages share this script and
// differ in the back end that computes the images.
import { $, choices, make, paint, percent, rove, setTabStop, showError } from './dom.js';
import { showPredictions } from './predictions.js';
import { describe, firstCategory, state, valueName, view, writeAddress, writeAddressNow } from './state.js';

const COLUMNS = 10, ROWS = 8; // of the table
const MAX_IMAGES = 200; // in the table
const STRIP = 10; // images in the strip of a code
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const narrow = matchMedia('(max-width: 50rem)');

let backend = null;
let outdated = false, drawing = false; // whether the view changed since it was drawn; whether it is being drawn
let table = null; // the table on the page: its request, and the values along its axes
let layout = ''; // of the table, to rebuild it only when it changes
let walk = 0; // number of the current walk; 0 = none
let uploads = 0; // number of the newest upload

// Starts steering with a back end, which has
//   draw(request, show, isOutdated): draws a table; calls show({ across, down, image, centre }) with the values along the
//     axes, an image of the table, and an image of the centre if it was requested, as often as there is more to show
//   read(file): resolves to { image, predictions, generated, similar } for an image file; the last two may be missing
//   downloads(request): links to files of the view; may be missing
export function begin(engine) {
  backend = engine;
  arrange();
  narrow.addEventListener('change', arrange);
  $('redraw').onclick = redraw;
  $('walk').onclick = () => (walk ? stopWalk() : startWalk());
  $('way').oninput = () => {
    view.way = Number($('way').value);
    showNoise();
    refresh();
  };
  for (const [axis, other] of [['across', 'down'], ['down', 'across']]) {
    $(axis).onchange = () => {
      const before = view[axis];
      view[axis] = Number($(axis).value);
      if (view[axis] >= 0 && view[axis] === view[other]) view[other] = before; // the axes change places
      update();
    };
  }
  $('zoom').onchange = () => { view.zoom = Number($('zoom').value); refresh() };
  $('link').onclick = copyLink;
  $('file').onchange = () => {
    if ($('file').files.length) upload($('file').files[0]);
    $('file').value = ''; // so that the same file can be chosen again
  };
  for (const kind of ['dragover', 'dragleave', 'drop']) document.addEventListener(kind, drop);
  document.addEventListener('paste', (event) => {
    const file = [...event.clipboardData.files].find((f) => f.type.startsWith('image/'));
    if (file && state.recognizes) upload(file);
  });
}

export function show() {
  layout = '';
  update();
}

function update() {
  showControls();
  refresh();
}

// Drawing. When one view is drawn, the newest one follows; those in between are skipped.

// Resolves to true once the view is drawn, here or by a call that was drawing already; to false if that fails.
export async function refresh() {
  outdated = true;
  writeAddress();
  if (drawing) return true;
  drawing = true;
  $('lattice').setAttribute('aria-busy', 'true');
  let success = true;
  while (outdated) {
    outdated = false;
    try {
      await drawView({ ...view, codes: [...view.codes] }); // a copy: the view may change meanwhile
      success = true;
      showError('', 'steer');
    } catch (error) {
      success = false;
      if (!outdated && error.status !== 409) showError(error.message, 'steer');
    }
  }
  $('lattice').setAttribute('aria-busy', 'false');
  drawing = false;
  return success;
}

async function drawView(centre) {
  const request = tableRequest(centre), isOutdated = () => outdated;
  await backend.draw(request, (drawn) => showTable(request, drawn), isOutdated);
  if (outdated) return; // labels can wait while a slider is dragged
  labelCells();
  if (backend.downloads) $('downloads').replaceChildren(...backend.downloads(request));
  for (let code = 0; code < state.codes.length && !outdated; code++) {
    const strip = { ...centre, across: code, down: -1, columns: countAlong(code, STRIP), rows: 1, zoom: 1, centre: undefined };
    await backend.draw({ ...strip, channel: `strip ${code}` }, (drawn) => showStrip(code, drawn, centre), isOutdated);
  }
}

const isContinuous = (code) => !state.codes[code].values;

// A category may have twice as many values along an axis.
const countAlong = (axis, count) => (axis >= 0 && !isContinuous(axis) ? Math.min(state.codes[axis].values.length, 2 * count) : count);

function tableRequest(centre) {
  const { across, down, pick } = centre;
  const square = across < 0 || (down >= 0 && isContinuous(across) && isContinuous(down));
  const columns = countAlong(across, square ? ROWS : COLUMNS);
  const rows = Math.min(countAlong(down, ROWS), Math.floor(MAX_IMAGES / columns));
  // The noises of a seed are divided among tables, so that the table stays as it is when another of its images is chosen.
  const noises = (across < 0 ? columns : 1) * (down < 0 ? rows : 1);
  return { ...centre, columns, rows, pick: pick - (pick % noises), centre: pick, channel: 'table' };
}

function showTable(request, { across, down, image, centre }) {
  table = { request, across, down };
  layTable();
  paint($('lattice').querySelector('canvas'), image);
  paint($('centre'), centre);
  const words = describe(request.codes) || `noise ${request.centre} of seed ${request.seed}`;
  $('centre').setAttribute('aria-label', `Generated: ${words}`);
  $('centre-codes').textContent = words;
}

// Headings in the first row and column, and a button for each image over the canvas that shows all of them.
function layTable() {
  const { request, across, down } = table, box = $('lattice');
  const headings = (axis, values) => values.map((value) => (axis < 0 ? '' : valueName(axis, value)));
  const columnHeadings = headings(request.across, across), rowHeadings = headings(request.down, down);
  const newLayout = JSON.stringify([columnHeadings, rowHeadings]);
  if (newLayout === layout) return;
  layout = newLayout;
  const focused = [...box.querySelectorAll('.cell')].indexOf(document.activeElement);
  box.style.gridTemplateColumns = `auto repeat(${across.length}, minmax(0, 5.2rem))`;
  const place = (element, row, column) => {
    element.style.gridArea = `${row} / ${column}`;
    return element;
  };
  const heading = (kind, text) => make('span', { class: `heading ${kind}`, title: text }, text);
  const canvas = box.querySelector('canvas') ?? make('canvas', { 'aria-hidden': 'true' });
  canvas.style.gridArea = `2 / 2 / ${down.length + 2} / ${across.length + 2}`;
  const rows = down.map((_, row) => {
    const line = make('div', { role: 'row' });
    line.style.display = 'contents';
    line.append(...across.map((_, column) => place(makeCell(row * across.length + column), row + 2, column + 2)));
    return line;
  });
  box.replaceChildren(
    canvas,
    ...columnHeadings.map((text, i) => place(heading('column', text), 1, i + 2)),
    ...rowHeadings.map((text, i) => place(heading('row', text), i + 2, 1)),
    ...rows);
  if (focused >= 0) focusCell(Math.min(focused, across.length * down.length - 1));
}

function makeCell(index) {
  const cell = make('button', { type: 'button', class: 'cell', role: 'gridcell', tabindex: index ? -1 : 0 });
  cell.onclick = () => {
    Object.assign(view, cellAt(index));
    update();
  };
  cell.onkeydown = (event) => moveFocus(event, index);
  return cell;
}

// The codes and the noise of one cell of the table.
function cellAt(index) {
  const { request, across, down } = table;
  const row = Math.floor(index / across.length), column = index % across.length;
  const codes = [...request.codes];
  let { pick } = request;
  if (request.across >= 0) codes[request.across] = across[column];
  else pick += column;
  if (request.down >= 0) codes[request.down] = down[row];
  else pick += row * (request.across < 0 ? across.length : 1);
  return { codes, pick };
}

// Describes each cell for screen readers, and marks the cell of the centre.
function labelCells() {
  const { request } = table;
  [...$('lattice').querySelectorAll('.cell')].forEach((cell, index) => {
    const { codes, pick } = cellAt(index);
    cell.title = [describe(codes), `noise ${pick}`].filter(Boolean).join(', ');
    cell.setAttribute('aria-label', cell.title);
    cell.setAttribute('aria-selected', pick === request.centre && codes.every((value, code) => isNearest(code, value)));
  });
}

// Whether a value of a code in the table is the one closest to the centre.
function isNearest(code, value) {
  const { request, across, down } = table, centre = request.codes[code];
  const values = code === request.across ? across : code === request.down ? down : [centre];
  return value === values.reduce((a, b) => (Math.abs(b - centre) < Math.abs(a - centre) ? b : a));
}

function focusCell(index) {
  const cells = $('lattice').querySelectorAll('.cell');
  for (const cell of cells) cell.tabIndex = -1;
  cells[index].tabIndex = 0;
  cells[index].focus();
}

function moveFocus(event, index) {
  const step = ARROWS[event.key];
  if (!step) return;
  event.preventDefault();
  event.stopPropagation();
  const columns = table.across.length, rows = table.down.length;
  const row = Math.min(rows - 1, Math.max(0, Math.floor(index / columns) + step[0]));
  const column = Math.min(columns - 1, Math.max(0, (index % columns) + step[1]));
  focusCell(row * columns + column);
}

// The centre with one code changed: a button for each value.
function showStrip(code, { across, image }, centre) {
  const { name } = state.codes[code];
  const strip = $('strips').children[code] ?? addStrip();
  const [title, frames] = strip.children;
  title.textContent = `Only ${name} changes`;
  frames.setAttribute('aria-label', name);
  frames.style.gridTemplateColumns = `repeat(${Math.max(across.length, STRIP)}, minmax(0, 1fr))`;
  while (frames.children.length > across.length) frames.lastChild.remove();
  while (frames.children.length < across.length) {
    frames.append(make('button', { type: 'button', class: 'cell' }, make('canvas', { 'aria-hidden': 'true' })));
  }
  across.forEach((value, i) => {
    const frame = frames.children[i];
    paint(frame.firstChild, image, i, across.length);
    frame.title = `${name} ${valueName(code, value)}`;
    frame.setAttribute('aria-label', frame.title);
    frame.setAttribute('aria-pressed', value === centre.codes[code]);
    frame.onclick = () => choose(code, value);
  });
  setTabStop(frames);
  if (frames.contains(document.activeElement)) frames.querySelector('[aria-pressed=true]')?.focus({ preventScroll: true });
}

function addStrip() {
  const strip = make('div', { class: 'strip' }, make('h2'), rove(make('div', { class: 'frames', role: 'group' })));
  $('strips').append(strip);
  return strip;
}

// Controls.

function showControls() {
  const box = $('codes'), inputs = () => [...box.querySelectorAll('button, input')];
  const focused = inputs().indexOf(document.activeElement);
  box.replaceChildren(...state.codes.map((code, position) => make('fieldset', {}, make('legend', {}, code.name),
    code.values ? valueButtons(code, position) : slider(code, position))));
  if (focused >= 0) inputs()[focused]?.focus();
  const axes = [...state.codes.map((code, position) => [position, code.name]), [-1, 'noise']];
  choices($('across'), axes, view.across);
  choices($('down'), axes, view.down);
  $('zoom').value = String(view.zoom);
  showNoise();
  $('reader').hidden = !state.recognizes;
  $('limitations').replaceChildren(...state.limitations.map((sentence) => make('li', {}, sentence)));
}

function valueButtons({ values }, position) {
  const buttons = values.map(({ value, name }, i) => {
    const hasKey = position === firstCategory() && i < 10 && name !== String(i) && valueOfDigit(i) === value;
    const pressed = view.codes[position] === value;
    const attributes = { type: 'button', 'aria-pressed': pressed, 'data-value': value, onclick: () => choose(position, value) };
    return make('button', attributes, name, ...(hasKey ? [' ', make('kbd', {}, String(i))] : []));
  });
  return make('div', { class: 'values', 'data-code': position }, ...buttons);
}

function slider({ name }, position) {
  const output = make('output', {}, valueName(position, view.codes[position]));
  const input = make('input', {
    type: 'range', min: -1, max: 1, step: 0.01, value: view.codes[position], 'data-code': position, 'aria-label': name,
  });
  input.oninput = () => {
    view.codes[position] = Number(input.value);
    output.textContent = valueName(position, view.codes[position]);
    refresh();
  };
  return make('label', { class: 'slider' }, make('span', {}, '−1'), input, make('span', {}, '1'), output);
}

function showNoise() {
  $('way').value = view.way;
  $('way').nextElementSibling.textContent = percent(view.way);
  $('seed').textContent = `seed ${view.seed}`;
}

// The value that a digit key chooses: the one with that name, or else the one at that position.
function valueOfDigit(digit) {
  const { values } = state.codes[firstCategory()];
  return (values.find(({ name }) => name === String(digit)) ?? values[digit])?.value;
}

function choose(code, value) {
  view.codes[code] = value;
  update();
}

const randomSeed = () => Math.floor(Math.random() * 1e9);

function redraw() {
  Object.assign(view, { seed: randomSeed(), towards: randomSeed(), way: 0, pick: 0 });
  update();
}

// A walk blends the noise into the next one, and from there on into another.

function startWalk() {
  walk = Date.now();
  $('walk').setAttribute('aria-pressed', 'true');
  step(walk);
}

function stopWalk() {
  walk = 0;
  $('walk').setAttribute('aria-pressed', 'false');
}

async function step(number) {
  if (number !== walk) return;
  if (view.tab !== 'steer') {
    stopWalk();
    return;
  }
  view.way = Math.round((view.way + 0.02) * 100) / 100;
  if (view.way >= 1) Object.assign(view, { seed: view.towards, towards: randomSeed(), way: 0 });
  showNoise();
  if (await refresh()) requestAnimationFrame(() => step(number));
  else if (number === walk) stopWalk();
}

async function copyLink() {
  try {
    writeAddressNow();
    await navigator.clipboard.writeText(location.href);
    const text = $('link').textContent;
    $('link').textContent = 'Copied';
    setTimeout(() => { $('link').textContent = text }, 1500);
  } catch {
    showError('The browser does not allow copying. Copy the link from the address bar.', 'link');
  }
}

// An image from the user.

function drop(event) {
  if (!state.recognizes) return;
  event.preventDefault();
  document.body.classList.toggle('dropping', event.type === 'dragover');
  if (event.type === 'drop' && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
}

async function upload(file) {
  const box = $('uploaded'), number = ++uploads;
  openTab();
  box.replaceChildren('reading …');
  let parts = [], message = '';
  try {
    parts = showPredictions(await backend.read(file), generate);
  } catch (error) {
    ({ message } = error);
  }
  if (number !== uploads) return; // another file was chosen meanwhile
  box.replaceChildren(...parts);
  showError(message, 'upload');
}

// Makes codes the centre. With the noise of a generated image, the centre is exactly that image.
export function generate(codes, noise = {}) {
  Object.assign(view, noise, { codes: [...codes] });
  if (view.tab === 'steer') update();
  else openTab();
}

function openTab() {
  if (view.tab !== 'steer') document.querySelector('[data-tab=steer]').click();
}

// In a narrow window the controls follow the images, for the eye and for the Tab key.
function arrange() {
  const controls = document.querySelector('#steer .controls'), stage = document.querySelector('#steer .stage');
  if (narrow.matches) stage.after(controls);
  else stage.before(controls);
}

export function key(event) {
  if (event.key in ARROWS && table && event.target.type !== 'range') {
    event.preventDefault();
    const cells = [...$('lattice').querySelectorAll('.cell')];
    const selected = cells.findIndex((cell) => cell.getAttribute('aria-selected') === 'true');
    moveFocus(event, Math.max(0, selected));
  } else if (event.key === 'r' || event.key === 'R') {
    redraw();
  } else if (/^[0-9]$/.test(event.key) && firstCategory() >= 0) {
    const value = valueOfDigit(Number(event.key));
    if (value !== undefined) choose(firstCategory(), value);
  }
}
