// Steering: codes and noise in, a table of generated images out.
import {
  $, ask, choices, codesOf, complain, describe, make, paint, percent, put, query, rove, settle, thumb, told, valueName, view, write,
} from './state.js';

const CELLS = 10, ROWS = 8; // of the table
const LARGEST = 32 * 2 ** 20; // bytes of an image that is sent
const STRIP = 10; // images of a continuous code's strip
const page = Math.random().toString(36).slice(2); // so that two pages do not drop each other's views
let dirty = false, busy = false, walk = 0, uploads = 0, shape = '';

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

// True once what was asked for is drawn, here or by the call that was drawing already; false if it can not be.
export async function refresh() {
  dirty = true;
  write();
  if (busy) return true;
  busy = true;
  let well = true;
  while (dirty) {
    dirty = false;
    try {
      const answer = await drawTable();
      if (!dirty) { // words for what is shown can wait while a slider is dragged
        label(answer);
        takeAway();
      }
      for (let i = 0; i < told.codes.length && !dirty; i++) await drawStrip(i);
      well = true;
      complain('', 'steer');
    } catch (error) {
      well = false;
      if (!dirty && error.status !== 409) complain(error.message, 'steer');
    }
  }
  busy = false;
  return well;
}

async function drawTable() {
  const from = { ...view, codes: [...view.codes] }; // what is drawn; the view itself may move on meanwhile
  const answer = { ...(await ask(`/api/lattice?${asked({ ...table(), centre: 1, asker: `${page} table` })}`)), from };
  layTable(answer);
  await Promise.all([paint($('lattice').querySelector('canvas'), answer.image), paint($('centre'), answer.centre)]);
  const words = describe(from.codes) || `noise ${from.pick} of seed ${from.seed}`;
  $('centre').setAttribute('aria-label', `Generated: ${words}`);
  $('told').textContent = words;
  return answer;
}

// What each cell shows, for who does not see it, and which is the centre.
function label(answer) {
  const { from } = answer;
  [...$('lattice').querySelectorAll('.cell')].forEach((cell, i) => {
    const here = cellOf(answer, i);
    cell.setAttribute('aria-label', [describe(here.codes), `noise ${here.pick}`].filter(Boolean).join(', '));
    cell.title = cell.getAttribute('aria-label');
    const centred = here.pick === from.pick && here.codes.every((value, place) => nearest(place, value, answer));
    cell.setAttribute('aria-selected', centred);
  });
}

// Whether a cell's value of a code is the one closest to the centre's.
function nearest(place, value, { from, across, down }) {
  const values = place === from.across ? across : place === from.down ? down : [from.codes[place]];
  const best = values.reduce((a, b) => (Math.abs(b - from.codes[place]) < Math.abs(a - from.codes[place]) ? b : a));
  return value === best;
}

// The codes and the noise of one cell of a table.
function cellOf({ from, across, down, columns }, at) {
  const row = Math.floor(at / columns), column = at % columns;
  const codes = [...from.codes];
  let pick = from.pick;
  if (from.across >= 0) codes[from.across] = across[column];
  if (from.down >= 0) codes[from.down] = down[row];
  if (from.across < 0) pick += column;
  if (from.down < 0) pick += row * (from.across < 0 ? columns : 1);
  return { codes, pick };
}

function layTable(answer) {
  const { from, columns, rows, across, down } = answer;
  const box = $('lattice');
  const headings = (axis, values) => values.map((value) => (axis < 0 ? '' : valueName(axis, value)));
  const wanted = JSON.stringify([columns, rows, headings(from.across, across), headings(from.down, down)]);
  if (wanted !== shape) {
    shape = wanted;
    const focused = [...box.querySelectorAll('.cell')].indexOf(document.activeElement);
    box.style.gridTemplateColumns = `auto repeat(${columns}, minmax(0, 5.2rem))`;
    const place = (element, row, column) => {
      element.style.gridRow = row;
      element.style.gridColumn = column;
      return element;
    };
    const canvas = place(box.querySelector('canvas') ?? make('canvas', { 'aria-hidden': 'true' }), `2 / ${rows + 2}`, `2 / ${columns + 2}`);
    const parts = [canvas];
    headings(from.across, across).forEach((text, i) =>
      parts.push(place(make('span', { class: 'heading column', title: text }, text), '1', `${i + 2}`)));
    headings(from.down, down).forEach((text, i) =>
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
  box.answer = answer;
}

function centre(at) {
  Object.assign(view, cellOf($('lattice').answer, at));
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
    rove(strip.lastChild);
    $('strips').append(strip);
  }
  strip.firstChild.textContent = `Only ${told.codes[place].name} changes`;
  strip.lastChild.style.gridTemplateColumns = `repeat(${Math.max(frames.length, STRIP)}, minmax(0, 1fr))`;
  const focused = [...strip.lastChild.children].indexOf(document.activeElement);
  strip.lastChild.replaceChildren(...frames);
  settle(strip.lastChild);
  if (focused >= 0) {
    const chosen = frames.find((frame) => frame.getAttribute('aria-pressed') === 'true');
    (chosen ?? frames[Math.min(focused, frames.length - 1)]).focus({ preventScroll: true });
  }
}

// Controls.

function controls() {
  const boxes = told.codes.map((code, place) => {
    if (!code.values) return slider(code, place);
    const buttons = code.values.map(({ value, name }, i) => make('button', {
      type: 'button', 'aria-pressed': view.codes[place] === value, 'data-value': value, onclick: () => choose(place, value),
    }, name, ...(place === firstCategory() && i < 10 && name !== String(i) && keyed(code.values, i) === code.values[i] ? [' ', make('kbd', {}, String(i))] : [])));
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
  $('lacks').replaceChildren(...told.lacks.map((sentence) => make('li', {}, sentence)));
}

function slider(code, place) {
  const output = make('output', {}, valueName(place, view.codes[place]));
  const input = make('input', { type: 'range', min: -1, max: 1, step: 0.01, value: view.codes[place], 'data-code': place, 'aria-label': code.name });
  input.oninput = () => {
    view.codes[place] = Number(input.value);
    output.textContent = valueName(place, view.codes[place]);
    refresh();
  };
  return make('fieldset', {}, make('legend', {}, code.name), make('label', { class: 'slider' }, make('span', {}, '−1'), input, make('span', {}, '1'), output));
}

// The value that a digit chooses: the one that is called by it, else the one at its place.
const keyed = (values, digit) => values.find((value) => value.name === String(digit)) ?? values[digit];

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
async function step(mine) {
  if (mine !== walk || view.tab !== 'steer') {
    if (mine === walk) stop();
    return;
  }
  view.way = Math.round((view.way + 0.02) * 100) / 100;
  if (view.way >= 1) Object.assign(view, { seed: view.towards, towards: Math.floor(Math.random() * 1e9), way: 0 });
  $('way').value = view.way;
  $('way').nextElementSibling.textContent = percent(view.way);
  $('seed').textContent = `seed ${view.seed}`;
  if (await refresh()) requestAnimationFrame(() => step(mine));
  else if (mine === walk) stop();
}

function stop() {
  walk = 0;
  $('walk').setAttribute('aria-pressed', 'false');
}

function takeAway() {
  const links = [make('a', { href: `/api/lattice.png?${asked(table())}`, download: 'lattice.png' }, 'the table as PNG')];
  told.codes.forEach((code, i) => links.push(
    make('a', { href: `/api/traversal.gif?${asked({ code: i })}`, download: `${code.name}.gif` },
      `${code.name} as GIF${code.values?.length > told.frames ? `, ${told.frames} of its ${code.values.length} values` : ''}`)));
  $('take').replaceChildren(...links);
}

// An image of the user's own.

async function upload(file) {
  const box = $('uploaded'), mine = ++uploads;
  if (view.tab !== 'steer') document.querySelector('[data-tab=steer]').click();
  box.replaceChildren('reading …');
  try {
    if (file.size > LARGEST) throw new Error('the picture is too large: more than 32 MiB');
    const answer = await ask('/api/read', { method: 'POST', body: file });
    if (mine !== uploads) return; // another was chosen meanwhile
    box.replaceChildren(...reading(answer));
    complain('', 'upload');
  } catch (error) {
    if (mine !== uploads) return;
    box.replaceChildren();
    complain(error.message, 'upload');
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
    const bars = make('div', { class: 'bars', role: 'group', 'aria-label': code.name });
    for (const [name, share] of ranked) {
      bars.append(make('span', {}, `${code.name} ${name}`), make('meter', { min: 0, max: 1, value: share, 'aria-label': name }), percent(share));
    }
    parts.push(bars);
  });
  parts.push(make('button', { type: 'button', onclick: () => go(codes) }, 'Generate with these codes'));
  if (generated) {
    const { seed, picks } = generated;
    parts.push(make('h2', {}, 'Generated images like it'), neighbours(generated.codes.map((own, i) => make('li', {}, thumb(
      generated.image, i, picks.length, `Generated: ${describe(own) || `noise ${picks[i]}`}`, () => go(own, { seed, pick: picks[i], way: 0 }))))));
  }
  if (similar?.items.length) {
    parts.push(make('h2', {}, 'Real images closest in code'), neighbours(similar.items.map((item, i) =>
      make('li', {}, thumb(similar.image, i, similar.items.length, `${item.name}: ${item.group}`, () => go(codesOf(item.readings))), item.group))));
  }
  return parts;
}

function neighbours(items) {
  const list = make('ul', { class: 'gallery' }, ...items);
  rove(list);
  settle(list);
  return list;
}

// Makes an image the centre: of a generated one with its own noise, so that it is that very image.
function go(codes, noise = {}) {
  Object.assign(view, noise, { codes: told.codes.map((code, i) => codes[i]) });
  if (view.tab === 'steer') { controls(); refresh() } else document.querySelector('[data-tab=steer]').click();
}

// In a narrow window the controls come after the picture, for the eye and for the Tab key alike.
function arrange() {
  const controls = document.querySelector('#steer .controls'), stage = document.querySelector('#steer .stage');
  if (narrow.matches) stage.after(controls);
  else stage.before(controls);
}

const narrow = matchMedia('(max-width: 50rem)');

export function begin() {
  arrange();
  narrow.addEventListener('change', arrange);
  $('redraw').onclick = redraw;
  $('walk').onclick = () => {
    if (walk) {
      stop();
      return;
    }
    walk = Date.now();
    $('walk').setAttribute('aria-pressed', 'true');
    step(walk);
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
  $('zoom').onchange = () => { view.zoom = Number($('zoom').value); refresh() };
  $('link').onclick = async () => {
    try {
      put();
      await navigator.clipboard.writeText(location.href);
      $('link').textContent = 'Copied';
      setTimeout(() => { $('link').textContent = 'Copy a link to this view' }, 1500);
    } catch {
      complain('The browser does not let a page copy: the address bar holds the link.', 'link');
    }
  };
  $('file').onchange = () => {
    if ($('file').files.length) upload($('file').files[0]);
    $('file').value = ''; // the same file may be chosen again
  };
  const drop = (event) => {
    if (!told.reads) return;
    event.preventDefault();
    document.body.classList.toggle('dropping', event.type === 'dragover');
    if (event.type === 'drop' && event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
  };
  for (const kind of ['dragover', 'dragleave', 'drop']) document.addEventListener(kind, drop);
  document.addEventListener('paste', (event) => {
    const file = [...event.clipboardData.files].find((f) => f.type.startsWith('image/'));
    if (file && told.reads) upload(file);
  });
}

export function show() {
  shape = '';
  controls();
  refresh();
}

export function key(event) {
  if (event.key in STEPS && $('lattice').answer && event.target.type !== 'range') {
    event.preventDefault();
    const cells = [...$('lattice').querySelectorAll('.cell')];
    const chosen = cells.findIndex((cell) => cell.getAttribute('aria-selected') === 'true');
    moveFocus(event, Math.max(0, chosen));
  } else if (event.key === 'r' || event.key === 'R') {
    redraw();
  } else if (/^[0-9]$/.test(event.key) && firstCategory() >= 0) {
    const value = keyed(told.codes[firstCategory()].values, Number(event.key));
    if (value) choose(firstCategory(), value.value);
  }
}
