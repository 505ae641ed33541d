// What the page knows about the model, and which part of it is in view.

// The state that the back end reports: names, groups, progress. It is replaced as a whole after every change.
export let state = null;

export function setState(description) { state = description }

// The view. All of it is in the address, so that a link reopens it. Codes are given by position, groups by one of their
// values, and images by index, so that a link survives new names and orders. -1 as an axis is the noise.
export const DEFAULTS = { tab: 'steer', seed: 0, towards: 1, way: 0, pick: 0, across: -1, down: -1, zoom: 1 };
export const view = { ...DEFAULTS, codes: [] };

// Ranges of numbers in the address that are not checked elsewhere.
const RANGES = { seed: [0, 2 ** 53 - 1], towards: [0, 2 ** 53 - 1], way: [0, 1], pick: [0, 9999], zoom: [1, 64] };

// The address. Browsers refuse one that changes too often: it follows a dragged slider with a delay.

let timer = 0;

export function writeAddress() { timer ||= setTimeout(writeAddressNow, 300) }

export function writeAddressNow() {
  clearTimeout(timer);
  timer = 0;
  const { tab, ...values } = view;
  const words = new URLSearchParams({ ...values, codes: view.codes.join(',') });
  try { history.replaceState(null, '', `#${tab}?${words}`) } catch { /* the next change writes it */ }
}

addEventListener('pagehide', writeAddressNow);

export function readAddress() {
  clearTimeout(timer);
  timer = 0;
  const [, tab, query] = location.hash.match(/^#(?:([a-z]*)\?)?(.*)/) ?? [];
  const words = new URLSearchParams(query);
  Object.assign(view, DEFAULTS);
  if (tab) view.tab = tab;
  for (const [key, value] of Object.entries(DEFAULTS)) {
    if (key !== 'tab' && words.has(key)) view[key] = parsed(key, words.get(key), value);
  }
  const codes = (words.get('codes') ?? '').split(',').map((text) => (text ? Number(text) : NaN));
  view.codes = state.codes.map((code, position) => fitting(code, codes[position]));
  for (const axis of ['across', 'down']) if (!state.codes[view[axis]]) view[axis] = -1;
  if (!words.has('across')) view.across = state.codes.length ? Math.max(0, firstCategory()) : -1;
  if (view.across === view.down) view.down = -1;
}

function parsed(key, text, fallback) {
  if (typeof fallback === 'string') return text;
  const number = Number(text || NaN), [low, high] = RANGES[key] ?? [-1, Infinity];
  const whole = key === 'way' || Number.isInteger(number);
  return whole && number >= low && number <= high ? number : fallback;
}

function fitting(code, value) {
  if (code.values) return code.values.some((v) => v.value === value) ? value : code.values[0].value;
  return Number.isFinite(value) ? Math.min(1, Math.max(-1, value)) : 0;
}

// Names of codes and values.

export const firstCategory = () => state.codes.findIndex((code) => code.values);

export function valueName(position, value) {
  const code = state.codes[position];
  if (!code.values) return value.toFixed(2).replace('-', '−');
  return code.values.find((v) => v.value === value)?.name ?? String(value);
}

export const describe = (codes) => state.codes.map((code, i) => `${code.name} ${valueName(i, codes[i])}`).join(', ');

// The codes that predictions stand for: the most probable values, and the means within the generator's range.
export const codesOf = (predictions) => state.codes.map((code, i) => code.values
  ? predictions[i].indexOf(Math.max(...predictions[i])) : Math.min(1, Math.max(-1, predictions[i][0])));
