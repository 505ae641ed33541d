// Correcting: the images that are most in doubt, one key each.
import { $, ask, change, complain, make, paint, percent, query, told, view } from './state.js';
import { card } from './sort.js';

const KEYS = '0123456789abcdefghijklmnopqrstuvwxyz';
const COUNT = 24;
const passed = new Set();
let queue = [], sheet = null, at = 0, filing = false;

export function begin() {
  $('pass').onclick = pass;
  $('another').onsubmit = (event) => {
    event.preventDefault();
    const name = $('another-name').value.trim();
    if (name) file(name).then(() => { $('another-name').value = '' });
  };
}

const groups = () => told.codes[told.images.code].groups;

export async function show() {
  $('answers').replaceChildren(...groups().map((group, i) => make('button', { type: 'button', onclick: () => file(group.name) },
    group.name, ...(KEYS[i] && KEYS[i] !== group.name ? [' ', make('kbd', {}, KEYS[i])] : []))));
  const { labelled, sure, count } = told.images;
  $('correct-told').textContent = `${labelled} filed by you. ${sure} of ${count} images carry a sure label. ` +
    'labels.csv is in the run folder: infogan train --labels takes it.';
  await refill();
}

async function refill() {
  try {
    // More than are passed over, so that some are left.
    const answer = await ask(`/api/queue?${query({ count: Math.min(200, COUNT + passed.size) })}`);
    queue = answer.items.filter((item) => !passed.has(item.place));
    sheet = { image: answer.image, items: answer.items };
    at = 0;
    await present();
  } catch (error) {
    complain(error.message);
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
  if (!item || filing) return;
  filing = true;
  try {
    await change('/api/label', { place: item.place, label }); // after which the queue is filled anew
  } catch {
    // what went wrong is told already
  } finally {
    filing = false;
  }
}

function pass() {
  const item = queue[at];
  if (!item) return;
  passed.add(item.place);
  at += 1;
  if (queue[at]) present();
  else refill();
}

export function key(event) {
  if (event.key === ' ' && !event.target.closest('button, a')) {
    event.preventDefault();
    pass();
    return;
  }
  const group = groups()[KEYS.indexOf(event.key.toLowerCase())];
  if (event.key.length === 1 && group) file(group.name);
}
