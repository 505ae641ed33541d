// Correcting: the images that are most in doubt, one key each.
import { $, ask, change, complain, make, paint, percent, query, told } from './state.js';
import { card } from './sort.js';

const KEYS = '0123456789abcdefghijklmnopqrstuvwxyz';
const COUNT = 24;
const passed = new Set();
let queue = [], sheet = null, at = 0, filing = false, asked = 0;
let settled = Promise.resolve(); // when the image that is shown is the one that a key files

export function begin() {
  $('pass').onclick = pass;
  $('another').onsubmit = (event) => {
    event.preventDefault();
    const name = $('another-name').value.trim();
    if (name) file(name).then((filed) => { if (filed) $('another-name').value = '' });
  };
}

const groups = () => told.codes[told.images.code].groups;

// A group that is called by one key has that key; the others have those that are left, in their order.
function keysOf() {
  const called = groups().map((group) => group.name.toLowerCase());
  const free = [...KEYS].filter((key) => !called.includes(key));
  const keys = new Map();
  groups().forEach((group, i) => {
    const own = KEYS.includes(called[i]) && called[i].length === 1 && !keys.has(called[i]);
    const key = own ? called[i] : free.shift();
    if (key) keys.set(key, group);
  });
  return keys;
}

export function show() {
  settled = fill();
  return settled;
}

async function fill() {
  const keys = new Map([...keysOf()].map(([key, group]) => [group, key]));
  const focused = [...$('answers').children].indexOf(document.activeElement);
  $('answers').replaceChildren(...groups().map((group) => make('button', { type: 'button', onclick: () => file(group.name) },
    group.name, ...(keys.has(group) && keys.get(group) !== group.name ? [' ', make('kbd', {}, keys.get(group))] : []))));
  $('answers').children[focused]?.focus({ preventScroll: true });
  const { labelled, sure, count, beside } = told.images;
  $('correct-told').textContent = `${labelled} filed by you. ${sure} of ${count} images carry a sure label. ` +
    'labels.csv is in the run folder: infogan train --labels takes it.' +
    (beside ? ` ${beside} of its labels are of images that are not here: they stay in it as they are.` : '');
  await refill();
}

async function refill() {
  const mine = ++asked;
  try {
    // More than are passed over, so that some are left; who passed over so many begins anew.
    if (passed.size > 200 - COUNT) passed.clear();
    const answer = await ask(`/api/queue?${query({ count: COUNT + passed.size })}`);
    if (mine !== asked) return;
    queue = answer.items.filter((item) => !passed.has(item.place));
    sheet = { image: answer.image, items: answer.items };
    at = 0;
    await present();
    complain('', 'correct');
  } catch (error) {
    complain(error.message, 'correct');
  }
}

const inSheet = (item) => sheet.items.findIndex((other) => other.place === item.place);

async function present() {
  const item = queue[at];
  const coming = queue.slice(at + 1, at + 13);
  $('next').replaceChildren(...coming.map((other) => card(other, sheet.image, inSheet(other), sheet.items.length)));
  for (const button of $('next').querySelectorAll('button')) button.disabled = true;
  if (!item) {
    $('doubt-told').textContent = told.images.read < told.images.count ? 'Images are still being read.' : 'No image is left in doubt.';
    $('doubt').hidden = true;
    return;
  }
  $('doubt').hidden = false;
  const place = told.images.code;
  const best = told.codes[place].values.map((v) => [v.name, item.readings[place][v.value]]).sort((a, b) => b[1] - a[1]).slice(0, 3);
  $('doubt').setAttribute('aria-label', `${item.name}: perhaps ${best.map(([name]) => name).join(' or ')}`);
  $('doubt-told').textContent = `${item.name}: ${best.map(([name, share]) => `${name} ${percent(share)}`).join(', ')}`;
  await crop(inSheet(item));
}

async function crop(column) {
  const whole = document.createElement('canvas');
  await paint(whole, sheet.image);
  const size = whole.height, canvas = $('doubt');
  canvas.width = canvas.height = size;
  canvas.getContext('2d').drawImage(whole, column * size, 0, size, size, 0, 0, size, size);
}

async function file(label) {
  const item = queue[at];
  if (!item || filing) return false;
  filing = true;
  try {
    await change('/api/label', { place: item.place, label }); // after which the queue is filled anew
    return true;
  } catch {
    return false; // what went wrong is told already
  } finally {
    await settled;
    filing = false;
  }
}

function pass() {
  const item = queue[at];
  if (!item || filing) return;
  passed.add(item.place);
  at += 1;
  if (queue[at]) present();
  else refill();
}

export function key(event) {
  if (event.repeat) return;
  if (event.key === ' ' && !event.target.closest('button, a')) {
    event.preventDefault();
    pass();
    return;
  }
  const group = keysOf().get(event.key.toLowerCase());
  if (group) file(group.name);
}
