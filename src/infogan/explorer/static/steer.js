// Steering: codes and noise in, a table of generated images out.
import { $, ask, choices, codesOf, complain, describe, make, paint, percent, query, thumb, told, valueName, view, write } from './state.js';

const CELLS = 10, ROWS = 8; // of the table
const STRIP = 10; // images of a continuous code's strip
const page = Math.random().toString(36).slice(2); // so that two pages do not drop each other's views
let dirty = false, busy = false, walking = false, shape = '';

const continuous = (place) => !told.codes[place].values;
const countAlong = (axis, most) => (axis >= 0 && !continuous(axis) ? Math.min(told.codes[axis].values.length, 2 * most) : most);

function asked(more) {
  return query({
    codes: view.codes.join(','), seed: view.seed, towards: view.towards, way: view.way, pick: view.pick, zoom: view.zoom, ...more,
  });
}

function table() {
  const both = view.across >= 0 && view.down >= 0 && continuous(view.across) && continuous(view.down);
  const columns = countAlong(view.across, both || view.across < 0 ? ROWS : CELLS);
  // Twice as many values as fit are allowed, but never more images than the server draws.
  const rows = Math.min(countAlong(view.down, ROWS), Math.floor(200 / columns));
  return { across: view.across, down: view.down, columns, rows };
}

// Drawing. The newest view is drawn when the one before is there, and those in between never.

export async function refresh() {
  dirty = true;
  write();
  if (busy) return;
  busy = true;
  try {
    while (dirty) {
      dirty = false;
      await drawTable();
      if (!dirty) await drawCentre();
      for (let i = 0; i < told.codes.length && !dirty; i++) await drawStrip(i);
    }
    complain('');
  } catch (error) {
    if (error.status !== 409) complain(error.message);
  } finally {
    busy = false;
  }
}

async function drawTable() {
  const answer = await ask(`/api/lattice?${asked({ ...table(), asker: `${page} table` })}`);
  const cells = layTable(answer);
  await paint($('lattice').querySelector('canvas'), answer.image);
  cells.forEach((cell, i) => {
    const across = answer.across[i % answer.columns], down = answer.down[Math.floor(i / answer.columns)];
    const here = centreOf(across, down, i % answer.columns, Math.floor(i / answer.columns));
    cell.setAttribute('aria-label', `${describe(here.codes)}, noise ${here.pick}`);
    cell.title = cell.getAttribute('aria-label');
    const centred = here.pick === view.pick && here.codes.every((value, place) => nearest(place, value, answer));
    cell.setAttribute('aria-selected', centred);
  });
}

// Whether a cell's value of a code is the one closest to the centre's.
function nearest(place, value, answer) {
  const values = place === view.across ? answer.across : place === view.down ? answer.down : [view.codes[place]];
  const best = values.reduce((a, b) => (Math.abs(b - view.codes[place]) < Math.abs(a - view.codes[place]) ? b : a));
  return value === best;
}

function centreOf(across, down, column, row) {
  const codes = [...view.codes];
  let pick = view.pick;
  if (view.across >= 0) codes[view.across] = across;
  if (view.down >= 0) codes[view.down] = down;
  if (view.across < 0 && view.down < 0) pick += row * table().columns + column;
  else if (view.across < 0) pick += column;
  else if (view.down < 0) pick += row;
  return { codes, pick };
}

function layTable({ columns, rows, across, down }) {
  const box = $('lattice');
  const headings = (axis, values) => values.map((value) => (axis < 0 ? '' : valueName(axis, value)));
  const wanted = JSON.stringify([columns, rows, headings(view.across, across), headings(view.down, down)]);
  if (wanted !== shape) {
    shape = wanted;
    const focused = [...box.querySelectorAll('.cell')].indexOf(document.activeElement);
    box.style.gridTemplateColumns = `auto repeat(${columns}, minmax(0, 1fr))`;
    const place = (element, row, column) => {
      element.style.gridRow = row;
      element.style.gridColumn = column;
      return element;
    };
    const canvas = place(make('canvas', { 'aria-hidden': 'true' }), `2 / ${rows + 2}`, `2 / ${columns + 2}`);
    const parts = [canvas];
    headings(view.across, across).forEach((text, i) =>
      parts.push(place(make('span', { class: 'heading column', title: text }, text), '1', `${i + 2}`)));
    headings(view.down, down).forEach((text, i) =>
      parts.push(place(make('span', { class: 'heading row', title: text }, text), `${i + 2}`, '1')));
    for (let row = 0; row < rows; row++) {
      const line = make('div', { role: 'row', class: 'cells' });
      line.style.display = 'contents';
      for (let column = 0; column < columns; column++) {
        const cell = make('button', { type: 'button', class: 'cell', role: 'gridcell', tabindex: row || column ? -1 : 0 });
        cell.onclick = () => centre(row * columns + column);
        cell.onkeydown = (event) => moveFocus(event, row * columns + column);
        line.append(place(cell, `${row + 2}`, `${column + 2}`));
      }
      parts.push(line);
    }
    box.replaceChildren(...parts);
    if (focused >= 0) focusCell(Math.min(focused, rows * columns - 1));
  }
  box.answer = { across, down, columns, rows };
  return [...box.querySelectorAll('.cell')];
}

function centre(at) {
  const { across, down, columns } = $('lattice').answer;
  const row = Math.floor(at / columns), column = at % columns;
  Object.assign(view, centreOf(across[column], down[row], column, row));
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
  const { columns, rows } = $('lattice').answer;
  const row = Math.min(rows - 1, Math.max(0, Math.floor(at / columns) + step[0]));
  const column = Math.min(columns - 1, Math.max(0, (at % columns) + step[1]));
  focusCell(row * columns + column);
}

async function drawCentre() {
  const words = describe(view.codes) || `noise ${view.pick} of seed ${view.seed}`;
  const answer = await ask(`/api/lattice?${asked({ asker: `${page} centre` })}`);
  await paint($('centre'), answer.image);
  $('centre').setAttribute('aria-label', `Generated: ${words}`);
  $('told').textContent = words;
}

async function drawStrip(place) {
  const columns = countAlong(place, STRIP);
  const answer = await ask(`/api/lattice?${asked({ across: place, columns, zoom: 1, asker: `${page} strip ${place}` })}`);
  const frames = answer.across.map((value, i) => {
    const name = `${told.codes[place].name} ${valueName(place, value)}`;
    const frame = thumb(answer.image, i, answer.across.length, name, () => { view.codes[place] = value; controls(); refresh() });
    frame.style.width = 'auto';
    frame.style.height = 'auto';
    frame.style.aspectRatio = '1';
    frame.setAttribute('aria-pressed', value === view.codes[place]);
    return frame;
  });
  let strip = $('strips').children[place];
  if (!strip) {
    strip = make('div', { class: 'strip' }, make('h2'), make('div', { class: 'frames' }));
    $('strips').append(strip);
  }
  strip.firstChild.textContent = `Only ${told.codes[place].name} changes`;
  strip.lastChild.style.gridTemplateColumns = `repeat(${Math.max(frames.length, STRIP)}, minmax(0, 1fr))`;
  if (!strip.contains(document.activeElement)) strip.lastChild.replaceChildren(...frames);
  else frames.forEach((frame, i) => { // a frame that has the focus keeps it
    const old = strip.lastChild.children[i];
    old.style.backgroundImage = frame.style.backgroundImage;
    old.setAttribute('aria-pressed', frame.getAttribute('aria-pressed'));
  });
}

// Controls.

function controls() {
  const boxes = told.codes.map((code, place) => {
    if (!code.values) return slider(code, place);
    const buttons = code.values.map(({ value, name }, i) => make('button', {
      type: 'button', 'aria-pressed': view.codes[place] === value, 'data-value': value, onclick: () => choose(place, value),
    }, name, ...(place === firstCategory() && i < 10 && name !== String(i) ? [' ', make('kbd', {}, String(i))] : [])));
    return make('fieldset', {}, make('legend', {}, code.name), make('div', { class: 'values' }, ...buttons));
  });
  const held = $('codes').contains(document.activeElement) ? [...$('codes').querySelectorAll('button, input')].indexOf(document.activeElement) : -1;
  $('codes').replaceChildren(...boxes);
  if (held >= 0) $('codes').querySelectorAll('button, input')[held]?.focus();
  const axes = [...told.codes.map((code, i) => [i, code.name]), [-1, 'noise']];
  choices($('across'), axes, view.across);
  choices($('down'), axes, view.down);
  $('zoom').value = String(view.zoom);
  $('way').value = view.way;
  $('way').nextElementSibling.textContent = percent(view.way);
  $('seed').textContent = `seed ${view.seed}`;
  $('reader').hidden = !told.reads;
  takeAway();
}

function slider(code, place) {
  const output = make('output', {}, valueName(place, view.codes[place]));
  const input = make('input', { type: 'range', min: -1, max: 1, step: 0.01, value: view.codes[place], 'data-code': place });
  input.oninput = () => {
    view.codes[place] = Number(input.value);
    output.textContent = valueName(place, view.codes[place]);
    takeAway();
    refresh();
  };
  return make('fieldset', {}, make('legend', {}, code.name), make('label', { class: 'slider' }, make('span', {}, '−1'), input, make('span', {}, '1'), output));
}

const firstCategory = () => told.codes.findIndex((code) => code.values);

function choose(place, value) {
  view.codes[place] = value;
  controls();
  refresh();
}

function redraw() {
  Object.assign(view, { seed: Math.floor(Math.random() * 1e9), towards: Math.floor(Math.random() * 1e9), way: 0, pick: 0 });
  controls();
  refresh();
}

// The way to the next noise, and from there on to another.
function step() {
  if (!walking) return;
  view.way = Math.round((view.way + 0.02) * 100) / 100;
  if (view.way >= 1) Object.assign(view, { seed: view.towards, towards: Math.floor(Math.random() * 1e9), way: 0 });
  $('way').value = view.way;
  $('way').nextElementSibling.textContent = percent(view.way);
  $('seed').textContent = `seed ${view.seed}`;
  refresh().then(() => requestAnimationFrame(step));
}

function takeAway() {
  const links = [make('a', { href: `/api/lattice.png?${asked(table())}`, download: 'lattice.png' }, 'the table as PNG')];
  told.codes.forEach((code, i) => links.push(
    make('a', { href: `/api/traversal.gif?${asked({ code: i })}`, download: `${code.name}.gif` }, `${code.name} as GIF`)));
  $('take').replaceChildren(...links);
}

export function steerTo(codes) {
  view.codes = told.codes.map((code, i) => codes[i]);
}

// An image of the user's own.

async function upload(file) {
  const box = $('uploaded');
  box.replaceChildren('reading …');
  try {
    const answer = await ask('/api/read', { method: 'POST', body: file });
    box.replaceChildren(...reading(answer));
    complain('');
  } catch (error) {
    box.replaceChildren();
    complain(error.message);
  }
}

// What the recognizer says of one image: bars for categories, numbers for knobs, and neighbours.
export function reading({ image, readings, generated, similar }) {
  const codes = codesOf(readings);
  const parts = image ? [thumb(image, 0, 1, `The image as the model sees it: ${describe(codes)}`, () => go(codes), 'large')] : [];
  told.codes.forEach((code, place) => {
    if (!code.values) {
      parts.push(make('p', {}, `${code.name} ${valueName(place, readings[place][0])}`));
      return;
    }
    const ranked = code.values.map((v) => [v.name, readings[place][v.value]]).sort((a, b) => b[1] - a[1]).slice(0, 3);
    const bars = make('div', { class: 'bars', 'aria-label': code.name });
    for (const [name, share] of ranked) {
      bars.append(make('span', {}, `${code.name} ${name}`), make('meter', { min: 0, max: 1, value: share, 'aria-label': name }), percent(share));
    }
    parts.push(bars);
  });
  parts.push(make('button', { type: 'button', onclick: () => go(codes) }, 'Generate with these codes'));
  if (generated) {
    parts.push(make('h2', {}, 'Generated images like it'), make('ul', { class: 'gallery' }, ...generated.codes.map((own, i) =>
      make('li', {}, thumb(generated.image, i, generated.codes.length, `Generated: ${describe(own)}`, () => go(own))))));
  }
  if (similar?.items.length) {
    parts.push(make('h2', {}, 'Real images closest in code'), make('ul', { class: 'gallery' }, ...similar.items.map((item, i) =>
      make('li', {}, thumb(similar.image, i, similar.items.length, `${item.name}: ${item.group}`, () => go(codesOf(item.readings))), item.group))));
  }
  return parts;
}

function go(codes) {
  steerTo(codes);
  if (view.tab === 'steer') { controls(); refresh() } else document.querySelector('[data-tab=steer]').click();
}

export function begin() {
  $('redraw').onclick = redraw;
  $('walk').onclick = () => {
    walking = !walking;
    $('walk').setAttribute('aria-pressed', walking);
    step();
  };
  $('way').oninput = () => {
    view.way = Number($('way').value);
    $('way').nextElementSibling.textContent = percent(view.way);
    refresh();
  };
  for (const [axis, other] of [['across', 'down'], ['down', 'across']]) {
    $(axis).onchange = () => {
      const before = view[axis];
      view[axis] = Number($(axis).value);
      if (view[axis] >= 0 && view[axis] === view[other]) view[other] = before; // they change places
      controls();
      refresh();
    };
  }
  $('zoom').onchange = () => { view.zoom = Number($('zoom').value); takeAway(); refresh() };
  $('link').onclick = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      $('link').textContent = 'Copied';
      setTimeout(() => { $('link').textContent = 'Copy a link to this view' }, 1500);
    } catch {
      complain('The browser does not let a page copy: the address bar holds the link.');
    }
  };
  $('file').onchange = () => { if ($('file').files.length) upload($('file').files[0]) };
  const drop = (event) => {
    if (view.tab !== 'steer' || !told.reads) return;
    event.preventDefault();
    document.body.classList.toggle('dropping', event.type === 'dragover');
    if (event.type === 'drop' && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  };
  for (const kind of ['dragover', 'dragleave', 'drop']) document.addEventListener(kind, drop);
  document.addEventListener('paste', (event) => {
    const file = [...event.clipboardData.files].find((f) => f.type.startsWith('image/'));
    if (file && view.tab === 'steer' && told.reads) upload(file);
  });
}

export function show() {
  shape = '';
  controls();
  refresh();
}

export function key(event) {
  if (event.key in STEPS && $('lattice').answer) {
    event.preventDefault();
    const cells = [...$('lattice').querySelectorAll('.cell')];
    const chosen = cells.findIndex((cell) => cell.getAttribute('aria-selected') === 'true');
    moveFocus(event, Math.max(0, chosen));
  } else if (event.key === 'r' || event.key === 'R') {
    redraw();
  } else if (/^[0-9]$/.test(event.key) && firstCategory() >= 0) {
    const value = told.codes[firstCategory()].values[Number(event.key)];
    if (value) choose(firstCategory(), value.value);
  }
}
