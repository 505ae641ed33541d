// What the page knows of the server and of itself, and the small pieces that every view uses.

// The server's words on the model: names, groups, how far things are. Replaced whole after every change.
export let told = null;

// Where the page stands. All of it is in the address, so that a link reopens it.
export const view = {
  tab: 'steer', codes: [], seed: 0, towards: 1, way: 0, pick: 0, across: -1, down: -1, zoom: 1,
  code: 0, group: -1, other: -1, label: '', order: 'surest', image: -1, step: -1, drawn: -1,
};
// Groups go by a value of theirs, and images by their place, so that a link outlives a new name or order. -1 is the
// first group, no image, and the last step.
const NUMBERS = ['seed', 'towards', 'way', 'pick', 'across', 'down', 'zoom', 'code', 'group', 'other', 'image', 'step',
  'drawn'];

export class ApiError extends Error {
  constructor(text, status) { super(text); this.status = status }
}

export async function ask(path, options) {
  const answer = await fetch(path, options).catch(() => {
    throw new ApiError('the explorer does not answer: is it still running?', 0);
  });
  const words = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ApiError(words.error ?? `the server answered ${answer.status}`, answer.status);
  return words;
}

export const query = (values) => new URLSearchParams(
  Object.entries(values).filter(([, value]) => value !== undefined).map(([key, value]) => [key, String(value)]));

export async function learn() { told = await ask('/api/state') }

// Changes something on the server; everybody who shows names is told by the event.
export async function change(path, words) {
  try {
    told = await ask(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(words) });
    complain('', 'change');
  } catch (error) {
    complain(error.message, 'change');
    if (error.status === 409) await learn().catch(() => {}); // others changed something: this is how things stand
    throw error;
  } finally {
    document.dispatchEvent(new Event('told'));
  }
}

// What went wrong, by who says so: nobody's success takes away another's complaint.
const complaints = new Map();

export function complain(text, who) {
  if (text) complaints.set(who, text);
  else complaints.delete(who);
  const box = document.getElementById('error');
  box.textContent = [...complaints.values()].join(' ');
  box.hidden = !complaints.size;
}

export function forgive() {
  complaints.clear();
  complain('', 'page');
}

// The address.

// Browsers refuse an address that changes too often: it follows a dragged slider from behind.
let due = 0;

export function write() { due ||= setTimeout(put, 300) }

export function put() {
  clearTimeout(due);
  due = 0;
  const words = query({ ...view, tab: undefined, codes: view.codes.join(',') });
  try { history.replaceState(null, '', `#${view.tab}?${words}`) } catch { /* the next change writes it */ }
}

addEventListener('pagehide', put);

export function read() {
  clearTimeout(due);
  due = 0;
  const [tab, rest] = location.hash.slice(1).split('?');
  if (document.querySelector(`[data-tab="${CSS.escape(tab)}"]`)) view.tab = tab;
  const words = new URLSearchParams(rest ?? '');
  for (const key of NUMBERS) {
    const number = Number(words.get(key) ?? NaN);
    if (Number.isFinite(number)) view[key] = number;
  }
  for (const key of ['order', 'label']) if (words.has(key)) view[key] = words.get(key);
  const codes = (words.get('codes') ?? '').split(',').map(Number);
  view.codes = told.codes.map((code, i) => fitting(code, codes[i]));
  for (const axis of ['across', 'down']) if (!told.codes[view[axis]]) view[axis] = -1;
  if (!words.has('across')) view.across = told.codes.length ? Math.max(0, told.codes.findIndex((c) => c.values)) : -1;
  if (view.across === view.down) view.down = -1;
}

function fitting(code, value) {
  if (code.values) return code.values.some((v) => v.value === value) ? value : code.values[0].value;
  return Number.isFinite(value) ? Math.min(1, Math.max(-1, value)) : 0;
}

// Words for codes and images.

export function valueName(place, value) {
  const code = told.codes[place];
  if (!code.values) return value.toFixed(2).replace('-', '−');
  return code.values.find((v) => v.value === value)?.name ?? String(value);
}

export const describe = (codes) => told.codes.map((code, i) => `${code.name} ${valueName(i, codes[i])}`).join(', ');

// The most probable values, or the means, that a reading stands for: what the generator would be given.
export const codesOf = (readings) => told.codes.map((code, i) => code.values
  ? readings[i].indexOf(Math.max(...readings[i])) : Math.min(1, Math.max(-1, readings[i][0])));

export const percent = (share) => `${(100 * share).toFixed(share > 0.9995 ? 0 : 1)} %`;

// Pieces of the page. Text goes in as text: no name that somebody gave is ever read as markup.

export const $ = (id) => document.getElementById(id);

export function make(kind, attributes = {}, ...children) {
  const element = document.createElement(kind);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (key.startsWith('aria-')) element.setAttribute(key, String(value));
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// A box of buttons is one stop for the Tab key; arrows go from one to the next, up and down by where they lie.
export function rove(box) {
  box.addEventListener('keydown', (event) => {
    const all = [...box.querySelectorAll('button')], at = all.indexOf(event.target);
    const to = at < 0 ? undefined : MOVES[event.key]?.(all, at);
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    all[Math.min(all.length - 1, Math.max(0, to))].focus();
  });
  box.addEventListener('focusin', (event) => settle(box, event.target));
}

// Says at which button of such a box the Tab key stops: by default the one that is pressed, or the first.
export function settle(box, stop = box.querySelector('[aria-pressed=true]') ?? box.querySelector('button')) {
  for (const button of box.querySelectorAll('button')) button.tabIndex = button === stop ? 0 : -1;
}

const MOVES = {
  ArrowLeft: (all, at) => at - 1,
  ArrowRight: (all, at) => at + 1,
  ArrowUp: (all, at) => inNextRow(all, at, -1),
  ArrowDown: (all, at) => inNextRow(all, at, 1),
  Home: () => 0,
  End: (all) => all.length - 1,
};

function inNextRow(all, at, way) {
  const places = all.map((button) => button.getBoundingClientRect()), here = places[at];
  const far = (i) => (places[i].top - here.top) * way; // of the row, and then within it
  const beyond = [...all.keys()].filter((i) => far(i) > 1);
  const row = Math.min(...beyond.map(far));
  const inRow = beyond.filter((i) => far(i) < row + 1);
  return inRow.sort((a, b) => Math.abs(places[a].left - here.left) - Math.abs(places[b].left - here.left))[0] ?? at;
}

// One image of a row of images, as a button.
export function thumb(row, at, count, label, onclick, more = '') {
  const button = make('button', { type: 'button', class: `thumb ${more}`, 'aria-label': label, title: label, onclick });
  button.style.backgroundImage = `url(${row})`;
  button.style.backgroundSize = `${count * 100}% 100%`;
  button.style.backgroundPosition = count > 1 ? `${(at / (count - 1)) * 100}% 0` : '0 0';
  return button;
}

export async function paint(canvas, data) {
  const image = new Image();
  image.src = data;
  await image.decode();
  if (canvas.width !== image.width || canvas.height !== image.height) {
    canvas.width = image.width;
    canvas.height = image.height;
  }
  canvas.getContext('2d').drawImage(image, 0, 0);
  canvas.dataset.frame = Number(canvas.dataset.frame ?? 0) + 1;
}

export function choices(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => make('option', { value }, text)));
  select.value = String(chosen);
}
